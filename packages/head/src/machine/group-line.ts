/**
 * The groups that wait for a place, and the order in which they are planned: first those that were created and have lost bundles, then first come first
 * served, as far as they fit. Groups that ask for the same stand in line together: when the first of them is refused, all are, until the cluster changes.
 *
 * A plan looks at every node, so a refused one is not made again for each lease that ends, but in the next round: there is one each tick, and one when
 * another group's room comes back.
 */
import { explainGroup, GroupShape, type Cluster, type GroupRequest, type Placed } from '@muster/scheduler';
import type { HeadContext } from './context.js';
import type { DemandStatus } from './demands.js';
import { isEstablished, type Group } from './group.js';
import { GROUP_REFUSALS_PER_ROUND_MAX } from './limits.js';
import { withAwaited, type AwaitedNode } from './lost-nodes.js';
import type { Nodes } from './nodes.js';

/** Groups that wait for the same: with equal requests, or one that has some of its bundles. */
interface Queue {
  readonly key: string;
  readonly shape: GroupShape;
  /** In their turn. */
  groups: Set<Group>;
  /** Its group has bundles that stay where they are. */
  readonly isRepair: boolean;
  /** The nodes' revision and the round at the last refusal; -1 before the first. */
  refusedRevision: number;
  refusedRound: number;
  /** The epoch in which it was last judged whether the request could ever be met. */
  judgedEpoch: number;
  isInfeasible: boolean;
  /** Set: it would be infeasible, but nodes that were lost lately could have held it. */
  awaited: AwaitedNode | null;
  /** Worked out when it is asked for. */
  explained: { readonly version: number; readonly reasons: string } | null;
}

/** What becomes of groups in line. */
export interface PlanListener {
  /** The group has left the line; the plan holds what was fixed, too. */
  planned(group: Group, plan: readonly Placed[]): void;
  /** Its lost bundles find no place now. */
  repairRefused(group: Group): void;
  /** No nodes that there are could ever hold it. */
  infeasible(group: Group, reasons: string): void;
}

const NEVER = -1;

/** All groups that wait for a plan. */
export class GroupLine {
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #listener: PlanListener;
  readonly #queues = new Map<string, Queue>();
  readonly #queueOf = new Map<Group, Queue>();
  #round = 0;
  #refusals = 0;
  /** What the cluster could hold if nothing ran, as of an epoch. */
  #idle: { readonly epoch: number; readonly cluster: Cluster } | null = null;

  constructor(context: HeadContext, nodes: Nodes, listener: PlanListener) {
    this.#context = context;
    this.#nodes = nodes;
    this.#listener = listener;
  }

  get size(): number {
    return this.#queueOf.size;
  }

