/** The CPU as a device: writes a call's numbers where the native kernels read them. Its calls run on the thread that makes them and the kernels' own. */
import { ACTIVATIONS, kernels, MAPS, RANDOM_KINDS, REDUCTIONS, tensorKernels, type Heads, type TensorMemory, type TrainingTensor } from '@muster/native';
import { DTYPES, type Dtype } from '../dtype.js';
import { invalid, nativeError } from '../failure.js';
import { broadcastStrides, type Shape } from '../shape.js';
import { Allocator } from './allocator.js';
import type { AttentionTensors, Device, GemmOptions, IndexedView, MatrixBatch, RandomOptions, Storage, Strided } from './device.js';

/** What native's MUSTER_THREADS_MAX is. */
const THREADS_MAX = 256;

export const allocator = new Allocator();

/** The numbers of the call that is being made, and how many there are. Calls do not nest. */
const numbers = new Float64Array(128);
let count = 0;
let threads = 0;

/**
 * How many threads each operation may use, from now on and for all tensors of this thread; 0, as at the start, is one for each core.
 * @throws MusterError INVALID_ARGUMENT
 */
export function setThreads(wanted: number): void {
  if (!Number.isInteger(wanted) || wanted < 0 || wanted > THREADS_MAX) throw invalid(`a number of threads of ${wanted}`, `a whole number from 0 to ${THREADS_MAX}`);
  threads = wanted;
}

/**
 * How many bytes the tensors of this thread may hold together, from now on; at the start, as many as the machine has. More is an OutOfMemoryError. What is held now
 * says `allocator.statistics()`.
 * @throws MusterError INVALID_ARGUMENT
 */
export function setMemoryLimit(limitBytes: number): void {
  if (!(limitBytes > 0)) throw invalid(`a memory limit of ${limitBytes} bytes`, 'above 0');
  allocator.limitBytes = limitBytes;
}

/** What {@link setThreads} set: for kernels that are called elsewhere. */
export function threadCount(): number {
  return threads;
}

function begin(): void {
  numbers[0] = threads;
  count = 1;
}

function put(value: number): void {
  numbers[count++] = value;
}

function putAll(values: Shape): void {
  for (let index = 0; index < values.length; index++) numbers[count++] = values[index]!;
}

/** dtype, offset, strides; @returns the memory. */
function putStrided(tensor: Strided, strides: Shape, offset = tensor.offset): TensorMemory {
  numbers[count++] = DTYPES[tensor.dtype].number;
  numbers[count++] = offset;
  putAll(strides);
  return tensor.storage.memory;
}

function putDense(tensor: Strided): TensorMemory {
  numbers[count++] = DTYPES[tensor.dtype].number;
  numbers[count++] = tensor.offset;
  return tensor.storage.memory;
}

function putOptional(tensor: Strided | null): TensorMemory | null {
  if (tensor !== null) return putDense(tensor);
  count += 2;
  return null;
}

function putMatrices({ of, offset, rowStride, columnStride, batchStride }: MatrixBatch): TensorMemory {
  numbers[count++] = DTYPES[of.dtype].number;
  numbers[count++] = offset;
  numbers[count++] = rowStride;
  numbers[count++] = columnStride;
  numbers[count++] = batchStride;
  return of.storage.memory;
}

interface IndexViews {
  readonly indexed: IndexedView;
  readonly index: IndexedView;
  readonly picked: IndexedView;
}

function callIndexed(name: 'gather' | 'scatterAdd', shape: Shape, extent: number, { indexed, index, picked }: IndexViews): void {
  begin();
  putAll(shape);
  put(extent);
  const from = putStrided(indexed.of, indexed.strides);
  const at = putStrided(index.of, index.strides);
  const to = putStrided(picked.of, picked.strides);
  try {
    tensorKernels[name](numbers, from, at, to);
  } catch (error) {
    throw nativeError(name, error);
  }
}

/** A dense tensor as the calls with objects take it. */
function trainingTensor(tensor: Strided): TrainingTensor {
  return { dtype: tensor.dtype, data: tensor.storage.memory.subarray(tensor.offset, tensor.offset + tensor.size) } as TrainingTensor;
}

const floatsOf = (tensor: Strided): Float32Array => trainingTensor(tensor).data as Float32Array;
const integersOf = (tensor: Strided | null): Int32Array | null => (tensor === null ? null : tensor.storage.memory.subarray(tensor.offset, tensor.offset + tensor.size) as Int32Array);

function headsOf(tensor: Strided): Heads {
  const [batchStride, headStride, rowStride] = tensor.strides as readonly [number, number, number];
  return { tensor: { dtype: tensor.dtype, data: tensor.storage.memory.subarray(tensor.offset) } as TrainingTensor, batchStride, headStride, rowStride };
}

const attentionOf = ({ query, key, value, result, logSums }: AttentionTensors) =>
  ({ query: headsOf(query), key: headsOf(key), value: headsOf(value), result: headsOf(result), logSums: floatsOf(logSums) });

