/** Which numbers a typed array holds, and whether its memory can be lent to a call. */
import { makeError } from '@muster/base';

/** f16 and bf16 lie in a Uint16Array. */
export type Dtype = 'f64' | 'f32' | 'f16' | 'bf16' | 'i64' | 'i32' | 'u8';

/** The typed arrays whose elements can be sent; a Uint16Array only with a dtype that says which 16 bits they are. */
export type NumberArray = Float64Array | Float32Array | BigInt64Array | Int32Array | Uint8Array | Uint16Array;

/** The numbers of native's muster_dtype. */
export const DTYPES: Readonly<Record<Dtype, number>> = { f64: 0, f32: 1, f16: 2, bf16: 3, i64: 4, i32: 5, u8: 6 };

/**
 * The dtype of an array: as asked for, if it fits the array, or the array's own.
 * @throws MusterError INVALID_ARGUMENT
 */
export function dtypeOf(array: NumberArray, asked: Dtype | undefined, what: string): Dtype {
  const own = ownDtype(array);
  const isHalf = array instanceof Uint16Array;
  const isAsked = asked !== undefined && Object.hasOwn(DTYPES, asked);
  if (isHalf ? asked === 'f16' || asked === 'bf16' : own !== null && (asked === undefined || asked === own)) return asked ?? own!;
  if (isHalf) throw invalid(`the dtype of ${what}`, "'f16' or 'bf16', since a Uint16Array may hold either");
  if (own === null) throw invalid(what, 'a Float64Array, Float32Array, BigInt64Array, Int32Array, Uint8Array, or a Uint16Array of f16 or bf16');
  throw invalid(`the dtype '${String(asked)}' of ${what}`, isAsked ? `'${own}', which is what the array holds` : `one of ${Object.keys(DTYPES).join(', ')}`);
}

function ownDtype(array: NumberArray): Dtype | null {
  if (array instanceof Float32Array) return 'f32';
  if (array instanceof Float64Array) return 'f64';
  if (array instanceof Int32Array) return 'i32';
  if (array instanceof BigInt64Array) return 'i64';
  return array instanceof Uint8Array ? 'u8' : null;
}

/**
 * Another thread will use the memory where it lies: it may be neither gone nor going.
 * @throws MusterError INVALID_ARGUMENT
 */
export function checkMemory(array: NumberArray, what: string): void {
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
