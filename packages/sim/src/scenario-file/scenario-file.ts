/** Reads a scenario file: the cluster, what it is to do, and what goes wrong meanwhile. docs/simulation.md describes every key. */
import { dirname } from 'node:path';
import { readActors } from '../loads/actors.js';
import { readGroupLoad } from '../loads/groups.js';
import type { LoadPlan } from '../loads/load.js';
import { readObjects } from '../loads/objects.js';
import { readTasks } from '../loads/tasks.js';
import { readTraceLoad } from '../loads/trace.js';
import type { NetworkOptions, Range } from '../network.js';
import { readStorm, type StormPlan } from '../storm.js';
import { NO_COSTS, readCosts, type Costs } from './costs.js';
import { Fields } from './fields.js';
import { readGroups, type NodeGroup } from './node-groups.js';
import { Source } from './source.js';

/** What a scenario is. Each run draws the rest from its seed. */
export interface ScenarioFile {
  readonly fileName: string;
  readonly name: string;
  readonly heartbeatIntervalMs: number;
  readonly nodeTimeoutMs: number;
  readonly workerStartMs: Range;
  /** All nodes start within this time. */
  readonly startWithinMs: number;
  readonly network: NetworkOptions;
  readonly groups: readonly NodeGroup[];
  readonly loads: readonly LoadPlan[];
  readonly storm: StormPlan | null;
  readonly costs: Costs;
  /** After the last fault, and the last arrival, all work must be done within this time. */
  readonly finishWithinMs: number;
  /** Numbers of nodes at which the scenario is run, for a curve; empty: once, with all of them. */
  readonly scalingNodes: readonly number[];
}

const KINDS = ['tasks', 'actors', 'groups', 'objects', 'trace'] as const;

/** Reads a scenario. Files that it names lie beside it. @throws MusterError INVALID_ARGUMENT that says where and what is wanted */
export function readScenario(fileName: string, text: string): ScenarioFile {
  const source = new Source(fileName, text);
  const root = new Fields(source, [], source.root);
  const name = root.text('name', fileName);
  const cluster = root.optionalTable('cluster') ?? new Fields(source, ['cluster'], {});
  const groups = readGroups(root);
  const scaling = root.optionalTable('scaling');
  const scalingNodes = scaling === null ? [] : readScaling(scaling, groups);
  const folder = dirname(fileName);
  const loads = root.tables('workload').map((workload) => readLoad(workload, { folder, groups }));
  if (loads.length === 0) throw root.error('workload', 'at least one [[workload]]');
  const storm = root.optionalTable('faults');
  const costs = root.optionalTable('costs');
  const scenario: ScenarioFile = {
    fileName, name, groups, loads, scalingNodes,
    heartbeatIntervalMs: cluster.durationMs('heartbeat', '1s'), nodeTimeoutMs: cluster.durationMs('node-timeout', '10s'),
    workerStartMs: cluster.durationRangeMs('worker-start', '100ms..300ms'), startWithinMs: cluster.durationMs('start-within', '1s'),
    network: readNetwork(root.optionalTable('network') ?? new Fields(source, ['network'], {})),
    storm: storm === null ? null : readStorm(storm), costs: costs === null ? NO_COSTS : readCosts(costs), finishWithinMs: root.durationMs('finish-within', '1h'),
  };
  if (scenario.heartbeatIntervalMs * 2 > scenario.nodeTimeoutMs) throw cluster.error('node-timeout', 'at least twice the heartbeat');
  cluster.end();
  root.end();
  return scenario;
}

function readScaling(fields: Fields, groups: readonly NodeGroup[]): readonly number[] {
  const counts = fields.table['nodes'];
  const max = groups[0]!.count;
  fields.has('nodes');
  if (groups.length > 1) throw fields.error('nodes', 'of use with one kind of [[nodes]] only');
  if (!Array.isArray(counts) || counts.length === 0 || !counts.every((count) => Number.isSafeInteger(count) && (count as number) >= 1 && (count as number) <= max)) {
    throw fields.error('nodes', `a list of numbers from 1 to ${max}, such as [1, 2, 4]`);
  }
  fields.end();
  return counts as number[];
}

function readLoad(fields: Fields, surroundings: Parameters<typeof readTraceLoad>[1]): LoadPlan {
  const kind = fields.choice('kind', KINDS);
  const readers = { tasks: readTasks, actors: readActors, groups: readGroupLoad, objects: readObjects, trace: (its: Fields) => readTraceLoad(its, surroundings) };
  const load = readers[kind](fields);
  fields.end();
  return load;
}

function readNetwork(fields: Fields): NetworkOptions {
  const network: NetworkOptions = {
    latencyMs: fields.durationRangeMs('latency', '0.1ms..0.5ms'), localLatencyMs: fields.durationRangeMs('local-latency', '0.02ms..0.1ms'),
    patienceMs: fields.durationRangeMs('patience', '4s..15s'), isOnWire: fields.boolean('encode', false),
  };
  fields.end();
  return network;
}

