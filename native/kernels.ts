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
}
