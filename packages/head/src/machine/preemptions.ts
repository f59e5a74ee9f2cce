/**
 * Takes leases from jobs of lower priority for demands that wait, when asking for them has not helped: the fewest and the least important, with notice.
 *
 *   running ──notice (its AbortSignal fires)──> leaving ──gives up by itself, or is ended after the grace period──> gone
 *                                                  └──nobody needs its room any more──> goes on
 *
 * The room is claimed for who it is freed for. Nobody takes from its own priority or from a higher one.
 */
import { Preemptor, Shape, type Cluster, type Holding, type Preemption, type Tenant } from '@muster/scheduler';
import type { Claim, Claims } from './claims.js';
import type { HeadContext } from './context.js';
import type { Demand, Demands } from './demands.js';
import { isLeaving, taken, type Lease, type Leases } from './leases.js';
import { FAIRNESS_DEMANDS_MAX, PREEMPT_AFTER_MS, PREEMPTION_INTERVAL_MS, PREEMPTION_SLACK_MS, PREEMPTIONS_PER_DEMAND_MAX } from './limits.js';
import type { Nodes } from './nodes.js';
import type { Queues } from './queues.js';

/** The parts of the machine that a preemption concerns. */
interface Parts {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
  readonly demands: Demands;
  readonly claims: Claims;
  readonly leases: Leases;
}

/** How those concerned hear of it. */
export interface PreemptionNotices {
  /** Asks the lease's owner to return it. */
  askBack(lease: Lease): void;
  /** Tells its worker that it will be ended. */
  warn(lease: Lease, graceMs: number): void;
}

/** A lease as the scheduler sees it here. */
interface LeaseTenant extends Tenant {
  readonly lease: Lease;
}

/** A lease whose time is running out, for whom, and until when. */
interface Notice {
  readonly lease: Lease;
  /** Null: for its queue's quota. */
  readonly claim: Claim | null;
  readonly demand: Demand;
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
    const waiting = this.#waiting();
    if (waiting.length === 0) return;
    const preemptor = new Preemptor(this.#later(), this.#tenantsBelow(waiting[0]!.priority));
    for (const demand of waiting) this.#makeRoom(demand, preemptor);
  }

  /** Those that have waited for long enough, and for whom somebody might have to go: in the order in which they are served. */
  #waiting(): Demand[] {
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

  /** The cluster when all that is about to leave has left, and those for whom it does have its room. */
  #later(): Cluster {
    const { nodes, claims } = this.#parts;
    const later = nodes.cluster.fork();
    for (const node of nodes.byId.values()) {
      for (const lease of node.leases) if (lease.pool === nodes && isLeaving(lease)) later.release(node.id, holdingOf(lease));
      if (node.row.condition === 'reserved') later.setCondition(node.id, 'ready');
    }
    const shapes = new Map<string, Shape>();
    for (const { demand, node, isForFirst } of claims.all) {
      if (isForFirst) continue; // nobody leaves for it
      const { request, requestKey } = demand;
      const shape = shapes.get(requestKey) ?? new Shape(later, request);
      shapes.set(requestKey, shape);
      if (shape.hasRoom(later.rowOf(node.id)!)) later.hold(node.id, request.resources);
      else later.setCondition(node.id, 'reserved'); // what it waits for cannot be foreseen
    }
    return later;
  }

  #tenantsBelow(priority: number): LeaseTenant[] {
    const tenants: LeaseTenant[] = [];
    for (const lease of this.#parts.leases.byId.values()) {
      if (lease.state !== 'running' || lease.pool !== this.#parts.nodes || isLeaving(lease) || lease.demand.priority >= priority) continue;
      const holdings = [{ nodeId: lease.node.id, ...holdingOf(lease) }];
      tenants.push({ id: lease.id, priority: lease.demand.priority, startedAtMs: lease.runningSinceMs!, holdings, lease });
    }
    return tenants;
  }

  #makeRoom(demand: Demand, preemptor: Preemptor<LeaseTenant>): void {
    const { demands, claims } = this.#parts;
    const missing = demands.missing(demand) - claims.of(demand).filter((claim) => !claim.isForFirst).length;
    const request = { bundles: [demand.request], strategy: 'pack', topology: [] } as const;
    for (let count = Math.min(missing, PREEMPTIONS_PER_DEMAND_MAX); count > 0; count--) {
      const preemption = preemptor.preempt(request, demand.priority);
      if (preemption === null) return;
      if (preemption.victims.length > 0) this.#notify(demand, preemption);
    }
  }

  /** Room that was only hoped for is claimed no longer: now it is known where it will be. */
  #notify(demand: Demand, { victims, placed }: Preemption<LeaseTenant>): void {
    const { context, nodes, claims } = this.#parts;
    const graceMs = Math.max(...victims.map(({ lease }) => lease.demand.queue.settings.gracePeriodMs));
    const startsAtMs = context.nowMs + graceMs;
    const node = nodes.byId.get(placed[0]!.nodeId)!;
    for (const hope of claims.of(demand)) if (hope.isForFirst) claims.drop(hope);
    const claim = claims.add({ demand, node, startsAtMs, untilMs: startsAtMs + PREEMPTION_SLACK_MS, isForFirst: false });
    for (const { lease } of victims) {
      const { gracePeriodMs } = lease.demand.queue.settings;
      lease.preemption = `${demand.jobId} of priority ${demand.priority} needs its room`;
      this.#pending.add({ lease, claim, demand, killAtMs: context.nowMs + gracePeriodMs });
      context.log('info', 'lease-preempted', { leaseId: lease.id, jobId: lease.demand.jobId, byJobId: demand.jobId, gracePeriodMs });
      if (lease.demand.actorId === '') this.#notices.askBack(lease);
      this.#notices.warn(lease, gracePeriodMs);
    }
  }

  #carryOut(notice: Notice): void {
    const { context, leases, claims } = this.#parts;
    const { lease, claim, killAtMs } = notice;
    const isGone = leases.byId.get(lease.id) !== lease;
    if (!isGone && context.nowMs < killAtMs) return;
    this.#pending.delete(notice);
    const isNeeded = claim === null || claims.has(claim);
    if (!isGone && isNeeded) leases.end(lease, { kill: true, reason: `it was preempted: ${lease.preemption}`, tell: true });
  }
}

const holdingOf = (lease: Lease): Holding => ({ resources: taken(lease), gpuIds: lease.place.gpuIds });
