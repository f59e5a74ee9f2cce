/**
 * Population-based bandits: population-based training that explores where a Gaussian process over time and parameters promises the
 * largest improvement, by its upper confidence bound. Needs far fewer trials than PBT.
 * Source: Parker-Holder et al., 2020.
 */
import type { Random } from '@muster/base';
import { defaultHyperparameters, fitProcess, type GaussianProcess, type Observations } from '../numeric/gaussian-process.js';
import { momentsOf } from '../numeric/moments.js';
import { evenSequence } from '../numeric/sequences.js';
import { requireNames } from '../option-checks.js';
import type { SchedulerContext, SchedulerDefinition } from '../scheduler.js';
import { featureKinds, featuresOf } from '../searchers/features.js';
import { spread } from '../searchers/quasi-random.js';
import type { Json } from '../searcher.js';
import type { Point } from '../space/dimensions.js';
import { PopulationScheduler, type Exploration, type Member, type PopulationOptions } from './population.js';
import { defineScheduler } from './trial-scheduler.js';

/** The latest improvements that the model is made of: older ones tell little of what helps now. */
const IMPROVEMENTS_MAX = 100;
/** Below so many there is no model, and parameters are drawn anew. */
const IMPROVEMENTS_MIN = 4;
const FIT_EVALUATIONS = 30;
const CANDIDATES = 256;
/** Deviations that are added to what is expected: how much is ventured. */
const CONFIDENCE = 1.5;

/** Trains a population whose parameters are chosen by a bandit: for populations of 4 to 20 trials. Trials must report checkpoints. */
export function pb2(options: PopulationOptions = {}): SchedulerDefinition {
  requireNames('pb2()', options, ['maxEpochs', 'intervalEpochs', 'quantile']);
  return defineScheduler('pb2', (context) => new Pb2Scheduler(context, options));
}

/** What a configuration brought between two comparisons. */
type Improvement = readonly [milestone: number, point: Point, gain: number];

class Pb2Scheduler extends PopulationScheduler {
  #improvements: Improvement[] = [];

  constructor(context: SchedulerContext, options: PopulationOptions) {
    super(context, 'PB2', options);
  }

  protected override compared({ standings }: Member): void {
    const [before, now] = standings.slice(-2);
    if (standings.length < 2 || !before || !now) return;
    this.#improvements = [...this.#improvements, [standings.length, now.point, before.loss - now.loss] as const].slice(-IMPROVEMENTS_MAX);
  }

  protected explore(_point: Point, milestone: number, random: Random): Exploration {
    const { space } = this.context;
    if (this.#improvements.length < IMPROVEMENTS_MIN) return { point: space.sample(random), how: 'its parameters drawn anew, because there is no model yet' };
    const { model, last } = this.#model();
    const features = (point: Point): Float64Array => Float64Array.from([milestone / last, ...featuresOf(space.dimensions, point)]);
    const running = Array.from(this.running.values(), ({ kept }) => kept).filter(({ standings }) => standings.length === milestone);
    const imagining = model.imagining(running.map(({ point }) => features(point)));
    const sequence = evenSequence(space.dimensions.length, Math.floor(random.next() * 2 ** 32));
    let at = 0;
    let best: { point: Point; bound: number } | null = null;
    for (let i = 0; i < CANDIDATES; i++) {
      const point = space.allowed(() => spread(space.dimensions, sequence.at(at++)));
      const { mean, variance } = imagining.at(features(point));
      const bound = mean + CONFIDENCE * Math.sqrt(variance);
      if (best === null || bound > best.bound) best = { point, bound };
    }
    return { point: best!.point, how: `with the parameters of ${CANDIDATES} that promise most after ${this.#improvements.length} improvements` };
  }

  /** The process of gains, scaled, over time and parameters. */
  #model(): { readonly model: GaussianProcess; readonly last: number } {
    const { dimensions } = this.context.space;
    const last = Math.max(...this.#improvements.map(([milestone]) => milestone));
    const gains = this.#improvements.map(([, , gain]) => gain);
    const { mean, deviation } = momentsOf(gains);
    const observations: Observations = {
      kinds: ['number', ...featureKinds(dimensions)],
      inputs: this.#improvements.map(([milestone, point]) => Float64Array.from([milestone / last, ...featuresOf(dimensions, point)])),
      targets: Float64Array.from(gains, (gain) => (gain - mean) / deviation),
    };
    return { model: fitProcess(observations, [defaultHyperparameters(observations.kinds.length)], FIT_EVALUATIONS), last };
  }

  override state(): Json {
    return { population: super.state(), improvements: this.#improvements };
  }

  override restore(state: Json): void {
    const { population, improvements } = state as { population: Json; improvements: Improvement[] };
    super.restore(population);
    this.#improvements = [...improvements];
  }
}
