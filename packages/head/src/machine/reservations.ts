/**
 * Keeps room for who is first in the line of its priority and needs much: a placement group, or a demand that holds nothing. It is promised the earliest moment
 * at which it fits, by the durations that users expect of what runs; where these are not known, it is kept what comes back until all of it is there. Owners are asked
 * for their leases just in time, and whatever does not delay the promise goes on (see claims.ts).
 *
 * Counted on are only tasks that run, and what has a known end: actors of unknown duration may stay for ever, and a task that waits for others may wait for some
 * that need the same room. A promise that counts on something that does so later is made anew.
 */
import { reserve, type Ending, type GroupRequest, type Reservation } from '@muster/scheduler';
import { isGroup, type Claim, type Claimant, type Claims } from './claims.js';
import type { HeadContext } from './context.js';
import type { Demand, Demands } from './demands.js';
import type { Group } from './group.js';
import type { Groups } from './groups.js';
import { endsAtMs, isLeaving, type Lease, type Leases } from './leases.js';
import { RECLAIM_RESEND_MS, RESERVATION_INTERVAL_MS, RESERVE_AFTER_MS, UNKNOWN_DURATION_MS } from './limits.js';
import type { Nodes } from './nodes.js';
import type { Queues } from './queues.js';
import { laterCluster, tenantsOf } from './tenants.js';

/** The parts of the machine that reservations look at. */
interface Parts {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
  readonly demands: Demands;
  readonly claims: Claims;
  readonly leases: Leases;
  readonly groups: Groups;
}

/** What runs, and its expected end. */
interface HeadEnding extends Ending {
  readonly who: Lease | Group;
}

/** At most one for each priority. */
export class Reservations {
  readonly #parts: Parts;
  readonly #askBack: (lease: Lease) => void;
  readonly #made = new Map<Claimant, readonly HeadEnding[]>();
  #nextRoundMs = 0;

  /** `askBack` asks the lease's owner to return it. */
  constructor(parts: Parts, askBack: (lease: Lease) => void) {
    this.#parts = parts;
    this.#askBack = askBack;
  }

  tick(): void {
    const { nowMs } = this.#parts.context;
    this.#askForDue();
    if (nowMs < this.#nextRoundMs) return;
    this.#nextRoundMs = nowMs + RESERVATION_INTERVAL_MS;
    this.#review();
    for (const holder of this.#firsts()) this.#reserveFor(holder);
  }

  /** What has to come back in time is asked for. */
  #askForDue(): void {
    for (const [holder, awaited] of this.#made) {
      const own = this.#claimsOf(holder);
      if (own.length === 0) continue;
      const { startsAtMs } = own[0]!;
      for (const node of new Set(own.map((claim) => claim.node))) {
        for (const lease of node.leases) if (this.#isDue(lease, holder, startsAtMs)) this.#askBack(lease);
      }
      for (const { who } of awaited) if (isLease(who) && this.#isOverdue(who)) this.#askBack(who);
    }
  }

  /** Promises that were served or dropped are forgotten; those that count on what does not come, or that others got ahead of, are made anew. */
  #review(): void {
    const { claims, groups } = this.#parts;
    for (const [holder, awaited] of [...this.#made]) { // what is made anew here is looked at in the next round
      const own = this.#claimsOf(holder);
      if (own.length > 0 && !awaited.some(({ who }) => isLease(who) && who.isBlocked) && claims.willHaveRoom(own)) continue;
      claims.drop(...own);
      this.#made.delete(holder);
      if (own.length > 0 && (isGroup(holder) ? groups.isWaiting(holder) : holder.level === 0)) this.#reserveFor(holder);
    }
  }

  #claimsOf(holder: Claimant): Claim[] {
    return this.#parts.claims.of(holder).filter((claim) => claim.origin === 'reservation');
  }

  /** Whether the lease was asked for long enough ago to be asked for again. */
  #isOverdue({ id, state, askedBackAtMs }: Lease): boolean {
    const { context, leases } = this.#parts;
    return state === 'running' && leases.byId.has(id) && askedBackAtMs !== null && context.nowMs - askedBackAtMs >= RECLAIM_RESEND_MS;
  }

  /** Whether a task that began on the lease now would end too late. */
  #isDue(lease: Lease, holder: Claimant, startsAtMs: number): boolean {
    const { nodes, leases, context } = this.#parts;
    if (lease.pool !== nodes || lease.demand === holder || lease.demand.actorId !== '' || lease.demand.priority > holder.priority) return false;
    if (lease.state !== 'running' || lease.isBlocked || lease.askedBackAtMs !== null || leases.byId.get(lease.id) !== lease) return false;
    const isAwaited = this.#made.get(holder)!.some(({ who }) => who === lease);
    return lease.demand.expectedDurationMs === null ? isAwaited : endsAtMs(lease, context.nowMs) >= startsAtMs;
  }

