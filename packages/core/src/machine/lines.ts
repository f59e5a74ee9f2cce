/** The lines of a process, and what becomes of the tasks on a line that ends: they go back to their queue, or fail with the cause that the head reports. */
import { describeDeath, makeError, type ErrorCode, type MusterError } from '@muster/base';
import { deathFromMessage, deathToMessage, type Death } from '@muster/protocol';
import type { TaskQueue } from './dispatcher.js';
import { Line, type LineTarget } from './line.js';
import type { Owner } from './owner.js';
import { ReplyReader } from './replies.js';
import type { SlotQueue } from './slot-queue.js';
import { SlotState } from './slots.js';
import type { TaskSpec } from './task-spec.js';

/** Longer than a lost node is waited for: how long the head may take to say why a connection to a worker broke, before that alone counts as the cause. */
const CAUSE_WAIT_MS = 5_000;

export class Lines {
  readonly #byNumber = new Map<number, Line>();
  readonly #replies: ReplyReader;
  #count = 0;

  constructor(readonly owner: Owner) {
    this.#replies = new ReplyReader(owner);
  }

  open(queue: SlotQueue, target: LineTarget): Line {
    const { ports } = this.owner;
    const line = new Line(++this.#count, queue, target);
    this.#byNumber.set(line.number, line);
    line.transport = ports.openLine(target, {
      onFrame: (payload) => {
        if (line.closed) return;
        const before = line.answeredCount;
        this.#replies.read(line, payload);
        if (line.answeredCount > before) { // a task given back is no answer: what runs still runs
          line.lastHeardMs = ports.nowMs();
          line.overrun = false;
        }
        this.#afterReplies(line);
      },
      onDrain: () => {
        line.congested = false;
        this.owner.markDirty(queue);
      },
      onClosed: (reason) => this.#broke(line, reason),
    });
    return line;
  }

  /** Those that are not over. */
  get count(): number {
    return this.#byNumber.size;
  }

  get(number: number): Line | undefined {
    return this.#byNumber.get(number);
  }

  /** The line on which a slot's task was sent. */
  of(slot: number): Line | undefined {
    return this.#byNumber.get(this.owner.slots.lines[slot]!);
  }

  #afterReplies(line: Line): void {
    const { queue } = line;
    if (line.outstanding === 0) line.idleSinceMs = this.owner.ports.nowMs();
    if (queue.ring.length > 0) this.owner.markDirty(queue);
    else if (line.draining && line.outstanding === 0) this.owner.dispatcher.settleIdle(queue as TaskQueue, line.idleSinceMs);
  }

  /** The slot's task is no longer on the line. */
  leave(line: Line, slot: number): void {
    const { slots, attempts } = this.owner;
    line.outstanding--;
    slots.lines[slot] = 0; // on no line: an old number would tie it to that line's end
    if (slots.heavy[slot] === 1) {
      slots.heavy[slot] = 0;
      line.heavyCount--;
    }
    if (line.exclusive && line.outstanding === 0) line.exclusive = false;
    attempts.forget(slot);
  }

  /** The tasks that were sent on a line and not answered, in the order of their submission. */
  slotsOn(line: Line): number[] {
    const { slots } = this.owner;
    const found: number[] = [];
    for (let slot = 0; slot < slots.length && found.length < line.outstanding; slot++) {
      const state = slots.states[slot];
      if (slots.lines[slot] === line.number && (state === SlotState.sent || state === SlotState.abandoned)) found.push(slot);
    }
    return found.sort((a, b) => slots.refs[a]!.sequence - slots.refs[b]!.sequence);
  }

  #broke(line: Line, reason: string): void {
    if (line.closed || line.broken) return;
    line.broken = { reason, untilMs: this.owner.ports.nowMs() + this.owner.self.nodeTimeoutMs + CAUSE_WAIT_MS };
    this.owner.watchClock();
    this.owner.markDirty(line.queue);
  }

  /** The worker behind a line is gone: its tasks run again elsewhere, or fail with the cause. */
  lost(line: Line, cause: Death | null): void {
    line.close();
    const startedCount = cause && cause.progress > 0 ? cause.progress - 1 : Infinity;
    // A preemption costs those that it interrupts no attempt. What the worker had begun before the line broke may have ended since.
    const spentCount = cause?.kind === 'preempted' ? cause.severedTasks : startedCount;
    this.#scatter(line, (slot) => this.owner.slots.order[slot]! <= spentCount, cause);
  }

  /** Ends the worker of a lease for the sake of the task that it runs; the tasks behind that one have not begun and lose no attempt. */
  killWorker(line: Line, running: number, reason: string): void {
    const { dispatcher, slots } = this.owner;
    dispatcher.release(line, true, reason);
    const behind = slots.order[running]!;
    this.#scatter(line, (slot) => slots.order[slot]! <= behind, deathToMessage({ kind: 'killed', reason }));
  }

  /** Sends the tasks of an ended line back to the queue, or fails them. Those that had begun lose an attempt. */
  #scatter(line: Line, hadBegun: (slot: number) => boolean, cause: Death | null): void {
    const { owner } = this;
    this.#byNumber.delete(line.number);
    for (const slot of this.slotsOn(line).reverse()) { // the first one sent ends up in front
      this.leave(line, slot);
      if (owner.slots.states[slot] === SlotState.abandoned) owner.releaseSlot(slot);
      else if (!owner.attempts.retry(slot, hadBegun(slot))) owner.failTaken(slot, deathError(owner.slots.specs[slot]!, line, cause));
    }
    owner.markDirty(line.queue);
  }

  forget(line: Line): void {
    line.close();
    this.#byNumber.delete(line.number);
  }

  /** The connection to the cluster is gone. */
  closeAll(): void {
    for (const line of this.#byNumber.values()) line.close();
    this.#byNumber.clear();
  }

  /** Some broken ones are waited for. */
  get haveBroken(): boolean {
    for (const line of this.#byNumber.values()) if (line.broken) return true;
    return false;
  }

  tick(nowMs: number): void {
    for (const line of [...this.#byNumber.values()]) {
      if (!line.broken || line.broken.untilMs > nowMs) continue;
      if (line.target.actorId) this.owner.actors.lineTimedOut(line);
      else this.#giveUp(line, line.broken.reason);
    }
  }

  /** The head does not say what became of a worker that cannot be reached: whatever it does, it must not go on. */
  #giveUp(line: Line, reason: string): void {
    this.owner.dispatcher.release(line, true, `its connection broke: ${reason}`);
    this.lost(line, null);
  }
}

function deathError(spec: TaskSpec, line: Line, death: Death | null): MusterError {
  const cause = death ? deathFromMessage(death) : ({ kind: 'killed', reason: 'its connection broke' } as const);
  const code: ErrorCode = cause.kind === 'node-lost' ? 'NODE_DIED' : 'WORKER_DIED';
  return makeError(code, { what: `the task ${spec.options.name}`, worker: line.target.workerId, cause: `${line.target.workerId} ${describeDeath(cause)}` });
}
