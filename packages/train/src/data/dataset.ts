/** Examples in the object store: columns of numbers, cut into blocks of rows, so that no value is too large and nodes share the work of sending them. */
import { put, type ObjectRef } from '@muster/core';
import { invalidArgument } from '../failure.js';

export type ColumnArray = Float64Array | Float32Array | Int32Array | Uint32Array | Int16Array | Uint16Array | Int8Array | Uint8Array;

/** Of each name, the numbers of one example after those of another. */
export type Columns = Readonly<Record<string, ColumnArray>>;

/** A set of examples. Travels as references: a function that captures it, or is given it, reads the numbers where they lie. */
export interface Dataset<C extends Columns> {
  readonly exampleCount: number;
  /** How many numbers each column has for one example. */
  readonly widths: Readonly<Record<keyof C, number>>;
  /** In every block but the last, which may have fewer. */
  readonly examplesPerBlock: number;
  readonly blocks: readonly ObjectRef<C>[];
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
  const widths: Record<string, number> = {};
  let exampleBytes = 0;
  for (const [name, values] of Object.entries(columns)) {
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
  return { exampleCount, widths: widths as Record<keyof C, number>, examplesPerBlock, blocks };
}
