/** Task benchmarks. Names and bodies are Ray's: see bench/core-names.md. */
import { actor, get, put, remote, wait, type ObjectRef } from '@muster/core';
import { median, rate, type Benchmark } from './measure.js';

const BATCH = 1000;

export const noOp = remote(function noOp() {
  return 'ok';
});

async function batchOf(count: number): Promise<void> {
  const refs: ObjectRef<string>[] = new Array(count);
  for (let i = 0; i < count; i++) refs[i] = noOp.remote();
  await get(refs);
}

class TaskClient {
  async batch(count: number): Promise<void> {
    const refs: ObjectRef<string>[] = [];
    for (let i = 0; i < count; i++) refs.push(noOp.remote());
    await get(refs);
  }
}

async function waitForEach(): Promise<void> {
  let pending: ObjectRef<string>[] = [];
  for (let i = 0; i < BATCH; i++) pending.push(noOp.remote());
  for (let i = 0; i < BATCH; i++) pending = (await wait(pending)).pending;
}

async function syncLatencies(): Promise<number> {
  const us: number[] = [];
  for (let i = 0; i < 3000; i++) {
    const startMs = performance.now();
    await noOp();
    if (i >= 500) us.push((performance.now() - startMs) * 1000);
  }
  return median(us);
}

const ARGUMENTS = 10_000;
const RETURNS = 3000;

const sumAll = remote((...values: number[]) => values.reduce((sum, value) => sum + value, 0));
const yieldMany = remote(function* (count: number) {
  for (let i = 0; i < count; i++) yield i;
});

/** Each argument is an object of its own, passed by reference. */
async function manyArguments(): Promise<void> {
  const refs = await Promise.all(Array.from({ length: ARGUMENTS }, (_, i) => put(i)));
  const sum = await sumAll(...refs);
  if (sum !== (ARGUMENTS * (ARGUMENTS - 1)) / 2) throw new Error(`the task saw other arguments: their sum is ${sum}`);
}

/** Each return value is an object of its own. */
async function manyReturns(): Promise<void> {
  let count = 0;
  for await (const ref of yieldMany.remote(RETURNS)) count += (await get(ref)) >= 0 ? 1 : 0;
  if (count !== RETURNS) throw new Error(`the task returned ${count} values`);
}

async function manyObjects(): Promise<void> {
  const refs = await Promise.all(Array.from({ length: 10_000 }, (_, i) => put({ i })));
  const values = await get(refs);
  if (values[9999]!.i !== 9999) throw new Error('get returned other objects');
}

function once(name: string, body: () => Promise<void>): Benchmark {
  return {
    name,
    run: async () => {
      const ms: number[] = [];
      for (let i = 0; i < 5; i++) {
        const startMs = performance.now();
        await body();
        ms.push(performance.now() - startMs);
      }
      return [{ name, value: median(ms), unit: 'ms', better: 'lower' }];
    },
  };
}

export function taskBenchmarks(): readonly Benchmark[] {
  return [
    rate('single client tasks and get batch', 1, () => batchOf(BATCH)),
    rate('single client wait 1k refs', 1, waitForEach),
    rate('single client tasks sync', 1, () => noOp()),
    rate('single client tasks async', BATCH, () => batchOf(BATCH)),
    {
      name: 'multi client tasks async',
      run: async () => {
        const clients = await Promise.all(Array.from({ length: 4 }, () => actor(TaskClient).create()));
        return rate('multi client tasks async', 40_000, () => Promise.all(clients.map((client) => client.batch(10_000)))).run();
      },
    },
    {
      name: 'single client tasks sync p50',
      run: async () => [{ name: 'single client tasks sync p50', value: await syncLatencies(), unit: 'us', better: 'lower' }],
    },
    once('10,000 arguments to one task', manyArguments),
    once('3,000 returns from one task', manyReturns),
    once('10,000-object get', manyObjects),
  ];
}
