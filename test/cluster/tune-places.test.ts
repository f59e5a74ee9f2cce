/** Where trials run: as tasks, actors and gangs on real nodes that die; and how many at once. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { context, nodes, remote, type MusterError } from '@muster/core';
import { asha, choice, pbt, random, readExperiment, tune, uniform, type SteppedTrial, type Trial, type TrialStep, type TuneOptions } from '@muster/tune';
import t from 'tap';
import { TestCluster, type TestNode } from '../support/cluster.js';
import { makeLatch } from '../support/latch.js';
import { rejection, until } from '../support/until.js';

const root = mkdtempSync(join(tmpdir(), 'muster-p-'));
const cluster = await TestCluster.start({ nodeTimeout: '1500ms', nodes: [{ cpus: 2 }] });
await cluster.connect();
t.teardown(async () => {
  await cluster.stop();
  rmSync(root, { recursive: true, force: true });
});
let folders = 0;
const fresh = (): string => join(root, `e${++folders}`);
const allIsFree = (): Promise<void> => until('nothing is held', async () => (await nodes()).every(({ state, total, available }) => state !== 'alive' || available['cpu'] === total['cpu']));

const SPACE = { x: uniform(0, 10) };
const QUIET = { space: SPACE, metric: 'loss', loggers: [] } as const;

/** Comes nearer to its configuration's value with every step. */
class Approach implements SteppedTrial<{ x: number }> {
  #distance = 0;
  #left: number;
  readonly #origin = process.pid;
  constructor(readonly config: { x: number }) {
    this.#left = config.x;
  }
  step({ step, attempt }: TrialStep) {
    if (step > 6) return undefined;
    this.#left /= 2;
    this.#distance++;
    return { loss: this.#left, distance: this.#distance, pid: process.pid, origin: this.#origin, attempt };
  }
  save() {
    return { left: this.#left, distance: this.#distance };
  }
  load({ left, distance }: { left: number; distance: number }) {
    this.#left = left;
    this.#distance = distance;
  }
}

t.test('a class is stepped until it says that it is done, one after another in processes that are free afterwards', async (t) => {
  const closed = await makeLatch();
  class Closing extends Approach {
    #id = '';
    override step(trial: TrialStep) {
      this.#id = trial.id;
      return super.step(trial);
    }
    async close() {
      await closed.note(this.#id);
    }
  }
  const result = await tune(Closing, { ...QUIET, trials: 5 });
  t.same(result.trials.map(({ status, step }) => [status, step]), Array.from({ length: 5 }, () => ['completed', 6]));
  t.equal(new Set(result.trials.map(({ metrics }) => metrics['pid'])).size, 2, 'a process for each cpu');
  t.ok(result.trials.every(({ config, metrics }) => metrics['loss'] === config.x / 64));
  t.same(result.best.checkpoint, { left: result.best.metrics['loss'], distance: 6 });
  await allIsFree();
  t.equal((await closed.entries()).length, 3, 'all but the last one of each process');
  const stopped = await tune(Approach, { ...QUIET, trials: 4, scheduler: asha({ maxEpochs: 2, reductionFactor: 2 }) });
  t.ok(stopped.trials.every(({ status, step }) => status === (step === 2 ? 'completed' : 'stopped')), 'it is ended between its steps');
});

t.test('what goes wrong in a class ends its trial alone, with its cause', async (t) => {
  class Faulty implements SteppedTrial<{ fault: string }> {
    constructor(readonly config: { fault: string }) {
      if (config.fault === 'constructor') throw new RangeError('not built');
    }
    async step({ step }: TrialStep) {
      if (this.config.fault === 'step') throw new RangeError('no step');
      if (this.config.fault === 'nan') return { loss: Number.NaN };
      if (this.config.fault === 'exits') process.exit(3);
      if (this.config.fault === 'hangs') for (;;);
      return step > 1 ? null : { loss: 1 };
    }
  }
  const faults = ['none', 'constructor', 'step', 'nan', 'exits', 'hangs'];
  const result = await tune(Faulty, {
    ...QUIET, space: { fault: choice(faults) }, initialPoints: faults.map((fault) => ({ fault })), trials: faults.length, retries: 1, trialTimeoutMs: 1500,
  });
  const ends = Object.fromEntries(result.trials.map(({ config, status, endReason }) => [config.fault, `${status}: ${endReason}`]));
  t.equal(ends['none'], 'completed: it ran to its end');
  t.match(ends['constructor'], /^failed: RangeError: not built/);
  t.match(ends['step'], /^failed: RangeError: no step/);
  t.match(ends['nan'], /^failed: .*its metric 'loss' is NaN/);
  t.match(ends['exits'], /^failed: attempt 2 failed, too: ActorDiedError/);
  t.match(ends['hangs'], /^failed: TimeoutError: trial \d took longer than 1\.5 s/);
  await allIsFree();
  const notOne = await rejection<MusterError>(tune(class Other {} as never, QUIET));
  t.match(notOne, { code: 'INVALID_ARGUMENT', message: /class Other.*a class with the method step\(\)/ });
});

t.test('population-based training goes on in place: a class takes over a checkpoint and a configuration in its own process', async (t) => {
  class Climber implements SteppedTrial<{ rate: number }> {
    #height = 0;
    #loads = 0;
    #rate: number;
    readonly #firstRate: number;
    constructor({ rate }: { rate: number }) {
      this.#rate = this.#firstRate = rate;
    }
    step({ step }: TrialStep) {
      if (step > 10) return undefined; // whoever takes over at step 9 makes one more
      return { height: (this.#height += this.#rate), loads: this.#loads, pid: process.pid, rate: this.#rate, firstRate: this.#firstRate };
    }
    save() {
      return this.#height;
    }
    load(height: number, { rate }: { rate: number }) {
      this.#height = height;
      this.#rate = rate;
      this.#loads++;
    }
  }
  const storage = fresh();
  const options = { space: { rate: uniform(0, 1) }, metric: 'height', mode: 'max', loggers: [], trials: 4, maxConcurrent: 1, scheduler: pbt({ intervalEpochs: 3, quantile: 0.5 }), storage } as const;
  const result = await tune(Climber, { ...options, resources: { cpus: 0.5 } });
  t.same(result.trials.map(({ status, step }) => [status, step]), Array.from({ length: 4 }, () => ['completed', 10]));
  const records = [...readExperiment(storage).records];
  const exploits = records.flatMap((record) => (record.kind === 'report' && record.decision.kind === 'exploit' ? [record.id] : []));
  t.ok(exploits.length > 0, 'somebody went on from somebody else');
  for (const { id, config, metrics } of result.trials) {
    const taken = exploits.filter((exploited) => exploited === id).length;
    t.match(metrics, { loads: taken, rate: config.rate });
    t.equal(new Set(records.flatMap((record) => (record.kind === 'report' && record.id === id ? [record.metrics['pid']] : []))).size, 1, 'one process from first to last');
    if (taken > 0) t.not(metrics['firstRate'], config.rate);
  }
});

t.test('a gang\'s ranks run side by side; what rank 0 reports counts, and all are told the same', async (t) => {
  const latch = await makeLatch();
  const result = await tune(async ({ x }, trial: Trial) => {
    const { rank, size } = context().gang!;
    let told = 0;
    for (let epoch = trial.startEpoch; epoch < 9; epoch++) {
      if (!(await trial.report({ loss: x + rank * 100 + epoch }, { onStop: 'return' }))) break;
      told++;
    }
    await latch.note(`${trial.id}/${rank} of ${size}: ${told}`);
    return rank === 0 ? undefined : { loss: -1 };
  }, { ...QUIET, trials: 2, gang: { size: 2, strategy: 'strict-pack' }, scheduler: asha({ maxEpochs: 4 }) });
  t.ok(result.trials.every(({ config, metrics, step }) => metrics['loss'] === config.x + step - 1));
  const told = result.trials.flatMap(({ id, step }) => [0, 1].map((rank) => `${id}/${rank} of 2: ${step - 1}`));
  t.same((await latch.entries()).sort(), told.sort());
});

t.test('a population of gangs goes on in place: every rank from the checkpoint of another trial\'s first one', async (t) => {
  const latch = await makeLatch();
  const result = await tune(async ({ rate }, trial: Trial) => {
    const from = trial.checkpoint as { height: number; of: string } | null;
    if (from !== null) await latch.note(`${trial.id}/${context().gang!.rank} at ${trial.startEpoch} from ${from.of} at ${from.height}`);
    let height = from?.height ?? 0;
    for (let epoch = trial.startEpoch; epoch < 6; epoch++) {
      height += rate;
      await trial.report({ height, gangs: context().gang!.gangId }, { checkpoint: { height, of: trial.id } });
    }
  }, {
    space: { rate: uniform(0, 1) }, metric: 'height', mode: 'max', loggers: [], trials: 4, maxConcurrent: 2, gang: { size: 2 }, resources: { cpus: 0.5 },
    scheduler: pbt({ intervalEpochs: 2, quantile: 0.5 }),
  });
  t.same(result.trials.map(({ status, step, attempts }) => [status, step, attempts]), Array.from({ length: 4 }, () => ['completed', 6, 1]));
  const taken = (await latch.entries()).map((entry) => entry.replace(/\/\d/, ''));
  t.ok(taken.length > 0 && taken.every((entry) => taken.filter((other) => other === entry).length % 2 === 0), `both ranks of each: ${taken.join(', ')}`);
});

t.test('two gangs that need all of the cluster run one after the other, and the one that waits holds nothing', async (t) => {
  const latch = await makeLatch();
  const ended = tune(async ({ x }) => {
    await latch.note(context().gang!.gangId);
    await latch.opened();
    return x;
  }, { ...QUIET, trials: 2, maxConcurrent: 2, gang: { size: 2 } });
  t.equal(new Set(await latch.noted(2)).size, 1, 'both ranks of one gang, and none of the other');
  await latch.open();
  t.equal((await ended).trials.length, 2);
  t.equal(new Set(await latch.entries()).size, 2);
  await t.rejects(tune(() => 1, { ...QUIET, trials: 1, gang: { size: 3 } }), { code: 'UNSCHEDULABLE' });
  await t.rejects(tune(() => 1, { ...QUIET, gang: { size: 0 } }), { code: 'INVALID_ARGUMENT', message: /gang\.size: 0/ });
  await t.rejects(tune(() => 1, { ...QUIET, gang: { size: 2, cpus: 1 } as never }), { code: 'INVALID_ARGUMENT', message: /the option 'cpus' of gang/ });
});

t.test('a gang goes on from its last checkpoint when a rank dies, and its trial fails when a rank throws', async (t) => {
  const run = (rankThatEnds: number, how: 'dies' | 'throws'): ReturnType<typeof tune<typeof SPACE>> => tune(async (_, trial: Trial) => {
    const { rank } = context().gang!;
    let sum = (trial.checkpoint as number | null) ?? 0;
    for (let epoch = trial.startEpoch; epoch < 4; epoch++) {
      sum += 1;
      await trial.report({ loss: sum, attempt: trial.attempt, startEpoch: trial.startEpoch }, epoch === 1 ? { checkpoint: sum } : {});
      if (epoch !== 2 || trial.attempt > 1) continue;
      if (rank !== rankThatEnds) await new Promise(() => {}); // as in a collective operation whose other rank is gone
      if (how === 'dies') process.kill(process.pid, 'SIGKILL');
      throw new RangeError(`rank ${rank} will not`);
    }
  }, { ...QUIET, trials: 1, gang: { size: 2 } });
  for (const rank of [0, 1]) t.match((await run(rank, 'dies')).best, { step: 4, attempts: 2, metrics: { loss: 4, attempt: 2, startEpoch: 2 } }, `rank ${rank}`);
  await t.rejects(run(1, 'throws'), { code: 'EXPERIMENT_FAILED', message: /RangeError: rank 1 will not/ });
  await allIsFree();
});

t.test('ranks that go on after rank 0 has ended are ended', async (t) => {
  const result = await tune(async ({ x }) => (context().gang!.rank === 0 ? x : new Promise<number>(() => {})), { ...QUIET, trials: 1, gang: { size: 2 } });
  t.match(result.best, { status: 'completed', metrics: { loss: result.best.config.x } });
  await allIsFree();
});

t.test('a trial of any kind goes on from its last checkpoint on another node when its node is lost', async (t) => {
  class Slow implements SteppedTrial<{ x: number }> {
    #sum = 0;
    async step({ step, attempt }: TrialStep) {
      if (step > 4) return undefined;
      if (step === 3 && attempt === 1) await new Promise(() => {});
      return { loss: (this.#sum += step), attempt, nodeId: context().nodeId };
    }
    save() { return this.#sum; }
    load(sum: number) { this.#sum = sum; }
  }
  const slow = async (_: { x: number }, trial: Trial): Promise<void> => {
    let sum = (trial.checkpoint as number | null) ?? 0;
    for (let step = trial.startEpoch + 1; step <= 4; step++) {
      if (step === 3 && trial.attempt === 1) await new Promise(() => {});
      sum += step;
      await trial.report({ loss: sum, attempt: trial.attempt, nodeId: context().nodeId }, { checkpoint: sum });
    }
  };
  // What dies is a node of its own, which alone has the resource that trials ask for, until there is another such node.
  const kinds: [string, Parameters<typeof tune<typeof SPACE>>[0], Partial<TuneOptions<typeof SPACE>>][] = [['task', slow, {}], ['actor', Slow, {}], ['gang', slow, { gang: { size: 2, strategy: 'strict-pack' } }]];
  for (const [kind, trainable, options] of kinds) {
    const lost = await cluster.addNode({ cpus: 2, labels: { kind } });
    let spare: Promise<TestNode> | null = null;
    const killer = {
      name: 'killer', begin: () => {}, close: async () => {},
      record: (record: { kind: string; step?: number }) => {
        if (record.kind !== 'report' || record.step !== 2) return;
        spare = cluster.addNode({ cpus: 2, labels: { kind } });
        void spare.then(() => lost.kill('SIGKILL'));
      },
    };
    const where = kind === 'gang' ? { ...options, gang: { ...options.gang!, labels: { kind } } } : { resources: { placement: { labels: { kind } } } };
    const { best } = await tune(trainable as typeof slow, { ...QUIET, trials: 1, ...where, loggers: [killer] });
    t.match(best, { step: 4, attempts: 2, metrics: { loss: 10, attempt: 2, nodeId: (await spare!).nodeId } }, kind);
  }
});

t.test('trials that the time budget finds in the middle of work are ended, of every kind', async (t) => {
  const latch = await makeLatch();
  class Endless implements SteppedTrial<{ x: number }> {
    async step(): Promise<never> {
      await latch.note('class');
      for (;;);
    }
  }
  const endless = async (): Promise<never> => {
    await latch.note('function');
    for (;;);
  };
  const options = { ...QUIET, trials: 1, timeBudgetMs: 15_000 } as const; // by then all of them work, also on a loaded machine
  const ends = Promise.all([tune(endless, options), tune(Endless, options), tune(endless, { ...options, gang: { size: 2 } })]
    .map((ended) => t.rejects(ended, { code: 'EXPERIMENT_FAILED', message: /time budget/ })));
  await Promise.race([latch.noted(4), ends]);
  t.same((await latch.entries()).toSorted(), ['class', 'function', 'function', 'function']);
  await ends;
  await allIsFree();
  t.equal(await remote(() => 1)(), 1);
});

t.test('as many trials run at once as the cluster has room for, also when a node comes', async (t) => {
  const latch = await makeLatch();
  await cluster.addNode({ cpus: 1, gpus: 2 });
  const ended = tune(async ({ x }, trial: Trial) => {
    await latch.note(trial.id);
    await latch.opened();
    return x;
  }, { ...QUIET, trials: 12, searcher: random(), resources: { cpus: 0.1, gpus: 1 } });
  await latch.noted(2);
  t.equal((await latch.entries()).length, 2);
  await cluster.addNode({ cpus: 1, gpus: 3 });
  await latch.noted(5);
  t.equal((await latch.entries()).length, 5, 'and no more');
  await latch.open();
  t.equal((await ended).trials.length, 12);
});
