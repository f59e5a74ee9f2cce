/** Layer, group and batch normalisation. Statistics, weights and arithmetic are f32, whatever the input. */
import { apply, type Operation } from '../autograd/graph.js';
import { isFloating } from '../dtype.js';
import { ones, zeros } from '../factories.js';
import { tensorError } from '../failure.js';
import { isSameShape, sizeOf, type Shape } from '../shape.js';
import { copyOf, denseOf, empty, filled, numberTensor, viewOf, type Tensor } from '../tensor.js';
import { add, mul, to } from './arithmetic.js';
import { mapped, reduced, reshapedDense, saveDense } from './raw.js';
import { reshape } from './views.js';

/** PyTorch's. */
const EPSILON = 1e-5;

interface LayerNorm {
  readonly epsilon: number;
  readonly columns: number;
}

const LAYER_NORM: Operation<LayerNorm> = {
  name: 'layerNorm',
  forward(context, [input, weight, bias], { epsilon, columns }) {
    const [from, weights, biases] = [denseOf(input!), denseOf(weight!, 'f32'), denseOf(bias!, 'f32')];
    const result = empty(input!.shape, input!.dtype, input!.device);
    const rows = columns === 0 ? 0 : input!.size / columns;
    const [mean, scale] = [empty([rows], 'f32', input!.device), empty([rows], 'f32', input!.device)];
    if (rows > 0) result.device.layerNorm(result, { mean, scale }, { input: from, weight: weights, bias: biases, columns, epsilon });
    saveDense(context, from, input!);
    saveDense(context, weights, weight!);
    context.saveOwn(mean, scale);
    if (biases !== bias) biases.dispose();
    return result;
  },
  backward({ saved: [input, weights, mean, scale], inputs: [, weight, bias] }, gradient, { columns }) {
    const upper = denseOf(gradient);
    const inputGradient = empty(input!.shape, input!.dtype, gradient.device);
    const weightGradient = filled([columns], 0, 'f32', gradient.device);
    const biasGradient = filled([columns], 0, 'f32', gradient.device);
    if (mean!.size > 0) {
      gradient.device.layerNormBackward({ input: inputGradient, weight: weightGradient, bias: biasGradient }, { mean: mean!, scale: scale! }, { input: input!, weight: weights!, gradient: upper, columns });
    }
    if (upper !== gradient) upper.dispose();
    return [inputGradient, parameterGradient(weightGradient, weight!), parameterGradient(biasGradient, bias!)];
  },
};

/** f32 sums as the gradient of a parameter, of its shape and dtype. */
function parameterGradient(sums: Tensor, parameter: { readonly shape: Shape; readonly dtype: Tensor['dtype'] }): Tensor {
  using own = parameter.dtype === 'f32' ? sums : copyOf(sums, parameter.dtype);
  if (own !== sums) sums.dispose();
  return reshapedDense(own, parameter.shape);
}

export interface LayerNormOptions {
  /** Of the normalised shape; without it, ones. */
  readonly weight?: Tensor | null;
  /** Of the normalised shape; without it, zeros. */
  readonly bias?: Tensor | null;
  readonly epsilon?: number;
}

/** Normalises over the last dimensions, which must be `shape`. */
export function layerNorm(input: Tensor, shape: Shape, { weight = null, bias = null, epsilon = EPSILON }: LayerNormOptions = {}): Tensor {
  const parameters = [weight, bias].filter((parameter) => parameter !== null);
  if (!isFloating(input.dtype)) throw tensorError('layerNorm', [input], 'it takes floating point: convert with to()');
  if (shape.length === 0 || !isSameShape(input.shape.slice(-shape.length), shape)) throw tensorError('layerNorm', [input, `[${shape.join(', ')}]`], 'the input must end with the normalised shape');
  for (const parameter of parameters) if (!isSameShape(parameter.shape, shape)) throw tensorError('layerNorm', [input, parameter], `weight and bias must have the normalised shape [${shape.join(', ')}]`);
  return apply(LAYER_NORM, [input, weight ?? ones(shape, { device: input.device.name }), bias ?? zeros(shape, { device: input.device.name })], { epsilon, columns: sizeOf(shape) });
}

/** A parameter for each channel, the second dimension, as it broadcasts with an input. */
function perChannel(parameter: Tensor, rank: number): Tensor {
  return reshape(parameter, parameter.size, ...new Array<number>(rank - 2).fill(1));
}

function checkChannels(name: string, input: Tensor, parameters: readonly (Tensor | null)[]): void {
  if (input.rank < 2 || !isFloating(input.dtype)) throw tensorError(name, [input], 'it takes floating point with a batch and channels');
  for (const parameter of parameters) {
    if (parameter !== null && (parameter.rank !== 1 || parameter.size !== input.shape[1])) throw tensorError(name, [input, parameter], `it takes a number for each of the ${input.shape[1]} channels`);
  }
}

/** Normalises groups of channels of each example. */
export function groupNorm(input: Tensor, groups: number, { weight = null, bias = null, epsilon = EPSILON }: LayerNormOptions = {}): Tensor {
  checkChannels('groupNorm', input, [weight, bias]);
  const [examples, channels] = input.shape as [number, number];
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) throw tensorError('groupNorm', [input], `${channels} channels are not ${groups} groups of equal size`);
  const columns = input.size / Math.max(1, examples * groups);
  const rows = reshape(weight === null && bias === null ? input : to(input, 'f32'), examples * groups, columns);
  const normal = reshape(layerNorm(rows, [columns], { epsilon }), ...input.shape);
  const scaled = weight === null ? normal : mul(normal, perChannel(weight, input.rank));
  return to(bias === null ? scaled : add(scaled, perChannel(bias, input.rank)), input.dtype);
}

