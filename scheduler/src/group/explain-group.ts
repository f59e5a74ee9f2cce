/**
 * Why a group has no place, for people: for each class of bundles how many there are, how many would find room now, and how many if nothing ran; for
 * levels of the topology, the value that comes closest.
 */
import { formatResources } from '@muster/base';
import type { Cluster } from '../cluster.js';
import { explain, type Explanation } from '../explain.js';
import { formatTerm, labelOf } from '../labels.js';
import type { GroupRequest } from '../request.js';
import type { BundleClass } from './bundles.js';
import { GroupShape } from './plan-group.js';

/** Looks at every node, and plans the group on an idle copy of the cluster. */
export function explainGroup(cluster: Cluster, request: GroupRequest): Explanation {
  const group = new GroupShape(cluster, request);
  const idle = new GroupShape(cluster.emptied(), request);
  const clauses = group.classes.map((each, index) => describeClass(cluster, request, each, idle.classes[index]!));
  return { isFeasible: idle.plan() !== null, reasons: `${describeGroup(request)}: ${clauses.join('; ')}` };
}

/** `8 bundles on a node each, all in one rack`. */
export function describeGroup({ bundles, strategy, topology }: GroupRequest): string {
  const count = `${bundles.length} bundle${bundles.length === 1 ? '' : 's'}`;
  const where = { pack: 'close together', spread: 'apart', 'strict-pack': 'on one node', 'strict-spread': 'on a node each' }[strategy];
  const levels = topology.map(({ level, rule, max }) =>
    ({ same: `all in one ${level}`, spread: `at most ${max} in one ${level}`, fewest: `in as few of ${level} as can be` })[rule]);
  return [`${count} ${where}`, ...levels].join(', ');
}

function describeClass(cluster: Cluster, request: GroupRequest, each: BundleClass, idle: BundleClass): string {
  const what = `${each.members.length} × (${[formatResources(each.request.resources), ...each.request.labels.map(formatTerm)].join(', ')})`;
  const perNode = request.strategy === 'strict-spread' ? 1 : Infinity;
  const level = request.strategy === 'strict-pack' ? 'node' : request.topology.find((term) => term.rule === 'same')?.level;
  const now = roomIn(each, perNode, level);
  const ever = roomIn(idle, perNode, level);
  if (ever.count === 0) return `${what}: no node could ever hold one (${explain(cluster, each.request).reasons})`;
  const best = level === undefined ? '' : ` in ${level} ${ever.where}`;
  const free = level === undefined || now.count === 0 ? `${now.count} fit now` : `${now.count} fit now in ${level} ${now.where}`;
  return `${what}: ${free}, ${ever.count} would if nothing ran${best}`;
}

/** The most bundles of the class that one value of the level has room for; of all nodes when there is no level. */
function roomIn(each: BundleClass, perNode: number, level: string | undefined): { count: number; where: string } {
  const counts = new Map<string, number>();
  for (const node of each.shape.cluster.rows()) {
    const value = level === undefined ? '' : labelOf(node, level);
    if (value !== undefined) counts.set(value, (counts.get(value) ?? 0) + each.shape.capacity(node, Math.min(perNode, each.members.length)));
  }
  let best = { count: 0, where: '' };
  for (const [where, count] of counts) if (count > best.count) best = { count, where };
  return best;
}
