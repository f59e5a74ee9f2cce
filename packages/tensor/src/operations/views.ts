/** The same memory in another shape. Views cost no copy; their gradients are views of gradients, or gradients put into zeros. */
import { apply, noGrad, type Operation } from '../autograd/graph.js';
import { tensorError } from '../failure.js';
import { isSameShape, RANK_MAX, sizeOf, viewStrides, type Shape } from '../shape.js';
import { copyOf, filled, viewOf, type Tensor } from '../tensor.js';
import { dimensionOf, gradientOf, rowDimensionOf } from './raw.js';

const CONTIGUOUS: Operation<null> = { name: 'contiguous', forward: (_, [input]) => copyOf(input!), backward: (_, gradient) => [gradient] };
const CLONE: Operation<null> = { ...CONTIGUOUS, name: 'clone' };

/** A tensor whose elements lie one behind the other: itself, or a copy. */
export function contiguous(input: Tensor): Tensor {
  return input.isDense ? input : apply(CONTIGUOUS, [input], null);
}

/** A dense copy. */
export function clone(input: Tensor): Tensor {
  return apply(CLONE, [input], null);
}

const DETACH: Operation<null> = { name: 'detach', forward: (_, [input]) => viewOf(input!, input!.shape, input!.strides), backward: () => [null] };

/** The same elements, outside the graph. */
export function detach(input: Tensor): Tensor {
  return noGrad(() => apply(DETACH, [input], null));
}

/** Another shape for a gradient, in place where that goes. */
function reshaped(tensor: Tensor, shape: Shape): Tensor {
  const strides = viewStrides(tensor.shape, tensor.strides, shape);
  if (strides !== null) return viewOf(tensor, shape, strides);
  using copy = copyOf(tensor);
  return viewOf(copy, shape, viewStrides(copy.shape, copy.strides, shape)!);
}

const RESHAPE: Operation<Shape> = {
  name: 'reshape',
  forward: (_, [input], shape) => reshaped(input!, shape),
  backward: ({ inputs }, gradient) => [reshaped(gradient, inputs[0]!.shape)],
};

/** Another shape with as many elements, one size of which may be -1: what is left. A view where the strides allow it, else a copy. */
export function reshape(input: Tensor, ...shape: number[]): Tensor {
  return apply(RESHAPE, [input], wholeShape(input, shape));
}

function wholeShape(input: Tensor, shape: readonly number[]): Shape {
  const unknown = shape.indexOf(-1);
  const known = shape.reduce((product, extent) => (extent === -1 ? product : product * extent), 1);
  if (unknown >= 0 && known === 0) throw tensorError('reshape', [input, `[${shape.join(', ')}]`], 'beside a size of 0, that of -1 may be any: name it');
  const whole = shape.map((extent, dimension) => (dimension === unknown ? input.size / known : extent));
  const isValid = shape.length <= RANK_MAX && whole.every((extent) => Number.isInteger(extent) && extent >= 0) && sizeOf(whole) === input.size;
  if (!isValid) throw tensorError('reshape', [input, `[${shape.join(', ')}]`], `the new shape must have ${input.size} elements, with one -1 at most and ${RANK_MAX} dimensions`);
  return whole;
}

/** Dimensions [first, last] as one. */
export function flatten(input: Tensor, first = 0, last = -1): Tensor {
  const from = rowDimensionOf('flatten', input, first);
  const to = rowDimensionOf('flatten', input, last);
  const flat = sizeOf(input.shape.slice(from, to + 1));
  return reshape(input, ...input.shape.slice(0, from), flat, ...input.shape.slice(to + 1));
}

function permuted(tensor: Tensor, order: readonly number[]): Tensor {
  return viewOf(tensor, order.map((dimension) => tensor.shape[dimension]!), order.map((dimension) => tensor.strides[dimension]!));
}

const PERMUTE: Operation<readonly number[]> = {
  name: 'permute',
  forward: (_, [input], order) => permuted(input!, order),
  backward: (_, gradient, order) => [permuted(gradient, order.map((_place, dimension) => order.indexOf(dimension)))],
};

/** The dimensions in another order. */
export function permute(input: Tensor, ...order: number[]): Tensor {
  const dimensions = order.map((dimension) => dimensionOf('permute', input, dimension));
  if (dimensions.length !== input.rank || new Set(dimensions).size !== input.rank) throw tensorError('permute', [input, `[${order.join(', ')}]`], 'the order must name each dimension once');
  return apply(PERMUTE, [input], dimensions);
}

/** Two dimensions change places; without naming them, the last two. */
export function transpose(input: Tensor, first = -2, second = -1): Tensor {
  const one = rowDimensionOf('transpose', input, first);
  const other = rowDimensionOf('transpose', input, second);
  return apply(PERMUTE, [input], input.shape.map((_, dimension) => (dimension === one ? other : dimension === other ? one : dimension)));
}

const EXPAND: Operation<Shape> = {
  name: 'expand',
  forward(_, [input], shape) {
    const missing = shape.length - input!.rank;
    return viewOf(input!, shape, shape.map((extent, dimension) => (dimension < missing || input!.shape[dimension - missing] !== extent ? 0 : input!.strides[dimension - missing]!)));
  },
  backward: ({ inputs }, gradient) => [gradientOf(inputs[0]!, gradient)],
};

