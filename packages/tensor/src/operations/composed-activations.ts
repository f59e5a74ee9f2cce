/** Activations that are made of other operations. They compute in f32 and round once, as those with kernels do. */
import { autocastInputs } from '../amp/policy.js';
import { DTYPES, INTEGER, isFloating } from '../dtype.js';
import { tensorError } from '../failure.js';
import type { Tensor } from '../tensor.js';
import { abs, add, clamp, div, exp, gt, lt, maximum, mul, neg, sigmoid, tanh, to, where } from './arithmetic.js';
import { expm1, log1p } from './logarithms.js';
import { dimensionOf } from './raw.js';
import { chunk, detach, reshape } from './views.js';

function inF32(name: string, input: Tensor, body: (whole: Tensor) => Tensor): Tensor {
  if (!isFloating(input.dtype)) throw tensorError(name, [input], 'it takes floating point: convert with to()');
  return to(body(to(input, 'f32')), input.dtype);
}

/** Below 0, times `slope`. */
export function leakyRelu(input: Tensor, slope = 0.01): Tensor {
  return inF32('leakyRelu', input, (x) => where(gt(x, 0), x, mul(x, slope)));
}

/** Below 0, alpha * (e^x - 1). */
export function elu(input: Tensor, alpha = 1): Tensor {
  return inF32('elu', input, (x) => where(gt(x, 0), x, mul(expm1(where(gt(x, 0), 0, x)), alpha)));
}

/** Source: Klambauer et al. 2017. */
const SELU_ALPHA = 1.6732632423543772, SELU_SCALE = 1.0507009873554805;

export function selu(input: Tensor): Tensor {
  return inF32('selu', input, (x) => mul(elu(x, SELU_ALPHA), SELU_SCALE));
}

/** log(1 + e^x), without its overflow. */
function logOnePlusExp(x: Tensor): Tensor {
  return add(maximum(x, 0), log1p(exp(neg(abs(x)))));
}

/** log(1 + e^(beta x)) / beta; above `threshold`, beta x itself. */
export function softplus(input: Tensor, { beta = 1, threshold = 20 }: { readonly beta?: number; readonly threshold?: number } = {}): Tensor {
  return inF32('softplus', input, (x) => where(gt(mul(x, beta), threshold), x, div(logOnePlusExp(mul(x, beta)), beta)));
}

/** log(sigmoid(x)), without its rounding. */
export function logSigmoid(input: Tensor): Tensor {
  return inF32('logSigmoid', input, (x) => neg(logOnePlusExp(neg(x))));
}

/** x * tanh(softplus(x)) */
export function mish(input: Tensor): Tensor {
  return inF32('mish', input, (x) => mul(x, tanh(logOnePlusExp(x))));
}

/** Between two numbers, beyond and at which there is no gradient. */
export function hardtanh(input: Tensor, { min = -1, max = 1 }: { readonly min?: number; readonly max?: number } = {}): Tensor {
  if (DTYPES[input.dtype].category === INTEGER) return to(clamp(input, { min, max }), input.dtype);
  return inF32('hardtanh', input, (x) => where(mul(gt(x, min), lt(x, max)), x, detach(clamp(x, { min, max }))));
}

export const relu6 = (input: Tensor): Tensor => hardtanh(input, { min: 0, max: 6 });

/** x / 6 + 1/2, from 0 to 1. */
export function hardsigmoid(input: Tensor): Tensor {
  return inF32('hardsigmoid', input, (x) => hardtanh(div(add(x, 3), 6), { min: 0, max: 1 }));
}

/** x * hardsigmoid(x) */
export function hardswish(input: Tensor): Tensor {
  return inF32('hardswish', input, (x) => mul(x, hardsigmoid(x)));
}

/** x / (1 + |x|) */
export function softsign(input: Tensor): Tensor {
  return inF32('softsign', input, (x) => div(x, add(abs(x), 1)));
}

/** Below 0, times a weight: one for all, or one for each channel, the second dimension. */
export function prelu(input: Tensor, weight: Tensor): Tensor {
  const [x, slope] = autocastInputs('lower', [input, weight]) as readonly [Tensor, Tensor];
  const channels = input.rank < 2 ? 1 : input.shape[1]!;
  if (x.dtype !== slope.dtype || !isFloating(x.dtype)) throw tensorError('prelu', [x, slope], 'both must be of one floating dtype: convert with to()');
  if (slope.rank > 1 || (slope.size !== 1 && slope.size !== channels)) throw tensorError('prelu', [x, slope], `the weight must be one number, or one for each of the ${channels} channels`);
  const slopes = slope.size === 1 ? reshape(slope) : reshape(slope, slope.size, ...new Array<number>(x.rank - 2).fill(1));
  return where(gt(x, 0), x, mul(x, slopes));
}

/** The first half of a dimension, times the sigmoid of the second. */
export function glu(input: Tensor, dimension = -1): Tensor {
  const own = dimensionOf('glu', input, dimension);
  if (input.shape[own]! % 2 !== 0) throw tensorError('glu', [input], `dimension ${own} must have two halves`);
  return inF32('glu', input, (x) => {
    const [first, second] = chunk(x, 2, own) as [Tensor, Tensor];
    return mul(first, sigmoid(second));
  });
}
