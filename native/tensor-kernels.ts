/**
 * The kernels as an array library calls them, many times a millisecond: a call's numbers lie in one Float64Array, which the caller reuses, and its memories
 * are typed arrays, written and read in place; on a GPU (cuda.ts) they are its buffers. include/muster/ says what each computes.
 *
 * Calls run on this thread and on the kernels' own. The first number is how many threads share the work; 0 is one for each core, and a GPU does not look at it. "dtype" is a number of
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

/** The numbers of muster_pooling. */
export const POOLINGS = { largest: 0, mean: 1, 'mean-padded': 2 } as const;

/** The numbers of muster_random_kind. */
export const RANDOM_KINDS = { uniform: 0, normal: 1, bernoulli: 2, bits: 3 } as const;

/** What the numbers of each call are stands before it; `[...]` is repeated for each memory, in the order of the arguments. */
export interface TensorKernels<Memory = TensorMemory> {
  /** threads, map, rank, shape; [dtype, offset, strides] */
  map(numbers: Float64Array, result: Memory, first: Memory, second: Memory | null, third: Memory | null): void;
  /** threads, reduction, factor, rank, kept, shape; [dtype, offset, strides], of the result as many as are kept */
  reduce(numbers: Float64Array, result: Memory, input: Memory): void;
  /** threads, shape (3), extent; [dtype, offset, strides (3)] */
  gather(numbers: Float64Array, indexed: Memory, index: Memory, picked: Memory): void;
  /** As {@link gather}. */
  scatterAdd(numbers: Float64Array, indexed: Memory, index: Memory, picked: Memory): void;
  /** threads, kind, lower and upper 32 bits of the seed, counter, first, second, count; dtype, offset */
  random(numbers: Float64Array, result: Memory): void;
  /** threads, activation, alpha, beta, batches, rows, columns, depth; [dtype, offset, rowStride, columnStride, batchStride], of the bias dtype and offset */
  gemm(numbers: Float64Array, result: Memory, left: Memory, right: Memory, bias: Memory | null): void;
  /** threads, activation, elements; [dtype, offset] */
  activate(numbers: Float64Array, result: Memory, input: Memory): void;
  activateBackward(numbers: Float64Array, result: Memory, input: Memory, gradient: Memory): void;
  /** threads, columns, elements; [dtype, offset] */
  softmax(numbers: Float64Array, result: Memory, input: Memory): void;
  softmaxBackward(numbers: Float64Array, result: Memory, output: Memory, gradient: Memory): void;
  /** threads, epsilon, columns, rows; [dtype, offset] */
  layerNorm(numbers: Float64Array, result: Memory, mean: Memory, scale: Memory, input: Memory, weight: Memory, bias: Memory): void;
  /** threads, columns, rows; [dtype, offset] */
  layerNormBackward(numbers: Float64Array, inputGradient: Memory, weightGradient: Memory, biasGradient: Memory,
    input: Memory, weight: Memory, mean: Memory, scale: Memory, gradient: Memory): void;
  /** threads, gradientScale, columns, rows; [dtype, offset] */
  crossEntropy(numbers: Float64Array, losses: Memory, gradient: Memory | null, logits: Memory, targets: Memory): void;
  /** threads, columns, rows of the table, tokens; [dtype, offset] */
  embedding(numbers: Float64Array, result: Memory, table: Memory, tokens: Memory): void;
  embeddingBackward(numbers: Float64Array, tableGradient: Memory, gradient: Memory, tokens: Memory): void;

  /**
   * threads, images (below), resultChannels, groups; [dtype, offset, elements]. Images are batches, channels, rows and columns, then kernel, stride, padding, dilation and overhang of the window
   * down and of the window across.
   */
  convolve(numbers: Float64Array, result: Memory, input: Memory, weight: Memory, bias: Memory | null): void;
  convolveBackwardInput(numbers: Float64Array, inputGradient: Memory, gradient: Memory, weight: Memory): void;
  /** Adds. */
  convolveBackwardWeight(numbers: Float64Array, weightGradient: Memory, biasGradient: Memory | null, input: Memory, gradient: Memory): void;
  /** threads, pooling, images; [dtype, offset, elements], of the places dtype and offset */
  pool(numbers: Float64Array, result: Memory, input: Memory, places: Memory | null): void;
  poolBackward(numbers: Float64Array, inputGradient: Memory, gradient: Memory, places: Memory | null): void;
  /** threads, batches, heads, queries, keys, width, scale, causal; [dtype, offset, strides of batches, heads and rows], of the log sums dtype, offset, elements */
  attention(numbers: Float64Array, result: Memory, logSums: Memory, query: Memory, key: Memory, value: Memory): void;
  attentionBackward(numbers: Float64Array, queryGradient: Memory, keyGradient: Memory, valueGradient: Memory,
    result: Memory, logSums: Memory, query: Memory, key: Memory, value: Memory, gradient: Memory): void;

  /** threads, scale; [dtype, offset, elements]. @returns 1 where a gradient was infinite or NaN, else 0 */
  unscale(numbers: Float64Array, gradients: readonly Memory[]): number;
  /** threads; [dtype, offset, elements] */
  gradientNorm(numbers: Float64Array, gradients: readonly Memory[]): number;
  /** threads, normMax; [dtype, offset, elements]. @returns the norm before */
  clipGradients(numbers: Float64Array, gradients: readonly Memory[]): number;
  /** threads, learning rate, momentum, dampening, weight decay, Nesterov, first step; [dtype, offset, elements]. Of each parameter weights, gradient, momentum or null, copy or null. */
  sgd(numbers: Float64Array, memories: readonly (Memory | null)[]): void;
  /** threads, learning rate, beta1, beta2, epsilon, weight decay, step, decoupled; [dtype, offset, elements]. Of each parameter weights, gradient, both moments, copy or null. */
  adam(numbers: Float64Array, memories: readonly (Memory | null)[]): void;
}
