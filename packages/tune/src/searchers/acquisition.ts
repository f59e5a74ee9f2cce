/**
 * Where in a space the expected improvement is largest: many points are looked at, some of the best are moved uphill, by gradients along
 * what is continuous and step by step along what is not. Improvements right at a bound count less than others.
 * Source: Balandat et al., 2020, "BoTorch" (many starts, drawn by their value, and L-BFGS); Optuna's GP sampler (steps in turns with climbs);
 * Hvarfner et al., 2022, "πBO" (improvement times the prior of where the best point is); Siivola et al., 2018 (what goes wrong at bounds).
 */
import type { Random } from '@muster/base';
import { logExpectedImprovement } from '../numeric/expected-improvement.js';
import type { GaussianProcess, Posterior, SlopedPosterior } from '../numeric/gaussian-process.js';
import { minimizeEach, type Evaluation, type Search } from '../numeric/minimize.js';
import { normalDeviate } from '../numeric/normal.js';
import { evenSequence } from '../numeric/sequences.js';
import type { Dimension, Point } from '../space/dimensions.js';
import { coordinateOfIndex, indexAt, valueCount } from '../space/scale.js';
import type { SearchSpace } from '../space/search-space.js';
import { featuresOf } from './features.js';
import { spread } from './quasi-random.js';

/** Points that are looked at over all of the space: as many as a model of this size lets one look at in some milliseconds. */
const spreadPoints = (size: number): number => Math.round(Math.min(2_000, Math.max(250, 80_000 / size)));
/** Points that are looked at near the best ones that are known. */
const NEAR_POINTS = 60;
/** How many of the best known have points near them, and how far off those lie. */
const NEAR_BEST = 5;
const NEAR_DISTANCES = [0.1, 0.02, 0.004] as const;
/** Points that are moved uphill, and how often the gradient is asked for each. */
const CLIMBS = 8;
const CLIMB_EVALUATIONS = 40;
/** Of a choice with more options than these, so many are tried. */
const OPTIONS_TRIED_MAX = 12;
/** Whole numbers of more values than these are taken as continuous, and rounded. */
const STEPPED_VALUES_MAX = 40;
/** Of whole numbers of so few values, all are tried; of others, the neighbours. */
const VALUES_TRIED_MAX = 16;
/** Times that climbing and stepping take turns. */
const ROUNDS = 5;
/** Slopes of the logarithm of the expected improvement, over a length scale, that are flat. */
const FLAT = 1e-2;
/**
 * Whoever sets bounds takes the best point to lie between them rather than right at one. A Gaussian process does not know, and is least sure
 * at the corners, of which there are many: it would try one after the other, and go on with values from there that it never varied. So each
 * coordinate of the best point has a prior, Beta(2, 2) with this part of a uniform one: at a bound two fifths of what it is in the middle, which is
 * enough where only the model's doubt speaks for the bound, and little where trials do.
 */
const PRIOR_UNIFORM_PART = 0.5;

/** What there is to improve on. */
export interface ImprovementProblem {
  readonly space: SearchSpace;
  readonly model: GaussianProcess;
  /** The value to improve on, as the model knows values. */
  readonly best: number;
  /** What was tried, the best first. None of it is proposed again while there is something else. */
  readonly known: readonly Point[];
  readonly random: Random;
}

/** A point to try, and what the model expects of it. */
export interface Improvement {
  readonly point: Point;
  readonly logImprovement: number;
  readonly posterior: Posterior;
}

/** A point with coordinates also for what does not exist there, and the logarithm of what it is worth: its expected improvement, as likely as it is. */
interface Candidate {
  readonly latent: readonly number[];
  readonly point: Point;
  readonly value: number;
}

/** The best point found. */
export function maximizeImprovement(problem: ImprovementProblem): Improvement {
  const { space, model, best, known } = problem;
  const seen = new Set(known.map((point) => point.join()));
  const screened = screen(problem).sort(byValue);
  const climbed = climb(problem, startsOf(screened, problem.random));
  const ranked = [...climbed, ...screened].sort(byValue);
  const { point } = ranked.find((candidate) => !seen.has(candidate.point.join())) ?? ranked[0]!;
  const posterior = model.at(featuresOf(space.dimensions, point));
  return { point, logImprovement: logExpectedImprovement(best, posterior.mean, Math.sqrt(posterior.variance)).value, posterior };
}

const byValue = (a: Candidate, b: Candidate): number => b.value - a.value;

