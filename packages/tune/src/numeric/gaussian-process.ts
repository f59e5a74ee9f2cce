/**
 * Regression by a Gaussian process: Matérn 5/2 with a length scale for each input, fitted by its marginal likelihood under priors.
 * Inputs that are categories are as far apart as they differ. It costs n³/6 multiplications to make, n²/2 for a value and n² for a gradient.
 * Source: Rasmussen and Williams, 2006; Snoek et al., 2012 (Matérn 5/2, ARD); Hvarfner et al., 2024 (the prior of length scales).
 */
import { cholesky, dot, inverseOf, Matrix, solveLower, solveLowerRows, solveLowerTransposed } from './matrix.js';
import { minimize, type Box, type Smooth } from './minimize.js';

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

/** The factor of the covariances of the first observations, and the variance of the noise that was added to them. */
interface Factor {
  readonly lower: Matrix;
  readonly noise: number;
}

/** A fitted process: what is known, under given hyperparameters. */
export class GaussianProcess {
  readonly #observations: Observations;
  readonly #weights: Float64Array;
  readonly #signal: number;
  readonly #noise: number;
  readonly #lower: Matrix;
  readonly #alpha: Float64Array;
  readonly hyperparameters: Hyperparameters;

  constructor(observations: Observations, hyperparameters: Hyperparameters, known?: Factor) {
    this.#observations = observations;
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
    const k = this.#covariances(x);
    const whitened = solveLower(this.#lower, k);
    return { mean: dot(k, this.#alpha), variance: Math.max(VARIANCE_MIN, this.#signal - dot(whitened, whitened)) };
  }

  /** Means and variances at many points, for half of the time each. */
  atEach(points: readonly Float64Array[]): Posterior[] {
    const { length: size } = this.#observations.inputs;
    const posteriors: Posterior[] = [];
    for (let start = 0; start < points.length; start += BATCH) {
      const batch = points.slice(start, start + BATCH);
      const covariances = new Matrix(batch.length, size);
      batch.forEach((x, row) => covariances.data.set(this.#covariances(x), row * size));
      const whitened = solveLowerRows(this.#lower, covariances);
      for (let row = 0; row < batch.length; row++) {
        posteriors.push({ mean: dot(covariances.row(row), this.#alpha), variance: Math.max(VARIANCE_MIN, this.#signal - dot(whitened.row(row), whitened.row(row))) });
      }
    }
    return posteriors;
  }

  /** How many points it knows. */
  get size(): number {
    return this.#observations.inputs.length;
  }

  /** The same, with the gradients of both written into the arrays. Those of categories are 0. */
  gradientAt(x: Float64Array, meanGradient: Float64Array, varianceGradient: Float64Array): Posterior {
    const { inputs, kinds } = this.#observations;
    const k = this.#covariances(x);
    const whitened = solveLower(this.#lower, k);
    const solved = solveLowerTransposed(this.#lower, whitened);
    meanGradient.fill(0);
    varianceGradient.fill(0);
    inputs.forEach((input, j) => {
      const slope = 2 * this.#signal * maternSlope(squaredDistance(x, input, kinds, this.#weights));
      for (let i = 0; i < x.length; i++) {
        if (kinds[i] === 'category') continue;
        const change = slope * this.#weights[i]! * (x[i]! - input[i]!);
        meanGradient[i]! += this.#alpha[j]! * change;
        varianceGradient[i]! -= 2 * solved[j]! * change;
      }
    });
    return { mean: dot(k, this.#alpha), variance: Math.max(VARIANCE_MIN, this.#signal - dot(whitened, whitened)) };
  }

  /** The process that would be if these points were observed and gave just what is expected of them: they are certain then, and the mean is as before. */
  imagining(points: readonly Float64Array[]): GaussianProcess {
    if (points.length === 0) return this;
    const { kinds, inputs, targets } = this.#observations;
    const imagined = points.map((point) => this.at(point).mean);
    return new GaussianProcess({ kinds, inputs: [...inputs, ...points], targets: Float64Array.from([...targets, ...imagined]) }, this.hyperparameters, { lower: this.#lower, noise: this.#noise });
  }

  #covariances(x: Float64Array): Float64Array {
    const { inputs, kinds } = this.#observations;
    const covariances = new Float64Array(inputs.length);
    for (let j = 0; j < inputs.length; j++) covariances[j] = this.#signal * matern(squaredDistance(x, inputs[j]!, kinds, this.#weights));
    return covariances;
  }

  /** Repeated points with hardly any noise are singular: noise is added until they are not. What is known of the factor is extended. */
  #factorise(known: Factor): Factor {
    const { inputs, kinds } = this.#observations;
    const covariance = new Matrix(inputs.length, inputs.length);
    inputs.forEach((input, i) => {
      for (let j = 0; j < i; j++) covariance.set(i, j, this.#signal * matern(squaredDistance(input, inputs[j]!, kinds, this.#weights)));
    });
    for (let noise = known.noise; ; noise *= 10) {
      for (let i = 0; i < inputs.length; i++) covariance.set(i, i, this.#signal + noise);
      const lower = cholesky(covariance, noise === known.noise ? known.lower : undefined);
      if (lower !== null) return { lower, noise };
    }
  }
}

/** Hyperparameters that explain what was observed: the best of a local search from each start. */
export function fitHyperparameters(observations: Observations, starts: readonly Hyperparameters[], evaluationsMax: number): Hyperparameters {
  const inputs = observations.kinds.length;
  const bounds = [...observations.kinds.map(() => LENGTH_BOUNDS), SIGNAL_BOUNDS, NOISE_BOUNDS];
  const box: Box = { lower: Float64Array.from(bounds, ([low]) => Math.log(low)), upper: Float64Array.from(bounds, ([, high]) => Math.log(high)), evaluationsMax, gradientTolerance: FIT_TOLERANCE };
  const smooth = negativeLogPosterior(observations);
  const minima = starts.map((start) => minimize(smooth, start, box));
  const best = minima.reduce((a, b) => (b.value < a.value ? b : a));
  return Number.isFinite(best.value) ? best.x : defaultHyperparameters(inputs);
}

/**
 * Minus the logarithm of the marginal likelihood and of the priors, of hyperparameters, and its gradient. n³/2 multiplications.
 * Source: Rasmussen and Williams, 2006, 5.4.1.
 */
export function negativeLogPosterior(observations: Observations): Smooth {
  const { targets, kinds } = observations;
  const size = targets.length;
  const inputs = kinds.length;
  const distances = pairwiseDistances(observations);
  const squares = new Float64Array((size * (size - 1)) / 2);
  const pairSlopes = new Float64Array(squares.length);
  return (x, gradient) => {
    const weights = inverseSquares(x, inputs);
    const signal = Math.exp(x[inputs]!);
    const noise = Math.exp(x[inputs + 1]!);
    const covariance = new Matrix(size, size);
    squares.fill(0);
    distances.forEach((distance, d) => { const weight = weights[d]!; for (let pair = 0; pair < squares.length; pair++) squares[pair]! += weight * distance[pair]!; });
    for (let i = 0, pair = 0; i < size; i++) {
      for (let j = 0; j < i; j++) covariance.set(i, j, signal * matern(squares[pair++]!));
      covariance.set(i, i, signal + noise);
    }
    const lower = cholesky(covariance);
    if (lower === null) return Infinity;
    const alpha = solveLowerTransposed(lower, solveLower(lower, targets));
    const inverse = inverseOf(lower);
    gradient.fill(0);
    let signalSlope = 0;
    for (let i = 0, pair = 0; i < size; i++) {
      for (let j = 0; j < i; j++, pair++) {
        const pull = inverse.at(i, j) - alpha[i]! * alpha[j]!;
        signalSlope += pull * covariance.at(i, j);
        pairSlopes[pair] = pull * signal * maternSlope(squares[pair]!);
      }
      const pull = inverse.at(i, i) - alpha[i]! ** 2;
      signalSlope += 0.5 * pull * signal;
      gradient[inputs + 1]! += 0.5 * pull * noise;
    }
    distances.forEach((distance, d) => { gradient[d] = -2 * weights[d]! * dot(pairSlopes, distance); });
    gradient[inputs] = signalSlope;
    let logDeterminant = 0;
    for (let i = 0; i < size; i++) logDeterminant += Math.log(lower.at(i, i));
    return 0.5 * dot(targets, alpha) + logDeterminant + addPriors(x, inputs, gradient);
  };
}

function addPriors(x: Hyperparameters, inputs: number, gradient: Float64Array): number {
  let value = 0;
  const add = (index: number, mean: number, deviation: number): void => {
    const z = (x[index]! - mean) / deviation;
    value += 0.5 * z * z;
    gradient[index]! += z / deviation;
  };
  for (let d = 0; d < inputs; d++) add(d, lengthPriorMean(inputs), LENGTH_PRIOR_DEVIATION);
  add(inputs, 0, SIGNAL_PRIOR_DEVIATION);
  add(inputs + 1, NOISE_PRIOR.mean, NOISE_PRIOR.deviation);
  return value;
}

function inverseSquares(hyperparameters: Hyperparameters, inputs: number): Float64Array {
  return Float64Array.from({ length: inputs }, (_, d) => Math.exp(-2 * hyperparameters[d]!));
}

/** For each input, its squared distance in each pair of rows. */
function pairwiseDistances({ inputs, kinds }: Observations): Float64Array[] {
  return kinds.map((kind, d) => {
    const squares = new Float64Array((inputs.length * (inputs.length - 1)) / 2);
    for (let i = 0, pair = 0; i < inputs.length; i++) {
      for (let j = 0; j < i; j++) {
        const difference = inputs[i]![d]! - inputs[j]![d]!;
        squares[pair++] = kind === 'number' ? difference * difference : difference === 0 ? 0 : 1;
      }
    }
    return squares;
  });
}

function squaredDistance(a: Float64Array, b: Float64Array, kinds: readonly InputKind[], weights: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) sum += weights[i]! * (kinds[i] === 'number' ? difference * difference : 1);
  }
  return sum;
}

/** Matérn 5/2 of a squared distance. */
function matern(square: number): number {
  const s = Math.sqrt(5 * square);
  return (1 + s + s * s / 3) * Math.exp(-s);
}

/** Its derivative by the squared distance. */
function maternSlope(square: number): number {
  const s = Math.sqrt(5 * square);
  return (-5 / 6) * (1 + s) * Math.exp(-s);
}
