/**
 * The groups that wait for a place, and the order in which they are planned: by priority; first those that were created and have lost bundles, then
 * those of the queue with the smallest share, then first come first served, as far as they fit. Groups that ask for the same stand in line together: when the first of them is refused, all are, until the cluster changes.
 *
 * A plan looks at every node, so a refused one is not made again for each lease that ends, but in the next round: there is one each tick, and one when
 * another group's room comes back.
 */
import { addResources, type ResourceSet } from '@muster/base';
import { explainGroup, GroupShape, type Cluster, type GroupRequest, type Placed, type Reasons } from '@muster/scheduler';
import type { HeadContext } from './context.js';
import type { DemandStatus } from './demands.js';
import { isEstablished, type Group } from './group.js';
import { GROUP_NODES_PER_ROUND_MAX, GROUP_REFUSALS_PER_ROUND_MAX } from './limits.js';
import { withAwaited, type AwaitedNode } from './lost-nodes.js';
import type { Nodes } from './nodes.js';
import type { Queues, Ranked } from './queues.js';

/** Groups that wait for the same: with equal requests, of one queue and priority, or one that has some of its bundles. */
interface Line extends Ranked {
  readonly key: string;
  readonly shape: GroupShape;
  /** In their turn. */
  groups: Set<Group>;
  /** It was refused for its queue's quota. */
  isOverQuota: boolean;
  /** The highest that was ever in it. */
  lastTurn: number;
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

/** The tables that plans are made from. */
interface LineTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
}

const NEVER = -1;

/** All groups that wait for a plan. */
export class GroupLine {
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #queues: Queues;
  readonly #listener: PlanListener;
  readonly #lines = new Map<string, Line>();
  readonly #lineOf = new Map<Group, Line>();
  #round = 0;
  #refusals = 0;
  /** What the cluster could hold if nothing ran, as of an epoch. */
  #idle: { readonly epoch: number; readonly cluster: Cluster } | null = null;

  constructor({ context, nodes, queues }: LineTables, listener: PlanListener) {
    this.#context = context;
    this.#nodes = nodes;
    this.#queues = queues;
    this.#listener = listener;
  }

  get size(): number {
    return this.#lineOf.size;
  }

