/** Activations, softmax and dropout. */
import { apply, type Operation } from '../autograd/graph.js';
import type { ActivationName } from '../device/device.js';
import { DTYPES, INTEGER, isFloating } from '../dtype.js';
import { invalid, tensorError } from '../failure.js';
import { defaultGenerator, type Generator } from '../random.js';
import { denseOf, empty, isUnshared, viewOf, type Tensor } from '../tensor.js';
import { maximum, mul } from './arithmetic.js';
import { mapped, reduced, rowDimensionOf, saveDense } from './raw.js';
import { squeeze, transpose, unsqueeze } from './views.js';

function checkFloating(name: string, input: Tensor): void {
  if (!isFloating(input.dtype)) throw tensorError(name, [input], 'it takes floating point: convert with to()');
}

const isInteger = ({ dtype }: Tensor): boolean => DTYPES[dtype].category === INTEGER;

/** An activation with a kernel of its own, which is its attribute. */
function activation(name: string): Operation<ActivationName> {
  return {
    name,
    forward(context, [input], kernel) {
      checkFloating(name, input!);
      const dense = denseOf(input!);
      const result = empty(input!.shape, input!.dtype, input!.device);
      result.device.activate(kernel, result, dense);
      saveDense(context, dense, input!);
      return result;
    },
    backward({ saved: [input] }, gradient, kernel) {
      const upper = denseOf(gradient);
      const slope = isUnshared(upper) ? upper : empty(input!.shape, input!.dtype, input!.device);
      slope.device.activateBackward(kernel, slope, input!, upper);
      if (upper !== gradient && upper !== slope) upper.dispose();
      return [slope];
    },
  };
}

const RELU = activation('relu');
const SILU = activation('silu');
const GELU = activation('gelu');

/** Of integers, too. */
export const relu = (input: Tensor): Tensor => (isInteger(input) ? maximum(input, 0) : apply(RELU, [input], 'relu'));
export const silu = (input: Tensor): Tensor => apply(SILU, [input], 'silu');

/** @param approximate 'tanh': with tanh instead of the error function, as GPT-2 does. */
export function gelu(input: Tensor, { approximate = 'none' }: { readonly approximate?: 'none' | 'tanh' } = {}): Tensor {
  return apply(GELU, [input], approximate === 'tanh' ? 'geluTanh' : 'geluErf');
}

const SOFTMAX: Operation<null> = {
  name: 'softmax',
  forward(context, [input]) {
    const dense = denseOf(input!);
    const result = empty(input!.shape, input!.dtype, input!.device);
    if (result.size > 0) result.device.softmax(result, dense, input!.shape.at(-1)!);
    if (dense !== input) dense.dispose();
    context.save(result);
    return result;
  },
  backward({ saved: [result] }, gradient) {
    const upper = denseOf(gradient);
    const slope = empty(result!.shape, result!.dtype, result!.device);
    if (result!.size > 0) slope.device.softmaxBackward(slope, result!, upper, result!.shape.at(-1)!);
    if (upper !== gradient) upper.dispose();
    return [slope];
  },
};

/** Shares that add up to 1 along a dimension. */
export function softmax(input: Tensor, dimension: number): Tensor {
  return alongLast('softmax', input, dimension, (tensor) => apply(SOFTMAX, [tensor], null));
}

const LOG_SOFTMAX: Operation<null> = {
  name: 'logSoftmax',
  forward(context, [input]) {
    if (input!.size === 0) {
      const nothing = empty(input!.shape, input!.dtype, input!.device);
      context.save(nothing);
      return nothing;
    }
    const last = input!.rank - 1;
    using most = reduced('largest', input!, [last], { dtype: 'f32' });
    using least = viewOf(most, [...most.shape, 1], [...most.strides, 0]);
    using shifted = mapped('subtract', input!.shape, 'f32', input!, least);
    using powers = mapped('exponential', input!.shape, 'f32', shifted);
    using sums = reduced('sum', powers, [last]);
    sums.device.map('logarithm', sums, sums);
    using logarithms = viewOf(sums, [...sums.shape, 1], [...sums.strides, 0]);
    const result = mapped('subtract', input!.shape, input!.dtype, shifted, logarithms);
    context.save(result);
    return result;
  },
  backward({ saved: [result] }, gradient) {
    using sums = reduced('sum', gradient, [gradient.rank - 1], { dtype: 'f32' });
    using whole = viewOf(sums, [...sums.shape, 1], [...sums.strides, 0]);
    using shares = mapped('exponential', result!.shape, 'f32', result!);
    shares.device.map('multiply', shares, shares, whole);
    return [mapped('subtract', gradient.shape, gradient.dtype, gradient, shares)];
  },
};

/** The logarithm of {@link softmax}, without its rounding. */
export function logSoftmax(input: Tensor, dimension: number): Tensor {
  return alongLast('logSoftmax', input, dimension, (tensor) => apply(LOG_SOFTMAX, [tensor], null));
}

function alongLast(name: string, input: Tensor, dimension: number, body: (tensor: Tensor) => Tensor): Tensor {
  checkFloating(name, input);
  const own = rowDimensionOf(name, input, dimension);
  if (input.rank === 0) return squeeze(body(unsqueeze(input, 0)), 0);
  return own === input.rank - 1 ? body(input) : transpose(body(transpose(input, own, -1)), own, -1);
}

interface Dropout {
  readonly probability: number;
  readonly generator: Generator;
}

const DROPOUT: Operation<Dropout> = {
  name: 'dropout',
  forward(context, [input], { probability, generator }) {
    const mask = empty(input!.shape, input!.dtype, input!.device);
    generator.fill(mask, 'bernoulli', 1 - probability, 1 / (1 - probability));
    const result = mapped('multiply', input!.shape, input!.dtype, input!, mask);
    context.saveOwn(mask);
    return result;
  },
  backward({ saved: [mask] }, gradient) {
    const slope = isUnshared(gradient) ? gradient : empty(gradient.shape, gradient.dtype, gradient.device);
    slope.device.map('multiply', slope, gradient, mask!);
    return [slope];
  },
};

/** Makes each number 0 with a probability, and the others as much larger that the mean stays. */
export function dropout(input: Tensor, { probability = 0.5, training = true, generator = defaultGenerator }: { readonly probability?: number; readonly training?: boolean; readonly generator?: Generator } = {}): Tensor {
  if (!(probability >= 0 && probability <= 1)) throw invalid(`a dropout probability of ${probability}`, 'from 0 to 1');
  checkFloating('dropout', input);
  if (!training || probability === 0) return input;
  if (probability === 1) return mul(input, 0);
  return apply(DROPOUT, [input], { probability, generator });
}
