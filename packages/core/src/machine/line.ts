/** A connection to one worker on which this owner sends tasks or calls, and what is under way on it. */
import { FrameWriter, OwnerOp, type Endpoint } from '@muster/protocol';
import type { SlotQueue } from './slot-queue.js';
import type { FunctionEntry, TaskSpec } from './task-spec.js';

/** The edge's half of a line. */
export interface LineTransport {
  /** False: congested until `onDrain`. */
  send(frame: Uint8Array): boolean;
  close(): void;
}

/** The machine's half. */
export interface LineHandlers {
  onFrame(payload: Uint8Array): void;
  onDrain(): void;
  onClosed(reason: string): void;
}

export interface LineTarget {
  readonly endpoint: Endpoint;
  readonly workerId: string;
  readonly leaseId: string;
  readonly actorId: string;
  readonly incarnation: number;
}

/** Values of a generator whose references are not counted yet. */
export interface UncountedValues {
  count: number;
  /** What its last record brings about; null as long as that has not come. */
  onCounted: (() => void) | null;
}

export class Line {
  readonly writer = new FrameWriter();
  transport: LineTransport | null = null;
  /** Tasks sent in all. */
  sentCount = 0;
  /** Tasks answered in all; those given back do not count. */
  answeredCount = 0;
  /** Tasks sent and not answered. */
  outstanding = 0;
  /** Of those, tasks of long or unknown duration. */
  heavyCount = 0;
  /** Runs one task alone: one that has failed before, or that has a deadline. */
  exclusive = false;
  congested = false;
  /** Its task waits for others: nothing is sent meanwhile. */
  blocked = false;
  /** When its worker last answered, or got its first task. */
  lastHeardMs = 0;
  /** What it runs takes longer than was expected of it: nothing more is sent until it answers. */
  overrun = false;
  /** To be given back as soon as it runs nothing. */
  draining = false;
  closed = false;
  idleSinceMs = 0;
  /** Why the connection broke, while the head's word on the worker is awaited, and until when. */
  broken: { readonly reason: string; readonly untilMs: number } | null = null;
  /** Generators with values whose references are not counted yet, by slot. */
  readonly uncounted = new Map<number, UncountedValues>();
  readonly #defined = new Set<number>();
  #lastDefined = -1;

  constructor(readonly number: number, readonly queue: SlotQueue, readonly target: LineTarget) {}

  get isUsable(): boolean {
    return this.transport !== null && !this.closed && !this.congested && !this.blocked && !this.overrun && !this.draining && this.broken === null;
  }

  /** Whether one more task of this spec may be sent now. `attempt` counts from 0. */
  accepts(spec: TaskSpec, attempt: number): boolean {
    if (this.exclusive) return false;
    if (attempt > 0 || spec.options.timeoutMs > 0) return this.outstanding === 0;
    return this.heavyCount === 0 && this.outstanding < spec.fn!.duration.ahead;
  }

  /** Sends the function once, before the first task that names it. */
  define(fn: FunctionEntry): void {
    if (fn.id === this.#lastDefined) return;
    this.#lastDefined = fn.id;
    if (this.#defined.has(fn.id)) return;
    this.#defined.add(fn.id);
    const at = this.writer.beginRecord(OwnerOp.define);
    this.writer.u32(fn.id);
    this.writer.text(fn.name);
    this.writer.block(fn.bytes);
    this.writer.endRecord(at);
  }

  isDefined(functionId: number): boolean {
    return functionId === this.#lastDefined || this.#defined.has(functionId);
  }

  /** A record that consists of its op and one slot. */
  sendSlot(op: number, slot: number): void {
    if (this.closed) return;
    const at = this.writer.beginRecord(op);
    this.writer.u32(slot);
    this.writer.endRecord(at);
    this.flush();
  }

  sendTakeBack(): void {
    if (this.closed) return;
    this.writer.endRecord(this.writer.beginRecord(OwnerOp.takeBack));
    this.flush();
  }

  sendCredit(slot: number, count: number): void {
    if (this.closed) return;
    const at = this.writer.beginRecord(OwnerOp.credit);
    this.writer.u32(slot);
    this.writer.u32(count);
    this.writer.endRecord(at);
    this.flush();
  }

  /** The references in a result are counted, or in a generator's value; `index` is 0 or the value's. */
  sendHeld(slot: number, index: number): void {
    if (this.closed) return;
    const at = this.writer.beginRecord(OwnerOp.held);
    this.writer.u32(slot);
    this.writer.u32(index);
    this.writer.endRecord(at);
    this.flush();
  }

  flush(): void {
    if (this.writer.isEmpty || this.transport === null || this.closed) return;
    if (!this.transport.send(this.writer.take())) this.congested = true;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.transport?.close();
  }
}
