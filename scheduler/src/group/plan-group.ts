/**
 * Where the bundles of a group lie: all of them, or none. The topology's levels are dealt with from the outside in: `same` cuts the nodes into domains
 * that are tried one after the other, the one that would be filled the most first; `fewest` adds domain after domain; `spread` limits what the strategy
 * may put into one. Within the nodes that remain the strategy decides.
 */
import type { GroupStrategy } from '@muster/base';
import type { Cluster, NodeRow } from '../cluster.js';
import { labelOf } from '../labels.js';
import type { GroupRequest, PlacementRequest } from '../request.js';
import { Shape } from '../shape.js';
import { classesOf, type BundleClass, type Placed } from './bundles.js';
import { Draft } from './draft.js';
import { pack } from './pack.js';
import { search } from './search.js';
import { spread } from './spread.js';
import { strictPack } from './strict-pack.js';
import { strictSpread } from './strict-spread.js';

const STRATEGIES: Readonly<Record<GroupStrategy, (draft: Draft, classes: readonly BundleClass[], nodes: readonly NodeRow[]) => boolean>> = {
  pack, spread, 'strict-pack': strictPack, 'strict-spread': strictSpread,
};

/** A group prepared against a cluster. */
export class GroupShape {
  readonly request: GroupRequest;
  readonly classes: readonly BundleClass[];
  readonly #cluster: Cluster;

  /** `shapeOf`: gives the cluster's shape for a request, so that groups with equal bundles share one. */
  constructor(cluster: Cluster, request: GroupRequest, shapeOf: (request: PlacementRequest, key: string) => Shape = (each) => new Shape(cluster, each)) {
    this.#cluster = cluster;
    this.request = request;
    this.classes = classesOf(cluster, request, shapeOf);
  }

  /**
   * A node for every bundle, or null when there is none. Nothing is held: the caller does that, at once.
   * `fixed` holds the place of those bundles that lie somewhere already; they stay there.
   */
  plan(fixed: readonly (Placed | null)[] = this.request.bundles.map(() => null)): readonly Placed[] | null {
    if (this.classes.some((each) => each.shape.best() === null && each.members.some((member) => fixed[member] === null))) return null;
    const candidates = [...this.#cluster.rows()].filter((node) => this.classes.some((each) => each.shape.fits(node)));
    for (const nodes of this.#sameDomains(candidates, fixed)) {
      const placed = this.#planOn(nodes, fixed);
      if (placed !== null) return placed;
    }
    return null;
  }

  /** The sets of nodes that have one value in each level of `same`, those with the least room beyond what is needed first. */
  #sameDomains(candidates: readonly NodeRow[], fixed: readonly (Placed | null)[]): readonly (readonly NodeRow[])[] {
    const levels = this.request.topology.filter((term) => term.rule === 'same').map((term) => term.level);
    if (levels.length === 0) return [candidates];
    const survivor = fixed.find((placed) => placed !== null);
    const home = survivor === undefined ? undefined : this.#cluster.rowOf(survivor!.nodeId);
    const domains = [...partition(candidates, levels).values()].filter((nodes) => home === undefined || levels.every((level) => labelOf(nodes[0]!, level) === labelOf(home, level)));
    return this.#byRoom(domains, fixed);
  }

  /** Those that may have room for all of the group, by how much they have beyond it. */
  #byRoom(domains: readonly (readonly NodeRow[])[], fixed: readonly (Placed | null)[]): readonly (readonly NodeRow[])[] {
    if (domains.length < 2) return domains;
    const draft = this.#draft(fixed);
    const rooms = domains.map((nodes) => ({ nodes, spare: this.#spareIn(draft, nodes) }));
    return rooms.filter(({ spare }) => spare >= 0).sort((a, b) => a.spare - b.spare || a.nodes[0]!.row - b.nodes[0]!.row).map(({ nodes }) => nodes);
  }

  /** How many more bundles than needed the nodes have room for, of the class that is the shortest; negative: too few. */
  #spareIn(draft: Draft, nodes: readonly NodeRow[]): number {
    let spare = Infinity;
    const isSpread = this.request.strategy === 'strict-spread';
    for (const each of this.classes) {
      let room = 0;
      for (const node of nodes) room += draft.capacity(node, each, isSpread ? 1 : Infinity);
      spare = Math.min(spare, room - draft.leftOf(each));
    }
    return spare;
  }

  #planOn(nodes: readonly NodeRow[], fixed: readonly (Placed | null)[]): readonly Placed[] | null {
    const level = this.request.topology.find((term) => term.rule === 'fewest')?.level;
    if (level === undefined) return this.#place(nodes, fixed);
    const domains = [...partition(nodes, [level]).values()];
    for (const domain of this.#byRoom(domains, fixed)) { // one value is the fewest there can be
      const placed = this.#place(domain, fixed);
      if (placed !== null) return placed;
    }
    const draft = this.#draft(fixed);
    const rooms = new Map(domains.map((domain) => [domain, this.#spareIn(draft, domain)]));
    const [first, ...others] = domains.sort((a, b) => rooms.get(b)! - rooms.get(a)! || a[0]!.row - b[0]!.row);
    let union: readonly NodeRow[] = first ?? [];
    for (const domain of others) {
      union = [...union, ...domain];
      const placed = this.#spareIn(draft, union) < 0 ? null : this.#place(union, fixed);
      if (placed !== null) return placed;
    }
    return null;
  }

  #place(nodes: readonly NodeRow[], fixed: readonly (Placed | null)[]): readonly Placed[] | null {
    const { strategy } = this.request;
    const draft = this.#draft(fixed);
    if (STRATEGIES[strategy](draft, this.classes, nodes)) return draft.placed as Placed[];
    const isExact = strategy === 'strict-pack' || strategy === 'strict-spread' || (this.classes.length === 1 && draft.limits.isNone);
    if (isExact) return null; // there is none
    const found = this.#draft(fixed);
    return search(found, this.classes, nodes) ? (found.placed as Placed[]) : null;
  }

  #draft(fixed: readonly (Placed | null)[]): Draft {
    return new Draft(this.#cluster, this.classes, this.request.topology, fixed);
  }
}

/** The nodes by their values of the levels; those that lack one are left out. */
function partition(nodes: readonly NodeRow[], levels: readonly string[]): Map<string, NodeRow[]> {
  const domains = new Map<string, NodeRow[]>();
  for (const node of nodes) {
    const values = levels.map((level) => labelOf(node, level));
    if (values.includes(undefined)) continue;
    const key = JSON.stringify(values);
    const known = domains.get(key);
    if (known === undefined) domains.set(key, [node]);
    else known.push(node);
  }
  return domains;
}

