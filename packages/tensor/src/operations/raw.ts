/** What forward and backward passes are written with: kernels into fresh tensors. Nothing here is recorded. */
import type { Context } from '../autograd/graph.js';
import { cpu } from '../device/cpu.js';
import type { Device, MapName, ReductionName } from '../device/device.js';
import type { Dtype } from '../dtype.js';
import { tensorError, type Described } from '../failure.js';
import { broadcast, denseStrides, isSameShape, type Shape } from '../shape.js';
import { empty, viewOf, type Tensor } from '../tensor.js';

/** A map of tensors that broadcast to `shape`. */
export function mapped(map: MapName, shape: Shape, dtype: Dtype, first: Tensor, second?: Tensor, third?: Tensor): Tensor {
  const result = empty(shape, dtype, deviceOf([first, second, third]));
  result.device.map(map, result, first, second, third);
  return result;
}

/** Where tensors are computed on: single numbers of the CPU go wherever the others are. */
export function deviceOf(tensors: readonly (Tensor | undefined)[]): Device {
  return (tensors.find((tensor) => tensor !== undefined && tensor.rank > 0) ?? tensors.find((tensor) => tensor !== undefined && tensor.device !== cpu))?.device ?? cpu;
}

/** Keeps what `denseOf(given)` was, which is the operation's own where it is a copy. */
export function saveDense(context: Context, dense: Tensor, given: Tensor): void {
  if (dense === given) context.save(dense);
  else context.saveOwn(dense);
}

/** The shape of two together. @throws TensorError */
export function broadcastShape(operation: string, first: Described, second: Described): Shape {
  const shape = broadcast(first.shape, second.shape);
  if (shape === null) throw tensorError(operation, [first, second], 'their shapes do not broadcast: from the last dimension on, sizes must be equal, or one of them 1');
  return shape;
}

/** A dimension counted from the end where it is negative. @throws TensorError */
export function dimensionOf(operation: string, tensor: Described, dimension: number, rank = tensor.shape.length): number {
  const own = dimension < 0 ? dimension + rank : dimension;
  if (Number.isInteger(own) && own >= 0 && own < rank) return own;
  if (rank === 0) throw tensorError(operation, [tensor], `there is no dimension ${dimension}: it has none`);
  throw tensorError(operation, [tensor], `there is no dimension ${dimension}: it must be from ${-rank} to ${rank - 1}`);
}

/** As {@link dimensionOf}, for operations that take a tensor without dimensions for a row of one number: there it is 0 or -1. */
export function rowDimensionOf(operation: string, tensor: Described, dimension: number): number {
  return dimensionOf(operation, tensor, dimension, Math.max(1, tensor.shape.length));
}

/** Reduces some dimensions, which disappear. */
export function reduced(reduction: ReductionName, input: Tensor, dimensions: readonly number[], options: { readonly dtype?: Dtype; readonly factor?: number } = {}): Tensor {
  const kept = input.shape.map((_, dimension) => dimension).filter((dimension) => !dimensions.includes(dimension));
  const order = [...kept, ...dimensions];
  const ordered = viewOf(input, order.map((dimension) => input.shape[dimension]!), order.map((dimension) => input.strides[dimension]!));
  const result = empty(kept.map((dimension) => input.shape[dimension]!), options.dtype ?? input.dtype, input.device);
  result.device.reduce(reduction, result, ordered, { kept: kept.length, factor: options.factor ?? 1 });
  ordered.dispose();
  return result;
}

/** The shape that keeps reduced dimensions with a size of 1. */
export function keepingDimensions(shape: Shape, dimensions: readonly number[]): Shape {
  return shape.map((extent, dimension) => (dimensions.includes(dimension) ? 1 : extent));
}

/** A dense tensor in another shape. */
export function reshapedDense(tensor: Tensor, shape: Shape): Tensor {
  return viewOf(tensor, shape, denseStrides(shape));
}

/** The gradient of an input that was broadcast and cast: summed over what it was repeated along, in its dtype. May be the gradient itself. */
export function gradientOf(input: Described & { readonly dtype: Dtype }, gradient: Tensor): Tensor {
  if (isSameShape(input.shape, gradient.shape)) return gradient.dtype === input.dtype ? gradient : mapped('copy', input.shape, input.dtype, gradient);
  const missing = gradient.shape.length - input.shape.length;
  const repeated = gradient.shape.map((_, dimension) => dimension).filter((dimension) => dimension < missing || (input.shape[dimension - missing] === 1 && gradient.shape[dimension] !== 1));
  const sum = reduced('sum', gradient, repeated, { dtype: input.dtype });
  const result = reshapedDense(sum, input.shape);
  sum.dispose();
  return result;
}

/** As {@link gradientOf}, of a gradient that was made for it. */
export function gradientOfOwn(input: Described & { readonly dtype: Dtype }, gradient: Tensor): Tensor {
  const result = gradientOf(input, gradient);
  if (result !== gradient) gradient.dispose();
  return result;
}
