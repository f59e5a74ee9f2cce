/** What a lease, and what a group of leases, asks of the nodes it is placed on. */
import { NODE_LABEL, type GroupStrategy, type LabelTerm, type ResourceSet, type TopologyTerm } from '@muster/base';

/** What one lease asks of the node it runs on. */
export interface PlacementRequest {
  readonly resources: ResourceSet;
  readonly labels: readonly LabelTerm[];
}

/** What steers the choice among the nodes that fit. It never makes a request impossible. */
export interface PlacementHints {
  /** Nodes to take while they have room, the best first: where most of the arguments lie, and the asker's own. */
  readonly preferredNodeIds: readonly string[];
  /** Set: spread, that is, take the node with the fewest leases by this count, and prefer no node. */
  readonly leasesByNode: ReadonlyMap<string, number> | null;
}

/** Bundles that are placed together or not at all. */
export interface GroupRequest {
  readonly bundles: readonly PlacementRequest[];
  readonly strategy: GroupStrategy;
  readonly topology: readonly TopologyTerm[];
}

/** Whether only certain nodes will do. The ids of those that are gone do not return. */
export function namesNodes(request: PlacementRequest): boolean {
  return request.labels.some((term) => term.key === NODE_LABEL && term.operator === 'in' && term.weight === 0);
}

/** Equal for requests that fit the same nodes equally well. */
export function requestKey(request: PlacementRequest): string {
  const resources = Object.entries(request.resources).sort(([a], [b]) => (a < b ? -1 : 1));
  const labels = request.labels.map((term) => JSON.stringify([term.key, term.operator, [...term.values].sort(), term.weight])).sort();
  return JSON.stringify([resources, labels]);
}

/** Equal for groups that fit the same nodes equally well, bundle by bundle. */
export function groupKey({ bundles, strategy, topology }: GroupRequest): string {
  let last: PlacementRequest | null = null;
  const runs: [key: string, count: number][] = []; // most groups have many equal bundles
  for (const bundle of bundles) {
    if (bundle === last) runs.at(-1)![1]++;
    else runs.push([requestKey(bundle), 1]);
    last = bundle;
  }
  return JSON.stringify([strategy, topology.map(({ level, rule, max }) => [level, rule, max]), runs]);
}
