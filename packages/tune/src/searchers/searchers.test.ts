/** What every searcher promises, and what each is for. */
import { seededRandom } from '@muster/base';
import t from 'tap';
import { bohb, choice, cmaes, evolution, gp, grid, halton, hypervolume, int, loguniform, logint, nsga2, ordinal, quniform, random, SearchSpace, sobol, tpe, uniform, withInitialPoints, type Json, type Objective, type Searcher, type SearcherDefinition, type Space } from '../index.js';
import { LossScale } from './loss-scale.js';
import { crowdingDistances, paretoRanks } from './pareto.js';
import { ParzenMixture } from './parzen.js';
import { partsOf, type Result } from './parzen-searcher.js';

const LOSS: readonly Objective[] = [{ metric: 'loss', mode: 'min' }];
const NUMBERS = SearchSpace.of({ x: uniform(-5, 5), y: loguniform(1e-3, 1e3), n: int(1, 9), m: logint(1, 500), q: quniform(0, 1, 0.25), o: ordinal(['a', 'b', 'c']) });
const BRANCHES = SearchSpace.of({ x: uniform(-5, 5), n: int(1, 9), kind: choice([{ is: 'a', u: loguniform(1e-3, 1), inner: choice(['p', { v: uniform(0, 1) }]) }, { is: 'b', w: int(1, 4) }, 'c']) });
const SEARCHERS: readonly SearcherDefinition[] = [random(), sobol(), halton(), tpe(), gp(), evolution({ populationSize: 12 }), nsga2({ populationSize: 12 }), bohb({ maxEpochs: 9 }).searcher, cmaes()];

const spacesOf = ({ name }: SearcherDefinition): SearchSpace[] => (name === 'cmaes' ? [NUMBERS] : [NUMBERS, BRANCHES]);
const create = (definition: SearcherDefinition, space: SearchSpace, seed = 1, state?: Json): Searcher => definition.create({ space, objectives: LOSS, seed }, state);

/** Some loss of every configuration: smooth in numbers, and different by option. */
function lossOf(space: SearchSpace, config: unknown): number {
  return space.pointOf(config).reduce<number>((sum, coordinate, i) => sum + (coordinate === null ? 0.1 : (coordinate - 0.3 - 0.05 * i) ** 2), 0);
}

function next(searcher: Searcher, id: string): unknown {
  const suggestion = searcher.suggest(id);
  if (suggestion.kind !== 'trial') throw new Error(`${suggestion.kind}: ${suggestion.reason}`);
  if (suggestion.reason.length < 10) throw new Error(`no reason: '${suggestion.reason}'`);
  return suggestion.config;
}

/** Runs trials, three at a time, each reporting once on its way; some fail. Returns the configurations. */
function runTrials(searcher: Searcher, space: SearchSpace, from: number, to: number): unknown[] {
  const configs: unknown[] = [];
  for (let i = from; i < to; i++) {
    const config = next(searcher, `trial-${i}`);
    configs.push(config);
    searcher.report({ trialId: `trial-${i}`, step: 1, values: [lossOf(space, config) + 1] });
    if (i < from + 2) continue;
    const ended = configs[i - 2 - from];
    const outcomes = { 5: { status: 'failed', values: null }, 8: { status: 'completed', values: [NaN] }, 11: { status: 'stopped', values: [lossOf(space, ended) + 1] } } as const;
    searcher.end({ trialId: `trial-${i - 2}`, ...(outcomes[i as 5] ?? { status: 'completed', values: [lossOf(space, ended)] }) });
  }
  return configs;
}

