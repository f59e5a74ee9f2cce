import { seededRandom } from '@muster/base';
import t from 'tap';
import type { Json, SearcherDefinition } from '../searcher.js';
import type { SchedulerDefinition } from '../scheduler.js';
import { asha, hyperband } from '../schedulers/asha.js';
import { fixed } from '../schedulers/fixed.js';
import { medianStopping } from '../schedulers/median.js';
import { pb2 } from '../schedulers/pb2.js';
import { pbt } from '../schedulers/pbt.js';
import { bohb } from '../searchers/bohb.js';
import { cmaes } from '../searchers/cmaes.js';
import { evolution } from '../searchers/evolution.js';
import { gp } from '../searchers/gp.js';
import { grid } from '../searchers/grid.js';
import { random } from '../searchers/random.js';
import { tpe } from '../searchers/tpe.js';
import { choice, int, loguniform, uniform, type Space } from '../space/parameters.js';
import { SearchSpace } from '../space/search-space.js';
import type { Budget } from './budget.js';
import { Experiment, outcomeOf, type ExperimentState } from './experiment.js';
import type { LogRecord } from './records.js';
import { experimentAfter, type Past } from './resume.js';

const SPACE: Space = { lr: loguniform(1e-4, 1), kind: choice(['a', { deep: int(1, 9) }]), width: uniform(0, 1) };
const BOHB = bohb({ maxEpochs: 6 });
const UNLIMITED: Budget = { trials: Infinity, timeMs: Infinity, cost: null, plateau: null };

interface Setup {
  readonly searcher?: SearcherDefinition;
  readonly scheduler?: SchedulerDefinition;
  readonly budget?: Partial<Budget>;
  readonly initialPoints?: readonly unknown[];
  readonly retries?: number;
  readonly space?: Space;
  readonly mode?: 'min' | 'max';
}

/** An experiment, and the log that it writes: a new one, or one that goes on. */
function setUp({ searcher = random(), scheduler = fixed(), budget = {}, initialPoints = [], retries = 1, space = SPACE, mode = 'min' }: Setup = {}, past: Past = { records: [], snapshot: null }) {
  const log: LogRecord[] = [...past.records];
  const objectives = [{ metric: 'loss', mode }] as const;
  const context = { space: SearchSpace.of(space), objectives, seed: 7 };
  const make = (state: ExperimentState | null): Experiment => new Experiment({
    objectives, searcher: searcher.create(context, state?.searcher), scheduler: scheduler.create(context, state?.scheduler), budget: { ...UNLIMITED, ...budget }, initialPoints, retries,
    write: (record) => log.push(JSON.parse(JSON.stringify(record)) as LogRecord), told: () => {},
  });
  return { experiment: experimentAfter(past, make), log };
}

/** As a file holds it. */
const snapshotOf = ({ experiment, log }: ReturnType<typeof setUp>): Past['snapshot'] =>
  JSON.parse(JSON.stringify({ extent: { records: log.length }, state: experiment.state() })) as Past['snapshot'];

const lossOf = (config: Json, step: number): number => (config as { width: number }).width + 1 / step;

const isEqual = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
const decisionsOf = (log: readonly LogRecord[]): unknown[] => log.map((record) => ({ ...record, atMs: 0 }));

/** Runs trials one after another, each for `epochs` steps, until there are none, or the log is as long as `until`. */
function runInTurn({ experiment, log }: ReturnType<typeof setUp>, epochs: number, until = Infinity): void {
  const work = (id: string): void => {
    const row = experiment.table.get(id)!;
    for (let step = row.checkpointStep + 1; step <= epochs; step++) {
      const decision = experiment.report({ trialId: id, step, metrics: { loss: lossOf(row.config, step) }, hasCheckpoint: true }, log.length);
      if (log.length >= until) return;
      if (decision.kind === 'stop' || decision.kind === 'complete') return experiment.end(id, outcomeOf(decision), log.length);
    }
    experiment.end(id, { status: 'completed', metrics: null }, log.length);
  };
  for (const row of experiment.interrupted(log.length)) {
    if (log.length < until) work(row.id);
  }
  while (log.length < until) {
    const next = experiment.next(log.length);
    if (next.kind !== 'start') return;
    if (log.length < until) work(next.trial.id);
  }
}

