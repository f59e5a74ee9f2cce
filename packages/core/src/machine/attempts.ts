/** Attempts: which failures are tried again, how long they wait before, and which run out of time. */
import { formatDurationMs, makeError, type MusterError } from '@muster/base';
import { OwnerOp } from '@muster/protocol';
import type { Owner } from './owner.js';
import { SlotState } from './slots.js';

/** The wait before attempt n + 1 is BASE * 2^n, at most MAX, times a random half to whole. */
const BACKOFF_BASE_MS = 50;
const BACKOFF_MAX_MS = 10_000;
/** A task past its deadline has this long to heed its AbortSignal; then its worker is ended. */
const ABORT_GRACE_MS = 1000;

/** A predicate that throws does not ask for another attempt. */
function wantsRetry(retryOn: (error: unknown) => boolean, error: unknown): boolean {
  try {
    return retryOn(error);
  } catch {
    return false;
  }
}

interface Delay {
  readonly atMs: number;
  readonly slot: number;
}

export class Attempts {
  #delayed: Delay[] = [];
  /** When a running attempt is out of time, by slot. */
  readonly #deadlines = new Map<number, number>();
  /** When the worker of an aborted task is ended, by slot. */
  readonly #graces = new Map<number, number>();

  constructor(readonly owner: Owner) {}

  startDeadline(slot: number, timeoutMs: number): void {
    this.#deadlines.set(slot, this.owner.ports.nowMs() + timeoutMs);
  }

  /** The slot's attempt is over, and the slot may be another task's next. */
  forget(slot: number): void {
    if (this.#deadlines.size > 0) this.#deadlines.delete(slot);
    if (this.#graces.size > 0) this.#graces.delete(slot);
  }

  /** Aborts a running task whose reference is settled already; ends its worker at once, or if it does not stop in time. */
  abort(slot: number, { force, graceMs }: { readonly force: boolean; readonly graceMs?: number | undefined }): void {
    const line = this.owner.lines.of(slot);
    if (!line) return;
    const isLeased = line.target.leaseId !== '';
    const { order } = this.owner.slots;
    const isFirst = force && !this.owner.lines.slotsOn(line).some((other) => order[other]! < order[slot]!); // else it has not begun yet
    if (isFirst && isLeased) return this.owner.lines.killWorker(line, slot, 'a task was cancelled with force');
    line.sendSlot(OwnerOp.cancel, slot);
    const leftMs = graceMs ?? (force || this.#deadlines.has(slot) ? ABORT_GRACE_MS : Infinity);
    if (isLeased && leftMs < Infinity) this.#graces.set(slot, this.owner.ports.nowMs() + leftMs);
  }

  /** Whether the task may run again after the failure; if so it does, after a pause. */
  retry(slot: number, countsAsAttempt: boolean): boolean {
    const { slots } = this.owner;
    const spec = slots.specs[slot]!;
    if (countsAsAttempt) {
      if (slots.attempts[slot]! >= spec.options.retries) return false;
      slots.attempts[slot]!++;
    }
    this.forget(slot);
    const attempt = slots.attempts[slot]!;
    if (attempt === 0) {
      this.owner.requeue(slot);
      return true;
    }
    slots.states[slot] = SlotState.delayed;
    const pauseMs = Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** (attempt - 1)) * (0.5 + this.owner.ports.random() / 2);
    this.#delayed.push({ atMs: this.owner.ports.nowMs() + pauseMs, slot });
    return true;
  }

  tick(nowMs: number): void {
    if (this.#delayed.length > 0) {
      const due = this.#delayed.filter((delay) => delay.atMs <= nowMs);
      if (due.length > 0) this.#delayed = this.#delayed.filter((delay) => delay.atMs > nowMs);
      for (const { slot } of due) {
        if (this.owner.slots.states[slot] === SlotState.delayed) this.owner.requeue(slot);
        else this.owner.releaseSlot(slot); // cancelled meanwhile
      }
    }
    for (const [slot, atMs] of this.#deadlines) if (atMs <= nowMs && this.owner.slots.states[slot] === SlotState.sent) this.#timeout(slot);
    for (const [slot, atMs] of this.#graces) if (atMs <= nowMs) {
      this.#graces.delete(slot);
      const line = this.owner.lines.of(slot);
      if (line) this.owner.lines.killWorker(line, slot, 'a task went on after its time was over');
    }
  }

  #timeout(slot: number): void {
    const { options } = this.owner.slots.specs[slot]!;
    const error: MusterError = makeError('TIMEOUT', { what: `the task ${options.name}`, limit: formatDurationMs(options.timeoutMs) });
    const { retryOn, retries } = options;
    if (retryOn !== null && this.owner.slots.attempts[slot]! < retries && wantsRetry(retryOn, error)) this.owner.restart(slot);
    else this.owner.abandon(slot, error);
    this.abort(slot, { force: false });
    this.#deadlines.delete(slot);
  }
}
