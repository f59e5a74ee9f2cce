/** Sums, means and extremes along dimensions. */
import { apply, noGrad, type Operation } from '../autograd/graph.js';
import { isFloating, type Dtype } from '../dtype.js';
import { tensorError } from '../failure.js';
import { sizeOf, type Shape } from '../shape.js';
import { numberTensor, viewOf, type Tensor } from '../tensor.js';
import { abs, add, div, eq, exp, gt, log, mul, ne, sqrt, sub, to, where } from './arithmetic.js';
import { keepingDimensions, mapped, reduced, reshapedDense, rowDimensionOf } from './raw.js';
import { detach, reshape } from './views.js';

export interface ReduceOptions {
  /** Whether reduced dimensions stay, with a size of 1. */
  readonly keepDimensions?: boolean;
}

interface Reduce {
  readonly dimensions: readonly number[];
  readonly keepDimensions: boolean;
  readonly dtype: Dtype;
  readonly factor: number;
}

/** Which dimensions: all of them where none is named. */
function dimensionsOf(name: string, input: Tensor, dimensions: number | readonly number[] | undefined): readonly number[] {
  if (dimensions === undefined) return input.shape.map((_, dimension) => dimension);
  const own = (typeof dimensions === 'number' ? [dimensions] : dimensions).map((dimension) => rowDimensionOf(name, input, dimension));
  if (new Set(own).size !== own.length) throw tensorError(name, [input], `it names a dimension twice: ${String(dimensions)}`);
  return input.rank === 0 ? [] : own;
}

/** A reduced tensor, with the dimensions that were asked for. */
function shaped(result: Tensor, input: { readonly shape: Shape }, { dimensions, keepDimensions }: Reduce): Tensor {
  if (!keepDimensions) return result;
  const view = reshapedDense(result, keepingDimensions(input.shape, dimensions));
  result.dispose();
  return view;
}

/** A reduced tensor or its gradient, repeated along what was reduced. */
function repeated(tensor: Tensor, shape: Shape, dimensions: readonly number[]): Tensor {
  const strides: number[] = [];
  let own = 0;
  const hasAll = tensor.rank === shape.length;
  shape.forEach((_, dimension) => {
    const isReduced = dimensions.includes(dimension);
    strides.push(isReduced ? 0 : tensor.strides[hasAll ? dimension : own]!);
    if (!isReduced) own++;
  });
  return viewOf(tensor, shape, strides);
}

const SUM: Operation<Reduce> = {
  name: 'sum',
  forward: (_, [input], attributes) => shaped(reduced('sum', input!, attributes.dimensions, attributes), input!, attributes),
  backward({ inputs: [input] }, gradient, { dimensions, factor }) {
    const whole = repeated(gradient, input!.shape, dimensions);
    if (factor === 1 && gradient.dtype === input!.dtype) return [whole];
    using scale = numberTensor(factor);
    const scaled = mapped('multiply', input!.shape, input!.dtype, whole, scale);
    whole.dispose();
    return [scaled];
  },
};

/** A sum of one number is a mean of it: an export that sees no more than that must know which was meant. */
const MEAN: Operation<Reduce> = { ...SUM, name: 'mean' };

/** @param dimensions all, unless some are named. Of integers and bools the result is i64. */
export function sum(input: Tensor, dimensions?: number | readonly number[], { keepDimensions = false }: ReduceOptions = {}): Tensor {
  return apply(SUM, [input], { dimensions: dimensionsOf('sum', input, dimensions), keepDimensions, dtype: isFloating(input.dtype) ? input.dtype : 'i64', factor: 1 });
}

/** Of floating point. @param dimensions all, unless some are named. */
export function mean(input: Tensor, dimensions?: number | readonly number[], { keepDimensions = false }: ReduceOptions = {}): Tensor {
  if (!isFloating(input.dtype)) throw tensorError('mean', [input], 'it takes floating point: convert with to()');
  const own = dimensionsOf('mean', input, dimensions);
  const count = sizeOf(own.map((dimension) => input.shape[dimension]!));
  return apply(MEAN, [input], { dimensions: own, keepDimensions, dtype: input.dtype, factor: 1 / count });
}

/** Of several that are equally large each has its share of the gradient. */
function extreme(name: string, reduction: 'largest' | 'smallest'): Operation<Reduce> {
  return {
    name,
    forward(context, [input], attributes) {
      const empty = attributes.dimensions.some((dimension) => input!.shape[dimension] === 0);
      if (empty) throw tensorError(name, [input!], 'of nothing there is no largest or smallest');
      const result = shaped(reduced(reduction, input!, attributes.dimensions), input!, attributes);
      context.save(input!, result);
      return result;
    },
    backward({ inputs: [input], saved: [kept, result] }, gradient, { dimensions }) {
      using whole = repeated(result!, input!.shape, dimensions);
      using upper = repeated(gradient, input!.shape, dimensions);
      using isExtreme = mapped('equal', input!.shape, 'f32', kept!, whole);
      using counts = reduced('sum', isExtreme, dimensions);
      using shares = repeated(counts, input!.shape, dimensions);
      const slope = mapped('multiply', input!.shape, input!.dtype, isExtreme, upper);
      slope.device.map('divide', slope, slope, shares);
      return [slope];
    },
  };
}

const AMAX = extreme('amax', 'largest');
const AMIN = extreme('amin', 'smallest');

/** The largest along dimensions. */
export function amax(input: Tensor, dimensions?: number | readonly number[], { keepDimensions = false }: ReduceOptions = {}): Tensor {
  return apply(AMAX, [input], { dimensions: dimensionsOf('amax', input, dimensions), keepDimensions, dtype: input.dtype, factor: 1 });
}