const SETUPS: readonly Setup[] = ([
  { searcher: tpe(), scheduler: asha({ maxEpochs: 6 }), initialPoints: [{ lr: 0.1, kind: 'a', width: 0.5 }] },
  { searcher: random(), scheduler: pbt({ intervalEpochs: 2 }) },
  { searcher: tpe(), mode: 'max' },
  { ...BOHB, initialPoints: [{ lr: 0.1, kind: 'a', width: 0.5 }] },
  { searcher: cmaes(), scheduler: medianStopping({ minTrials: 2 }), space: { lr: loguniform(1e-4, 1), width: uniform(0, 1) } },
  { searcher: evolution(), scheduler: hyperband({ maxEpochs: 6 }) },
  { searcher: gp(), scheduler: pb2({ intervalEpochs: 3 }), budget: { trials: 6 } }, // each suggestion fits a model
] as Setup[]).map((setup) => ({ budget: { trials: 14 }, ...setup }));

t.test('an experiment that dies after any record of its log goes on as if it had not, whatever searches and schedules', (t) => {
  for (const setup of SETUPS) {
    const whole = setUp(setup);
    runInTurn(whole, 6);
    t.equal(whole.log.filter(({ kind }) => kind === 'end').length, setup.budget!.trials);
    for (let cut = 1; cut < whole.log.length; cut++) {
      const second = setUp(setup, { records: whole.log.slice(0, cut), snapshot: null });
      runInTurn(second, 6);
      if (!isEqual(decisionsOf(second.log), decisionsOf(whole.log))) {
        t.same(decisionsOf(second.log), decisionsOf(whole.log), `cut after record ${cut}`);
        break;
      }
    }
  }
  t.end();
});

t.test('who takes over from another trial at its last step has a result of what it had trained with', (t) => {
  for (const scheduler of [pbt({ intervalEpochs: 6, quantile: 0.5 }), pb2({ intervalEpochs: 6, quantile: 0.5 })]) {
    const { experiment, log, ...rest } = setUp({ scheduler, budget: { trials: 14 } });
    runInTurn({ experiment, log, ...rest }, 6);
    const last = new Set(log.flatMap((record) => (record.kind === 'report' && record.step === 6 && record.decision.kind === 'exploit' ? [record.id] : [])));
    t.ok(last.size > 1 && last.size < 14, `${last.size} of 14`);
    for (const { id, config, metrics, step, checkpointStep } of experiment.table.rows()) t.same([metrics, step, checkpointStep], [{ loss: lossOf(config, 6) }, 6, last.has(id) ? 0 : 6], id);
  }
  t.end();
});

t.test('from a snapshot of any age it goes on just so', (t) => {
  for (const setup of SETUPS) {
    const whole = setUp(setup);
    runInTurn(whole, 6);
    for (let age = 1; age < whole.log.length; age += 3) {
      const first = setUp(setup);
      runInTurn(first, 6, age);
      const snapshot = snapshotOf(first);
      const cut = age + ((age * 7) % (whole.log.length - age));
      const second = setUp(setup, { records: whole.log.slice(0, cut), snapshot });
      t.same(second.experiment.table.best?.id, setUp(setup, { records: whole.log.slice(0, cut), snapshot: null }).experiment.table.best?.id);
      runInTurn(second, 6);
      if (!isEqual(decisionsOf(second.log), decisionsOf(whole.log))) {
        t.same(decisionsOf(second.log), decisionsOf(whole.log), `${setup.searcher?.name} and ${setup.scheduler?.name}: a snapshot of ${age} records, cut after ${cut}`);
        break;
      }
    }
  }
  t.end();
});

