/** `cluster drain`. */
import type { Command } from 'commander';
import type { DrainAnswer } from '@muster/head';
import { withCluster } from '../cluster/connection.js';
import { printText, withClusterOptions, withExamples, type WithCluster } from './cluster-options.js';

export function define(command: Command): void {
  withClusterOptions(command).argument('<NODE>', 'its id, as `cluster list nodes` shows it')
    .option('--undo', 'let it take tasks and actors again')
    .action(async (nodeId: string, options: WithCluster<{ readonly undo?: boolean }>) => {
      const answer = await withCluster(options, (connection) => connection.query<DrainAnswer>('drain', { id: nodeId, undo: String(options.undo ?? false) }));
      printText(describe(answer));
    });
  command.addHelpText('after', '\nThe node takes no more tasks and actors. Tasks that run there go on to their end, and actors stay.');
  withExamples(command, 'cluster drain node-3f9a1c0b7d24', 'cluster drain node-3f9a1c0b7d24 --undo');
}

function describe({ nodeId, isDraining, tasks, actors }: DrainAnswer): string {
  if (!isDraining) return `${nodeId} takes tasks and actors again`;
  const left = [[tasks, 'task worker'], [actors, 'actor']] as const;
  const counts = left.filter(([count]) => count > 0).map(([count, noun]) => `${count} ${noun}${count === 1 ? '' : 's'}`).join(' and ');
  return `${nodeId} is draining${counts === '' ? ': nothing runs there' : `, with ${counts} left`}`;
}
