/**
 * A device over a table of native kernels: writes each call's numbers where they are read. The CPU's table (cpu.ts) and a GPU's (cuda.ts) are alike but for what their memories are. Calls
 * on one thread do not nest, so they share the numbers.
 */
import { ACTIVATIONS, MAPS, POOLINGS, RANDOM_KINDS, REDUCTIONS, type TensorKernels } from '@muster/native';
import { DTYPES } from '../dtype.js';
import { nativeError } from '../failure.js';
import { broadcastStrides, type Shape } from '../shape.js';
import type { AttentionShape, AttentionTensors, ConvolutionShape, Device, GemmOptions, Images, IndexedView, MatrixBatch, RandomOptions, Storage, Strided } from './device.js';

/** More than any call but those of lists has. */
const USUAL_NUMBERS = 128;
/** Numbers of an optimizer's call beside those of its tensors, at most; and those of a tensor. */
const OPTION_NUMBERS = 16;
const TENSOR_NUMBERS = 3;

/** The numbers of the call that is being made, and how many there are. */
let numbers = new Float64Array(USUAL_NUMBERS);
let count = 0;

interface IndexViews {
  readonly indexed: IndexedView;
  readonly index: IndexedView;
  readonly picked: IndexedView;
}

/** Of a device all but its memory. */
export type KernelCalls = Omit<Device, 'name' | 'allocate' | 'release' | 'read' | 'write' | 'elements' | 'fill'>;

/** Calls a kernel that may refuse what it is given. @throws TensorError for that */
function refusing(operation: string, operands: readonly Strided[], call: () => void): void {
  try {
    call();
  } catch (error) {
    throw nativeError(operation, operands, error);
  }
}

/**
 * What a table computes.
 * @param memoryOf where a storage's elements lie, as the table takes it
 * @param threads how many each call may use
 */
