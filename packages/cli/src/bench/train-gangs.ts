/** Trainings on gangs: what a second rank on a second core brings, and what it costs when one is killed. */
import { context, init, shutdown } from '@muster/core';
import { manualSeed, optim } from '@muster/tensor';
import { Mesh, DataParallelTrainer, Training } from '@muster/train';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { coreProbe } from './core-probe.js';
import type { BenchRecord } from './measure.js';
import { pythonProgram, type PythonProgram } from './native-program.js';
import { Scaling, wholeSpeed, type Kind, type Turn } from './scaling.js';
import { TorchSteps } from './torch-steps.js';
import { lossOf, MODEL_NAMES, WORKLOADS, type ModelName } from './train-models.js';

const RANKS = 2;
/** Rounds go on until so many turns of both have had whole cores, and in bad minutes for so long. */
const WHOLE_TURNS = 24;
const ROUNDS_MS_MAX = 150_000;
/** Of a turn: so many make about 100 ms on one core. */
const STEPS: Readonly<Record<ModelName, number>> = { mlp: 50, cnn: 4, gpt: 1 };
/** Turns before it counts. Until then V8 compiles on threads of its own, for which one rank alone has a core to spare, and two ranks have none. */
const WARM_UP_TURNS: Readonly<Record<ModelName, number>> = { mlp: 60, cnn: 100, gpt: 300 };
/** The same of a model that trains alone, whose code is the same. */
const OWN_WARM_UP_TURNS = 5;

const EVERY_STEPS = 50;
const KILLED_AT_STEP = 75;
const LAST_STEP = 100;

/** Runs the benchmarks on a cluster of their own. */
export async function runGangBench({ report, note }: { readonly report: (record: BenchRecord) => void; readonly note: (text: string) => void }): Promise<void> {
  const peer = pythonProgram('torch-ddp.py', 'DistributedDataParallel', note);
  await init({ cpus: RANKS, logs: false });
  note('Of two ranks, efficiencies, steps and ratios are those of medians over turns. Turns are left out in which a rank had less than a whole core: right before or after, matrix products in its core\'s own caches took a tenth longer than they can.');
  try {
    for (const name of MODEL_NAMES) {
      const what = `${WORKLOADS[name].title} a rank`;
      const { title, turns } = await scaling(name, peer);
      const own = new Scaling(turns, 'alone', 'together');
      report({ name: `${what}: turns in which each rank had a whole core`, value: own.wholeShare, unit: 'ratio', better: 'higher' });
      report({ name: `${what}: efficiency of ${RANKS} ranks, whatever they had`, value: own.anyEfficiency, unit: 'ratio', better: 'higher' });
      if (own.efficiency === null) {
        note(`${what}: its efficiency is left out, for want of turns in which each rank had a whole core: other programs, or other virtual machines, take of them.`);
        continue;
      }
      report({ name: `${what}: efficiency of ${RANKS} ranks on ${RANKS} cores`, value: own.efficiency, unit: 'ratio', better: 'higher' });
      const ceiling = new Scaling(turns, 'alone', 'apart').efficiency;
      if (ceiling !== null) report({ name: `${what}: its ceiling here, of ${RANKS} ranks that only wait for each other`, value: ceiling, unit: 'ratio', better: 'higher' });
      report({ name: `${what}: step of ${RANKS} ranks`, value: own.togetherMs, unit: 'ms', better: 'lower' });
      const theirs = new Scaling(turns, 'theirAlone', 'theirTogether');
      if (title === null || theirs.efficiency === null) continue;
      report({ name: `${what}: efficiency, ${title}`, value: theirs.efficiency, unit: 'ratio', better: 'higher' });
      report({ name: `${what}: step of ${RANKS} ranks, ${title}`, value: theirs.togetherMs, unit: 'ms', better: 'lower' });
      report({ name: `${what}: DistributedDataParallel's time to muster's`, value: theirs.togetherMs / own.togetherMs, unit: 'ratio', better: 'higher' });
    }
    report({ name: `a rank killed, checkpoint every ${EVERY_STEPS} steps: time lost beside the steps since`, value: await lostToKill(), unit: 's', better: 'lower' });
  } finally {
    await shutdown();
  }
}

/** Has the ranks take turns, and returns those of each rank. */
async function scaling(name: ModelName, peer: PythonProgram | null): Promise<{ readonly title: string | null; readonly turns: readonly (readonly Turn[])[] }> {
  const trainer = new DataParallelTrainer(async (rank) => {
    const { communicator } = rank;
    using mesh = await Mesh.open({ ...context().gang!, gangId: `alone-${process.pid}`, rank: 0, size: 1, nodeCount: 1 }, { pipeline: 1, data: 1, tensor: 1 });
    const own = await stepper(name, mesh);
    const shared = await stepper(name, rank.mesh);
    const torch = peer !== null && rank.rank === 0 ? new TorchSteps(peer.python, peer.script) : null;
    const title = await torch?.title() ?? null;
    const hasPeer = Float64Array.of(title === null ? 0 : 1);
    await communicator.broadcast(hasPeer, { root: 0 });
    const probe = coreProbe();
    for (let turn = 0; turn < WARM_UP_TURNS[name]; turn++) await shared();
    for (let turn = 0; turn < OWN_WARM_UP_TURNS; turn++) await own();
    const turns: Turn[] = [];
    const take = async (kind: Kind, body: () => Promise<number>): Promise<void> => {
      await communicator.barrier();
      const before = probe();
      await communicator.barrier();
      const ms = await body();
      await communicator.barrier();
      turns.push({ kind, ms, speed: Math.min(before, probe()) });
    };
    const startMs = performance.now();
    /** As long as a rank has too few turns that count, of the kind that a round ends with, and there is time. */
    const goesOn = async (): Promise<boolean> => {
      const whole = wholeSpeed(turns);
      const left = Float64Array.of(ROUNDS_MS_MAX - (performance.now() - startMs), turns.filter(({ kind, speed }) => kind === turns.at(-1)?.kind && speed >= whole).length);
      await communicator.allReduce(left, { op: 'min' });
      return left[0]! > 0 && left[1]! < WHOLE_TURNS;
    };
    while (await goesOn()) {
      for (let turn = 0; turn < RANKS; turn++) await take('alone', async () => (turn === rank.rank ? own() : NaN));
      await take('apart', () => own(() => communicator.barrier()));
      await take('together', shared);
      if (hasPeer[0] === 0) continue;
      for (const [kind, way] of [['theirAlone', 'alone'], ['theirTogether', 'together']] as const) {
        await take(kind, async () => await torch?.round(`${name} ${STEPS[name]} ${way}`) ?? NaN);
      }
    }
    await torch?.end();
    return { title, turns };
  }, { ranks: RANKS, cpus: 1, progress: false });
  const { results } = await trainer.fit();
  return { title: results[0]!.title, turns: results.map(({ turns }) => turns) };
}

/** A training whose every call makes some steps, with something done after each, and returns the milliseconds that one took. */
async function stepper(name: ModelName, mesh: Mesh): Promise<(after?: () => Promise<void>) => Promise<number>> {
  manualSeed(1);
  const model = WORKLOADS[name].make();
  const given = WORKLOADS[name].batch();
  const training = await Training.begin({ model, optimizer: new optim.AdamW(model.parameters(), { learningRate: 1e-4 }) },
    { mesh, device: 'cpu', checkpoints: null, report: () => undefined, unfetched: () => [], warn: () => undefined });
  return async (after) => {
    const startMs = performance.now();
    for (let step = 0; step < STEPS[name]; step++) {
      await training.step(() => lossOf(model, given));
      await after?.();
    }
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
