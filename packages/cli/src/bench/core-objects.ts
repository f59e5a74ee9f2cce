/** Object benchmarks. Names and bodies are Ray's: see bench/core-names.md. */
import { free, get, put, remote, type ObjectRef } from '@muster/core';
import { median, rate, type Benchmark } from './measure.js';

const LARGE_ELEMENTS = 100_000_000;
const LARGE_REPEATS = 7;

const putMany = remote(async function putMany(count: number) {
  for (let i = 0; i < count; i++) await put(0);
});

const putArrays = remote(async function putArrays(count: number, elements: number) {
  const zeros = new Float64Array(elements);
  for (let i = 0; i < count; i++) free([await put(zeros)]);
});

const makeRefs = remote(async function makeRefs(count: number) {
  const refs: ObjectRef<number>[] = [];
  for (let i = 0; i < count; i++) refs.push(await put(1));
  return refs;
});

async function putLarge(): Promise<number> {
  const values = new Float32Array(LARGE_ELEMENTS).fill(1);
  const gbs: number[] = [];
  for (let i = -1; i < LARGE_REPEATS; i++) { // the first put touches the memory
    const startMs = performance.now();
    const ref = await put(values);
    if (i >= 0) gbs.push(values.byteLength / 1e9 / ((performance.now() - startMs) / 1000));
    free([ref]);
  }
  return median(gbs);
}

export function objectBenchmarks(): readonly Benchmark[] {
  const zeros = (): Float64Array => new Float64Array(104_857_600);
  let large: Float64Array | null = null;
  return [
    {
      name: 'single client get calls (Plasma Store)',
      run: async () => {
        const ref = await put(0);
        return rate('single client get calls (Plasma Store)', 1, () => get(ref)).run();
      },
    },
    rate('single client put calls (Plasma Store)', 1, () => put(0)),
    rate('multi client put calls (Plasma Store)', 1000, () => Promise.all(Array.from({ length: 10 }, () => putMany(100)))),
    rate('single client put gigabytes', 0.8388608, async () => free([await put((large ??= zeros()))]), 'GB/s'),
    rate('multi client put gigabytes', 8.388608, () => Promise.all(Array.from({ length: 10 }, () => putArrays(10, 10_485_760))), 'GB/s'),
    {
      name: 'single client get object containing 10k refs',
      run: async () => {
        const ref = makeRefs.remote(10_000);
        return rate('single client get object containing 10k refs', 1, () => get(ref)).run();
      },
    },
    {
      name: 'put large float32array',
      run: async () => [{ name: 'put large float32array', value: await putLarge(), unit: 'GB/s', better: 'higher' }],
    },
  ];
}
