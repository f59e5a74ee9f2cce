/**
 * Which examples each rank sees, and when.
 *
 * Every epoch is a permutation of all examples that follows from the seed and the epoch's number alone, so any rank of any world size can name any
 * step's examples without having drawn those before: a training that is resumed with other ranks goes on where it stopped. Step s of an epoch is
 * the s-th piece of `ranks * batchSize` places of the permutation, of which each rank has a run of `batchSize`.
 *
 * Where blocks of examples are read when they are needed, the permutation is one of blocks, and within windows of some blocks one of their examples: what is
 * in memory is a window and the next, and all ranks are in the same.
 *
 *   blocks  0 1 2 3 4 5  ──permuted──>  4 1 | 3 0 | 2 5  ──examples of each window permuted──>  the order of an epoch
 */
import { invalidArgument } from '../failure.js';
import { permutationAt } from './permutation.js';

/** As much of a seed as permutations take in. */
const SEED_MAX = 2 ** 32 - 1;

export interface SamplerOptions {
  readonly exampleCount: number;
  /** Of one rank. */
  readonly batchSize: number;
  readonly ranks: number;
  /** A whole number from 0 to 2^32 - 1. */
  readonly seed: number;
  /** False: in their order. */
  readonly shuffle: boolean;
  /**
   * What becomes of the examples at an epoch's end that are too few for all ranks: 'drop' leaves them out, and other epochs have them; 'wrap' fills
   * up with the epoch's first, as PyTorch's DistributedSampler does.
   */
  readonly remainder: 'drop' | 'wrap';
  /** Of examples that are read block by block; null: all are at hand. */
  readonly window: { readonly examplesPerBlock: number; readonly blocks: number } | null;
}

/** Names the examples of every step. All ranks have equally many steps: none waits in a collective for one that is done. */
export class ShardSampler {
  readonly #options: SamplerOptions;
  #stepsPerEpoch: number;

  /** @throws MusterError INVALID_ARGUMENT: counts that are no positive integers, fewer examples than one step takes, or a seed that is none */
  constructor(options: SamplerOptions) {
    for (const name of ['exampleCount', 'batchSize', 'ranks'] as const) {
      if (!Number.isSafeInteger(options[name]) || options[name] < 1) throw invalidArgument(`the ${name} ${options[name]} of a loader`, 'a positive integer');
    }
    const { exampleCount, batchSize, ranks, seed, remainder } = options;
    if (!Number.isInteger(seed) || seed < 0 || seed > SEED_MAX) throw invalidArgument(`the seed ${String(seed)} of a loader`, `a whole number from 0 to ${SEED_MAX}`);
    if (remainder !== 'drop' && remainder !== 'wrap') throw invalidArgument(`the remainder ${String(remainder)} of a loader`, "'drop' or 'wrap'");
    const each = batchSize * ranks;
    if (exampleCount < each && remainder === 'drop') {
      throw invalidArgument(`a loader of ${exampleCount} examples`, `of at least ${each}, which ${ranks} ranks with batches of ${batchSize} take in one step, or have remainder: 'wrap'`);
    }
    this.#options = options;
    this.#stepsPerEpoch = remainder === 'drop' ? Math.floor(exampleCount / each) : Math.ceil(exampleCount / each);
  }

  get stepsPerEpoch(): number {
    return this.#stepsPerEpoch;
  }

  /** Has epochs end after fewer steps: those of a rank that has less data. */
  limit(stepsPerEpoch: number): void {
    this.#stepsPerEpoch = Math.min(this.#stepsPerEpoch, stepsPerEpoch);
  }

  /** The indices of one rank's examples in a step that counts over all epochs, from 0. */
  batch(step: number, rank: number): Uint32Array {
    const { exampleCount, batchSize, ranks } = this.#options;
    const epoch = Math.floor(step / this.#stepsPerEpoch);
    const start = ((step % this.#stepsPerEpoch) * ranks + rank) * batchSize;
    const indices = new Uint32Array(batchSize);
    for (let place = 0; place < batchSize; place++) indices[place] = this.#exampleAt((start + place) % exampleCount, epoch);
    return indices;
  }

  /**
   * The blocks of the windows that a step of all ranks lies in, and of the next: what is to be at hand, with what is to be read ahead.
   * Only where there are windows.
   */
  blocksAround(step: number): Set<number> {
    const { exampleCount, batchSize, ranks, window } = this.#options;
    const each = window!.examplesPerBlock * window!.blocks;
    const windows = Math.ceil(exampleCount / each);
    const [epoch, start] = [Math.floor(step / this.#stepsPerEpoch), (step % this.#stepsPerEpoch) * ranks * batchSize];
    const first = Math.floor(start / each);
    const last = Math.floor((start + ranks * batchSize - 1) / each);
    const used = Math.ceil((this.#stepsPerEpoch * ranks * batchSize) / each); // of an epoch: what is left out is not read
    const around = new Set<number>();
    for (let number = first; number <= last + 1; number++) {
      const [round, own] = number < used ? [epoch, number % windows] : [epoch + 1, (number - used) % windows];
      for (let slot = own * window!.blocks; slot < Math.min((own + 1) * window!.blocks, Math.ceil(exampleCount / window!.examplesPerBlock)); slot++) around.add(this.#blockAt(slot, round));
    }
    return around;
  }

  #exampleAt(place: number, epoch: number): number {
    const { exampleCount, seed, shuffle, window } = this.#options;
    if (!shuffle) return place;
    if (window === null) return permutationAt(place, exampleCount, { seed, round: epoch });
    const each = window.examplesPerBlock * window.blocks;
    const number = Math.floor(place / each);
    const round = epoch * Math.ceil(exampleCount / each) + number;
    const at = number * each + permutationAt(place % each, Math.min(each, exampleCount - number * each), { seed, round });
    return this.#blockAt(Math.floor(at / window.examplesPerBlock), epoch) * window.examplesPerBlock + (at % window.examplesPerBlock);
  }

  /** Which block comes where in an epoch. One that is not full stays the last. */
  #blockAt(slot: number, epoch: number): number {
    const { exampleCount, seed, shuffle, window } = this.#options;
    const full = Math.floor(exampleCount / window!.examplesPerBlock);
    return shuffle && slot < full ? permutationAt(slot, full, { seed, round: -1 - epoch }) : slot;
  }
}
