/** Tensors from numbers, and back. */
import { apply, currentTracer, type Operation } from './autograd/graph.js';
import type { DeviceName } from './device/device.js';
import { deviceNamed } from './device/devices.js';
import { DTYPES, isDtype, isFloating, type Dtype } from './dtype.js';
import { checkNames, invalid, tensorError } from './failure.js';
import { defaultGenerator, type Generator } from './random.js';
import { RANK_MAX, sizeOf, type Shape } from './shape.js';
import { copyOf, denseOf, empty, filled, placedOn, Tensor } from './tensor.js';

export interface TensorOptions {
  readonly dtype?: Dtype;
  readonly requiresGrad?: boolean;
  /** Where it lies: 'cpu', unless told otherwise, 'cuda' or 'cuda:1'. */
  readonly device?: DeviceName;
}

/** Numbers in arrays in arrays. */
export type Nested<T> = T | readonly Nested<T>[];
type Scalar = number | bigint | boolean;
type SmallIntegers = Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array;
type NumberArray = Float32Array | Float64Array | SmallIntegers | Uint32Array | BigInt64Array;

const OPTION_NAMES = ['dtype', 'requiresGrad', 'device', 'shape', 'generator'];

function ready(made: Tensor, options: TensorOptions): Tensor {
  checkNames('a tensor', options, OPTION_NAMES);
  const { requiresGrad = false, device } = options;
  const tensor = device === undefined || deviceNamed(device) === made.device ? made : placedOn(made, deviceNamed(device));
  if (tensor !== made) made.dispose();
  if (requiresGrad) tensor.requiresGrad = true;
  return tensor;
}

/** What a tensor is made with. @throws TensorError */
function check(name: string, shape: Shape, dtype: Dtype = 'f32'): void {
  if (!isDtype(dtype)) throw tensorError(name, [`the dtype '${String(dtype)}'`], `it must be one of ${Object.keys(DTYPES).join(', ')}`);
  if (!Array.isArray(shape) || shape.length > RANK_MAX || !shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) throw tensorError(name, [`[${String(shape)}]`], `a shape has at most ${RANK_MAX} dimensions, whole numbers from 0 on`);
}

/**
 * From numbers: one, nested arrays of them, or a typed array. Copies them.
 *
 * Without a dtype numbers become f32 (JavaScript has no others), bigints i64, booleans bool, and typed arrays what they are: integers of 32 bits and
 * fewer i32, but Uint32Array, which i64 holds.
 * @param shape of a typed array or a flat list; without it, as they are nested.
 * @throws TensorError for arrays whose parts differ in length
 * @example tensor([[1, 2], [3, 4]], { requiresGrad: true })
 */
export function tensor(data: Nested<Scalar> | NumberArray, options: TensorOptions & { readonly shape?: Shape } = {}): Tensor {
  const values: ArrayLike<Scalar> = ArrayBuffer.isView(data) ? data as NumberArray : (Array.isArray(data) ? data.flat(Infinity) as Scalar[] : [data as Scalar]);
  const shape = options.shape ?? (ArrayBuffer.isView(data) ? [values.length] : nestedShape(data as Nested<Scalar>));
  check('tensor', shape, options.dtype);
  if (sizeOf(shape) !== values.length) throw tensorError('tensor', [`${values.length} numbers`, `[${shape.join(', ')}]`], 'there must be as many numbers as the shape has elements, and arrays on one level of one length');
  if (!ArrayBuffer.isView(data)) checkNumbers(values);
  const isInteger = options.dtype === 'i64' || options.dtype === 'i32';
  if (isInteger && !alwaysFits(data, options.dtype!)) for (let index = 0; index < values.length; index++) checkValue('tensor', values[index]!, options.dtype!);
  const own = isInteger && isWhole(values) ? 'i64' : typedDtype(data as NumberArray, values[0]);
  const source = empty(shape, own);
  fillFrom(source, values);
  if (options.dtype === undefined || options.dtype === own) return ready(source, options);
  const converted = copyOf(source, options.dtype);
  source.dispose();
  return ready(converted, options);
}

function checkNumbers(values: ArrayLike<unknown>): void {
  for (let index = 0; index < values.length; index++) {
    const kind = typeof values[index];
    if (kind !== 'number' && kind !== 'bigint' && kind !== 'boolean') throw tensorError('tensor', [values[index] === null ? 'null' : kind], 'its elements are numbers, bigints or booleans');
  }
}

