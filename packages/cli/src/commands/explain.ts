/** `cluster explain`. */
import type { Command } from 'commander';
import type { ExplainAnswer } from '@muster/head';
import { withCluster } from '../cluster/connection.js';
import { printJson, printText, withClusterOptions, withExamples, type WithCluster } from './cluster-options.js';

export function define(command: Command): void {
  withClusterOptions(command).argument('<ID>', 'of a node, worker, driver, job, actor, task, object or lease, or the name of an actor').option('--json', 'print it as JSON')
    .action(async (id: string, options: WithCluster<{ json?: boolean }>) => {
      const answer = await withCluster(options, (connection) => connection.query<ExplainAnswer>('explain', { id }));
      if (options.json) printJson(answer);
      else printText([`${answer.kind} ${answer.id}: ${answer.state}`, ...answer.lines.map((line) => `  ${line}`)].join('\n'));
    });
  withExamples(command, 'cluster explain actor-3f9a1c0b7d24', 'cluster explain task-3f9a1c0b7d24-17 --json');
}