t.test('every searcher', async (t) => {
  for (const definition of SEARCHERS) {
    await t.test(definition.name, async (t) => {
      for (const space of spacesOf(definition)) {
        const searcher = create(definition, space);
        const configs = runTrials(searcher, space, 0, 16);
        t.equal(configs.map((config) => space.pointOf(config)).length, 16, 'proposes configurations of the space');
        t.same(runTrials(create(definition, space), space, 0, 16), configs, 'proposes the same with the same seed');
        t.notSame(runTrials(create(definition, space, 2), space, 0, 16), configs, 'proposes others with another seed');
        const restored = create(definition, space, 1, JSON.parse(JSON.stringify(searcher.state())) as Json);
        t.same(runTrials(restored, space, 16, 22), runTrials(searcher, space, 16, 22), 'goes on from its state as before');
      }
    });
    await t.test(`${definition.name} ignores what it has heard before, and what it knows nothing of`, async (t) => {
      const [space] = spacesOf(definition) as [SearchSpace];
      const [plain, noisy] = [create(definition, space), create(definition, space)];
      const noise = (): void => {
        for (let i = 0; i < 16; i++) noisy.end({ trialId: `trial-${i}`, status: 'completed', values: [lossOf(space, next(noisy, `trial-${i}`))] });
        noisy.end({ trialId: 'never-heard-of', status: 'completed', values: [-1e9] });
        noisy.report({ trialId: 'trial-3', step: 1, values: [-1e9] });
      };
      for (let i = 0; i < 16; i++) plain.end({ trialId: `trial-${i}`, status: 'completed', values: [lossOf(space, next(plain, `trial-${i}`))] });
      noise();
      noise();
      t.same(next(noisy, 'trial-16'), next(plain, 'trial-16'));
    });
    await t.test(`${definition.name} works with many trials at once, which it tells apart, and where all have failed`, async (t) => {
      const [space] = spacesOf(definition) as [SearchSpace];
      const searcher = create(definition, space);
      const first = Array.from({ length: 12 }, (_, i) => next(searcher, `a-${i}`));
      first.forEach((_, i) => searcher.end({ trialId: `a-${i}`, status: 'failed', values: null }));
      const second = Array.from({ length: 12 }, (_, i) => next(searcher, `b-${i}`));
      second.forEach((config, i) => searcher.end({ trialId: `b-${i}`, status: 'completed', values: [lossOf(space, config)] }));
      const third = Array.from({ length: 12 }, (_, i) => JSON.stringify(next(searcher, `c-${i}`)));
      t.ok(new Set(third).size >= 11, `${new Set(third).size} of 12 differ`);
    });
    await t.test(`${definition.name} keeps to constraints`, async (t) => {
      const space = SearchSpace.of({ low: uniform(0, 1), high: uniform(0, 1) }, { constraints: [({ low, high }) => low < high] });
      const searcher = create(definition, space);
      for (let i = 0; i < 20; i++) {
        const config = next(searcher, `trial-${i}`) as { low: number; high: number };
        t.ok(config.low < config.high);
        searcher.end({ trialId: `trial-${i}`, status: 'completed', values: [(config.low - 0.6) ** 2 + (config.high - 0.5) ** 2] });
      }
    });
  }
});

