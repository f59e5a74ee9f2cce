import { seededRandom } from '@muster/base';
import t from 'tap';
import { asha, bohb, fixed, hyperband, loguniform, medianStopping, pb2, pbt, random, SearchSpace, uniform, choice, int, type Decision, type Json, type Objective, type Scheduler, type SchedulerDefinition, type SearcherDefinition } from '../index.js';

const SPACE = SearchSpace.of({ rate: loguniform(1e-4, 1), width: int(1, 64), kind: choice(['a', 'b']) });
const LOSS: readonly Objective[] = [{ metric: 'loss', mode: 'min' }];
const create = (definition: SchedulerDefinition, state?: Json): Scheduler => definition.create({ space: SPACE, objectives: LOSS, seed: 1 }, state);
const SCHEDULERS: readonly SchedulerDefinition[] = [asha({ maxEpochs: 27 }), hyperband({ maxEpochs: 27 }), medianStopping(), pbt({ intervalEpochs: 2 }), pb2({ intervalEpochs: 2 }), fixed()];

/** Starts trials with configurations of the space; trial i has the loss i plus its offset at every step. */
function started(scheduler: Scheduler, count: number): string[] {
  const draw = seededRandom(5);
  return Array.from({ length: count }, (_, i) => {
    scheduler.start(`trial-${i}`, SPACE.configOf(SPACE.sample(draw)));
    return `trial-${i}`;
  });
}

t.test('every scheduler', async (t) => {
  for (const definition of SCHEDULERS) {
    await t.test(`${definition.name} decides the same from its state, ignores repetitions, and gives reasons`, async (t) => {
      const lossAt = (i: number, step: number): number => ((i * 7) % 12) + 5 / step;
      const run = (scheduler: Scheduler, steps: readonly number[], repeats: number): Decision[] => steps.flatMap((step) => Array.from({ length: 12 }, (_, i) => {
        const decision = scheduler.report({ trialId: `trial-${i}`, step, values: [lossAt(i, step)], checkpointStep: step });
        for (let k = 0; k < repeats; k++) t.equal(scheduler.report({ trialId: `trial-${i}`, step, values: [-100] }).kind, 'continue');
        if (decision.kind === 'stop') for (let k = 0; k <= repeats; k++) scheduler.end({ trialId: `trial-${i}`, status: 'stopped', values: [lossAt(i, step)] });
        return decision;
      }));
      const [plain, noisy] = [create(definition), create(definition)];
      started(plain, 12);
      started(noisy, 12);
      started(noisy, 12);
      const early = run(plain, [1, 2, 3, 4, 5], 0);
      t.same(run(noisy, [1, 2, 3, 4, 5], 2), early);
      t.ok(early.every(({ reason }) => reason.length > 10));
      const restored = create(definition, JSON.parse(JSON.stringify(plain.state())) as Json);
      t.same(run(restored, [6, 8, 9, 10, 20, 27], 0), run(plain, [6, 8, 9, 10, 20, 27], 0));
    });
    await t.test(`${definition.name} survives values that are none, and trials that it does not know`, async (t) => {
      const scheduler = create(definition);
      started(scheduler, 3);
      for (const value of [NaN, Infinity]) t.equal(scheduler.report({ trialId: 'trial-0', step: 2, values: [value] }).kind, 'continue');
      t.equal(scheduler.report({ trialId: 'unknown', step: 1, values: [0] }).kind, 'continue');
      scheduler.end({ trialId: 'unknown', status: 'failed', values: null });
    });
  }
});

t.test('ASHA lets one of three go on from each rung, the best always, and stops at the last epoch', async (t) => {
  const scheduler = create(asha({ maxEpochs: 9 }));
  const ids = started(scheduler, 6);
  const kinds = (step: number, losses: readonly number[]): string[] => losses.map((loss, i) => scheduler.report({ trialId: ids[i]!, step, values: [loss] }).kind);
  t.strictSame(kinds(1, [5, 6, 4, 3, 7, 2]), ['continue', 'stop', 'continue', 'continue', 'stop', 'continue']);
  t.equal(scheduler.report({ trialId: ids[0]!, step: 2, values: [99] }).kind, 'continue', 'between rungs nothing is compared');
  t.equal(scheduler.report({ trialId: ids[0]!, step: 4, values: [5] }).kind, 'continue', 'a rung that was jumped over counts');
  t.equal(scheduler.report({ trialId: ids[2]!, step: 3, values: [6] }).kind, 'stop');
  t.match(scheduler.report({ trialId: ids[0]!, step: 9, values: [0] }), { kind: 'complete', reason: /last epoch, 9/ });
});

