/** Experiments on real processes: trials that fail, hang or lose their worker, and drivers that die. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asha, choice, pb2, pbt, random, readExperiment, tpe, tune, uniform, type LogRecord, type SchedulerDefinition, type Trial, type TrialRow, type TuneOptions } from '@muster/tune';
import { shutdown } from '@muster/core';
import type { ActorRow, ListAnswer } from '@muster/head';
import t from 'tap';
import { TestCluster } from '../support/cluster.js';
import { isAlive } from '../support/processes.js';
import { Program } from '../support/program.js';

const root = mkdtempSync(join(tmpdir(), 'muster-u-'));
const cluster = await TestCluster.start({ nodes: [{ cpus: 2 }] });
await cluster.connect();
t.teardown(async () => {
  await cluster.stop();
  rmSync(root, { recursive: true, force: true });
});
let folders = 0;
const fresh = (): string => join(root, `e${++folders}`);

const SPACE = { x: uniform(0, 10) };
/** What must never change of a trial that has ended. */
const asEnded = (row: TrialRow | undefined): unknown => row && { config: row.config, metrics: row.metrics, status: row.status, step: row.step };

const QUIET = { space: SPACE, metric: 'loss', loggers: [], resources: { cpus: 0.5 } } as const;

/** Stops every trial at this step. */
const stopsAt = (step: number): SchedulerDefinition => ({
  name: 'stops', create: () => ({ start: () => {}, end: () => {}, state: () => null, report: (report) => ({ kind: report.step < step ? 'continue' : 'stop', reason: `step ${report.step}` }) }),
});

t.test('functions that return a number, metrics, or report them all find the best', async (t) => {
  const number = await tune(({ x }) => (x - 3) ** 2, { ...QUIET, trials: 12, maxConcurrent: 4 });
  const object = await tune(async ({ x }) => ({ loss: (x - 3) ** 2, note: 'by hand' }), { ...QUIET, trials: 12, maxConcurrent: 4 });
  const reporting = await tune(async ({ x }, trial) => { await trial.report({ loss: (x - 3) ** 2 }); }, { ...QUIET, trials: 12, maxConcurrent: 4 });
  const best = Math.min(...number.trials.map(({ metrics }) => metrics['loss'] as number));
  t.equal(number.best.metrics['loss'], best);
  t.equal((number.best.config.x - 3) ** 2, best);
  t.match(object.best.metrics, { loss: best, note: 'by hand' });
  t.equal(reporting.best.metrics['loss'], best, 'random search draws the same points for the same seed');
  t.equal(number.reason, 'all 12 trials have begun');
  const together = await Promise.all([1, 2].map((seed) => tune(({ x }) => x, { ...QUIET, trials: 5, seed })));
  t.same(together.map(({ trials }) => trials.length), [5, 5], 'two experiments in one program');
});

t.test('run in turn, equal seeds give equal experiments, and others others', async (t) => {
  const configs = async (seed: number): Promise<unknown> =>
    (await tune(({ x }) => x, { ...QUIET, trials: 15, maxConcurrent: 1, searcher: tpe(), seed })).trials.map(({ config, reason }) => ({ config, reason }));
  const first = await configs(1);
  t.same(await configs(1), first);
  t.notSame(await configs(2), first);
});