/** The least loss after so many trials, one after another. */
function minimum(definition: SearcherDefinition, space: SearchSpace, loss: (config: never) => number, trials: number, seed: number): number {
  const searcher = create(definition, space, seed);
  let best = Infinity;
  for (let i = 0; i < trials; i++) {
    const value = loss(next(searcher, `trial-${i}`) as never);
    searcher.end({ trialId: `trial-${i}`, status: 'completed', values: [value] });
    best = Math.min(best, value);
  }
  return best;
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;

t.test('searchers that learn find more than random search, on numbers and in branches', async (t) => {
  const bowl = SearchSpace.of({ a: uniform(-1, 1), b: uniform(-1, 1), c: loguniform(1e-4, 1), d: int(0, 20) });
  const bowlLoss = ({ a, b, c, d }: { a: number; b: number; c: number; d: number }): number => (a - 0.4) ** 2 + (b + 0.3 + 0.5 * a) ** 2 + 0.1 * (Math.log10(c) + 2) ** 2 + 0.01 * (d - 7) ** 2;
  const tree = SearchSpace.of({ s: uniform(0, 1), kind: choice([{ is: 'a', u: uniform(0, 1) }, { is: 'b', v: uniform(0, 1), w: uniform(0, 1) }, { is: 'c' }]) });
  const treeLoss = ({ s, kind }: { s: number; kind: { is: string; u: number; v: number; w: number } }): number => (s - 0.8) ** 2 + (kind.is === 'a' ? 0.2 + (kind.u - 0.5) ** 2 : kind.is === 'b' ? (kind.v - 0.2) ** 2 + (kind.w - 0.9) ** 2 : 0.3);
  const seeds = [1, 2, 3];
  for (const [name, space, loss] of [['numbers', bowl, bowlLoss], ['branches', tree, treeLoss]] as const) {
    const after = (definition: SearcherDefinition, trials: number): number => median(seeds.map((seed) => minimum(definition, space, loss as never, trials, seed)));
    for (const [definition, trials, times] of [[tpe(), 100, 1.5], [gp(), 40, 4], [cmaes(), 120, 2], [evolution(), 200, 1.5]] as const) {
      if (definition.name === 'cmaes' && name === 'branches') continue;
      const [found, atRandom] = [after(definition, trials), after(random(), trials)];
      t.ok(found * times < atRandom, `${definition.name} on ${name}: ${found} against ${atRandom}`);
    }
  }
});

t.test('the Gaussian process finds the bottom of a function with several in forty trials', async (t) => {
  const space = SearchSpace.of({ x: uniform(-3, 3), y: uniform(-2, 2) });
  const camel = ({ x, y }: { x: number; y: number }): number => (4 - 2.1 * x ** 2 + x ** 4 / 3) * x ** 2 + x * y + (4 * y ** 2 - 4) * y ** 2 + 1.0316284534898774;
  const regret = median([1, 2, 3].map((seed) => minimum(gp(), space, camel as never, 40, seed)));
  t.ok(regret < 2e-3, `${regret}`);
});

t.test('the Gaussian process does not try one corner after the other, and finds a best point in a corner all the same', async (t) => {
  const space = SearchSpace.of({ a: uniform(0, 1), b: uniform(0, 1), c: uniform(0, 1), d: uniform(0, 1), e: uniform(0, 1) });
  const squares = (config: Record<string, number>, best: (i: number) => number): number => Object.values(config).reduce((sum, x, i) => sum + (x - best(i)) ** 2, 0);
  let atBounds = 0;
  const hump = (config: Record<string, number>): number => {
    atBounds += Object.values(config).filter((x) => x === 0 || x === 1).length;
    return -Math.exp(-5 * squares(config, (i) => 0.3 + 0.1 * i));
  };
  t.ok(minimum(gp(), space, hump as never, 40, 1) < -0.99);
  t.ok(atBounds < 25, `${atBounds} of 200 coordinates lie at bounds`);
  t.ok(minimum(gp(), space, ((config: Record<string, number>) => squares(config, (i) => i % 2)) as never, 40, 1) < 1e-3);
});

t.test('while its model expects nothing more, the Gaussian process starts anew every other time, also after it is restored', async (t) => {
  const space = SearchSpace.of({ x: uniform(0, 1), y: uniform(0, 1) });
  const wells = ({ x, y }: { x: number; y: number }): number => -Math.exp(-20 * ((x - 0.7) ** 2 + (y - 0.6) ** 2));
  let searcher = create(gp(), space);
  const reasons: string[] = [];
  for (let i = 0; i < 60; i++) {
    const suggestion = searcher.suggest(`trial-${i}`);
    if (suggestion.kind !== 'trial') throw new Error(suggestion.reason);
    reasons.push(suggestion.reason);
    searcher.end({ trialId: `trial-${i}`, status: 'completed', values: [wells(suggestion.config as { x: number; y: number })] });
    if (i !== 40) continue;
    const other = create(gp(), space, 1, JSON.parse(JSON.stringify(searcher.state())) as Json);
    t.same([0, 1, 2].map((k) => next(other, `more-${k}`)), [0, 1, 2].map((k) => next(searcher, `more-${k}`)));
    searcher = create(gp(), space, 1, JSON.parse(JSON.stringify(searcher.state())) as Json);
  }
  const anew = reasons.filter((reason) => /another start|of start/.test(reason)).length;
  t.ok(anew > 8 && anew < 25, `${anew} of 60 trials are of another start`);
  t.match(reasons.slice(40).join('\n'), /of start 2; expects/);
});

t.test('kernels have the mass that they weigh: densities add up to one, and points are drawn as they say', async (t) => {
  const { dimensions } = SearchSpace.of({ x: uniform(0, 1), n: int(1, 4), c: choice(['a', 'b', 'c']) });
  const mixture = new ParzenMixture(dimensions, [0, 1, 2], [{ point: [0.2, 0.125, 0], weight: 1.5 }, { point: [0.7, 0.875, 2], weight: 0.5 }, { point: [0.9, 0.375, 1], weight: 0 }]);
  const steps = 400;
  const masses = [0, 1, 2].map((option) => {
    let mass = 0;
    for (const n of [0.125, 0.375, 0.625, 0.875]) for (let i = 0; i < steps; i++) mass += Math.exp(mixture.logDensity([(i + 0.5) / steps, n, option])) / steps;
    return mass;
  });
  t.ok(Math.abs(masses[0]! + masses[1]! + masses[2]! - 1) < 1e-3, masses.join());
  t.ok(masses[0]! > 0.45 && masses[1]! < 0.25);
  const random = seededRandom(3);
  const drawn = [0, 0, 0];
  for (let i = 0; i < 20_000; i++) {
    const point: (number | null)[] = [null, null, null];
    mixture.draw(point, random);
    drawn[point[2]!]! += 1 / 20_000;
  }
  t.ok(drawn.every((part, option) => Math.abs(part - masses[option]!) < 0.015), `${drawn.join()} against ${masses.join()}`);
});

t.test('losses beyond all bounds do not stop a searcher', async (t) => {
  for (const definition of [tpe(), gp(), cmaes(), evolution({ populationSize: 4 })]) {
    const searcher = create(definition, NUMBERS);
    for (let i = 0; i < 20; i++) {
      const config = next(searcher, `trial-${i}`);
      NUMBERS.pointOf(config);
      searcher.end({ trialId: `trial-${i}`, status: 'completed', values: [[-1e308, 1e308, 5e-324, 0][i % 4]!] });
    }
  }
});

t.test('the better trials and the latest of the others are those that sorting them all gives, however many there are', async (t) => {
  for (const count of [1, 2, 10, 11, 300, 426, 3_000]) {
    const random = seededRandom(count);
    const byTime: Result[] = Array.from({ length: count }, (_, i) => ({ trial: { id: `${i}`, point: [i], note: [], status: 'completed', losses: [i], step: 0 }, loss: Math.floor(random.next() * 50) }));
    const ranked = [...byTime].sort((a, b) => a.loss! - b.loss!);
    const { better, others, split } = partsOf({ ranked, byTime });
    const size = Math.min(25, Math.ceil(count / 10));
    t.same(better, ranked.slice(0, size));
    t.same(others, byTime.filter((result) => !better.includes(result)).slice(-400));
    t.equal(split, ranked[size]?.loss ?? null);
  }
});

for (const definition of [tpe(), bohb({ maxEpochs: 9, randomPart: 0 }).searcher]) t.test(`${definition.name} takes no longer for a suggestion after ten thousand trials than after five hundred`, async (t) => {
  const shortest = (count: number): number => {
    const random = seededRandom(1);
    const trials = Array.from({ length: count }, (_, i) => { const point = NUMBERS.sample(random); return [`trial-${i}`, point, [], 'completed', [point.reduce<number>((sum, x) => sum + x!, 0)], 0]; });
    const history = { proposed: count, cursor: 0, trials };
    const rungs = Array.from({ length: 3 }, () => trials.map(([id, , , , losses]) => [id, (losses as number[])[0]]));
    const searcher = create(definition, NUMBERS, 1, (definition.name === 'tpe' ? history : { history, rungs }) as Json);
    return Math.min(...Array.from({ length: 12 }, (_, i) => {
      const startedMs = performance.now();
      next(searcher, `more-${i}`);
      const tookMs = performance.now() - startedMs;
      searcher.report({ trialId: `more-${i}`, step: 3, values: [i] });
      searcher.end({ trialId: `more-${i}`, status: 'completed', values: [i] });
      return tookMs;
    }));
  };
  shortest(500); // the compiler's turn
  const [few, many] = [shortest(500), shortest(10_000)];
  t.ok(many < 3 * few, `${many} ms against ${few} ms`);
});

t.test('BOHB learns from what trials had when they came to the furthest rung that enough have reached, and from those that ended before', async (t) => {
  const space = SearchSpace.of({ x: uniform(0, 1) });
  const searcher = create(bohb({ maxEpochs: 9, randomPart: 0 }).searcher, space);
  const report = (trialId: string, step: number, loss: number): void => searcher.report({ trialId, step, values: [loss] });
  const reasonNow = (id: string): string => searcher.suggest(id).reason;
  for (const id of ['a', 'b', 'c', 'd']) next(searcher, id);
  report('a', 2, 7);
  report('b', 1, 5);
  t.match(reasonNow('e'), /2 of 3 trials that fill the space/);
  report('c', 1, 6);
  t.match(reasonNow('f'), /1 below \/ 2 above the split at 6 at epoch 1/);
  for (const id of ['a', 'b', 'c']) report(id, 4, 1); // what comes later is another rung's
  t.match(reasonNow('g'), /1 below \/ 2 above the split at 1 at epoch 3/);
  searcher.end({ trialId: 'a', status: 'stopped', values: [1] });
  searcher.end({ trialId: 'd', status: 'completed', values: [0.5] });
  searcher.end({ trialId: 'e', status: 'failed', values: null });
  t.match(reasonNow('h'), /1 below \/ 4 above the split at 1 at epoch 3/, 'who never reported counts by its end, and who failed before as the worst');
});

t.test('CMA-ES converges on a turned, elongated bowl, restarts then, and moves whole numbers to their last cell', async (t) => {
  const space = SearchSpace.of({ a: uniform(-3, 3), b: uniform(-3, 3), c: uniform(-3, 3) });
  const loss = ({ a, b, c }: { a: number; b: number; c: number }): number => 1000 * (a + b - 1) ** 2 + (a - b) ** 2 + 30 * (c - a) ** 2;
  t.ok(median([1, 2, 3].map((seed) => minimum(cmaes(), space, loss as never, 500, seed))) < 1e-5);
  const whole = SearchSpace.of({ a: int(0, 50), b: int(0, 50), c: uniform(0, 1) });
  t.ok(median([1, 2, 3].map((seed) => minimum(cmaes(), whole, (({ a, b, c }: { a: number; b: number; c: number }) => (a - 50) ** 2 + (b - 23) ** 2 + c) as never, 400, seed))) < 0.05);
});

t.test('the grid is each combination once, branches only where they are', async (t) => {
  const space = SearchSpace.of({ n: int(1, 3), kind: choice(['plain', { rate: uniform(0, 1) }]) }, { constraints: [({ n, kind }) => n < 3 || kind === 'plain'] });
  const searcher = create(grid({ points: { 'kind[1].rate': 3 } }), space);
  const seen: unknown[] = [];
  for (let i = 0; ; i++) {
    const suggestion = searcher.suggest(`trial-${i}`);
    if (suggestion.kind === 'finished') break;
    if (suggestion.kind === 'trial') seen.push(suggestion.config);
  }
  t.strictSame(seen, [
    { n: 1, kind: 'plain' }, { n: 1, kind: { rate: 0 } }, { n: 1, kind: { rate: 0.5 } }, { n: 1, kind: { rate: 1 } },
    { n: 2, kind: 'plain' }, { n: 2, kind: { rate: 0 } }, { n: 2, kind: { rate: 0.5 } }, { n: 2, kind: { rate: 1 } }, { n: 3, kind: 'plain' },
  ]);
  const huge = SearchSpace.of(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x${i}`, uniform(0, 1)])) as Space);
  t.throws(() => create(grid(), huge), { code: 'INVALID_ARGUMENT', message: /at most 1000000/ });
});

t.test('NSGA-II covers a front of two objectives', async (t) => {
  const space = SearchSpace.of(Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`x${i}`, uniform(0, 1)])) as Space);
  const searcher = nsga2().create({ space, objectives: [{ metric: 'f', mode: 'min' }, { metric: 'g', mode: 'max' }], seed: 1 });
  const all: number[][] = [];
  for (let i = 0; i < 2000; i++) {
    const x = Object.values(next(searcher, `trial-${i}`) as Record<string, number>);
    const g = 1 + (9 * x.slice(1).reduce((sum, xi) => sum + xi, 0)) / 29;
    const losses = [x[0]!, g * (1 - Math.sqrt(x[0]! / g))];
    all.push(losses);
    searcher.end({ trialId: `trial-${i}`, status: 'completed', values: [losses[0]!, -losses[1]!] });
  }
  const volume = hypervolume(all, [1.1, 1.1]);
  t.ok(volume >= 0.34, `hypervolume of ZDT1 after 2,000 evaluations: ${volume}`);
});

t.test('ranks, crowding and hypervolume are right by hand and by counting', async (t) => {
  const all = [[1, 4], [2, 2], [4, 1], [3, 3], [4, 4], [2, 2]];
  t.strictSame(paretoRanks(all), [0, 0, 0, 1, 2, 0]);
  t.strictSame(crowdingDistances([[0, 4], [1, 2], [4, 0]], [0, 0, 0]), [Infinity, 2, Infinity]);
  t.equal(hypervolume([[1, 4], [2, 2], [4, 1]], [5, 5]), 11);
  const random = seededRandom(9);
  const cloud = Array.from({ length: 30 }, () => [random.next(), random.next(), random.next()]);
  let inside = 0;
  for (let i = 0; i < 20_000; i++) {
    const at = [random.next(), random.next(), random.next()];
    if (cloud.some((losses) => losses.every((loss, d) => loss <= at[d]!))) inside++;
  }
  t.ok(Math.abs(hypervolume(cloud, [1, 1, 1]) - inside / 20_000) < 0.02);
});

t.test('initial points come first, exactly as given, and are learned from', async (t) => {
  const space = SearchSpace.of({ rate: loguniform(1e-5, 1), n: int(1, 9) });
  const given = [{ rate: 0.1, n: 3 }, { rate: 0.01, n: 9 }];
  const searcher = create(withInitialPoints(tpe(), given), space);
  t.strictSame([next(searcher, 'a'), next(searcher, 'b'), next(searcher, 'a')], [given[0], given[1], given[0]]);
  const restored = create(withInitialPoints(tpe(), given), space, 1, JSON.parse(JSON.stringify(searcher.state())) as Json);
  t.same(next(restored, 'c'), next(searcher, 'c'));
  t.throws(() => create(withInitialPoints(tpe(), [{ rate: 2, n: 3 }]), space), { code: 'INVALID_ARGUMENT', message: /initial point 0 .*rate must be a number from 0.00001 to 1, not 2/ });
});

t.test('a searcher with a seed of its own draws from that, whatever the seed of the experiment', async (t) => {
  const own = [random({ seed: 7 }), sobol({ seed: 7 }), halton({ seed: 7 }), tpe({ seed: 7 }), gp({ seed: 7 }), evolution({ seed: 7 }), nsga2({ seed: 7 }), bohb({ maxEpochs: 9, seed: 7 }).searcher, cmaes({ seed: 7 })];
  const plain = [random(), sobol(), halton(), tpe(), gp(), evolution(), nsga2(), bohb({ maxEpochs: 9 }).searcher, cmaes()];
  own.forEach((definition, i) => t.same(runTrials(create(definition, NUMBERS, 1), NUMBERS, 0, 8), runTrials(create(plain[i]!, NUMBERS, 7), NUMBERS, 0, 8), definition.name));
  t.throws(() => tpe({ seed: -1 }), { code: 'INVALID_ARGUMENT', message: /the option seed of tpe\(\): -1 .*from 0 to 4294967295/ });
  t.throws(() => gp({ startUpTrials: 4 } as never), { code: 'INVALID_ARGUMENT', message: /the option 'startUpTrials' of gp\(\).*one of seed, startupTrials/ });
  t.throws(() => tpe(1 as never), { code: 'INVALID_ARGUMENT', message: /an object of options/ });
});

t.test('what a searcher cannot do is refused when it is made', async (t) => {
  const two: readonly Objective[] = [...LOSS, { metric: 'size', mode: 'min' }];
  t.throws(() => tpe().create({ space: NUMBERS, objectives: two, seed: 1 }), { code: 'INVALID_ARGUMENT', message: /tpe\(\) for 2 objectives/i });
  t.throws(() => create(cmaes(), BRANCHES), { code: 'INVALID_ARGUMENT', message: /the choice 'kind'/ });
  t.throws(() => create(tpe({ candidates: 0 }), NUMBERS), { code: 'INVALID_ARGUMENT', message: /candidates/ });
  t.throws(() => create(gp({ startupTrials: 1.5 }), NUMBERS), { code: 'INVALID_ARGUMENT', message: /startupTrials/ });
  t.throws(() => create(tpe(), NUMBERS, 1, { nonsense: 1 }), { code: 'INVALID_ARGUMENT', message: /state/ });
  const searcher = create(tpe(), NUMBERS);
  next(searcher, 'a');
  t.throws(() => searcher.end({ trialId: 'a', status: 'completed', values: [1, 2] }), { code: 'INVALID_ARGUMENT', message: /2 values/ });
});

t.test('losses as a model sees them keep their order and have their way back; one terrible loss leaves the others apart, and crowded good ones are drawn apart', async (t) => {
  const even = Array.from({ length: 20 }, (_, i) => i);
  const lopsided = Array.from({ length: 200 }, (_, i) => (i / 200) ** 4 * 50);
  for (const [losses, typical] of [[even, even], [[...even, 1e30], even], [lopsided, lopsided.filter((_, i) => i % 20 === 0)], [[3, 3, 3], [3, 3, 3]], [[2, -7], [2, -7]]] as const) {
    const scale = new LossScale(losses, typical);
    const scaled = losses.map((loss) => scale.scaled(loss));
    t.ok(scaled.every((value, i) => Number.isFinite(value) && losses.every((loss, j) => loss <= losses[i]! || scaled[j]! > value)));
    t.ok(scaled.every((value, i) => Math.abs(scale.lossOf(value) - losses[i]!) <= 1e-6 * Math.max(1, Math.abs(losses[i]!))));
    t.ok(Math.abs(scaled.reduce((sum, value) => sum + value, 0)) < 1e-6 * losses.length);
  }
  const scaled = (losses: readonly number[], typical: readonly number[], [a, b]: readonly [number, number]): number => { const scale = new LossScale(losses, typical); return scale.scaled(b) - scale.scaled(a); };
  t.ok(scaled([...even, 1e30], even, [0, 5]) > 0.25 * scaled(even, even, [0, 5]));
  t.ok(scaled(lopsided, lopsided, [0, 0.5]) > 5 * (0.5 / 15), 'a hundredth of the range, where a third of the losses are: the deviation is 15');
});
