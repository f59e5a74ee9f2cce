/**
 * A density over some dimensions of a space, made of one product of kernels for each observed point and one for the prior.
 * Source: Bergstra et al., 2011; Falkner et al., 2018 (products over all dimensions at once).
 */
import type { Random } from '@muster/base';
import { normalCdf, normalDeviate, normalLogDensity, normalMass } from '../numeric/normal.js';
import type { Dimension, NumericDimension, Point } from '../space/dimensions.js';
import { cellAt, coordinateOfIndex, indexAt, valueCount } from '../space/scale.js';

/** Quantised dimensions of more values are taken as continuous: their cells are narrower than any kernel. */
const TABLE_VALUES_MAX = 64;
/** The least probability of a cell that is told from nothing: differences of cumulative ones have no more digits. */
const CELL_MIN = 1e-15;
/** Kernels are at least one part in so many of the range wide. */
const WIDTHS_MAX = 200;

/** One dimension of all kernels. */
interface Marginal {
  /** A coordinate drawn from the kernel of this index. */
  draw(kernel: number, random: Random): number;
  /** Adds each kernel's log density at this coordinate to the sums. */
  addLogDensities(coordinate: number, sums: Float64Array): void;
}

/** A point that has a kernel, and how much the kernel weighs. That of the prior weighs 1. */
export interface Observation {
  readonly point: Point;
  readonly weight: number;
}

/** A mixture of products of kernels over the dimensions of these indices. */
export class ParzenMixture {
  readonly #indices: readonly number[];
  readonly #marginals: readonly Marginal[];
  /** How much the kernels weigh up to each one and with it, the prior's being the last. */
  readonly #cumulated: Float64Array;
  readonly #logWeights: Float64Array;
  /** Room for logDensity, which is on the path of every candidate. */
  readonly #sums: Float64Array;

  /** Every point must have a coordinate in each of the dimensions. */
  constructor(dimensions: readonly Dimension[], indices: readonly number[], observations: readonly Observation[]) {
    this.#indices = indices;
    this.#marginals = indices.map((index) => {
      const coordinates = observations.map(({ point }) => point[index]!);
      const dimension = dimensions[index]!;
      return dimension.kind === 'categorical' ? new CategoricalMarginal(dimension.options.length, coordinates) : new NumericMarginal(dimension, coordinates);
    });
    const weights = [...observations.map(({ weight }) => weight), 1];
    let total = 0;
    this.#cumulated = Float64Array.from(weights, (weight) => (total += weight));
    this.#logWeights = Float64Array.from(weights, (weight) => Math.log(weight / total));
    this.#sums = new Float64Array(weights.length);
  }

  /** Draws coordinates into a point. */
  draw(into: (number | null)[], random: Random): void {
    const at = random.next() * this.#cumulated.at(-1)!;
    const kernel = this.#cumulated.findIndex((weight) => at < weight);
    this.#marginals.forEach((marginal, i) => { into[this.#indices[i]!] = marginal.draw(kernel, random); });
  }

  /** The logarithm of the density, or of the probability where dimensions are discrete. */
  logDensity(point: Point): number {
    const sums = this.#sums;
    sums.set(this.#logWeights);
    this.#marginals.forEach((marginal, i) => marginal.addLogDensities(point[this.#indices[i]!]!, sums));
    let largest = -Infinity;
    for (let k = 0; k < sums.length; k++) if (sums[k]! > largest) largest = sums[k]!;
    let total = 0;
    for (let k = 0; k < sums.length; k++) total += Math.exp(sums[k]! - largest);
    return largest + Math.log(total);
  }
}

/** Normal kernels, cut off at 0 and 1; the last is the prior's, which is all but flat. */
class NumericMarginal implements Marginal {
  readonly #dimension: NumericDimension;
  readonly #centers: Float64Array;
  readonly #widths: Float64Array;
  readonly #logMasses: Float64Array;
  /** Of few values: each kernel's log probability of each value, values changing fastest. */
  readonly #table: Float64Array | null;
  readonly #values: number;

