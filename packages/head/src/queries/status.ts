/** The cluster at a glance: demand against capacity. One look at each node, and the reasons of a few kinds of demands only. */
import type { ResourceSet } from '@muster/base';
import { formatGroup, type Ranked } from '@muster/scheduler';
import type { DemandGroup, Demands, DemandStatus } from '../machine/demands.js';
import type { Group } from '../machine/group.js';
import type { Groups } from '../machine/groups.js';
import type { Node } from '../machine/nodes.js';
import { describeRequest } from './explain.js';
import type { QueryTables } from './queries.js';
import { amounts, nodeState } from './rows.js';
import type { QueueRow, StatusAnswer, WaitingRow } from './shapes.js';

/** Kinds of demands that are told of, those that have waited the longest: a reason takes a look at every node. */
const WAITING_ROWS_MAX = 10;

/** Counts and sums over all tables. */
export function clusterStatus(tables: QueryTables): StatusAnswer {
  const { context, nodes, processes, jobs, leases, actors, groups } = tables;
  const states = { starting: 0, running: 0, ending: 0 };
  for (const lease of leases.byId.values()) states[lease.state]++;
  let drivers = 0;
  for (const process of processes.byId.values()) if (process.kind === 'driver') drivers++;
  return {
    clusterId: context.settings.clusterId, address: context.settings.address, uptimeMs: context.nowMs - context.startedAtMs,
    ...sumsOf(nodes.byId.values(), tables), reserved: amounts(reservedBy(groups)), jobs: { running: jobs.running.size, finished: jobs.finished.size }, drivers, leases: states,
    actors: Object.fromEntries(countStates([...actors.live.values()], null).flatMap(([, counts]) => Object.entries(counts))),
    groups: countStates([...groups.live.values()], null)[0]?.[1] ?? {}, queues: queueRows(tables), ...waitingRows(tables),
  };
}

/** What there is of nodes, resources, stores and workers. */
function sumsOf(all: Iterable<Node>, { nodes }: QueryTables): Pick<StatusAnswer, 'nodes' | 'total' | 'available' | 'objectStore' | 'workers'> {
  const { cluster } = nodes;
  const counts = { alive: 0, draining: 0, unreachable: 0, dead: nodes.dead.size };
  const total: Record<string, number> = {};
  const available: Record<string, number> = {};
  const objectStore = { totalBytes: 0, usedBytes: 0, spilledBytes: 0, objects: 0 };
  let workers = 0;
  for (const node of all) {
    counts[nodeState(node)]++;
    workers += node.workers.size;
    objectStore.totalBytes += node.objectStoreBytes;
    objectStore.usedBytes += node.heartbeat?.objectStoreUsedBytes ?? 0;
    objectStore.spilledBytes += node.heartbeat?.spilledBytes ?? 0;
    objectStore.objects += node.heartbeat?.objectCount ?? 0;
    for (const name in node.row.total) {
      total[name] = (total[name] ?? 0) + node.row.total[name]!;
      available[name] = (available[name] ?? 0) + cluster.available[node.row.row * cluster.width + cluster.columnOf(name)!]!;
    }
  }
  return { nodes: counts, total: amounts(total), available: amounts(available), objectStore, workers };
}

/** What waits for one thing, before its reasons are worked out. */
interface Waiting {
  readonly kind: WaitingRow['kind'];
  readonly ranked: Ranked;
  readonly sinceMs: number;
  readonly demands: number;
  readonly leases: number;
  readonly describe: () => string;
  readonly status: () => DemandStatus | null;
}

