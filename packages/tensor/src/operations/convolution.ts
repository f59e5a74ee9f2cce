/**
 * Convolution and pooling of images [examples, channels, height, width].
 *
 * Both see the input as windows: a view with overlapping strides. A convolution copies the windows of some examples into columns and multiplies them with the weights;
 * pooling goes through the places of the window, each of which is a view of the input as large as the result.
 */
import { apply, type Operation } from '../autograd/graph.js';
import { isFloating } from '../dtype.js';
import { invalid, tensorError } from '../failure.js';
import { type Shape } from '../shape.js';
import { copyOf, denseOf, empty, filled, numberTensor, viewOf, type Tensor } from '../tensor.js';
import { mapped, reduced } from './raw.js';

/** Both directions, or height and width. */
export type Pair = number | readonly [height: number, width: number];

/** Columns that are made at once, at most: 16 MB of f32, of which a last cache keeps a good part. */
const COLUMN_ELEMENTS_MAX = 2 ** 22;

interface Window {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly dilation: readonly [number, number];
}

function pairOf(name: string, value: Pair, least: number): readonly [number, number] {
  const pair = typeof value === 'number' ? [value, value] as const : value;
  if (pair.length !== 2 || !pair.every((each) => Number.isInteger(each) && each >= least)) throw invalid(`${name} ${String(value)}`, `a whole number from ${least} on, or two`);
  return pair;
}

/** Height and width of the result. */
function resultSize(name: string, input: Tensor, { kernel, stride, padding, dilation }: Window): readonly [number, number] {
  const size = ([0, 1] as const).map((side) => Math.floor((input.shape[2 + side]! + 2 * padding[side] - dilation[side] * (kernel[side] - 1) - 1) / stride[side]) + 1);
  if (size.some((extent) => extent < 1)) throw tensorError(name, [input, `a window of ${kernel.join(' x ')}`], 'the window must fit into the padded input');
  return size as unknown as readonly [number, number];
}

/** The input with a margin of one number; without a margin, dense. The caller's to dispose of. */
function padded(input: Tensor, [height, width]: readonly [number, number], value: number): Tensor {
  if (height === 0 && width === 0) return input.isDense ? viewOf(input, input.shape, input.strides) : copyOf(input);
  const [examples, channels, rows, columns] = input.shape as readonly [number, number, number, number];
  const whole = filled([examples, channels, rows + 2 * height, columns + 2 * width], value, input.dtype, input.device);
  using inner = viewOf(whole, input.shape, whole.strides, height * whole.strides[2]! + width);
  if (input.size > 0) whole.device.map('copy', inner, input);
  return whole;
}

/** The part of a padded tensor that is not margin, dense. */
function unpadded(whole: Tensor, shape: Shape, [height, width]: readonly [number, number]): Tensor {
  if (height === 0 && width === 0) return viewOf(whole, whole.shape, whole.strides);
  using inner = viewOf(whole, shape, whole.strides, height * whole.strides[2]! + width);
  return copyOf(inner);
}

/** One place of the window, at all places of the result: [examples, channels, height, width]. */
function place(whole: Tensor, row: number, column: number, { stride, dilation }: Window, [height, width]: readonly [number, number]): Tensor {
  const [exampleStride, channelStride, rowStride] = whole.strides as readonly [number, number, number];
  return viewOf(whole, [whole.shape[0]!, whole.shape[1]!, height, width], [exampleStride, channelStride, stride[0] * rowStride, stride[1]],
    whole.offset + row * dilation[0] * rowStride + column * dilation[1]);
}

interface Convolution {
  readonly window: Window;
  readonly groups: number;
}

/** Sizes that all three passes share. */
interface Sizes {
  readonly examples: number;
  readonly channels: number;
  readonly outputs: number;
  readonly result: readonly [number, number];
  /** Places of the result. */
  readonly places: number;
  /** Rows of the columns: channels times places of the window, all groups. */
  readonly rows: number;
  readonly groups: number;
  /** Examples whose columns are made at once. */
  readonly together: number;
}

