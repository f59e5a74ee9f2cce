/**
 * The placement groups: bundles of resources that are placed together or not at all. A group is planned by the scheduler, held in the cluster at once, and
 * then agreed on with the nodes; when all have prepared, it is there, and they are told to commit. A group that loses a node is repaired. It ends with
 * the process that made it.
 */
import { addResources, makeError, MusterError, type GroupId, type ResourceSet } from '@muster/base';
import type { BundlesPrepared, BundlesReturned, CreateGroup } from '@muster/protocol';
import { groupKey } from '@muster/scheduler';
import type { Actors } from './actors.js';
import { backoffMs } from './backoff.js';
import { BundleShares } from './bundle-shares.js';
import type { HeadContext } from './context.js';
import type { Demands, DemandStatus } from './demands.js';
import { GroupLine } from './group-line.js';
import { GroupPool } from './group-pool.js';
import { groupState, isEstablished, refusedGroupState, type Group, type Share } from './group.js';
import { History } from './history.js';
import type { Jobs } from './jobs.js';
import type { Lease, Leases } from './leases.js';
import { GROUPS_MAX, GROUPS_REMOVED_KEPT_MAX, NAME_MAX_CHARS, WATCHES_PER_PROCESS_MAX } from './limits.js';
import type { Node, Nodes } from './nodes.js';
import type { Pool } from './pool.js';
import type { Process, Processes } from './processes.js';
import type { Queues } from './queues.js';
import { readGroup, refusal } from './requests.js';
import { SmallSet } from './small-set.js';

/** The parts of the machine that groups stand on. */
interface Foundations {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
  readonly demands: Demands;
  readonly leases: Leases;
  readonly actors: Actors;
  readonly processes: Processes;
  readonly jobs: Jobs;
}

/** All groups: the live ones, and those that were removed lately. */
export class Groups {
  readonly live = new Map<string, Group>();
  readonly removed = new History<Group>(GROUPS_REMOVED_KEPT_MAX);
  readonly #parts: Foundations;
  readonly #shares: BundleShares;
  readonly #line: GroupLine;
  /** Those that pause because a node refused to prepare. */
  readonly #delayed = new Set<Group>();
  #turns = 0;