/** What waits, by what it asks for, the longest waiting first. */
function waitingRows({ context, demands, groups }: QueryTables): Pick<StatusAnswer, 'waiting' | 'waitingMore'> {
  const all = [...[...demands.groups.values()].map((group) => waitingDemands(group, demands)), ...waitingGroups(groups)].sort((a, b) => a.sinceMs - b.sinceMs);
  const waiting = all.slice(0, WAITING_ROWS_MAX).map(({ kind, ranked: { queue, priority }, sinceMs, demands: count, leases, describe, status }): WaitingRow => {
    const { isInfeasible, reasons } = status() ?? { isInfeasible: false, reasons: '' };
    return {
      kind, request: describe(), queue: queue.settings.name, priority, demands: count, leases, waitingMs: context.nowMs - sinceMs, isInfeasible, reasons,
    };
  });
  const others = all.slice(WAITING_ROWS_MAX);
  return { waiting, waitingMore: { requests: others.length, demands: others.reduce((sum, each) => sum + each.demands, 0) } };
}

function waitingDemands(group: DemandGroup, demands: Demands): Waiting {
  let leases = 0;
  let sinceMs = Infinity;
  for (const demand of group.waiting) {
    leases += demands.missing(demand);
    sinceMs = Math.min(sinceMs, demand.waitingSinceMs);
  }
  const describe = (): string => describeRequest(group.shape.request, group.pool);
  return { kind: 'leases', ranked: group, sinceMs, demands: group.waiting.size, leases, describe, status: () => demands.waitsFor(group.waiting.first()!) };
}

/** Those that ask for the same, told by the first of them. */
function waitingGroups(groups: Groups): Waiting[] {
  const byKey = new Map<string, Group[]>();
  for (const group of groups.live.values()) {
    if (!group.bundles.includes(null)) continue;
    const key = `${group.queue.settings.name} ${group.priority} ${group.key}`;
    const known = byKey.get(key);
    if (known === undefined) byKey.set(key, [group]);
    else known.push(group);
  }
  return [...byKey.values()].map((alike): Waiting => {
    const first = alike[0]!;
    const leases = alike.reduce((sum, { bundles }) => sum + bundles.filter((bundle) => bundle === null).length, 0);
    const describe = (): string => formatGroup(first.request);
    return { kind: 'group', ranked: first, sinceMs: first.createdAtMs, demands: alike.length, leases, describe, status: () => groups.waitsFor(first) };
  });
}

/** What groups hold and nothing in them uses. */
function reservedBy(groups: Groups): ResourceSet {
  const reserved: Record<string, number> = {};
  for (const { bundles, pool } of groups.live.values()) {
    bundles.forEach((bundle, index) => {
      if (bundle === null) return;
      const row = pool?.cluster.at(index) ?? null;
      const unused = row === null ? bundle.holding.resources : pool!.cluster.view(row).available;
      for (const name in unused) reserved[name] = (reserved[name] ?? 0) + Math.max(0, unused[name]!);
    });
  }
  return reserved;
}

function queueRows({ queues, nodes, jobs, demands }: QueryTables): QueueRow[] {
  return [...queues.byName.values()].map((queue) => {
    const { settings: { name, weight, quota } } = queue;
    const held = Object.entries(queue.held).filter(([, amount]) => amount > 0);
    const isOfIt = (other: { readonly queue: object }): boolean => other.queue === queue;
    return {
      name, weight, quota: amounts(quota), held: amounts(Object.fromEntries(held)), share: queue.dominantShare(nodes.totals),
      jobs: [...jobs.running.values()].filter(isOfIt).length,
      waiting: [...demands.groups.values()].filter(isOfIt).reduce((sum, group) => sum + group.waiting.size, 0),
    };
  });
}

/** Counts things by their state, for each value of a field, or for all together. */
export function countStates(things: readonly object[], field: string | null): [name: string, states: Record<string, number>][] {
  const byName = new Map<string, Record<string, number>>();
  for (const thing of things as readonly Record<string, unknown>[]) {
    const name = field === null ? '' : String(thing[field] ?? '');
    const state = String(thing['state'] ?? 'unknown');
    const states = byName.get(name) ?? {};
    byName.set(name, states);
    states[state] = (states[state] ?? 0) + 1;
  }
  return [...byName];
}
