/**
 * The tensor itself: elements of a storage in a shape, and its place in the graph. What can be done with it is in operations/; methods.ts makes methods of that.
 */
import type { CudaArray } from '@muster/native/cuda';
import { cpu } from './device/cpu.js';
import type { Device, Storage, Strided } from './device/device.js';
import { DTYPES, isFloating, type Dtype } from './dtype.js';
import { tensorError } from './failure.js';
import type { GraphNode } from './autograd/graph.js';
import { own, type Owned } from './scope.js';
import { denseStrides, isDense, sizeOf, type Shape } from './shape.js';

/** The references of a storage whose memory is somebody else's. */
const RELEASED = -1;
/** Why there is nothing to take. */
const DISPOSED = 'it was disposed of, by itself or with its scope';

/** Called with a gradient. What it returns, if anything, is used instead. */
export type GradientHook = (gradient: Tensor) => Tensor | void;

/**
 * Numbers in a shape. Immutable but for optimizers, which write into parameters.
 *
 * Its memory is shared with its views, and goes back for reuse when all of them were disposed of: by a scope ({@link scope}, {@link tidy}), by `dispose()`, or
 * by the collector. A tensor that was disposed of cannot be used.
 */
export class Tensor implements Strided, Owned {
  readonly storage: Storage;
  readonly dtype: Dtype;
  readonly shape: Shape;
  /** In elements. */
  readonly strides: Shape;
  /** Of the first element, in elements. */
  readonly offset: number;
  /** How many elements it has. */
  readonly size: number;
  /** The gradient, of leaves and of what {@link retainGrad} was called on. */
  grad: Tensor | null = null;
  /** What made it, where gradients flow through that. */
  node: GraphNode | null = null;
  /** Where a gradient is written that begins anew, if anywhere in particular: a view of a bucket that all-reduce takes whole. Dense, of this shape and dtype. */
  gradientTarget: Tensor | null = null;
  isKept = false;
  /** Of leaves, called with the whole gradient before it is added to `grad`; see {@link registerHook}. */
  hooks: GradientHook[] | null = null;
  /** Of leaves, called when `grad` is complete; see {@link onGradient}. */
  gradientListeners: ((tensor: Tensor) => void)[] | null = null;
  #requiresGrad = false;
  #isDisposed = false;

  /** A view of a storage, which exists from now on. */
  constructor(storage: Storage, shape: Shape, strides: Shape = denseStrides(shape), offset = 0) {
    this.storage = storage;
    this.dtype = storage.dtype;
    this.shape = shape;
    this.strides = strides;
    this.offset = offset;
    this.size = sizeOf(shape);
    if (storage.references === RELEASED) throw tensorError('a view', [{ shape, dtype: storage.dtype }], DISPOSED);
    storage.references++;
    own(this);
  }

  get rank(): number {
    return this.shape.length;
  }

  get device(): Device {
    return this.storage.device;
  }

  /** Whether gradients flow to it. Setting it is for leaves. */
  get requiresGrad(): boolean {
    return this.#requiresGrad || this.node !== null;
  }

  set requiresGrad(wanted: boolean) {
    if (wanted && !isFloating(this.dtype)) throw tensorError('requiresGrad', [this], 'only floating point has gradients');
    if (!wanted && this.node !== null) throw tensorError('requiresGrad', [this], 'it was computed from others: take detach() of it');
    this.#requiresGrad = wanted;
  }

  get isLeaf(): boolean {
    return this.node === null;
  }

  /** Whether its elements lie one behind the other. */
  get isDense(): boolean {
    return isDense(this.shape, this.strides);
  }

  get isDisposed(): boolean {
    return this.#isDisposed;
  }

  /** Gives its memory back, if no view of it is left. Disposing twice is fine. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.node?.release();
    if (--this.storage.references > 0) return;
    this.storage.references = RELEASED;
    this.storage.device.release(this.storage);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Has it outlive all scopes; `dispose()` still ends it. */
  keep(): this {
    this.isKept = true;
    return this;
  }

