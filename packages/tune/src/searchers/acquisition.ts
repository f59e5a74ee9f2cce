/**
 * Where in a space the expected improvement is largest: many points are looked at, the best few are moved uphill, by gradients along
 * what is continuous and step by step along what is not.
 */
import type { Random } from '@muster/base';
import { logExpectedImprovement } from '../numeric/expected-improvement.js';
import type { GaussianProcess, Posterior } from '../numeric/gaussian-process.js';
import { minimize } from '../numeric/minimize.js';
import { normalDeviate } from '../numeric/normal.js';
import { evenSequence } from '../numeric/sequences.js';
import type { Dimension, Point } from '../space/dimensions.js';
import { coordinateOfIndex, indexAt, valueCount } from '../space/scale.js';
import type { SearchSpace } from '../space/search-space.js';
import { featuresOf } from './features.js';
import { spread } from './quasi-random.js';

/** Points that are looked at over all of the space: as many as a model of this size lets one look at in some milliseconds. */
const spreadPoints = (size: number): number => Math.round(Math.min(1_000, Math.max(120, 25_000 / size)));
/** Points that are looked at near the best ones that are known. */
const NEAR_POINTS = 45;
/** How many of the best known have points near them, and how far off those lie. */
const NEAR_BEST = 5;
const NEAR_DISTANCES = [0.1, 0.02, 0.004] as const;
/** Points that are moved uphill, and how often the gradient is asked for each. */
const CLIMBS = 4;
const CLIMB_EVALUATIONS = 20;
/** Of a choice with more options than these, so many are tried. */
const OPTIONS_TRIED_MAX = 12;
/** Whole numbers of more values than these are taken as continuous, and rounded. */
const STEPPED_VALUES_MAX = 40;
/** Times that climbing and stepping take turns. */
const ROUNDS = 2;

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

/** A point with coordinates also for what does not exist there, and its logarithm of the expected improvement. */
interface Candidate {
  readonly latent: readonly number[];
  readonly point: Point;
  readonly value: number;
}

/** The best point found. */
export function maximizeImprovement(problem: ImprovementProblem): Improvement {
  const { space, model, known } = problem;
  const seen = new Set(known.map((point) => point.join()));
  const screened = screen(problem).sort(byValue);
  const climbed = screened.slice(0, CLIMBS).map((start) => climb(problem, start));
  const ranked = [...climbed, ...screened].sort(byValue);
  const { point, value } = ranked.find((candidate) => !seen.has(candidate.point.join())) ?? ranked[0]!;
  return { point, logImprovement: value, posterior: model.at(featuresOf(space.dimensions, point)) };
}

const byValue = (a: Candidate, b: Candidate): number => b.value - a.value;

/** The candidate at a point, or null where the constraints refuse it. */
function candidateAt({ space, model, best }: ImprovementProblem, latent: readonly number[]): Candidate | null {
  const point = space.nearest(latent);
  if (!space.allows(point)) return null;
  const { mean, variance } = model.at(featuresOf(space.dimensions, point));
  return { latent, point, value: logExpectedImprovement(best, mean, Math.sqrt(variance)).value };
}

/** Points over all of the space, and around the best ones. There is one at least: the constraints allow something. */
function screen(problem: ImprovementProblem): Candidate[] {
  const { space, model, random, known } = problem;
  const sequence = evenSequence(space.dimensions.length, Math.floor(random.next() * 2 ** 32));
  const even = Array.from({ length: spreadPoints(model.size) }, (_, index) => spread(space.dimensions, sequence.at(index)) as number[]);
  const near = Array.from({ length: NEAR_POINTS }, (_, index) => nudged(space, known[index % Math.min(NEAR_BEST, known.length)]!, NEAR_DISTANCES[index % NEAR_DISTANCES.length]!, random));
  const found = [...even, ...near].flatMap((latent) => candidateAt(problem, latent) ?? []);
  return found.length > 0 ? found : [candidateAt(problem, space.sample(random).map((coordinate) => coordinate ?? 0))!];
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

/** Climbs along what is continuous and steps along what is not, in turns. */
function climb(problem: ImprovementProblem, start: Candidate): Candidate {
  let current = start;
  for (let round = 0; round < ROUNDS; round++) {
    const climbed = climbSlope(problem, current);
    const stepped = takeSteps(problem, climbed);
    if (stepped === current) break;
    current = stepped;
    if (stepped === climbed) break;
  }
  return current;
}

function climbSlope(problem: ImprovementProblem, start: Candidate): Candidate {
  const { space, model, best } = problem;
  const free = [...space.dimensions.keys()].filter((index) => start.point[index] !== null && !hasSteps(space.dimensions[index]!));
  if (free.length === 0) return start;
  const features = featuresOf(space.dimensions, start.point);
  const meanGradient = new Float64Array(features.length);
  const varianceGradient = new Float64Array(features.length);
  const { x } = minimize((at, gradient) => {
    free.forEach((index, i) => { features[index] = at[i]!; });
    const { mean, variance } = model.gradientAt(features, meanGradient, varianceGradient);
    const deviation = Math.sqrt(variance);
    const { value, byMean, byDeviation } = logExpectedImprovement(best, mean, deviation);
    free.forEach((index, i) => { gradient[i] = -(byMean * meanGradient[index]! + (byDeviation * varianceGradient[index]!) / (2 * deviation)); });
    return -value;
  }, Float64Array.from(free, (index) => start.point[index]!), { lower: new Float64Array(free.length), upper: new Float64Array(free.length).fill(1), evaluationsMax: CLIMB_EVALUATIONS });
  const latent = [...start.latent];
  free.forEach((index, i) => { latent[index] = x[i]!; });
  return better(start, candidateAt(problem, latent));
}

/** Tries the other options of each choice and the neighbours of each whole number, and keeps what is better. */
function takeSteps(problem: ImprovementProblem, start: Candidate): Candidate {
  let current = start;
  problem.space.dimensions.forEach((dimension, index) => {
    if (current.point[index] === null || !hasSteps(dimension)) return;
    for (const coordinate of steps(dimension, current.point[index]!, problem.random)) {
      current = better(current, candidateAt(problem, current.latent.with(index, coordinate)));
    }
  });
  return current;
}

function steps(dimension: Dimension, coordinate: number, random: Random): number[] {
  if (dimension.kind === 'numeric') {
    const index = indexAt(dimension, coordinate);
    return [index - 1, index + 1].filter((other) => other >= 0 && other < valueCount(dimension)).map((other) => coordinateOfIndex(dimension, other));
  }
  const { length } = dimension.options;
  if (length <= OPTIONS_TRIED_MAX) return dimension.options.map((_, option) => option);
  return Array.from({ length: OPTIONS_TRIED_MAX }, () => Math.floor(random.next() * length));
}

/** Whether a dimension has so few values that they are tried one by one. */
function hasSteps(dimension: Dimension): boolean {
  return dimension.kind === 'categorical' || valueCount(dimension) <= STEPPED_VALUES_MAX;
}

function better(current: Candidate, other: Candidate | null): Candidate {
  return other !== null && other.value > current.value ? other : current;
}
