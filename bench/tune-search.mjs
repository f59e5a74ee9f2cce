/**
 * The searchers against Optuna's: the median regret over seeds after so many trials, with a paired test of the differences; what a suggestion
 * costs; the front that NSGA-II covers; and ASHA against random search on recorded learning curves.
 *
 *     node bench/tune-search.mjs [--searcher NAME[=TRIALS] ...] [--seeds 20] [--only FUNCTION ...]
 *                                [--peer-runs FILE] [--kept-only] [--out FOLDER] [--json]
 *
 * Optuna runs from bench/peers/.venv (or the Python that MUSTER_BENCH_PYTHON names); without it, Muster's own figures are shown alone, with
 * the reason. Its Gaussian process takes up to seconds a suggestion, so runs are kept in a file: those in there are not repeated, and with
 * `--kept-only` no others are made, and only their seeds are compared, as far as they go. With `--json` records are printed
 * instead, and nothing is kept of them.
 */
import { parseArgs } from 'node:util';
import { compareSchedulers } from './curve-replay.mjs';
import { describeRun } from './facts.mjs';
import { median } from './peers/measure.mjs';
import { optunaLacks } from './peers/optuna.mjs';
import { compareRuns } from './search-comparison.mjs';
import { RESULTS_FOLDER, saveResults } from './results.mjs';
import { renderSearchMarkdown, searchTargetRows } from './search-report.mjs';
import { KeptRuns, coverFront, runMuster, runOptuna } from './search-runs.mjs';
import { OTHER_FUNCTIONS, TEST_FUNCTIONS } from './tune-functions.mjs';

const CHECKPOINTS = [25, 50, 100, 200];
/** After so many trials the cost of a suggestion is taken, over so many of them. */
const COST_TRIALS = 200;
const COST_SUGGESTIONS = 10;

const { values: options } = parseArgs({
  options: {
    searcher: { type: 'string', multiple: true, default: ['tpe', 'gp'] }, seeds: { type: 'string', default: '20' }, only: { type: 'string', multiple: true },
    'peer-runs': { type: 'string' }, 'kept-only': { type: 'boolean', default: false },
    out: { type: 'string', default: RESULTS_FOLDER }, json: { type: 'boolean', default: false },
  },
});
const searchers = options.searcher.map((text) => text.split('=')).map(([searcher, trials = COST_TRIALS]) => ({ searcher, trials: Number(trials) }));
const seeds = Array.from({ length: Number(options.seeds) }, (_, seed) => seed);
const functions = [...TEST_FUNCTIONS, ...OTHER_FUNCTIONS].filter(({ name }) => !options.only || options.only.includes(name));
const kept = new KeptRuns(options['peer-runs'] ?? null);
const lacks = options['kept-only'] ? 'only runs that were kept are compared' : optunaLacks();

/** The peer's run, kept or new; null where it cannot be had. */
async function peerRun({ searcher, testFunction, seed, trials }) {
  const known = kept.find({ searcher, name: testFunction.name, seed });
  if (lacks !== null || (known !== null && known.losses.length >= trials)) return known;
  kept.keep(await runOptuna({ searcher, testFunction, seed, trials }));
  return kept.find({ searcher, name: testFunction.name, seed });
}

/** What a suggestion took at the end of a run; null of a run that was too short. */
const lastMs = ({ suggestMs }) => (suggestMs.length >= COST_TRIALS ? median(suggestMs.slice(COST_TRIALS - COST_SUGGESTIONS, COST_TRIALS)) : null);

const results = {
  facts: describeRun(),
  targets: TEST_FUNCTIONS.map(({ name }) => name),
  comparisons: [],
  costs: [],
  front: [],
  schedulers: [],
};
const say = (record, line) => console.log(options.json ? JSON.stringify(record) : line);
const peers = new Set();
for (const { searcher, trials } of searchers) {
  const ourMs = [];
  const peerMs = [];
  for (const testFunction of functions) {
    const { name, minimum } = testFunction;
    const paired = options['kept-only'] ? seeds.filter((seed) => seed === 0 || kept.find({ searcher, name, seed }) !== null) : seeds;
    const lengthOf = (seed) => (options['kept-only'] ? Math.min(trials, kept.find({ searcher, name, seed })?.losses.length ?? trials) : trials);
    const ours = paired.map((seed) => runMuster({ searcher, testFunction, seed, trials: seed === 0 ? Math.max(trials, COST_TRIALS) : lengthOf(seed) }));
    const theirs = [];
    for (const seed of paired) theirs.push(await peerRun({ searcher, testFunction, seed, trials }));
    for (const run of theirs) if (run) peers.add(run.who);
    for (const count of CHECKPOINTS.filter((checkpoint) => checkpoint <= trials)) {
      const row = compareRuns({ ours, peers: theirs, trials: count, minimum });
      if (row.peer === null && theirs.some((run) => run !== null)) continue; // the runs that were kept end before
      results.comparisons.push(row);
      const beside = row.peer === null ? '' : `, Optuna ${row.peer.toExponential(2)} over ${row.seeds} seeds: ${row.verdict} (p = ${row.chance.toFixed(3)})`;
      say(row, `${searcher} ${name.padEnd(15)} ${String(count).padStart(4)} trials: regret ${row.regret.toExponential(2)}${beside}`);
    }
    ourMs.push(lastMs(ours[0]));
    peerMs.push(...theirs.flatMap((run) => (run && lastMs(run)) ?? []));
  }
  const cost = { searcher, trials: COST_TRIALS, suggestMs: median(ourMs), slowestMs: Math.max(...ourMs), peerMs: peerMs.length > 0 ? median(peerMs) : null };
  results.costs.push(cost);
  say(cost, `${searcher}: a suggestion after ${COST_TRIALS} trials ${cost.suggestMs.toFixed(2)} ms, on the slowest function ${cost.slowestMs.toFixed(2)} ms${cost.peerMs === null ? '' : `; Optuna ${cost.peerMs.toFixed(2)} ms`}`);
}
results.front = seeds.map(coverFront);
say({ name: 'zdt1', hypervolumes: results.front }, `NSGA-II on ZDT1: hypervolume ${median(results.front).toFixed(4)}, at least ${Math.min(...results.front).toFixed(4)}`);
results.schedulers = compareSchedulers();
for (const { name, target, random, asha, times } of results.schedulers) say({ name, target, random, asha, times }, `ASHA on ${name}: to an error of ${target} ${asha} epochs, random search ${random}: ${times.toFixed(1)} times as many`);
if (lacks !== null && !options['kept-only']) console.error(`Optuna is left out: ${lacks}`);
results.facts.push(['beside', [...peers].join(', ') || 'nothing']);
if (!options.json) {
  saveResults(options.out, { page: 'tune', title: 'Search benchmark', facts: results.facts, targets: searchTargetRows(results), markdown: renderSearchMarkdown(results) });
  console.error(`wrote tune.md and the summary in ${options.out}`);
}