/** The least integer of a dtype; the largest is one less than the least without its sign. */
const LEAST: Readonly<Partial<Record<Dtype, number>>> = { i32: -(2 ** 31), i64: -(2 ** 63) };

const SMALL_INTEGERS = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array];

/** Whether i32 holds what an array does. */
const isSmallIntegers = (data: unknown): data is SmallIntegers => SMALL_INTEGERS.some((type) => data instanceof type);

/** Whether an integer dtype holds whatever a typed array does. */
function alwaysFits(data: unknown, dtype: Dtype): boolean {
  return isSmallIntegers(data) || ((data instanceof BigInt64Array || data instanceof Uint32Array) && dtype === 'i64');
}

/** That an integer dtype holds a number, whose fraction is cut off. @throws TensorError */
function checkValue(name: string, value: Scalar, dtype: Dtype): void {
  const least = LEAST[dtype];
  if (least === undefined) return;
  const whole = typeof value === 'bigint' ? value : Math.trunc(Number(value));
  if (!(whole >= least && whole < -least)) throw tensorError(name, [String(value)], `${dtype} holds whole numbers from ${least} to below ${-least}`);
}

/** Whether all are whole numbers: as i64 they are exact, and as f32 only up to 2^24. */
function isWhole(values: ArrayLike<Scalar>): boolean {
  for (let index = 0; index < values.length; index++) if (typeof values[index] === 'number' && !Number.isInteger(values[index])) return false;
  return true;
}

function nestedShape(data: Nested<Scalar>): number[] {
  const shape: number[] = [];
  for (let level: Nested<Scalar> | undefined = data; Array.isArray(level); level = level[0]) shape.push(level.length);
  const isEven = (level: Nested<Scalar>, depth: number): boolean =>
    Array.isArray(level) ? level.length === shape[depth] && level.every((each) => isEven(each, depth + 1)) : depth === shape.length;
  if (!isEven(data, 0)) throw tensorError('tensor', ['an array'], 'its arrays on one level must have one length');
  return shape;
}

function typedDtype(data: NumberArray, first: Scalar | undefined): Dtype {
  if (data instanceof BigInt64Array || data instanceof Uint32Array || typeof first === 'bigint') return 'i64';
  if (isSmallIntegers(data)) return 'i32';
  return typeof first === 'boolean' ? 'bool' : 'f32';
}

function fillFrom({ storage: { memory } }: Tensor, values: ArrayLike<Scalar>): void {
  if (memory instanceof BigInt64Array) for (let index = 0; index < values.length; index++) memory[index] = BigInt(values[index]!);
  else for (let index = 0; index < values.length; index++) (memory as Float32Array)[index] = Number(values[index]);
}

/**
 * From a typed array that holds elements of the dtype: f16 and bf16 as Uint16Array, i64 as BigInt64Array, bool as Uint8Array. Copies them.
 * @throws TensorError
 */
export function fromMemory(memory: Tensor['storage']['memory'], shape: Shape, dtype: Dtype): Tensor {
  check('fromMemory', shape, dtype);
  const result = empty(shape, dtype);
  if (memory.constructor !== result.storage.memory.constructor || memory.length !== result.size) {
    throw tensorError('fromMemory', [`${memory.constructor.name} of ${memory.length}`, `[${shape.join(', ')}]`], `${dtype} lies in a ${DTYPES[dtype].Memory.name} of as many elements as the shape has`);
  }
  (result.storage.memory as Float32Array).set(memory as Float32Array);
  return result;
}

interface Full {
  readonly shape: Shape;
  readonly value: number;
  readonly dtype: Dtype;
}

const FULL: Operation<Full> = { name: 'full', forward: (_, __, { shape, value, dtype }) => filled(shape, value, dtype), backward: () => [] };

function fullOf(name: string, shape: Shape, value: number, options: TensorOptions): Tensor {
  const { dtype = 'f32' } = options;
  check(name, shape, dtype);
  checkValue(name, value, dtype);
  return ready(apply(FULL, [], { shape, value, dtype }), options);
}

export const full = (shape: Shape, value: number, options: TensorOptions = {}): Tensor => fullOf('full', shape, value, options);