  constructor(dimension: NumericDimension, coordinates: readonly number[]) {
    this.#dimension = dimension;
    this.#centers = Float64Array.from([...coordinates, 0.5]);
    this.#widths = Float64Array.from([...widthsOf(coordinates), 1]);
    this.#logMasses = this.#centers.map((center, k) => Math.log(this.#widths[k]! * normalMass(-center / this.#widths[k]!, (1 - center) / this.#widths[k]!)));
    const count = valueCount(dimension);
    this.#values = count;
    this.#table = count <= TABLE_VALUES_MAX ? this.#tabulate() : null;
  }

  draw(kernel: number, random: Random): number {
    const center = this.#centers[kernel]!;
    const width = this.#widths[kernel]!;
    for (;;) { // at least a third of the kernel lies inside
      const coordinate = center + width * normalDeviate(random);
      if (coordinate >= 0 && coordinate <= 1) return coordinate;
    }
  }

  addLogDensities(coordinate: number, sums: Float64Array): void {
    if (this.#table !== null) {
      const value = indexAt(this.#dimension, coordinate);
      for (let k = 0; k < sums.length; k++) sums[k]! += this.#table[k * this.#values + value]!;
      return;
    }
    for (let k = 0; k < sums.length; k++) sums[k]! += normalLogDensity((coordinate - this.#centers[k]!) / this.#widths[k]!) - this.#logMasses[k]!;
  }

  /** Many kernels are the same, because many trials have the same value: each kind is worked out once. */
  #tabulate(): Float64Array {
    const edges = [0, ...Array.from({ length: this.#values }, (_, value) => cellAt(this.#dimension, coordinateOfIndex(this.#dimension, value))[1])];
    const rows = new Map<string, Float64Array>();
    const table = new Float64Array(this.#centers.length * this.#values);
    this.#centers.forEach((center, k) => {
      const width = this.#widths[k]!;
      const key = `${center} ${width}`;
      let row = rows.get(key);
      if (!row) rows.set(key, (row = rowOf(center, width, edges)));
      table.set(row, k * this.#values);
    });
    return table;
  }
}

/** The log probabilities of the cells between these edges, under a normal kernel that is cut off at 0 and 1. */
function rowOf(center: number, width: number, edges: readonly number[]): Float64Array {
  const below = edges.map((edge) => normalCdf((edge - center) / width));
  const total = below.at(-1)! - below[0]!;
  return Float64Array.from({ length: edges.length - 1 }, (_, value) => Math.log(Math.max(CELL_MIN, (below[value + 1]! - below[value]!) / total)));
}

/** Kernels that prefer the observed option. */
class CategoricalMarginal implements Marginal {
  readonly #options: number;
  readonly #observed: readonly number[];
  readonly #logHit: number;
  readonly #logMiss: number;
  readonly #hit: number;

  constructor(options: number, observed: readonly number[]) {
    this.#options = options;
    this.#observed = observed;
    const smoothing = 1 / (observed.length + 1);
    this.#hit = 1 / (1 + options * smoothing);
    this.#logHit = Math.log((1 + smoothing) / (1 + options * smoothing));
    this.#logMiss = Math.log(smoothing / (1 + options * smoothing));
  }

  draw(kernel: number, random: Random): number {
    const observed = this.#observed[kernel];
    return observed !== undefined && random.next() < this.#hit ? observed : Math.floor(random.next() * this.#options);
  }

  addLogDensities(coordinate: number, sums: Float64Array): void {
    this.#observed.forEach((observed, k) => { sums[k]! += observed === coordinate ? this.#logHit : this.#logMiss; });
    sums[this.#observed.length]! -= Math.log(this.#options);
  }
}

/** A kernel is as wide as the larger gap to its neighbours, or to the ends, but not narrower than kernels of so few points can justify. */
function widthsOf(coordinates: readonly number[]): number[] {
  const order = coordinates.map((_, k) => k).sort((a, b) => coordinates[a]! - coordinates[b]!);
  const narrowest = 1 / Math.min(WIDTHS_MAX, 2 + coordinates.length);
  const widths: number[] = [];
  order.forEach((k, rank) => {
    const below = rank === 0 ? null : coordinates[k]! - coordinates[order[rank - 1]!]!;
    const above = rank === order.length - 1 ? null : coordinates[order[rank + 1]!]! - coordinates[k]!;
    const alone = Math.max(coordinates[k]!, 1 - coordinates[k]!);
    const gap = below === null && above === null ? alone : Math.max(below ?? 0, above ?? 0);
    widths[k] = Math.min(1, Math.max(narrowest, gap));
  });
  return widths;
}
