/**
 * Runs of searchers on the test functions: which loss each trial had. Knows Muster's searchers and Optuna's samplers, and no statistics.
 *
 * @typedef {object} SearchRun
 * @property {string} who `Muster`, or the peer with its version.
 * @property {string} searcher
 * @property {string} name The function's.
 * @property {number} seed
 * @property {readonly number[]} seen The losses as the searcher saw them, in the order of trials.
 * @property {readonly number[]} losses The same without the function's noise.
 * @property {readonly number[]} suggestMs What each suggestion took.
 */
import { seededRandom } from '@muster/base';
import { SearchSpace, cmaes, gp, hypervolume, nsga2, random, tpe, uniform } from '@muster/tune';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { minimizeWithOptuna } from './peers/optuna.mjs';

const SEARCHERS = { tpe, gp, cmaes, random };

/** The function as one run sees it: the noise is the seed's, so that both sides have the same. */
function recording({ loss, noise = 0 }, seed) {
  const draw = seededRandom(seed);
  const losses = [];
  const seen = [];
  return {
    losses,
    seen,
    evaluate(config) {
      losses.push(loss(config));
      const deviate = Math.sqrt(-2 * Math.log(1 - draw.next())) * Math.cos(2 * Math.PI * draw.next());
      seen.push(losses.at(-1) + noise * deviate);
      return seen.at(-1);
    },
  };
}

/** @returns {SearchRun} */
export function runMuster({ searcher, testFunction, seed, trials }) {
  const { evaluate, losses, seen } = recording(testFunction, seed);
  const instance = SEARCHERS[searcher]().create({ space: SearchSpace.of(testFunction.space), objectives: [{ metric: 'loss', mode: 'min' }], seed });
  const suggestMs = [];
  for (let i = 0; i < trials; i++) {
    const startedMs = performance.now();
    const { config } = instance.suggest(`trial-${i}`);
    suggestMs.push(performance.now() - startedMs);
    instance.end({ trialId: `trial-${i}`, status: 'completed', values: [evaluate(config)] });
  }
  return { who: 'Muster', searcher, name: testFunction.name, seed, losses, seen, suggestMs };
}

/** @returns {Promise<SearchRun>} */
export async function runOptuna({ searcher, testFunction, seed, trials }) {
  const { evaluate, losses, seen } = recording(testFunction, seed);
  const space = SearchSpace.of(testFunction.space);
  const { version, suggestMs } = await minimizeWithOptuna({ sampler: samplerFor(searcher, space), seed, trials, noisy: testFunction.noise !== undefined, space, evaluate });
  return { who: `Optuna ${version}`, searcher, name: testFunction.name, seed, losses, seen, suggestMs };
}

/** The sampler that stands for a searcher: Optuna's TPE models branches only when it is told to group. */
function samplerFor(searcher, space) {
  return searcher === 'tpe' && space.dimensions.some(({ condition }) => condition !== null) ? 'tpe-group' : searcher;
}

const FRONT_EVALUATIONS = 2_000;
const FRONT_VARIABLES = 30;
const FRONT_REFERENCE = [1.1, 1.1];

/**
 * The hypervolume that NSGA-II covers on ZDT1.
 * Source: Zitzler, Deb and Thiele, 2000.
 */
export function coverFront(seed) {
  const space = SearchSpace.of(Object.fromEntries(Array.from({ length: FRONT_VARIABLES }, (_, i) => [`x${i}`, uniform(0, 1)])));
  const searcher = nsga2().create({ space, objectives: [{ metric: 'f', mode: 'min' }, { metric: 'g', mode: 'min' }], seed });
  const all = Array.from({ length: FRONT_EVALUATIONS }, (_, i) => {
    const [first, ...others] = Object.values(searcher.suggest(`trial-${i}`).config);
    const g = 1 + (9 * others.reduce((sum, x) => sum + x, 0)) / others.length;
    const values = [first, g * (1 - Math.sqrt(first / g))];
    searcher.end({ trialId: `trial-${i}`, status: 'completed', values });
    return values;
  });
  return hypervolume(all, FRONT_REFERENCE);
}

/** Runs that are kept in a file, one a line, because a peer's take hours. */
export class KeptRuns {
  #file;
  #runs = new Map();

  /** @param {string | null} file `null` keeps nothing beyond this process. */
  constructor(file) {
    this.#file = file;
    if (file === null || !existsSync(file)) return;
    for (const line of readFileSync(file, 'utf8').split('\n').filter(Boolean)) this.#remember(JSON.parse(line));
  }

  /** The longest run of this kind, or null. @returns {SearchRun | null} */
  find({ searcher, name, seed }) {
    return this.#runs.get(`${searcher} ${name} ${seed}`) ?? null;
  }

  /** @param {SearchRun} run */
  keep(run) {
    this.#remember(run);
    if (this.#file !== null) appendFileSync(this.#file, `${JSON.stringify(run)}\n`);
  }

  #remember(run) {
    const key = `${run.searcher} ${run.name} ${run.seed}`;
    if ((this.#runs.get(key)?.losses.length ?? 0) < run.losses.length) this.#runs.set(key, run);
  }
}
