/** The element types of tensors: what they lie in, and what two of them make together. */
import { DTYPE_NUMBERS, type TensorMemory } from '@muster/native';

/** f16 is IEEE binary16, bf16 the upper half of an f32; both lie in a Uint16Array. A bool is a byte, 0 or 1. */
export type Dtype = 'f32' | 'f16' | 'bf16' | 'i32' | 'i64' | 'bool';

/** As in PyTorch, of two categories the higher one decides. */
export type Category = 0 | 1 | 2;
export const BOOLEAN: Category = 0;
export const INTEGER: Category = 1;
export const FLOATING: Category = 2;

export interface DtypeInfo {
  readonly bytes: number;
  readonly category: Category;
  /** Native's number of it. */
  readonly number: number;
  readonly Memory: new (buffer: ArrayBuffer, byteOffset: number, length: number) => TensorMemory;
}

export const DTYPES: Readonly<Record<Dtype, DtypeInfo>> = {
  f32: { bytes: 4, category: FLOATING, number: DTYPE_NUMBERS.f32, Memory: Float32Array },
  f16: { bytes: 2, category: FLOATING, number: DTYPE_NUMBERS.f16, Memory: Uint16Array },
  bf16: { bytes: 2, category: FLOATING, number: DTYPE_NUMBERS.bf16, Memory: Uint16Array },
  i64: { bytes: 8, category: INTEGER, number: DTYPE_NUMBERS.i64, Memory: BigInt64Array },
  i32: { bytes: 4, category: INTEGER, number: DTYPE_NUMBERS.i32, Memory: Int32Array },
  bool: { bytes: 1, category: BOOLEAN, number: DTYPE_NUMBERS.u8, Memory: Uint8Array },
};

export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(DTYPES, name);
}

export function isFloating(dtype: Dtype): boolean {
  return DTYPES[dtype].category === FLOATING;
}

/** The dtype that holds what both hold. f16 and bf16 make f32. */
export function promote(first: Dtype, second: Dtype): Dtype {
  if (first === second) return first;
  const difference = DTYPES[first].category - DTYPES[second].category;
  if (difference !== 0) return difference > 0 ? first : second;
  return DTYPES[first].category === FLOATING ? 'f32' : 'i64';
}

/** Something that takes part in arithmetic. */
interface Participant {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** The dtype of two tensors' arithmetic. One without dimensions is a number to one that has some: it counts only where it is of a higher category. */
export function promoteTensors(first: Participant, second: Participant): Dtype {
  const isNumber = first.shape.length === 0;
  if (isNumber === (second.shape.length === 0)) return promote(first.dtype, second.dtype);
  const [number, whole] = isNumber ? [first.dtype, second.dtype] : [second.dtype, first.dtype];
  return DTYPES[number].category > DTYPES[whole].category ? number : whole;
}

/** The dtype of a tensor's arithmetic with a plain number: its own, unless the number is of a higher category. */
export function promoteWithNumber(dtype: Dtype, value: number): Dtype {
  const { category } = DTYPES[dtype];
  if (!Number.isInteger(value)) return category === FLOATING ? dtype : 'f32';
  return category === BOOLEAN ? 'i64' : dtype;
}
