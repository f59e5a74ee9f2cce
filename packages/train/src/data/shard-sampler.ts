/**
 * Which examples each rank sees, and when.
 *
 * Every epoch is a permutation of all examples that follows from the seed and the epoch's number alone, so any rank of any world size can name any
 * step's examples without having drawn those before: a training that is resumed with other ranks goes on where it stopped. Step s of an epoch is
 * the s-th piece of `ranks * batchSize` places of the permutation, of which each rank has a run of `batchSize`.
 */
import { invalidArgument } from '../failure.js';
import { permutationAt } from './permutation.js';

export interface SamplerOptions {
  readonly exampleCount: number;
  /** Of one rank. */
  readonly batchSize: number;
  readonly ranks: number;
  readonly seed: number;
  /** False: in their order. */
  readonly shuffle: boolean;
  /**
   * What becomes of the examples at an epoch's end that are too few for all ranks: 'drop' leaves them out, and other epochs have them; 'wrap' fills
   * up with the epoch's first, as PyTorch's DistributedSampler does.
   */
  readonly remainder: 'drop' | 'wrap';
}

/** Names the examples of every step. All ranks have equally many steps: none waits in a collective for one that is done. */
export class ShardSampler {
  readonly #options: SamplerOptions;
  readonly stepsPerEpoch: number;

  /** @throws MusterError INVALID_ARGUMENT: counts that are no positive integers, or fewer examples than one step takes. */
  constructor(options: SamplerOptions) {
    for (const name of ['exampleCount', 'batchSize', 'ranks'] as const) {
      if (!Number.isSafeInteger(options[name]) || options[name] < 1) throw invalidArgument(`the ${name} ${options[name]} of a loader`, 'a positive integer');
    }
    const { exampleCount, batchSize, ranks, remainder } = options;
    const each = batchSize * ranks;
    if (exampleCount < each && remainder === 'drop') {
      throw invalidArgument(`a loader of ${exampleCount} examples`, `of at least ${each}, which ${ranks} ranks with batches of ${batchSize} take in one step, or have remainder: 'wrap'`);
    }
    this.#options = options;
    this.stepsPerEpoch = remainder === 'drop' ? Math.floor(exampleCount / each) : Math.ceil(exampleCount / each);
  }

  /** The indices of one rank's examples in a step that counts over all epochs, from 0. */
  batch(step: number, rank: number): Uint32Array {
    const { exampleCount, batchSize, ranks, seed, shuffle } = this.#options;
    const epoch = Math.floor(step / this.stepsPerEpoch);
    const start = ((step % this.stepsPerEpoch) * ranks + rank) * batchSize;
    const indices = new Uint32Array(batchSize);
    for (let place = 0; place < batchSize; place++) {
      const at = (start + place) % exampleCount;
      indices[place] = shuffle ? permutationAt(at, exampleCount, { seed, round: epoch }) : at;
    }
    return indices;
  }
}
