/**
 * The kernels of mixed-precision training on the CPU, as the addon offers them: typed arrays in, no copies. include/muster/ says what each computes.
 *
 * Every call is there twice: on this thread, and as `...Async` on a thread of libuv's pool. Until a promise settles, the call's arrays must be
 * neither changed nor transferred. `threads` is how many threads share the work, 256 at most; without it, one for each core. Before they change anything, calls
 * throw a TypeError for what has a wrong type or is detached, and a RangeError with the code ERR_OUT_OF_RANGE for lengths that do not fit, numbers outside
 * their range and arrays that overlap where one is written; `...Async` throws the TypeErrors at once, and rejects with the others. Empty arrays are fine.
 */
export { kernels } from './index.js';

/** Numbers of one of the dtypes that kernels know: f32, IEEE f16, bfloat16, or the OCP's FP8 formats. */
export type Tensor =
  | { readonly dtype: 'f32'; readonly data: Float32Array }
  | { readonly dtype: 'f16' | 'bf16'; readonly data: Uint16Array }
  | { readonly dtype: 'f8e4m3' | 'f8e5m2'; readonly data: Uint8Array };

/** What gradients come in. */
export type TrainingTensor = Extract<Tensor, { readonly dtype: 'f32' | 'f16' | 'bf16' }>;

/** 16 bits a number. */
export type HalfTensor = Extract<Tensor, { readonly dtype: 'f16' | 'bf16' }>;

/** What {@link Kernels.sgd} changes: all of it but the gradient. All have one length. */
export interface SgdParameter {
  readonly weights: Float32Array;
  readonly gradient: TrainingTensor;
  /** Null where the momentum is 0. */
  readonly momentum: Float32Array | null;
  /** Gets the weights, rounded; null: none is kept. */
  readonly copy: HalfTensor | null;
}

export interface SgdOptions {
  readonly learningRate: number;
  readonly momentum: number;
  readonly dampening: number;
  readonly weightDecay: number;
  /** Multiplies each gradient as it is read: 1 / loss scale, times the clipping factor. 1 for neither. */
  readonly gradientFactor: number;
  /** Needs a momentum, and no dampening. */
  readonly nesterov: boolean;
  /** The first step fills the momentum with the gradient, undampened. */
  readonly firstStep: boolean;
}

/** What {@link Kernels.adam} changes: all of it but the gradient. All have one length; moments are zeros before the first step. */
export interface AdamParameter {
  readonly weights: Float32Array;
  readonly gradient: TrainingTensor;
  readonly firstMoment: Float32Array;
  readonly secondMoment: Float32Array;
  /** Gets the weights, rounded; null: none is kept. */
  readonly copy: HalfTensor | null;
}

export interface AdamOptions {
  readonly learningRate: number;
  /** Both below 1. */
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Multiplies each gradient as it is read: 1 / loss scale, times the clipping factor. 1 for neither. */
  readonly gradientFactor: number;
  /** The number of this step, from 1 on. */
  readonly step: number;
  /** True is AdamW: the weights decay by themselves. False is Adam: the decay is added to the gradient. */
  readonly decoupled: boolean;
}

/** Element (row, column) of matrix b is number b * batchStride + row * rowStride + column * columnStride. Swapped strides transpose; a stride of 0 repeats. */
export interface Matrices {
  readonly tensor: TrainingTensor;
  readonly rowStride: number;
  readonly columnStride: number;
  readonly batchStride: number;
}

/** result = activation(alpha * left * right + beta * result + bias), for each of `batches` matrices. */
export interface GemmCall {
  readonly batches: number;
  /** Of `left` and of the result. */
  readonly rows: number;
  /** Of `right` and of the result. */
  readonly columns: number;
  /** Columns of `left`, rows of `right`. */
  readonly depth: number;
  readonly left: Matrices;
  /** Of left's dtype. */
  readonly right: Matrices;
  /** f32 or left's dtype; columnStride 1. */
  readonly result: Matrices;
  readonly alpha: number;
  /** 0: the old result is not read. */
  readonly beta: number;
  /** A number for each column, or null. */
  readonly bias: Float32Array | null;
  readonly activation: 'identity' | 'relu' | 'gelu-erf' | 'gelu-tanh' | 'silu';
}

/** How a window moves over an image, along one side. There are floor((size + 2 * padding + overhang - dilation * (kernel - 1) - 1) / stride) + 1 positions. */
export interface Window {
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  /** Distance between the window's numbers; 1: neighbours. */
  readonly dilation: number;
  /** As padding, more of it at the end: for sizes that are rounded up, or kept with a window of even size. Means never count it. */
  readonly overhang: number;
}

/** Images lie batch by channel by row by column (NCHW), each in one piece. */
export interface Images {
  readonly batches: number;
  readonly channels: number;
  readonly rows: number;
  readonly columns: number;
  readonly vertical: Window;
  readonly horizontal: Window;
}

export interface ConvolutionShape {
  readonly images: Images;
  readonly resultChannels: number;
  /** Divides both numbers of channels. */
  readonly groups: number;
}

export interface ConvolveCall {
  readonly shape: ConvolutionShape;
  readonly input: TrainingTensor;
  /** Of the input's dtype: resultChannels x (channels / groups) x kernel rows x kernel columns. */
  readonly weight: TrainingTensor;
  /** A number for each result channel, or null. */
  readonly bias: Float32Array | null;
  /** Of the input's dtype. */
  readonly result: TrainingTensor;
}

export interface ConvolveBackwardInputCall {
  readonly shape: ConvolutionShape;
  /** Of the result. */
  readonly gradient: TrainingTensor;
  readonly weight: TrainingTensor;
  readonly inputGradient: TrainingTensor;
}

