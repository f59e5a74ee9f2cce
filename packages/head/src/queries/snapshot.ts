/** The cluster and all that waits, for whoever plans: a copy, so that planning takes the planner's time and not the head's. */
import { missingOf } from '../machine/group-line.js';
import type { QueryTables } from './queries.js';
import type { SnapshotAnswer, WaitingGroups, WaitingTasks } from './shapes.js';

/** One look at each node, demand and group. */
export function clusterSnapshot({ nodes, demands, groups }: QueryTables): SnapshotAnswer {
  const tasks: WaitingTasks[] = [];
  for (const { pool, shape, waiting } of demands.groups.values()) {
    if (pool.groupId !== '') continue; // more nodes would not help
    let count = 0;
    for (const demand of waiting) count += demands.missing(demand);
    tasks.push({ name: waiting.first()!.name || 'unnamed', count, request: shape.request });
  }
  const byKey = new Map<string, WaitingGroups>();
  for (const group of groups.live.values()) {
    if (!group.bundles.includes(null)) continue;
    const isRepair = group.bundles.some((bundle) => bundle !== null);
    const key = isRepair ? group.id : group.key;
    const known = byKey.get(key);
    byKey.set(key, { name: known?.name ?? (group.name || group.id), count: (known?.count ?? 0) + 1, request: known?.request ?? (isRepair ? missingOf(group) : group.request) });
  }
  return { nodes: [...nodes.cluster.snapshot()], waiting: { tasks, groups: [...byKey.values()] } };
}
