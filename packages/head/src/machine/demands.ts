/**
 * Who waits for how many leases of what, in which order they are served, and what they are told meanwhile.
 *
 * Demands of one queue, priority and expected duration whose requests fit the same nodes form a group: when one of them is refused, all
 * are, until a node changes. So a step costs time in proportion to the number of different requests that wait, not to the number of waiting owners.
 * Among all groups that of the highest priority is next, then that of the queue with the smallest share, then the demand with the fewest
 * leases, and among equals it goes in turn.
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
import type { Queues, Ranked } from './queues.js';
import { SmallSet } from './small-set.js';

/** What somebody asks for: an owner for its tasks of one kind, or an actor for its one worker. */
export interface DemandSpec extends Ranked {
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
  /** Of one task, or of an actor's life; null: nobody knows. */
  readonly expectedDurationMs: number | null;
  /** Set: spread, by these counts, which the demand keeps up to date. */
  readonly leasesByNode: Map<string, number> | null;
  /** What no node could ever hold waits for one that can. */
  readonly waitsForNodes: boolean;
  readonly name: string;
}

/** What a waiting demand was last told. */
export interface DemandStatus {
  readonly isInfeasible: boolean;
  readonly reasons: string;
}

/** A demand, with what it has and how it stands in its queue. */
export interface Demand extends Omit<DemandSpec, 'preferredNodeIds' | 'pool' | 'request' | 'capturesChildren' | 'leasesByNode' | 'waitsForNodes' | 'name'>, Queued {
  preferredNodeIds: readonly string[];
  pool: Pool;
  request: PlacementRequest;
  capturesChildren: boolean;
  /** Equal for demands that fit the same rows of the same pool. */
  requestKey: string;
  groupKey: string;
  leasesByNode: Map<string, number> | null;
  waitsForNodes: boolean;
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
export type DemandChange = Pick<DemandSpec, 'pool' | 'request' | 'capturesChildren' | 'waitsForNodes'> & { readonly isSpread: boolean };

/** The waiting demands of one queue, priority and expected duration whose requests fit the same rows. */
export interface DemandGroup extends Ranked {
  readonly pool: Pool;
  readonly shape: Shape;
  readonly waiting: FairQueue<Demand>;
  /** The pool's revision and its cluster's epoch at the last refusal; -1 before the first. */
  refusedRevision: number;
  refusedEpoch: number;
  /** Why, as it was told last. Worked out when it is asked for, because that takes a look at every node. */
  explained: { readonly version: number; readonly reasons: string } | null;
  isInfeasible: boolean;
  /** It was refused for its queue's quota, whatever the nodes have. */
  isOverQuota: boolean;
  /** Set: it would be infeasible, but a node that was lost lately could have held it. */
  awaited: AwaitedNode | null;
}

/** The tables that demands are served from. */
interface DemandTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
}

const NEVER = -1;

/** All that wait for leases, in the order in which they are served. */
export class Demands {
  readonly groups = new Map<string, DemandGroup>();
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #queues: Queues;
  readonly #tell: (demand: Demand, status: DemandStatus) => void;
  readonly #delayed = new Set<Demand>();
  #turns = 0;
  #scheduledRevision = -1;
  #hasNew = false;
  #nextReportMs = 0;
  /** Those that this round of reports has not come to yet, the next one at the end. */
  #toTell: DemandGroup[] = [];

  /** `tell` is called at once when a demand becomes infeasible, and at most once a second while it waits. */
  constructor({ context, nodes, queues }: DemandTables, tell: (demand: Demand, status: DemandStatus) => void) {
    this.#context = context;
    this.#nodes = nodes;
    this.#queues = queues;
    this.#tell = tell;
  }

  /** Field by field: V8 would give each object that begins with a spread a shape of its own, of half a kilobyte. */
  create(spec: DemandSpec): Demand {
    const { demandId, actorId, ownerId, jobId, queue, priority, preferredNodeIds, pool, capturesChildren, expectedDurationMs, leasesByNode, waitsForNodes, name } = spec;
    const key = keyIn(pool, spec.request);
    const { request } = pool.shapes.of(spec.request, key); // one for all that are equal
    return {
      demandId, actorId, ownerId, jobId, queue, priority, preferredNodeIds, pool, request, capturesChildren, expectedDurationMs, leasesByNode, waitsForNodes, name,
      requestKey: key, groupKey: groupKey(spec, key), count: 0, leases: new SmallSet(), askedBack: 0, waitingSinceMs: 0, failures: 0, delayedUntilMs: 0, lastFailure: '',
      told: null, level: null, turn: 0,
    };
  }

  /** The newest count counts. Leases beyond it are not taken back here. */
  want(demand: Demand, count: number): void {
    demand.count = count;
    this.#refresh(demand);
  }

