/** A group's bundles, sorted into classes of equal requests, and how its nodes may lie to each other. */
import type { TopologyTerm } from '@muster/base';
import { labelOf } from '../labels.js';
import type { Cluster, NodeRow } from '../cluster.js';
import { requestKey, type GroupRequest, type PlacementRequest } from '../request.js';
import { Shape } from '../shape.js';

/** Bundles with equal requests. */
export interface BundleClass {
  readonly shape: Shape;
  readonly request: PlacementRequest;
  /** Their places in the group. */
  readonly members: readonly number[];
  /** The largest share of the largest node that one of them needs: the order in which they are placed. */
  readonly weight: number;
}

/** Where a bundle lies. */
export interface Placed {
  readonly nodeId: string;
  readonly gpuIds: readonly number[];
}

/** The classes of a group, the heaviest first. */
export function classesOf(cluster: Cluster, group: GroupRequest, shapeOf: (request: PlacementRequest, key: string) => Shape): BundleClass[] {
  const members = new Map<string, number[]>();
  group.bundles.forEach((bundle, index) => {
    const key = requestKey(bundle);
    const known = members.get(key);
    if (known === undefined) members.set(key, [index]);
    else known.push(index);
  });
  const largest = largestAmounts(cluster, members.size);
  const classes = [...members].map(([key, indices]): BundleClass => {
    const request = group.bundles[indices[0]!]!;
    let weight = 1e-6;
    for (const name in request.resources) weight = Math.max(weight, request.resources[name]! / (largest.get(name) ?? Infinity));
    return { shape: shapeOf(request, key), request, members: indices, weight };
  });
  return classes.sort((a, b) => b.weight - a.weight || a.members[0]! - b.members[0]!);
}

/** Only an order needs them: one class has none. */
function largestAmounts(cluster: Cluster, classCount: number): Map<string, number> {
  const largest = new Map<string, number>();
  if (classCount > 1) for (const { total } of cluster.rows()) for (const name in total) largest.set(name, Math.max(largest.get(name) ?? 0, total[name]!));
  return largest;
}

/** How many more bundles may lie on nodes of one value of a level. */
export interface DomainLimit {
  readonly key: string;
  readonly left: number;
}

/** The limits of all levels that a group is spread over. */
export class DomainLimits {
  readonly #terms: readonly TopologyTerm[];
  readonly #counts = new Map<string, number>();

  constructor(topology: readonly TopologyTerm[]) {
    this.#terms = topology.filter((term) => term.rule === 'spread');
  }

  get isNone(): boolean {
    return this.#terms.length === 0;
  }

  /** How many more bundles the limits let onto the node; 0 where it lacks a level. */
  left(node: NodeRow): number {
    let left = Infinity;
    for (const term of this.#terms) left = Math.min(left, this.#leftOf(term, node));
    return left;
  }

  /** The values that the node lies in. */
  domainsOf(node: NodeRow): readonly DomainLimit[] {
    return this.#terms.map((term) => ({ key: keyOf(term, node), left: this.#leftOf(term, node) }));
  }

  /** One bundle more, or one less, lies on the node. */
  shift(node: NodeRow, change: 1 | -1): void {
    for (const term of this.#terms) this.#counts.set(keyOf(term, node), (this.#counts.get(keyOf(term, node)) ?? 0) + change);
  }

  #leftOf(term: TopologyTerm, node: NodeRow): number {
    return labelOf(node, term.level) === undefined ? 0 : term.max - (this.#counts.get(keyOf(term, node)) ?? 0);
  }
}

const keyOf = ({ level }: TopologyTerm, node: NodeRow): string => `${level}=${labelOf(node, level)}`;
