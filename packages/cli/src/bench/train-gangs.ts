/** Trainings on gangs: what a second rank on a second core brings, and what it costs when one is killed. */
import { context, init, shutdown } from '@muster/core';
import { manualSeed, optim } from '@muster/tensor';
import { Mesh, DataParallelTrainer, Training } from '@muster/train';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median, type BenchRecord } from './measure.js';
import { pythonProgram, type PythonProgram } from './native-program.js';
import { TorchSteps } from './torch-steps.js';
import { lossOf, MODEL_NAMES, WORKLOADS, type ModelName } from './train-models.js';

const RANKS = 2;
const ROUNDS = 25;
/** So many make about 100 ms on one core. */
const STEPS: Readonly<Record<ModelName, number>> = { mlp: 50, cnn: 4, gpt: 1 };
/** So many times that before it counts: code that V8 has not compiled to the end yet is slower. */
const WARM_UP_TURNS = 20;

const EVERY_STEPS = 50;
const KILLED_AT_STEP = 75;
const LAST_STEP = 100;

/** Runs the benchmarks on a cluster of their own. */
export async function runGangBench({ report, note }: { readonly report: (record: BenchRecord) => void; readonly note: (text: string) => void }): Promise<void> {
  const peer = pythonProgram('torch-ddp.py', 'DistributedDataParallel', note);
  await init({ cpus: RANKS, logs: false });
  try {
    for (const name of MODEL_NAMES) {
      const { efficiency, ceiling, togetherMs, theirs } = await scaling(name, peer);
      const what = `${WORKLOADS[name].title} a rank`;
      report({ name: `${what}: efficiency of ${RANKS} ranks on ${RANKS} cores`, value: efficiency, unit: 'ratio', better: 'higher' });
      report({ name: `${what}: its ceiling here, of ${RANKS} ranks that only wait for each other`, value: ceiling, unit: 'ratio', better: 'higher' });
      report({ name: `${what}: step of ${RANKS} ranks`, value: togetherMs, unit: 'ms', better: 'lower' });
      if (theirs === null) continue;
      report({ name: `${what}: efficiency, ${theirs.title}`, value: theirs.efficiency, unit: 'ratio', better: 'higher' });
      report({ name: `${what}: step of ${RANKS} ranks, ${theirs.title}`, value: theirs.togetherMs, unit: 'ms', better: 'lower' });
      report({ name: `${what}: DistributedDataParallel's time to muster's`, value: theirs.ratio, unit: 'ratio', better: 'higher' });
    }
    report({ name: `a rank killed, checkpoint every ${EVERY_STEPS} steps: time lost beside the steps since`, value: await lostToKill(), unit: 's', better: 'lower' });
  } finally {
    await shutdown();
  }
}

/** What a step takes of one rank alone, the mean over the ranks, to what it takes when both make it at the same time, each with a batch of its own. */
interface Scaling {
  /** Of one training. */
  readonly efficiency: number;
  /** Of a training each, the slower one: no training gets more of a machine than two programs side by side, and every step of it has to wait for both. */
  readonly ceiling: number;
  readonly togetherMs: number;
  /** `ratio`: of its step of two ranks to ours. */
  readonly theirs: { readonly title: string; readonly efficiency: number; readonly togetherMs: number; readonly ratio: number } | null;
}

/** Medians of rounds in which all take turns. */
async function scaling(name: ModelName, peer: PythonProgram | null): Promise<Scaling> {
  const trainer = new DataParallelTrainer(async (rank) => {
    const { communicator } = rank;
    using mesh = await Mesh.open({ ...context().gang!, gangId: `alone-${process.pid}`, rank: 0, size: 1, nodeCount: 1 }, { pipeline: 1, data: 1, tensor: 1 });
    const own = await stepper(name, mesh);
    const shared = await stepper(name, rank.mesh);
    const torch = peer !== null && rank.rank === 0 ? new TorchSteps(peer.python, peer.script) : null;
    const title = await torch?.title() ?? null;
    const over = async (value: number, op: 'average' | 'max'): Promise<number> => {
      const values = Float64Array.of(value);
      await communicator.allReduce(values, { op });
      return values[0]!;
    };
    for (let turn = 0; turn < WARM_UP_TURNS; turn++) await own();
    for (let turn = 0; turn < WARM_UP_TURNS; turn++) await shared();
    const rounds: { alone: number; apart: number; together: number; theirAlone: number; theirTogether: number }[] = [];
    for (let round = -1; round < ROUNDS; round++) {
      let aloneMs = 0;
      for (let turn = 0; turn < RANKS; turn++) {
        await communicator.barrier();
        if (turn === rank.rank) aloneMs = await own();
      }
      const alone = await over(aloneMs, 'average');
      const apart = await over(await own(), 'max');
      const together = await over(await shared(), 'max');
      const [theirAlone, theirTogether] = title === null ? [NaN, NaN] : [await torch!.round(`${name} ${STEPS[name]} alone`), await torch!.round(`${name} ${STEPS[name]} together`)];
      await communicator.barrier();
      if (round >= 0) rounds.push({ alone, apart, together, theirAlone, theirTogether }); // the first one warms up what was not
    }
    await torch?.end();
    const medianOf = (valueOf: (round: (typeof rounds)[number]) => number): number => median(rounds.map(valueOf));
    return {
      efficiency: medianOf(({ alone, together }) => alone / together), ceiling: medianOf(({ alone, apart }) => alone / apart), togetherMs: medianOf(({ together }) => together),
      theirs: title === null ? null : {
        title, efficiency: medianOf(({ theirAlone, theirTogether }) => theirAlone / theirTogether), togetherMs: medianOf(({ theirTogether }) => theirTogether),
        ratio: medianOf(({ together, theirTogether }) => theirTogether / together),
      },
    };
  }, { ranks: RANKS, cpus: 1, progress: false });
  const { results } = await trainer.fit();
  return results[0]!;
}

/** A training whose every call makes some steps, and returns the milliseconds that one took. */
async function stepper(name: ModelName, mesh: Mesh): Promise<() => Promise<number>> {
  manualSeed(1);
  const model = WORKLOADS[name].make();
  const given = WORKLOADS[name].batch();
  const training = await Training.begin({ model, optimizer: new optim.AdamW(model.parameters(), { learningRate: 1e-4 }) },
    { mesh, device: 'cpu', checkpoints: null, report: () => undefined, unfetched: () => [], warn: () => undefined });
  return async () => {
    const startMs = performance.now();
    for (let step = 0; step < STEPS[name]; step++) await training.step(() => lossOf(model, given));
    return (performance.now() - startMs) / STEPS[name];
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