  /** The request may change under one number; the leases it has stay. */
  change(demand: Demand, { pool, request, capturesChildren, isSpread, waitsForNodes }: DemandChange): void {
    demand.waitsForNodes = waitsForNodes;
    if (!isSpread) demand.leasesByNode = null;
    else demand.leasesByNode ??= countByNode(demand.leases);
    demand.capturesChildren = capturesChildren;
    const key = keyIn(pool, request);
    if (key === demand.requestKey) return;
    this.#leaveQueue(demand);
    demand.pool = pool;
    demand.request = request;
    demand.requestKey = key;
    demand.groupKey = groupKey(demand, key);
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
    const group = demand.level === null ? undefined : this.groups.get(demand.groupKey);
    if (group !== undefined && this.#isRefused(group)) return this.#statusOf(demand, group);
    return this.outlook(demand) ?? { isInfeasible: false, reasons: 'it is next' };
  }

  /** Why such a request would wait at this moment, or null when some row has room for it and its queue may hold it. */
  outlook({ pool, queue, request, waitsForNodes }: Pick<DemandSpec, 'pool' | 'queue' | 'request' | 'waitsForNodes'>): DemandStatus | null {
    const never = pool === this.#nodes ? queue.neverHolds(request.resources) : null;
    const reasons = never ?? this.#overQuota({ pool, queue }, request);
    if (reasons !== null) return { isInfeasible: never !== null, reasons };
    const shape = pool.shapes.of(request, keyIn(pool, request));
    if (shape.best() !== null) return null;
    const awaited = shape.isFeasible ? null : pool.awaitedBy(request);
    return statusOf({ isInfeasible: !shape.isFeasible && awaited === null, reasons: withAwaited(pool.explain(request).reasons, awaited) }, waitsForNodes);
  }

  /** How many more leases the demand would take. */
  missing(demand: Demand): number {
    return this.#wanted(demand) - demand.leases.size;
  }

  /** A placement group's rows have changed, so that demands in it are worth another try. */
  wake(): void {
    this.#hasNew = true;
  }

  /**
   * Gives leases to all that wait and fit, in fair order. `grant` must make the demand hold the lease, on that row of its pool. `admit` names a node that is kept
   * for others and has room all the same. Only priorities from `least` on are served; those below must be in the same step.
   */
  schedule(grant: (demand: Demand, row: string) => void, admit: (demand: Demand, shape: Shape) => string | null, least: number): void {
    if (!this.#hasNew && this.#scheduledRevision === this.#nodes.revision) return;
    for (let demand = this.#next(least); demand !== null; demand = this.#next(least)) {
      const group = this.groups.get(demand.groupKey)!;
      const { pool, shape } = group;
      group.isOverQuota = this.#overQuota(group, demand.request) !== null;
      let row = group.isOverQuota ? null : place(pool.cluster, shape, pool.hintsFor(demand));
      if (row === null && !group.isOverQuota && pool === this.#nodes) row = admit(demand, shape);
      if (row !== null) grant(demand, row);
      else this.#refuse(group);
    }
    if (least > -Infinity) return;
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
    const isNewRound = nowMs >= this.#nextReportMs && this.#toTell.length === 0;
    if (isNewRound) {
      this.#nextReportMs = nowMs + DEMAND_STATUS_INTERVAL_MS;
      this.#toTell = [...this.groups.values()].reverse();
    }
    this.#tellWaiting();
    if (!isNewRound) return;
    for (const demand of this.#delayed) {
      const status = this.waitsFor(demand);
      if (status !== null) this.#report(demand, status);
    }
  }

  /** As many of this round as one tick has time for, because a reason takes a look at every node. */
  #tellWaiting(): void {
    let nodesLeft = STATUS_NODES_MAX;
    for (let group = this.#toTell.pop(); group !== undefined; group = nodesLeft > 0 ? this.#toTell.pop() : undefined) {
      if (group.waiting.size === 0 || !this.#isRefused(group)) continue; // the latter are tried again in this step
      const waiting = [...group.waiting].filter((demand) => this.#context.nowMs - demand.waitingSinceMs >= DEMAND_STATUS_INTERVAL_MS);
      const { cluster } = group.pool;
      if (waiting.length > 0 && group.explained?.version !== cluster.version) nodesLeft -= cluster.size;
      // An actor that is told may die, and take others with it.
      for (const demand of waiting) if (demand.level !== null) this.#report(demand, this.#statusOf(demand, group));
    }
  }

  /** Why the queue may not hold it; null when it may. What a placement group holds, it holds already. */
  #overQuota({ pool, queue }: Pick<Demand, 'pool' | 'queue'>, { resources }: PlacementRequest): string | null {
    return pool === this.#nodes ? queue.overQuota(resources) : null;
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
    let group = this.groups.get(demand.groupKey);
    if (group === undefined) {
      const { queue, priority, pool } = demand;
      const shape = pool.shapes.of(demand.request, demand.requestKey);
      group = {
        queue, priority, pool, shape, waiting: new FairQueue(), refusedRevision: NEVER, refusedEpoch: NEVER, explained: null,
        isInfeasible: false, isOverQuota: false, awaited: null,
      };
      this.groups.set(demand.groupKey, group);
    }
    const level = demand.leases.size;
    if (demand.level === null || demand.level < level) demand.waitingSinceMs = this.#context.nowMs;
    group.waiting.put(demand, level, this.#turns++);
    if (!this.#isRefused(group)) this.#hasNew = true;
    else if (group.isInfeasible) this.#reportFeasibility(demand, group);
  }

  #leaveQueue(demand: Demand): void {
    demand.told = null;
    const group = this.groups.get(demand.groupKey);
    if (demand.level === null || group === undefined) return;
    group.waiting.remove(demand);
    if (group.waiting.size === 0) this.groups.delete(demand.groupKey);
  }

  /** Whose turn it is among those groups that have not been refused since the nodes last changed. */
  #next(least: number): Demand | null {
    let next: Demand | null = null;
    for (const group of this.groups.values()) {
      if (group.priority < least || this.#isRefused(group)) continue;
      const demand = group.waiting.first()!;
      if (next === null || (this.#queues.compare(demand, next) || demand.level! - next.level! || demand.turn - next.turn) < 0) next = demand;
    }
    return next;
  }

  /** Whether the group's last refusal still holds: until anything changes, or, of an infeasible one, until nodes come or go. */
  #isRefused({ pool, isInfeasible, refusedEpoch, refusedRevision }: DemandGroup): boolean {
    return isInfeasible ? refusedEpoch === pool.cluster.epoch : refusedRevision === pool.revision;
  }

  #refuse(group: DemandGroup): void {
    const { pool, shape, queue, isInfeasible: wasInfeasible } = group;
    const isBarred = group.isOverQuota && queue.neverHolds(shape.request.resources) !== null;
    group.refusedRevision = pool.revision;
    group.refusedEpoch = pool.cluster.epoch;
    group.awaited = isBarred || shape.isFeasible ? null : pool.awaitedBy(shape.request);
    group.isInfeasible = isBarred || (!shape.isFeasible && group.awaited === null);
    if (!wasInfeasible && !group.isInfeasible) return;
    // An actor that is told may die, and take others with it.
    for (const demand of [...group.waiting]) if (demand.level !== null) this.#reportFeasibility(demand, group);
  }

  /** Its last refusal holds no longer, though the nodes are the same. */
  #tryAgain(group: DemandGroup): void {
    group.awaited = null;
    group.refusedRevision = NEVER;
    this.#hasNew = true;
  }

  #statusOf(demand: Demand, group: DemandGroup): DemandStatus {
    const { pool, shape: { request }, queue } = group;
    if (group.explained?.version !== pool.cluster.version) {
      const quota = group.isOverQuota ? (queue.neverHolds(request.resources) ?? queue.overQuota(request.resources)) : null;
      group.explained = { version: pool.cluster.version, reasons: quota ?? pool.explain(request).reasons };
    }
    return statusOf({ isInfeasible: group.isInfeasible, reasons: withAwaited(group.explained.reasons, group.awaited) }, this.#waitsForNodes(demand));
  }

  /** What its queue's quota forbids for ever, no node makes possible. */
  #waitsForNodes({ waitsForNodes, queue, request }: Demand): boolean {
    return waitsForNodes && queue.neverHolds(request.resources) === null;
  }

  #reportFeasibility(demand: Demand, group: DemandGroup): void {
    const isInfeasible = group.isInfeasible && !this.#waitsForNodes(demand);
    if ((demand.told?.isInfeasible ?? false) !== isInfeasible) this.#report(demand, this.#statusOf(demand, group));
  }

  #report(demand: Demand, status: DemandStatus): void {
    const { told } = demand;
    if (told?.isInfeasible === status.isInfeasible && told.reasons === status.reasons) return;
    demand.told = status;
    this.#tell(demand, status);
  }
}

/** What no node could ever hold is still not infeasible for who waits for nodes. */
function statusOf(status: DemandStatus, waitsForNodes: boolean): DemandStatus {
  return status.isInfeasible && waitsForNodes ? { isInfeasible: false, reasons: `${status.reasons}; it waits for a node that could hold it` } : status;
}

const groupKey = ({ queue, priority, expectedDurationMs }: Pick<DemandSpec, 'queue' | 'priority' | 'expectedDurationMs'>, key: string): string =>
  `${priority} ${queue.settings.name} ${expectedDurationMs ?? ''} ${key}`;

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
