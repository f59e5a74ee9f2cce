/**
 * What a device does for tensors: memory, and the kernels that every operation is made of. A kernel writes into memory that its caller allocated and checked;
 * it knows of no gradient. cpu.ts and cuda.ts are the devices; nothing outside them touches memory. What returns nothing may still be under way when it returns: a device does what it is
 * told in order.
 */
import type { ACTIVATIONS, AttentionShape, ConvolutionShape, Images, MAPS, Pooling, RANDOM_KINDS, REDUCTIONS, TensorMemory } from '@muster/native';
import type { CudaArray } from '@muster/native/cuda';
import type { Dtype } from '../dtype.js';
import type { Shape } from '../shape.js';

/** Memory of one dtype, shared by a tensor and its views. */
export interface Storage {
  readonly device: Device;
  readonly dtype: Dtype;
  /** The elements, while there are any references; the CPU's alone. @throws TensorError where Node cannot see them */
  readonly memory: TensorMemory;
  /** How many tensors use it; below 0, its memory is somebody else's. */
  references: number;
  /** Grows when it is written to in place: what was saved for a backward pass must not have changed. */
  version: number;
}

/** Elements of a storage, in some shape. Every Tensor is one. */
export interface Strided {
  readonly storage: Storage;
  readonly dtype: Dtype;
  readonly shape: Shape;
  readonly strides: Shape;
  readonly offset: number;
  readonly size: number;
}

export type { AttentionShape, ConvolutionShape, Images, Pooling };

export type MapName = keyof typeof MAPS;
export type ReductionName = keyof typeof REDUCTIONS;
export type ActivationName = keyof typeof ACTIVATIONS;
export type RandomKind = keyof typeof RANDOM_KINDS;

/** Matrices [batch][row][column] in a storage. */
export interface MatrixBatch {
  readonly of: Strided;
  readonly offset: number;
  readonly rowStride: number;
  readonly columnStride: number;
  readonly batchStride: number;
}

/** result = left * right + bias */
export interface GemmOptions {
  readonly batches: number;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Unless it is 1, what the products are multiplied by. */
  readonly alpha?: number;
  /** 1: the products are added to the result. */
  readonly beta?: 0 | 1;
  /** f32, dense, a number for each column. */
  readonly bias?: Strided | null;
}

/** Three dimensions, the middle one of which is indexed. Strides of the whole. */
export interface IndexedView {
  readonly of: Strided;
  readonly strides: Shape;
}

export interface RandomOptions {
  readonly kind: RandomKind;
  /** Lower and upper 32 bits. */
  readonly seed: readonly [number, number];
  readonly counter: number;
  readonly first: number;
  readonly second: number;
}

/** 'cuda' is the first GPU. */
export type DeviceName = 'cpu' | 'cuda' | `cuda:${number}`;

/** "Dense": elements one behind the other. Unless a kernel says otherwise its tensors are dense and floating point of one dtype. */
export interface Device {
  /** 'cpu', 'cuda:0' */
  readonly name: DeviceName;
  /** Memory that holds anything. @throws OutOfMemoryError */
  allocate(dtype: Dtype, size: number): Storage;
  /** Called when the last reference is gone. */
  release(storage: Storage): void;
  /** The elements on the host: where they lie, or a copy, for which it waits. */
  read(tensor: Strided): TensorMemory;
  /** Copies from the host: as many elements as the tensor has. */
  write(tensor: Strided, source: TensorMemory): void;
  /** The elements where they lie, of a dense tensor: for collectives. */
  elements(tensor: Strided): TensorMemory | CudaArray;
  /** One number for all. */
  fill(tensor: Strided, value: number): void;

