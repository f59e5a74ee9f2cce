/**
 * Every scheduler with every searcher, on a simulated clock: trials side by side that take as long as they like, throw, lose their workers and go on from
 * checkpoints. And each log, lived through again from its middle and from its end, says the same.
 */
import { seededRandom } from '@muster/base';
import t from 'tap';
import { asha, bohb, choice, cmaes, evolution, fixed, gp, grid, halton, hyperband, int, loguniform, medianStopping, nsga2, pb2, pbt, random, SearchSpace, sobol, tpe, uniform, type SchedulerDefinition, type SearcherDefinition, type Space } from '../index.js';
import { Experiment, outcomeOf, type ExperimentState } from './experiment.js';
import type { LogRecord } from './records.js';
import { experimentAfter, type Past } from './resume.js';

const EPOCHS = 9;
const TRIALS = 12;
const AT_ONCE = 4;
const NUMBERS: Space = { rate: loguniform(1e-4, 1), width: uniform(0, 1), layers: int(1, 9) };
const BRANCHES: Space = { ...NUMBERS, kind: choice(['plain', { deep: uniform(0, 1) }]) };
const OBJECTIVES = [{ metric: 'loss', mode: 'min' }] as const;

const SCHEDULERS: readonly SchedulerDefinition[] = [
  asha({ maxEpochs: EPOCHS }), hyperband({ maxEpochs: EPOCHS }), medianStopping({ minTrials: 3 }), pbt({ intervalEpochs: 2 }), pb2({ intervalEpochs: 2 }), fixed(),
];
const SEARCHERS: readonly SearcherDefinition[] = [
  random(), grid({ points: 2 }), sobol(), halton(), tpe({ startupTrials: 4 }), gp({ startupTrials: 4 }), cmaes(), evolution({ populationSize: 4 }), nsga2({ populationSize: 4 }), bohb({ maxEpochs: EPOCHS }).searcher,
];

function create(searcher: SearcherDefinition, scheduler: SchedulerDefinition, past: Past): { readonly experiment: Experiment; readonly log: LogRecord[] } {
  const log: LogRecord[] = [...past.records];
  const context = { space: SearchSpace.of(searcher.name === 'cmaes' ? NUMBERS : BRANCHES), objectives: OBJECTIVES, seed: 3 };
  const make = (state: ExperimentState | null): Experiment => new Experiment({
    objectives: OBJECTIVES, searcher: searcher.create(context, state?.searcher), scheduler: scheduler.create(context, state?.scheduler), initialPoints: [], retries: 2,
    budget: { trials: TRIALS, timeMs: Infinity, cost: null, plateau: null }, write: (record) => log.push(JSON.parse(JSON.stringify(record)) as LogRecord), told: () => {},
  });
  return { experiment: experimentAfter(past, make), log };
}

interface Running {
  readonly id: string;
  /** Of its next step's end. */
  atMs: number;
  step: number;
}

/** Runs an experiment to its end: the trial whose step ends first is next. @returns why it is over */
function simulate(experiment: Experiment, seed: number): string {
  const chance = seededRandom(seed);
  const running: Running[] = [];
  const takeMs = (): number => 1 + Math.floor(chance.next() * 100);
  const start = (id: string, nowMs: number): void => void running.push({ id, atMs: nowMs + takeMs(), step: experiment.table.runningRow(id)!.checkpointStep });
  for (let nowMs = 0, over: string | null = null; ;) {
    while (over === null && running.length < AT_ONCE) {
      const next = experiment.next(nowMs);
      if (next.kind === 'start') start(next.trial.id, nowMs);
      else if (next.kind === 'finished' || running.length === 0) over = next.reason;
      else break;
    }
    if (running.length === 0) return over!;
    const trial = running.reduce((first, other) => (other.atMs < first.atMs ? other : first));
    nowMs = trial.atMs;
    const leaves = (): void => void running.splice(running.indexOf(trial), 1);
    const fate = chance.next();
    if (fate < 0.01) {
      leaves();
      experiment.end(trial.id, { status: 'failed', reason: 'it threw' }, nowMs);
    } else if (fate < 0.05) {
      leaves();
      if (experiment.brokeOff(trial.id, 'its worker died', nowMs)) start(trial.id, nowMs);
    } else if (trial.step === EPOCHS) {
      leaves();
      experiment.end(trial.id, { status: 'completed', metrics: null }, nowMs);
    } else {
      trial.step++;
      trial.atMs = nowMs + takeMs();
      const { width } = experiment.configOf(trial.id) as { width: number };
      const decision = experiment.report({ trialId: trial.id, step: trial.step, metrics: { loss: width + 1 / trial.step }, hasCheckpoint: trial.step % 2 === 0 }, nowMs);
      if (decision.kind !== 'stop' && decision.kind !== 'complete') continue; // who exploits goes on from this step
      leaves();
      experiment.end(trial.id, outcomeOf(decision), nowMs);
    }
  }
}

/** What schedulers have decided, with any searcher. */
const decided = new Set<string>();

for (const searcher of SEARCHERS) {
  t.test(`${searcher.name} with every scheduler`, (t) => {
    for (const scheduler of SCHEDULERS) {
      const name = `${searcher.name} with ${scheduler.name}`;
      const { experiment, log } = create(searcher, scheduler, { records: [], snapshot: null });
      const reason = simulate(experiment, 11);
      const { table } = experiment;
      t.match(reason, /all \d+ (trials have begun|combinations were tried)/, name);
      t.equal(table.running, 0);
      const rows = [...table.rows()];
      t.equal(rows.length, TRIALS);
      t.ok(rows.every(({ status, step, endReason }) => (status === 'completed' ? step === EPOCHS : endReason.length > 5)), 'who completes has come to the end');
      const losses = rows.flatMap(({ status, metrics }) => (status === 'failed' || metrics === null ? [] : [metrics['loss'] as number]));
      t.equal(table.best!.metrics!['loss'], Math.min(...losses));
      for (const record of log) if (record.kind === 'report') decided.add(`${scheduler.name}: ${record.decision.kind}`);
      for (const length of [log.length >> 1, log.length]) {
        const again = create(searcher, scheduler, { records: log.slice(0, length), snapshot: null });
        const snapshot = JSON.parse(JSON.stringify({ extent: { records: length }, state: again.experiment.state() })) as Past['snapshot'];
        const recalled = create(searcher, scheduler, { records: log.slice(0, length), snapshot });
        t.strictSame([...recalled.experiment.table.rows()], [...again.experiment.table.rows()]);
        if (length === log.length) t.strictSame([...again.experiment.table.rows()], rows, 'the whole log is the whole experiment');
        else t.equal(simulate(again.experiment, 12), simulate(recalled.experiment, 12), 'both go on to an end');
      }
    }
    t.end();
  });
}

t.test('each scheduler decides what it is for, and nothing else', (t) => {
  t.strictSame([...decided].sort(), [
    'asha: complete', 'asha: continue', 'asha: stop', 'fixed: continue', 'hyperband: complete', 'hyperband: continue', 'hyperband: stop', 'median: continue', 'median: stop',
    'pb2: continue', 'pb2: exploit', 'pbt: continue', 'pbt: exploit',
  ]);
  t.end();
});
