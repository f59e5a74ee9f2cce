/** Convolution and pooling of images [examples, channels, height, width], or of one image without the first. */
import { apply, type Operation } from '../autograd/graph.js';
import type { ConvolutionShape, Images, Pooling } from '../device/device.js';
import { isFloating } from '../dtype.js';
import { invalid, tensorError } from '../failure.js';
import { copyOf, denseOf, empty, filled, type Tensor } from '../tensor.js';
import { maximum } from './arithmetic.js';
import { cat } from './indexing.js';
import { pad } from './padding.js';
import { reduced, saveDense } from './raw.js';
import { mean } from './reductions.js';
import { slice, squeeze, unsqueeze } from './views.js';

/** Both directions, or height and width. */
export type Pair = number | readonly [height: number, width: number];

interface Window {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly dilation: readonly [number, number];
  /** What is added at the end beyond the padding. */
  readonly overhang: readonly [number, number];
}

/** `body` of images; of one image, in a batch of its own. */
function inBatch(images: Tensor, body: (images: Tensor) => Tensor): Tensor {
  return images.rank === 3 ? squeeze(body(unsqueeze(images, 0)), 0) : body(images);
}

function pairOf(name: string, value: Pair, least: number): readonly [number, number] {
  const pair = typeof value === 'number' ? [value, value] as const : value;
  if (pair.length !== 2 || !pair.every((each) => Number.isInteger(each) && each >= least)) throw invalid(`${name} ${String(value)}`, `a whole number from ${least} on, or two`);
  return pair;
}

/** Height and width of the result. */
function resultSize(name: string, input: Tensor, { kernel, stride, padding, dilation, overhang }: Window): readonly [number, number] {
  const size = ([0, 1] as const).map((side) => Math.floor((input.shape[2 + side]! + 2 * padding[side] + overhang[side] - dilation[side] * (kernel[side] - 1) - 1) / stride[side]) + 1);
  if (size.some((extent) => extent < 1)) throw tensorError(name, [input, `a window of ${kernel.join(' x ')}`], 'the window must fit into the padded input');
  return size as unknown as readonly [number, number];
}

function imagesOf(shape: readonly number[], { kernel, stride, padding, dilation, overhang }: Window): Images {
  const [batches, channels, rows, columns] = shape as readonly [number, number, number, number];
  const side = (index: 0 | 1) => ({ kernel: kernel[index], stride: stride[index], padding: padding[index], dilation: dilation[index], overhang: overhang[index] });
  return { batches, channels, rows, columns, vertical: side(0), horizontal: side(1) };
}

interface Convolution {
  readonly window: Window;
  readonly groups: number;
}

const convolutionShape = (input: readonly number[], weight: readonly number[], { window, groups }: Convolution): ConvolutionShape =>
  ({ images: imagesOf(input, window), resultChannels: weight[0]!, groups });

const CONV2D: Operation<Convolution> = {
  name: 'conv2d',
  autocast: 'lower',
  forward(context, [input, weight, bias], attributes) {
    checkConvolution(input!, weight!, bias, attributes.groups);
    const [images, weights] = [denseOf(input!), denseOf(weight!)];
    const result = empty([input!.shape[0]!, weight!.shape[0]!, ...resultSize('conv2d', input!, attributes.window)], input!.dtype, input!.device);
    const addend = bias === undefined ? null : denseOf(bias, 'f32');
    result.device.convolve(convolutionShape(input!.shape, weight!.shape, attributes), { input: images, weight: weights, bias: addend, result });
    saveDense(context, images, input!);
    saveDense(context, weights, weight!);
    if (addend !== null && addend !== bias) addend.dispose();
    return result;
  },
  backward({ saved: [images, weights], inputs: [, weight, bias], wants }, gradient, attributes) {
    const upper = denseOf(gradient);
    const shape = convolutionShape(images!.shape, weights!.shape, attributes);
    const results: (Tensor | null)[] = [null, null];
    if (wants[0]) {
      results[0] = empty(images!.shape, images!.dtype, gradient.device);
      gradient.device.convolveBackwardInput(shape, { gradient: upper, weight: weights!, inputGradient: results[0] });
    }
    if (wants[1]) {
      const sums = filled(weight!.shape, 0, 'f32', gradient.device);
      gradient.device.convolveBackwardWeight(shape, { input: images!, gradient: upper, weightGradient: sums });
      results[1] = weight!.dtype === 'f32' ? sums : copyOf(sums, weight!.dtype);
      if (results[1] !== sums) sums.dispose();
    }
    if (bias !== undefined) results.push(wants[2] ? reduced('sum', upper, [0, 2, 3]) : null);
    if (upper !== gradient) upper.dispose();
    return results;
  },
};

