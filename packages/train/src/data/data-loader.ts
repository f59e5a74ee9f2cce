/** Batches of one rank, made ahead of their use. */
import { requireNames } from '@muster/base';
import { get } from '@muster/core';
import { invalidArgument } from '../failure.js';
import type { ColumnArray, Columns, Dataset } from './dataset.js';
import { ShardSampler, type SamplerOptions } from './shard-sampler.js';

/** How many batches are made ahead: one is in use, one is ready, and one may wait for a block that another node has. */
const PREFETCH = 2;
/** Blocks that are shuffled together where they are read when they are needed: enough to mix what lies together in a file. With the next window so many again are in memory. */
const WINDOW_BLOCKS = 4;
/** Columns with fewer numbers an example are copied one by one: a view costs more than they do. */
const NARROW = 16;

export interface Batch<C extends Columns> {
  /** Counts over all epochs, from 0. */
  readonly step: number;
  readonly epoch: number;
  readonly exampleCount: number;
  /** The numbers of this rank's examples: an array of its own, which nobody else has. */
  readonly columns: C;
}

export type LoaderOptions = Pick<SamplerOptions, 'batchSize' | 'ranks' | 'seed'> & Partial<Pick<SamplerOptions, 'shuffle' | 'remainder'>> & { readonly rank: number };

/**
 * Reads a dataset in the order of its sampler. Of one in the object store the blocks that it has touched stay readable until it is collected: a node's store
 * must have room for the set. Of a streamed one it has the blocks of two windows, three at most, the last of which is read while the one before is used.
 *
 * @example
 * for await (const { columns, step } of loader.batches(0)) train(columns.pixels, columns.labels);
 */
export class DataLoader<C extends Columns> {
  readonly batchSize: number;
  readonly #dataset: Dataset<C>;
  readonly #sampler: ShardSampler;
  readonly #rank: number;
  readonly #blocks = new Map<number, Promise<C>>();
  /** What the columns are that were read first: all others are the same. */
  #layout: string | null = null;

  /** @throws MusterError INVALID_ARGUMENT as {@link ShardSampler}, and for a rank that is none of `ranks` */
  constructor(dataset: Dataset<C>, loaderOptions: LoaderOptions) {
    requireNames('a loader', loaderOptions, ['rank', 'ranks', 'batchSize', 'seed', 'shuffle', 'remainder']);
    const { rank, shuffle = true, remainder = 'drop', ...options } = loaderOptions;
    const { exampleCount, examplesPerBlock, read } = dataset;
    this.batchSize = options.batchSize;
    this.#dataset = dataset;
    this.#sampler = new ShardSampler({ ...options, shuffle, remainder, exampleCount, window: read === null ? null : { examplesPerBlock, blocks: WINDOW_BLOCKS } });
    if (!Number.isInteger(rank) || rank < 0 || rank >= options.ranks) throw invalidArgument(`the rank ${String(rank)} of a loader for ${options.ranks} ranks`, `a whole number from 0 to ${options.ranks - 1}`);
    this.#rank = rank;
  }

  get stepsPerEpoch(): number {
    return this.#sampler.stepsPerEpoch;
  }

  /** Has epochs end after fewer steps than the data would last: where another rank has less. */
  limitSteps(stepsPerEpoch: number): void {
    this.#sampler.limit(stepsPerEpoch);
  }

  /** Without end, from a step on. @throws what {@link get} throws for a block, or what reads one */
  async *batches(fromStep: number): AsyncGenerator<Batch<C>, never, undefined> {
    const ahead: Promise<Batch<C>>[] = [];
    for (let step = fromStep; ; step++) {
      while (ahead.length <= PREFETCH) {
        const batch = this.#batch(step + ahead.length);
        batch.catch(() => undefined); // it is thrown when its turn comes
        ahead.push(batch);
      }
      yield await ahead.shift()!;
    }
  }

  async #batch(step: number): Promise<Batch<C>> {
    const { examplesPerBlock, read } = this.#dataset;
    if (read !== null) this.#moveTo(step);
    const examples = this.#sampler.batch(step, this.#rank);
    const numbers = Array.from(examples, (example) => Math.floor(example / examplesPerBlock));
    const blocks = await Promise.all(numbers.map((block) => this.#block(block))); // of each example
    const columns = Object.entries(blocks[0]!).map(([name, first]) => {
      const width = first.length / this.#examplesIn(numbers[0]!);
      const ofSameType = (first instanceof Uint8Array ? Uint8Array : first.constructor) as new (length: number) => ColumnArray; // bytes of a file are a Buffer, which Node warns of
      const target = new ofSameType(examples.length * width);
      blocks.forEach((block, row) => copyRow({ source: block[name]!, from: (examples[row]! % examplesPerBlock) * width, target, to: row * width, width }));
      return [name, target];
    });
    return { step, epoch: Math.floor(step / this.stepsPerEpoch), exampleCount: examples.length, columns: Object.fromEntries(columns) as C };
  }

  /** Lets go of blocks that no later step needs, and begins to read those of the next window. Batches under way keep what they have. */
  #moveTo(step: number): void {
    const around = this.#sampler.blocksAround(step);
    for (const block of this.#blocks.keys()) if (!around.has(block)) this.#blocks.delete(block);
    for (const block of around) this.#block(block);
  }

  #block(index: number): Promise<C> {
    let block = this.#blocks.get(index);
    if (block === undefined) {
      this.#blocks.set(index, block = this.#read(index));
      block.catch(() => undefined); // thrown by the batch that needs it
    }
    return block;
  }

  async #read(index: number): Promise<C> {
    const { blocks, examplesPerBlock, read } = this.#dataset;
    if (read === null) return get(blocks[index]!) as Promise<C>;
    const count = this.#examplesIn(index);
    const columns = await read(index * examplesPerBlock, count);
    const what = `the ${count} examples from ${index * examplesPerBlock} on`;
    const layout = layoutOf(columns, count, what);
    this.#layout ??= layout;
    if (layout !== this.#layout) throw invalidArgument(`${layout} that was read for ${what}`, `as in the blocks before: ${this.#layout}`);
    return columns;
  }

  #examplesIn(block: number): number {
    const { exampleCount, examplesPerBlock } = this.#dataset;
    return Math.min(examplesPerBlock, exampleCount - block * examplesPerBlock);
  }
}

/** `x: 784 of Uint8Array, y: 1 of Uint8Array` for each example. @param what the examples are. @throws MusterError INVALID_ARGUMENT */
function layoutOf(columns: Columns, count: number, what: string): string {
  const entries = Object.entries(columns ?? {}).sort(([first], [second]) => (first < second ? -1 : 1));
  if (entries.length === 0) throw invalidArgument(`what was read for ${what}`, 'columns, of which there is one or more');
  return entries.map(([name, values]) => {
    if (!ArrayBuffer.isView(values) || values instanceof DataView) throw invalidArgument(`the column ${name} that was read for ${what}`, 'a typed array of their numbers');
    if (values.length === 0 || values.length % count !== 0) throw invalidArgument(`the column ${name} of ${values.length} numbers that was read for ${what}`, 'as long as they are, or a multiple of that');
    return `${name}: ${values.length / count} of ${values[Symbol.toStringTag]}`;
  }).join(', ');
}

interface Row {
  readonly source: ColumnArray;
  readonly from: number;
  readonly target: ColumnArray;
  readonly to: number;
  readonly width: number;
}

function copyRow({ source, from, target, to, width }: Row): void {
  if (width >= NARROW) target.set(source.subarray(from, from + width), to);
  else for (let index = 0; index < width; index++) target[to + index] = source[from + index]!;
}
