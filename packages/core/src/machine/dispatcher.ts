/**
 * Task queues, one for each demand: how many leases they ask for, and which task goes to which leased worker when.
 * It knows nothing of results; `Owner` tells it when a line has room again.
 */
import { makeError } from '@muster/base';
import type { Death, Demand, LeaseGranted } from '@muster/protocol';
import { fillLine } from './fill.js';
import { Line } from './line.js';
import { nodesOfArguments } from './locality.js';
import type { Owner } from './owner.js';
import { SlotQueue } from './slot-queue.js';
import { SlotState } from './slots.js';
import { demandKey } from './task-spec.js';

/** A lease without work is kept this long for the next call of a loop that computes in between. */
const LAST_LEASE_IDLE_MS = 1000;
/** Further leases go back sooner. */
const LEASE_IDLE_MS = 150;
/** One lease is worth asking for when its worker has this much to do. */
const WORK_PER_LEASE_US = 5000;
/** A worker holds a millisecond of work; one that is silent for this long runs something longer than that. */
const OVERRUN_MS = 20;
/** Leases one demand asks for at most. */
const LEASES_MAX = 2000;

/** The tasks of one demand. */
export class TaskQueue extends SlotQueue {
  /** What the head was last told. */
  demandedCount = 0;
  /** Why it waits, in the scheduler's words; empty when it does not. */
  waitReasons = '';
  /** Nothing that is there could ever give it a lease: its tasks fail as soon as it has none left. */
  isInfeasible = false;
  #turn = 0;

  constructor(readonly id: number, readonly demand: Demand, readonly dispatcher: Dispatcher) {
    super();
  }

  pump(nowMs: number): void {
    const lines = this.lines;
    this.#dropCancelled();
    if (this.isInfeasible && lines.length === 0) this.#failAll();
    const filled: Line[] = [];
    let progress = true;
    while (this.ring.length > 0 && progress) {
      progress = false;
      const share = Math.ceil(this.ring.length / Math.max(1, lines.length));
      for (let i = 0; i < lines.length && this.ring.length > 0; i++) {
        const line = lines[(this.#turn + i) % lines.length]!;
        if (!line.isUsable || fillLine(this.dispatcher.owner, line, share, nowMs) === 0) continue;
        filled.push(line);
        progress = true;
      }
      this.#turn = (this.#turn + 1) % Math.max(1, lines.length);
    }
    for (const line of filled) line.flush();
    this.dispatcher.updateDemand(this);
  }

  /** Cancelled tasks ahead of all others want no lease. */
  #dropCancelled(): void {
    const { owner } = this.dispatcher;
    while (this.ring.length > 0 && owner.slots.states[this.ring.peek()] === SlotState.abandoned) owner.releaseSlot(this.ring.shift());
  }

  #failAll(): void {
    const { owner } = this.dispatcher;
    this.isInfeasible = false; // later tasks ask anew
    for (const slot of this.ring.drain()) {
      owner.failTaken(slot, makeError('UNSCHEDULABLE', { what: `the task ${owner.slots.specs[slot]!.options.name}`, reasons: this.waitReasons }));
    }
  }
}

export class Dispatcher {
  readonly #queues = new Map<string, TaskQueue>();
  readonly #byId = new Map<number, TaskQueue>();
  readonly #byLease = new Map<string, Line>();

  constructor(readonly owner: Owner) {}

