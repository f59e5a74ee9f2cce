/** The cluster at a glance. */
import { addResources, type ResourceSet } from '@muster/base';
import { describeRequest } from './explain.js';
import type { QueryTables } from './queries.js';
import { amounts, nodeState } from './rows.js';
import type { StatusAnswer, WaitingRow } from './shapes.js';

/** More different requests than this do not wait in a cluster that anybody looks at by hand. */
const WAITING_ROWS_MAX = 100;

/** Counts and sums over all tables. */
export function clusterStatus(tables: QueryTables): StatusAnswer {
  const { context, nodes, processes, jobs, leases, actors, groups } = tables;
  const all = [...nodes.byId.values()];
  const inState = (state: ReturnType<typeof nodeState>): number => all.filter((node) => nodeState(node) === state).length;
  const sum = (amount: (node: (typeof all)[number]) => number): number => all.reduce((total, node) => total + amount(node), 0);
  const sumOf = (set: (node: (typeof all)[number]) => ResourceSet): ResourceSet => all.reduce<ResourceSet>((total, node) => addResources(total, set(node)), {});
  const connected = [...processes.byId.values()];
  const states = { starting: 0, running: 0, ending: 0 };
  for (const lease of leases.byId.values()) states[lease.state]++;
  return {
    clusterId: context.settings.clusterId, address: context.settings.address, uptimeMs: context.nowMs - context.startedAtMs,
    nodes: { alive: inState('alive'), draining: inState('draining'), unreachable: inState('unreachable'), dead: nodes.dead.size },
    total: amounts(sumOf((node) => node.row.total)), available: amounts(sumOf((node) => nodes.availableOf(node))),
    objectStore: {
      totalBytes: sum((node) => node.objectStoreBytes), usedBytes: sum((node) => node.heartbeat?.objectStoreUsedBytes ?? 0),
      spilledBytes: sum((node) => node.heartbeat?.spilledBytes ?? 0), objects: sum((node) => node.heartbeat?.objectCount ?? 0),
    },
    jobs: { running: jobs.running.size, finished: jobs.finished.size },
    drivers: connected.filter((process) => process.kind === 'driver').length, workers: sum((node) => node.workers.size),
    leases: states, actors: Object.fromEntries(countStates([...actors.live.values()], null).flatMap(([, counts]) => Object.entries(counts))),
    groups: countStates([...groups.live.values()], null)[0]?.[1] ?? {},
    waiting: waitingRows(tables),
  };
}

function waitingRows({ demands }: QueryTables): WaitingRow[] {
  return [...demands.groups.values()].slice(0, WAITING_ROWS_MAX).map((group) => ({
    request: describeRequest(group.shape.request), demands: group.queue.size, isInfeasible: group.isInfeasible,
    reasons: demands.waitsFor(group.queue.first()!)?.reasons ?? '',
  }));
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