/** What is written is added to. */
export interface ConvolveBackwardWeightCall {
  readonly shape: ConvolutionShape;
  readonly input: TrainingTensor;
  /** Of the result. */
  readonly gradient: TrainingTensor;
  readonly weightGradient: Float32Array;
  readonly biasGradient: Float32Array | null;
}

/** The mean is over the window's numbers inside the image, or, padded, over all of them. */
export type Pooling = 'largest' | 'mean' | 'mean-padded';

export interface PoolCall {
  readonly images: Images;
  readonly pooling: Pooling;
  readonly input: TrainingTensor;
  readonly result: TrainingTensor;
  /** Of 'largest': gets for each result where in its image (row * columns + column) the number was found. Null for means. */
  readonly places: Int32Array | null;
}

export interface PoolBackwardCall {
  readonly images: Images;
  readonly pooling: Pooling;
  /** Of the result. */
  readonly gradient: TrainingTensor;
  readonly places: Int32Array | null;
  readonly inputGradient: TrainingTensor;
}

/** Number i of vector `row` of head h of batch b is number b * batchStride + h * headStride + row * rowStride + i. */
export interface Heads {
  readonly tensor: TrainingTensor;
  readonly batchStride: number;
  readonly headStride: number;
  readonly rowStride: number;
}

export interface AttentionShape {
  readonly batches: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  /** Numbers in each vector. */
  readonly width: number;
  /** Of the products of queries and keys: 1 / sqrt(width) as a rule. */
  readonly scale: number;
  /** Query i sees the keys up to i + keys - queries. */
  readonly causal: boolean;
}

/** result = softmax(scale * query * key^T) * value for each head; all of one dtype. */
export interface AttentionCall {
  readonly shape: AttentionShape;
  readonly query: Heads;
  readonly key: Heads;
  readonly value: Heads;
  readonly result: Heads;
  /** Gets, for each batch, head and query, what the backward pass reads. */
  readonly logSums: Float32Array;
}

export interface AttentionBackwardCall extends AttentionCall {
  /** Of the result. */
  readonly gradient: Heads;
  readonly queryGradient: Heads;
  readonly keyGradient: Heads;
  readonly valueGradient: Heads;
}

export interface Kernels {
  /** The instructions in use. */
  readonly level: 'scalar' | 'neon' | 'avx2' | 'avx512' | 'avx512-bf16';

  /** Converts to the target's dtype; one of the two is f32. Rounds to nearest, ties to even; too large is infinite, or 448 in E4M3. */
  convert(source: Tensor, target: Tensor, threads?: number): void;
  convertAsync(source: Tensor, target: Tensor, threads?: number): Promise<void>;

  /** Multiplies gradients by float(1 / scale). @returns whether one of them was infinite or NaN. */
  unscale(gradients: readonly TrainingTensor[], scale: number, threads?: number): boolean;
  unscaleAsync(gradients: readonly TrainingTensor[], scale: number, threads?: number): Promise<boolean>;

  /** @returns the L2 norm of all gradients taken as one vector. */
  gradientNorm(gradients: readonly TrainingTensor[], threads?: number): number;
  gradientNormAsync(gradients: readonly TrainingTensor[], threads?: number): Promise<number>;

  /** Multiplies all gradients by normMax / (norm + 1e-6) unless that is 1 or more, as PyTorch's clip_grad_norm_. @returns the norm before. */
  clipGradients(gradients: readonly TrainingTensor[], normMax: number, threads?: number): number;
  clipGradientsAsync(gradients: readonly TrainingTensor[], normMax: number, threads?: number): Promise<number>;

  /** One step of torch.optim.SGD. */
  sgd(parameters: readonly SgdParameter[], options: SgdOptions, threads?: number): void;
  sgdAsync(parameters: readonly SgdParameter[], options: SgdOptions, threads?: number): Promise<void>;

  /** One step of torch.optim.AdamW or Adam, without amsgrad. */
  adam(parameters: readonly AdamParameter[], options: AdamOptions, threads?: number): void;
  adamAsync(parameters: readonly AdamParameter[], options: AdamOptions, threads?: number): Promise<void>;

  gemm(call: GemmCall, threads?: number): void;
  gemmAsync(call: GemmCall, threads?: number): Promise<void>;

  /** torch.nn.functional.conv2d. */
  convolve(call: ConvolveCall, threads?: number): void;
  convolveAsync(call: ConvolveCall, threads?: number): Promise<void>;
  convolveBackwardInput(call: ConvolveBackwardInputCall, threads?: number): void;
  convolveBackwardInputAsync(call: ConvolveBackwardInputCall, threads?: number): Promise<void>;
  convolveBackwardWeight(call: ConvolveBackwardWeightCall, threads?: number): void;
  convolveBackwardWeightAsync(call: ConvolveBackwardWeightCall, threads?: number): Promise<void>;

  /** The largest number or the mean of each window. Wherever a window lies it holds a number of its image. */
  pool(call: PoolCall, threads?: number): void;
  poolAsync(call: PoolCall, threads?: number): Promise<void>;
  poolBackward(call: PoolBackwardCall, threads?: number): void;
  poolBackwardAsync(call: PoolBackwardCall, threads?: number): Promise<void>;

  /** torch.nn.functional.scaled_dot_product_attention. */
  attention(call: AttentionCall, threads?: number): void;
  attentionAsync(call: AttentionCall, threads?: number): Promise<void>;
  attentionBackward(call: AttentionBackwardCall, threads?: number): void;
  attentionBackwardAsync(call: AttentionBackwardCall, threads?: number): Promise<void>;
}