t.test('with large values wanted the order is the other one', async (t) => {
  const scheduler = asha({ maxEpochs: 9 }).create({ space: SPACE, objectives: [{ metric: 'accuracy', mode: 'max' }], seed: 1 });
  started(scheduler, 2);
  t.equal(scheduler.report({ trialId: 'trial-0', step: 1, values: [0.9] }).kind, 'continue');
  t.match(scheduler.report({ trialId: 'trial-1', step: 1, values: [0.5] }), { kind: 'stop', reason: /0\.5 is number 2 of 2 at rung 1/ });
});

t.test('Hyperband gives its brackets their share, and the last one stops nobody early', async (t) => {
  const scheduler = create(hyperband({ maxEpochs: 9 }));
  const ids = started(scheduler, 17);
  const bracketOf = (id: string): number => Number(/bracket (\d)/.exec(scheduler.report({ trialId: id, step: 0.5, values: [1] }).reason)![1]);
  const counts = [0, 0, 0];
  for (const id of ids) counts[bracketOf(id) - 1]!++;
  t.strictSame(counts, [9, 5, 3]);
});

t.test('median stopping stops the worse half once enough have come as far', async (t) => {
  const scheduler = create(medianStopping({ minTrials: 3, graceEpochs: 2 }));
  const ids = started(scheduler, 5);
  for (const step of [1, 2]) ids.slice(0, 4).forEach((id, i) => scheduler.report({ trialId: id, step, values: [i] }));
  t.equal(scheduler.report({ trialId: ids[4]!, step: 1, values: [10] }).kind, 'continue', 'not within its grace');
  t.match(scheduler.report({ trialId: ids[4]!, step: 2, values: [10] }), { kind: 'stop', reason: /worse than the median 1\.5 of 4/ });
  t.equal(scheduler.report({ trialId: ids[0]!, step: 3, values: [0] }).kind, 'continue', 'nobody has come as far');
});

t.test('in a population the worst take over from the best, with parameters of the space', async (t) => {
  for (const definition of [pbt({ intervalEpochs: 1 }), pb2({ intervalEpochs: 1 })]) {
    const scheduler = create(definition);
    const ids = started(scheduler, 8);
    const exploits: Extract<Decision, { kind: 'exploit' }>[] = [];
    for (const step of [1, 2, 3]) {
      ids.forEach((id, i) => {
        const decision = scheduler.report({ trialId: id, step, values: [i], checkpointStep: step });
        if (decision.kind !== 'exploit') return;
        t.equal(decision.checkpointStep, step);
        exploits.push(decision);
        t.ok(i >= 3, `${definition.name}: ${id} is worse than those that have come as far`);
        t.ok(Number(decision.trialId.split('-')[1]) < i, `and ${decision.trialId} is better`);
        SPACE.pointOf(decision.config);
      });
    }
    t.ok(exploits.length >= 4, `${exploits.length} took over`);
    t.ok(new Set(exploits.map(({ config }) => JSON.stringify(config))).size > 1);
  }
});

t.test('in a population nobody takes over at the last step, or from there', async (t) => {
  for (const make of [pbt, pb2]) {
    const scheduler = create(make({ intervalEpochs: 2, maxEpochs: 5 }));
    const ids = started(scheduler, 9);
    const kinds = (step: number): string[] => ids.slice(0, 8).map((id, i) => scheduler.report({ trialId: id, step, values: [i], checkpointStep: step }).kind);
    t.ok(kinds(4).includes('exploit'));
    t.same(kinds(5), Array.from({ length: 8 }, () => 'complete'));
    t.match(scheduler.report({ trialId: ids[8]!, step: 7, values: [99], checkpointStep: 7 }), { kind: 'complete', reason: `${make === pbt ? 'PBT' : 'PB2'}: has come to epoch 5` });
    t.notOk(scheduler.keeps!(ids[8]!, 7));
  }
  t.throws(() => create(pbt({ maxEpochs: NaN })), { code: 'INVALID_ARGUMENT', message: /maxEpochs of PBT.* at least 1, not NaN/ });
});

t.test('in a population, who takes over goes on from what it was compared with, wherever the other is by then; and the best alone are kept for that', async (t) => {
  const scheduler = create(pbt({ intervalEpochs: 2, resampleProbability: 0, factor: 1.5 }));
  const ids = started(scheduler, 9);
  const report = (i: number, step: number, loss: number): Decision => scheduler.report({ trialId: ids[i]!, step, values: [loss], checkpointStep: step - (step % 2) });
  const kept = (): string[] => ids.flatMap((id, i) => [2, 4, 6].filter((step) => scheduler.keeps!(id, step)).map((step) => `${i}@${step}`));
  for (const i of [0, 1, 2, 3, 4, 5]) report(i, 3, i); // with the checkpoint of step 2
  t.same(kept(), ['0@2', '1@2']);
  for (const i of [0, 1, 2]) for (const step of [4, 5, 6, 7]) report(i, step, 50 - i);
  scheduler.end({ trialId: ids[0]!, status: 'completed', values: [50] });
  report(6, 2, 6);
  t.match(report(7, 2, 99), { kind: 'exploit', trialId: /trial-[01]/, checkpointStep: 2 }, 'though it is worse now, and over');
  const restored = create(pbt({ intervalEpochs: 2, resampleProbability: 0, factor: 1.5 }), JSON.parse(JSON.stringify(scheduler.state())) as Json);
  const last = { trialId: ids[8]!, step: 2, values: [98], checkpointStep: 2 };
  t.same(restored.report(last), scheduler.report(last));
  t.notOk(scheduler.keeps!(ids[7]!, 2), 'whoever would go on from there goes on from its source');
});

