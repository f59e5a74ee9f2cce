/** `cluster plan`. */
import type { Command } from 'commander';
import type { SnapshotAnswer } from '@muster/head';
import { Cluster } from '@muster/scheduler';
import { withCluster } from '../cluster/connection.js';
import { asUsage, CommandFailure, EXIT } from '../output/failure.js';
import { formatTable } from '../output/table.js';
import { answerPlan, type PlanAnswer, type PlanQuestion } from '../plan/answer.js';
import { readDemand, readNodeTypes, type Demand } from '../plan/demand.js';
import { readText, Written } from '../plan/json-file.js';
import { readNodeCounts } from '../plan/node-counts.js';
import { collect, printJson, printText, withClusterOptions, withExamples, type WithCluster } from './cluster-options.js';

type Options = WithCluster<{
  readonly waiting?: boolean; readonly addNodes?: readonly string[]; readonly nodeTypes?: string; readonly suggest?: boolean; readonly empty?: boolean; readonly json?: boolean;
}>;

const NOTHING: Demand = { tasks: [], groups: [], nodeTypes: [] };

export function define(command: Command): void {
  withClusterOptions(command).argument('[DEMAND]', 'a file of tasks and groups in JSON, or - for the standard input')
    .option('--waiting', 'also what waits on the cluster at the moment, before the rest')
    .option('--add-nodes <COUNTxTYPE>', 'as if these nodes had joined: 4xgpu8, or 2x{"cpus":16}; repeatable', collect)
    .option('--node-types <FILE>', 'types of nodes by name, in JSON; also under nodeTypes of DEMAND')
    .option('--suggest', 'say which nodes of these types would do for everything')
    .option('--empty', 'as if the cluster had no nodes but those that are added; asks no cluster')
    .option('--json', 'print it as JSON')
    .action(async (file: string | undefined, options: Options) => {
      const answer = answerPlan(await readQuestion(file, options));
      if (options.json) printJson(answer);
      else printText(describe(answer));
      if (!answer.isComplete) process.exitCode = EXIT.incomplete;
    });
  command.addHelpText('after', `\nSays what of the demand would be placed now, where, and why not the rest. Starts nothing.\nEnds with ${EXIT.incomplete} when not everything would be placed.`);
  withExamples(command, 'cluster plan demand.json', 'cluster plan demand.json --add-nodes 4xgpu8 --node-types types.json --json', 'cluster plan --waiting --suggest --node-types types.json');
}

async function readQuestion(file: string | undefined, options: Options): Promise<PlanQuestion> {
  if (file === undefined && !options.waiting) throw usage('neither a DEMAND nor --waiting is given');
  if (options.empty && options.waiting) throw usage('--waiting asks the cluster, and --empty asks none');
  const texts = await Promise.all([file, options.nodeTypes].map(async (name) => (name === undefined ? null : { name, text: await readText(name).catch(failAsUsage) })));
  const { demand, addNodes, types } = asUsage('plan', () => {
    const [written, writtenTypes] = texts.map((each) => each && Written.parse(each.text, each.name === '-' ? 'the standard input' : each.name));
    const read = written ? readDemand(written) : NOTHING;
    const all = [...(writtenTypes ? readNodeTypes(writtenTypes) : []), ...read.nodeTypes];
    return { demand: read, types: all, addNodes: readNodeCounts(options.addNodes ?? [], all) };
  });
  if (options.suggest && types.length === 0) throw usage('--suggest needs types of nodes: name a file of them with --node-types, or write them under nodeTypes of the demand');
  const { nodes, waiting } = options.empty
    ? { nodes: [], waiting: NOTHING }
    : await withCluster(options, (connection) => connection.query<SnapshotAnswer>('snapshot'));
  const first = options.waiting ? waiting : NOTHING;
  return {
    cluster: Cluster.restore(nodes), tasks: [...first.tasks, ...demand.tasks], groups: [...first.groups, ...demand.groups], addNodes, suggestOf: options.suggest ? types : null,
  };
}

const usage = (what: string): CommandFailure => new CommandFailure({ what, remedy: '`cluster plan --help` shows what it takes.', exitCode: EXIT.usage });

const failAsUsage = (error: unknown): never => asUsage('plan', () => { throw error; });

function describe({ tasks, groups, nodes, suggestion, isComplete }: PlanAnswer): string {
  const rows = [...groups.map((group) => ({ ...group, kind: 'group' })), ...tasks.map((task) => ({ ...task, kind: 'task' }))];
  const lines = rows.length === 0 ? ['Nothing is asked for.'] : [formatTable([
    { title: 'NAME', value: (row) => row.name, shrinksTo: 12 },
    { title: 'REQUEST', value: (row) => `${row.kind === 'group' ? 'group of ' : ''}${row.request}`, shrinksTo: 20 },
    { title: 'WANTED', value: (row) => row.count, align: 'right' },
    { title: 'PLACED', value: (row) => row.placed, align: 'right' },
  ], rows)];
  for (const row of rows) if (row.placed < row.count) lines.push('', `${row.name}: ${row.count - row.placed} of ${row.count} not placed${row.isFeasible ? '' : ', and never could be'}: ${row.reasons}`);
  lines.push('', ...nodes.added.map(({ type, nodeIds, used }) => `${used} of ${nodeIds.length} added nodes of ${type} would be used.`));
  lines.push(isComplete ? 'Everything would be placed.' : 'Not everything would be placed.');
  if (suggestion !== null && !isComplete) lines.push(suggest(suggestion));
  return lines.join('\n');
}

function suggest({ nodes, isComplete }: NonNullable<PlanAnswer['suggestion']>): string {
  const counts = nodes.map(({ type, count }) => `${count} × ${type}`).join(', ');
  if (isComplete) return `It would with ${counts} more.`;
  return counts === '' ? 'No number of nodes of the given types would help.' : `With ${counts} more, more of it would; the rest fits no type that was given.`;
}