t.test('what can go wrong in a trial ends that trial alone, with its cause', async (t) => {
  const behaviours = ['returns', 'throws', 'nothing', 'nan', 'missing', 'hangs', 'late', 'exits'] as const;
  const result = await tune(async ({ behaviour }, trial) => {
    switch (behaviour) {
      case 'returns': return { loss: 1 };
      case 'throws': throw new RangeError('out of tune');
      case 'nothing': return undefined;
      case 'nan': await trial.report({ loss: Number.NaN }); return undefined;
      case 'missing': await trial.report({ accuracy: 1 }); return undefined;
      case 'hangs': for (;;);
      case 'late': await new Promise(() => {}); return undefined;
      case 'exits': return process.exit(3);
    }
  }, {
    ...QUIET, space: { behaviour: choice(behaviours) }, searcher: random(), trials: behaviours.length, trialTimeoutMs: 1500, retries: 1, maxConcurrent: 4,
    initialPoints: behaviours.map((behaviour) => ({ behaviour })),
  });
  const ends = Object.fromEntries(result.trials.map(({ config, status, endReason }) => [config.behaviour, `${status}: ${endReason}`]));
  t.equal(ends['returns'], 'completed: it ran to its end');
  t.match(ends['throws'], /^failed: RangeError: out of tune/);
  t.match(ends['nothing'], /^failed: it ended without a result: return \{ loss \}/);
  t.match(ends['nan'], /^failed: .*its metric 'loss' is NaN, and must be a finite number/);
  t.match(ends['missing'], /^failed: .*lacks the metric 'loss'; it has accuracy/);
  t.match(ends['hangs'], /^failed: TimeoutError/);
  t.match(ends['late'], /^failed: TimeoutError/);
  t.match(ends['exits'], /^failed: attempt 2 failed, too: WorkerDiedError/);
});

t.test('an experiment of which every trial fails rejects, with the first cause', async (t) => {
  const failing = tune(async () => { throw new Error('no data here'); }, { ...QUIET, trials: 3 });
  await t.rejects(failing, { code: 'EXPERIMENT_FAILED', message: /of its 3 trials none has one; the first that failed: Error: no data here/ });
});

t.test('what no trial could be run with fails at once', async (t) => {
  await t.rejects(tune(() => 1, { ...QUIET, resources: { gpus: 64 } }), { code: 'UNSCHEDULABLE' });
  await t.rejects(tune(() => 1, { ...QUIET, space: {} as never }), { code: 'INVALID_ARGUMENT', message: /at least one parameter/ });
  await t.rejects(tune(() => 1, { ...QUIET, trial: 3 } as never), { code: 'INVALID_ARGUMENT', message: /the option 'trial'/ });
  await t.rejects(tune(() => 1, { ...QUIET, resume: true }), { code: 'INVALID_ARGUMENT', message: /resume without storage/ });
  await t.rejects(tune(() => 1, { ...QUIET, initialPoints: [{ x: 11 }] }), { code: 'INVALID_ARGUMENT', message: /a number from 0 to 10/ });
  await t.rejects(tune(() => 1, { space: SPACE } as never), { code: 'INVALID_ARGUMENT', message: /metric/ });
});

t.test('a trial whose worker dies goes on from its last checkpoint, and its reports are not decided twice', async (t) => {
  const storage = fresh();
  const result = await tune(async (_, trial: Trial) => {
    let sum = (trial.checkpoint as { sum: number; big: Float64Array } | null)?.sum ?? 0;
    for (let epoch = trial.startEpoch; epoch < 6; epoch++) {
      sum += epoch;
      await trial.report({ loss: sum, attempt: trial.attempt }, epoch % 2 === 1 ? { checkpoint: { sum, big: new Float64Array(20_000) } } : {});
      if (epoch === 4 && trial.attempt === 1) process.kill(process.pid, 'SIGKILL');
    }
  }, { ...QUIET, trials: 1, storage });
  t.match(result.best, { step: 6, attempts: 2, metrics: { loss: 15, attempt: 2 } });
  t.equal((result.best.checkpoint as { sum: number }).sum, 15);
  const records = [...readExperiment(storage).records];
  t.same(records.flatMap((record) => (record.kind === 'report' ? [record.step] : [])), [1, 2, 3, 4, 5, 6]);
  t.equal(records.filter(({ kind }) => kind === 'retry').length, 1);
  t.same(readdirSync(join(storage, 'checkpoints')), ['trial-1-step-6.bin'], 'only the last checkpoint is kept');
});

