/**
 * Covariance matrix adaptation: a normal distribution over the unit cube that moves to where generations of trials did well, and takes
 * the shape of the function's level sets. Restarts with larger generations once it has converged. Whole numbers keep a margin, so that
 * the distribution does not freeze within one of their cells.
 * Source: Hansen, 2016, "The CMA evolution strategy: a tutorial" (with negative weights); Auger and Hansen, 2005 (restarts with
 * increasing population); Hamano et al., 2022 (margin).
 */
import { makeError, seededRandom, type Random } from '@muster/base';
import { dot, Matrix, multiply, symmetricEigen } from '../numeric/matrix.js';
import { normalCdf, normalDeviate, normalQuantile } from '../numeric/normal.js';
import { mixedSeed } from '../numeric/seed.js';
import type { SearcherContext, SearcherDefinition, SeedOption } from '../searcher.js';
import type { NumericDimension } from '../space/dimensions.js';
import { cellAt } from '../space/scale.js';
import { defineSearcher, HistorySearcher, requireCount, requireOneObjective, type Proposal } from './history-searcher.js';
import type { Trial } from './history.js';

/** What {@link cmaes} takes. */
export interface CmaesOptions extends SeedOption {
  /** Trials in a generation, at least 4. Default 4 + 3 ln n of n parameters. */
  readonly populationSize?: number;
  /** The distribution's first deviation, as a part of each parameter's range. Default 0.2. */
  readonly deviation?: number;
}

const DEVIATION = 0.2;
const POPULATION_MIN = 4;
/** Samples outside the cube are drawn again so often before they are pulled back to its side. */
const RESAMPLES_MAX = 20;
/** The distribution has converged where it is as narrow as this, as elongated as that, or its generations' best stay within this part of their spread. */
const DEVIATION_MIN = 1e-11;
const CONDITION_MAX = 1e14;
const SPREAD_MIN = 1e-12;
/** Where the seeds of restarts begin, away from those of proposals. */
const RESTART_SEEDS = 0x40000000;

/** Searches by covariance matrix adaptation. For numbers only, and for a hundred trials and more; at its best where parameters depend on each other. */
export function cmaes(options: CmaesOptions = {}): SearcherDefinition {
  return defineSearcher('cmaes', options, (context) => new CmaesSearcher(context, options));
}

class CmaesSearcher extends HistorySearcher {
  readonly #dimensions: readonly NumericDimension[];
  readonly #deviation: number;
  readonly #populationSize: number;
  #strategy: Strategy;
  #generation = 0;
  #restarts = 0;
  #members: Member[] = [];
  #bests: number[] = [];

