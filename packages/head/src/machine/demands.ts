/**
 * Who waits for how many leases of what, in which order they are served, and what they are told meanwhile.
 *
 * Demands whose requests fit the same nodes form a group: when one of them is refused, all are, until a node changes. So a
 * step costs time in proportion to the number of different requests that wait, not to the number of waiting owners.
 * Among all groups the demand with the fewest leases is next, and among equals it goes in turn.
 */
import { formatDurationMs } from '@muster/base';
import { place, requestKey, type PlacementRequest, type Shape } from '@muster/scheduler';
import { backoffMs } from './backoff.js';
import type { HeadContext } from './context.js';
import { FairQueue, type Queued } from './fair-queue.js';
import type { Lease } from './leases.js';
import { DEMAND_STATUS_INTERVAL_MS, LEASES_PER_DEMAND_MAX, STATUS_NODES_MAX, UNSIZED_LEASES_MAX } from './limits.js';
import { withAwaited, type AwaitedNode } from './lost-nodes.js';
import type { Nodes } from './nodes.js';
import type { Pool } from './pool.js';
import { SmallSet } from './small-set.js';

/** What somebody asks for: an owner for its tasks of one kind, or an actor for its one worker. */
export interface DemandSpec {
  /** The owner's number for it; 0 for an actor. */
  readonly demandId: number;
  /** Empty for tasks. */
  readonly actorId: string;
  readonly ownerId: string;
  readonly jobId: string;
  /** See PlacementHints. */
  readonly preferredNodeIds: readonly string[];
  /** On whose rows its leases are placed. */
  readonly pool: Pool;
  readonly request: PlacementRequest;
  /** In a placement group: what is made there runs in the group, too. */
  readonly capturesChildren: boolean;
  /** Set: spread, by these counts, which the demand keeps up to date. */
  readonly leasesByNode: Map<string, number> | null;
  readonly name: string;
}

/** What a waiting demand was last told. */
export interface DemandStatus {
  readonly isInfeasible: boolean;
  readonly reasons: string;
}

/** A demand, with what it has and how it stands in its queue. */
export interface Demand extends Omit<DemandSpec, 'preferredNodeIds' | 'pool' | 'request' | 'capturesChildren' | 'leasesByNode' | 'name'>, Queued {
  preferredNodeIds: readonly string[];
  pool: Pool;
  request: PlacementRequest;
  capturesChildren: boolean;
  /** Equal for demands that fit the same rows of the same pool. */
  requestKey: string;
  leasesByNode: Map<string, number> | null;
  name: string;
  /** How many leases it wants in all. */
  count: number;
  /** Those its holder has or will be given; not those it has returned. */
  readonly leases: SmallSet<Lease>;
  /** How many of its leases it has been asked to give back, and will soon: not the late ones. */
  askedBack: number;
  /** Since when it waits for its next lease. */
  waitingSinceMs: number;
  /** Workers in a row that did not start. Meanwhile it pauses until `delayedUntilMs`. */
  failures: number;
  delayedUntilMs: number;
  lastFailure: string;
  told: DemandStatus | null;
}

/** What a demand may change to. */
export type DemandChange = Pick<DemandSpec, 'pool' | 'request' | 'capturesChildren'> & { readonly isSpread: boolean };

/** The waiting demands whose requests fit the same rows. */
export interface DemandGroup {
  readonly pool: Pool;
  readonly shape: Shape;
  readonly queue: FairQueue<Demand>;
  /** The pool's revision and its cluster's epoch at the last refusal; -1 before the first. */
  refusedRevision: number;
  refusedEpoch: number;
  /** Why, as it was told last. Worked out when it is asked for, because that takes a look at every node. */
  explained: { readonly version: number; readonly reasons: string } | null;
  isInfeasible: boolean;
  /** Set: it would be infeasible, but a node that was lost lately could have held it. */
  awaited: AwaitedNode | null;
}

const NEVER = -1;

/** All that wait for leases, in the order in which they are served. */
export class Demands {
  readonly groups = new Map<string, DemandGroup>();
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #tell: (demand: Demand, status: DemandStatus) => void;
  readonly #delayed = new Set<Demand>();
  #turns = 0;
  #scheduledRevision = -1;
  #hasNew = false;
  #nextReportMs = 0;

  /** `tell` is called at once when a demand becomes infeasible, and at most once a second while it waits. */
  constructor(context: HeadContext, nodes: Nodes, tell: (demand: Demand, status: DemandStatus) => void) {
    this.#context = context;
    this.#nodes = nodes;
    this.#tell = tell;
  }

  /** Field by field: V8 would give each object that begins with a spread a shape of its own, of half a kilobyte. */
  create({ demandId, actorId, ownerId, jobId, preferredNodeIds, pool, request, capturesChildren, leasesByNode, name }: DemandSpec): Demand {
    const key = keyIn(pool, request);
    return {
      demandId, actorId, ownerId, jobId, preferredNodeIds, pool, request: pool.shapes.of(request, key).request, capturesChildren, leasesByNode, name, requestKey: key, count: 0,
      leases: new SmallSet(), askedBack: 0, waitingSinceMs: 0, failures: 0, delayedUntilMs: 0, lastFailure: '', told: null, level: null, turn: 0,
    };
  }

