/**
 * Takes room from jobs of lower priority for those that wait, when asking has not helped: from the fewest and the least important, with notice.
 *
 *   running ──notice (its AbortSignal fires)──> leaving ──gives up by itself, or is ended after the grace period──> gone
 *                                                  └──nobody needs its room any more──> goes on
 *
 * The room is claimed for who it is freed for. Nobody takes from its own priority or from a higher one. A placement group goes whole.
 */
import { requestKey, type GroupRequest, type Preemption, Preemptor, Shape, type Tenant } from '@muster/scheduler';
import { isGroup, NOBODY, type Claim, type Claimant, type Claims } from './claims.js';
import type { HeadContext } from './context.js';
import type { Demand, Demands } from './demands.js';
import type { Group } from './group.js';
import type { Groups } from './groups.js';
import { isLeaving, type Lease, type Leases } from './leases.js';
import { FAIRNESS_DEMANDS_MAX, PREEMPT_AFTER_MS, PREEMPTION_INTERVAL_MS, PREEMPTION_SLACK_MS, PREEMPTIONS_PER_DEMAND_MAX } from './limits.js';
import type { Nodes } from './nodes.js';
import type { Queues } from './queues.js';
import { laterCluster, nodesOf, tenantsOf, type HeadTenant } from './tenants.js';

/** The parts of the machine that a preemption concerns. */
interface Parts {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
  readonly demands: Demands;
  readonly claims: Claims;
  readonly leases: Leases;
  readonly groups: Groups;
}

/** How those concerned hear of it. */
export interface PreemptionNotices {
  /** Asks the lease's owner to return it. */
  askBack(lease: Lease): void;
  /** Tells its worker that it will be ended. */
  warn(lease: Lease, graceMs: number): void;
}

type Victim = HeadTenant & Tenant;

/** Somebody whose time is running out, and when it is over. */
interface Notice {
  readonly who: Lease | Group;
  readonly killAtMs: number;
}

/** Rounds of preemption. */
export class Preemptions {
  readonly #parts: Parts;
  readonly #notices: PreemptionNotices;
  readonly #pending = new Set<Notice>();
  #nextRoundMs = 0;

  constructor(parts: Parts, notices: PreemptionNotices) {
    this.#parts = parts;
    this.#notices = notices;
  }

  tick(): void {
    const { nowMs } = this.#parts.context;
    for (const notice of this.#pending) this.#carryOut(notice);
    if (nowMs < this.#nextRoundMs) return;
    this.#nextRoundMs = nowMs + PREEMPTION_INTERVAL_MS;
    const waiting = [...this.#waitingGroups(), ...this.#waitingDemands()].sort((a, b) => this.#parts.queues.compare(a, b));
    let preemptor: Preemptor<Victim> | null = null;
    let above = Infinity;
    for (const holder of waiting) {
      const { priority } = holder;
      if (preemptor === null || this.#promises().some((claim) => claim.holder.priority >= priority && claim.holder.priority < above)) {
        preemptor = new Preemptor(this.#later(priority), this.#tenantsBelow(priority));
      }
      above = priority;
      this.#makeRoom(holder, preemptor);
    }
  }

  /** Those that have waited for long enough, and for whom somebody might have to go: in the order in which they are served. */
  #waitingDemands(): Demand[] {
    const { context, nodes, queues, demands } = this.#parts;
    const waiting: Demand[] = [];
    for (const group of demands.groups.values()) {
      if (group.isInfeasible || group.isOverQuota || group.pool !== nodes || !queues.hasBelow(group.priority)) continue;
      let looked = 0;
      for (const demand of group.waiting) {
        if (looked++ === FAIRNESS_DEMANDS_MAX) break;
        if (context.nowMs - demand.waitingSinceMs >= PREEMPT_AFTER_MS) waiting.push(demand);
      }
    }
    return waiting.sort((a, b) => queues.compare(a, b) || a.level! - b.level! || a.turn - b.turn).slice(0, FAIRNESS_DEMANDS_MAX);
  }

  #waitingGroups(): Group[] {
    const { context, queues, groups } = this.#parts;
    return groups.firstInLine().filter((group) => queues.hasBelow(group.priority) && context.nowMs - group.waitingSinceMs >= PREEMPT_AFTER_MS).slice(0, FAIRNESS_DEMANDS_MAX);
  }

  /** Claims for which somebody leaves, or has left. */
  #promises(): Claim[] {
    return this.#parts.claims.all.filter(({ origin }) => origin === 'preemption');
  }

  /** The cluster when all that is about to leave has left, and those for whom it does have its room, as far as they are of this priority or a higher one. */
  #later(priority: number): ReturnType<typeof laterCluster> {
    const later = laterCluster(this.#parts.nodes);
    const shapes = new Map<string, Shape>();
    for (const { holder, request, node } of this.#promises()) {
      if (holder.priority < priority) continue; // he goes without
      const key = requestKey(request);
      const shape = shapes.get(key) ?? new Shape(later, request);
      shapes.set(key, shape);
      if (shape.hasRoom(later.rowOf(node.id)!)) later.hold(node.id, request.resources);
      else later.setCondition(node.id, 'reserved'); // what it waits for cannot be foreseen
    }
    return later;
  }

  #tenantsBelow(priority: number): Victim[] {
    const { nodes, leases, groups } = this.#parts;
    return tenantsOf(nodes, leases.byId.values(), groups.live.values()).filter(({ who }) => !isLeaving(who) && rankOf(who).priority < priority)
      .map((tenant) => ({ ...tenant, id: tenant.who.id, priority: rankOf(tenant.who).priority }));
  }