function checkConvolution(input: Tensor, weight: Tensor, bias: Tensor | undefined, groups: number): void {
  const all = bias === undefined ? [input, weight] : [input, weight, bias];
  if (input.rank !== 4 || weight.rank !== 4) throw tensorError('conv2d', all, 'the input must be [examples, channels, height, width], the weight [outputs, channels / groups, height, width]');
  if (!isFloating(input.dtype) || all.some(({ dtype }) => dtype !== input.dtype)) throw tensorError('conv2d', all, 'all must be of one floating dtype: convert with to()');
  const divides = Number.isInteger(groups) && groups >= 1 && weight.shape[0]! % groups === 0;
  if (!divides || input.shape[1] !== weight.shape[1]! * groups) throw tensorError('conv2d', all, `with ${groups} groups, the input must have ${weight.shape[1]! * groups} channels, and the outputs be a multiple of the groups`);
  if (bias !== undefined && (bias.rank !== 1 || bias.shape[0] !== weight.shape[0])) throw tensorError('conv2d', all, `the bias must be [${weight.shape[0]}], the weight's outputs`);
}

export interface WindowOptions {
  readonly stride?: Pair;
  /** Zeros around the images: so many at each end, 'valid' for none, or 'same' for as many as keep their size, which takes strides of 1. Of an odd number one more is at the end. */
  readonly padding?: Pair | 'same' | 'valid';
  readonly dilation?: Pair;
}

export interface ConvolutionOptions extends WindowOptions {
  readonly bias?: Tensor | null;
  readonly groups?: number;
}

/** How a kernel moves over images. @throws MusterError INVALID_ARGUMENT */
export function convolutionWindow(kernel: readonly [number, number], { stride = 1, padding = 0, dilation = 1 }: WindowOptions): Window {
  const [steps, distances] = [pairOf('a stride of', stride, 1), pairOf('a dilation of', dilation, 1)];
  const window = { kernel, stride: steps, dilation: distances };
  if (padding !== 'same') return { ...window, padding: padding === 'valid' ? [0, 0] : pairOf('a padding of', padding, 0), overhang: [0, 0] };
  if (steps.some((step) => step !== 1)) throw invalid(`a padding 'same' with strides of ${steps.join(' x ')}`, 'with strides of 1: others do not keep the size');
  const [vertical, horizontal] = kernel.map((extent, side) => distances[side]! * (extent - 1)) as [number, number];
  return { ...window, padding: [Math.floor(vertical / 2), Math.floor(horizontal / 2)], overhang: [vertical % 2, horizontal % 2] };
}

/** A convolution (as everywhere in the field: a correlation). The weight is [outputs, channels / groups, height, width]. */
export function conv2d(input: Tensor, weight: Tensor, { bias = null, groups = 1, ...options }: ConvolutionOptions = {}): Tensor {
  const window = convolutionWindow([weight.shape[2] ?? 1, weight.shape[3] ?? 1], options);
  return inBatch(input, (images) => apply(CONV2D, bias === null ? [images, weight] : [images, weight, bias], { window, groups }));
}

interface Pool {
  readonly window: Window;
  readonly pooling: Pooling;
}

function poolOperation(name: string): Operation<Pool> {
  return {
    name,
    forward(context, [input], { window, pooling }) {
      const images = denseOf(input!);
      const result = empty([...input!.shape.slice(0, 2), ...resultSize(name, input!, window)], input!.dtype, input!.device);
      const places = pooling === 'largest' ? empty(result.shape, 'i32', input!.device) : null;
      result.device.pool(imagesOf(input!.shape, window), pooling, { input: images, result, places });
      if (images !== input) images.dispose();
      if (places !== null) context.saveOwn(places);
      return result;
    },
    backward({ saved: [places], inputs: [input] }, gradient, { window, pooling }) {
      const upper = denseOf(gradient);
      const inputGradient = empty(input!.shape, input!.dtype, gradient.device);
      gradient.device.poolBackward(imagesOf(input!.shape, window), pooling, { gradient: upper, places: places ?? null, inputGradient });
      if (upper !== gradient) upper.dispose();
      return [inputGradient];
    },
  };
}

const MAX_POOL = poolOperation('maxPool2d');
const AVERAGE_POOL = poolOperation('avgPool2d');

export interface PoolOptions {
  /** The kernel's size, unless told otherwise. */
  readonly stride?: Pair;
  /** At most half of the kernel's size. */
  readonly padding?: Pair;
  /** Whether a window may reach beyond the end, where it would be left out; one that starts there is. */
  readonly ceilMode?: boolean;
}

export interface MaxPoolOptions extends PoolOptions {
  readonly dilation?: Pair;
}

export interface AveragePoolOptions extends PoolOptions {
  /** Whether the zeros of the margin count; they do, unless told otherwise. */
  readonly countIncludePad?: boolean;
}

function checkImages(name: string, input: Tensor): void {
  if (input.rank !== 4 || !isFloating(input.dtype)) throw tensorError(name, [input], 'it takes floating point [examples, channels, height, width], or one image [channels, height, width]');
}