  /** The newest count counts. Leases beyond it are not taken back here. */
  want(demand: Demand, count: number): void {
    demand.count = count;
    this.#refresh(demand);
  }

  /** The request may change under one number; the leases it has stay. */
  change(demand: Demand, { pool, request, capturesChildren, isSpread }: DemandChange): void {
    if (!isSpread) demand.leasesByNode = null;
    else demand.leasesByNode ??= countByNode(demand.leases);
    demand.capturesChildren = capturesChildren;
    const key = keyIn(pool, request);
    if (key === demand.requestKey) return;
    this.#leaveQueue(demand);
    demand.pool = pool;
    demand.request = request;
    demand.requestKey = key;
    this.#refresh(demand);
  }

  hold(demand: Demand, lease: Lease): void {
    demand.leases.add(lease);
    count(demand.leasesByNode, lease.node.id, 1);
    this.#refresh(demand);
  }

  release(demand: Demand, lease: Lease): void {
    if (!demand.leases.delete(lease)) return;
    count(demand.leasesByNode, lease.node.id, -1);
    if (lease.askedBackAtMs !== null && !lease.isLate) demand.askedBack--;
    this.#refresh(demand);
  }

  /** A worker did not start: the demand pauses, longer each time. */
  startFailed(demand: Demand, what: string): void {
    this.delay(demand, backoffMs(++demand.failures), what);
  }

  startSucceeded(demand: Demand): void {
    demand.failures = 0;
  }

  delay(demand: Demand, delayMs: number, why: string): void {
    demand.delayedUntilMs = this.#context.nowMs + delayMs;
    demand.lastFailure = why;
    this.#delayed.add(demand);
    this.#refresh(demand);
  }