t.test('a trial whose checkpoint was removed starts from its beginning, and what it had reported is not decided again', async (t) => {
  const storage = fresh();
  const abort = new AbortController();
  const options: TuneOptions<typeof SPACE> = { ...QUIET, trials: 1, storage, resume: true };
  const trainable = async ({ x }: { x: number }, trial: Trial): Promise<void> => {
    for (let epoch = trial.startEpoch; epoch < 5; epoch++) await trial.report({ loss: x + epoch, startEpoch: trial.startEpoch }, { checkpoint: epoch });
  };
  const heard = { name: 'heard', begin: () => {}, close: async () => {}, record: (record: LogRecord) => { if (record.kind === 'report' && record.step === 3) abort.abort(new Error('enough')); } };
  await t.rejects(tune(trainable, { ...options, loggers: [heard], signal: abort.signal }), { message: 'enough' });
  rmSync(join(storage, 'checkpoints'), { recursive: true });
  t.match((await tune(trainable, options)).best, { step: 5, metrics: { startEpoch: 0 }, checkpoint: 4 });
  t.same([...readExperiment(storage).records].flatMap((record) => (record.kind === 'report' ? [record.step] : [])), [1, 2, 3, 4, 5]);
});

t.test('a stopped trial ends at its report, whether it catches errors, asks, or returns something', async (t) => {
  const result = await tune(async ({ style }, trial) => {
    for (let epoch = trial.startEpoch; epoch < 50; epoch++) {
      if (style === 'asks') {
        if (!(await trial.report({ loss: 1 }, { onStop: 'return' }))) return { loss: -99 };
      } else if (style === 'catches') await trial.report({ loss: 1 }).catch(() => {});
      else await trial.report({ loss: 1 });
    }
    return undefined;
  }, { ...QUIET, space: { style: choice(['asks', 'catches', 'throws']) }, initialPoints: [{ style: 'asks' }, { style: 'catches' }, { style: 'throws' }], trials: 3, scheduler: stopsAt(3) });
  t.same(result.trials.map(({ status, metrics }) => [status, metrics['loss']]), Array.from({ length: 3 }, () => ['stopped', 1]));
});

t.test('a stopped trial that does not end is ended, whether it waits, works, or goes on until its signal says so', async (t) => {
  const styles = ['waits', 'works', 'heeds its signal', 'never reports'];
  const result = await tune(async ({ style }, trial) => {
    if (style === 'never reports') return { loss: 5 };
    await trial.report({ loss: styles.indexOf(style) }, { onStop: 'return' });
    if (style === 'works') for (;;);
    return new Promise<void>((resolve) => { if (style !== 'waits') trial.signal.addEventListener('abort', () => resolve()); });
  }, { ...QUIET, space: { style: choice(styles) }, initialPoints: styles.map((style) => ({ style })), trials: 4, resources: { cpus: 0.25 }, scheduler: stopsAt(1) });
  t.same(result.trials.map(({ status, metrics }) => [status, metrics['loss']]), [['stopped', 0], ['stopped', 1], ['stopped', 2], ['completed', 5]]);
});

for (const scheduler of [pbt({ intervalEpochs: 3, quantile: 0.5 }), pb2({ intervalEpochs: 3, quantile: 0.5 })]) t.test(`population-based training goes on from the checkpoints of others: ${scheduler.name}`, async (t) => {
  const storage = fresh();
  const result = await tune(async ({ rate }, trial) => {
    let { value, epochs } = (trial.checkpoint as { value: number; epochs: number } | null) ?? { value: 0, epochs: 0 };
    for (let epoch = trial.startEpoch; epoch < 12; epoch++) {
      value += rate;
      await trial.report({ value, epochs: ++epochs, rate }, { checkpoint: { value, epochs } });
    }
  }, { space: { rate: uniform(0, 1) }, metric: 'value', mode: 'max', loggers: [], trials: 8, maxConcurrent: 2, resources: { cpus: 0.25 }, scheduler, storage });
  const reports = [...readExperiment(storage).records].filter((record) => record.kind === 'report');
  t.ok(reports.some(({ decision }) => decision.kind === 'exploit'), 'somebody went on from somebody else');
  t.same(result.trials.map(({ step }) => step), Array.from({ length: 8 }, () => 12));
  t.same(result.trials.filter(({ config, metrics }) => config.rate !== metrics['rate']), [], 'a result is of what was trained with, also where a trial was told at its last step to go on from another');
  t.same(reports.filter(({ step, metrics }) => metrics['epochs'] !== step), [], 'from where the other was at that step, though it was done by then: nobody trains longer than others');
});