/** A trial's curve: it falls towards a floor that its configuration says, at a pace that it also says, with some noise. */
const CURVES = SearchSpace.of({ rate: loguniform(1e-4, 1), decay: uniform(0, 1) });
function lossAt({ rate, decay }: { rate: number; decay: number }, epoch: number, noise: number): number {
  const floor = 0.08 * (Math.log10(rate) + 2) ** 2 + 0.15 * (decay - 0.3) ** 2;
  return floor + 0.9 * Math.exp(-epoch / (2 + decay)) + 0.002 * noise;
}

/** Epochs that are spent until some trial's loss is this good, four trials running at a time. */
function epochsTo(target: number, searcherDefinition: SearcherDefinition, schedulerDefinition: SchedulerDefinition, seed: number): number {
  const searcher = searcherDefinition.create({ space: CURVES, objectives: LOSS, seed });
  const scheduler = schedulerDefinition.create({ space: CURVES, objectives: LOSS, seed });
  const noise = seededRandom(seed + 100);
  const running = new Map<string, { config: { rate: number; decay: number }; epoch: number }>();
  let trials = 0;
  for (let epochs = 0; epochs < 20_000;) {
    while (running.size < 4) {
      const trialId = `trial-${trials++}`;
      const suggestion = searcher.suggest(trialId);
      if (suggestion.kind !== 'trial') return Infinity;
      scheduler.start(trialId, suggestion.config);
      running.set(trialId, { config: suggestion.config as { rate: number; decay: number }, epoch: 0 });
    }
    for (const [trialId, trial] of running) {
      const loss = lossAt(trial.config, ++trial.epoch, noise.next() - 0.5);
      epochs++;
      if (loss < target) return epochs;
      const report = { trialId, step: trial.epoch, values: [loss] };
      searcher.report(report);
      const decision = scheduler.report(report);
      if (decision.kind === 'continue' && trial.epoch < 27) continue;
      running.delete(trialId);
      const end = { trialId, status: decision.kind === 'stop' ? 'stopped' : 'completed', values: [loss] } as const;
      searcher.end(end);
      scheduler.end(end);
    }
  }
  return Infinity;
}

t.test('ASHA comes to the same loss with a third of the epochs of random search, and BOHB, which hedges, with two thirds', async (t) => {
  const seeds = Array.from({ length: 15 }, (_, i) => i);
  const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
  const spent = (searcher: SearcherDefinition, scheduler: SchedulerDefinition): number => median(seeds.map((seed) => epochsTo(0.001, searcher, scheduler, seed)));
  const plain = spent(random(), fixed());
  const halved = spent(random(), asha({ maxEpochs: 27 }));
  const { searcher, scheduler } = bohb({ maxEpochs: 27 });
  const modelled = spent(searcher, scheduler);
  t.ok(halved * 3 < plain, `ASHA ${halved} epochs, random ${plain}`);
  t.ok(modelled * 1.5 < plain, `BOHB ${modelled} epochs, random ${plain}`);
});

t.test('options out of bounds are refused', async (t) => {
  t.throws(() => asha({ maxEpochs: 0.5 }), { code: 'INVALID_ARGUMENT', message: /maxEpochs of asha\(\).*at least 1, not 0\.5/ });
  t.throws(() => asha({ maxEpochs: 9, reductionFactor: 1 }), { code: 'INVALID_ARGUMENT', message: /reductionFactor/ });
  t.throws(() => hyperband({ maxEpochs: NaN }), { code: 'INVALID_ARGUMENT', message: /maxEpochs/ });
  t.throws(() => create(pbt({ quantile: 0.9 })), { code: 'INVALID_ARGUMENT', message: /quantile.*at most 0\.5/ });
  t.throws(() => asha({ maxEpoch: 9 } as never), { code: 'INVALID_ARGUMENT', message: /the option 'maxEpoch' of asha\(\).*one of maxEpochs, graceEpochs/ });
  t.throws(() => create(pbt({ factor: 1 })), { code: 'INVALID_ARGUMENT', message: /factor/ });
});