  /** The group needs a plan for those of its bundles that have no place. */
  add(group: Group): void {
    if (this.#lineOf.has(group)) return this.#tryAgain(this.#lineOf.get(group)!);
    const isRepair = group.bundles.some((bundle) => bundle !== null) || isEstablished(group);
    const key = isRepair ? group.id : `${group.priority} ${group.queue.settings.name} ${group.key}`;
    const line = this.#lines.get(key) ?? this.#open(key, group, isRepair);
    line.groups.add(group);
    if (group.turn < line.lastTurn) line.groups = new Set([...line.groups].sort((a, b) => a.turn - b.turn)); // it was there before
    line.lastTurn = Math.max(line.lastTurn, group.turn);
    this.#lineOf.set(group, line);
    if (line.isInfeasible && this.#isRefused(line) && !group.waitsForNodes) this.#listener.infeasible(group, this.#reasonsOf(line));
  }

  remove(group: Group): void {
    const line = this.#lineOf.get(group);
    if (line === undefined) return;
    this.#lineOf.delete(group);
    line.groups.delete(group);
    if (line.groups.size === 0) this.#lines.delete(line.key);
  }

  has(group: Group): boolean {
    return this.#lineOf.has(group);
  }

  /** The first of each line, unless it has some bundles, or waits for something other than room on the nodes. In the order in which they are planned. */
  firsts(): readonly Group[] {
    const lines = [...this.#lines.values()].filter((line) => !line.isInfeasible && !line.isOverQuota && line.awaited === null && first(line).bundles.every((bundle) => bundle === null));
    return lines.map(first).sort((a, b) => this.#queues.compare(a, b) || a.turn - b.turn);
  }

  /** Those of all that wait, the highest first. */
  priorities(): readonly number[] {
    return [...new Set(Array.from(this.#lines.values(), (line) => line.priority))].sort((a, b) => b - a);
  }

  /** Plans for all groups of this priority or a higher one that fit, in their order. */
  schedule(least: number): void {
    for (let line = this.#next(least); line !== null; line = this.#next(least)) if (!this.plan(first(line))) this.#refuse(line);
  }

  /** Plans for one group that waits. False: there is no room, or it may not have it. */
  plan(group: Group): boolean {
    const line = this.#lineOf.get(group)!;
    line.isOverQuota = group.queue.overQuota(missingResources(group)) !== null;
    const plan = line.isOverQuota ? null : line.shape.plan(group.bundles.map((bundle) => bundle && { nodeId: bundle.share.node.id, gpuIds: bundle.holding.gpuIds }));
    if (plan === null) return false;
    this.remove(group);
    this.#listener.planned(group, plan);
    return true;
  }

  /** Room is free that was held for groups. */
  roomReturned(): void {
    this.#round++;
  }

  tick(): void {
    this.#round++;
    this.#refusals = 0;
    for (const line of this.#lines.values()) if (line.awaited !== null && line.awaited.untilMs <= this.#context.nowMs) this.#tryAgain(line);
  }

  /** Why the group waits at this moment, or null when it is not in line. Looks at every node. */
  statusOf(group: Group): DemandStatus | null {
    const line = this.#lineOf.get(group);
    if (line === undefined) return null;
    const reasons = this.#reasonsOf(line);
    if (!line.isInfeasible || !group.waitsForNodes) return { isInfeasible: line.isInfeasible, reasons };
    return { isInfeasible: false, reasons: `${reasons}; it waits for nodes that could hold it` };
  }

  #open(key: string, group: Group, isRepair: boolean): Line {
    const { queue, priority } = group;
    const line: Line = {
      key, queue, priority, isOverQuota: false, shape: this.#nodes.shapes.ofGroup(group.request, group.key), groups: new Set(), lastTurn: NEVER, isRepair,
      refusedRevision: NEVER, refusedRound: NEVER, judgedEpoch: NEVER, isInfeasible: false, awaited: null, explained: null,
    };
    this.#lines.set(key, line);
    return line;
  }

  /** Repairs first, then the group that has waited the longest, of those queues that have not been refused since the cluster last changed. */
  #next(least: number): Line | null {
    const refusalsMax = Math.max(1, Math.min(GROUP_REFUSALS_PER_ROUND_MAX, GROUP_NODES_PER_ROUND_MAX / this.#nodes.cluster.size));
    if (this.#refusals >= refusalsMax) return null;
    const isCrowded = this.#lines.size > refusalsMax; // then those that were tried the longest ago go first, or some never would
    const isBefore = (a: Line, b: Line): boolean => {
      if (a.priority === b.priority && a.isRepair !== b.isRepair) return a.isRepair;
      const turn = this.#queues.compare(a, b);
      if (turn !== 0) return turn < 0;
      if (isCrowded && a.refusedRound !== b.refusedRound) return a.refusedRound < b.refusedRound;
      return first(a).turn < first(b).turn;
    };
    let next: Line | null = null;
    for (const line of this.#lines.values()) if (line.priority >= least && !this.#isRefused(line) && (next === null || isBefore(line, next))) next = line;
    return next;
  }

  /** Whether the last refusal still holds, or cannot be looked at again before the next round. */
  #isRefused(line: Line): boolean {
    if (line.isInfeasible) return line.judgedEpoch === this.#nodes.cluster.epoch;
    return line.refusedRevision === this.#nodes.revision || line.refusedRound === this.#round;
  }

  #refuse(line: Line): void {
    this.#refusals++;
    line.refusedRevision = this.#nodes.revision;
    line.refusedRound = this.#round;
    if (line.isRepair) return this.#listener.repairRefused(first(line));
    this.#judge(line);
    if (!line.isInfeasible) return;
    const reasons = this.#reasonsOf(line);
    for (const group of [...line.groups]) if (!group.waitsForNodes) this.#listener.infeasible(group, reasons);
  }

  /** Only nodes that come and go make it another than it was. */
  #judge(line: Line): void {
    const { cluster, lost } = this.#nodes;
    if (line.judgedEpoch === cluster.epoch && line.awaited === null) return;
    line.judgedEpoch = cluster.epoch;
    const { request } = line.shape;
    const isBarred = line.queue.neverHolds(first(line).total) !== null;
    const isFeasible = isBarred || new GroupShape(this.#idleCluster(), request).plan() !== null;
    line.awaited = isFeasible ? null : lost.awaitedByGroup(request, this.#idleCluster());
    line.isInfeasible = isBarred || (!isFeasible && line.awaited === null);
  }

  #idleCluster(): Cluster {
    const { cluster } = this.#nodes;
    if (this.#idle?.epoch !== cluster.epoch) this.#idle = { epoch: cluster.epoch, cluster: cluster.emptied() };
    return this.#idle.cluster;
  }

  /** Its last refusal holds no longer, though the nodes are the same. */
  #tryAgain(line: Line): void {
    line.refusedRevision = line.refusedRound = line.judgedEpoch = NEVER;
  }

  #reasonsOf(line: Line): string {
    const { cluster } = this.#nodes;
    if (line.explained?.version !== cluster.version) {
      const { queue } = line;
      const quota = line.isOverQuota ? (queue.neverHolds(first(line).total) ?? queue.overQuota(missingResources(first(line)))) : null;
      line.explained = { version: cluster.version, reasons: quota ?? explainWaiting(first(line), cluster).reasons };
    }
    return withAwaited(line.explained.reasons, line.awaited);
  }
}

const first = ({ groups }: Line): Group => groups.values().next().value!;

/** What the group would hold in addition. */
const missingResources = ({ request, bundles, total }: Group): ResourceSet =>
  (bundles.every((bundle) => bundle === null) ? total : request.bundles.reduce<ResourceSet>((sum, { resources }, index) => (bundles[index] === null ? addResources(sum, resources) : sum), {}));

/** Why the bundles without a place have none. Looks at every node. */
export function explainWaiting(group: Group, cluster: Cluster): Reasons {
  return explainGroup(cluster, missingOf(group), group.bundles.flatMap((bundle) => bundle?.share.node.id ?? []));
}

/** What a group has lost, as a request of its own. */
export function missingOf({ request, bundles }: Group): GroupRequest {
  return { ...request, bundles: request.bundles.filter((_, index) => bundles[index] === null) };
}
