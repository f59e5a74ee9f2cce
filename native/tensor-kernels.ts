/**
 * The kernels as an array library calls them, many times a millisecond: a call's numbers lie in one Float64Array, which the caller reuses, and its memories
 * are typed arrays, written and read in place. include/muster/{strided,gemm,layers}.h say what each computes.
 *
 * Calls run on this thread and on the kernels' own. The first number is how many threads share the work; 0 is one for each core. "dtype" is a number of
 * {@link DTYPE_NUMBERS}, offsets and strides are elements. Before it changes anything a call throws a TypeError for memories of a wrong type or detached, and
 * a RangeError with the code ERR_OUT_OF_RANGE for what does not fit or lies outside its memory.
 */

/** The dtypes of tensors, and their numbers: those of muster_dtype. u8 is a truth value. */
export const DTYPE_NUMBERS = { f32: 0, f16: 1, bf16: 2, i64: 6, i32: 7, u8: 8 } as const;

/** f16 and bf16 lie in a Uint16Array. */
export type TensorMemory = Float32Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array;

/** The numbers of muster_map_operation, which says what each does. */
export const MAPS = {
  copy: 0, negate: 1, absolute: 2, exponential: 3, logarithm: 4, squareRoot: 5, tanh: 6, sigmoid: 7, add: 8, subtract: 9, multiply: 10, divide: 11, power: 12,
  maximum: 13, minimum: 14, equal: 15, notEqual: 16, less: 17, lessEqual: 18, tanhBackward: 19, sigmoidBackward: 20, where: 21, multiplyAdd: 22,
} as const;

/** The numbers of muster_reduce_operation. */
export const REDUCTIONS = { sum: 0, squares: 1, largest: 2, smallest: 3, argLargest: 4 } as const;

/** The numbers of muster_activation. */
export const ACTIVATIONS = { identity: 0, relu: 1, geluErf: 2, geluTanh: 3, silu: 4 } as const;

/** The numbers of muster_random_kind. */
export const RANDOM_KINDS = { uniform: 0, normal: 1, bernoulli: 2, bits: 3 } as const;

/** What the numbers of each call are stands before it; `[...]` is repeated for each memory, in the order of the arguments. */
export interface TensorKernels {
  /** threads, map, rank, shape; [dtype, offset, strides] */
  map(numbers: Float64Array, result: TensorMemory, first: TensorMemory, second: TensorMemory | null, third: TensorMemory | null): void;
  /** threads, reduction, factor, rank, kept, shape; [dtype, offset, strides], of the result as many as are kept */
  reduce(numbers: Float64Array, result: TensorMemory, input: TensorMemory): void;
  /** threads, shape (3), extent; [dtype, offset, strides (3)] */
  gather(numbers: Float64Array, indexed: TensorMemory, index: TensorMemory, picked: TensorMemory): void;
  /** As {@link gather}. */
  scatterAdd(numbers: Float64Array, indexed: TensorMemory, index: TensorMemory, picked: TensorMemory): void;
  /** threads, kind, lower and upper 32 bits of the seed, counter, first, second, count; dtype, offset */
  random(numbers: Float64Array, result: TensorMemory): void;
  /** threads, activation, alpha, beta, batches, rows, columns, depth; [dtype, offset, rowStride, columnStride, batchStride], of the bias dtype and offset */
  gemm(numbers: Float64Array, result: TensorMemory, left: TensorMemory, right: TensorMemory, bias: TensorMemory | null): void;
  /** threads, activation, elements; [dtype, offset] */
  activate(numbers: Float64Array, result: TensorMemory, input: TensorMemory): void;
  activateBackward(numbers: Float64Array, result: TensorMemory, input: TensorMemory, gradient: TensorMemory): void;
  /** threads, columns, elements; [dtype, offset] */
  softmax(numbers: Float64Array, result: TensorMemory, input: TensorMemory): void;
  softmaxBackward(numbers: Float64Array, result: TensorMemory, output: TensorMemory, gradient: TensorMemory): void;
  /** threads, epsilon, columns, rows; [dtype, offset] */
  layerNorm(numbers: Float64Array, result: TensorMemory, mean: TensorMemory, scale: TensorMemory, input: TensorMemory, weight: TensorMemory, bias: TensorMemory): void;
  /** threads, columns, rows; [dtype, offset] */
  layerNormBackward(numbers: Float64Array, inputGradient: TensorMemory, weightGradient: TensorMemory, biasGradient: TensorMemory,
    input: TensorMemory, weight: TensorMemory, mean: TensorMemory, scale: TensorMemory, gradient: TensorMemory): void;
  /** threads, gradientScale, columns, rows; [dtype, offset] */
  crossEntropy(numbers: Float64Array, losses: TensorMemory, gradient: TensorMemory | null, logits: TensorMemory, targets: TensorMemory): void;
  /** threads, columns, rows of the table, tokens; [dtype, offset] */
  embedding(numbers: Float64Array, result: TensorMemory, table: TensorMemory, tokens: TensorMemory): void;
  embeddingBackward(numbers: Float64Array, tableGradient: TensorMemory, gradient: TensorMemory, tokens: TensorMemory): void;
}