  /** The queue of a demand; made at its first task. */
  queueFor(demand: Demand): TaskQueue {
    const key = demandKey(demand);
    let queue = this.#queues.get(key);
    if (!queue) {
      queue = new TaskQueue(this.#queues.size + 1, demand, this);
      this.#queues.set(key, queue);
      this.#byId.set(queue.id, queue);
    }
    return queue;
  }

  queue(id: number): TaskQueue | undefined {
    return this.#byId.get(id);
  }

  get queues(): Iterable<TaskQueue> {
    return this.#queues.values();
  }

  /** Leases that this process has, and gives back when they are idle. */
  get hasLeases(): boolean {
    return this.#byLease.size > 0;
  }

  /** Tells the head how many leases the queue wants in all, when that has changed. */
  updateDemand(queue: TaskQueue): void {
    const wanted = wantedLeases(queue, this.owner);
    if (wanted === queue.demandedCount) return;
    const waitsForMore = wanted > queue.demandedCount && queue.ring.length > 0;
    queue.demandedCount = wanted;
    if (waitsForMore && this.#queues.size > 1) this.#releaseIdleOf(queue);
    this.#tellHead(queue);
  }

  /** After a new connection to the head, which has forgotten us. */
  repeatDemands(): void {
    for (const queue of this.#queues.values()) if (queue.demandedCount > 0) this.#tellHead(queue);
  }

  granted(grant: LeaseGranted): void {
    const queue = this.#byId.get(grant.demandId);
    if (this.#byLease.has(grant.leaseId)) return;
    if (!queue || !grant.endpoint) return this.#giveBack(grant.leaseId, false, 'unknown demand');
    queue.waitReasons = '';
    queue.isInfeasible = false;
    const line = this.owner.lines.open(queue, { endpoint: grant.endpoint, workerId: grant.workerId, leaseId: grant.leaseId, actorId: '', incarnation: 0 });
    line.idleSinceMs = this.owner.ports.nowMs();
    this.owner.watchClock();
    this.#byLease.set(grant.leaseId, line);
    queue.lines.push(line);
    this.owner.markDirty(queue);
  }

  /** The head says that the lease's worker is gone, and why. */
  lost(leaseId: string, cause: Death | null): void {
    const line = this.#byLease.get(leaseId);
    if (!line) return;
    this.#forget(line);
    this.owner.lines.lost(line, cause);
  }

  /** Others wait for it: give it back when it runs nothing. */
  reclaimed(leaseId: string): void {
    const line = this.#byLease.get(leaseId);
    if (!line) return;
    line.draining = true;
    if (line.outstanding === 0) this.release(line, false, 'reclaimed');
    else line.sendTakeBack();
  }

  /** Gives a lease back to the head. `kill`: its worker must not live on. */
  release(line: Line, kill: boolean, reason: string): void {
    this.#forget(line);
    this.owner.lines.forget(line);
    this.updateDemand(line.queue as TaskQueue); // first: else the head would start another lease in its place
    this.#giveBack(line.target.leaseId, kill, reason);
  }

  /** A worker that has not answered for longer than its tasks were expected to take gives back those that it has not started. */
  takeBackOverruns(queue: TaskQueue, nowMs: number): void {
    for (const line of queue.lines) {
      if (line.outstanding < 2 || line.overrun || nowMs - line.lastHeardMs < OVERRUN_MS) continue;
      line.overrun = true;
      line.sendTakeBack();
    }
  }

  /** Called when the last task of a line is done, and on every tick. */
  settleIdle(queue: TaskQueue, nowMs: number): void {
    for (const line of [...queue.lines]) {
      if (line.outstanding > 0 || line.broken) continue;
      if (line.draining) this.release(line, false, 'reclaimed');
      else if (queue.ring.length === 0) {
        const patienceMs = queue.lines.length > 1 ? LEASE_IDLE_MS : LAST_LEASE_IDLE_MS;
        if (nowMs - line.idleSinceMs >= patienceMs) this.release(line, false, 'idle');
      }
    }
    this.updateDemand(queue);
  }

  /** Gives back what other demands of this process hold and do not use: this one may be waiting for just that. */
  #releaseIdleOf(waiting: TaskQueue): void {
    for (const queue of this.#queues.values()) {
      if (queue === waiting || queue.ring.length > 0) continue;
      for (const line of [...queue.lines]) if (line.outstanding === 0 && !line.broken) this.release(line, false, 'another demand waits');
    }
  }

  #forget(line: Line): void {
    this.#byLease.delete(line.target.leaseId);
    const index = line.queue.lines.indexOf(line);
    if (index >= 0) line.queue.lines.splice(index, 1);
  }

  #giveBack(leaseId: string, killWorker: boolean, reason: string): void {
    this.owner.ports.toHead({ type: 'leaseReturn', leaseId, killWorker, reason });
  }

  #tellHead(queue: TaskQueue): void {
    const slot = queue.ring.length > 0 ? queue.ring.peek() : -1;
    const name = slot < 0 ? '' : (this.owner.slots.specs[slot]?.options.name ?? '');
    const preferredNodeIds = nodesOfArguments(queue.ring, this.owner.slots, this.owner.self.endpoint.nodeId);
    this.owner.ports.toHead({ type: 'leaseDemand', demandId: queue.id, demand: queue.demand, count: queue.demandedCount, name, preferredNodeIds });
  }
}

function wantedLeases(queue: TaskQueue, owner: Owner): number {
  const held = queue.lines.length;
  if (queue.ring.length === 0) return held;
  let unusable = 0;
  let outstanding = 0;
  for (const line of queue.lines) {
    if (line.blocked || line.overrun || line.draining || line.broken) unusable++;
    outstanding += line.outstanding;
  }
  const backlog = queue.ring.length + outstanding;
  const averageUs = owner.slots.specs[queue.ring.peek()]?.fn?.duration.averageUs ?? -1;
  const useful = averageUs < 0 ? backlog : Math.min(backlog, Math.ceil((backlog * averageUs) / WORK_PER_LEASE_US));
  return Math.min(LEASES_MAX, Math.max(held, useful + unusable, 1 + unusable));
}
