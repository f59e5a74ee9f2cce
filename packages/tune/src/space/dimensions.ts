/**
 * A space as searchers see it: a list of dimensions, and points with one coordinate for each. Plain data, fit for a log.
 *
 * A number's coordinate lies in [0, 1], uniform under the parameter's own distribution. A quantised number's values are the
 * middles of cells that tile [0, 1]. A categorical dimension's coordinate is the index of its option. The coordinate of a
 * dimension that does not exist beside the others' values is null.
 */

/** Where a dimension exists: where the categorical dimension of this index, which comes before it, has this option. */
export interface Condition {
  readonly dimension: number;
  readonly option: number;
}

/** A number, or an ordinal, whose values are then the indices of its options. */
export interface NumericDimension {
  readonly kind: 'numeric';
  /** Names within the configuration, with dots: `optimizer.lr`. Of a branch of a choice: `optimizer[0].lr`. */
  readonly path: string;
  readonly condition: Condition | null;
  readonly scale: 'linear' | 'log' | 'normal' | 'lognormal';
  /** Smallest and largest value; of a normal scale, the mean and the deviation. */
  readonly low: number;
  readonly high: number;
  /** The distance between neighbouring values; null where every number between the bounds is a value. */
  readonly step: number | null;
  /** The labels of an ordinal's values; null of numbers. */
  readonly options: readonly string[] | null;
}

export interface CategoricalDimension {
  readonly kind: 'categorical';
  readonly path: string;
  readonly condition: Condition | null;
  /** The labels of the options, in order. */
  readonly options: readonly string[];
}

export type Dimension = NumericDimension | CategoricalDimension;

/** One coordinate for each dimension of a space; null where the dimension does not exist. */
export type Point = readonly (number | null)[];