/** The smallest along dimensions. */
export function amin(input: Tensor, dimensions?: number | readonly number[], { keepDimensions = false }: ReduceOptions = {}): Tensor {
  return apply(AMIN, [input], { dimensions: dimensionsOf('amin', input, dimensions), keepDimensions, dtype: input.dtype, factor: 1 });
}

function placeOf(name: string, isLargest: boolean): Operation<Reduce> {
  return {
    name,
    forward(_, [input], attributes) {
      if (isLargest) return shaped(reduced('argLargest', input!, attributes.dimensions, attributes), input!, attributes);
      using flipped = mapped('negate', input!.shape, input!.dtype, input!);
      return shaped(reduced('argLargest', flipped, attributes.dimensions, attributes), input!, attributes);
    },
    backward: () => [null],
  };
}

const ARGMAX = placeOf('argmax', true);
const ARGMIN = placeOf('argmin', false);

function applyPlaceOf(operation: Operation<Reduce>, input: Tensor, dimension: number | undefined, keepDimensions: boolean): Tensor {
  const dimensions = dimensionsOf(operation.name, input, dimension);
  if (dimensions.some((each) => input.shape[each] === 0)) throw tensorError(operation.name, [input], 'of nothing there is no largest or smallest');
  if (input.dtype === 'bool') throw tensorError(operation.name, [input], 'it takes numbers: convert with to()');
  return noGrad(() => apply(operation, [input], { dimensions, keepDimensions, dtype: 'i64', factor: 1 }));
}

/** Where the first of the largest is, along one dimension or, without one, among all elements; i64. */
export function argmax(input: Tensor, dimension?: number, { keepDimensions = false }: ReduceOptions = {}): Tensor {
  return applyPlaceOf(ARGMAX, input, dimension, keepDimensions);
}

/** Where the first of the smallest is, as {@link argmax}. */
export function argmin(input: Tensor, dimension?: number, { keepDimensions = false }: ReduceOptions = {}): Tensor {
  return applyPlaceOf(ARGMIN, input, dimension, keepDimensions);
}

/** What is made of squares, in f32 and rounded once: those of 16 bits end at 256, and begin at 0.0002. */
function ofSquares(name: string, input: Tensor, body: (whole: Tensor) => Tensor): Tensor {
  if (!isFloating(input.dtype)) throw tensorError(name, [input], 'it takes floating point: convert with to()');
  return to(body(to(input, 'f32')), input.dtype);
}

export interface VarianceOptions extends ReduceOptions {
  /** What the count is lessened by: 1 for samples, unless told otherwise, as in PyTorch. */
  readonly correction?: number;
}

function varianceOf(input: Tensor, dimensions: readonly number[], { keepDimensions = false, correction = 1 }: VarianceOptions): Tensor {
  const count = sizeOf(dimensions.map((dimension) => input.shape[dimension]!));
  const deviation = sub(input, mean(input, dimensions, { keepDimensions: true }));
  return div(sum(mul(deviation, deviation), dimensions, { keepDimensions }), Math.max(0, count - correction));
}

/** The mean square of the deviations from the mean. */
export function variance(input: Tensor, dimensions?: number | readonly number[], options: VarianceOptions = {}): Tensor {
  const own = dimensionsOf('variance', input, dimensions);
  return ofSquares('variance', input, (whole) => varianceOf(whole, own, options));
}

/** Whether any element along dimensions is not 0; a bool. Of nothing: false. */
export function any(input: Tensor, dimensions?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  return gt(sum(ne(input, 0), dimensionsOf('any', input, dimensions), options), 0);
}

/** Whether all elements along dimensions are not 0; a bool. Of nothing: true. */
export function all(input: Tensor, dimensions?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  return eq(sum(eq(input, 0), dimensionsOf('all', input, dimensions), options), 0);
}

/** The logarithm of the sum of powers of e, along dimensions. */
export function logsumexp(input: Tensor, dimensions: number | readonly number[], { keepDimensions = false }: ReduceOptions = {}): Tensor {
  const own = dimensionsOf('logsumexp', input, dimensions);
  const numbers = isFloating(input.dtype) ? input : to(input, 'f32');
  if (own.some((dimension) => input.shape[dimension] === 0)) return log(sum(exp(numbers), own, { keepDimensions }));  // of nothing: -Infinity
  const largest = amax(detach(numbers), own, { keepDimensions: true });
  const shift = where(eq(abs(largest), Infinity), 0, largest);
  const sums = log(sum(exp(sub(numbers, shift)), own, { keepDimensions }));
  return add(sums, keepDimensions ? shift : reshape(shift, ...sums.shape));
}

/** The length of a vector, the square root of the sum of squares; its slope at 0 is 0. */
export function norm(input: Tensor, dimensions?: number | readonly number[], { keepDimensions = false }: ReduceOptions = {}): Tensor {
  const own = dimensionsOf('norm', input, dimensions);
  return ofSquares('norm', input, (whole) => rootOf(sum(mul(whole, whole), own, { keepDimensions })));
}

/** The square root of a sum of squares. Where that is 0 all of them are, and nothing flows back to them. */
function rootOf(squares: Tensor): Tensor {
  const isZero = eq(squares, 0);
  return where(isZero, 0, sqrt(where(isZero, 1, squares)));
}

/** The standard deviation; see {@link variance}. Its slope at 0 is 0. */
export function std(input: Tensor, dimensions?: number | readonly number[], options: VarianceOptions = {}): Tensor {
  const own = dimensionsOf('std', input, dimensions);
  return ofSquares('std', input, (whole) => rootOf(varianceOf(whole, own, options)));
}
