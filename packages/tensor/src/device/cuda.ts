/**
 * NVIDIA GPUs as devices. Each has one stream, into which all of its work goes in order, so memory that was given back may be handed out again at once: whatever reads it first was put
 * there before. Nothing waits for a GPU but what the host wants to see.
 */
import { makeError } from '@muster/base';
import type { TensorKernels, TensorMemory } from '@muster/native';
import { openCuda, type CudaArray, type CudaBuffer, type CudaLibrary, type CudaStream } from '@muster/native/cuda';
import { DTYPES, type Dtype } from '../dtype.js';
import { invalid, tensorError } from '../failure.js';
import { Allocator } from './allocator.js';
import type { Device, Storage, Strided } from './device.js';
import { kernelCalls } from './kernel-calls.js';

/** Single numbers that were computed with and stay on the device: a model has a few dozen. */
const CONSTANTS_MAX = 256;

let library: CudaLibrary | null = null;
/** The device that this thread's calls go to. */
let current = -1;
const devices = new Map<number, Device>();

/** Has all devices be of this library; null: of the machine's own. For tests, which have an emulator. */
export function useCudaLibrary(wanted: CudaLibrary | null): void {
  library = wanted;
  current = -1;
  devices.clear();
}

/** Why tensors cannot be on a GPU in this process, or null where they can: torch.cuda.is_available(), with a reason. */
export function cudaLacks(): string | null {
  if (library !== null) return null;
  const cuda = openCuda();
  return cuda.available ? null : cuda.reason;
}

/**
 * @param name 'cuda' or 'cuda:N'
 * @throws MusterError INVALID_ARGUMENT where there is none, with what is missing
 */
export function cudaDevice(name: string): Device {
  const index = name === 'cuda' ? 0 : Number(name.slice('cuda:'.length));
  const known = devices.get(index);
  if (known !== undefined) return known;
  if (library === null) {
    const cuda = openCuda();
    if (!cuda.available) throw invalid(`the device '${name}'`, `a device of this machine, and ${cuda.reason}`);
    library = cuda;
  }
  const count = library.devices.length;
  if (index >= count) throw invalid(`the device '${name}'`, `one of the ${count} GPUs that this process sees, of which the last is 'cuda:${count - 1}'`);
  const device = makeDevice(library, index);
  devices.set(index, device);
  return device;
}

/** Memory that Node cannot see. */
class CudaStorage implements Storage {
  readonly device: Device;
  readonly dtype: Dtype;
  readonly buffer: CudaBuffer;
  references = 0;
  version = 0;

  constructor(device: Device, dtype: Dtype, buffer: CudaBuffer) {
    this.device = device;
    this.dtype = dtype;
    this.buffer = buffer;
  }

  get memory(): TensorMemory {
    throw tensorError('this', [`a tensor on ${this.device.name}`], "its memory is the device's: take to('cpu') of it");
  }
}

/** A GPU's memory, and the stream of its work. */
class Gpu {
  readonly #library: CudaLibrary;
  readonly #index: number;
  readonly #allocator: Allocator<CudaBuffer>;
  /** Of tensors that nobody disposed of. */
  readonly #collected = new FinalizationRegistry<CudaBuffer>((buffer) => this.#allocator.release(buffer));
  /** The oldest first. */
  readonly #constants = new Map<string, CudaBuffer>();
  readonly stream: CudaStream;