t.test('a snapshot does not hide that the searcher is another one, and one that it makes nothing of is left aside', (t) => {
  const setup: Setup = { searcher: tpe(), scheduler: asha({ maxEpochs: 6 }), budget: { trials: 10 } };
  const first = setUp(setup);
  runInTurn(first, 6);
  const [records, snapshot] = [first.log, snapshotOf(first)!];
  t.throws(() => setUp({ ...setup, searcher: random() }, { records, snapshot }), { code: 'EXPERIMENT_DIFFERS' });
  t.throws(() => setUp({ ...setup, initialPoints: [{ lr: 0.5, kind: 'a', width: 0.5 }] }, { records, snapshot }), { code: 'EXPERIMENT_DIFFERS' });
  const strange = { ...snapshot, state: { searcher: { of: 'another version' }, scheduler: null } };
  t.same([...setUp(setup, { records, snapshot: strange }).experiment.table.rows()], [...first.experiment.table.rows()]);
  t.end();
});

t.test('what a log cannot hold of a configuration is no part of a snapshot', (t) => {
  const { experiment, log } = setUp({ space: { activation: choice([Math.tanh, Math.sin]) } });
  t.not(experiment.state(), null);
  experiment.next(0);
  t.equal(experiment.state(), null, 'a function runs');
  experiment.end('1', { status: 'completed', metrics: { loss: 1 } }, 1);
  t.not(experiment.state(), null);
  t.match(log[0], { config: { activation: /tanh|sin/ } });
  t.end();
});

t.test('reports that come again get the answer that was given, and are not decided twice', (t) => {
  const { experiment, log } = setUp({ scheduler: asha({ maxEpochs: 2 }) });
  experiment.next(0);
  const report = { trialId: '1', step: 1, metrics: { loss: 1 }, hasCheckpoint: false };
  const first = experiment.report(report, 1);
  t.same(experiment.report(report, 2), first);
  t.equal(experiment.report({ ...report, step: 2 }, 3).kind, 'complete');
  t.equal(experiment.report({ ...report, step: 2 }, 4).kind, 'complete', 'an end stays an end');
  t.equal(experiment.report(report, 5).kind, 'continue', 'an earlier step, after a restart');
  t.equal(log.filter(({ kind }) => kind === 'report').length, 2);
  experiment.end('1', { status: 'stopped', reason: 'asked to' }, 6);
  experiment.end('1', { status: 'failed', reason: 'late' }, 7);
  t.equal(experiment.table.get('1')!.status, 'stopped', 'the first end counts');
  t.equal(experiment.report({ ...report, step: 9 }, 8).kind, 'stop', 'who speaks after the end is told so');
  t.end();
});

t.test('a trial that breaks off is tried again as often as it may be, and then has failed', (t) => {
  const { experiment } = setUp({ retries: 2 });
  experiment.next(0);
  t.same([1, 2, 3, 4].map((n) => experiment.brokeOff('1', `cause ${n}`, n)), [true, true, false, false]);
  t.match(experiment.table.get('1'), { status: 'failed', attempt: 3, endReason: 'attempt 3 failed, too: cause 3' });
  t.end();
});

t.test('a trial without a result has failed, with what is missing', (t) => {
  const { experiment } = setUp();
  const reasonOf = (metrics: Record<string, Json> | null): string => {
    const next = experiment.next(0);
    if (next.kind !== 'start') throw new Error(next.kind);
    experiment.end(next.trial.id, { status: 'completed', metrics }, 1);
    t.equal(next.trial.status, 'failed');
    return next.trial.endReason;
  };
  t.match(reasonOf(null), /without a result: return \{ loss \} or call trial\.report/);
  t.match(reasonOf({ accuracy: 1 }), /lacks the metric 'loss'; it has accuracy/);
  t.match(reasonOf({ loss: null }), /'loss' is null, and must be a finite number/);
  t.end();
});

