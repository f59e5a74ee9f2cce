/**
 * Memory for tensors. Fresh memory costs more than most operations (on the CPU the kernel has to supply and clear its pages, a GPU waits), so blocks that come back
 * are kept by size and handed out again. What nobody gives back is the collector's.
 */
import { makeError } from '@muster/base';
import { atCallersLine } from '../failure.js';
import type { DeviceName } from './device.js';

/** Smaller blocks share a size: a cache line. */
const BLOCK_MIN_BYTES = 64;

/** Blocks are cut to 4 sizes between two powers of two: at most a fifth of one is unused. */
const STEPS = 4;

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

/** Where blocks come from. */
export interface BlockSource<Block> {
  /** Whose memory it is, for messages. */
  readonly device: DeviceName;
  /** What there is in all. */
  memoryBytes(): number;
  /** Throws where there is no memory. */
  make(sizeBytes: number): Block;
  sizeOf(block: Block): number;
  /** Gives it up for good. */
  free(block: Block): void;
}

export class Allocator<Block> {
  readonly #source: BlockSource<Block>;
  readonly #cachedBytesMax: number;
  readonly #free = new Map<number, Block[]>();
  #limitBytes: number | null = null;
  #usedBytes = 0;
  #peakBytes = 0;
  #cachedBytes = 0;
  #reusedBlocks = 0;
  #freshBlocks = 0;

  /** @param cachedBytesMax what is kept for later, at most */
  constructor(source: BlockSource<Block>, cachedBytesMax: number) {
    this.#source = source;
    this.#cachedBytesMax = cachedBytesMax;
  }

  /** The most bytes that may be used: what there is, until it is set. */
  get limitBytes(): number {
    return this.#limitBytes ??= this.#source.memoryBytes();
  }

  set limitBytes(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** A block of at least so many bytes, aligned for every dtype, holding anything. @throws OutOfMemoryError */
  allocate(sizeBytes: number): Block {
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
  release(block: Block): void {
    const blockBytes = this.#source.sizeOf(block);
    this.#usedBytes -= blockBytes;
    if (this.#cachedBytes + blockBytes > this.#cachedBytesMax) return this.#source.free(block);
    this.#cachedBytes += blockBytes;
    const blocks = this.#free.get(blockBytes);
    if (blocks === undefined) this.#free.set(blockBytes, [block]);
    else blocks.push(block);
  }

  /** A block has gone with its last reference, and was not given back. */
  collected(blockBytes: number): void {
    this.#usedBytes -= blockBytes;
  }

  /** Gives up all that is kept. */
  clear(): void {
    for (const blocks of this.#free.values()) for (const block of blocks) this.#source.free(block);
    this.#free.clear();
    this.#cachedBytes = 0;
  }

  /** Has the peak begin at what is used now. */
  resetPeak(): void {
    this.#peakBytes = this.#usedBytes;
  }

  statistics(): MemoryStatistics {
    return { usedBytes: this.#usedBytes, peakBytes: this.#peakBytes, cachedBytes: this.#cachedBytes, reusedBlocks: this.#reusedBlocks, freshBlocks: this.#freshBlocks };
  }

  #fresh(blockBytes: number, sizeBytes: number): Block {
    if (this.#usedBytes + this.#cachedBytes + blockBytes > this.limitBytes) this.clear();  // what is kept may be what is lacking
    if (this.#usedBytes + blockBytes > this.limitBytes) throw this.#lacking(sizeBytes);
    this.#freshBlocks++;
    try {
      return this.#source.make(blockBytes);
    } catch {
      this.clear();
    }
    try {
      return this.#source.make(blockBytes);
    } catch (cause) {
      throw this.#lacking(sizeBytes, cause);
    }
  }

  #lacking(sizeBytes: number, cause?: unknown): Error {
    return atCallersLine(makeError('OUT_OF_MEMORY', { size: `${sizeBytes} bytes`, used: `tensors on ${this.#source.device} hold ${this.#usedBytes} of ${this.limitBytes} bytes` }, { cause }));
  }
}

function blockSize(sizeBytes: number): number {
  if (sizeBytes <= BLOCK_MIN_BYTES) return BLOCK_MIN_BYTES;
  const step = 2 ** Math.floor(Math.log2(sizeBytes - 1)) / STEPS;
  return Math.ceil(sizeBytes / step) * step;
}