function sizesOf(name: string, input: Tensor, outputs: number, { window, groups }: Convolution): Sizes {
  const result = resultSize(name, input, window);
  const [examples, channels] = input.shape as readonly [number, number];
  const places = result[0] * result[1];
  const rows = channels * window.kernel[0] * window.kernel[1];
  return { examples, channels, outputs, result, places, rows, groups, together: Math.max(1, Math.min(examples, Math.floor(COLUMN_ELEMENTS_MAX / (rows * places)))) };
}

/** The windows of examples [first, first + count) as columns: [count, rows, places]. */
function columnsOf(whole: Tensor, first: number, count: number, { window: { kernel, stride, dilation } }: Convolution, sizes: Sizes): Tensor {
  const [exampleStride, channelStride, rowStride] = whole.strides as readonly [number, number, number];
  using windows = viewOf(whole, [count, sizes.channels, ...kernel, ...sizes.result],
    [exampleStride, channelStride, dilation[0] * rowStride, dilation[1], stride[0] * rowStride, stride[1]], whole.offset + first * exampleStride);
  return copyOf(windows);
}

/** Calls `body` for every group of every run of examples. */
function forEachRun(sizes: Sizes, body: (first: number, count: number) => void): void {
  for (let first = 0; first < sizes.examples; first += sizes.together) body(first, Math.min(sizes.together, sizes.examples - first));
}

const CONV2D: Operation<Convolution> = {
  name: 'conv2d',
  autocast: 'lower',
  forward(context, [input, weight, bias], attributes) {
    checkConvolution(input!, weight!, bias, attributes.groups);
    const sizes = sizesOf('conv2d', input!, weight!.shape[0]!, attributes);
    const weights = denseOf(weight!);
    using whole = padded(input!, attributes.window.padding, 0);
    const result = empty([sizes.examples, sizes.outputs, ...sizes.result], input!.dtype, input!.device);
    const { places, groups, rows: allRows } = sizes;
    const [outputs, rows] = [sizes.outputs / groups, allRows / groups];
    forEachRun(sizes, (first, count) => {
      using columns = columnsOf(whole, first, count, attributes, sizes);
      for (let group = 0; group < groups; group++) {
        result.device.gemm({ of: result, offset: (first * sizes.outputs + group * outputs) * places, rowStride: places, columnStride: 1, batchStride: sizes.outputs * places },
          { of: weights, offset: weights.offset + group * outputs * rows, rowStride: rows, columnStride: 1, batchStride: 0 },
          { of: columns, offset: group * rows * places, rowStride: places, columnStride: 1, batchStride: allRows * places }, { batches: count, rows: outputs, columns: places, depth: rows });
      }
    });
    if (bias !== undefined) {
      using addend = viewOf(bias, [sizes.outputs, 1, 1], [bias.strides[0]!, 0, 0]);
      result.device.map('add', result, result, addend);
    }
    context.save(input!, weights);
    return result;
  },
  backward({ saved: [input, weights], inputs, wants }, gradient, attributes) {
    const upper = denseOf(gradient);
    const sizes = sizesOf('conv2d', input!, weights!.shape[0]!, attributes);
    const results = [
      wants[0] ? inputGradient(upper, weights!, input!.shape, attributes, sizes) : null,
      wants[1] ? convolutionWeightGradient(upper, input!, inputs[1]!, attributes, sizes) : null,
      ...(inputs.length > 2 ? [wants[2] ? reduced('sum', upper, [0, 2, 3]) : null] : []),
    ];
    if (upper !== gradient) upper.dispose();
    return results;
  },
};

/** Columns of gradients, each of which is added to the numbers that its window saw. */
function inputGradient(upper: Tensor, weights: Tensor, shape: Shape, attributes: Convolution, sizes: Sizes): Tensor {
  const { window } = attributes;
  const { places, groups, rows: allRows } = sizes;
  const [outputs, rows] = [sizes.outputs / groups, allRows / groups];
  using whole = filled([shape[0]!, shape[1]!, shape[2]! + 2 * window.padding[0], shape[3]! + 2 * window.padding[1]], 0, upper.dtype, upper.device);
  forEachRun(sizes, (first, count) => {
    using columns = empty([count, sizes.channels, ...window.kernel, ...sizes.result], upper.dtype, upper.device);
    for (let group = 0; group < groups; group++) {
      upper.device.gemm({ of: columns, offset: group * rows * places, rowStride: places, columnStride: 1, batchStride: allRows * places },
        { of: weights, offset: weights.offset + group * outputs * rows, rowStride: 1, columnStride: rows, batchStride: 0 },
        { of: upper, offset: upper.offset + (first * sizes.outputs + group * outputs) * places, rowStride: places, columnStride: 1, batchStride: sizes.outputs * places },
        { batches: count, rows, columns: places, depth: outputs });
    }
    using examples = viewOf(whole, [count, ...whole.shape.slice(1)], whole.strides, first * whole.strides[0]!);
    forEachPlace(window, (row, column) => {
      using target = place(examples, row, column, window, sizes.result);
      using source = viewOf(columns, target.shape, [columns.strides[0]!, columns.strides[1]!, columns.strides[4]!, 1], row * columns.strides[2]! + column * columns.strides[3]!);
      target.device.map('add', target, target, source);
    });
  });
  return unpadded(whole, shape, window.padding);
}

