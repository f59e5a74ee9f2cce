/** The CPU as a device: its memory is Node's, and its calls run on the thread that makes them and the kernels' own. */
import { availableParallelism, totalmem } from 'node:os';
import { tensorKernels, type TensorMemory } from '@muster/native';
import { DTYPES, type Dtype } from '../dtype.js';
import { invalid } from '../failure.js';
import { Allocator } from './allocator.js';
import type { Device, Storage, Strided } from './device.js';
import { kernelCalls } from './kernel-calls.js';

/** What native's MUSTER_THREADS_MAX is. */
const THREADS_MAX = 256;

/** What is kept for later, at most: enough for a training step of the models that a CPU trains, and no more than a small machine can spare. */
const CACHED_BYTES_MAX = 2 ** 30;

/** Blocks that went with a tensor which nobody disposed of are not used any more. */
const collected = new FinalizationRegistry<number>((blockBytes) => allocator.collected(blockBytes));

export const allocator = new Allocator<ArrayBuffer>({
  device: 'cpu',
  /** What the machine has, or the part of it that this process may use: beyond it the kernel would end the process, without a word. */
  memoryBytes() {
    const constrained = process.constrainedMemory();
    return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  },
  make(sizeBytes) {
    const block = new ArrayBuffer(sizeBytes);
    collected.register(block, sizeBytes, block);
    return block;
  },
  sizeOf: ({ byteLength }) => byteLength,
  free: (block) => void collected.unregister(block),
}, CACHED_BYTES_MAX);

let threads = 0;

/**
 * How many threads each operation may use, from now on and for all tensors of this thread; 0, as at the start, is one for each core.
 * @throws MusterError INVALID_ARGUMENT
 */
export function setThreads(wanted: number): void {
  if (!Number.isInteger(wanted) || wanted < 0 || wanted > THREADS_MAX) throw invalid(`a number of threads of ${wanted}`, `a whole number from 0 to ${THREADS_MAX}`);
  threads = wanted;
}

/** How many threads each operation may use. */
export function threadCount(): number {
  return threads === 0 ? availableParallelism() : threads;
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

function elementsOf({ storage: { memory }, offset, size }: Strided): TensorMemory {
  return memory.subarray(offset, offset + size) as TensorMemory;
}

export const cpu: Device = {
  name: 'cpu',

  allocate(dtype: Dtype, size: number): Storage {
    const { bytes, Memory } = DTYPES[dtype];
    return { device: cpu, dtype, memory: new Memory(allocator.allocate(size * bytes), 0, size), references: 0, version: 0 };
  },

  release(storage) {
    allocator.release(storage.memory.buffer as ArrayBuffer);
  },

  read: elementsOf,

  elements: elementsOf,

  write(tensor, source) {
    (elementsOf(tensor) as Float32Array).set(source as Float32Array);
  },

  fill(tensor, value) {
    const memory = elementsOf(tensor);
    if (memory instanceof BigInt64Array) memory.fill(BigInt(Math.trunc(value)));
    else if (memory instanceof Float32Array || memory instanceof Int32Array) memory.fill(value);
    else if (value === 0 || tensor.dtype === 'bool') memory.fill(value === 0 ? 0 : 1);
    else fillHalf(tensor, value);
  },

  ...kernelCalls(tensorKernels, ({ memory }) => memory, () => threads),
};

/** 16 bits, of which JavaScript knows nothing. */
function fillHalf(tensor: Strided, value: number): void {
  const storage: Storage = { device: cpu, dtype: 'f32', memory: Float32Array.of(value), references: 0, version: 0 };
  cpu.map('copy', tensor, { storage, dtype: 'f32', shape: [], strides: [], offset: 0, size: 1 });
}
