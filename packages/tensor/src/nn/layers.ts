/** The layers, with PyTorch's names, defaults and initial weights. */
import { checkNames, invalid, tensorError } from '../failure.js';
import { noGrad } from '../autograd/graph.js';
import { dropout } from '../operations/activations.js';
import { add, mul } from '../operations/arithmetic.js';
import { adaptiveAvgPool2d, avgPool2d, conv2d, convolutionWindow, maxPool2d, type AveragePoolOptions, type MaxPoolOptions, type Pair, type WindowOptions } from '../operations/convolution.js';
import { embedding } from '../operations/indexing.js';
import { batchNorm, groupNorm, layerNorm } from '../operations/normalization.js';
import { pad, type PaddingMode } from '../operations/padding.js';
import { linear } from '../operations/products.js';
import { flatten } from '../operations/views.js';
import { tidy } from '../scope.js';
import { filled, type Tensor } from '../tensor.js';
import { buffer, constantParameter, linearParameters, normalParameter } from './initialization.js';
import { Module } from './module.js';

function checkCounts(layer: string, counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) if (!Number.isInteger(count) || count < 1) throw invalid(`${name} ${count} of ${layer}`, 'a whole number from 1 on');
}

export class Linear extends Module {
  /** [outputs, inputs] */
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(inputs: number, outputs: number, { bias = true, ...others }: { readonly bias?: boolean } = {}) {
    super();
    checkCounts('Linear', { inputs, outputs });
    checkNames('Linear', others, ['bias']);
    ({ weight: this.weight, bias: this.bias } = linearParameters([outputs, inputs], bias));
  }

  forward(input: Tensor): Tensor {
    return linear(input, this.weight, this.bias);
  }
}

export interface ConvolutionLayerOptions extends WindowOptions {
  readonly bias?: boolean;
  readonly groups?: number;
  /** What the padding holds: zeros unless told otherwise; see {@link pad} for the others. */
  readonly paddingMode?: 'zeros' | Exclude<PaddingMode, 'constant'>;
}

const PADDING_MODES: readonly string[] = ['zeros', 'reflect', 'replicate', 'circular'];

export class Conv2d extends Module {
  /** [outputs, inputs / groups, height, width] */
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly #options: WindowOptions & { readonly groups: number };
  /** Of what is no zeros, the margins that {@link pad} takes. */
  readonly #margins: { readonly mode: PaddingMode; readonly sizes: readonly number[] } | null;

  constructor(inputs: number, outputs: number, kernelSize: Pair, { bias = true, groups = 1, paddingMode = 'zeros', stride = 1, padding = 0, dilation = 1, ...others }: ConvolutionLayerOptions = {}) {
    super();
    checkNames('Conv2d', others, ['stride', 'padding', 'dilation', 'groups', 'bias', 'paddingMode']);
    const [height, width] = typeof kernelSize === 'number' ? [kernelSize, kernelSize] : kernelSize;
    checkCounts('Conv2d', { inputs, outputs, height, width, groups });
    if (inputs % groups !== 0 || outputs % groups !== 0) throw invalid(`${groups} groups of ${inputs} inputs and ${outputs} outputs`, 'a divisor of both');
    if (!PADDING_MODES.includes(paddingMode)) throw invalid(`a padding mode '${String(paddingMode)}'`, `'${PADDING_MODES.join("', '")}'`);
    const { padding: [top, left], overhang: [below, right] } = convolutionWindow([height, width], { stride, padding, dilation });
    ({ weight: this.weight, bias: this.bias } = linearParameters([outputs, inputs / groups, height, width], bias));
    this.#margins = paddingMode === 'zeros' ? null : { mode: paddingMode, sizes: [left, left + right, top, top + below] };
    this.#options = { stride, padding: this.#margins === null ? padding : 0, dilation, groups };
  }