/** The best candidate and others drawn as their expected improvement is large, so that several hills are climbed. */
function startsOf(sorted: readonly Candidate[], random: Random): Candidate[] {
  const [best, ...others] = sorted;
  const starts = [best!];
  const weights = others.map(({ value }) => Math.exp(value - best!.value));
  let total = weights.reduce((sum, weight) => sum + weight, 0);
  while (starts.length < CLIMBS && total > Number.MIN_VALUE) {
    let rest = random.next() * total;
    const index = weights.findIndex((weight) => weight > 0 && (rest -= weight) <= 0);
    if (index === -1) break;
    starts.push(others[index]!);
    total -= weights[index]!;
    weights[index] = 0;
  }
  return starts;
}

/** Those of the points that the constraints allow, with what the model expects of them. */
function candidatesAt({ space, model, best }: ImprovementProblem, latents: readonly (readonly number[])[]): Candidate[] {
  const allowed = latents.map((latent) => ({ latent, point: space.nearest(latent) })).filter(({ point }) => space.allows(point));
  const posteriors = model.atEach(allowed.map(({ point }) => featuresOf(space.dimensions, point)));
  return allowed.map(({ latent, point }, i) => {
    let value = logExpectedImprovement(best, posteriors[i]!.mean, Math.sqrt(posteriors[i]!.variance)).value;
    space.dimensions.forEach((dimension, index) => { if (point[index] !== null && !hasSteps(dimension)) value += logPrior(point[index]!).value; });
    return { latent, point, value };
  });
}

/** The logarithm of the prior's density at a coordinate, and its slope. */
function logPrior(coordinate: number): { readonly value: number; readonly slope: number } {
  const density = PRIOR_UNIFORM_PART + (1 - PRIOR_UNIFORM_PART) * 6 * coordinate * (1 - coordinate);
  return { value: Math.log(density), slope: ((1 - PRIOR_UNIFORM_PART) * 6 * (1 - 2 * coordinate)) / density };
}

/** Points over all of the space, and around the best ones. There is one at least: the constraints allow something. */
function screen(problem: ImprovementProblem): Candidate[] {
  const { space, model, random, known } = problem;
  const sequence = evenSequence(space.dimensions.length, Math.floor(random.next() * 2 ** 32));
  const even = Array.from({ length: spreadPoints(model.size) }, (_, index) => spread(space.dimensions, sequence.at(index)) as number[]);
  const near = Array.from({ length: NEAR_POINTS }, (_, index) => nudged(space, known[index % Math.min(NEAR_BEST, known.length)]!, NEAR_DISTANCES[index % NEAR_DISTANCES.length]!, random));
  const found = candidatesAt(problem, [...even, ...near]);
  return found.length > 0 ? found : candidatesAt(problem, [space.sample(random).map((coordinate) => coordinate ?? 0)]);
}

/** A point near another: numbers a little off, now and then another option. */
function nudged({ dimensions }: SearchSpace, point: Point, distance: number, random: Random): number[] {
  return dimensions.map((dimension, index) => {
    const coordinate = point[index] ?? null;
    if (dimension.kind === 'categorical') return coordinate === null || random.next() < 1 / dimensions.length ? Math.floor(random.next() * dimension.options.length) : coordinate;
    const moved = coordinate === null ? random.next() : coordinate + distance * normalDeviate(random);
    return Math.min(1, Math.max(0, moved));
  });
}

/**
 * Climbs along what is continuous and steps along what is not, in turns, until neither helps. All climb together, because four points take a
 * model the time of one.
 */
function climb(problem: ImprovementProblem, starts: readonly Candidate[]): Candidate[] {
  const arrived: Candidate[] = [];
  let climbing = starts;
  for (let round = 0; round < ROUNDS && climbing.length > 0; round++) {
    const climbed = climbSlopes(problem, climbing);
    const stepped = climbed.map((candidate) => takeSteps(problem, candidate));
    arrived.push(...stepped.filter((candidate, i) => candidate === climbed[i]));
    climbing = stepped.filter((candidate, i) => candidate !== climbed[i]);
  }
  return [...arrived, ...climbing];
}