  /**
   * The elements where they lie, in a typed array of theirs: for collectives and files. Valid until the tensor is disposed of; f16 and bf16 are 16 bits each.
   * @throws TensorError unless it is dense, and on the CPU
   */
  memory(): Storage['memory'] {
    if (!this.isDisposed && this.device !== cpu) throw tensorError('memory', [this], `it is on ${this.device.name}: take to('cpu') of it, or toTypedArray()`);
    this.#checkPlace('memory');
    return this.storage.memory.subarray(this.offset, this.offset + this.size) as Storage['memory'];
  }

  /**
   * The elements where they lie, on any device, as the calls of a communicator take them: on the CPU {@link memory}, on a GPU what says where they are.
   * @throws TensorError unless it is dense
   */
  elements(): Storage['memory'] | CudaArray {
    this.#checkPlace('elements');
    return this.device.elements(this);
  }

  #checkPlace(call: string): void {
    checkUsable(call, this);
    if (!this.isDense) throw tensorError(call, [this], 'its elements do not lie one behind the other: take contiguous() of it');
  }
}

/** That a tensor was not disposed of. @throws TensorError */
export function checkUsable(operation: string, tensor: Tensor): void {
  if (tensor.isDisposed) throw tensorError(operation, [tensor], DISPOSED);
}

/** Whether it is the only view of its memory, and dense: what is written there nobody else sees. */
export function isUnshared(tensor: Tensor): boolean {
  return tensor.storage.references === 1 && tensor.isDense;
}

/** A dense tensor that holds anything. */
export function empty(shape: Shape, dtype: Dtype, device: Device = cpu): Tensor {
  return new Tensor(device.allocate(dtype, sizeOf(shape)), shape);
}

/** A dense tensor of one number. */
export function filled(shape: Shape, value: number, dtype: Dtype, device: Device = cpu): Tensor {
  const tensor = empty(shape, dtype, device);
  device.fill(tensor, value);
  return tensor;
}

/** A number as an operand: f32, or i64 of whole numbers where only integers take part. */
export function numberTensor(value: number, dtype: 'f32' | 'i64' = 'f32', device: Device = cpu): Tensor {
  const tensor = new Tensor(device.allocate(dtype, 1), [], []);
  device.fill(tensor, value);
  return tensor;
}

/** The first number of a dense tensor, for which its device is waited for. */
export function firstNumber(tensor: Tensor): number {
  return Number(tensor.device.read(tensor)[0]);
}

/** The same elements in another shape. */
export function viewOf(tensor: Tensor, shape: Shape, strides: Shape, offset = tensor.offset): Tensor {
  return new Tensor(tensor.storage, shape, strides, offset);
}

/** A dense copy, in another dtype if one is named; outside the graph. */
export function copyOf(tensor: Tensor, dtype: Dtype = tensor.dtype): Tensor {
  const copy = empty(tensor.shape, dtype, tensor.device);
  tensor.device.map('copy', copy, tensor);
  return copy;
}

/** The tensor, or a dense copy of it; outside the graph. */
export function denseOf(tensor: Tensor, dtype: Dtype = tensor.dtype): Tensor {
  return tensor.dtype === dtype && tensor.isDense ? tensor : copyOf(tensor, dtype);
}

/** A dense copy on a device; outside the graph. */
export function placedOn(tensor: Tensor, device: Device): Tensor {
  if (tensor.device === device) return copyOf(tensor);
  const dense = denseOf(tensor);
  const placed = empty(tensor.shape, tensor.dtype, device);
  if (tensor.size > 0) device.write(placed, dense.device.read(dense));
  if (dense !== tensor) dense.dispose();
  return placed;
}

/** Bytes of its elements. */
export function bytesOf(tensor: Tensor): number {
  return tensor.size * DTYPES[tensor.dtype].bytes;
}
