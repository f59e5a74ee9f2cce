/** Which numbers an array holds, and whether its memory can be lent to a call. */
import { makeError } from '@muster/base';
import type { CudaArray } from '@muster/native/cuda';

/** f16 and bf16 lie in a Uint16Array, and FP8 in a Uint8Array. */
export type Dtype = 'f32' | 'f16' | 'bf16' | 'f8e4m3' | 'f8e5m2' | 'f64' | 'i64' | 'i32' | 'u8';

/** The typed arrays whose elements can be sent; a Uint16Array only with a dtype that says which 16 bits they are. */
export type NumberArray = Float64Array | Float32Array | BigInt64Array | Int32Array | Uint8Array | Uint16Array;

/** What calls take: typed arrays, or elements of a GPU's memory, which say themselves what they are. */
export type CallArray = NumberArray | CudaArray;

export const isOnDevice = (array: CallArray | null): array is CudaArray => !ArrayBuffer.isView(array) && typeof array === 'object' && array !== null && 'stream' in array;

/** The numbers of native's muster_dtype. */
export const DTYPES: Readonly<Record<Dtype, number>> = { f32: 0, f16: 1, bf16: 2, f8e4m3: 3, f8e5m2: 4, f64: 5, i64: 6, i32: 7, u8: 8 };

/** What each kind of array may hold. The first is meant unless another is asked for; only of 16 bits none is more likely than the other. */
const HELD: readonly (readonly [new () => NumberArray, readonly Dtype[]])[] = [
  [Float32Array, ['f32']], [Uint16Array, ['f16', 'bf16']], [Float64Array, ['f64']], [Int32Array, ['i32']], [BigInt64Array, ['i64']],
  [Uint8Array, ['u8', 'f8e4m3', 'f8e5m2']],
];

/**
 * The dtype of an array, which must be one: as asked for, if it fits the array, or the array's own.
 * @throws MusterError INVALID_ARGUMENT
 */
export function dtypeOf(array: CallArray | null, asked: Dtype | undefined, what: string): Dtype {
  if (isOnDevice(array)) {
    if (asked === undefined || asked === array.dtype) return array.dtype;
    throw invalid(`the dtype '${String(asked)}' of ${what}`, `'${array.dtype}', which is what it holds`);
  }
  const held = HELD.find(([kind]) => array instanceof kind)?.[1];
  if (held === undefined) throw invalid(what, 'a Float64Array, Float32Array, BigInt64Array, Int32Array, Uint8Array, or a Uint16Array of f16 or bf16');
  const dtype = asked ?? (array instanceof Uint16Array ? undefined : held[0]);
  if (dtype !== undefined && held.includes(dtype)) return dtype;
  if (dtype === undefined) throw invalid(`the dtype of ${what}`, "'f16' or 'bf16', since a Uint16Array may hold either");
  const choice = held.map((each) => `'${each}'`).join(' or ');
  throw invalid(`the dtype '${String(asked)}' of ${what}`, Object.hasOwn(DTYPES, dtype) ? `${choice}, which is what the array holds` : `one of ${Object.keys(DTYPES).join(', ')}`);
}

/**
 * Another thread will use the memory where it lies: it may be neither gone nor going.
 * @throws MusterError INVALID_ARGUMENT
 */
export function checkMemory(array: CallArray, what: string): void {
  if (isOnDevice(array)) return; // native knows its buffers
  const buffer: ArrayBufferLike & { readonly resizable?: boolean; readonly growable?: boolean } = array.buffer;
  if (buffer.resizable === true || buffer.growable === true) throw invalid(what, 'of a buffer of fixed length');
  if (array.length === 0 && isDetached(buffer)) throw invalid(what, 'attached: its buffer was transferred to somebody else');
}

function isDetached(buffer: ArrayBufferLike): boolean {
  try {
    return new Uint8Array(buffer).length < 0;
  } catch {
    return true;
  }
}

export function invalid(what: string, want: string): Error {
  return makeError('INVALID_ARGUMENT', { what, want });
}