  constructor(context: SearcherContext, { populationSize, deviation = DEVIATION }: CmaesOptions) {
    requireOneObjective('cmaes', context);
    super(context);
    this.#dimensions = context.space.dimensions.map((dimension) => {
      if (dimension.kind === 'categorical') throw makeError('INVALID_ARGUMENT', { what: `cmaes() with the choice '${dimension.path}'`, want: 'used for numbers and ordinals only; tpe() and gp() take choices too' });
      return dimension;
    });
    const smallest = POPULATION_MIN + Math.floor(3 * Math.log(this.#dimensions.length));
    this.#populationSize = populationSize === undefined ? smallest : Math.max(POPULATION_MIN, requireCount('the option populationSize of cmaes()', populationSize));
    if (!(deviation > 0 && deviation <= 1)) throw makeError('INVALID_ARGUMENT', { what: 'the option deviation of cmaes()', want: `above 0 and at most 1, not ${deviation}` });
    this.#deviation = deviation;
    this.#strategy = new Strategy(new Float64Array(this.#dimensions.length).fill(0.5), deviation, this.#populationSize);
    this.#strategy.keepMargins(this.#dimensions);
  }

  protected propose(random: Random): Proposal {
    let x = new Float64Array();
    const point = this.space.allowed(() => [...(x = this.#strategy.sample(random))]);
    const { size, deviation } = this.#strategy;
    return { kind: 'point', point, note: [this.#generation, ...x], reason: `CMA-ES: generation ${this.#generation} of ${size} trials, after ${this.#restarts} restarts; deviation ${deviation.toPrecision(3)} of the range` };
  }

  /** What belongs to an earlier generation comes too late to count. */
  protected override learn({ note, losses }: Trial): void {
    const [generation, ...x] = note;
    if (generation !== this.#generation || x.length === 0) return;
    this.#members.push({ x: Float64Array.from(x), loss: losses?.[0] ?? Infinity });
    if (this.#members.length < this.#strategy.size) return;
    const ranked = this.#members.sort((a, b) => a.loss - b.loss);
    this.#members = [];
    this.#generation++;
    this.#strategy.update(ranked.map((member) => member.x));
    this.#strategy.keepMargins(this.#dimensions);
    if (this.#hasConverged(ranked)) this.#restart();
  }

  #hasConverged(ranked: readonly Member[]): boolean {
    const length = this.#dimensions.length;
    const remembered = 10 + Math.ceil((30 * length) / this.#strategy.size);
    this.#bests = [...this.#bests, ranked[0]!.loss].slice(-remembered);
    const recent = [...this.#bests, ...ranked.map(({ loss }) => loss)];
    const spread = Math.max(...recent) - Math.min(...recent);
    const isFlat = this.#bests.length === remembered && spread <= SPREAD_MIN * Math.max(1, Math.abs(ranked[0]!.loss));
    return isFlat || this.#strategy.isDegenerate();
  }

  #restart(): void {
    this.#restarts++;
    this.#bests = [];
    const random = seededRandom(mixedSeed(this.context.seed, RESTART_SEEDS + this.#restarts));
    const mean = Float64Array.from(this.#dimensions, () => random.next());
    this.#strategy = new Strategy(mean, this.#deviation, this.#populationSize * 2 ** this.#restarts);
    this.#strategy.keepMargins(this.#dimensions);
  }
}

/** A member of a generation: where it was drawn, before it was rounded to a value. */
interface Member {
  readonly x: Float64Array;
  readonly loss: number;
}

/** The distribution, and how it learns. Names are the tutorial's. */
class Strategy {
  readonly size: number;
  readonly #n: number;
  readonly #parents: number;
  readonly #weights: readonly number[];
  readonly #muEff: number;
  readonly #cSigma: number;
  readonly #dSigma: number;
  readonly #cc: number;
  readonly #c1: number;
  readonly #cMu: number;
  readonly #chi: number;
  readonly #covariance: Matrix;
  /** How much wider than the covariance says each dimension is: the margin of whole numbers. */
  readonly #stretch: Float64Array;
  #mean: Float64Array;
  #sigma: number;
  #basis: Matrix;
  #scales: Float64Array;
  #pathSigma: Float64Array;
  #pathC: Float64Array;
  #updates = 0;

  constructor(mean: Float64Array, sigma: number, size: number) {
    const n = mean.length;
    this.size = size;
    this.#n = n;
    this.#mean = mean;
    this.#sigma = sigma;
    this.#parents = Math.floor(size / 2);
    const raw = Array.from({ length: size }, (_, i) => Math.log((size + 1) / 2) - Math.log(i + 1));
    const sums = (part: readonly number[]): { sum: number; eff: number } => {
      const sum = part.reduce((a, b) => a + b, 0);
      return { sum: Math.abs(sum), eff: sum ** 2 / part.reduce((a, b) => a + b * b, 0) };
    };
    const positive = sums(raw.slice(0, this.#parents));
    const negative = sums(raw.slice(this.#parents));
    this.#muEff = positive.eff;
    this.#cSigma = (positive.eff + 2) / (n + positive.eff + 5);
    this.#dSigma = 1 + 2 * Math.max(0, Math.sqrt((positive.eff - 1) / (n + 1)) - 1) + this.#cSigma;
    this.#cc = (4 + positive.eff / n) / (n + 4 + (2 * positive.eff) / n);
    this.#c1 = 2 / ((n + 1.3) ** 2 + positive.eff);
    this.#cMu = Math.min(1 - this.#c1, (2 * (positive.eff - 2 + 1 / positive.eff)) / ((n + 2) ** 2 + positive.eff));
    const negativeSum = Math.min(1 + this.#c1 / this.#cMu, 1 + (2 * negative.eff) / (positive.eff + 2), (1 - this.#c1 - this.#cMu) / (n * this.#cMu));
    this.#weights = raw.map((weight) => (weight >= 0 ? weight / positive.sum : (weight * negativeSum) / negative.sum));
    this.#chi = Math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
    this.#covariance = Matrix.identity(n);
    this.#basis = Matrix.identity(n);
    this.#scales = new Float64Array(n).fill(1);
    this.#stretch = new Float64Array(n).fill(1);
    this.#pathSigma = new Float64Array(n);
    this.#pathC = new Float64Array(n);
  }

  /** The largest deviation in any dimension. */
  get deviation(): number {
    return this.#sigma * Math.max(...this.#scales);
  }

  /** A point of the cube from the distribution. */
  sample(random: Random): Float64Array<ArrayBuffer> {
    let x = new Float64Array();
    for (let tries = 0; tries < RESAMPLES_MAX; tries++) {
      const step = multiply(this.#basis, this.#scales.map((scale) => scale * normalDeviate(random)));
      x = Float64Array.from(step, (s, i) => this.#mean[i]! + this.#sigma * this.#stretch[i]! * s);
      if (x.every((xi) => xi >= 0 && xi <= 1)) return x;
    }
    return x.map((xi) => Math.min(1, Math.max(0, xi)));
  }

  /** Learns from a generation, the best first. */
  update(ranked: readonly Float64Array[]): void {
    const n = this.#n;
    const steps = ranked.map((x) => x.map((xi, i) => (xi - this.#mean[i]!) / (this.#sigma * this.#stretch[i]!)));
    const mean = new Float64Array(n);
    for (let k = 0; k < this.#parents; k++) steps[k]!.forEach((s, i) => { mean[i]! += this.#weights[k]! * s; });
    this.#mean = this.#mean.map((m, i) => Math.min(1, Math.max(0, m + this.#sigma * this.#stretch[i]! * mean[i]!)));

    const pull = Math.sqrt(this.#cSigma * (2 - this.#cSigma) * this.#muEff);
    const whitened = this.#whiten(mean);
    this.#pathSigma = this.#pathSigma.map((p, i) => (1 - this.#cSigma) * p + pull * whitened[i]!);
    this.#updates++;
    const length = Math.sqrt(dot(this.#pathSigma, this.#pathSigma));
    const isStalled = length / Math.sqrt(1 - (1 - this.#cSigma) ** (2 * this.#updates)) >= (1.4 + 2 / (n + 1)) * this.#chi;
    const pullC = isStalled ? 0 : Math.sqrt(this.#cc * (2 - this.#cc) * this.#muEff);
    this.#pathC = this.#pathC.map((p, i) => (1 - this.#cc) * p + pullC * mean[i]!);
    this.#adapt(steps, isStalled);
    this.#sigma = Math.min(1, this.#sigma * Math.exp(Math.min(1, (this.#cSigma / this.#dSigma) * (length / this.#chi - 1))));
    this.#decompose();
  }

  /** The covariance's update: of rank one along the path, of rank μ along the steps, away from the worse ones. */
  #adapt(steps: readonly Float64Array[], isStalled: boolean): void {
    const n = this.#n;
    const weights = steps.map((step, k) => {
      const weight = this.#weights[k]!;
      if (weight >= 0) return weight;
      const whitened = this.#whiten(step);
      return (weight * n) / (dot(whitened, whitened) + 1e-30);
    });
    const lost = isStalled ? this.#c1 * this.#cc * (2 - this.#cc) : 0;
    const keep = 1 + lost - this.#c1 - this.#cMu * this.#weights.reduce((a, b) => a + b, 0);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        let rank = 0;
        for (let k = 0; k < steps.length; k++) rank += weights[k]! * steps[k]![i]! * steps[k]![j]!;
        const value = keep * this.#covariance.at(i, j) + this.#c1 * this.#pathC[i]! * this.#pathC[j]! + this.#cMu * rank;
        this.#covariance.set(i, j, value);
        this.#covariance.set(j, i, value);
      }
    }
  }

  #decompose(): void {
    const { values, vectors } = symmetricEigen(this.#covariance);
    this.#basis = vectors;
    this.#scales = values.map((value) => Math.sqrt(Math.max(1e-20, value)));
  }

  /** A step as it would be if the covariance were the identity. */
  #whiten(step: Float64Array): Float64Array {
    const rotated = new Float64Array(this.#n);
    for (let j = 0; j < this.#n; j++) {
      for (let i = 0; i < this.#n; i++) rotated[j]! += this.#basis.at(i, j) * step[i]!;
      rotated[j]! /= this.#scales[j]!;
    }
    return multiply(this.#basis, rotated);
  }

  isDegenerate(): boolean {
    const widest = Math.max(...this.#scales);
    return this.#sigma * widest < DEVIATION_MIN || (widest / Math.min(...this.#scales)) ** 2 > CONDITION_MAX;
  }

  /** Moves and widens the distribution so that in each quantised dimension it leaves the mean's cell at least now and then. */
  keepMargins(dimensions: readonly NumericDimension[]): void {
    const margin = 1 / (this.#n * this.size);
    dimensions.forEach((dimension, i) => {
      if (dimension.step === null) return;
      const [low, high] = cellAt(dimension, this.#mean[i]!);
      const width = this.#sigma * this.#stretch[i]! * Math.sqrt(this.#covariance.at(i, i));
      if (low <= 0 && high >= 1) return;
      if (low <= 0) this.#mean[i] = Math.max(this.#mean[i]!, high - width * normalQuantile(1 - margin));
      else if (high >= 1) this.#mean[i] = Math.min(this.#mean[i]!, low + width * normalQuantile(1 - margin));
      else {
        const below = normalQuantile(1 - Math.max(margin / 2, normalCdf((low - this.#mean[i]!) / width)));
        const above = normalQuantile(1 - Math.max(margin / 2, normalCdf((this.#mean[i]! - high) / width)));
        this.#stretch[i]! *= (high - low) / (below + above) / width;
        this.#mean[i] = (low * above + high * below) / (below + above);
      }
    });
  }
}