t.test('a time budget stops trials that report and those that do not; an aborted experiment can be resumed', async (t) => {
  const timed = tune(async ({ style }, trial) => {
    for (;;) {
      if (style === 'reports') await trial.report({ loss: 1 });
      else await new Promise((resolve) => trial.signal.addEventListener('abort', resolve));
    }
  }, { ...QUIET, space: { style: choice(['reports', 'waits']) }, initialPoints: [{ style: 'reports' }, { style: 'waits' }], trials: 2, maxConcurrent: 2, timeBudgetMs: 1500 });
  t.match((await timed).trials, [{ status: 'stopped', endReason: /time budget/ }, { status: 'stopped', endReason: /time budget/ }]);

  const storage = fresh();
  const abort = new AbortController();
  const options: TuneOptions<typeof SPACE> = { ...QUIET, trials: 6, maxConcurrent: 1, storage, resume: true };
  const heard = { name: 'heard', begin: () => {}, close: async () => {}, record: (record: LogRecord) => { if (record.kind === 'end' && record.id === '3') abort.abort(new Error('enough')); } };
  await t.rejects(tune(({ x }) => x, { ...options, loggers: [heard], signal: abort.signal }), { message: 'enough' });
  t.equal(readExperiment(storage).finished, null);
  t.equal((await tune(({ x }) => x, options)).trials.length, 6);
  t.equal((await tune(({ x }) => x, { ...options, trials: 8 })).trials.length, 8, 'a finished experiment goes on with a larger budget');
  await t.rejects(tune(({ x }) => x, { ...options, seed: 5 }), { code: 'EXPERIMENT_DIFFERS', message: /its seed is 0, and not 5/ });
  await t.rejects(tune(({ x }) => x, { ...options, searcher: random({ seed: 5 }) }), { code: 'EXPERIMENT_DIFFERS', message: /its searcherSeed is 0, and not 5/ });
  await t.rejects(tune(({ x }) => x, { ...options, resume: false }), { code: 'EXPERIMENT_EXISTS' });
});

t.test('what is refused before the first trial leaves the folder free, and what is another experiment is told by its parameter', async (t) => {
  const options = { ...QUIET, trials: 2, storage: fresh() } as const;
  await t.rejects(tune(({ x }) => x, { ...options, searcher: asha({ maxEpochs: 3 }) as never }), { code: 'INVALID_ARGUMENT', message: /searcher: asha\(\) .*schedulers go into the option scheduler/ });
  await t.rejects(tune(({ x }) => x, { ...options, scheduler: tpe() as never }), { code: 'INVALID_ARGUMENT', message: /scheduler: tpe\(\) .*searchers go into the option searcher/ });
  await t.rejects(tune(({ x }) => x, { ...options, searcher: tpe({ startupTrials: 0 }) }), { code: 'INVALID_ARGUMENT', message: /startupTrials/ });
  t.equal((await tune(({ x }) => x, options)).trials.length, 2);
  const differs = (space: object, message: RegExp) => t.rejects(tune(() => 1, { ...options, space: space as typeof SPACE, resume: true }), { code: 'EXPERIMENT_DIFFERS', message });
  await differs({ x: uniform(0, 11) }, /its parameter 'x' has \{"high":10\}, and not \{"high":11\}/);
  await differs({ x: uniform(0, 10), y: uniform(0, 1) }, /its space has no further parameter where this one has 'y'/);
  await differs({ y: uniform(0, 10) }, /its space has the parameter 'x' where this one has 'y'/);
});

