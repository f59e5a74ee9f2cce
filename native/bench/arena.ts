/**
 * What the arena costs, one JSON record a line. Ratios compare with work on plain heap memory in the same run, which
 * holds on a noisy machine; each figure is the median of its repetitions.
 */
import { Arena, memcpy, SEGMENT_BYTES, type Arena as ArenaObject } from '../index.js';

const LARGE_BYTES = 100_000_000;
const MIDDLE_BYTES = 1 << 20;
const PLACE = 64; // where a block lies: behind others, aligned to a cache line and to nothing more

function print(name: string, value: number, unit: string, better: 'higher' | 'lower'): void {
  console.log(JSON.stringify({ name, value: Number(value.toPrecision(4)), unit, better }));
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** The median duration of `work`, after one run that does not count. */
function medianMs(repetitions: number, work: () => void): number {
  work();
  const durations: number[] = [];
  for (let run = 0; run < repetitions; run++) {
    const start = performance.now();
    work();
    durations.push(performance.now() - start);
  }
  return median(durations);
}

const gigabytesPerSecond = (sizeBytes: number, durationMs: number): number => sizeBytes / durationMs / 1e6;

function sum(values: Float32Array): number {
  let total = 0;
  for (let index = 0; index < values.length; index++) total += values[index] ?? 0;
  return total;
}

async function benchCommit(arena: ArenaObject): Promise<void> {
  const sizeBytes = 48 * SEGMENT_BYTES;
  const commit = async (): Promise<number> => {
    const start = performance.now();
    await arena.commitAsync(0, sizeBytes);
    return performance.now() - start;
  };
  print('arena commit, first use of the memory', gigabytesPerSecond(sizeBytes, await commit()), 'GB/s', 'higher');
  const decommitMs: number[] = [];
  const commitMs: number[] = [];
  for (let run = 0; run < 9; run++) {
    const start = performance.now();
    arena.decommit(0, sizeBytes);
    decommitMs.push(performance.now() - start);
    commitMs.push(await commit());
  }
  print('arena decommit', gigabytesPerSecond(sizeBytes, median(decommitMs)), 'GB/s', 'higher');
  print('arena commit, memory used before', gigabytesPerSecond(sizeBytes, median(commitMs)), 'GB/s', 'higher');
}

function benchCopies(arena: ArenaObject): void {
  const source = new Float32Array(LARGE_BYTES / 4).fill(1);
  const bytes = new Uint8Array(source.buffer);
  const heap = new Uint8Array(LARGE_BYTES).fill(2);
  const memcpyMs = medianMs(15, () => memcpy(heap, bytes));
  const writeMs = medianMs(15, () => arena.write(PLACE, bytes));
  const readMs = medianMs(15, () => arena.read(PLACE, heap));
  print('heap to heap memcpy, 100 MB', gigabytesPerSecond(LARGE_BYTES, memcpyMs), 'GB/s', 'higher');
  print('arena write, 100 MB', gigabytesPerSecond(LARGE_BYTES, writeMs), 'GB/s', 'higher');
  print('arena write to memcpy, 100 MB', memcpyMs / writeMs, 'ratio', 'higher');
  print('arena read to memcpy, 100 MB', memcpyMs / readMs, 'ratio', 'higher');
}

/** The first write of a process that has just opened the arena. */
function benchFirstWrite(path: string): void {
  const bytes = new Uint8Array(LARGE_BYTES).fill(1);
  const arena = Arena.open(path);
  const start = performance.now();
  arena.write(PLACE, bytes);
  print('arena first write after open, 100 MB', gigabytesPerSecond(LARGE_BYTES, performance.now() - start), 'GB/s', 'higher');
  arena.close();
}

function benchSmallCalls(arena: ArenaObject): void {
  const bytes = new Uint8Array(64);
  const calls = 100_000;
  const perCall = (work: () => void): number => (medianMs(5, () => { for (let call = 0; call < calls; call++) work(); }) / calls) * 1e6;
  print('arena write, 64 B', perCall(() => arena.write(PLACE, bytes)), 'ns', 'lower');
  print('arena read, 64 B', perCall(() => arena.read(PLACE, bytes)), 'ns', 'lower');
}

/** A view, one read of each number in it, and its release, against the same of an array on the heap. */
async function benchViews(arena: ArenaObject): Promise<void> {
  arena.setReleaseListener(() => setImmediate(() => arena.takeReleased()));
  for (const [name, sizeBytes, repetitions] of [['4 KB', 4096, 4001], ['64 KB', 65_536, 1001], ['1 MB', MIDDLE_BYTES, 301], ['100 MB', LARGE_BYTES, 15]] as const) {
    const heap = new Float32Array(sizeBytes / 4).fill(1);
    const heapMs = medianMs(repetitions, () => sum(heap));
    const viewMs = medianMs(repetitions, () => sum(new Float32Array(arena.view(PLACE, sizeBytes, 0))));
    const copyMs = medianMs(repetitions, () => {
      const copy = new Float32Array(sizeBytes / 4);
      arena.read(PLACE, new Uint8Array(copy.buffer));
      sum(copy);
    });
    print(`view and sum, ${name}`, viewMs * 1000, 'us', 'lower');
    print(`read a copy and sum, ${name}`, copyMs * 1000, 'us', 'lower');
    print(`view and sum to heap sum, ${name}`, viewMs / heapMs, 'ratio', 'lower');
  }
  const views = 20_000;
  const start = performance.now();
  for (let view = 0; view < views; view++) {
    arena.view(PLACE, 4096, view);
    if (view % 500 === 0) await new Promise(setImmediate); // collected views are released between turns
  }
  print('view and release, 4 KB untouched', ((performance.now() - start) / views) * 1000, 'us', 'lower');
}

const path = `/dev/shm/muster-bench-${process.pid}`;
const arena = Arena.create(path, 512 * SEGMENT_BYTES);
try {
  await benchCommit(arena);
  benchCopies(arena);
  benchFirstWrite(path);
  benchSmallCalls(arena);
  await benchViews(arena);
} finally {
  arena.close();
  arena.unlink();
}