  /** The group needs a plan for those of its bundles that have no place. */
  add(group: Group): void {
    if (this.#queueOf.has(group)) return this.#tryAgain(this.#queueOf.get(group)!);
    const isRepair = group.bundles.some((bundle) => bundle !== null) || isEstablished(group);
    const key = isRepair ? group.id : group.key;
    const queue = this.#queues.get(key) ?? this.#open(key, group, isRepair);
    const last = [...queue.groups].at(-1);
    queue.groups.add(group);
    if (last !== undefined && last.turn > group.turn) queue.groups = new Set([...queue.groups].sort((a, b) => a.turn - b.turn));
    this.#queueOf.set(group, queue);
    if (queue.isInfeasible && this.#isRefused(queue) && !group.waitsForNodes) this.#listener.infeasible(group, this.#reasonsOf(queue));
  }

  remove(group: Group): void {
    const queue = this.#queueOf.get(group);
    if (queue === undefined) return;
    this.#queueOf.delete(group);
    queue.groups.delete(group);
    if (queue.groups.size === 0) this.#queues.delete(queue.key);
  }

  /** Plans for all groups that fit, in their order. */
  schedule(): void {
    for (let queue = this.#next(); queue !== null; queue = this.#next()) {
      const group = first(queue);
      const plan = queue.shape.plan(group.bundles.map((bundle) => bundle && { nodeId: bundle.share.node.id, gpuIds: bundle.holding.gpuIds }));
      if (plan === null) {
        this.#refuse(queue);
        continue;
      }
      this.remove(group);
      this.#listener.planned(group, plan);
    }
  }

  /** Room is free that was held for groups. */
  roomReturned(): void {
    this.#round++;
  }

  tick(): void {
    this.#round++;
    this.#refusals = 0;
    for (const queue of this.#queues.values()) if (queue.awaited !== null && queue.awaited.untilMs <= this.#context.nowMs) this.#tryAgain(queue);
  }

  /** Why the group waits at this moment, or null when it is not in line. Looks at every node. */
  statusOf(group: Group): DemandStatus | null {
    const queue = this.#queueOf.get(group);
    return queue === undefined ? null : { isInfeasible: queue.isInfeasible, reasons: this.#reasonsOf(queue) };
  }

  #open(key: string, { request }: Group, isRepair: boolean): Queue {
    const { cluster, shapes } = this.#nodes;
    const queue: Queue = {
      key, shape: new GroupShape(cluster, request, (each, shapeKey) => shapes.of(each, shapeKey)), groups: new Set(), isRepair, refusedRevision: NEVER,
      refusedRound: NEVER, judgedEpoch: NEVER, isInfeasible: false, awaited: null, explained: null,
    };
    this.#queues.set(key, queue);
    return queue;
  }

  /** Repairs first, then the group that has waited the longest, of those queues that have not been refused since the cluster last changed. */
  #next(): Queue | null {
    if (this.#refusals >= GROUP_REFUSALS_PER_ROUND_MAX) return null;
    const isCrowded = this.#queues.size > GROUP_REFUSALS_PER_ROUND_MAX; // then those that were tried the longest ago go first, or some never would
    const isBefore = (a: Queue, b: Queue): boolean => {
      if (a.isRepair !== b.isRepair) return a.isRepair;
      if (isCrowded && a.refusedRound !== b.refusedRound) return a.refusedRound < b.refusedRound;
      return first(a).turn < first(b).turn;
    };
    let next: Queue | null = null;
    for (const queue of this.#queues.values()) if (!this.#isRefused(queue) && (next === null || isBefore(queue, next))) next = queue;
    return next;
  }

  /** Whether the last refusal still holds, or cannot be looked at again before the next round. */
  #isRefused(queue: Queue): boolean {
    if (queue.isInfeasible) return queue.judgedEpoch === this.#nodes.cluster.epoch;
    return queue.refusedRevision === this.#nodes.revision || queue.refusedRound === this.#round;
  }

  #refuse(queue: Queue): void {
    this.#refusals++;
    queue.refusedRevision = this.#nodes.revision;
    queue.refusedRound = this.#round;
    if (queue.isRepair) return this.#listener.repairRefused(first(queue));
    this.#judge(queue);
    if (!queue.isInfeasible) return;
    const reasons = this.#reasonsOf(queue);
    for (const group of [...queue.groups]) if (!group.waitsForNodes) this.#listener.infeasible(group, reasons);
  }

  /** Only nodes that come and go make it another than it was. */
  #judge(queue: Queue): void {
    const { cluster, lost } = this.#nodes;
    if (queue.judgedEpoch === cluster.epoch && queue.awaited === null) return;
    queue.judgedEpoch = cluster.epoch;
    const { request } = queue.shape;
    const isFeasible = new GroupShape(this.#idleCluster(), request).plan() !== null;
    queue.awaited = isFeasible ? null : lost.awaitedByGroup(request, this.#idleCluster());
    queue.isInfeasible = !isFeasible && queue.awaited === null;
  }

  #idleCluster(): Cluster {
    const { cluster } = this.#nodes;
    if (this.#idle?.epoch !== cluster.epoch) this.#idle = { epoch: cluster.epoch, cluster: cluster.emptied() };
    return this.#idle.cluster;
  }

  /** Its last refusal holds no longer, though the nodes are the same. */
  #tryAgain(queue: Queue): void {
    queue.refusedRevision = queue.refusedRound = queue.judgedEpoch = NEVER;
  }

  #reasonsOf(queue: Queue): string {
    const { cluster } = this.#nodes;
    if (queue.explained?.version !== cluster.version) {
      queue.explained = { version: cluster.version, reasons: explainGroup(cluster, queue.isRepair ? missingOf(first(queue)) : queue.shape.request).reasons };
    }
    return withAwaited(queue.explained.reasons, queue.awaited);
  }
}

const first = ({ groups }: Queue): Group => groups.values().next().value!;

/** What a group has lost, as a request of its own. */
function missingOf({ request, bundles }: Group): GroupRequest {
  return { ...request, bundles: request.bundles.filter((_, index) => bundles[index] === null) };
}
