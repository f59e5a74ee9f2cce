/** `cluster bench tune`: what trials cost through the cluster. */
import { init, shutdown } from '@muster/core';
import { random, tune, uniform, type ExperimentLogger, type SteppedTrial, type TrialStep } from '@muster/tune';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { BenchRecord } from './measure.js';

const WARM_UP_TRIALS = 50;
const TRIALS = 1_000;
const MANY_TRIALS = 10_000;
const STEPPED_TRIALS = 200;
const REPORTS = 1_000;
const CONCURRENT = 16;

/** Runs the benchmarks on a cluster of their own. */
export async function runTuneBench(report: (record: BenchRecord) => void): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'muster-bench-tune-'));
  await init({ logs: false });
  try {
    await trials({ count: WARM_UP_TRIALS, atOnce: CONCURRENT, storage: join(root, 'warm-up') });
    for (const atOnce of [1, CONCURRENT]) {
      const ms = await trials({ count: TRIALS, atOnce, storage: join(root, `at-once-${atOnce}`) });
      report({ name: `no-op trial, ${atOnce} at once`, value: ms / TRIALS, unit: 'ms', better: 'lower' });
    }
    report({ name: 'report and its answer', value: (await reports(join(root, 'reports'))) / REPORTS, unit: 'ms', better: 'lower' });
    const stepped = await steps(join(root, 'steps'));
    report({ name: 'no-op trial of a class', value: stepped / STEPPED_TRIALS, unit: 'ms', better: 'lower' });
    const [before, after] = [liveBytes(), { bytes: 0 }];
    const weigh: ExperimentLogger = { name: 'weigh', begin: () => {}, close: async () => {}, record: ({ kind }) => { if (kind === 'finish') after.bytes = liveBytes(); } };
    const ms = await trials({ count: MANY_TRIALS, atOnce: CONCURRENT, storage: join(root, 'many'), loggers: [weigh] });
    report({ name: '10,000 trials in one experiment', value: MANY_TRIALS / (ms / 1000), unit: 'trials/s', better: 'higher' });
    const resumedMs = await trials({ count: MANY_TRIALS, atOnce: CONCURRENT, storage: join(root, 'many') });
    report({ name: '10,000 trials taken up again', value: resumedMs, unit: 'ms', better: 'lower' });
    report({ name: '10,000 trials, what the driver keeps of each', value: (after.bytes - before) / MANY_TRIALS, unit: 'bytes', better: 'lower' });
  } finally {
    await shutdown();
    rmSync(root, { recursive: true, force: true });
  }
}

const SPACE = { x: uniform(0, 1) };

/** What is left when everything was collected that can be: V8's heap grows by tens of megabytes before it looks. */
function liveBytes(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

/** A trial of one step. */
class OneStep implements SteppedTrial<{ x: number }> {
  constructor(readonly config: { x: number }) {}
  step({ step }: TrialStep): { loss: number } | undefined {
    return step === 1 ? { loss: this.config.x } : undefined;
  }
}

/** Milliseconds for an experiment of trials on actors, one after another. */
async function steps(storage: string): Promise<number> {
  const startMs = performance.now();
  await tune(OneStep, { space: SPACE, metric: 'loss', searcher: random(), trials: STEPPED_TRIALS, maxConcurrent: 1, storage, loggers: [] });
  return performance.now() - startMs;
}

/** Milliseconds for a whole experiment of trials that do nothing, kept on disk. */
async function trials({ count, atOnce, storage, loggers = [] }: { readonly count: number; readonly atOnce: number; readonly storage: string; readonly loggers?: readonly ExperimentLogger[] }): Promise<number> {
  const startMs = performance.now();
  await tune(({ x }) => x, { space: SPACE, metric: 'loss', searcher: random(), trials: count, maxConcurrent: atOnce, storage, resume: true, loggers });
  return performance.now() - startMs;
}

/** Milliseconds for one trial that reports again and again. */
async function reports(storage: string): Promise<number> {
  const startMs = performance.now();
  await tune(async ({ x }, trial) => {
    for (let epoch = trial.startEpoch; epoch < REPORTS; epoch++) await trial.report({ loss: x });
  }, { space: SPACE, metric: 'loss', searcher: random(), trials: 1, storage, loggers: [] });
  return performance.now() - startMs;
}