  forward(input: Tensor): Tensor {
    const images = this.#margins === null ? input : pad(input, this.#margins.sizes, { mode: this.#margins.mode });
    return conv2d(images, this.weight, { ...this.#options, bias: this.bias });
  }
}

/** A vector for each token. That of the padding begins as zeros, and stays so. */
export class Embedding extends Module {
  /** [tokens, width] */
  readonly weight: Tensor;
  readonly #paddingIndex: number | null;

  constructor(tokens: number, width: number, { paddingIndex = null, ...others }: { readonly paddingIndex?: number | null } = {}) {
    super();
    checkCounts('Embedding', { tokens, width });
    checkNames('Embedding', others, ['paddingIndex']);
    this.#paddingIndex = paddingIndex;
    this.weight = normalParameter([tokens, width], 1);
    if (paddingIndex !== null) (this.weight.memory() as Float32Array).fill(0, paddingIndex * width, (paddingIndex + 1) * width);
  }

  forward(tokens: Tensor): Tensor {
    return embedding(this.weight, tokens, { paddingIndex: this.#paddingIndex });
  }
}

export interface NormOptions {
  readonly epsilon?: number;
  /** Whether it has a weight and a bias. */
  readonly affine?: boolean;
}

export class LayerNorm extends Module {
  readonly weight: Tensor | null;
  readonly bias: Tensor | null;
  readonly #shape: readonly number[];
  readonly #epsilon: number;

  /** @param shape the last dimensions, over which it normalises */
  constructor(shape: number | readonly number[], { epsilon = 1e-5, affine = true, bias = true, ...others }: NormOptions & { readonly bias?: boolean } = {}) {
    super();
    checkNames('LayerNorm', others, ['epsilon', 'affine', 'bias']);
    this.#shape = typeof shape === 'number' ? [shape] : shape;
    if (this.#shape.length === 0) throw invalid('LayerNorm over no dimensions', 'over one or more');
    for (const size of this.#shape) checkCounts('LayerNorm', { size });
    this.#epsilon = epsilon;
    this.weight = affine ? constantParameter(this.#shape, 1) : null;
    this.bias = affine && bias ? constantParameter(this.#shape, 0) : null;
  }

  forward(input: Tensor): Tensor {
    return layerNorm(input, this.#shape, { weight: this.weight, bias: this.bias, epsilon: this.#epsilon });
  }
}

export class GroupNorm extends Module {
  readonly weight: Tensor | null;
  readonly bias: Tensor | null;
  readonly #groups: number;
  readonly #epsilon: number;

  constructor(groups: number, channels: number, { epsilon = 1e-5, affine = true, ...others }: NormOptions = {}) {
    super();
    checkCounts('GroupNorm', { groups, channels });
    checkNames('GroupNorm', others, ['epsilon', 'affine']);
    if (channels % groups !== 0) throw invalid(`${groups} groups of ${channels} channels`, 'a divisor');
    this.#groups = groups;
    this.#epsilon = epsilon;
    this.weight = affine ? constantParameter([channels], 1) : null;
    this.bias = affine ? constantParameter([channels], 0) : null;
  }

  forward(input: Tensor): Tensor {
    return groupNorm(input, this.#groups, { weight: this.weight, bias: this.bias, epsilon: this.#epsilon });
  }
}

/** Normalises by the batch in training, and by what it learned of batches in use. */
abstract class BatchNorm extends Module {
  readonly weight: Tensor | null;
  readonly bias: Tensor | null;
  readonly runningMean: Tensor;
  /** With a correction of 1, as PyTorch keeps it. */
  readonly runningVar: Tensor;
  readonly numBatchesTracked: Tensor;
  readonly #epsilon: number;
  readonly #momentum: number;

  constructor(channels: number, { epsilon = 1e-5, affine = true, momentum = 0.1, ...others }: NormOptions & { readonly momentum?: number } = {}) {
    super();
    checkCounts(this.constructor.name, { channels });
    checkNames(this.constructor.name, others, ['epsilon', 'affine', 'momentum']);
    this.#epsilon = epsilon;
    this.#momentum = momentum;
    this.weight = affine ? constantParameter([channels], 1) : null;
    this.bias = affine ? constantParameter([channels], 0) : null;
    this.runningMean = buffer([channels], 0);
    this.runningVar = buffer([channels], 1);
    this.numBatchesTracked = buffer([], 0, 'i64');
  }

  /** Throws for what has another rank. */
  protected abstract checkRank(input: Tensor): void;

  forward(input: Tensor): Tensor {
    this.checkRank(input);
    const options = { weight: this.weight, bias: this.bias, epsilon: this.#epsilon };
    if (!this.training) return batchNorm(input, { ...options, running: { mean: this.runningMean, variance: this.runningVar } });
    const seen = { mean: filled(this.runningMean.shape, 0, 'f32', input.device), variance: filled(this.runningVar.shape, 0, 'f32', input.device) };
    const result = batchNorm(input, { ...options, seen });
    this.#learn(seen, input.size / this.runningMean.size);
    return result;
  }

  #learn(seen: { readonly mean: Tensor; readonly variance: Tensor }, count: number): void {
    noGrad(() => tidy(() => {
      const move = (running: Tensor, batch: Tensor, factor: number): void => {
        running.device.map('copy', running, add(mul(running, 1 - this.#momentum), mul(batch, this.#momentum * factor)));
        running.storage.version++;
      };
      move(this.runningMean, seen.mean, 1);
      move(this.runningVar, seen.variance, count / (count - 1));
      this.numBatchesTracked.device.map('copy', this.numBatchesTracked, add(this.numBatchesTracked, 1));
    }));
  }
}

/** Of [examples, channels] or [examples, channels, length]. */
export class BatchNorm1d extends BatchNorm {
  protected checkRank(input: Tensor): void {
    if (input.rank !== 2 && input.rank !== 3) throw tensorError('BatchNorm1d', [input], 'it takes [examples, channels] or [examples, channels, length]');
  }
}

/** Of images [examples, channels, height, width]. */
export class BatchNorm2d extends BatchNorm {
  protected checkRank(input: Tensor): void {
    if (input.rank !== 4) throw tensorError('BatchNorm2d', [input], 'it takes [examples, channels, height, width]');
  }
}

export class Dropout extends Module {
  readonly #probability: number;

  constructor(probability = 0.5) {
    super();
    if (!(probability >= 0 && probability <= 1)) throw invalid(`a dropout probability of ${probability}`, 'from 0 to 1');
    this.#probability = probability;
  }

  forward(input: Tensor): Tensor {
    return dropout(input, { probability: this.#probability, training: this.training });
  }
}

/** Windows of an image, each of which becomes one number. */
abstract class Pool2d<Options extends object> extends Module {
  protected readonly kernelSize: Pair;
  protected readonly options: Options;

  constructor(kernelSize: Pair, options: Options, ...names: readonly string[]) {
    super();
    checkNames(this.constructor.name, options, names);
    this.kernelSize = kernelSize;
    this.options = options;
  }
}

export class MaxPool2d extends Pool2d<MaxPoolOptions> {
  constructor(kernelSize: Pair, options: MaxPoolOptions = {}) {
    super(kernelSize, options, 'stride', 'padding', 'ceilMode', 'dilation');
  }

  forward(input: Tensor): Tensor {
    return maxPool2d(input, this.kernelSize, this.options);
  }
}

export class AvgPool2d extends Pool2d<AveragePoolOptions> {
  constructor(kernelSize: Pair, options: AveragePoolOptions = {}) {
    super(kernelSize, options, 'stride', 'padding', 'ceilMode', 'countIncludePad');
  }

  forward(input: Tensor): Tensor {
    return avgPool2d(input, this.kernelSize, this.options);
  }
}

/** Windows that are cut so that each image becomes one of `outputSize`. */
export class AdaptiveAvgPool2d extends Module {
  readonly #outputSize: Pair;

  constructor(outputSize: Pair) {
    super();
    this.#outputSize = outputSize;
  }

  forward(input: Tensor): Tensor {
    return adaptiveAvgPool2d(input, this.#outputSize);
  }
}

/** All dimensions but the first as one. */
export class Flatten extends Module {
  forward(input: Tensor): Tensor {
    return flatten(input, 1);
  }
}
