/** The worker's end of one caller's stream: its functions, its frames that wait, and what its results still hold. */
import { ownerKey, type ProcessId } from '@muster/base';
import { FrameWriter, WorkerOp } from '@muster/protocol';
import type { EncodedValue } from '@muster/core/internal';
import { Escrow } from './escrow.js';

/** Sends a finished frame to the caller. */
export type FrameSink = (frame: Uint8Array) => void;

/** A function that a caller defined. Revived at its first task. */
export interface DefinedFunction {
  readonly id: number;
  readonly name: string;
  /** u8 tag, then the composite. */
  readonly bytes: Uint8Array;
  /** What the edge made of the bytes; null as long as nothing was. */
  revived: unknown;
}

export class CallerLine {
  /** Names the caller in the ids of its tasks. */
  readonly callerKey: string;
  readonly writer = new FrameWriter();
  readonly functions = new Map<number, DefinedFunction>();
  readonly escrow = new Escrow();
  /** Slots to drop when their turn comes. */
  readonly cancelled = new Set<number>();
  isOpen = true;
  /** A flush is due at the next turn of the event loop. */
  isFlushing = false;
  #statsFunction = -1;
  #statsCount = 0;
  #statsUs = 0;

  constructor(readonly callerId: string, readonly leaseId: string, readonly sink: FrameSink) {
    this.callerKey = ownerKey(callerId as ProcessId);
  }

  slotRecord(op: number, slot: number): void {
    const at = this.writer.beginRecord(op);
    this.writer.u32(slot);
    this.writer.endRecord(at);
  }

  blocked(isBlocked: boolean): void {
    const at = this.writer.beginRecord(WorkerOp.blocked);
    this.writer.u8(isBlocked ? 1 : 0);
    this.writer.endRecord(at);
    this.flush();
  }

  /** A record whose last part is an encoded value. */
  compositeRecord(op: number, slot: number, value: EncodedValue, index = -1): void {
    const { writer } = this;
    const at = writer.beginRecord(op);
    writer.u32(slot);
    if (index >= 0) writer.u32(index);
    writer.u8(value.tag);
    writer.block(value.bytes);
    writer.endRecord(at);
  }

  /** A generator's end, after so many values. */
  ended(slot: number, count: number): void {
    const at = this.writer.beginRecord(WorkerOp.ended);
    this.writer.u32(slot);
    this.writer.u32(count);
    this.writer.endRecord(at);
  }

  lostInput(slot: number, storageId: string): void {
    const at = this.writer.beginRecord(WorkerOp.lostInput);
    this.writer.u32(slot);
    this.writer.text(storageId);
    this.writer.endRecord(at);
  }

  /** Counts the time that tasks of a function took; told to the caller with the next flush. */
  count(functionId: number, count: number, us: number): void {
    if (functionId !== this.#statsFunction) this.#writeStats();
    this.#statsFunction = functionId;
    this.#statsCount += count;
    this.#statsUs += us;
  }

  flush(): void {
    this.#writeStats();
    if (this.writer.isEmpty) return;
    const frame = this.writer.take();
    if (this.isOpen) this.sink(frame);
  }

  #writeStats(): void {
    if (this.#statsCount === 0) return;
    const at = this.writer.beginRecord(WorkerOp.stats);
    this.writer.u32(this.#statsFunction);
    this.writer.u32(this.#statsCount);
    this.writer.u32(Math.min(0xffffffff, Math.ceil(this.#statsUs)));
    this.writer.endRecord(at);
    this.#statsCount = 0;
    this.#statsUs = 0;
  }
}
