/** What PyTorch computed (fixtures/generate.py), and comparing with it. */
import { readFileSync } from 'node:fs';
import type { Dtype, Tensor } from '../index.js';
import { tensor } from '../index.js';

export interface Recorded {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  readonly data: readonly (number | string | boolean)[];
}

export function fixture<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../fixtures/${name}.json`, import.meta.url), 'utf8')) as T;
}

const numberOf = (value: number | string | boolean): number => (typeof value === 'string' ? Number(value.replace('inf', 'Infinity')) : Number(value));

export function recordedTensor({ shape, dtype, data }: Recorded): Tensor {
  return tensor(Float64Array.from(data, numberOf), { shape, dtype });
}

/** Relative to the number: a few roundings of the dtype, or of PyTorch's and our f32 sums. */
const TOLERANCES: Readonly<Record<Dtype, number>> = { f32: 2e-5, f16: 4e-3, bf16: 3e-2, i32: 0, i64: 0, bool: 0 };

/** What differs, or null. `through`: the dtypes of the computation, of which the roughest says how close it must be. */
export function difference(found: Tensor, wanted: Recorded, through: readonly Dtype[] = []): string | null {
  if (found.dtype !== wanted.dtype) return `the dtype is ${found.dtype} instead of ${wanted.dtype}`;
  if (found.shape.join() !== wanted.shape.join()) return `the shape is [${found.shape.join()}] instead of [${wanted.shape.join()}]`;
  const tolerance = Math.max(...[found.dtype, ...through].map((dtype) => TOLERANCES[dtype]));
  const values = found.toTypedArray();
  for (const [index, value] of wanted.data.entries()) {
    const [own, other] = [Number(values[index]), numberOf(value)];
    const isSame = Object.is(own, other) || own === other || Math.abs(own - other) <= tolerance * (1 + Math.abs(other));
    if (!isSame) return `number ${index} is ${own} instead of ${other}`;
  }
  return null;
}
