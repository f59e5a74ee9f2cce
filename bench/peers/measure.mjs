/**
 * What the peer programs that run on Node share: their command line, their clock and the records they print.
 * Knows no peer. A program's protocol is `PROGRAM [NAME-FILTER] [--seconds S]`, and one JSON record a line on stdout:
 * `{ name, value, unit, better, peer }`.
 *
 * @typedef {object} Subject What is measured, opened once and only when some measurement was selected.
 * @property {() => Promise<void>} close
 *
 * @typedef {object} Measurement
 * @property {readonly string[]} names The records it yields.
 * @property {(subject: any, seconds: number) => Promise<readonly Value[]>} run
 *
 * @typedef {{ name: string, value: number, unit: string, better: 'higher' | 'lower' }} Value
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const DEFAULT_SECONDS = 4;
const WARM_UP_SECONDS = 1;

/**
 * Runs the measurements that the command line selects, and prints their records.
 * @param {{ peer: string, measurements: readonly Measurement[], open: () => Promise<Subject> }} program
 */
export async function measurePeer({ peer, measurements, open }) {
  const { filter, seconds } = readCommandLine();
  const names = select(measurements.flatMap((measurement) => measurement.names), filter);
  if (names.length === 0) return;
  const subject = await open();
  try {
    for (const measurement of measurements) {
      if (!measurement.names.some((name) => names.includes(name))) continue;
      for (const value of await measurement.run(subject, seconds)) {
        if (names.includes(value.name)) console.log(JSON.stringify({ ...value, peer }));
      }
    }
  } finally {
    await subject.close();
  }
}

function readCommandLine() {
  const { positionals, values } = parseArgs({ allowPositionals: true, options: { seconds: { type: 'string' } } });
  const seconds = Number(values.seconds ?? DEFAULT_SECONDS);
  if (!(seconds > 0)) throw new RangeError(`--seconds ${values.seconds}: it must be a number above 0`);
  return { filter: positionals[0] ?? '', seconds };
}

/** Exactly the name, or, where no name is exactly that, every name that contains it. */
function select(names, filter) {
  return names.includes(filter) ? [filter] : names.filter((name) => name.includes(filter));
}

/** The exact version of a dependency, as this folder's package.json pins it. */
export function pinnedVersion(packageName) {
  return JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8')).dependencies[packageName];
}

/**
 * What is measured of everything that runs tasks. Its subject has `call()`, one no-op task that echoes a small value,
 * and `callMany(count)`, that many of them in flight at once; both resolve when all results are there.
 * @type {readonly Measurement[]}
 */
export const TASK_MEASUREMENTS = [
  sequential({ rateName: 'single client tasks sync', p50Name: 'single client tasks sync p50' }),
  batched({ name: 'single client tasks async', count: 1_000 }),
  batched({ name: 'single client tasks async 10k', count: 10_000 }),
];

/**
 * One call after another: how many a second, and the median of one.
 * @returns {Measurement}
 */
export function sequential({ rateName, p50Name }) {
  return {
    names: [rateName, p50Name],
    async run(subject, seconds) {
      await repeat(() => subject.call(), WARM_UP_SECONDS);
      const { count, elapsedMs, samplesMs } = await repeat(() => subject.call(), seconds);
      return [
        rate(rateName, (count / elapsedMs) * 1_000),
        { name: p50Name, value: median(samplesMs) * 1_000, unit: 'us', better: 'lower' },
      ];
    },
  };
}

/** @returns {Measurement} */
function batched({ name, count }) {
  return {
    names: [name],
    async run(subject, seconds) {
      await repeat(() => subject.callMany(count), WARM_UP_SECONDS);
      const batches = await repeat(() => subject.callMany(count), seconds);
      return [rate(name, ((batches.count * count) / batches.elapsedMs) * 1_000)];
    },
  };
}

function rate(name, value) {
  return { name, value, unit: '1/s', better: 'higher' };
}

/** Awaits `action` again and again for that many seconds, and keeps the duration of each. */
export async function repeat(action, seconds) {
  const samplesMs = [];
  const startMs = performance.now();
  const endMs = startMs + seconds * 1_000;
  let nowMs = startMs;
  while (nowMs < endMs) {
    await action();
    const doneMs = performance.now();
    samplesMs.push(doneMs - nowMs);
    nowMs = doneMs;
  }
  return { count: samplesMs.length, elapsedMs: nowMs - startMs, samplesMs };
}

/** The middle value, or the mean of the two in the middle. */
export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