function poolWindow(name: string, input: Tensor, kernelSize: Pair, { stride = kernelSize, padding = 0, dilation = 1, ceilMode = false }: MaxPoolOptions): Window {
  const kernel = pairOf('a window of', kernelSize, 1);
  const [steps, margin, distances] = [pairOf('a stride of', stride, 1), pairOf('a padding of', padding, 0), pairOf('a dilation of', dilation, 1)];
  if (margin.some((each, side) => each > kernel[side]! / 2)) throw tensorError(name, [input, `a window of ${kernel.join(' x ')} and a padding of ${margin.join(' x ')}`], 'the padding must be at most half of the window');
  const overhang = kernel.map((extent, side) => (ceilMode ? overhangOf({ size: input.shape[2 + side]!, reach: distances[side]! * (extent - 1) + 1, stride: steps[side]!, padding: margin[side]! }) : 0)) as [number, number];
  return { kernel, stride: steps, padding: margin, dilation: distances, overhang };
}

/** How far the last window reaches beyond the padding. It starts before that. Source: PyTorch's pooling_output_shape. */
function overhangOf({ size, reach, stride, padding }: { readonly size: number; readonly reach: number; readonly stride: number; readonly padding: number }): number {
  const last = Math.ceil((size + 2 * padding - reach) / stride);
  const starts = (last * stride >= size + padding ? last - 1 : last) * stride;
  return Math.max(0, starts + reach - size - 2 * padding);
}

/** Less than every integer of the dtype, or as little. */
const LEAST = { i32: -(2 ** 31), i64: -(2 ** 63) } as const;

/** The same of integers: a tensor for each place of the window. */
function integerMaxPool(input: Tensor, window: Window): Tensor {
  const value = LEAST[input.dtype as keyof typeof LEAST];
  const [[top, left], [below, right]] = [window.padding, window.overhang];
  const padded = pad(input, [left, left + right, top, top + below], { value });
  const size = resultSize('maxPool2d', input, window);
  const along = (image: Tensor, side: 0 | 1, place: number): Tensor => {
    const start = place * window.dilation[side];
    return slice(image, 2 + side, start, start + (size[side] - 1) * window.stride[side] + 1, window.stride[side]);
  };
  const places = Array.from({ length: window.kernel[0] * window.kernel[1] }, (_, place) => along(along(padded, 0, Math.floor(place / window.kernel[1])), 1, place % window.kernel[1]));
  return places.reduce(maximum);
}

/** The largest number of each window; of equal ones the first has the gradient. Of integers, too. */
export function maxPool2d(input: Tensor, kernelSize: Pair, options: MaxPoolOptions = {}): Tensor {
  const isInteger = input.dtype === 'i32' || input.dtype === 'i64';
  return inBatch(input, (images) => {
    if (!isInteger || images.rank !== 4) checkImages('maxPool2d', images);
    const window = poolWindow('maxPool2d', images, kernelSize, options);
    return isInteger ? integerMaxPool(images, window) : apply(MAX_POOL, [images], { window, pooling: 'largest' });
  });
}

/** The mean of each window. */
export function avgPool2d(input: Tensor, kernelSize: Pair, { countIncludePad = true, ...options }: AveragePoolOptions = {}): Tensor {
  return inBatch(input, (images) => {
    checkImages('avgPool2d', images);
    return apply(AVERAGE_POOL, [images], { window: poolWindow('avgPool2d', images, kernelSize, options), pooling: countIncludePad ? 'mean-padded' : 'mean' });
  });
}

/** The mean of windows that are cut so that there are as many as wanted; where they cannot be equally large they overlap, as in PyTorch. */
export function adaptiveAvgPool2d(input: Tensor, outputSize: Pair): Tensor {
  const size = pairOf('an output of', outputSize, 1);
  return inBatch(input, (whole) => {
    checkImages('adaptiveAvgPool2d', whole);
    if (whole.shape.slice(2).includes(0)) throw tensorError('adaptiveAvgPool2d', [input], 'of images of nothing there are no means');
    if (size.every((each) => each === 1)) return mean(whole, [2, 3], { keepDimensions: true });  // which says in ONNX what it is for images of any size
    if (size.every((each, side) => whole.shape[2 + side]! % each === 0)) return avgPool2d(whole, [whole.shape[2]! / size[0], whole.shape[3]! / size[1]]);
    return [2, 3].reduce((images, dimension) => {
      const [extent, count] = [images.shape[dimension]!, size[dimension - 2]!];
      const windows = Array.from({ length: count }, (_, index) => {
        const [start, end] = [Math.floor((index * extent) / count), Math.ceil(((index + 1) * extent) / count)];
        return mean(slice(images, dimension, start, end), dimension, { keepDimensions: true });
      });
      return cat(windows, dimension);
    }, whole);
  });
}
