/**
 * Memory for tensors. Fresh memory costs more than most operations (the kernel has to supply and clear its pages), so blocks that come back are kept by
 * size and handed out again. What nobody gives back is the collector's, as any ArrayBuffer.
 */
import { totalmem } from 'node:os';
import { makeError } from '@muster/base';
import { atCallersLine } from '../failure.js';

/** Smaller blocks share a size: a cache line. */
const BLOCK_MIN_BYTES = 64;

/** Blocks are cut to 4 sizes between two powers of two: at most a fifth of one is unused. */
const STEPS = 4;

/** What is kept for later, at most: enough for a training step of the models that a CPU trains, and no more than a small machine can spare. */
export const CACHED_BYTES_MAX = 2 ** 30;

/** What an allocator has given out and kept. */
export interface MemoryStatistics {
  /** Given out, and neither given back nor collected. */
  readonly usedBytes: number;
  /** The most that it ever was, or since {@link Allocator.resetPeak}. */
  readonly peakBytes: number;
  /** Kept for later. */
  readonly cachedBytes: number;
  /** How many allocations took a kept block, and how many needed a new one. */
  readonly reusedBlocks: number;
  readonly freshBlocks: number;
}

/** What the machine has, or the part of it that this process may use. */
function machineBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

export class Allocator {
  readonly #free = new Map<number, ArrayBuffer[]>();
  /** Blocks that went with a tensor which nobody disposed of are not used any more. */
  readonly #collected = new FinalizationRegistry<number>((blockBytes) => { this.#usedBytes -= blockBytes; });
  #limitBytes: number | null = null;
  #usedBytes = 0;
  #peakBytes = 0;
  #cachedBytes = 0;
  #reusedBlocks = 0;
  #freshBlocks = 0;

  /** The most bytes that may be used: what the machine has, until it is set. Beyond it the kernel would end the process, without a word. */
  get limitBytes(): number {
    return this.#limitBytes ??= machineBytes();
  }

  set limitBytes(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** A block of at least so many bytes, aligned for every dtype, holding anything. @throws OutOfMemoryError */
  allocate(sizeBytes: number): ArrayBuffer {
    const blockBytes = blockSize(sizeBytes);
    const block = this.#free.get(blockBytes)?.pop();
    if (block !== undefined) {
      this.#cachedBytes -= blockBytes;
      this.#reusedBlocks++;
    }
    const given = block ?? this.#fresh(blockBytes, sizeBytes);
    this.#usedBytes += blockBytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#usedBytes);
    return given;
  }

  /** Takes a block back that nobody uses any more. */
  release(block: ArrayBuffer): void {
    this.#usedBytes -= block.byteLength;
    if (this.#cachedBytes + block.byteLength > CACHED_BYTES_MAX) {
      this.#collected.unregister(block);
      return;
    }
    this.#cachedBytes += block.byteLength;
    const blocks = this.#free.get(block.byteLength);
    if (blocks === undefined) this.#free.set(block.byteLength, [block]);
    else blocks.push(block);
  }

  /** Gives all that is kept to the collector. */
  clear(): void {
    for (const blocks of this.#free.values()) for (const block of blocks) this.#collected.unregister(block);
    this.#free.clear();
    this.#cachedBytes = 0;
  }

  /** Has the peak begin at what is used now. */
  resetPeak(): void {
    this.#peakBytes = this.#usedBytes;
  }

  #fresh(blockBytes: number, sizeBytes: number): ArrayBuffer {
    if (this.#usedBytes + this.#cachedBytes + blockBytes > this.limitBytes) this.clear();  // what is kept may be what is lacking
    if (this.#usedBytes + blockBytes > this.limitBytes) throw this.#lacking(sizeBytes);
    this.#freshBlocks++;
    const block = tryAllocate(blockBytes) ?? this.#retried(blockBytes);
    if (block === null) throw this.#lacking(sizeBytes);
    this.#collected.register(block, blockBytes, block);
    return block;
  }

  #retried(blockBytes: number): ArrayBuffer | null {
    this.clear();
    return tryAllocate(blockBytes);
  }

  #lacking(sizeBytes: number): Error {
    return atCallersLine(makeError('OUT_OF_MEMORY', { size: `${sizeBytes} bytes`, used: `tensors hold ${this.#usedBytes} of ${this.limitBytes} bytes` }));
  }

  statistics(): MemoryStatistics {
    return { usedBytes: this.#usedBytes, peakBytes: this.#peakBytes, cachedBytes: this.#cachedBytes, reusedBlocks: this.#reusedBlocks, freshBlocks: this.#freshBlocks };
  }
}

/** Null where the machine has none. */
function tryAllocate(blockBytes: number): ArrayBuffer | null {
  try {
    return new ArrayBuffer(blockBytes);
  } catch {
    return null;
  }
}

function blockSize(sizeBytes: number): number {
  if (sizeBytes <= BLOCK_MIN_BYTES) return BLOCK_MIN_BYTES;
  const step = 2 ** Math.floor(Math.log2(sizeBytes - 1)) / STEPS;
  return Math.ceil(sizeBytes / step) * step;
}