export const cpu: Device = {
  name: 'cpu',

  allocate(dtype: Dtype, size: number): Storage {
    const { bytes, Memory } = DTYPES[dtype];
    return { device: cpu, dtype, memory: new Memory(allocator.allocate(size * bytes), 0, size), references: 0, version: 0 };
  },

  release(storage) {
    allocator.release(storage.memory.buffer as ArrayBuffer);
  },

  map(map, result, first, second, third) {
    begin();
    put(MAPS[map]);
    put(result.shape.length);
    putAll(result.shape);
    const to = putStrided(result, result.strides);
    const one = putStrided(first, broadcastStrides(first.shape, first.strides, result.shape));
    const two = second === undefined ? null : putStrided(second, broadcastStrides(second.shape, second.strides, result.shape));
    const three = third === undefined ? null : putStrided(third, broadcastStrides(third.shape, third.strides, result.shape));
    tensorKernels.map(numbers, to, one, two, three);
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
    tensorKernels.reduce(numbers, to, from);
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
    tensorKernels.random(numbers, putDense(result));
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
    tensorKernels.gemm(numbers, to, one, two, addend);
  },

  activate(activation, result, input) {
    begin();
    put(ACTIVATIONS[activation]);
    put(input.size);
    const to = putDense(result);
    tensorKernels.activate(numbers, to, putDense(input));
  },

  activateBackward(activation, result, input, gradient) {
    begin();
    put(ACTIVATIONS[activation]);
    put(input.size);
    const to = putDense(result);
    const from = putDense(input);
    tensorKernels.activateBackward(numbers, to, from, putDense(gradient));
  },

  softmax(result, input, columns) {
    begin();
    put(columns);
    put(input.size);
    const to = putDense(result);
    tensorKernels.softmax(numbers, to, putDense(input));
  },

  softmaxBackward(result, output, gradient, columns) {
    begin();
    put(columns);
    put(output.size);
    const to = putDense(result);
    const from = putDense(output);
    tensorKernels.softmaxBackward(numbers, to, from, putDense(gradient));
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
    tensorKernels.layerNorm(numbers, to, means, scales, from, weights, putDense(bias));
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
    tensorKernels.layerNormBackward(numbers, inputGradient, weightGradient, biasGradient, from, weights, means, scales, putDense(gradient));
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
    try {
      tensorKernels.crossEntropy(numbers, to, slope, from, right);
    } catch (error) {
      throw nativeError('crossEntropy', error);
    }
  },

  convolve(shape, { input, weight, bias, result }) {
    kernels.convolve({ shape, input: trainingTensor(input), weight: trainingTensor(weight), bias: bias === null ? null : floatsOf(bias), result: trainingTensor(result) }, threads);
  },

  convolveBackwardInput(shape, { gradient, weight, inputGradient }) {
    kernels.convolveBackwardInput({ shape, gradient: trainingTensor(gradient), weight: trainingTensor(weight), inputGradient: trainingTensor(inputGradient) }, threads);
  },

  convolveBackwardWeight(shape, { input, gradient, weightGradient }) {
    kernels.convolveBackwardWeight({ shape, input: trainingTensor(input), gradient: trainingTensor(gradient), weightGradient: floatsOf(weightGradient), biasGradient: null }, threads);
  },

  pool(images, pooling, { input, result, places }) {
    kernels.pool({ images, pooling, input: trainingTensor(input), result: trainingTensor(result), places: integersOf(places) }, threads);
  },

  poolBackward(images, pooling, { gradient, places, inputGradient }) {
    kernels.poolBackward({ images, pooling, gradient: trainingTensor(gradient), places: integersOf(places), inputGradient: trainingTensor(inputGradient) }, threads);
  },

  attention(shape, tensors) {
    kernels.attention({ shape, ...attentionOf(tensors) }, threads);
  },

  attentionBackward(shape, tensors, { result, query, key, value }) {
    kernels.attentionBackward({ shape, ...attentionOf(tensors), gradient: headsOf(result), queryGradient: headsOf(query), keyGradient: headsOf(key), valueGradient: headsOf(value) }, threads);
  },

  embedding(result, table, tokens) {
    begin();
    put(table.shape[1]!);
    put(table.shape[0]!);
    put(tokens.size);
    const to = putDense(result);
    const from = putDense(table);
    const rows = putDense(tokens);
    try {
      tensorKernels.embedding(numbers, to, from, rows);
    } catch (error) {
      throw nativeError('embedding', error);
    }
  },

  embeddingBackward(tableGradient, gradient, tokens) {
    begin();
    put(tableGradient.shape[1]!);
    put(tableGradient.shape[0]!);
    put(tokens.size);
    const to = putDense(tableGradient);
    const from = putDense(gradient);
    tensorKernels.embeddingBackward(numbers, to, from, putDense(tokens));
  },
};
