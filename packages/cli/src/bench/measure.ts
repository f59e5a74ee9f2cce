/** How a benchmark is timed, and what it reports: see bench/core-names.md. */

/** One line of a benchmark's output. */
export interface BenchRecord {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
}

export interface Benchmark {
  readonly name: string;
  readonly run: () => Promise<readonly BenchRecord[]>;
}

const WARM_UP_MS = 1000;
const WINDOWS = 4;
const WINDOW_MS = 1000;

/** A rate as Ray measures it: a second of warm-up, then the mean over four windows of one second. `countPerRun`: calls that one run stands for. */
export function rate(name: string, countPerRun: number, body: () => Promise<unknown>, unit = '1/s'): Benchmark {
  return {
    name,
    run: async () => {
      await runsIn(WARM_UP_MS, body);
      let sum = 0;
      for (let window = 0; window < WINDOWS; window++) sum += await runsIn(WINDOW_MS, body);
      return [{ name, value: (sum / WINDOWS) * countPerRun, unit, better: 'higher' }];
    },
  };
}

/** Runs a second. */
async function runsIn(windowMs: number, body: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  let runs = 0;
  let elapsedMs = 0;
  while (elapsedMs < windowMs) {
    await body();
    runs++;
    elapsedMs = performance.now() - startMs;
  }
  return (runs / elapsedMs) * 1000;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