t.test('budgets end an experiment, each with its reason', (t) => {
  const endOf = (setup: Setup, loss: (trial: number) => number): string => {
    const { experiment } = setUp(setup);
    for (let now = 0; ; now += 10) {
      const next = experiment.next(now);
      if (next.kind !== 'start') return next.reason;
      experiment.end(next.trial.id, { status: 'completed', metrics: { loss: loss(Number(next.trial.id)), gpuHours: 2 } }, now);
    }
  };
  t.match(endOf({ budget: { trials: 3 } }, () => 1), 'all 3 trials have begun');
  t.match(endOf({ budget: { timeMs: 95 } }, () => 1), 'the time budget of 95 ms is used up');
  t.match(endOf({ budget: { cost: { metric: 'gpuHours', most: 5 } } }, () => 1), 'gpuHours comes to 6, and its limit is 5');
  t.match(endOf({ budget: { plateau: { trials: 4, least: 0.5 } } }, (trial) => 10 - Math.min(trial, 3) - trial / 1000), '4 trials have ended since the best became better by more than 0.5');
  t.match(endOf({ searcher: grid(), space: { kind: choice(['a', 'b', 'c']) } }, () => 1), /./);
  t.end();
});

t.test('a budget that can never be used up ends an experiment all the same', (t) => {
  const endOf = (budget: Partial<Budget>, metrics: Record<string, Json>): [string, string] => {
    const { experiment } = setUp({ budget });
    for (let now = 0; now < 10_000; now++) {
      const next = experiment.next(now);
      if (next.kind !== 'start') return [next.reason, experiment.table.get('1')!.endReason];
      experiment.end(next.trial.id, { status: 'completed', metrics }, now);
    }
    throw new Error('it goes on');
  };
  t.match(endOf({ cost: { metric: 'gpuHours', most: 5 } }, { loss: 1 }), ['the first 100 trials have all failed', "its result lacks the metric 'gpuHours'; it has loss"]);
  t.match(endOf({ timeMs: 1e9 }, { accuracy: 1 }), ['the first 100 trials have all failed', "its result lacks the metric 'loss'; it has accuracy"]);
  t.end();
});

t.test('a log of another searcher is refused, not continued wrongly', (t) => {
  const first = setUp({ searcher: random(), budget: { trials: 5 } });
  runInTurn(first, 2);
  t.throws(() => setUp({ searcher: tpe(), initialPoints: [{ lr: 0.1, kind: 'a', width: 0.5 }] }, { records: first.log, snapshot: null }), { code: 'EXPERIMENT_DIFFERS' });
  t.end();
});

t.test('to go on from a trial without a checkpoint is an error that says what to report', (t) => {
  const exploits: SchedulerDefinition = {
    name: 'exploits', create: () => ({ start: () => {}, end: () => {}, state: () => null, report: () => ({ kind: 'exploit', trialId: '1', checkpointStep: 0, config: {}, reason: 'test' }) }),
  };
  const { experiment } = setUp({ scheduler: exploits });
  experiment.next(0);
  experiment.next(0);
  t.throws(() => experiment.report({ trialId: '2', step: 1, metrics: { loss: 1 }, hasCheckpoint: false }, 1), { code: 'INVALID_ARGUMENT', message: /trial\.report\(metrics, \{ checkpoint \}\)/ });
  t.end();
});

t.test('the Pareto front agrees with its definition, and the best is the first of equals', (t) => {
  const chance = seededRandom(3);
  const objectives = [{ metric: 'a', mode: 'min' }, { metric: 'b', mode: 'max' }] as const;
  const context = { space: SearchSpace.of(SPACE), objectives, seed: 1 };
  const experiment = new Experiment({
    objectives, searcher: random().create(context), scheduler: fixed().create(context), budget: UNLIMITED, initialPoints: [], retries: 0, write: () => {}, told: () => {},
  });
  const values: [number, number][] = [];
  for (let trial = 1; trial <= 200; trial++) {
    experiment.next(0);
    values.push([Math.floor(chance.next() * 20), Math.floor(chance.next() * 20)]);
    experiment.end(String(trial), { status: 'completed', metrics: { a: values.at(-1)![0], b: values.at(-1)![1] } }, 0);
  }
  const expected = values.flatMap(([a, b], index) => (values.some(([c, d]) => c <= a && d >= b && (c < a || d > b)) ? [] : [String(index + 1)]));
  t.same(experiment.table.paretoFront().map(({ id }) => id), expected);
  const least = Math.min(...values.map(([a]) => a));
  t.equal(experiment.table.best!.id, String(values.findIndex(([a]) => a === least) + 1));
  t.end();
});