t.test('a report that nobody waits for is answered before its trial ends', async (t) => {
  const storage = fresh();
  const result = await tune(({ x }, trial) => { void trial.report({ loss: x }); void trial.report({ loss: x + 1 }); }, { ...QUIET, trials: 4, storage });
  t.same(result.trials.map(({ status, step, metrics, config }) => [status, step, metrics['loss'] === config.x + 1]), Array.from({ length: 4 }, () => ['completed', 2, true]));
  const stopped = await tune(({ x }, trial) => { void trial.report({ loss: x }); void trial.report({ loss: x + 1 }); }, { ...QUIET, trials: 2, scheduler: stopsAt(2) });
  t.same(stopped.trials.map(({ status, attempts }) => [status, attempts]), [['stopped', 1], ['stopped', 1]]);
});

t.test('budgets of cost and of a plateau end an experiment, and one that counts what nobody reports does not go on for ever', async (t) => {
  const options = { ...QUIET, maxConcurrent: 1 } as const;
  const cost = await tune(({ x }) => ({ loss: x, gpuHours: 2 }), { ...options, costBudget: { metric: 'gpuHours', most: 9 } });
  t.match(cost, { reason: /gpuHours comes to 10, and its limit is 9/ });
  t.equal(cost.trials.length, 5);
  const plateau = await tune(() => 1, { ...options, plateau: { trials: 4 } });
  t.match(plateau, { reason: /4 trials have ended since the best became better/ });
  t.equal(plateau.trials.length, 5);
  await t.rejects(tune(({ x }) => x, { ...QUIET, costBudget: { metric: 'gpuHours', most: 9 } }), { code: 'EXPERIMENT_FAILED', message: /lacks the metric 'gpuHours'; it has loss/ });
});

t.test('two experiments in one folder: the second is refused while the first runs, and loses it nothing', async (t) => {
  const storage = fresh();
  let second: Promise<unknown> | null = null;
  const options = { ...QUIET, trials: 4, maxConcurrent: 1, storage, resume: true } as const;
  const heard = { name: 'heard', begin: () => {}, close: async () => {}, record: () => { second ??= t.rejects(tune(({ x }) => x, options), { code: 'EXPERIMENT_IN_USE', message: new RegExp(`process ${process.pid}`) }); } };
  t.equal((await tune(({ x }) => x, { ...options, loggers: [heard] })).trials.length, 4);
  await second;
  t.equal((await tune(({ x }) => x, options)).trials.length, 4, 'and then it is free');
});

t.test('a driver that is killed again and again loses no trial that has ended and repeats no decision', async (t) => {
  const source = (storage: string, diesAfter: number): string => `
    import { asha, tpe, tune, uniform } from ${JSON.stringify(import.meta.resolve('@muster/tune'))};
    let heard = 0;
    const dies = { name: 'dies', begin: () => {}, close: async () => {}, record: () => { if (++heard === ${diesAfter}) process.kill(process.pid, 'SIGKILL'); } };
    const result = await tune(async ({ x }, trial) => {
      let sum = trial.checkpoint ?? 0;
      for (let epoch = trial.startEpoch; epoch < 4; epoch++) { sum += x; await trial.report({ loss: sum / (epoch + 1) }, { checkpoint: sum }); }
    }, { space: { x: uniform(0, 10) }, metric: 'loss', trials: 10, maxConcurrent: 1, searcher: tpe(), scheduler: asha({ maxEpochs: 4 }), resources: { cpus: 0.5 },
      storage: ${JSON.stringify(storage)}, resume: true, loggers: [dies] });
    console.log('done ' + result.trials.length);
    await shutdown();`;
  const run = async (storage: string, diesAfter: number): Promise<string> => {
    const program = new Program(source(storage, diesAfter), { folder: join(root, 'programs'), env: cluster.driverEnv() });
    const ended = await program.ended;
    if (ended !== 'SIGKILL' && !program.stdout.includes('done 10')) throw new Error(`${ended}: ${program.stderr}`);
    return ended;
  };
  const whole = fresh();
  t.equal(await run(whole, 0), '0');
  const broken = fresh();
  let deaths = 0;
  for (const diesAfter of [1, 2, 3, 4, 5, 6, 7, 3, 2, 5, 0]) if ((await run(broken, diesAfter)) === 'SIGKILL') deaths++;
  t.ok(deaths >= 8, `it was killed ${deaths} times`);
  const story = (folder: string): unknown[] => [...readExperiment(folder).records].map((record) => ({ ...record, atMs: 0, startedAt: 0, name: '' }));
  t.same(story(broken), story(whole));
});

