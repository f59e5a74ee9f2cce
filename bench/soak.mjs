/**
 * `node bench/soak.mjs [--minutes 10]`: mixed tasks, actors and objects without pause, and the resident memory of every process of the cluster over time.
 * Memory must be flat. Prints each process's median in every tenth of the run, where a process that was started late or was given other work in the middle
 * shows its step, and compares the last fifth with the one before.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { actor, free, get, init, kill, put, remote, shutdown, wait } from '@muster/core';

const minutes = Number(process.argv[process.argv.indexOf('--minutes') + 1]) || 10;
const SAMPLE_MS = 2000;
/** Growth from one fifth of the time to the next beyond this, in MB and as a share, counts as a leak if it goes on in the last tenth. */
const GROWTH_MAX_MB = 6;
const GROWTH_MAX_SHARE = 0.1;
const TENTHS = 10;

const add = remote((a, b) => a + b);
const make = remote((n) => new Float64Array(n).fill(n));
const total = remote((values) => values.reduce((sum, value) => sum + value, 0));
const words = remote(function* (n) { for (let i = 0; i < n; i++) yield `word ${i}`; });
const nested = remote(async (n) => (n === 0 ? 0 : 1 + (await nested(n - 1))));
const failing = remote(() => { throw new RangeError('as it should'); });
class Counter {
  #n = 0;
  add(k) { return (this.#n += k); }
  keep(value) { this.kept = value; return value.length; }
}

/** Every process descended from this one, and itself: pid -> { name, rssMb }. */
function processes() {
  const rows = new Map();
  const parents = new Map();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      parents.set(Number(entry), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch { /* it has just ended */ }
  }
  const isOurs = (pid) => pid === process.pid || (parents.has(pid) && isOurs(parents.get(pid)));
  for (const pid of parents.keys()) {
    if (!isOurs(pid)) continue;
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const kb = (key) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const name = pid === process.pid ? 'driver' : command.includes('worker') ? 'worker' : 'node';
      rows.set(pid, { name, rssMb: (kb('RssAnon')) / 1024 }); // the arena's pages are shared, and bounded by its size
    } catch { /* likewise */ }
  }
  return rows;
}

const check = (ok, what) => { if (!ok) throw new Error(`wrong: ${what}`); };

async function round(counter, i) {
  const refs = Array.from({ length: 2000 }, (_, k) => add.remote(k, i));
  check((await get(refs))[1999] === 1999 + i, 'tasks');
  const large = Array.from({ length: 4 }, (_, k) => make.remote(50_000 + k));
  check((await total(large[0])) === 50_000 * 50_000, 'a stored result as an argument');
  await get(large);
  const shared = await put(new Float32Array(200_000).fill(1));
  check((await counter.keep(shared)) === 200_000, 'an object kept by an actor');
  check((await get(shared))[7] === 1, 'an object');
  if (i % 2 === 0) free([shared]);
  await get(Array.from({ length: 500 }, () => counter.add.remote(1)));
  let count = 0;
  for await (const word of words(100)) count += word.length > 0 ? 1 : 0;
  check(count === 100, 'a generator');
  check((await nested(2)) === 2, 'nested tasks');
  await failing().then(() => check(false, 'an error'), (error) => check(error instanceof RangeError, 'an error'));
  const lists = await put([await put({ i }), await put(new Uint8Array(150_000))]);
  check((await get((await get(lists))[0])).i === i, 'references inside a value');
  await wait(Array.from({ length: 100 }, (_, k) => add.remote(k, k)), { count: 50 });
  if (i % 20 === 0) {
    const short = await actor(Counter).create();
    check((await short.add(2)) === 2, 'a short-lived actor');
    await kill(short);
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

await init({ cpus: 2, objectStore: '512MiB' });
const counter = await actor(Counter).create();
const startMs = performance.now();
const samples = new Map();
let rounds = 0;
let nextSampleMs = 0;
const tenth = () => Math.min(TENTHS - 1, Math.floor((performance.now() - startMs) / (minutes * 60_000) * TENTHS));
while (performance.now() - startMs < minutes * 60_000) {
  await round(counter, rounds++);
  if (performance.now() < nextSampleMs) continue;
  nextSampleMs = performance.now() + SAMPLE_MS;
  for (const [pid, { name, rssMb }] of processes()) {
    if (!samples.has(pid)) samples.set(pid, { name, rssMb: Array.from({ length: TENTHS }, () => []) });
    samples.get(pid).rssMb[tenth()].push(rssMb);
  }
}
await shutdown();

let leaked = false;
console.log(`${rounds} rounds in ${minutes} minutes; MB in each tenth of the time\n`);
console.log(`process    pid     ${Array.from({ length: TENTHS }, (_, i) => String(i + 1).padStart(7)).join('')}   growth at the end`);
for (const [pid, { name, rssMb }] of samples) {
  if (rssMb.filter((values) => values.length > 0).length < 2) continue; // short-lived actors
  const medians = rssMb.map((values) => (values.length > 0 ? median(values).toFixed(1) : '').padStart(7)).join('');
  const [before, last] = [median(rssMb.slice(-4, -2).flat()), median(rssMb.slice(-2).flat())];
  const growth = last - before; // NaN: it has ended, or is too young
  const growthAtEnd = median(rssMb.at(-1)) - median(rssMb.at(-2)); // a step, when other work was given to it, is over by then
  const isLeak = growth > GROWTH_MAX_MB && growth > before * GROWTH_MAX_SHARE && growthAtEnd > GROWTH_MAX_MB / 2;
  leaked ||= isLeak;
  console.log(`${name.padEnd(10)} ${String(pid).padEnd(8)}${medians}   ${Number.isNaN(growth) ? '' : `${growth.toFixed(1)} MB`}${isLeak ? '   LEAK' : ''}`);
}
process.exitCode = leaked ? 1 : 0;
