/**
 * NVIDIA GPUs, where there are any: devices, their memory, streams and events. include/muster/cuda.h says what each call does; libmuster_cuda.so, which does it,
 * is built where nvcc is found and a GPU or a test wants it, and loaded here, only where a driver is. Nothing waits for a device but what returns a promise.
 *
 * @example
 * const cuda = openCuda();
 * if (!cuda.available) throw new Error(cuda.reason);
 * const buffer = cuda.allocate(bytes.length);
 * const stream = cuda.createStream();
 * await cuda.write(buffer, 0, bytes, stream);
 * await cuda.waitForStream(stream, 1000);
 * cuda.destroyStream(stream);
 * cuda.free(buffer);
 */
import { fileURLToPath } from 'node:url';
import { emulatorLacks, emulatorPath, isEmulated } from './cuda-emulator.js';
import { openCudaLibrary, type TensorKernels } from './index.js';

export interface CudaDevice {
  readonly name: string;
  readonly memoryBytes: number;
  /** Such as '9.0', which is Hopper. */
  readonly computeCapability: string;
  readonly multiprocessors: number;
}

declare const kind: unique symbol;

/** Device memory of one device, until it is freed: it is never freed by itself. */
export interface CudaBuffer { readonly [kind]: 'buffer' }

/** A queue of work for a device, in order. */
export interface CudaStream { readonly [kind]: 'stream' }

/**
 * Elements of device memory, one behind the other, as collective calls take them. A call comes after what is in the stream when it is made; what is put into the stream after the
 * call has ended comes behind its results.
 */
export interface CudaArray {
  readonly buffer: CudaBuffer;
  readonly offsetBytes: number;
  /** In elements. */
  readonly length: number;
  readonly dtype: 'f32' | 'f16' | 'bf16' | 'f64' | 'i64' | 'i32' | 'u8';
  readonly stream: CudaStream;
  /** Which device, as for {@link CudaLibrary.useDevice}. */
  readonly device: number;
  /** Whom the memory belongs to, who stays as long as a call has it. */
  readonly owner: object;
}

/** A point in a stream's work. */
export interface CudaEvent { readonly [kind]: 'event' }

/**
 * What the library offers. Calls throw a CudaError, and a TypeError for what is freed, destroyed or no such object. Buffers, streams and events belong to the device
 * that was in use when they were made.
 */
export interface CudaLibrary {
  readonly available: true;
  readonly devices: readonly CudaDevice[];

  /** Which device this thread's calls go to; the first until told otherwise. @throws RangeError */
  useDevice(index: number): void;

  /** May wait for the device: allocate before a loop, not in it. @throws CudaError ENOMEM */
  allocate(sizeBytes: number): CudaBuffer;
  sizeOf(buffer: CudaBuffer): number;
  /** Waits for the device. */
  free(buffer: CudaBuffer): void;

  /** Copies to `offset` of the buffer, after what is in the stream. Resolves when the source may be changed. @throws RangeError beyond the buffer's end */
  write(buffer: CudaBuffer, offset: number, source: Uint8Array, stream: CudaStream): Promise<void>;
  /** Copies from `offset` of the buffer, after what is in the stream. Resolves when the target is filled. @throws as {@link write} */
  read(buffer: CudaBuffer, offset: number, target: Uint8Array, stream: CudaStream): Promise<void>;
  /** As {@link write}, on this thread: returns when the source may be changed. */
  writeNow(buffer: CudaBuffer, offset: number, source: Uint8Array, stream: CudaStream): void;
  /** As {@link read}, on this thread, which waits for the stream: for ten minutes at most. */
  readNow(buffer: CudaBuffer, offset: number, target: Uint8Array, stream: CudaStream): void;
  /** Sets every byte, in the stream's order. */
  fill(buffer: CudaBuffer, value: number, stream: CudaStream): void;

  createStream(): CudaStream;
  destroyStream(stream: CudaStream): void;
  /** Resolves when all that is in the stream by now is done. @throws CudaError ERR_RANK_TIMED_OUT after `timeoutMs`; the work goes on. */
  waitForStream(stream: CudaStream, timeoutMs: number): Promise<void>;

  /**
   * The kernels of tensors, on buffers of the stream's device. Their work goes into the stream, and nothing waits for it but what returns a number. Kept until the process ends: one for each
   * stream.
   */
  kernels(stream: CudaStream): TensorKernels<CudaBuffer>;

  createEvent(): CudaEvent;
  destroyEvent(event: CudaEvent): void;
  /** The event will have happened when all that is in the stream by now is done. */
  recordEvent(event: CudaEvent, stream: CudaStream): void;
  /** What is put into the stream from now on runs after the event. */
  waitForEvent(stream: CudaStream, event: CudaEvent): void;
  /** Milliseconds between two events that have happened. */
  elapsedMs(start: CudaEvent, end: CudaEvent): number;
}

/** Why a call failed. */
export interface CudaError extends Error {
  readonly code: 'ERR_DEVICE_UNAVAILABLE' | 'ERR_DEVICE_FAILED' | 'ERR_RANK_TIMED_OUT' | 'ENOMEM';
  /** The native source's file and line. */
  readonly place?: string;
}

export type Cuda = CudaLibrary | { readonly available: false; readonly reason: string };

/** The library, or why it cannot be used on this machine: no driver, no GPU, or not built. Opening it again is free. In tests it may be the emulator's: cuda-emulator.ts. */
export function openCuda(): Cuda {
  if (isEmulated()) {
    const reason = emulatorLacks();
    return reason === null ? openCudaLibrary(emulatorPath(), true) : { available: false, reason };
  }
  return openCudaLibrary(fileURLToPath(new URL('../build/cuda/libmuster_cuda.so', import.meta.url)));
}
