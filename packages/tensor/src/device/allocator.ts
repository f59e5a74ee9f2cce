/**
 * Memory for tensors. Fresh memory costs more than most operations (on the CPU the kernel has to supply and clear its pages, a GPU waits), so blocks that come back are kept by
 * size and handed out again. What nobody gives back is the collector's.
 */
import { makeError } from '@muster/base';

/** Smaller blocks share a size: a cache line. */
const BLOCK_MIN_BYTES = 64;

/** Blocks are cut to 4 sizes between two powers of two: at most a fifth of one is unused. */
const STEPS = 4;

/** What an allocator has given out and kept. */
export interface MemoryStatistics {
  /** Kept for later. */
  readonly cachedBytes: number;
  /** How many allocations took a kept block, and how many needed a new one. */
  readonly reusedBlocks: number;
  readonly freshBlocks: number;
}

/** Where blocks come from. */
export interface BlockSource<Block> {
  /** Throws where there is no memory. */
  make(sizeBytes: number): Block;
  sizeOf(block: Block): number;
  /** Gives it up for good. */
  free(block: Block): void;
  /** What holds the memory, for messages. */
  usage(): string;
}

export class Allocator<Block> {
  readonly #source: BlockSource<Block>;
  readonly #cachedBytesMax: number;
  readonly #free = new Map<number, Block[]>();
  #cachedBytes = 0;
  #reusedBlocks = 0;
  #freshBlocks = 0;

  /** @param cachedBytesMax what is kept for later, at most */
  constructor(source: BlockSource<Block>, cachedBytesMax: number) {
    this.#source = source;
    this.#cachedBytesMax = cachedBytesMax;
  }

  /** A block of at least so many bytes, aligned for every dtype, holding anything. @throws OutOfMemoryError */
  allocate(sizeBytes: number): Block {
    const blockBytes = blockSize(sizeBytes);
    const block = this.#free.get(blockBytes)?.pop();
    if (block !== undefined) {
      this.#cachedBytes -= blockBytes;
      this.#reusedBlocks++;
      return block;
    }
    this.#freshBlocks++;
    try {
      return this.#source.make(blockBytes);
    } catch {
      this.clear();  // what is kept may be what is lacking
    }
    try {
      return this.#source.make(blockBytes);
    } catch (cause) {
      throw makeError('OUT_OF_MEMORY', { size: `${blockBytes} bytes`, used: this.#source.usage() }, { cause });
    }
  }

  /** Takes a block back that nobody uses any more. */
  release(block: Block): void {
    const blockBytes = this.#source.sizeOf(block);
    if (this.#cachedBytes + blockBytes > this.#cachedBytesMax) return this.#source.free(block);
    this.#cachedBytes += blockBytes;
    const blocks = this.#free.get(blockBytes);
    if (blocks === undefined) this.#free.set(blockBytes, [block]);
    else blocks.push(block);
  }

  /** Gives up all that is kept. */
  clear(): void {
    for (const blocks of this.#free.values()) for (const block of blocks) this.#source.free(block);
    this.#free.clear();
    this.#cachedBytes = 0;
  }

  statistics(): MemoryStatistics {
    return { cachedBytes: this.#cachedBytes, reusedBlocks: this.#reusedBlocks, freshBlocks: this.#freshBlocks };
  }
}

function blockSize(sizeBytes: number): number {
  if (sizeBytes <= BLOCK_MIN_BYTES) return BLOCK_MIN_BYTES;
  const step = 2 ** Math.floor(Math.log2(sizeBytes - 1)) / STEPS;
  return Math.ceil(sizeBytes / step) * step;
}
