/** The program behind `1m queued tasks`: in a process of its own, so that its memory is the tasks' alone. */
import { get, init, remote, shutdown, type ObjectRef } from '@muster/core';
import type { BenchRecord } from './measure.js';

const COUNT = 1_000_000;

await init({ logs: false });
const noOp = remote(() => 'ok');
await noOp();
const beforeBytes = process.memoryUsage.rss();
const startMs = performance.now();
const refs: ObjectRef<string>[] = new Array(COUNT);
for (let i = 0; i < COUNT; i++) refs[i] = noOp.remote();
const queuedBytes = process.memoryUsage.rss();
let peakBytes = queuedBytes;
const sampler = setInterval(() => { peakBytes = Math.max(peakBytes, process.memoryUsage.rss()); }, 20);
const results = await get(refs);
clearInterval(sampler);
const seconds = (performance.now() - startMs) / 1000;
if (results.length !== COUNT || results.some((result) => result !== 'ok')) throw new Error('some task returned something else');
await shutdown();
const records: readonly BenchRecord[] = [
  { name: '1m queued tasks time', value: seconds, unit: 's', better: 'lower' },
  { name: '1m queued tasks memory', value: peakBytes / 1e6, unit: 'MB', better: 'lower' },
  { name: 'bytes per queued task', value: (queuedBytes - beforeBytes) / COUNT, unit: 'B', better: 'lower' },
];
console.log(JSON.stringify(records));
