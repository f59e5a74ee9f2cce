/** Low-discrepancy search: trials that fill the space evenly, which random ones do not. */
import { makeError } from '@muster/base';
import { HaltonSequence, SobolSequence, type Sequence } from '../numeric/sequences.js';
import { SOBOL_DIMENSIONS } from '../numeric/sobol-directions.js';
import type { SearcherContext, SearcherDefinition, SeedOption } from '../searcher.js';
import type { Dimension, Point } from '../space/dimensions.js';
import { defineSearcher, HistorySearcher, type Proposal } from './history-searcher.js';

/** Scrambled Sobol points: the evenest where the number of trials is a power of two. */
export function sobol(options: SeedOption = {}): SearcherDefinition {
  return defineSearcher('sobol', options, (context) => {
    const { length } = context.space.dimensions;
    if (length > SOBOL_DIMENSIONS) throw makeError('INVALID_ARGUMENT', { what: `sobol() in a space of ${length} dimensions`, want: `used for at most ${SOBOL_DIMENSIONS}; halton() takes any number` });
    return new QuasiRandomSearcher(context, 'Sobol', new SobolSequence(length, context.seed));
  });
}

/** Scrambled Halton points, for any number of parameters and of trials. */
export function halton(options: SeedOption = {}): SearcherDefinition {
  return defineSearcher('halton', options, (context) => new QuasiRandomSearcher(context, 'Halton', new HaltonSequence(context.space.dimensions.length, context.seed)));
}

class QuasiRandomSearcher extends HistorySearcher {
  readonly #name: string;
  readonly #sequence: Sequence;

  constructor(context: SearcherContext, name: string, sequence: Sequence) {
    super(context);
    this.#name = name;
    this.#sequence = sequence;
  }

  /** Points that the constraints refuse are passed over. */
  protected propose(): Proposal {
    const point = this.space.allowed(() => spread(this.space.dimensions, this.#sequence.at(this.history.cursor++)));
    return { kind: 'point', point, reason: `${this.#name}: point ${this.history.cursor - 1} of the sequence` };
  }
}

/** A point of the unit cube as one of the space. */
export function spread(dimensions: readonly Dimension[], unit: readonly number[]): Point {
  return dimensions.map((dimension, index) => (dimension.kind === 'categorical' ? Math.floor(unit[index]! * dimension.options.length) : unit[index]!));
}
