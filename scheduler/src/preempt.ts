/**
 * Who must go so that a group of higher priority finds its place: as few and as unimportant as can be, and nobody who could have stayed.
 *
 * Tenants leave in the order of their priority and then of their age, the youngest first: what has run for long has the most to lose. The shortest run of that order
 * that makes room is found by halving; then each of the run who turns out not to be needed is spared, the most important first.
 */
import { requestKey, type GroupRequest, type PlacementRequest } from './request.js';
import type { Cluster, Holding } from './cluster.js';
import type { Placed } from './group/bundles.js';
import { GroupShape } from './group/plan-group.js';
import { Shape } from './shape.js';

/** What runs, and ends as a whole: a lease, or all leases of a gang. */
export interface Tenant {
  readonly id: string;
  readonly priority: number;
  readonly startedAtMs: number;
  readonly holdings: readonly (Holding & { readonly nodeId: string })[];
}

export interface Preemption<Each extends Tenant = Tenant> {
  /** Those who must go, the least important first. */
  readonly victims: readonly Each[];
  /** Where the group's bundles then lie. */
  readonly placed: readonly Placed[];
}

/** Plans for several groups, one after the other: what one was promised, the next does not find. */
export class Preemptor<Each extends Tenant = Tenant> {
  readonly #cluster: Cluster;
  #tenants: readonly Each[];
  readonly #shapes = new Map<string, Shape>();

  /** The cluster must be a fork of its own: it is changed to what it will be. */
  constructor(cluster: Cluster, tenants: Iterable<Each>) {
    this.#cluster = cluster;
    this.#tenants = [...tenants].sort((a, b) => a.priority - b.priority || b.startedAtMs - a.startedAtMs || (a.id < b.id ? -1 : 1));
  }

  /** Null when even all of lower priority together do not hold enough. Nobody of `priority` or above goes. */
  preempt(request: GroupRequest, priority: number): Preemption<Each> | null {
    const candidates = this.#tenants.filter((tenant) => tenant.priority < priority);
    const shape = new GroupShape(this.#cluster, request, (each, key) => this.#shapeOf(each, key));
    let gone = 0;
    const planWithout = (count: number): readonly Placed[] | null => {
      while (gone < count) this.#leave(candidates[gone++]!);
      while (gone > count) this.#stay(candidates[--gone]!);
      return shape.plan();
    };
    let tooFew = -1;
    let enough = candidates.length;
    if (planWithout(enough) === null) {
      planWithout(0);
      return null;
    }
    while (enough - tooFew > 1) {
      const middle = (tooFew + enough) >> 1;
      if (planWithout(middle) === null) tooFew = middle;
      else enough = middle;
    }
    let placed = planWithout(enough)!;
    let victims: readonly Each[] = candidates.slice(0, enough);
    for (const tenant of [...victims].reverse()) {
      this.#stay(tenant);
      const isInTheWay = tenant.holdings.some(({ nodeId }) => placed.some((each) => each.nodeId === nodeId));
      const others = isInTheWay ? shape.plan() : placed;
      if (others === null) {
        this.#leave(tenant);
        continue;
      }
      placed = others;
      victims = victims.filter((other) => other !== tenant);
    }
    this.#tenants = this.#tenants.filter((tenant) => !victims.includes(tenant));
    placed.forEach(({ nodeId, gpuIds }, index) => this.#cluster.holdAt(nodeId, { resources: request.bundles[index]!.resources, gpuIds }));
    return { victims, placed };
  }

  #shapeOf(request: PlacementRequest, key = requestKey(request)): Shape {
    const shape = this.#shapes.get(key) ?? new Shape(this.#cluster, request);
    this.#shapes.set(key, shape);
    return shape;
  }

  #leave({ holdings }: Tenant): void {
    for (const holding of holdings) if (this.#cluster.has(holding.nodeId)) this.#cluster.release(holding.nodeId, holding);
  }

  #stay({ holdings }: Tenant): void {
    for (const holding of holdings) if (this.#cluster.has(holding.nodeId)) this.#cluster.holdAt(holding.nodeId, holding);
  }
}