/** The tops above some candidates, as far as they are better. */
function climbSlopes(problem: ImprovementProblem, starts: readonly Candidate[]): Candidate[] {
  const slopes = starts.map((start) => new Slope(problem, start));
  const minima = minimizeEach(slopes.map(({ search }) => search), (asked) => {
    const posteriors = problem.model.gradientsAt(asked.map(({ search, x }) => slopes[search]!.featuresAt(x)));
    return asked.map(({ search, x }, i) => slopes[search]!.evaluate(x, posteriors[i]!));
  });
  return starts.map((start, i) => better(start, candidatesAt(problem, [slopes[i]!.latentAt(minima[i]!.x)])));
}

/**
 * The part of the space around a candidate in which what is not continuous is as it is there. Its coordinates are measured in the model's length
 * scales, in which no direction is steeper than others for want of a unit. Minus a point's worth is what is to be made small.
 */
class Slope {
  readonly #problem: ImprovementProblem;
  readonly #start: Candidate;
  readonly #free: readonly number[];
  readonly #lengths: readonly number[];

  constructor(problem: ImprovementProblem, start: Candidate) {
    const { dimensions } = problem.space;
    this.#problem = problem;
    this.#start = start;
    this.#free = [...dimensions.keys()].filter((index) => start.point[index] !== null && !hasSteps(dimensions[index]!));
    this.#lengths = this.#free.map((index) => problem.model.lengthOf(index));
  }

  get search(): Search {
    return {
      start: Float64Array.from(this.#free, (index, i) => this.#start.point[index]! / this.#lengths[i]!),
      box: { lower: new Float64Array(this.#free.length), upper: Float64Array.from(this.#lengths, (length) => 1 / length), evaluationsMax: CLIMB_EVALUATIONS, gradientTolerance: FLAT },
    };
  }

  featuresAt(x: Float64Array): Float64Array {
    const features = featuresOf(this.#problem.space.dimensions, this.#start.point);
    this.#free.forEach((index, i) => { features[index] = x[i]! * this.#lengths[i]!; });
    return features;
  }

  latentAt(x: Float64Array): readonly number[] {
    const latent = [...this.#start.latent];
    this.#free.forEach((index, i) => { latent[index] = Math.min(1, x[i]! * this.#lengths[i]!); });
    return latent;
  }

  evaluate(x: Float64Array, { mean, variance, meanGradient, varianceGradient }: SlopedPosterior): Evaluation {
    const deviation = Math.sqrt(variance);
    const improvement = logExpectedImprovement(this.#problem.best, mean, deviation);
    const priors = this.#lengths.map((length, i) => logPrior(x[i]! * length));
    return {
      value: -priors.reduce((sum, prior) => sum + prior.value, improvement.value),
      gradient: () => Float64Array.from(this.#free, (index, i) => -this.#lengths[i]! * (improvement.byMean * meanGradient[index]! + (improvement.byDeviation * varianceGradient[index]!) / (2 * deviation) + priors[i]!.slope)),
    };
  }
}

/** Tries other options of each choice and other values of each whole number, and keeps what is better. */
function takeSteps(problem: ImprovementProblem, start: Candidate): Candidate {
  let current = start;
  problem.space.dimensions.forEach((dimension, index) => {
    if (current.point[index] === null || !hasSteps(dimension)) return;
    const { latent } = current;
    current = better(current, candidatesAt(problem, steps(dimension, current.point[index]!, problem.random).map((coordinate) => latent.with(index, coordinate))));
  });
  return current;
}

function steps(dimension: Dimension, coordinate: number, random: Random): number[] {
  if (dimension.kind === 'numeric') {
    const index = indexAt(dimension, coordinate);
    const count = valueCount(dimension);
    const others = count <= VALUES_TRIED_MAX ? Array.from({ length: count }, (_, other) => other) : [1, 2, 4, 8].flatMap((stride) => [index - stride, index + stride]);
    return others.filter((other) => other !== index && other >= 0 && other < count).map((other) => coordinateOfIndex(dimension, other));
  }
  const { length } = dimension.options;
  if (length <= OPTIONS_TRIED_MAX) return dimension.options.map((_, option) => option);
  return Array.from({ length: OPTIONS_TRIED_MAX }, () => Math.floor(random.next() * length));
}

/** Whether a dimension has so few values that they are tried one by one. */
function hasSteps(dimension: Dimension): boolean {
  return dimension.kind === 'categorical' || valueCount(dimension) <= STEPPED_VALUES_MAX;
}

function better(current: Candidate, others: readonly Candidate[]): Candidate {
  return others.reduce((a, b) => (b.value > a.value ? b : a), current);
}
