/**
 * Regression by a Gaussian process: Matérn 5/2 with a length scale for each input, fitted by its marginal likelihood under priors.
 * Inputs that are categories are as far apart as they differ. It costs n³/6 multiplications to make, n²/2 for a value and n² for a gradient.
 * Source: Rasmussen and Williams, 2006; Snoek et al., 2012 (Matérn 5/2, ARD); Hvarfner et al., 2024 (the prior of length scales).
 */
import { cholesky, dot, flipped, inverseOf, Matrix, solveLower, solveLowerRows, solveLowerTransposed } from './matrix.js';
import { minimize, type Box, type Evaluation, type Smooth } from './minimize.js';

/** Whether two values of an input differ by their distance, or just differ. */
export type InputKind = 'number' | 'category';

/** What is known: one row of inputs for each target. Numbers lie in [0, 1]; targets have mean 0 and deviation 1 or so. */
export interface Observations {
  readonly kinds: readonly InputKind[];
  readonly inputs: readonly Float64Array[];
  readonly targets: Float64Array;
}

/** The logarithms of the length scales, the signal's variance and the noise's variance, in this order. */
export type Hyperparameters = Float64Array;

/** Mean and variance of the function at a point. */
export interface Posterior {
  readonly mean: number;
  readonly variance: number;
}

/** The same, with the gradients of both. Those of categories are 0. */
export interface SlopedPosterior extends Posterior {
  readonly meanGradient: Float64Array;
  readonly varianceGradient: Float64Array;
}

/** An input's values in all rows. */
interface Column {
  readonly kind: InputKind;
  readonly values: Float64Array;
}

/** Smaller noise than this makes the matrices singular. */
const NOISE_MIN = 1e-7;
const LENGTH_BOUNDS = [5e-3, 1e3] as const;
const SIGNAL_BOUNDS = [1e-2, 1e4] as const;
const NOISE_BOUNDS = [NOISE_MIN, 1] as const;
/** Priors are normal over the logarithms. */
const LENGTH_PRIOR_MEDIAN = 0.45;
const LENGTH_PRIOR_DEVIATION = 0.7;
const SIGNAL_PRIOR_DEVIATION = 1;
const NOISE_PRIOR = { mean: Math.log(1e-6), deviation: 2 } as const;
const VARIANCE_MIN = 1e-14;
/** Slopes of the log posterior that are flat: less moves a hyperparameter by less than a hundredth of its uncertainty. Source: Optuna's GP sampler. */
const FIT_TOLERANCE = 1e-2;
/** Points that are looked at together: so few that their covariances stay near the processor. */
const BATCH = 64;

/** Functions of many inputs are taken to be smoother in each. Shorter and surer than in the source: a long one once believed hides what an input does. */
const lengthPriorMean = (inputs: number): number => Math.log(LENGTH_PRIOR_MEDIAN) + 0.5 * Math.log(inputs);

/** A start for fitting where nothing is known. */
export function defaultHyperparameters(inputs: number): Hyperparameters {
  return Float64Array.from([...Array.from({ length: inputs }, () => Math.log(0.3 * Math.sqrt(inputs))), 0, Math.log(1e-4)]);
}

/** The factor of the covariances of the first observations or all, and the variance of the noise that was added to them. */
interface Factor {
  readonly lower: Matrix;
  readonly noise: number;
}

/** A fitted process: what is known, under given hyperparameters. */
export class GaussianProcess {
  readonly #observations: Observations;
  readonly #columns: readonly Column[];
  readonly #weights: Float64Array;
  readonly #signal: number;
  readonly #noise: number;
  readonly #lower: Matrix;
  readonly #alpha: Float64Array;
  #flipped: Matrix | null = null;
  readonly hyperparameters: Hyperparameters;

