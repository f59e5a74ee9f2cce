/** `cluster list`. */
import { Argument, type Command } from 'commander';
import { LIST_COLUMNS, LIST_KINDS, type Kind } from '../output/list-columns.js';
import type { ListAnswer } from '@muster/head';
import { withCluster } from '../cluster/connection.js';
import { asUsage } from '../output/failure.js';
import { formatTable, type Column } from '../output/table.js';
import { readPairs } from '../node/start-options.js';
import { noteBusyOwners } from './busy-owners.js';
import { collect, printJson, printNote, printText, withClusterOptions, withExamples, type WithCluster } from './cluster-options.js';

export type ListOptions = WithCluster<{ readonly json?: boolean; readonly filter?: readonly string[] }>;

export function define(command: Command): void {
  withListOptions(command).addArgument(new Argument('<KIND>', 'what to list').choices(LIST_KINDS))
    .action((kind: Kind, options: ListOptions) => list(kind, options));
  withExamples(command, 'cluster list nodes', 'cluster list actors --filter state=alive --filter className=Counter', 'cluster list tasks --json');
}

/** Options of everything that lists. */
export function withListOptions(command: Command): Command {
  return withClusterOptions(command)
    .option('--filter <FIELD=TEXT>', 'only rows whose field is this, by its name in the JSON; repeatable', collect)
    .option('--json', 'print the rows as JSON, with all fields');
}

export async function list(kind: Kind, options: ListOptions): Promise<void> {
  asUsage('list', () => readPairs('--filter', options.filter));
  const filter = (options.filter ?? []).join(',');
  const answer = await withCluster(options, (connection) => connection.query<ListAnswer>('list', { kind, filter }));
  if (options.json) printJson(answer.rows);
  else if (answer.rows.length === 0) printText(`no ${kind}${filter ? ` with ${filter}` : ''}`);
  else printText(formatTable(LIST_COLUMNS[kind] as readonly Column<object>[], answer.rows));
  if (answer.matches > answer.rows.length) printNote(`${answer.matches - answer.rows.length} more ${kind} are not shown; narrow them down with --filter.`);
  noteBusyOwners(answer.busy);
}