export function kernelCalls<Memory>(kernels: TensorKernels<Memory>, memoryOf: (storage: Storage) => Memory, threads: () => number): KernelCalls {
  function begin(): void {
    numbers[0] = threads();
    count = 1;
  }

  function put(value: number): void {
    numbers[count++] = value;
  }

  function putAll(values: Shape): void {
    for (let index = 0; index < values.length; index++) numbers[count++] = values[index]!;
  }

  /** dtype, offset, strides; @returns the memory. */
  function putStrided(tensor: Strided, strides: Shape, offset = tensor.offset): Memory {
    numbers[count++] = DTYPES[tensor.dtype].number;
    numbers[count++] = offset;
    putAll(strides);
    return memoryOf(tensor.storage);
  }

  function putDense(tensor: Strided): Memory {
    numbers[count++] = DTYPES[tensor.dtype].number;
    numbers[count++] = tensor.offset;
    return memoryOf(tensor.storage);
  }

  function putOptional(tensor: Strided | null): Memory | null {
    if (tensor !== null) return putDense(tensor);
    count += 2;
    return null;
  }

  function putMatrices({ of, offset, rowStride, columnStride, batchStride }: MatrixBatch): Memory {
    numbers[count++] = DTYPES[of.dtype].number;
    numbers[count++] = offset;
    numbers[count++] = rowStride;
    numbers[count++] = columnStride;
    numbers[count++] = batchStride;
    return memoryOf(of.storage);
  }

  function callIndexed(name: 'gather' | 'scatterAdd', shape: Shape, extent: number, { indexed, index, picked }: IndexViews): void {
    begin();
    putAll(shape);
    put(extent);
    const from = putStrided(indexed.of, indexed.strides);
    const at = putStrided(index.of, index.strides);
    const to = putStrided(picked.of, picked.strides);
    refusing(name, [indexed.of, index.of], () => kernels[name](numbers, from, at, to));
  }

  /** dtype, offset, elements */
  function putSized(tensor: Strided | null): Memory | null {
    if (tensor === null) {
      count += TENSOR_NUMBERS;
      return null;
    }
    numbers[count++] = DTYPES[tensor.dtype].number;
    numbers[count++] = tensor.offset;
    numbers[count++] = tensor.size;
    return memoryOf(tensor.storage);
  }

  /** Of a tensor that is there. */
  const putTensor = (tensor: Strided): Memory => putSized(tensor)!;

  function putImages({ batches, channels, rows, columns, vertical, horizontal }: Images): void {
    putAll([batches, channels, rows, columns]);
    for (const { kernel, stride, padding, dilation, overhang } of [vertical, horizontal]) putAll([kernel, stride, padding, dilation, overhang]);
  }

  function putConvolution({ images, resultChannels, groups }: ConvolutionShape): void {
    putImages(images);
    put(resultChannels);
    put(groups);
  }

  function putAttention({ batches, heads, queries, keys, width, scale, causal }: AttentionShape): void {
    putAll([batches, heads, queries, keys, width, scale, causal ? 1 : 0]);
  }

  /** dtype, offset, strides of batches, heads and rows */
  const putHeads = (tensor: Strided): Memory => putStrided(tensor, tensor.strides.slice(0, 3));

  /** Room for a list of tensors. */
  function beginList(tensors: number): void {
    const needed = OPTION_NUMBERS + TENSOR_NUMBERS * tensors;
    if (needed > numbers.length) numbers = new Float64Array(2 * needed);
    begin();
  }

  return {
    map(map, result, first, second, third) {
      begin();
      put(MAPS[map]);
      put(result.shape.length);
      putAll(result.shape);
      const to = putStrided(result, result.strides);
      const one = putStrided(first, broadcastStrides(first.shape, first.strides, result.shape));
      const two = second === undefined ? null : putStrided(second, broadcastStrides(second.shape, second.strides, result.shape));
      const three = third === undefined ? null : putStrided(third, broadcastStrides(third.shape, third.strides, result.shape));
      kernels.map(numbers, to, one, two, three);
    },

    reduce(reduction, result, input, { kept, factor = 1 }) {
      begin();
      put(REDUCTIONS[reduction]);
      put(factor);
      put(input.shape.length);
      put(kept);
      putAll(input.shape);
      const to = putStrided(result, result.strides);
      const from = putStrided(input, input.strides);
      kernels.reduce(numbers, to, from);
    },

    gather: (shape, extent, views) => callIndexed('gather', shape, extent, views),
    scatterAdd: (shape, extent, views) => callIndexed('scatterAdd', shape, extent, views),

    random(result, { kind, seed, counter, first, second }: RandomOptions) {
      begin();
      put(RANDOM_KINDS[kind]);
      put(seed[0]);
      put(seed[1]);
      put(counter);
      put(first);
      put(second);
      put(result.size);
      kernels.random(numbers, putDense(result));
    },

    gemm(result, left, right, { batches, rows, columns, depth, alpha = 1, beta = 0, bias = null }: GemmOptions) {
      begin();
      put(ACTIVATIONS.identity);
      put(alpha);
      put(beta);
      put(batches);
      put(rows);
      put(columns);
      put(depth);
      const to = putMatrices(result);
      const one = putMatrices(left);
      const two = putMatrices(right);
      const addend = putOptional(bias);
      kernels.gemm(numbers, to, one, two, addend);
    },

    activate(activation, result, input) {
      begin();
      put(ACTIVATIONS[activation]);
      put(input.size);
      const to = putDense(result);
      kernels.activate(numbers, to, putDense(input));
    },

    activateBackward(activation, result, input, gradient) {
      begin();
      put(ACTIVATIONS[activation]);
      put(input.size);
      const to = putDense(result);
      const from = putDense(input);
      kernels.activateBackward(numbers, to, from, putDense(gradient));
    },

    softmax(result, input, columns) {
      begin();
      put(columns);
      put(input.size);
      const to = putDense(result);
      kernels.softmax(numbers, to, putDense(input));
    },

    softmaxBackward(result, output, gradient, columns) {
      begin();
      put(columns);
      put(output.size);
      const to = putDense(result);
      const from = putDense(output);
      kernels.softmaxBackward(numbers, to, from, putDense(gradient));
    },

    layerNorm(result, { mean, scale }, { input, weight, bias, columns, epsilon }) {
      begin();
      put(epsilon);
      put(columns);
      put(input.size / columns);
      const to = putDense(result);
      const means = putDense(mean);
      const scales = putDense(scale);
      const from = putDense(input);
      const weights = putDense(weight);
      kernels.layerNorm(numbers, to, means, scales, from, weights, putDense(bias));
    },

    layerNormBackward(gradients, { mean, scale }, { input, weight, gradient, columns }) {
      begin();
      put(columns);
      put(input.size / columns);
      const inputGradient = putDense(gradients.input);
      const weightGradient = putDense(gradients.weight);
      const biasGradient = putDense(gradients.bias);
      const from = putDense(input);
      const weights = putDense(weight);
      const means = putDense(mean);
      const scales = putDense(scale);
      kernels.layerNormBackward(numbers, inputGradient, weightGradient, biasGradient, from, weights, means, scales, putDense(gradient));
    },

    crossEntropy(losses, gradient, { logits, targets, columns, gradientScale }) {
      begin();
      put(gradientScale);
      put(columns);
      put(logits.size / columns);
      const to = putDense(losses);
      const slope = putOptional(gradient);
      const from = putDense(logits);
      const right = putDense(targets);
      refusing('crossEntropy', [logits, targets], () => kernels.crossEntropy(numbers, to, slope, from, right));
    },

    convolve(shape, { input, weight, bias, result }) {
      begin();
      putConvolution(shape);
      const to = putTensor(result);
      const from = putTensor(input);
      const weights = putTensor(weight);
      const addend = putSized(bias);
      refusing('conv2d', [input, weight], () => kernels.convolve(numbers, to, from, weights, addend));
    },

    convolveBackwardInput(shape, { gradient, weight, inputGradient }) {
      begin();
      putConvolution(shape);
      const to = putTensor(inputGradient);
      const from = putTensor(gradient);
      kernels.convolveBackwardInput(numbers, to, from, putTensor(weight));
    },

    convolveBackwardWeight(shape, { input, gradient, weightGradient }) {
      begin();
      putConvolution(shape);
      const to = putTensor(weightGradient);
      putSized(null);
      const from = putTensor(input);
      kernels.convolveBackwardWeight(numbers, to, null, from, putTensor(gradient));
    },

    pool(images, pooling, { input, result, places }) {
      begin();
      put(POOLINGS[pooling]);
      putImages(images);
      const to = putTensor(result);
      const from = putTensor(input);
      const at = putOptional(places);
      refusing(pooling === 'largest' ? 'maxPool2d' : 'avgPool2d', [input], () => kernels.pool(numbers, to, from, at));
    },

    poolBackward(images, pooling, { gradient, places, inputGradient }) {
      begin();
      put(POOLINGS[pooling]);
      putImages(images);
      const to = putTensor(inputGradient);
      const from = putTensor(gradient);
      kernels.poolBackward(numbers, to, from, putOptional(places));
    },

    attention(shape, { query, key, value, result, logSums }: AttentionTensors) {
      begin();
      putAttention(shape);
      const to = putHeads(result);
      const sums = putTensor(logSums);
      const queries = putHeads(query);
      const keys = putHeads(key);
      kernels.attention(numbers, to, sums, queries, keys, putHeads(value));
    },

    attentionBackward(shape, { query, key, value, result, logSums }, gradients) {
      begin();
      putAttention(shape);
      const toQuery = putHeads(gradients.query);
      const toKey = putHeads(gradients.key);
      const toValue = putHeads(gradients.value);
      const from = putHeads(result);
      const sums = putTensor(logSums);
      const queries = putHeads(query);
      const keys = putHeads(key);
      const values = putHeads(value);
      kernels.attentionBackward(numbers, toQuery, toKey, toValue, from, sums, queries, keys, values, putHeads(gradients.result));
    },

    embedding(result, table, tokens) {
      begin();
      put(table.shape[1]!);
      put(table.shape[0]!);
      put(tokens.size);
      const to = putDense(result);
      const from = putDense(table);
      const rows = putDense(tokens);
      refusing('embedding', [table, tokens], () => kernels.embedding(numbers, to, from, rows));
    },

    embeddingBackward(tableGradient, gradient, tokens) {
      begin();
      put(tableGradient.shape[1]!);
      put(tableGradient.shape[0]!);
      put(tokens.size);
      const to = putDense(tableGradient);
      const from = putDense(gradient);
      kernels.embeddingBackward(numbers, to, from, putDense(tokens));
    },

    unscale(gradients, scale) {
      beginList(gradients.length);
      put(scale);
      return kernels.unscale(numbers, gradients.map(putTensor)) !== 0;
    },

    gradientNorm(gradients) {
      beginList(gradients.length);
      return kernels.gradientNorm(numbers, gradients.map(putTensor));
    },

    clipGradients(gradients, normMax) {
      beginList(gradients.length);
      put(normMax);
      return kernels.clipGradients(numbers, gradients.map(putTensor));
    },

    sgd(parameters, { learningRate, momentum, dampening, weightDecay, nesterov, isFirstStep }) {
      beginList(4 * parameters.length);
      putAll([learningRate, momentum, dampening, weightDecay, nesterov ? 1 : 0, isFirstStep ? 1 : 0]);
      kernels.sgd(numbers, parameters.flatMap((each) => [each.weights, each.gradient, each.momentum, each.copy]).map(putSized));
    },

    adam(parameters, { learningRate, betas, epsilon, weightDecay, step, isDecoupled }) {
      beginList(5 * parameters.length);
      putAll([learningRate, ...betas, epsilon, weightDecay, step, isDecoupled ? 1 : 0]);
      kernels.adam(numbers, parameters.flatMap((each) => [each.weights, each.gradient, each.firstMoment, each.secondMoment, each.copy]).map(putSized));
    },
  };
}