export const zeros = (shape: Shape, options: TensorOptions = {}): Tensor => fullOf('zeros', shape, 0, options);
export const ones = (shape: Shape, options: TensorOptions = {}): Tensor => fullOf('ones', shape, 1, options);

interface Range {
  readonly from: number;
  readonly step: number;
  readonly count: number;
  readonly dtype: Dtype;
}

const ARANGE: Operation<Range> = {
  name: 'arange',
  forward(_, __, { from, step, count, dtype }) {
    using values = empty([count], [from, step].every(Number.isSafeInteger) ? 'i64' : 'f32');
    const { memory } = values.storage;
    if (memory instanceof BigInt64Array) for (let index = 0; index < count; index++) memory[index] = BigInt(from + index * step);
    else for (let index = 0; index < count; index++) (memory as Float32Array)[index] = from + index * step;
    return copyOf(values, dtype);
  },
  backward: () => [],
};

/** 0 to `end` - 1, or `start` to below `end` in steps; i64 where all are whole numbers, else f32. */
export function arange(start: number, end?: number, step = 1, options: TensorOptions = {}): Tensor {
  const [from, to] = end === undefined ? [0, start] : [start, end];
  if (step === 0 || ![from, to, step].every(Number.isFinite)) throw invalid(`a range from ${from} to ${to} in steps of ${step}`, 'finite, with a step that is not 0');
  const count = Math.max(0, Math.ceil((to - from) / step));
  const { dtype = [from, to, step].every(Number.isSafeInteger) ? 'i64' : 'f32' } = options;
  return ready(apply(ARANGE, [], { from, step, count, dtype }), options);
}

/** Ones on the diagonal. */
export function eye(rows: number, columns = rows, options: TensorOptions = {}): Tensor {
  check('eye', [rows, columns], options.dtype);
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < Math.min(rows, columns); row++) values[row * columns + row] = 1;
  return tensor(values, { shape: [rows, columns], ...options });
}

export interface RandomTensorOptions extends TensorOptions {
  /** The default one, if none is named. */
  readonly generator?: Generator;
}

/** Evenly from [0, 1). */
export function rand(shape: Shape, { generator = defaultGenerator, ...options }: RandomTensorOptions = {}): Tensor {
  check('rand', shape, options.dtype);
  return ready(generator.uniform(shape, { dtype: options.dtype ?? 'f32' }), options);
}

/** Of the normal distribution with mean 0 and deviation 1. */
export function randn(shape: Shape, { generator = defaultGenerator, ...options }: RandomTensorOptions = {}): Tensor {
  check('randn', shape, options.dtype);
  return ready(generator.normal(shape, { dtype: options.dtype ?? 'f32' }), options);
}

/** Whole numbers from [low, high), i64. */
export function randint(low: number, high: number, shape: Shape, { generator = defaultGenerator }: { readonly generator?: Generator } = {}): Tensor {
  check('randint', shape);
  return generator.integers(shape, low, high);
}

/** The elements, copied: f16 and bf16 as f32, bool as Uint8Array. */
export function toTypedArray(input: Tensor): Float32Array | Int32Array | BigInt64Array | Uint8Array {
  if (input.isDisposed) throw tensorError('toTypedArray', [input], 'it was disposed of');
  currentTracer()?.read(input);
  const dense = denseOf(input, isFloating(input.dtype) ? 'f32' : input.dtype);
  const copy = (input.size === 0 ? dense.device.read(dense) : dense.device.read(dense).slice()) as Float32Array;
  if (dense !== input) dense.dispose();
  return copy;
}

/** The elements as plain numbers, in arrays in arrays; i64 as numbers, too. */
export function toArray(input: Tensor): Nested<number> {
  const values = Array.from(toTypedArray(input) as ArrayLike<number | bigint>, Number);
  const nest = (level: number, start: number, size: number): Nested<number> => {
    if (level === input.rank) return values[start]!;
    const extent = input.shape[level]!;
    const part = extent === 0 ? 0 : size / extent;
    return Array.from({ length: extent }, (_, index) => nest(level + 1, start + index * part, part));
  };
  return nest(0, 0, input.size);
}

/** The number of a tensor of one. @throws TensorError */
export function item(input: Tensor): number {
  if (input.size !== 1) throw tensorError('item', [input], 'it must have one element');
  return Number(toTypedArray(input)[0]);
}
