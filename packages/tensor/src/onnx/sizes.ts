/**
 * Sizes that are known only when the model runs. A trace has numbers where the program had sizes; runs of the same model with other sizes tell which numbers
 * are sizes in truth, and of what.
 */
import { invalid } from '../failure.js';

/** Names of dimensions by the names of inputs: `{ images: { 0: 'batch' } }`. What has one name has one size. */
export type DynamicAxes = Readonly<Record<string, Readonly<Record<number, string>>>>;

/** How often a model without dynamic sizes is run: twice shows what is random. */
const STATIC_RUNS = 2;

/** A name, with where it is found first and the sizes it has in the runs. */
export interface DynamicSize {
  readonly name: string;
  readonly input: number;
  readonly dimension: number;
  readonly sizes: readonly number[];
}

/** factor * (product of sizes) + offset */
export interface SizeFormula {
  readonly of: readonly DynamicSize[];
  readonly factor: number;
  readonly offset: number;
}

/**
 * The sizes that the runs have. What lies on a line over a dynamic size needs two points, and a third that proves it: near the example, which models surely take.
 * Sizes of several names change at different rates, so that no number is a size of two of them, and then apart from each other: 4, 3 and 2 are half of 8, 7 and 5,
 * and not 6 less a batch of 2, 3 and 4. In the last run they are far from the example: rounding and the number of rounds of a loop hide among near ones.
 * None is 1, where programs take other ways. They are at most those of the example where that is large enough: models have a largest size, and examples keep to it.
 */
export function dynamicSizes(inputNames: readonly string[], shapes: readonly (readonly number[])[], dynamicAxes: DynamicAxes): DynamicSize[] {
  const found = new Map<string, { readonly input: number; readonly dimension: number; readonly size: number }>();
  for (const [inputName, axes] of Object.entries(dynamicAxes)) {
    const input = inputNames.indexOf(inputName);
    if (input < 0) throw invalid(`a dynamic axis of '${inputName}'`, `one of an input: ${inputNames.join(', ')}`);
    for (const [key, name] of Object.entries(axes)) {
      const dimension = Number(key);
      const size = shapes[input]![dimension];
      if (size === undefined) throw invalid(`a dynamic axis ${key} of '${inputName}'`, `one of its ${shapes[input]!.length} dimensions, counted from 0`);
      const first = found.get(name);
      if (first !== undefined && first.size !== size) throw invalid(`a dynamic axis '${name}' of ${first.size} and of ${size}`, 'of one size in all example inputs');
      if (first === undefined) found.set(name, { input, dimension, size });
    }
  }
  return Array.from(found, ([name, { input, dimension, size }], index) => {
    const rate = index + 2;
    const least = Math.max(2, size);
    const near = size >= rate + 2 ? [size, size - 1, size - rate] : [least, least + 1, least + rate];
    const apart = Array.from({ length: Math.ceil(Math.log2(found.size)) }, (_, bit) => near[(index >> bit) % 2 === 0 ? 0 : 2]!);
    const far = size >= rate + 2 ? Math.max(2, Math.floor(size / 2)) : 2 * least + rate;
    return { name, input, dimension, sizes: [...near, ...apart, far] };
  });
}

export const runsOf = (sizes: readonly DynamicSize[]): number => sizes[0]?.sizes.length ?? STATIC_RUNS;

/** Without the run that is far from the example. */
export const nearby = (sizes: readonly DynamicSize[]): readonly DynamicSize[] => sizes.map((size) => ({ ...size, sizes: size.sizes.slice(0, -1) }));

/** What a number that differs between runs depends on; null where no formula says it. */
export function formulaOf(values: readonly number[], sizes: readonly DynamicSize[]): SizeFormula | null {
  const products = [...sizes.map((one) => [one]), ...sizes.flatMap((one, index) => sizes.slice(index + 1).map((other) => [one, other]))];
  for (const of of products) {
    const points = values.map((_, run) => of.reduce((product, size) => product * size.sizes[run]!, 1));
    const factor = (values[1]! - values[0]!) / (points[1]! - points[0]!);
    const offset = values[0]! - factor * points[0]!;
    const isOnLine = Number.isInteger(factor) && Number.isInteger(offset) && values.every((value, run) => value === factor * points[run]! + offset);
    if (isOnLine) return { of, factor, offset };
  }
  return null;
}

/** Whether all runs have the same. */
export const isSame = (values: readonly unknown[]): boolean => values.every((value) => value === values[0]);