  #makeRoom(holder: Claimant, preemptor: Preemptor<Victim>): void {
    const { demands } = this.#parts;
    const claimed = this.#claimedBy(holder);
    if (isGroup(holder)) {
      if (claimed === 0) this.#take(holder, holder.request, preemptor);
      return;
    }
    const request = { bundles: [holder.request], strategy: 'pack', topology: [] } as const;
    for (let count = Math.min(demands.missing(holder) - claimed, PREEMPTIONS_PER_DEMAND_MAX); count > 0; count--) {
      if (!this.#take(holder, request, preemptor)) return;
    }
  }

  /** How many claims it has for which somebody leaves. If that is not enough, because others got ahead of it, they count no longer. */
  #claimedBy(holder: Claimant): number {
    const { claims } = this.#parts;
    const own = claims.of(holder).filter((claim) => claim.origin === 'preemption');
    if (claims.willHaveRoom(own)) return own.length;
    claims.drop(...own);
    return 0;
  }

  /** False: nobody can make room. */
  #take(holder: Claimant, request: GroupRequest, preemptor: Preemptor<Victim>): boolean {
    const preemption = preemptor.preempt(request, holder.priority);
    if (preemption === null) return false;
    const isPromised = this.#promises().some((claim) => claim.holder.priority < holder.priority && preemption.placed.some(({ nodeId }) => nodeId === claim.node.id));
    if (preemption.victims.length > 0 || isPromised) this.#notify(holder, request, preemption);
    return true;
  }

  /** Room that was only hoped for is claimed no longer: now it is known where it will be. */
  #notify(holder: Claimant, request: GroupRequest, { victims, placed }: Preemption<Victim>): void {
    const { context, nodes, claims } = this.#parts;
    const graceOf = (who: Lease | Group): number => rankOf(who).queue.settings.gracePeriodMs;
    const leaving = [...this.#pending].filter(({ who }) => nodesOf(who).some((node) => placed.some(({ nodeId }) => nodeId === node.id))); // told before, for others
    const startsAtMs = Math.max(context.nowMs, ...victims.map(({ who }) => context.nowMs + graceOf(who)), ...leaving.map(({ killAtMs }) => killAtMs));
    const made = placed.map(({ nodeId }, index): Claim => ({
      holder, request: request.bundles[index]!, node: nodes.byId.get(nodeId)!, startsAtMs, untilMs: startsAtMs + PREEMPTION_SLACK_MS, awaited: NOBODY, origin: 'preemption',
    }));
    claims.drop(...claims.of(holder).filter((claim) => claim.origin !== 'preemption'));
    claims.add(...made);
    for (const { who } of victims) {
      const graceMs = graceOf(who);
      this.#pending.add({ who, killAtMs: context.nowMs + graceMs });
      context.log('info', 'preempted', { id: who.id, by: holder.jobId, priority: holder.priority, graceMs });
      this.#warn(who, `${holder.jobId} of priority ${holder.priority} needs its room`, graceMs);
    }
  }

  #warn(who: Lease | Group, reason: string, graceMs: number): void {
    who.preemption = reason;
    if (isLease(who)) {
      if (who.state !== 'running') return; // nothing runs on it yet, or any more
      if (who.demand.actorId === '') this.#notices.askBack(who);
      return this.#notices.warn(who, graceMs);
    }
    for (const lease of this.#parts.groups.leasesIn(who)) this.#warn(lease, reason, graceMs);
  }

  #carryOut(notice: Notice): void {
    const { context, leases, groups, claims } = this.#parts;
    const { who, killAtMs } = notice;
    const isGone = isLease(who) ? leases.byId.get(who.id) !== who : groups.live.get(who.id) !== who;
    if (!isGone && context.nowMs < killAtMs) return;
    this.#pending.delete(notice);
    if (isGone) return;
    if (claims.countOn(who, rankOf(who)) || (isLease(who) && this.#runsBeside(who))) {
      const reason = `it was preempted: ${who.preemption}`;
      if (isLease(who)) leases.end(who, { kill: true, reason, tell: true });
      else groups.evict(who, reason);
    } else this.#spare(who);
  }

  /** Who waited for its room has it already, as the worker had lent its cpus while it waited itself; now both run. */
  #runsBeside({ isBlocked, place: { node } }: Lease): boolean {
    return !isBlocked && this.#parts.nodes.isOverused(node);
  }

  /** What runs there was told, and may go on; until somebody else needs the room. */
  #spare(who: Lease | Group): void {
    who.preemption = null;
    if (!isLease(who)) for (const lease of this.#parts.groups.leasesIn(who)) lease.preemption = null;
  }
}

const isLease = (who: Lease | Group): who is Lease => 'place' in who;

/** Whose queue and priority a tenant counts for. */
const rankOf = (who: Lease | Group): Demand | Group => (isLease(who) ? who.demand : who);
