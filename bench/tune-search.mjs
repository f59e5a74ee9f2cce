/**
 * The searchers against Optuna's: the median regret over seeds after so many trials, and a paired test of the differences.
 *
 *     node bench/tune-search.mjs [--searcher tpe] [--seeds 20] [--trials 200] [--only FUNCTION ...] [--json]
 *
 * Optuna runs from bench/peers/.venv (or the Python that MUSTER_BENCH_PYTHON names); without it, Muster's own figures are shown alone,
 * with the reason. A paired difference counts where Wilcoxon's signed-rank test finds less than one chance in twenty for it.
 */
import { SearchSpace, cmaes, gp, random, tpe } from '@muster/tune';
import { parseArgs } from 'node:util';
import { minimizeWithOptuna, optunaLacks } from './peers/optuna.mjs';
import { TEST_FUNCTIONS } from './tune-functions.mjs';

const SEARCHERS = { tpe, gp, cmaes, random };
const CHECKPOINTS = [25, 50, 100, 200];
const SIGNIFICANCE = 0.05;

const { values: options } = parseArgs({
  options: { searcher: { type: 'string', default: 'tpe' }, seeds: { type: 'string', default: '20' }, trials: { type: 'string', default: '200' }, only: { type: 'string', multiple: true }, json: { type: 'boolean', default: false } },
});
const trials = Number(options.trials);
const seeds = Array.from({ length: Number(options.seeds) }, (_, seed) => seed);
const checkpoints = CHECKPOINTS.filter((count) => count <= trials);

/** One run of a searcher: the loss of each trial, and what each suggestion took. */
function minimizeWithMuster({ definition, seed, space, loss }) {
  const searcher = definition.create({ space, objectives: [{ metric: 'loss', mode: 'min' }], seed });
  const losses = [];
  const suggestMs = [];
  for (let i = 0; i < trials; i++) {
    const startedMs = performance.now();
    const { config } = searcher.suggest(`trial-${i}`);
    suggestMs.push(performance.now() - startedMs);
    losses.push(loss(config));
    searcher.end({ trialId: `trial-${i}`, status: 'completed', values: [losses.at(-1)] });
  }
  return { losses, suggestMs };
}

/** The sampler that stands for a searcher: Optuna models branches only when it is told to group. */
function samplerFor(space) {
  return options.searcher === 'tpe' && space.dimensions.some(({ condition }) => condition !== null) ? 'tpe-group' : options.searcher;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const regretAfter = (count, minimum) => ({ losses }) => Math.min(...losses.slice(0, count)) - minimum;
const lastMs = ({ suggestMs }) => median(suggestMs.slice(-10));

/**
 * The chance that paired differences lean as far as these to one side or the other, if they leaned to neither.
 * Source: Wilcoxon, 1945; the normal approximation, with ties.
 */
function signedRankTest(differences) {
  const nonzero = differences.filter((difference) => difference !== 0).sort((a, b) => Math.abs(a) - Math.abs(b));
  const ranks = [];
  let ties = 0;
  for (let from = 0, to; from < nonzero.length; from = to) {
    to = from;
    while (to < nonzero.length && Math.abs(nonzero[to]) === Math.abs(nonzero[from])) to++;
    for (let i = from; i < to; i++) ranks[i] = (from + 1 + to) / 2;
    ties += (to - from) ** 3 - (to - from);
  }
  const count = nonzero.length;
  const positive = nonzero.reduce((sum, difference, i) => sum + (difference > 0 ? ranks[i] : 0), 0);
  const deviation = Math.sqrt((count * (count + 1) * (2 * count + 1)) / 24 - ties / 48);
  if (count === 0 || deviation === 0) return { chance: 1, isWorse: false };
  const z = (positive - (count * (count + 1)) / 4) / deviation;
  return { chance: Math.min(1, Math.exp(-0.717 * Math.abs(z) - 0.416 * z * z)), isWorse: z > 0 };
}

const lacks = optunaLacks();
if (lacks) console.error(`Optuna is left out: ${lacks}`);
const records = [];
for (const { name, space: parameters, loss, minimum } of TEST_FUNCTIONS.filter((f) => !options.only || options.only.includes(f.name))) {
  const space = SearchSpace.of(parameters);
  const ours = seeds.map((seed) => minimizeWithMuster({ definition: SEARCHERS[options.searcher](), seed, space, loss }));
  const theirs = [];
  if (!lacks) for (const seed of seeds) theirs.push(await minimizeWithOptuna({ sampler: samplerFor(space), seed, trials, space, loss }));
  for (const count of checkpoints) {
    const mine = ours.map(regretAfter(count, minimum));
    const peer = theirs.map(regretAfter(count, minimum));
    const test = lacks ? null : signedRankTest(mine.map((regret, i) => regret - peer[i]));
    const verdict = test === null ? 'alone' : test.chance >= SIGNIFICANCE ? 'no difference' : test.isWorse ? 'worse' : 'better';
    records.push({ name, searcher: options.searcher, trials: count, regret: median(mine), optuna: lacks ? null : median(peer), chance: test?.chance ?? null, verdict });
  }
  records.push({ name, searcher: options.searcher, suggestMs: median(ours.map(lastMs)), optunaSuggestMs: lacks ? null : median(theirs.map(lastMs)) });
  if (!options.json) print(records.filter((record) => record.name === name));
}
if (options.json) for (const record of records) console.log(JSON.stringify(record));

function print(rows) {
  for (const { name, trials: count, regret, optuna, chance, verdict, suggestMs, optunaSuggestMs } of rows) {
    if (suggestMs !== undefined) console.log(`${name.padEnd(12)} a suggestion: ${suggestMs.toFixed(2)} ms${optunaSuggestMs === null ? '' : `, Optuna ${optunaSuggestMs.toFixed(2)} ms`}`);
    else console.log(`${name.padEnd(12)} ${String(count).padStart(4)} trials: regret ${regret.toExponential(2)}${optuna === null ? '' : `, Optuna ${optuna.toExponential(2)}: ${verdict} (p = ${chance.toFixed(3)})`}`);
  }
}