  constructor(own: CudaLibrary, index: number) {
    this.#library = own;
    this.#index = index;
    const { memoryBytes } = own.devices[index]!;
    this.use();
    this.stream = own.createStream();
    this.#allocator = new Allocator<CudaBuffer>({
      device: `cuda:${index}`,
      memoryBytes: () => memoryBytes,
      make: (sizeBytes) => own.allocate(sizeBytes),
      sizeOf: (buffer) => own.sizeOf(buffer),
      free: (buffer) => own.free(buffer),
    }, memoryBytes);
  }

  /** Has this thread's calls go here. */
  use(): void {
    if (current !== this.#index) this.#library.useDevice(current = this.#index);
  }

  allocate(device: Device, dtype: Dtype, size: number): Storage {
    this.use();
    const storage = new CudaStorage(device, dtype, this.#allocator.allocate(size * DTYPES[dtype].bytes));
    this.#collected.register(storage, storage.buffer, storage);
    return storage;
  }

  release(storage: Storage): void {
    this.#collected.unregister(storage);
    this.#allocator.release((storage as CudaStorage).buffer);
  }

  /** A storage's memory; of the CPU's single numbers a copy. */
  bufferOf(storage: Storage): CudaBuffer {
    this.use();
    return storage instanceof CudaStorage ? storage.buffer : this.#constant(storage);
  }

  #constant({ dtype, memory }: Storage): CudaBuffer {
    const bytes = new Uint8Array(memory.buffer, memory.byteOffset, DTYPES[dtype].bytes);
    const key = bytes.join();
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    if (this.#constants.size === CONSTANTS_MAX) {
      const [oldest, buffer] = this.#constants.entries().next().value!;
      this.#constants.delete(oldest);
      this.#allocator.release(buffer);
    }
    const buffer = this.#allocator.allocate(bytes.length);
    this.#library.writeNow(buffer, 0, bytes, this.stream);
    this.#constants.set(key, buffer);
    return buffer;
  }

  read({ storage, dtype, offset, size }: Strided): TensorMemory {
    const { bytes, Memory } = DTYPES[dtype];
    const target = new ArrayBuffer(size * bytes);
    if (size > 0) this.#library.readNow(this.bufferOf(storage), offset * bytes, new Uint8Array(target), this.stream);
    return new Memory(target, 0, size);
  }

  write({ storage, dtype, offset, size }: Strided, source: TensorMemory): void {
    const { bytes } = DTYPES[dtype];
    if (size > 0) this.#library.writeNow(this.bufferOf(storage), offset * bytes, new Uint8Array(source.buffer, source.byteOffset, size * bytes), this.stream);
  }

  elements({ storage, dtype, offset, size }: Strided): CudaArray {
    const buffer = this.bufferOf(storage);
    return { buffer, offsetBytes: offset * DTYPES[dtype].bytes, length: size, dtype: dtype === 'bool' ? 'u8' : dtype, stream: this.stream, device: this.#index, owner: storage };
  }

  /** The kernels, which need memory of their own: where there is none, what is kept for reuse makes room. */
  kernels(): TensorKernels<CudaBuffer> {
    const native = this.#library.kernels(this.stream);
    const guarded = Object.entries(native).map(([name, kernel]) => [name, (...call: unknown[]): unknown => {
      const run = kernel as (...call: unknown[]) => unknown;
      try {
        return run(...call);
      } catch (error) {
        if (!isOutOfMemory(error)) throw error;
        this.#allocator.clear();
      }
      try {
        return run(...call);
      } catch (cause) {
        throw isOutOfMemory(cause) ? makeError('OUT_OF_MEMORY', { size: `a call of ${name}`, used: 'all of the memory of the GPU is in use' }, { cause }) : cause;
      }
    }]);
    return Object.fromEntries(guarded) as TensorKernels<CudaBuffer>;
  }
}

const isOutOfMemory = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOMEM';

function makeDevice(own: CudaLibrary, index: number): Device {
  const gpu = new Gpu(own, index);
  const device: Device = {
    name: `cuda:${index}`,
    allocate: (dtype, size) => gpu.allocate(device, dtype, size),
    release: (storage) => gpu.release(storage),
    read: (tensor) => gpu.read(tensor),
    write: (tensor, source) => gpu.write(tensor, source),
    elements: (tensor) => gpu.elements(tensor),

    fill(tensor, value) {
      if (tensor.size === 0) return;
      const memory = tensor.dtype === 'i64' ? BigInt64Array.of(BigInt(Math.trunc(value))) : Float32Array.of(value);
      const dtype = tensor.dtype === 'i64' ? 'i64' : 'f32';
      device.map('copy', tensor, { storage: { device, dtype, memory, references: 0, version: 0 }, dtype, shape: [], strides: [], offset: 0, size: 1 });
    },

    ...kernelCalls(gpu.kernels(), (storage) => gpu.bufferOf(storage), () => 0),
  };
  return device;
}
