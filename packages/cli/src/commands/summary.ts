/** `cluster summary`. */
import type { Command } from 'commander';
import type { SummaryAnswer } from '@muster/head';
import { withCluster } from '../cluster/connection.js';
import { formatTable } from '../output/table.js';
import { noteBusyOwners } from './busy-owners.js';
import { printJson, printText, withClusterOptions, withExamples, type WithCluster } from './cluster-options.js';

export function define(command: Command): void {
  withClusterOptions(command).option('--json', 'print it as JSON').action(async (options: WithCluster<{ json?: boolean }>) => {
    const summary = await withCluster(options, (connection) => connection.query<SummaryAnswer>('summary'));
    if (options.json) return printJson(summary);
    printText([
      countTable('TASKS', summary.tasks.map(({ name, states }) => ({ name, states }))), '',
      countTable('ACTORS', summary.actors.map(({ className, states }) => ({ name: className, states }))),
    ].join('\n'));
    noteBusyOwners(summary.busy);
  });
  withExamples(command, 'cluster summary', 'cluster summary --json');
}

interface Counts {
  readonly name: string;
  readonly states: Readonly<Record<string, number>>;
}

/** A row for each name, a column for each state. */
function countTable(title: string, rows: readonly Counts[]): string {
  if (rows.length === 0) return `${title}: none`;
  const states = [...new Set(rows.flatMap((row) => Object.keys(row.states)))].sort();
  return formatTable([
    { title, value: (row) => row.name || '(no name)', shrinksTo: 20 },
    ...states.map((state) => ({ title: state.toUpperCase(), value: (row: Counts) => row.states[state] ?? 0, align: 'right' as const })),
  ], rows);
}
