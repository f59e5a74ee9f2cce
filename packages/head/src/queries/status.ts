/** The cluster at a glance: demand against capacity. One look at each node, and the reasons of a few kinds of demands only. */
import type { DemandGroup, Demands } from '../machine/demands.js';
import type { Node } from '../machine/nodes.js';
import { describeRequest } from './explain.js';
import type { QueryTables } from './queries.js';
import { amounts, nodeState } from './rows.js';
import type { StatusAnswer, WaitingRow } from './shapes.js';

/** Kinds of demands that are told of, those that have waited the longest: a reason takes a look at every node. */
const WAITING_ROWS_MAX = 10;

/** Counts and sums over all tables. */
export function clusterStatus(tables: QueryTables): StatusAnswer {
  const { context, nodes, processes, jobs, leases, actors } = tables;
  const states = { starting: 0, running: 0, ending: 0 };
  for (const lease of leases.byId.values()) states[lease.state]++;
  let drivers = 0;
  for (const process of processes.byId.values()) if (process.kind === 'driver') drivers++;
  return {
    clusterId: context.settings.clusterId, address: context.settings.address, uptimeMs: context.nowMs - context.startedAtMs,
    ...sumsOf(nodes.byId.values(), tables), jobs: { running: jobs.running.size, finished: jobs.finished.size }, drivers, leases: states,
    actors: Object.fromEntries(countStates([...actors.live.values()], null).flatMap(([, counts]) => Object.entries(counts))),
    ...waitingRows(tables),
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

/** What waits, by what it asks for, the longest waiting first. */
function waitingRows({ context, demands }: QueryTables): Pick<StatusAnswer, 'waiting' | 'waitingMore'> {
  const kinds = [...demands.groups.values()].map((group) => ({ group, ...countWaiting(group, demands) })).sort((a, b) => a.sinceMs - b.sinceMs);
  const waiting = kinds.slice(0, WAITING_ROWS_MAX).map(({ group, leases, sinceMs }): WaitingRow => {
    const status = demands.waitsFor(group.queue.first()!);
    return {
      request: describeRequest(group.shape.request), demands: group.queue.size, leases, waitingMs: context.nowMs - sinceMs,
      isInfeasible: status?.isInfeasible ?? false, reasons: status?.reasons ?? '',
    };
  });
  const others = kinds.slice(WAITING_ROWS_MAX);
  return { waiting, waitingMore: { requests: others.length, demands: others.reduce((sum, { group }) => sum + group.queue.size, 0) } };
}

function countWaiting(group: DemandGroup, demands: Demands): { leases: number; sinceMs: number } {
  let leases = 0;
  let sinceMs = Infinity;
  for (const demand of group.queue) {
    leases += demands.lacking(demand);
    sinceMs = Math.min(sinceMs, demand.waitingSinceMs);
  }
  return { leases, sinceMs };
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
