/** The simulated worker's end of one caller's stream, as @muster/worker has it. */
import { ownerKey, type ProcessId } from '@muster/base';
import { FrameWriter, WorkerOp } from '@muster/protocol';
import type { EncodedValue, ObjectRef } from '@muster/core/internal';

/** A function that a caller defined. */
export interface DefinedFunction {
  readonly id: number;
  readonly name: string;
  isRevived: boolean;
}

/** One caller of a worker. */
export class CallerLine {
  readonly writer = new FrameWriter();
  /** Names the caller in the ids of its tasks. */
  readonly callerKey: string;
  readonly functions = new Map<number, DefinedFunction>();
  /** References inside of results, until the caller has counted them, by slot. */
  readonly escrow = new Map<number, readonly ObjectRef[]>();
  /** Slots to drop when their turn comes. */
  readonly cancelled = new Set<number>();
  isOpen = true;
  #stats: { functionId: number; count: number; us: number } | null = null;

  constructor(readonly callerId: string, readonly leaseId: string, readonly sink: (frame: Uint8Array) => void) {
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

  compositeRecord(op: number, slot: number, value: EncodedValue): void {
    const at = this.writer.beginRecord(op);
    this.writer.u32(slot);
    this.writer.u8(value.tag);
    this.writer.block(value.bytes);
    this.writer.endRecord(at);
  }

  lostInput(slot: number, storageId: string): void {
    const at = this.writer.beginRecord(WorkerOp.lostInput);
    this.writer.u32(slot);
    this.writer.text(storageId);
    this.writer.endRecord(at);
  }

  /** Counts the time that tasks of a function took; told to the caller with the next flush. */
  count(functionId: number, us: number): void {
    if (this.#stats && this.#stats.functionId !== functionId) this.#writeStats();
    this.#stats ??= { functionId, count: 0, us: 0 };
    this.#stats.count++;
    this.#stats.us += us;
  }

  flush(): void {
    this.#writeStats();
    if (this.writer.isEmpty) return;
    const frame = this.writer.take();
    if (this.isOpen) this.sink(frame);
  }

  #writeStats(): void {
    if (!this.#stats) return;
    const { functionId, count, us } = this.#stats;
    this.#stats = null;
    const at = this.writer.beginRecord(WorkerOp.stats);
    this.writer.u32(functionId);
    this.writer.u32(count);
    this.writer.u32(Math.ceil(us));
    this.writer.endRecord(at);
  }
}