  constructor(parts: Foundations) {
    this.#parts = parts;
    this.#shares = new BundleShares(parts, {
      prepared: ({ group }) => this.#completeIfWhole(group),
      refused: (share, cause) => this.#prepareRefused(share, cause),
      cutOff: ({ group }) => this.#lostBundles(group),
      roomReturned: () => this.#line.roomReturned(),
    });
    this.#line = new GroupLine(parts, {
      planned: (group, plan) => {
        if (group.state === 'pending') group.state = 'preparing';
        this.#shares.prepare(group, plan);
      },
      repairRefused: (group) => this.#repairRefused(group),
      infeasible: (group, reasons) => this.#end(group, { why: 'it could never be placed', failure: makeError('UNSCHEDULABLE', { what: describe(group), reasons }) }),
    });
  }

  find(groupId: string): Group | undefined {
    return this.live.get(groupId) ?? this.removed.get(groupId);
  }

  /** Where leases in this group are placed; of the empty id, on the nodes. */
  poolOf(groupId: string): Pool {
    const { nodes, demands } = this.#parts;
    if (groupId === '') return nodes;
    const group = this.live.get(groupId);
    if (group !== undefined) return (group.pool ??= new GroupPool(groupId, group, () => demands.wake()));
    return GroupPool.closed(groupId, `the placement group ${groupId} ${this.removed.has(groupId) ? 'was removed' : 'is not known to the head'}`);
  }

  /** Repeatable: a second request with the same id has the same answer. */
  create(creator: Process, message: CreateGroup): void {
    const { groupId } = message;
    const known = this.find(groupId);
    if (known?.ownerId === creator.id) return this.watch(creator, groupId);
    try {
      if (known !== undefined) throw makeError('INVALID_ARGUMENT', { what: `the placement group id ${groupId}`, want: 'new: another process has used it' });
      const group = this.make(creator, message, null);
      this.#watch(creator, group);
      this.enqueue(group);
    } catch (error) {
      if (!(error instanceof MusterError) || error.code === 'PROTOCOL') throw error;
      this.#parts.processes.send(creator, refusedGroupState(groupId, error));
    }
  }

  /** Sends the state now and at each change. */
  watch(watcher: Process, groupId: string): void {
    const group = this.find(groupId);
    if (group !== undefined && group.state !== 'removed') this.#watch(watcher, group);
    this.#parts.processes.send(watcher, group === undefined ? refusedGroupState(groupId, unknown(groupId)) : groupState(group));
  }

  remove(asker: Process, groupId: string): void {
    const group = this.live.get(groupId);
    if (group === undefined) return this.watch(asker, groupId);
    const reasons = group.state === 'pending' ? this.waitsFor(group)?.reasons : '';
    this.#watch(asker, group);
    this.#end(group, { why: 'it was removed', reasons });
  }

  /** What it was for is over. */
  end(group: Group, reason: string): void {
    if (group.state !== 'removed') this.#end(group, { why: reason });
  }

  /** They do not outlive the process that made them. */
  ownerGone(owner: Process, reason: string): void {
    for (const group of [...owner.groups]) {
      this.#end(group, { why: reason, failure: makeError('OWNER_DIED', { what: describe(group), cause: `${owner.id} has ended` }) });
    }
  }

  /** Why the group waits at this moment, or null when it does not. */
  waitsFor(group: Group): DemandStatus | null {
    if (this.#delayed.has(group)) return { isInfeasible: false, reasons: group.reasons };
    return this.#line.statusOf(group);
  }

  /** The priorities of those that wait, the highest first. */
  waitingPriorities(): readonly number[] {
    return this.#line.size === 0 ? NONE : this.#line.priorities();
  }

  /** Plans for those of this priority or a higher one that wait. Repairs come first, and groups before demands of their priority. */
  schedule(least: number): void {
    this.#line.schedule(least);
  }

  /** Those of each line that go first and have nothing yet; not those that wait for their queue's quota, or for other nodes. In the order in which they are served. */
  firstInLine(): readonly Group[] {
    return this.#line.firsts();
  }

  /** Whether it waits for its place and nothing else. */
  isWaiting(group: Group): boolean {
    return this.#line.has(group);
  }

  /** Places it before all others, if there is room. */
  place(group: Group): void {
    this.#line.plan(group);
  }

  /** The leases in its bundles. */
  leasesIn(group: Group): Lease[] {
    return [...group.pool?.leases ?? []];
  }

  /** It loses all that it has, and what runs in it, and waits for another place. */
  evict(group: Group, reason: string): void {
    for (const lease of this.leasesIn(group)) {
      lease.preemption ??= group.preemption; // it began after the notice
      this.#parts.leases.end(lease, { kill: true, reason, tell: true });
    }
    for (const share of [...group.shares]) this.#shares.return(share, reason);
    group.preemption = null;
    group.waitingSinceMs = this.#parts.context.nowMs;
    this.#become(group, 'repairing', reason);
    if (!this.#delayed.has(group)) this.#line.add(group);
  }

  prepared(node: Node, message: BundlesPrepared): void {
    this.#shares.prepared(node, message);
  }

  returned(node: Node, message: BundlesReturned): void {
    this.#shares.returned(node, message);
  }

  /** The node is cut off, or is back. */
  reachabilityChanged(node: Node): void {
    for (const { group } of node.shares.values()) group.pool?.refresh();
  }

  /** Says everything to a node again that it may have missed. */
  repeat(node: Node): void {
    this.#shares.repeat(node);
  }

  nodeLost(node: Node, detail: string): void {
    for (const group of this.#shares.nodeLost(node)) {
      if (isEstablished(group)) this.#become(group, 'repairing', `${node.id}, which had bundles of it, was lost (${detail})`);
      this.#lostBundles(group);
    }
    this.#line.roomReturned();
  }

  tick(): void {
    const { nowMs } = this.#parts.context;
    this.#shares.tick();
    for (const group of this.#delayed) {
      if (group.delayedUntilMs > nowMs) continue;
      this.#delayed.delete(group);
      this.#line.add(group);
    }
    this.#line.tick();
  }

  /** A group that {@link enqueue} will put in line. @throws MusterError for a request that cannot be met */
  make(creator: Process, message: CreateGroup, listener: Group['listener']): Group {
    const { context, jobs } = this.#parts;
    const job = jobs.running.get(creator.jobId);
    if (job === undefined || creator.isLeaving) throw makeError('NOT_CONNECTED', { cause: 'has ended: its job is over' });
    const request = readGroup(message);
    const group: Group = {
      id: message.groupId as GroupId, name: message.name, ownerId: creator.id, jobId: job.id, queue: job.queue, priority: job.priority, request,
      total: request.bundles.reduce<ResourceSet>((sum, { resources }) => addResources(sum, resources), {}), key: groupKey(request),
      waitsForNodes: message.waitForNodes, turn: this.#turns++, createdAtMs: context.nowMs, waitingSinceMs: context.nowMs, preemption: null,
      expectedDurationMs: Math.max(...message.bundles.map((bundle) => bundle.expectedDurationMs)) || null, state: 'pending', epoch: 0,
      bundles: request.bundles.map(() => null), shares: new Set(), preparingCount: 0, failures: 0, delayedUntilMs: 0, reasons: '', failure: null,
      endedAtMs: null, pool: null, watchers: new SmallSet(), listener,
    };
    if (this.live.size >= GROUPS_MAX) throw makeError('UNSCHEDULABLE', { what: describe(group), reasons: `the cluster has ${GROUPS_MAX} placement groups, the most it may` });
    if (group.name.length > NAME_MAX_CHARS) throw makeError('INVALID_ARGUMENT', { what: 'the name of a placement group', want: `of at most ${NAME_MAX_CHARS} characters` });
    this.live.set(group.id, group);
    creator.groups.add(group);
    return group;
  }

  /** Puts a new group in line. It may be refused at once. */
  enqueue(group: Group): void {
    this.#line.add(group);
  }

  #watch(watcher: Process, group: Group): void {
    if (watcher.watchedGroups.size >= WATCHES_PER_PROCESS_MAX) throw refusal(`${watcher.id} watches more than ${WATCHES_PER_PROCESS_MAX} placement groups`);
    group.watchers.add(watcher);
    watcher.watchedGroups.add(group);
  }

  /** The head's word is the commit point: from here on the group is there, whatever its nodes have heard. */
  #completeIfWhole(group: Group): void {
    if (group.preparingCount > 0 || group.bundles.includes(null)) return;
    for (const share of group.shares) this.#shares.commit(share);
    group.failures = 0;
    this.#become(group, 'created', '');
  }

  /** What has no place any more is planned anew. */
  #lostBundles(group: Group): void {
    if (group.shares.size === 0 && !isEstablished(group)) group.state = 'pending';
    if (!this.#delayed.has(group)) this.#line.add(group);
  }

  /** The node may have a reason that lasts: the group is tried again later, and less and less often. */
  #prepareRefused({ group, node }: Share, cause: string): void {
    this.#parts.context.log('warn', 'bundles-refused', { groupId: group.id, nodeId: node.id, cause });
    if (!isEstablished(group)) this.#giveUp(group, cause);
    group.reasons = `${node.id} refused: ${cause}`;
    group.delayedUntilMs = this.#parts.context.nowMs + backoffMs(++group.failures);
    this.#delayed.add(group);
    this.#line.remove(group);
  }

  /** A created group keeps what is left of it, because its owner works there; one that is still being made must not hold what others could use. */
  #repairRefused(group: Group): void {
    if (isEstablished(group)) return;
    this.#line.remove(group);
    this.#giveUp(group, 'a part of the group was lost before it was created');
    this.#line.add(group);
  }

  #giveUp(group: Group, reason: string): void {
    for (const share of [...group.shares]) this.#shares.return(share, reason);
    group.state = 'pending';
  }

  #become(group: Group, state: Group['state'], reasons: string): void {
    group.state = state;
    group.reasons = reasons;
    group.pool?.refresh();
    this.#publish(group);
  }

  #publish(group: Group): void {
    group.listener?.(group);
    const message = groupState(group);
    for (const watcher of group.watchers) this.#parts.processes.send(watcher, message);
  }

  /** Its bundles are free, and what runs in them ends. `reasons`: what it waited for. */
  #end(group: Group, { why, reasons = '', failure = null }: { readonly why: string; readonly reasons?: string; readonly failure?: MusterError | null }): void {
    const { context, processes } = this.#parts;
    this.#line.remove(group);
    this.#delayed.delete(group);
    this.live.delete(group.id);
    this.removed.add(group.id, group);
    processes.byId.get(group.ownerId)?.groups.delete(group);
    group.state = 'removed';
    group.reasons = reasons;
    group.failure = failure;
    group.endedAtMs = context.nowMs;
    this.#publish(group);
    for (const watcher of group.watchers) watcher.watchedGroups.delete(group);
    group.watchers.clear();
    const reason = `${describe(group)} ended: ${why}`;
    if (group.pool !== null) this.#endLeases(group, group.pool, reason);
    for (const share of [...group.shares]) this.#shares.return(share, reason);
  }

  #endLeases(group: Group, pool: GroupPool, reason: string): void {
    const { actors, leases } = this.#parts;
    pool.close(reason);
    group.pool = null;
    for (const lease of [...pool.leases]) {
      const actor = actors.live.get(lease.demand.actorId);
      if (actor !== undefined) actors.die(actor, { kind: 'killed', reason });
      else leases.end(lease, { kill: true, reason, tell: true });
    }
  }
}

const NONE: readonly number[] = [];

const describe = ({ id, name }: Group): string => `the placement group ${name === '' ? id : `${name} (${id})`}`;

const unknown = (groupId: string): MusterError => makeError('INVALID_ARGUMENT', { what: `the placement group id '${groupId}'`, want: 'that of a placement group that is there' });
