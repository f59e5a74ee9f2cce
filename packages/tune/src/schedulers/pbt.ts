/** Population-based training that explores by small steps, as it was first described. Source: Jaderberg et al., 2017. */
import type { Random } from '@muster/base';
import { requireNames, requireNumber } from '../option-checks.js';
import type { SchedulerContext, SchedulerDefinition } from '../scheduler.js';
import type { Dimension, Point } from '../space/dimensions.js';
import { coordinateOf, coordinateOfIndex, indexAt, valueAt, valueCount } from '../space/scale.js';
import { PopulationScheduler, type Exploration, type PopulationOptions } from './population.js';
import { defineScheduler } from './trial-scheduler.js';

/** What {@link pbt} takes. */
export interface PbtOptions extends PopulationOptions {
  /** The probability that a parameter is drawn anew instead of changed a little. Default 0.25. */
  readonly resampleProbability?: number;
  /** Numbers are multiplied by this or divided by it. Default 1.2. */
  readonly factor?: number;
}

const RESAMPLE_PROBABILITY = 0.25;
const FACTOR = 1.2;

/**
 * Trains a population: the worst take over from the best and change its parameters a little. Finds schedules of parameters, not just
 * values. Trials must report checkpoints.
 */
export function pbt(options: PbtOptions = {}): SchedulerDefinition {
  requireNames('pbt()', options, ['maxEpochs', 'intervalEpochs', 'quantile', 'resampleProbability', 'factor']);
  return defineScheduler('pbt', (context) => new PbtScheduler(context, options));
}

class PbtScheduler extends PopulationScheduler {
  readonly #resampleProbability: number;
  readonly #factor: number;

  constructor(context: SchedulerContext, options: PbtOptions) {
    super(context, 'PBT', options);
    const { resampleProbability = RESAMPLE_PROBABILITY, factor = FACTOR } = options;
    this.#resampleProbability = requireNumber('resampleProbability of pbt()', resampleProbability, { least: 0, most: 1 });
    this.#factor = requireNumber('factor of pbt()', factor, { above: 1 });
  }

  protected explore(point: Point, _milestone: number, random: Random): Exploration {
    const { space } = this.context;
    const explored = space.allowed(() => space.dimensions.map((dimension, index) => this.#changed(dimension, point[index] ?? null, random)));
    return { point: explored, how: 'its parameters changed a little' };
  }

  #changed(dimension: Dimension, coordinate: number | null, random: Random): number {
    const isResampled = random.next() < this.#resampleProbability;
    if (dimension.kind === 'categorical') return isResampled || coordinate === null ? Math.floor(random.next() * dimension.options.length) : coordinate;
    if (isResampled || coordinate === null) return random.next();
    const up = random.next() < 0.5;
    if (dimension.step !== null && this.#isCoarse(dimension, coordinate)) {
      const neighbour = indexAt(dimension, coordinate) + (up ? 1 : -1);
      return coordinateOfIndex(dimension, Math.min(valueCount(dimension) - 1, Math.max(0, neighbour)));
    }
    const value = valueAt(dimension, coordinate) * (up ? this.#factor : 1 / this.#factor);
    const isBounded = dimension.scale === 'linear' || dimension.scale === 'log';
    return coordinateOf(dimension, isBounded ? Math.min(dimension.high, Math.max(dimension.low, value)) : value);
  }

  /** Whether a whole number, multiplied, would round back to itself; or is no number but an ordinal. */
  #isCoarse(dimension: Extract<Dimension, { kind: 'numeric' }>, coordinate: number): boolean {
    return dimension.options !== null || Math.abs(valueAt(dimension, coordinate)) * (1 - 1 / this.#factor) < dimension.step!;
  }
}
