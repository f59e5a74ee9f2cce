/**
 * What a device does for tensors: memory, and the kernels that every operation is made of. A kernel writes into memory that its caller allocated and checked;
 * it knows of no gradient. The CPU's is cpu.ts; another device implements the same.
 */
import type { ACTIVATIONS, MAPS, RANDOM_KINDS, REDUCTIONS, TensorMemory } from '@muster/native';
import type { Dtype } from '../dtype.js';
import type { Shape } from '../shape.js';

/** Memory of one dtype, shared by a tensor and its views. */
export interface Storage {
  readonly device: Device;
  readonly dtype: Dtype;
  /** The elements, while there are any references. On devices whose memory Node cannot see: a stand-in. */
  memory: TensorMemory;
  /** How many tensors use it; without any, its memory is somebody else's. */
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

/** "Dense": elements one behind the other. Unless a kernel says otherwise its tensors are dense and floating point of one dtype. */
export interface Device {
  readonly name: string;
  /** Memory that holds anything. @throws OutOfMemoryError */
  allocate(dtype: Dtype, size: number): Storage;
  /** Called when the last reference is gone. */
  release(storage: Storage): void;

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
  /** Tokens are i32, rows have the result's dtype. */
  embedding(result: Strided, table: Strided, tokens: Strided): void;
  /** Adds to the table's gradient, f32. */
  embeddingBackward(tableGradient: Strided, gradient: Strided, tokens: Strided): void;
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
