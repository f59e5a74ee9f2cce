/** Batches of one rank, made ahead of their use. */
import { get } from '@muster/core';
import type { ColumnArray, Columns, Dataset } from './dataset.js';
import { ShardSampler, type SamplerOptions } from './shard-sampler.js';

/** How many batches are made ahead: one is in use, one is ready, and one may wait for a block that another node has. */
const PREFETCH = 2;
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
 * Reads a dataset in the order of its sampler. The blocks that it has touched stay readable until it is collected: a node's object store must have room for the set.
 *
 * @example
 * for await (const { columns, step } of loader.batches(0)) train(columns.pixels, columns.labels);
 */
export class DataLoader<C extends Columns> {
  readonly #dataset: Dataset<C>;
  readonly #sampler: ShardSampler;
  readonly #rank: number;
  readonly #examplesPerStep: number;
  readonly #blocks: (Promise<C> | undefined)[];

  /** @throws MusterError INVALID_ARGUMENT as {@link ShardSampler} */
  constructor(dataset: Dataset<C>, { rank, shuffle = true, remainder = 'drop', ...options }: LoaderOptions) {
    this.#dataset = dataset;
    this.#sampler = new ShardSampler({ ...options, shuffle, remainder, exampleCount: dataset.exampleCount });
    this.#rank = rank;
    this.#examplesPerStep = options.batchSize * options.ranks;
    this.#blocks = dataset.blocks.map(() => undefined);
  }

  get stepsPerEpoch(): number {
    return this.#sampler.stepsPerEpoch;
  }

  /** The first step none of whose examples are among the first `examples` that all ranks have taken. */
  stepAfter(examples: number): number {
    return Math.ceil(examples / this.#examplesPerStep);
  }

  /** Without end, from a step on. @throws what {@link get} throws for a block */
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
    const { examplesPerBlock, widths } = this.#dataset;
    const examples = this.#sampler.batch(step, this.#rank);
    const blocks = await Promise.all(Array.from(examples, (example) => this.#block(Math.floor(example / examplesPerBlock)))); // of each example
    const columns = Object.entries(blocks[0]!).map(([name, { constructor }]) => {
      const width = widths[name]!;
      const target = new (constructor as new (length: number) => ColumnArray)(examples.length * width);
      blocks.forEach((block, row) => copyRow({ source: block[name]!, from: (examples[row]! % examplesPerBlock) * width, target, to: row * width, width }));
      return [name, target];
    });
    return { step, epoch: Math.floor(step / this.stepsPerEpoch), exampleCount: examples.length, columns: Object.fromEntries(columns) as C };
  }

  #block(index: number): Promise<C> {
    return (this.#blocks[index] ??= get(this.#dataset.blocks[index]!) as Promise<C>);
  }
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