  /** Why the demand waits at this moment, or null when it does not. */
  waitsFor(demand: Demand): DemandStatus | null {
    if (demand.leases.size >= this.#wanted(demand)) return null;
    if (this.#delayed.has(demand)) {
      return { isInfeasible: false, reasons: `${demand.lastFailure}; tried again in ${formatDurationMs(demand.delayedUntilMs - this.#context.nowMs)}` };
    }
    return this.outlook(demand.pool, demand.request) ?? { isInfeasible: false, reasons: 'it is next' };
  }

  /** Why such a request would wait at this moment, or null when some row has room for it. */
  outlook(pool: Pool, request: PlacementRequest): DemandStatus | null {
    const shape = pool.shapes.of(request, keyIn(pool, request));
    if (shape.best() !== null) return null;
    const awaited = shape.isFeasible ? null : pool.awaitedBy(request);
    return { isInfeasible: !shape.isFeasible && awaited === null, reasons: withAwaited(pool.explain(request), awaited) };
  }

  /** A placement group's rows have changed, so that demands in it are worth another try. */
  wake(): void {
    this.#hasNew = true;
  }

  /** Gives leases to all that wait and fit, in fair order. `grant` must make the demand hold the lease, on that row of its pool. */
  schedule(grant: (demand: Demand, row: string) => void): void {
    if (!this.#hasNew && this.#scheduledRevision === this.#nodes.revision) return;
    for (let demand = this.#next(); demand !== null; demand = this.#next()) {
      const group = this.groups.get(demand.requestKey)!;
      const row = place(group.pool.cluster, group.shape, group.pool.hintsFor(demand));
      if (row !== null) grant(demand, row);
      else this.#refuse(group);
    }
    this.#hasNew = false;
    this.#scheduledRevision = this.#nodes.revision;
  }

  /** Lets paused demands go on and tells waiting ones why they wait. */
  tick(): void {
    const { nowMs } = this.#context;
    for (const demand of this.#delayed) {
      if (demand.delayedUntilMs > nowMs) continue;
      this.#delayed.delete(demand);
      this.#refresh(demand);
    }
    for (const group of this.groups.values()) if (group.awaited !== null && group.awaited.untilMs <= nowMs) this.#tryAgain(group);
    if (nowMs < this.#nextReportMs) return;
    this.#nextReportMs = nowMs + DEMAND_STATUS_INTERVAL_MS;
    this.#tellWaiting();
    for (const demand of this.#delayed) {
      const status = this.waitsFor(demand);
      if (status !== null) this.#report(demand, status);
    }
  }

  /** Those that were told the longest ago first, because a look at every node takes its time. */
  #tellWaiting(): void {
    let nodesLeft = STATUS_NODES_MAX;
    for (const group of [...this.groups.values()].sort((a, b) => (a.explained?.version ?? 0) - (b.explained?.version ?? 0))) {
      if (nodesLeft <= 0) break;
      if (!this.#isRefused(group)) continue; // it is tried again in this step
      const waiting = [...group.queue].filter((demand) => this.#context.nowMs - demand.waitingSinceMs >= DEMAND_STATUS_INTERVAL_MS);
      const { cluster } = group.pool;
      if (waiting.length > 0 && group.explained?.version !== cluster.version) nodesLeft -= cluster.size;
      // An actor that is told may die, and take others with it.
      for (const demand of waiting) if (demand.level !== null) this.#report(demand, this.#statusOf(group));
    }
  }

  #wanted(demand: Demand): number {
    for (const _ in demand.request.resources) return Math.min(demand.count, LEASES_PER_DEMAND_MAX);
    return Math.min(demand.count, UNSIZED_LEASES_MAX);
  }

  /** Puts the demand where it belongs, after its count, its leases or its pause changed. */
  #refresh(demand: Demand): void {
    if (demand.count === 0) this.#delayed.delete(demand);
    if (demand.leases.size >= this.#wanted(demand) || this.#delayed.has(demand)) this.#leaveQueue(demand);
    else this.#queue(demand);
  }

  #queue(demand: Demand): void {
    let group = this.groups.get(demand.requestKey);
    if (group === undefined) {
      const { pool } = demand;
      group = {
        pool, shape: pool.shapes.of(demand.request, demand.requestKey), queue: new FairQueue(), refusedRevision: NEVER, refusedEpoch: NEVER, explained: null,
        isInfeasible: false, awaited: null,
      };
      this.groups.set(demand.requestKey, group);
    }
    const level = demand.leases.size;
    if (demand.level === null || demand.level < level) demand.waitingSinceMs = this.#context.nowMs;
    group.queue.put(demand, level, this.#turns++);
    if (!this.#isRefused(group)) this.#hasNew = true;
    else if (group.isInfeasible) this.#reportFeasibility(demand, group);
  }

  #leaveQueue(demand: Demand): void {
    demand.told = null;
    const group = this.groups.get(demand.requestKey);
    if (demand.level === null || group === undefined) return;
    group.queue.remove(demand);
    if (group.queue.size === 0) this.groups.delete(demand.requestKey);
  }

  /** The neediest demand of those groups that have not been refused since the nodes last changed. */
  #next(): Demand | null {
    let next: Demand | null = null;
    for (const group of this.groups.values()) {
      if (this.#isRefused(group)) continue;
      const demand = group.queue.first()!;
      if (next === null || demand.level! < next.level! || (demand.level === next.level && demand.turn < next.turn)) next = demand;
    }
    return next;
  }

  /** Whether the group's last refusal still holds: until anything changes, or, of an infeasible one, until nodes come or go. */
  #isRefused({ pool, isInfeasible, refusedEpoch, refusedRevision }: DemandGroup): boolean {
    return isInfeasible ? refusedEpoch === pool.cluster.epoch : refusedRevision === pool.revision;
  }

  #refuse(group: DemandGroup): void {
    const { pool, shape, isInfeasible: wasInfeasible } = group;
    group.refusedRevision = pool.revision;
    group.refusedEpoch = pool.cluster.epoch;
    group.awaited = shape.isFeasible ? null : pool.awaitedBy(shape.request);
    group.isInfeasible = !shape.isFeasible && group.awaited === null;
    if (!wasInfeasible && !group.isInfeasible) return;
    // An actor that is told may die, and take others with it.
    for (const demand of [...group.queue]) if (demand.level !== null) this.#reportFeasibility(demand, group);
  }

  /** Its last refusal holds no longer, though the nodes are the same. */
  #tryAgain(group: DemandGroup): void {
    group.awaited = null;
    group.refusedRevision = NEVER;
    this.#hasNew = true;
  }

  #statusOf(group: DemandGroup): DemandStatus {
    const { cluster } = group.pool;
    if (group.explained?.version !== cluster.version) group.explained = { version: cluster.version, reasons: group.pool.explain(group.shape.request) };
    return { isInfeasible: group.isInfeasible, reasons: withAwaited(group.explained.reasons, group.awaited) };
  }

  #reportFeasibility(demand: Demand, group: DemandGroup): void {
    if ((demand.told?.isInfeasible ?? false) !== group.isInfeasible) this.#report(demand, this.#statusOf(group));
  }

  #report(demand: Demand, status: DemandStatus): void {
    const { told } = demand;
    if (told?.isInfeasible === status.isInfeasible && told.reasons === status.reasons) return;
    demand.told = status;
    this.#tell(demand, status);
  }
}

/** Requests of placement groups are those of one group, whose rows no others have. */
const keyIn = ({ groupId }: Pool, request: PlacementRequest): string => (groupId === '' ? requestKey(request) : `${groupId} ${requestKey(request)}`);

function countByNode(leases: Iterable<Lease>): Map<string, number> {
  const leasesByNode = new Map<string, number>();
  for (const lease of leases) count(leasesByNode, lease.node.id, 1);
  return leasesByNode;
}

function count(leasesByNode: Map<string, number> | null, nodeId: string, change: number): void {
  if (leasesByNode === null) return;
  const sum = (leasesByNode.get(nodeId) ?? 0) + change;
  if (sum === 0) leasesByNode.delete(nodeId);
  else leasesByNode.set(nodeId, sum);
}
