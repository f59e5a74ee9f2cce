/** One task or call that runs: what `context()` tells of it, and how it is cancelled. */
import { formatDurationMs, makeError } from '@muster/base';
import { WorkerOp } from '@muster/protocol';
import { RefState, type EncodedValue, type ObjectRef, type Session } from '@muster/core/internal';
import type { CallerLine } from './caller-line.js';

/** Finished children are dropped from the list when it has grown by this many. */
const CHILDREN_SWEEP = 1024;

/** Others of higher priority need the room of what runs here. */
export interface Preemption {
  readonly why: string;
  readonly graceMs: number;
}

/** What `context().signal` gives as its reason. */
export const preemptedError = (what: string, { why, graceMs }: Preemption): Error => makeError('PREEMPTED', { what, why, grace: formatDurationMs(graceMs) });

export class Running {
  #controller: AbortController | null = null;
  #cancelled = false;
  #preemption: Preemption | null = null;
  #children: ObjectRef[] = [];
  #sweepAt = CHILDREN_SWEEP;
  /** Values that a generator may yield further, and who waits for more. */
  credit = 0;
  onCredit: (() => void) | null = null;

  constructor(
    readonly line: CallerLine, readonly slot: number,
    /** The owner's number of the task, for its id. */
    readonly sequence: number,
    /** Tries before this one. */
    readonly attempt: number,
    readonly name: string,
    /** Negative for calls of an actor. */
    readonly functionId: number,
  ) {}

  get isCancelled(): boolean {
    return this.#cancelled;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#cancelled) this.#controller.abort(new DOMException('the task was cancelled', 'AbortError'));
      else if (this.#preemption) this.#controller.abort(preemptedError(this.name, this.#preemption));
    }
    return this.#controller.signal;
  }

  /** A task that this one submits is cancelled with it, also when that has happened already. */
  adopt(ref: ObjectRef, session: Session): void {
    if (this.#cancelled) return cancelChild(session, ref);
    this.#children.push(ref);
    if (this.#children.length < this.#sweepAt) return;
    this.#children = this.#children.filter((child) => child.state === RefState.pending);
    this.#sweepAt = this.#children.length + CHILDREN_SWEEP;
  }

  cancel(session: Session): void {
    this.#cancelled = true;
    this.#controller?.abort(new DOMException('the task was cancelled', 'AbortError'));
    for (const child of this.#children) cancelChild(session, child);
    this.onCredit?.();
  }

  /** It is told, and goes on: it has a while to save what it has, or to end. */
  preempt(preemption: Preemption): void {
    this.#preemption = preemption;
    this.#controller?.abort(preemptedError(this.name, preemption));
  }

  /** Answers with an error. A preempted task that gives up has not failed: it goes back to its owner, to run again. */
  fail(error: EncodedValue): void {
    if (this.#preemption && this.functionId >= 0) this.line.slotRecord(WorkerOp.returned, this.slot);
    else this.line.compositeRecord(WorkerOp.error, this.slot, error);
  }

  grant(count: number): void {
    this.credit += count;
    this.onCredit?.();
  }
}

function cancelChild(session: Session, child: ObjectRef): void {
  session.owner.cancel(child, { force: false, reason: 'the task that submitted it was cancelled' });
}