t.test('a driver that is killed while trials run side by side keeps those that had ended, and runs the rest', async (t) => {
  const storage = fresh();
  const source = (diesAfter: number): string => `
    import { random, tune, uniform } from ${JSON.stringify(import.meta.resolve('@muster/tune'))};
    let heard = 0;
    const dies = { name: 'dies', begin: () => {}, close: async () => {}, record: () => { if (++heard === ${diesAfter}) process.kill(process.pid, 'SIGKILL'); } };
    await tune(async ({ x }, trial) => {
      for (let epoch = trial.startEpoch; epoch < 3; epoch++) await trial.report({ loss: x + (trial.checkpoint ?? 0) }, { checkpoint: epoch });
    }, { space: { x: uniform(0, 1) }, metric: 'loss', trials: 12, maxConcurrent: 4, searcher: random(), resources: { cpus: 0.25 }, storage: ${JSON.stringify(storage)}, resume: true, loggers: [dies] });
    await shutdown();`;
  const ended = new Map<string, unknown>();
  for (const diesAfter of [9, 14, 11, 0]) {
    const program = new Program(source(diesAfter), { folder: join(root, 'programs'), env: cluster.driverEnv() });
    t.equal(await program.ended, diesAfter === 0 ? '0' : 'SIGKILL', program.stderr);
    const { table } = readExperiment(storage);
    for (const [id, was] of ended) t.same(asEnded(table.get(id)), was, `trial ${id}`);
    for (const row of table.rows()) if (row.status !== 'running') ended.set(row.id, structuredClone(asEnded(row)));
  }
  t.equal(ended.size, 12);
  const records = [...readExperiment(storage).records];
  t.equal(new Set(records.flatMap((record) => (record.kind === 'report' ? [`${record.id}/${record.step}`] : []))).size, 36, 'each step of each trial');
  t.equal(records.filter(({ kind }) => kind === 'report').length, 36, 'and each once');
});

t.test('when the mailbox dies, trials report again and nobody notices', async (t) => {
  const killed = new Set<number>();
  const killMailbox = async (): Promise<void> => {
    const { rows } = await cluster.query<ListAnswer>('list', { kind: 'actors' });
    const mailbox = (rows as readonly ActorRow[]).find(({ className, state }) => className === 'Mailbox' && state === 'alive');
    if (!mailbox?.pid || killed.has(mailbox.pid) || !isAlive(mailbox.pid)) return; // the head has not heard of its death yet
    killed.add(mailbox.pid);
    process.kill(mailbox.pid, 'SIGKILL');
  };
  const storage = fresh();
  const killer = { name: 'killer', begin: () => {}, close: async () => {}, record: (record: LogRecord) => { if (record.kind === 'report' && record.step % 4 === 0) void killMailbox(); } };
  const result = await tune(async ({ x }, trial) => {
    for (let epoch = trial.startEpoch; epoch < 12; epoch++) await trial.report({ loss: x / (epoch + 1) });
  }, { ...QUIET, trials: 2, maxConcurrent: 2, storage, loggers: [killer] });
  t.ok(killed.size > 0, `it was killed ${killed.size} times`);
  t.same(result.trials.map(({ status, step, attempts }) => [status, step, attempts]), [['completed', 12, 1], ['completed', 12, 1]]);
  t.equal([...readExperiment(storage).records].filter(({ kind }) => kind === 'report').length, 24);
});

t.test('shut down in the middle, an experiment rejects', async (t) => {
  let began = (): void => {};
  const hasBegun = new Promise<void>((resolve) => { began = resolve; });
  const rejected = t.rejects(tune(async () => new Promise<number>(() => {}), { ...QUIET, trials: 1, loggers: [{ name: 'heard', begin: () => {}, record: () => began(), close: async () => {} }] }));
  await hasBegun;
  await shutdown();
  await rejected;
});
