/**
 * Memory for tensors. Fresh memory costs more than most operations (the kernel has to supply and clear its pages), so blocks that come back are kept by
 * size and handed out again. What nobody gives back is the collector's, as any ArrayBuffer.
 */
import { makeError } from '@muster/base';

/** Smaller blocks share a size: a cache line. */
const BLOCK_MIN_BYTES = 64;

/** Blocks are cut to 4 sizes between two powers of two: at most a fifth of one is unused. */
const STEPS = 4;

/** What is kept for later, at most: enough for a training step of the models that a CPU trains, and no more than a small machine can spare. */
export const CACHED_BYTES_MAX = 2 ** 30;

/** What an allocator has given out and kept. */
export interface MemoryStatistics {
  /** Given out and not given back, whole blocks: as torch.cuda.memory_allocated. What the collector ended without dispose() counts on. */
  readonly usedBytes: number;
  /** The most that was used at a time since the start, or since {@link Allocator.resetPeak}. */
  readonly peakBytes: number;
  /** Kept for later. */
  readonly cachedBytes: number;
  /** How many allocations took a kept block, and how many needed a new one. */
  readonly reusedBlocks: number;
  readonly freshBlocks: number;
}

export class Allocator {
  readonly #free = new Map<number, ArrayBuffer[]>();
  #usedBytes = 0;
  #peakBytes = 0;
  #cachedBytes = 0;
  #reusedBlocks = 0;
  #freshBlocks = 0;

  /** A block of at least so many bytes, aligned for every dtype, holding anything. @throws OutOfMemoryError */
  allocate(sizeBytes: number): ArrayBuffer {
    const blockBytes = blockSize(sizeBytes);
    const block = this.#free.get(blockBytes)?.pop();
    if (block !== undefined) {
      this.#cachedBytes -= blockBytes;
      this.#reusedBlocks++;
      return this.#use(block);
    }
    this.#freshBlocks++;
    try {
      return this.#use(new ArrayBuffer(blockBytes));
    } catch {
      this.clear();  // what is kept may be what is lacking
    }
    try {
      return this.#use(new ArrayBuffer(blockBytes));
    } catch (cause) {
      throw makeError('OUT_OF_MEMORY', { size: `${blockBytes} bytes`, used: `the process uses ${process.memoryUsage().arrayBuffers} bytes of buffers` }, { cause });
    }
  }

  /** Takes a block back that nobody uses any more. */
  release(block: ArrayBuffer): void {
    this.#usedBytes -= block.byteLength;
    if (this.#cachedBytes + block.byteLength > CACHED_BYTES_MAX) return;
    this.#cachedBytes += block.byteLength;
    const blocks = this.#free.get(block.byteLength);
    if (blocks === undefined) this.#free.set(block.byteLength, [block]);
    else blocks.push(block);
  }

  /** Gives all that is kept to the collector. */
  clear(): void {
    this.#free.clear();
    this.#cachedBytes = 0;
  }

  statistics(): MemoryStatistics {
    return { usedBytes: this.#usedBytes, peakBytes: this.#peakBytes, cachedBytes: this.#cachedBytes, reusedBlocks: this.#reusedBlocks, freshBlocks: this.#freshBlocks };
  }

  /** Begins to measure the peak anew, as torch.cuda.reset_peak_memory_stats. */
  resetPeak(): void {
    this.#peakBytes = this.#usedBytes;
  }

  #use(block: ArrayBuffer): ArrayBuffer {
    this.#usedBytes += block.byteLength;
    this.#peakBytes = Math.max(this.#peakBytes, this.#usedBytes);
    return block;
  }
}

function blockSize(sizeBytes: number): number {
  if (sizeBytes <= BLOCK_MIN_BYTES) return BLOCK_MIN_BYTES;
  const step = 2 ** Math.floor(Math.log2(sizeBytes - 1)) / STEPS;
  return Math.ceil(sizeBytes / step) * step;
}