/** Repeats sizes of 1, and dimensions in front, without a copy; -1 keeps a size. */
export function expand(input: Tensor, ...shape: number[]): Tensor {
  const missing = shape.length - input.rank;
  const whole = shape.map((extent, dimension) => (extent === -1 && dimension >= missing ? input.shape[dimension - missing]! : extent));
  const fits = missing >= 0 && whole.length <= RANK_MAX && whole.every((extent, dimension) => Number.isInteger(extent) && extent >= 0 && (dimension < missing || [1, extent].includes(input.shape[dimension - missing]!)));
  if (!fits) throw tensorError('expand', [input, `[${shape.join(', ')}]`], 'from the last dimension on, each size must be kept or grow from 1');
  return isSameShape(whole, input.shape) ? input : apply(EXPAND, [input], whole);
}

/** Takes out a dimension of size 1, or all of them. */
export function squeeze(input: Tensor, dimension?: number): Tensor {
  const only = dimension === undefined ? null : rowDimensionOf('squeeze', input, dimension);
  return reshape(input, ...input.shape.filter((extent, each) => extent !== 1 || (only !== null && each !== only)));
}

/** Puts in a dimension of size 1. */
export function unsqueeze(input: Tensor, dimension: number): Tensor {
  const place = dimensionOf('unsqueeze', input, dimension, input.rank + 1);
  return reshape(input, ...input.shape.slice(0, place), 1, ...input.shape.slice(place));
}

interface Slice {
  readonly dimension: number;
  readonly start: number;
  readonly length: number;
  readonly step: number;
}

function sliced(tensor: Tensor, { dimension, start, length, step }: Slice): Tensor {
  const shape = tensor.shape.map((extent, each) => (each === dimension ? length : extent));
  const strides = tensor.strides.map((stride, each) => (each === dimension ? stride * step : stride));
  return viewOf(tensor, shape, strides, tensor.offset + (sizeOf(shape) === 0 ? 0 : start * tensor.strides[dimension]!));
}

const SLICE: Operation<Slice> = {
  name: 'slice',
  forward: (_, [input], slice) => sliced(input!, slice),
  backward({ inputs }, gradient, slice) {
    const whole = filled(inputs[0]!.shape, 0, gradient.dtype, gradient.device);
    using part = sliced(whole, slice);
    if (part.size > 0) whole.device.map('copy', part, gradient);
    return [whole];
  },
  addGradient(sum, gradient, slice) {
    using part = sliced(sum, slice);
    if (part.size > 0) sum.device.map('add', part, part, gradient);
  },
};

/** Elements [start, end) of a dimension, each `step`-th; as an array's slice, negative numbers count from the end, and what lies beyond is cut off. */
export function slice(input: Tensor, dimension: number, start = 0, end: number | undefined = undefined, step = 1): Tensor {
  const own = dimensionOf('slice', input, dimension);
  const extent = input.shape[own]!;
  if (![start, end ?? 0].every(Number.isInteger) || !Number.isInteger(step) || step < 1) throw tensorError('slice', [input], `from ${start} to ${end} in steps of ${step} is no range: it takes whole numbers and steps from 1 on`);
  const inside = (place: number): number => Math.min(extent, Math.max(0, place < 0 ? place + extent : place));
  const first = inside(start);
  const length = Math.max(0, Math.ceil((inside(end ?? extent) - first) / step));
  return apply(SLICE, [input], { dimension: own, start: first, length, step });
}

/** `length` elements of a dimension from `start` on, all of which it must have. */
export function narrow(input: Tensor, dimension: number, start: number, length: number): Tensor {
  const own = dimensionOf('narrow', input, dimension);
  const isInside = Number.isInteger(start) && Number.isInteger(length) && start >= 0 && length >= 0 && start + length <= input.shape[own]!;
  if (!isInside) throw tensorError('narrow', [input], `${length} elements from ${start} on are not within dimension ${own} of ${input.shape[own]}`);
  return apply(SLICE, [input], { dimension: own, start, length, step: 1 });
}

/** One place of a dimension, which disappears. */
export function select(input: Tensor, dimension: number, index: number): Tensor {
  const own = dimensionOf('select', input, dimension);
  const extent = input.shape[own]!;
  if (!Number.isInteger(index) || index < -extent || index >= extent) throw tensorError('select', [input], `dimension ${own} has no place ${index}: it must be from ${-extent} to ${extent - 1}`);
  return squeeze(narrow(input, own, index < 0 ? index + extent : index, 1), own);
}

/** Parts of `length` along a dimension; the last may be shorter. */
export function split(input: Tensor, length: number, dimension = 0): Tensor[] {
  const own = dimensionOf('split', input, dimension);
  if (!Number.isInteger(length) || length < 1) throw tensorError('split', [input], `parts of ${length} cannot be made: it must be a whole number from 1 on`);
  const count = Math.max(1, Math.ceil(input.shape[own]! / length));
  return Array.from({ length: count }, (_, part) => slice(input, own, part * length, (part + 1) * length));
}

/** As many parts along a dimension, of equal length but for the last. */
export function chunk(input: Tensor, count: number, dimension = 0): Tensor[] {
  const own = dimensionOf('chunk', input, dimension);
  if (!Number.isInteger(count) || count < 1) throw tensorError('chunk', [input], `${count} parts cannot be made: it must be a whole number from 1 on`);
  if (input.shape[own] === 0) return Array.from({ length: count }, () => narrow(input, own, 0, 0));
  return split(input, Math.ceil(input.shape[own]! / count), own);
}
