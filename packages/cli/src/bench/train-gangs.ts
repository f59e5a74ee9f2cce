/** Trainings on gangs: what a second rank on a second core brings, and what it costs when one is killed. */
import { context, init, shutdown } from '@muster/core';
import { manualSeed, optim } from '@muster/tensor';
import { Mesh, DataParallelTrainer, Training } from '@muster/train';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median, type BenchRecord } from './measure.js';
import { lossOf, MODEL_NAMES, WORKLOADS, type ModelName } from './train-models.js';

const ROUNDS = 11;
/** So many make about 50 ms on one core. */
const STEPS: Readonly<Record<ModelName, number>> = { mlp: 30, cnn: 2, gpt: 1 };

const EVERY_STEPS = 50;
const KILLED_AT_STEP = 75;
const LAST_STEP = 100;

/** Runs the benchmarks on a cluster of their own. */
export async function runGangBench(report: (record: BenchRecord) => void): Promise<void> {
  await init({ cpus: 2, logs: false });
  try {
    for (const name of MODEL_NAMES) {
      const { together, apart } = await scalingEfficiency(name);
      report({ name: `${WORKLOADS[name].title} a rank: efficiency of 2 ranks on 2 cores`, value: together, unit: 'ratio', better: 'higher' });
      report({ name: `${WORKLOADS[name].title} a rank: its ceiling here, of 2 ranks that tell each other nothing`, value: apart, unit: 'ratio', better: 'higher' });
    }
    report({ name: `a rank killed, checkpoint every ${EVERY_STEPS} steps: time lost beside the steps since`, value: await lostToKill(), unit: 's', better: 'lower' });
  } finally {
    await shutdown();
  }
}

/** What a step of one rank alone takes, to what one takes that two make at the same time, each with a batch of its own. */
interface Efficiency {
  /** Of one training. */
  readonly together: number;
  /** Of a training each: two programs side by side have the caches and the memory of one, and no training gets more of a machine than they do. */
  readonly apart: number;
}

/** Medians of rounds in which all three take turns. */
async function scalingEfficiency(name: ModelName): Promise<Efficiency> {
  const trainer = new DataParallelTrainer(async (rank) => {
    const { communicator } = rank;
    using mesh = await Mesh.open({ ...context().gang!, gangId: `alone-${process.pid}`, rank: 0, size: 1, nodeCount: 1 }, { pipeline: 1, data: 1, tensor: 1 });
    const own = await stepper(name, mesh);
    const shared = await stepper(name, rank.mesh);
    const [together, apart]: [number[], number[]] = [[], []];
    for (let round = -1; round < ROUNDS; round++) {
      const aloneMs = rank.rank === 0 ? await own() : NaN;
      await communicator.barrier();
      const apartMs = Float64Array.of(await own());
      await communicator.allReduce(apartMs, { op: 'average' });
      const togetherMs = await shared();
      if (round < 0) continue; // of warming up
      together.push(aloneMs / togetherMs);
      apart.push(aloneMs / apartMs[0]!);
    }
    return { together: median(together), apart: median(apart) };
  }, { ranks: 2, cpus: 1, progress: false });
  const { results } = await trainer.fit();
  return results[0]!;
}

/** A training whose every call makes some steps, and returns their milliseconds. */
async function stepper(name: ModelName, mesh: Mesh): Promise<() => Promise<number>> {
  manualSeed(1);
  const model = WORKLOADS[name].make();
  const given = WORKLOADS[name].batch();
  const training = await Training.begin({ model, optimizer: new optim.AdamW(model.parameters(), { learningRate: 1e-4 }) },
    { mesh, device: 'cpu', checkpoints: null, report: () => undefined, unfetched: () => [], warn: () => undefined });
  return async () => {
    const startMs = performance.now();
    for (let step = 0; step < STEPS[name]; step++) await training.step(() => lossOf(model, given));
    return performance.now() - startMs;
  };
}

/** Seconds from the end of a rank's process to the first step after the checkpoint, which is made anew. */
async function lostToKill(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-bench-train-'));
  const file = join(folder, 'killed-ms');
  try {
    const trainer = new DataParallelTrainer(async (rank) => {
      manualSeed(1);
      const model = WORKLOADS.mlp.make();
      const given = WORKLOADS.mlp.batch();
      const training = await rank.train({ model, optimizer: new optim.AdamW(model.parameters(), { learningRate: 1e-4 }) });
      const beganMs = Date.now();
      while (training.stepCount < LAST_STEP) {
        if (rank.incarnation === 1 && rank.rank === 1 && training.stepCount === KILLED_AT_STEP) {
          writeFileSync(file, String(Date.now()));
          process.kill(process.pid, 'SIGKILL');
        }
        await training.step(() => lossOf(model, given));
      }
      return beganMs;
    }, { ranks: 2, cpus: 1, progress: false, storage: join(folder, 'checkpoints'), checkpoint: { everySteps: EVERY_STEPS } });
    const { results } = await trainer.fit();
    return (Math.max(...results) - Number(readFileSync(file, 'utf8'))) / 1000;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