  /** The first in line of each priority that has waited for a while and has no claims: groups before demands, which need less. */
  #firsts(): Claimant[] {
    const { context, claims, groups } = this.#parts;
    const hasWaited = (holder: Claimant): boolean => context.nowMs - holder.waitingSinceMs >= RESERVE_AFTER_MS;
    const firsts = new Map<number, Claimant>();
    for (const holder of [...groups.firstInLine(), ...this.#needyDemands()]) {
      if (!firsts.has(holder.priority) && hasWaited(holder)) firsts.set(holder.priority, holder);
    }
    const served = new Set([...this.#made.keys()].map((holder) => holder.priority));
    return [...firsts.values()].filter((holder) => !served.has(holder.priority) && claims.of(holder).length === 0);
  }

  #needyDemands(): Demand[] {
    const { nodes, queues, demands } = this.#parts;
    const needy: Demand[] = [];
    for (const { isInfeasible, isOverQuota, pool, waiting } of demands.groups.values()) {
      const demand = waiting.first()!;
      if (!isInfeasible && !isOverQuota && pool === nodes && demand.level === 0) needy.push(demand);
    }
    return needy.sort((a, b) => queues.compare(a, b) || a.turn - b.turn);
  }

  #reserveFor(holder: Claimant): void {
    const { context, nodes, claims } = this.#parts;
    const request: GroupRequest = isGroup(holder) ? holder.request : { bundles: [holder.request], strategy: 'pack', topology: [] };
    const reservation = this.#plan(holder, request);
    if (reservation === null) return;
    const { startsAtMs, placed, awaited } = reservation;
    const isKnown = startsAtMs < context.nowMs + UNKNOWN_DURATION_MS;
    this.#made.set(holder, awaited);
    claims.add(...placed.map(({ nodeId }, index): Claim => ({
      holder, request: request.bundles[index]!, node: nodes.byId.get(nodeId)!, startsAtMs: isKnown ? startsAtMs : context.nowMs, untilMs: Infinity,
      awaited: new Set(awaited.filter((each) => each.nodeId === nodeId).map(({ who }) => who)), origin: 'reservation',
    })));
  }

  /** Of a demand, only if its start is known: else rounds of fairness find the node where the fewest leases have to come back. */
  #plan(holder: Claimant, request: GroupRequest): Reservation<HeadEnding> | null {
    const endings = this.#endings(holder);
    const known = reserve(this.#later(holder), request, endings);
    if (known !== null || !isGroup(holder)) return known;
    const unknownAtMs = this.#parts.context.nowMs + UNKNOWN_DURATION_MS;
    const isCountable = ({ who }: HeadEnding): boolean => isLease(who) && who.demand.actorId === '' && !who.isBlocked;
    return reserve(this.#later(holder), request, endings.map((each) => (each.endsAtMs === Infinity && isCountable(each) ? { ...each, endsAtMs: unknownAtMs } : each)));
  }

  /** Nodes that others have claimed who go first are theirs. Who hopes for its first lease there has it before, and no other comes after. */
  #later({ priority }: Claimant): ReturnType<typeof laterCluster> {
    const { nodes, claims } = this.#parts;
    const later = laterCluster(nodes);
    for (const { holder, node, origin } of claims.all) {
      if (holder.priority > priority || (holder.priority === priority && origin !== 'fairness')) later.setCondition(node.id, 'reserved');
    }
    return later;
  }

  #endings({ priority }: Claimant): HeadEnding[] {
    const { context, nodes, leases, groups } = this.#parts;
    const endings: HeadEnding[] = [];
    for (const { who, holdings } of tenantsOf(nodes, leases.byId.values(), groups.live.values())) {
      if (isLeaving(who) || (isLease(who) && (who.isBlocked || who.demand.priority > priority))) continue;
      const ends = endsAtMs(who, context.nowMs);
      for (const { nodeId, resources, gpuIds } of holdings) endings.push({ nodeId, resources, gpuIds, who, endsAtMs: ends }); // a spread would cost ten times as much
    }
    return endings;
  }
}

const isLease = (who: Lease | Group): who is Lease => 'place' in who;