  /** Number by number, of any strides and dtypes; inputs of smaller shapes are repeated. */
  map(map: MapName, result: Strided, first: Strided, second?: Strided, third?: Strided): void;
  /** `input`'s first `kept` dimensions are the result's, the others are reduced. Of any strides. */
  reduce(reduction: ReductionName, result: Strided, input: Strided, options: { readonly kept: number; readonly factor?: number }): void;
  /** picked[i, j, k] = indexed[i, index[i, j, k], k], for all of `shape`. */
  gather(shape: Shape, extent: number, views: { readonly indexed: IndexedView; readonly index: IndexedView; readonly picked: IndexedView }): void;
  /** indexed[i, index[i, j, k], k] += picked[i, j, k], in f32. */
  scatterAdd(shape: Shape, extent: number, views: { readonly indexed: IndexedView; readonly index: IndexedView; readonly picked: IndexedView }): void;
  random(result: Strided, options: RandomOptions): void;
  gemm(result: MatrixBatch, left: MatrixBatch, right: MatrixBatch, options: GemmOptions): void;
  activate(activation: ActivationName, result: Strided, input: Strided): void;
  activateBackward(activation: ActivationName, result: Strided, input: Strided, gradient: Strided): void;
  /** Rows of `columns`. */
  softmax(result: Strided, input: Strided, columns: number): void;
  softmaxBackward(result: Strided, output: Strided, gradient: Strided, columns: number): void;
  /** Weight, bias, mean and scale are f32. */
  layerNorm(result: Strided, statistics: NormStatistics, call: NormCall & { readonly bias: Strided; readonly epsilon: number }): void;
  /** Adds to the gradients of weight and bias. */
  layerNormBackward(gradients: NormGradients, statistics: NormStatistics, call: NormCall & { readonly gradient: Strided }): void;
  /** Targets are i32; -1 does not count. `gradient` may be null: not wanted. */
  crossEntropy(losses: Strided, gradient: Strided | null, call: { readonly logits: Strided; readonly targets: Strided; readonly columns: number; readonly gradientScale: number }): void;
  /** The bias is f32, or null. */
  convolve(shape: ConvolutionShape, call: { readonly input: Strided; readonly weight: Strided; readonly bias: Strided | null; readonly result: Strided }): void;
  convolveBackwardInput(shape: ConvolutionShape, call: { readonly gradient: Strided; readonly weight: Strided; readonly inputGradient: Strided }): void;
  /** Adds to the weight's gradient, f32. */
  convolveBackwardWeight(shape: ConvolutionShape, call: { readonly input: Strided; readonly gradient: Strided; readonly weightGradient: Strided }): void;
  /** Places are i32, of the largest alone. */
  pool(images: Images, pooling: Pooling, call: { readonly input: Strided; readonly result: Strided; readonly places: Strided | null }): void;
  poolBackward(images: Images, pooling: Pooling, call: { readonly gradient: Strided; readonly places: Strided | null; readonly inputGradient: Strided }): void;
  /** Tensors are [batches, heads, places, width] of any strides, but for vectors that lie in a row; log sums are f32. */
  attention(shape: AttentionShape, tensors: AttentionTensors): void;
  attentionBackward(shape: AttentionShape, tensors: AttentionTensors, gradients: { readonly result: Strided; readonly query: Strided; readonly key: Strided; readonly value: Strided }): void;
  /** Tokens are i32, rows have the result's dtype. */
  embedding(result: Strided, table: Strided, tokens: Strided): void;
  /** Adds to the table's gradient, f32. */
  embeddingBackward(tableGradient: Strided, gradient: Strided, tokens: Strided): void;

  /** Multiplies gradients of any floating dtypes by 1 / scale. @returns whether one was infinite or NaN, for which it waits */
  unscale(gradients: readonly Strided[], scale: number): boolean;
  /** The length of all gradients taken as one vector, for which it waits. */
  gradientNorm(gradients: readonly Strided[]): number;
  /** Has that length be `normMax` at most. @returns what it was, for which it waits */
  clipGradients(gradients: readonly Strided[], normMax: number): number;
  /** One step of torch.optim.SGD. */
  sgd(parameters: readonly SgdTensors[], options: SgdCall): void;
  /** One step of torch.optim.Adam or AdamW. */
  adam(parameters: readonly AdamTensors[], options: AdamCall): void;
}

/** What an optimizer steps: f32 weights, from gradients of any floating dtype, and a copy of 16 bits that gets their rounding. */
export interface SteppedTensors {
  readonly weights: Strided;
  readonly gradient: Strided;
  readonly copy: Strided | null;
}

/** Null: there is no momentum. */
export interface SgdTensors extends SteppedTensors {
  readonly momentum: Strided | null;
}

export interface AdamTensors extends SteppedTensors {
  readonly firstMoment: Strided;
  readonly secondMoment: Strided;
}

export interface SgdCall {
  readonly learningRate: number;
  readonly momentum: number;
  readonly dampening: number;
  readonly weightDecay: number;
  readonly nesterov: boolean;
  /** The first step fills the momentum with the gradient. */
  readonly isFirstStep: boolean;
}

export interface AdamCall {
  readonly learningRate: number;
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly weightDecay: number;
  /** From 1 on. */
  readonly step: number;
  /** Whether weights decay by themselves. */
  readonly isDecoupled: boolean;
}

export interface AttentionTensors {
  readonly query: Strided;
  readonly key: Strided;
  readonly value: Strided;
  readonly result: Strided;
  /** Written by the forward pass, and read by the backward pass. */
  readonly logSums: Strided;
}

/** A number for each row, f32. */
export interface NormStatistics {
  readonly mean: Strided;
  readonly scale: Strided;
}

export interface NormCall {
  readonly input: Strided;
  readonly weight: Strided;
  readonly columns: number;
}

export interface NormGradients {
  readonly input: Strided;
  readonly weight: Strided;
  readonly bias: Strided;
}