/** Summed over examples in f32. */
function convolutionWeightGradient(upper: Tensor, input: Tensor, weight: { readonly shape: Shape; readonly dtype: Tensor['dtype'] }, attributes: Convolution, sizes: Sizes): Tensor {
  const { places, groups, rows: allRows } = sizes;
  const [outputs, rows] = [sizes.outputs / groups, allRows / groups];
  using whole = padded(input, attributes.window.padding, 0);
  const sums = filled(weight.shape, 0, 'f32', upper.device);
  forEachRun(sizes, (first, count) => {
    using columns = columnsOf(whole, first, count, attributes, sizes);
    for (let example = 0; example < count; example++) {
      for (let group = 0; group < groups; group++) {
        upper.device.gemm({ of: sums, offset: group * outputs * rows, rowStride: rows, columnStride: 1, batchStride: 0 },
          { of: upper, offset: upper.offset + ((first + example) * sizes.outputs + group * outputs) * places, rowStride: places, columnStride: 1, batchStride: 0 },
          { of: columns, offset: (example * allRows + group * rows) * places, rowStride: 1, columnStride: places, batchStride: 0 },
          { batches: 1, rows: outputs, columns: rows, depth: places, beta: 1 });
      }
    }
  });
  if (weight.dtype === 'f32') return sums;
  using own = sums;
  return copyOf(own, weight.dtype);
}

function checkConvolution(input: Tensor, weight: Tensor, bias: Tensor | undefined, groups: number): void {
  const all = bias === undefined ? [input, weight] : [input, weight, bias];
  if (input.rank !== 4 || weight.rank !== 4) throw tensorError('conv2d', all, 'the input must be [examples, channels, height, width], the weight [outputs, channels / groups, height, width]');
  if (!isFloating(input.dtype) || all.some(({ dtype }) => dtype !== input.dtype)) throw tensorError('conv2d', all, 'all must be of one floating dtype: convert with to()');
  const divides = Number.isInteger(groups) && groups >= 1 && weight.shape[0]! % groups === 0;
  if (!divides || input.shape[1] !== weight.shape[1]! * groups) throw tensorError('conv2d', all, `with ${groups} groups, the input must have ${weight.shape[1]! * groups} channels, and the outputs be a multiple of the groups`);
  if (bias !== undefined && (bias.rank !== 1 || bias.shape[0] !== weight.shape[0])) throw tensorError('conv2d', all, `the bias must be [${weight.shape[0]}], the weight's outputs`);
}

export interface ConvolutionOptions {
  readonly bias?: Tensor | null;
  readonly stride?: Pair;
  readonly padding?: Pair;
  readonly dilation?: Pair;
  readonly groups?: number;
}

/** A convolution (as everywhere in the field: a correlation). The weight is [outputs, channels / groups, height, width]. */
export function conv2d(input: Tensor, weight: Tensor, { bias = null, stride = 1, padding = 0, dilation = 1, groups = 1 }: ConvolutionOptions = {}): Tensor {
  const kernel = [weight.shape[2] ?? 1, weight.shape[3] ?? 1] as const;
  const window = { kernel, stride: pairOf('a stride of', stride, 1), padding: pairOf('a padding of', padding, 0), dilation: pairOf('a dilation of', dilation, 1) };
  return apply(CONV2D, bias === null ? [input, weight] : [input, weight, bias], { window, groups });
}