interface BatchNorm {
  readonly epsilon: number;
  /** Null: statistics are the batch's. */
  readonly running: BatchStatistics | null;
  /** Gets the batch's statistics. */
  readonly seen: BatchStatistics | null;
}

/** For each channel, f32. */
export interface BatchStatistics {
  readonly mean: Tensor;
  /** With a correction of 0. */
  readonly variance: Tensor;
}

const otherDimensions = (rank: number): number[] => Array.from({ length: rank }, (_, dimension) => dimension).filter((dimension) => dimension !== 1);

/** A number for each channel, seen so that it broadcasts with tensors of a rank. */
function channels(parameter: Tensor, rank: number): Tensor {
  return viewOf(parameter, [parameter.size, ...new Array<number>(rank - 2).fill(1)], [parameter.strides[0]!, ...new Array<number>(rank - 2).fill(0)]);
}

function batchStatistics(input: Tensor): BatchStatistics {
  const count = input.size / input.shape[1]!;
  const mean = reduced('sum', input, otherDimensions(input.rank), { dtype: 'f32', factor: 1 / count });
  using means = channels(mean, input.rank);
  using deviations = mapped('subtract', input.shape, 'f32', input, means);
  return { mean, variance: reduced('squares', deviations, otherDimensions(input.rank), { factor: 1 / count }) };
}

/** 1 / sqrt(variance + epsilon) */
function scaleOf(variance: Tensor, epsilon: number): Tensor {
  using add = numberTensor(epsilon);
  using one = numberTensor(1);
  const scale = mapped('add', variance.shape, 'f32', variance, add);
  scale.device.map('squareRoot', scale, scale);
  scale.device.map('divide', scale, one, scale);
  return scale;
}

const BATCH_NORM: Operation<BatchNorm> = {
  name: 'batchNorm',
  forward(context, [input, weight, bias], { epsilon, running, seen }) {
    const { mean, variance } = running ?? batchStatistics(input!);
    if (seen !== null) {
      seen.mean.device.map('copy', seen.mean, mean);
      seen.variance.device.map('copy', seen.variance, variance);
    }
    const scale = scaleOf(variance, epsilon);
    using factor = mapped('multiply', scale.shape, 'f32', scale, weight!);
    using shift = mapped('multiply', scale.shape, 'f32', mean, factor);
    shift.device.map('subtract', shift, bias!, shift);
    using factors = channels(factor, input!.rank);
    using shifts = channels(shift, input!.rank);
    const result = mapped('multiplyAdd', input!.shape, input!.dtype, input!, factors, shifts);
    context.save(input!, weight!);
    if (running === null) {
      variance.dispose();
      context.saveOwn(mean, scale);
    } else {
      context.save(mean);
      context.saveOwn(scale);
    }
    return result;
  },
  backward({ saved: [input, weight, mean, scale], inputs, wants }, gradient, { running }) {
    const rank = input!.rank;
    const count = input!.size / input!.shape[1]!;
    using means = channels(mean!, rank);
    using scales = channels(scale!, rank);
    using normal = mapped('subtract', input!.shape, 'f32', input!, means);
    normal.device.map('multiply', normal, normal, scales);
    using products = mapped('multiply', input!.shape, 'f32', normal, gradient);
    const weightGradient = reduced('sum', products, otherDimensions(rank));
    const biasGradient = reduced('sum', gradient, otherDimensions(rank), { dtype: 'f32' });
    const inputGradient = wants[0] ? batchInputGradient() : null;
    return [inputGradient, parameterGradient(weightGradient, inputs[1]!), parameterGradient(biasGradient, inputs[2]!)];

    /** factor * (gradient - mean of it - normal * mean of normal * gradient); with running statistics the means do not depend on the input. */
    function batchInputGradient(): Tensor {
      using factor = mapped('multiply', scale!.shape, 'f32', scale!, weight!);
      using factors = channels(factor, rank);
      if (running !== null) return mapped('multiply', input!.shape, input!.dtype, gradient, factors);
      using share = numberTensor(-1 / count);
      using meanProduct = mapped('multiply', weightGradient.shape, 'f32', weightGradient, share);
      using meanGradient = mapped('multiply', biasGradient.shape, 'f32', biasGradient, share);
      using meanProducts = channels(meanProduct, rank);
      using meanGradients = channels(meanGradient, rank);
      normal.device.map('multiplyAdd', normal, normal, meanProducts, meanGradients);
      normal.device.map('add', normal, normal, gradient);
      return mapped('multiply', input!.shape, input!.dtype, normal, factors);
    }
  },
};

export interface BatchNormOptions extends LayerNormOptions {
  /** Normalise with these; null: with the batch's own. */
  readonly running?: BatchStatistics | null;
  /** Gets the batch's own. */
  readonly seen?: BatchStatistics | null;
}

/** Normalises each channel, the second dimension, over all others. Without `running`, over two numbers at least. */
export function batchNorm(input: Tensor, { weight = null, bias = null, epsilon = EPSILON, running = null, seen = null }: BatchNormOptions = {}): Tensor {
  checkChannels('batchNorm', input, [weight, bias, running?.mean ?? null, running?.variance ?? null]);
  const channelCount = input.shape[1]!;
  if (running === null && input.size <= channelCount) throw tensorError('batchNorm', [input], 'a channel must have more than one number, or there is nothing to normalise');
  return apply(BATCH_NORM, [input, weight ?? ones([channelCount], { device: input.device.name }), bias ?? zeros([channelCount], { device: input.device.name })], { epsilon, running, seen });
}
