/**
 * Examples as columns of numbers, in blocks of rows: in the object store, where a block is small enough that nodes share the work of sending them, or read
 * when they are needed, for sets that no memory holds.
 */
import { put, type ObjectRef } from '@muster/core';
import { invalidArgument } from '../failure.js';

export type ColumnArray = Float64Array | Float32Array | Int32Array | Uint32Array | Int16Array | Uint16Array | Int8Array | Uint8Array;

/** Of each name, the numbers of one example after those of another. */
export type Columns = Readonly<Record<string, ColumnArray>>;

/** Reads `count` examples from the example `first` on: of each column their numbers. */
export type ReadExamples<C extends Columns> = (first: number, count: number) => C | Promise<C>;

/** A set of examples. Travels as references, or as the function that reads it: a function that captures it, or is given it, has the numbers where it runs. */
export interface Dataset<C extends Columns> {
  readonly exampleCount: number;
  /** In every block but the last, which may have fewer. */
  readonly examplesPerBlock: number;
  /** Of a streamed set none. */
  readonly blocks: readonly ObjectRef<C>[];
  /** Of a streamed set, what reads a block. */
  readonly read: ReadExamples<C> | null;
}

/** Large enough that a pull costs its bytes and not its messages; small enough that several sources serve one set. */
const BLOCK_BYTES = 32 * 2 ** 20;

/**
 * Puts examples into the object store, once for all ranks of all trainings.
 * @param columns of each, `exampleCount` times as many numbers as one example has
 * @throws MusterError INVALID_ARGUMENT for columns that do not divide into so many examples; what {@link put} throws
 * @example
 * const digits = await dataset({ pixels, labels }, 60_000);   // 784 pixels and one label each
 */
export async function dataset<C extends Columns>(columns: C, exampleCount: number, blockBytes = BLOCK_BYTES): Promise<Dataset<C>> {
  if (!Number.isSafeInteger(exampleCount) || exampleCount < 1) throw invalidArgument(`a set of ${exampleCount} examples`, 'of one or more');
  if (!(blockBytes > 0)) throw invalidArgument(`blocks of ${blockBytes} bytes`, 'above 0');
  const widths: Record<string, number> = {};
  let exampleBytes = 0;
  for (const [name, values] of Object.entries(columns ?? {})) {
    if (!ArrayBuffer.isView(values) || values instanceof DataView) throw invalidArgument(`the column ${name}`, 'a typed array of the numbers of all examples');
    const width = values.length / exampleCount;
    if (!Number.isInteger(width) || width === 0) throw invalidArgument(`the column ${name} of ${values.length} numbers`, `as long as the ${exampleCount} examples, or a multiple of that`);
    widths[name] = width;
    exampleBytes += width * values.BYTES_PER_ELEMENT;
  }
  if (exampleBytes === 0) throw invalidArgument('a set of examples without columns', 'one with a column or more');
  const examplesPerBlock = Math.max(1, Math.min(exampleCount, Math.floor(blockBytes / exampleBytes)));
  const blocks: ObjectRef<C>[] = [];
  for (let first = 0; first < exampleCount; first += examplesPerBlock) {
    const end = Math.min(exampleCount, first + examplesPerBlock);
    const rows = Object.entries(columns).map(([name, values]) => [name, values.subarray(first * widths[name]!, end * widths[name]!)]);
    blocks.push(await put(Object.fromEntries(rows) as C));
  }
  return { exampleCount, examplesPerBlock, blocks, read: null };
}

export interface StreamOptions<C extends Columns> {
  readonly exampleCount: number;
  /** That are read at once. A rank has the blocks of three windows of four in memory at most, and shuffles within a window. */
  readonly examplesPerBlock: number;
  /** Runs at every rank, for blocks in any order. What it refers to travels with it, so it opens files by itself. */
  readonly read: ReadExamples<C>;
}

/**
 * Examples that are read block by block when their turn comes, for sets larger than memory: from files, or from objects elsewhere.
 * @throws MusterError INVALID_ARGUMENT for counts that are no positive integers
 * @example
 * const images = streamedDataset({ exampleCount: 1_000_000, examplesPerBlock: 4096, read: async (first, count) => {
 *   const pixels = new Uint8Array(count * 784);
 *   await using file = await open('/data/images.bin');
 *   await file.read(pixels, 0, pixels.length, first * 784);
 *   return { pixels };
 * } });
 */
export function streamedDataset<C extends Columns>({ exampleCount, examplesPerBlock, read }: StreamOptions<C>): Dataset<C> {
  for (const [name, count] of Object.entries({ exampleCount, examplesPerBlock })) if (!Number.isSafeInteger(count) || count < 1) throw invalidArgument(`the ${name} ${count} of a set`, 'a positive integer');
  return { exampleCount, examplesPerBlock, blocks: [], read };
}