  constructor(observations: Observations, hyperparameters: Hyperparameters, known?: Factor) {
    this.#observations = observations;
    this.#columns = columnsOf(observations);
    this.hyperparameters = hyperparameters;
    this.#weights = inverseSquares(hyperparameters, observations.kinds.length);
    this.#signal = Math.exp(hyperparameters.at(-2)!);
    const { lower, noise } = this.#factorise(known ?? { lower: new Matrix(0, 0), noise: Math.max(NOISE_MIN, Math.exp(hyperparameters.at(-1)!)) });
    this.#lower = lower;
    this.#noise = noise;
    this.#alpha = solveLowerTransposed(this.#lower, solveLower(this.#lower, observations.targets));
  }

  /** The distance over which an input's values are alike. */
  lengthOf(input: number): number {
    return Math.exp(this.hyperparameters[input]!);
  }

  /** The least of the function's means at the points that are known. */
  leastMean(): number {
    return Math.min(...this.#observations.targets.map((target, j) => target - this.#noise * this.#alpha[j]!));
  }

  /** The function's mean and variance at a point, without the noise. */
  at(x: Float64Array): Posterior {
    return this.atEach([x])[0]!;
  }

  /** Means and variances at many points, for a quarter of the time each. */
  atEach(points: readonly Float64Array[]): Posterior[] {
    const posteriors: Posterior[] = [];
    for (let start = 0; start < points.length; start += BATCH) {
      const covariances = this.#covariances(points.slice(start, start + BATCH), null);
      posteriors.push(...this.#posteriors(covariances, solveLowerRows(this.#lower, covariances)));
    }
    return posteriors;
  }

  /** How many points it knows. */
  get size(): number {
    return this.#observations.inputs.length;
  }

  /** What it says at some points, and how that changes there. */
  gradientsAt(points: readonly Float64Array[]): SlopedPosterior[] {
    const slopes = new Matrix(points.length, this.size);
    const covariances = this.#covariances(points, slopes);
    const whitened = solveLowerRows(this.#lower, covariances);
    const posteriors = this.#posteriors(covariances, whitened);
    this.#flipped ??= flipped(this.#lower);
    whitened.data.reverse(); // the last point comes first now, too
    const solved = solveLowerRows(this.#flipped, whitened);
    solved.data.reverse();
    return points.map((x, row) => ({ ...posteriors[row]!, ...this.#gradients(x, slopes.row(row), solved.row(row)) }));
  }

  #posteriors(covariances: Matrix, whitened: Matrix): Posterior[] {
    return Array.from({ length: covariances.rows }, (_, row) => {
      const w = whitened.row(row);
      return { mean: dot(covariances.row(row), this.#alpha), variance: Math.max(VARIANCE_MIN, this.#signal - dot(w, w)) };
    });
  }

  /** Of the mean and of the variance, where `slopes` are the covariances' by the squared distances and `solved` the inverse times the covariances. */
  #gradients(x: Float64Array, slopes: Float64Array, solved: Float64Array): Pick<SlopedPosterior, 'meanGradient' | 'varianceGradient'> {
    const meanGradient = new Float64Array(x.length);
    const varianceGradient = new Float64Array(x.length);
    const alpha = this.#alpha;
    this.#columns.forEach(({ kind, values }, d) => {
      if (kind === 'category') return;
      const at = x[d]!;
      let mean = 0;
      let variance = 0;
      for (let j = 0; j < values.length; j++) {
        const change = slopes[j]! * (at - values[j]!);
        mean += alpha[j]! * change;
        variance += solved[j]! * change;
      }
      meanGradient[d] = 2 * this.#weights[d]! * mean;
      varianceGradient[d] = -4 * this.#weights[d]! * variance;
    });
    return { meanGradient, varianceGradient };
  }

  /** The process that would be if these points were observed and gave just what is expected of them: they are certain then, and the mean is as before. */
  imagining(points: readonly Float64Array[]): GaussianProcess {
    if (points.length === 0) return this;
    const { kinds, inputs, targets } = this.#observations;
    const imagined = points.map((point) => this.at(point).mean);
    return new GaussianProcess({ kinds, inputs: [...inputs, ...points], targets: Float64Array.from([...targets, ...imagined]) }, this.hyperparameters, { lower: this.#lower, noise: this.#noise });
  }

  /** Of each point with each that is known, a row each; their slopes by the squared distances are written where they are wanted. */
  #covariances(points: readonly Float64Array[], slopes: Matrix | null): Matrix {
    const covariances = new Matrix(points.length, this.size);
    points.forEach((x, row) => {
      const squares = covariances.row(row);
      this.#columns.forEach((column, d) => addSquares(squares, column, { x: x[d]!, weight: this.#weights[d]! }));
    });
    matern(covariances.data, this.#signal, slopes?.data ?? null);
    return covariances;
  }

  /** Repeated points with hardly any noise are singular: noise is added until they are not. What is known of the factor is extended. */
  #factorise(known: Factor): Factor {
    const { inputs } = this.#observations;
    if (known.lower.rows === inputs.length) return known;
    const covariance = this.#covariances(inputs, null);
    for (let noise = known.noise; ; noise *= 10) {
      for (let i = 0; i < inputs.length; i++) covariance.set(i, i, this.#signal + noise);
      const lower = cholesky(covariance, noise === known.noise ? known.lower : undefined);
      if (lower !== null) return { lower, noise };
    }
  }
}

/** The process whose hyperparameters explain what was observed: the best of a local search from each start. */
export function fitProcess(observations: Observations, starts: readonly Hyperparameters[], evaluationsMax: number): GaussianProcess {
  const bounds = [...observations.kinds.map(() => LENGTH_BOUNDS), SIGNAL_BOUNDS, NOISE_BOUNDS];
  const box: Box = { lower: Float64Array.from(bounds, ([low]) => Math.log(low)), upper: Float64Array.from(bounds, ([, high]) => Math.log(high)), evaluationsMax, gradientTolerance: FIT_TOLERANCE };
  const smooth = negativeLogPosterior(observations);
  const minima = starts.map((start) => minimize(smooth, start, box));
  const { x, evaluation } = minima.reduce((a, b) => (b.evaluation.value < a.evaluation.value ? b : a));
  return evaluation.factor === null ? new GaussianProcess(observations, defaultHyperparameters(observations.kinds.length)) : new GaussianProcess(observations, x, evaluation.factor);
}

/** What a fit sees of hyperparameters; without a factor where the matrix is singular. */
interface Likelihood extends Evaluation {
  readonly factor: Factor | null;
}

/**
 * Minus the logarithm of the marginal likelihood and of the priors, of hyperparameters. n³/6 multiplications, and n³/3 for its gradient.
 * Source: Rasmussen and Williams, 2006, 5.4.1.
 */
export function negativeLogPosterior(observations: Observations): Smooth<Likelihood> {
  const { targets, kinds } = observations;
  const size = targets.length;
  const inputs = kinds.length;
  const distances = pairwiseDistances(observations);
  const pairs = (size * (size - 1)) / 2;
  const covariances = new Float64Array(pairs);
  const slopes = new Float64Array(pairs);
  return (x) => {
    const weights = inverseSquares(x, inputs);
    const signal = Math.exp(x[inputs]!);
    const noise = Math.exp(x[inputs + 1]!);
    covariances.fill(0);
    distances.forEach((distance, d) => { const weight = weights[d]!; for (let pair = 0; pair < pairs; pair++) covariances[pair]! += weight * distance[pair]!; });
    matern(covariances, signal, slopes);
    const covariance = new Matrix(size, size);
    for (let i = 0, pair = 0; i < size; pair += i++) {
      covariance.row(i).set(covariances.subarray(pair, pair + i));
      covariance.set(i, i, signal + noise);
    }
    const lower = cholesky(covariance);
    if (lower === null) return { value: Infinity, gradient: () => new Float64Array(x.length), factor: null };
    const alpha = solveLowerTransposed(lower, solveLower(lower, targets));
    let logDeterminant = 0;
    for (let i = 0; i < size; i++) logDeterminant += Math.log(lower.at(i, i));
    const prior = priorOf(x, inputs);
    const gradient = (): Float64Array => {
      const gradient = prior.gradient;
      const inverse = inverseOf(lower);
      for (let i = 0, pair = 0; i < size; i++) {
        for (let j = 0; j < i; j++, pair++) {
          const pull = inverse.at(i, j) - alpha[i]! * alpha[j]!;
          gradient[inputs]! += pull * covariances[pair]!;
          slopes[pair]! *= pull;
        }
        const pull = inverse.at(i, i) - alpha[i]! ** 2;
        gradient[inputs]! += 0.5 * pull * signal;
        gradient[inputs + 1]! += 0.5 * pull * noise;
      }
      distances.forEach((distance, d) => { gradient[d]! -= 2 * weights[d]! * dot(slopes, distance); });
      return gradient;
    };
    return { value: 0.5 * dot(targets, alpha) + logDeterminant + prior.value, gradient, factor: { lower, noise } };
  };
}

/** Minus the logarithm of the hyperparameters' prior density, and its gradient. */
function priorOf(x: Hyperparameters, inputs: number): { readonly value: number; readonly gradient: Float64Array } {
  const gradient = new Float64Array(x.length);
  let value = 0;
  const add = (index: number, mean: number, deviation: number): void => {
    const z = (x[index]! - mean) / deviation;
    value += 0.5 * z * z;
    gradient[index] = z / deviation;
  };
  for (let d = 0; d < inputs; d++) add(d, lengthPriorMean(inputs), LENGTH_PRIOR_DEVIATION);
  add(inputs, 0, SIGNAL_PRIOR_DEVIATION);
  add(inputs + 1, NOISE_PRIOR.mean, NOISE_PRIOR.deviation);
  return { value, gradient };
}

function inverseSquares(hyperparameters: Hyperparameters, inputs: number): Float64Array {
  return Float64Array.from({ length: inputs }, (_, d) => Math.exp(-2 * hyperparameters[d]!));
}

function columnsOf({ kinds, inputs }: Observations): Column[] {
  return kinds.map((kind, d) => ({ kind, values: Float64Array.from(inputs, (input) => input[d]!) }));
}

/** For each input, its squared distance in each pair of rows. */
function pairwiseDistances(observations: Observations): Float64Array[] {
  const size = observations.targets.length;
  return columnsOf(observations).map((column) => {
    const squares = new Float64Array((size * (size - 1)) / 2);
    for (let i = 0, pair = 0; i < size; pair += i++) addSquares(squares.subarray(pair, pair + i), column, { x: column.values[i]!, weight: 1 });
    return squares;
  });
}

/** Adds to each sum the squared distance between an input's value in its row and `x`, so many times. The first rows may be enough. */
function addSquares(sums: Float64Array, { kind, values }: Column, { x, weight }: { readonly x: number; readonly weight: number }): void {
  if (kind === 'number') for (let j = 0; j < sums.length; j++) sums[j]! += weight * (x - values[j]!) ** 2;
  else for (let j = 0; j < sums.length; j++) if (values[j] !== x) sums[j]! += weight;
}

/** Replaces squared distances with their Matérn 5/2 times the signal, and writes the derivatives where they are wanted. */
function matern(squares: Float64Array, signal: number, slopes: Float64Array | null): void {
  for (let i = 0; i < squares.length; i++) {
    const s = Math.sqrt(5 * squares[i]!);
    const decay = signal * Math.exp(-s);
    squares[i] = (1 + s + (s * s) / 3) * decay;
    if (slopes !== null) slopes[i] = (-5 / 6) * (1 + s) * decay;
  }
}
