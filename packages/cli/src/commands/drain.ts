/** `cluster drain`. */
import type { Command } from 'commander';
import type { DrainAnswer } from '@muster/head';
import { withCluster } from '../cluster/connection.js';
import { printText, withClusterOptions, withExamples, type WithCluster } from './cluster-options.js';

export function define(command: Command): void {
  withClusterOptions(command).argument('<NODE>', 'its id, as `cluster list nodes` shows it').option('--undo', 'let it take tasks and actors again')
    .action(async (nodeId: string, { undo, ...options }: WithCluster<{ undo?: boolean }>) => {
      const { leases } = await withCluster(options, (connection) => connection.query<DrainAnswer>('drain', { id: nodeId, undo: undo ? 'yes' : '' }));
      if (undo) printText(`${nodeId} takes tasks and actors again`);
      else printText(`${nodeId} takes no new tasks and actors; ${leases === 0 ? 'none run there now' : `${leases} that it has go on`}`);
    });
  withExamples(command, 'cluster drain node-3f9a1c0b7d24', 'cluster drain node-3f9a1c0b7d24 --undo');
}
