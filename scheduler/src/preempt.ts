/**
 * Who must go so that a group of higher priority finds its place: as few and as unimportant as can be, and nobody who could have stayed.
 *
 * Tenants leave in the order of their priority and then of their age, the youngest first: what has run for long has the most to lose. The shortest run of that order
 * that makes room is found by halving; then each of the run who turns out not to be needed is spared, the most important first.
 */
import type { Cluster, Holding } from './cluster.js';
import type { Placed } from './group/bundles.js';
import { GroupShape } from './group/plan-group.js';
import type { GroupRequest } from './request.js';

/** What runs, and ends as a whole: a lease, or all leases of a gang. */
export interface Tenant {
  readonly id: string;
  readonly priority: number;
  readonly startedAtMs: number;
  readonly holdings: readonly (Holding & { readonly nodeId: string })[];
}

export interface Preemption {
  /** Those who must go, the least important first. */
  readonly victims: readonly Tenant[];
  /** Where the group's bundles then lie. */
  readonly placed: readonly Placed[];
}

/** Null when even all of lower priority together do not hold enough. Nobody of `priority` or above goes. */
export function preempt(cluster: Cluster, request: GroupRequest, priority: number, tenants: Iterable<Tenant>): Preemption | null {
  const candidates = [...tenants].filter((tenant) => tenant.priority < priority)
    .sort((a, b) => a.priority - b.priority || b.startedAtMs - a.startedAtMs || (a.id < b.id ? -1 : 1));
  const planWithout = (leaving: readonly Tenant[]): readonly Placed[] | null => new GroupShape(without(cluster, leaving), request).plan();
  let tooFew = -1;
  let enough = candidates.length;
  if (planWithout(candidates) === null) return null;
  while (enough - tooFew > 1) {
    const middle = (tooFew + enough) >> 1;
    if (planWithout(candidates.slice(0, middle)) === null) tooFew = middle;
    else enough = middle;
  }
  let victims: readonly Tenant[] = candidates.slice(0, enough);
  for (const tenant of [...victims].reverse()) {
    const others = victims.filter((other) => other !== tenant);
    if (planWithout(others) !== null) victims = others;
  }
  return { victims, placed: planWithout(victims)! };
}

/** The cluster as it will be when these have gone. */
function without(cluster: Cluster, tenants: readonly Tenant[]): Cluster {
  const later = cluster.fork();
  for (const { holdings } of tenants) for (const holding of holdings) if (later.has(holding.nodeId)) later.release(holding.nodeId, holding);
  return later;
}