function forEachPlace({ kernel }: Window, body: (row: number, column: number) => void): void {
  for (let row = 0; row < kernel[0]; row++) for (let column = 0; column < kernel[1]; column++) body(row, column);
}

const MAX_POOL: Operation<Window> = {
  name: 'maxPool2d',
  forward(context, [input], window) {
    const size = resultSize('maxPool2d', input!, window);
    const whole = padded(input!, window.padding, -Infinity);
    const result = filled([...input!.shape.slice(0, 2), ...size], -Infinity, input!.dtype, input!.device);
    forEachPlace(window, (row, column) => {
      using numbers = place(whole, row, column, window, size);
      result.device.map('maximum', result, result, numbers);
    });
    context.save(result);
    context.saveOwn(whole);
    return result;
  },
  /** The first of several that are equally large has the gradient, as in PyTorch: what is given away is taken out. */
  backward({ saved: [result, whole], inputs: [input] }, gradient, window) {
    using sums = filled(whole!.shape, 0, gradient.dtype, gradient.device);
    using left = copyOf(gradient);
    using zero = numberTensor(0);
    const size = [result!.shape[2]!, result!.shape[3]!] as const;
    forEachPlace(window, (row, column) => {
      using numbers = place(whole!, row, column, window, size);
      using target = place(sums, row, column, window, size);
      using isLargest = mapped('equal', result!.shape, 'bool', numbers, result!);
      using part = mapped('where', result!.shape, gradient.dtype, isLargest, left, zero);
      target.device.map('add', target, target, part);
      left.device.map('where', left, isLargest, zero, left);
    });
    return [unpadded(sums, input!.shape, window.padding)];
  },
};

const AVERAGE_POOL: Operation<Window> = {
  name: 'avgPool2d',
  forward(_, [input], window) {
    const size = resultSize('avgPool2d', input!, window);
    using whole = padded(input!, window.padding, 0);
    const result = filled([...input!.shape.slice(0, 2), ...size], 0, input!.dtype, input!.device);
    using share = numberTensor(1 / (window.kernel[0] * window.kernel[1]));
    forEachPlace(window, (row, column) => {
      using numbers = place(whole, row, column, window, size);
      result.device.map('multiplyAdd', result, numbers, share, result);
    });
    return result;
  },
  backward({ inputs: [input] }, gradient, window) {
    const { shape } = input!;
    using sums = filled([shape[0]!, shape[1]!, shape[2]! + 2 * window.padding[0], shape[3]! + 2 * window.padding[1]], 0, gradient.dtype, gradient.device);
    using share = numberTensor(1 / (window.kernel[0] * window.kernel[1]));
    forEachPlace(window, (row, column) => {
      using target = place(sums, row, column, window, [gradient.shape[2]!, gradient.shape[3]!]);
      target.device.map('multiplyAdd', target, gradient, share, target);
    });
    return [unpadded(sums, shape, window.padding)];
  },
};

export interface PoolOptions {
  /** The kernel's size, unless told otherwise. */
  readonly stride?: Pair;
  /** At most half of the kernel's size. */
  readonly padding?: Pair;
}

function pool(operation: Operation<Window>, input: Tensor, kernelSize: Pair, { stride = kernelSize, padding = 0 }: PoolOptions): Tensor {
  if (input.rank !== 4 || !isFloating(input.dtype)) throw tensorError(operation.name, [input], 'it takes floating point [examples, channels, height, width]');
  const kernel = pairOf('a window of', kernelSize, 1);
  const margin = pairOf('a padding of', padding, 0);
  if (margin.some((each, side) => each > kernel[side]! / 2)) throw tensorError(operation.name, [input, `a window of ${kernel.join(' x ')} and a padding of ${margin.join(' x ')}`], 'the padding must be at most half of the window');
  return apply(operation, [input], { kernel, stride: pairOf('a stride of', stride, 1), padding: margin, dilation: [1, 1] });
}

/** The largest number of each window. */
export function maxPool2d(input: Tensor, kernelSize: Pair, options: PoolOptions = {}): Tensor {
  return pool(MAX_POOL, input, kernelSize, options);
}

/** The mean of each window, its margin of zeros included. */
export function avgPool2d(input: Tensor, kernelSize: Pair, options: PoolOptions = {}): Tensor {
  return pool(AVERAGE_POOL, input, kernelSize, options);
}
