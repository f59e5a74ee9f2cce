/**
 * A random forest for regression, small enough to read, and what it says about which inputs matter.
 * Source: Breiman, 2001, "Random Forests" (bagged trees, permutation importance on the samples left out of each tree's bag).
 */
import { seededRandom, type Random } from '@muster/base';

const TREES = 48;
const LEAF_SAMPLES_MIN = 3;
const DEPTH_MAX = 12;
/** More samples than this make the importance no clearer, only later. */
const SAMPLES_MAX = 2_000;

type Tree = { readonly mean: number } | { readonly input: number; readonly threshold: number; readonly left: Tree; readonly right: Tree };

/** What a forest learns from: rows of inputs, and a result for each. */
export interface Samples {
  readonly inputs: readonly (readonly number[])[];
  readonly results: readonly number[];
}

/** By input: how much worse predictions become when it is shuffled, as shares of a whole. All zero where nothing can be told. */
export function importances(all: Samples, seed = 1): number[] {
  const random = seededRandom(seed);
  const { inputs, results } = thinned(all, random);
  const width = inputs[0]?.length ?? 0;
  const sums = new Array<number>(width).fill(0);
  for (let tree = 0; tree < TREES; tree++) {
    const bag = inputs.map(() => Math.floor(random.next() * inputs.length));
    const inBag = new Set(bag);
    const out = inputs.map((_, index) => index).filter((index) => !inBag.has(index));
    const root = grow({ inputs, results }, bag, random, 0);
    const error = (inputOf: (index: number) => readonly number[]): number => out.reduce((sum, index) => sum + (predict(root, inputOf(index)) - results[index]!) ** 2, 0);
    const before = error((index) => inputs[index]!);
    for (let input = 0; input < width; input++) {
      const from = new Map(out.map((index, place) => [index, place] as const));
      const order = shuffled(out, random);
      sums[input]! += error((index) => inputs[index]!.map((value, at) => (at === input ? inputs[order[from.get(index)!]!]![input]! : value))) - before;
    }
  }
  const positive = sums.map((sum) => Math.max(0, sum));
  const total = positive.reduce((sum, value) => sum + value, 0);
  return positive.map((value) => (total > 0 ? value / total : 0));
}

function thinned({ inputs, results }: Samples, random: Random): Samples {
  if (inputs.length <= SAMPLES_MAX) return { inputs, results };
  const chosen = shuffled(inputs.map((_, index) => index), random).slice(0, SAMPLES_MAX);
  return { inputs: chosen.map((index) => inputs[index]!), results: chosen.map((index) => results[index]!) };
}

function grow(samples: Samples, rows: readonly number[], random: Random, depth: number): Tree {
  const split = rows.length < 2 * LEAF_SAMPLES_MIN || depth === DEPTH_MAX ? null : bestSplit(samples, rows, random);
  if (!split) return { mean: rows.reduce((sum, row) => sum + samples.results[row]!, 0) / rows.length };
  const { input, threshold } = split;
  return {
    input, threshold,
    left: grow(samples, rows.filter((row) => samples.inputs[row]![input]! <= threshold), random, depth + 1),
    right: grow(samples, rows.filter((row) => samples.inputs[row]![input]! > threshold), random, depth + 1),
  };
}

/** The split that leaves the least squared error, among a third of the inputs and two of them at least; null: none leaves less. */
function bestSplit({ inputs, results }: Samples, rows: readonly number[], random: Random): { readonly input: number; readonly threshold: number } | null {
  const width = inputs[0]!.length;
  const tried = shuffled(Array.from({ length: width }, (_, input) => input), random).slice(0, Math.max(2, Math.ceil(width / 3)));
  const total = rows.reduce((sum, row) => sum + results[row]!, 0);
  let best: { input: number; threshold: number; gain: number } | null = null;
  for (const input of tried) {
    const sorted = [...rows].sort((a, b) => inputs[a]![input]! - inputs[b]![input]!);
    let left = 0;
    for (let count = 1; count < sorted.length; count++) {
      left += results[sorted[count - 1]!]!;
      const [below, above] = [inputs[sorted[count - 1]!]![input]!, inputs[sorted[count]!]![input]!];
      if (below === above || count < LEAF_SAMPLES_MIN || sorted.length - count < LEAF_SAMPLES_MIN) continue;
      const gain = left ** 2 / count + (total - left) ** 2 / (sorted.length - count) - total ** 2 / sorted.length;
      if (gain > (best?.gain ?? 1e-12 * (1 + total ** 2))) best = { input, threshold: (below + above) / 2, gain };
    }
  }
  return best;
}

function predict(tree: Tree, input: readonly number[]): number {
  let node = tree;
  while (!('mean' in node)) node = input[node.input]! <= node.threshold ? node.left : node.right;
  return node.mean;
}

function shuffled(values: readonly number[], random: Random): number[] {
  const order = [...values];
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random.next() * (last + 1));
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}
