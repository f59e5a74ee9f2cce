/** Numbers in order along a dimension: sorted, the largest, and running sums and products. */
import { autocastInputs } from '../amp/policy.js';
import { apply, noGrad, type Operation } from '../autograd/graph.js';
import { isFloating } from '../dtype.js';
import { zeros } from '../factories.js';
import { tensorError } from '../failure.js';
import { denseOf, empty, type Tensor } from '../tensor.js';
import { add, mul, to } from './arithmetic.js';
import { cat, gather } from './indexing.js';
import { rowDimensionOf } from './raw.js';
import { sum } from './reductions.js';
import { clone, narrow, squeeze, transpose, unsqueeze } from './views.js';

interface Order {
  readonly descending: boolean;
  /** How many places are wanted. */
  readonly count: number;
}

/** A NaN is larger than all numbers. */
function compare(first: number | bigint, second: number | bigint): number {
  if (first === second) return 0;
  const [isFirst, isSecond] = [Number.isNaN(first), Number.isNaN(second)];
  if (isFirst || isSecond) return Number(isFirst) - Number(isSecond);
  return first < second ? -1 : 1;
}

/** Along the last dimension; on the host. Equal numbers keep their order. */
const ORDER: Operation<Order> = {
  name: 'argsort',
  forward(_, [input], { descending, count }) {
    const dense = denseOf(input!, isFloating(input!.dtype) ? 'f32' : input!.dtype);
    const numbers = dense.device.read(dense) as Float32Array | BigInt64Array;
    const extent = input!.shape.at(-1)!;
    const places = empty([...input!.shape.slice(0, -1), count], 'i64', input!.device);
    const found = new BigInt64Array(places.size);
    const order = Array.from({ length: extent }, (_place, index) => index);
    for (let row = 0; row * count < places.size; row++) {
      const at = row * extent;
      const sorted = [...order].sort((first, second) => (descending ? compare(numbers[at + second]!, numbers[at + first]!) : compare(numbers[at + first]!, numbers[at + second]!)));
      for (let place = 0; place < count; place++) found[row * count + place] = BigInt(sorted[place]!);
    }
    if (found.length > 0) places.device.write(places, found);
    if (dense !== input) dense.dispose();
    return places;
  },
  backward: () => [null],
};

function orderAlong(name: string, input: Tensor, dimension: number, order: (extent: number) => Order): Tensor {
  const own = rowDimensionOf(name, input, dimension);
  const places = noGrad(() => apply(ORDER, [transpose(input, own, -1)], order(input.shape[own]!)));
  return transpose(places, own, -1);
}

export interface SortOptions {
  readonly descending?: boolean;
}

/** Which places the numbers of a dimension come from when they are sorted, i64; equal ones keep their order. */
export function argsort(input: Tensor, dimension = -1, { descending = false }: SortOptions = {}): Tensor {
  if (input.rank === 0) return squeeze(argsort(unsqueeze(input, 0), dimension), 0);
  return orderAlong('argsort', input, dimension, (count) => ({ descending, count }));
}

/** The numbers of a dimension in order, and where each was. */
export function sort(input: Tensor, dimension = -1, options: SortOptions = {}): { readonly values: Tensor; readonly indices: Tensor } {
  const indices = argsort(input, dimension, options);
  if (input.rank === 0) return { values: clone(input), indices };
  return { values: gather(input, dimension, indices), indices };
}

/** The `count` largest numbers of a dimension, or smallest, the first of them first, and where each was. */
export function topk(input: Tensor, count: number, dimension = -1, { largest = true }: { readonly largest?: boolean } = {}): { readonly values: Tensor; readonly indices: Tensor } {
  const extent = input.shape[rowDimensionOf('topk', input, dimension)] ?? 1;
  if (!Number.isInteger(count) || count < 0 || count > extent) throw tensorError('topk', [input], `${count} numbers cannot be taken of ${extent}`);
  if (input.rank === 0) return sort(input, dimension);
  const indices = orderAlong('topk', input, dimension, () => ({ descending: largest, count }));
  return { values: gather(input, dimension, indices), indices };
}

/** What adds up or multiplies: of integers and bools i64, of floating point in f32 and rounded once. */
function accumulated(input: Tensor, body: (wide: Tensor) => Tensor): Tensor {
  return isFloating(input.dtype) ? to(body(to(input, 'f32')), input.dtype) : body(to(input, 'i64'));
}

/** Source: Hillis and Steele 1986: so many additions as the length has bits. */
function runningSums(input: Tensor, dimension: number): Tensor {
  const extent = input.shape[dimension]!;
  let sums = input;
  for (let distance = 1; distance < extent; distance *= 2) {
    const before = zeros(sums.shape.map((size, each) => (each === dimension ? distance : size)), { dtype: sums.dtype, device: sums.device.name });
    sums = add(sums, cat([before, narrow(sums, dimension, 0, extent - distance)], dimension));
  }
  return sums;
}

/** Result i is the sum of numbers 0 to i of a dimension. */
export function cumsum(input: Tensor, dimension: number): Tensor {
  const own = rowDimensionOf('cumsum', input, dimension);
  return accumulated(input, (numbers) => (input.rank === 0 ? numbers : runningSums(numbers, own)));
}

/** Half of the numbers of a dimension times the other half, again and again. */
function productAlong(input: Tensor, dimension: number): Tensor {
  if (input.shape[dimension] === 0) return add(sum(input, dimension), 1);
  let products = input;
  while (products.shape[dimension]! > 1) {
    const extent = products.shape[dimension]!;
    const half = Math.floor(extent / 2);
    const paired = mul(narrow(products, dimension, 0, half), narrow(products, dimension, half, half));
    products = extent % 2 === 0 ? paired : cat([paired, narrow(products, dimension, 2 * half, 1)], dimension);
  }
  return squeeze(products, dimension);
}

/** The product of the numbers of a dimension, or of all. Under autocast it is f32. */
export function prod(input: Tensor, dimension?: number): Tensor {
  const own = dimension === undefined ? null : rowDimensionOf('prod', input, dimension);
  const [given] = autocastInputs('f32', [input]) as readonly [Tensor];
  return accumulated(given, (numbers) => (input.rank === 0 ? numbers : own === null ? input.shape.reduce((product) => productAlong(product, 0), numbers) : productAlong(numbers, own)));
}
