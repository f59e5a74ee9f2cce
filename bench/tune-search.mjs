/**
 * The searchers against Optuna's: the median regret over seeds after so many trials, with a paired test of the differences; what a suggestion
 * costs; the front that NSGA-II covers; and ASHA against random search on recorded learning curves.
 *
 *     node bench/tune-search.mjs [--searcher tpe ...] [--seeds 20] [--trials 200] [--only FUNCTION ...]
 *                                [--peer-runs FILE] [--peer-trials 200] [--kept-only] [--out bench/TUNE-RESULTS.md] [--json]
 *
 * Optuna runs from bench/peers/.venv (or the Python that MUSTER_BENCH_PYTHON names); without it, Muster's own figures are shown alone, with
 * the reason. Its Gaussian process takes seconds a suggestion, so runs are kept in a file: those in there are not repeated, and with
 * `--kept-only` no others are made.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compareSchedulers } from './curve-replay.mjs';
import { median } from './peers/measure.mjs';
import { optunaLacks } from './peers/optuna.mjs';
import { compareRuns } from './search-comparison.mjs';
import { renderSearchMarkdown } from './search-report.mjs';
import { KeptRuns, coverFront, runMuster, runOptuna } from './search-runs.mjs';
import { OTHER_FUNCTIONS, TEST_FUNCTIONS } from './tune-functions.mjs';

const CHECKPOINTS = [25, 50, 100, 200];
/** Suggestions whose cost is taken, at the end of a run. */
const LAST_SUGGESTIONS = 10;

const { values: options } = parseArgs({
  options: {
    searcher: { type: 'string', multiple: true, default: ['tpe', 'gp'] }, seeds: { type: 'string', default: '20' }, trials: { type: 'string', default: '200' },
    only: { type: 'string', multiple: true }, 'peer-runs': { type: 'string' }, 'peer-trials': { type: 'string' }, 'kept-only': { type: 'boolean', default: false },
    out: { type: 'string', default: fileURLToPath(new URL('TUNE-RESULTS.md', import.meta.url)) }, json: { type: 'boolean', default: false },
  },
});
const trials = Number(options.trials);
const peerTrials = Number(options['peer-trials'] ?? trials);
const seeds = Array.from({ length: Number(options.seeds) }, (_, seed) => seed);
const functions = [...TEST_FUNCTIONS, ...OTHER_FUNCTIONS].filter(({ name }) => !options.only || options.only.includes(name));
const kept = new KeptRuns(options['peer-runs'] ?? null);
const lacks = options['kept-only'] ? 'only runs that were kept are compared' : optunaLacks();

/** The peer's run, kept or new; null where it cannot be had. */
async function peerRun(searcher, testFunction, seed) {
  const known = kept.find({ searcher, name: testFunction.name, seed });
  if (lacks !== null || (known !== null && known.losses.length >= peerTrials)) return known;
  kept.keep(await runOptuna({ searcher, testFunction, seed, trials: peerTrials }));
  return kept.find({ searcher, name: testFunction.name, seed });
}

const lastMs = ({ suggestMs }) => median(suggestMs.slice(-LAST_SUGGESTIONS));

const results = {
  facts: [
    ['date', new Date().toISOString()],
    ['commit', execFileSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' }).trim()],
    ['processor', `${cpus()[0]?.model}, ${availableParallelism()} cores, load ${loadavg()[0].toFixed(2)} at the start`],
    ['Node', process.versions.node],
  ],
  targets: TEST_FUNCTIONS.map(({ name }) => name),
  comparisons: [],
  costs: [],
  front: [],
  schedulers: [],
};
const say = (record, line) => console.log(options.json ? JSON.stringify(record) : line);
const peers = new Set();
for (const searcher of options.searcher) {
  const costs = [];
  for (const testFunction of functions) {
    const { name, minimum } = testFunction;
    const ours = seeds.map((seed) => runMuster({ searcher, testFunction, seed, trials }));
    const theirs = [];
    for (const seed of seeds) theirs.push(await peerRun(searcher, testFunction, seed));
    for (const run of theirs) if (run) peers.add(run.who);
    for (const count of CHECKPOINTS.filter((checkpoint) => checkpoint <= trials)) {
      const row = compareRuns({ ours, peers: theirs, trials: count, minimum });
      results.comparisons.push(row);
      const beside = row.peer === null ? '' : `, Optuna ${row.peer.toExponential(2)} over ${row.seeds} seeds: ${row.verdict} (p = ${row.chance.toFixed(3)})`;
      say(row, `${searcher} ${name.padEnd(15)} ${String(count).padStart(4)} trials: regret ${row.regret.toExponential(2)}${beside}`);
    }
    costs.push({ ours: median(ours.map(lastMs)), peer: theirs.filter((run) => run && run.losses.length >= trials).map(lastMs) });
  }
  const peerMs = costs.flatMap(({ peer }) => peer);
  const cost = { searcher, trials, suggestMs: median(costs.map(({ ours }) => ours)), slowestMs: Math.max(...costs.map(({ ours }) => ours)), peerMs: peerMs.length > 0 ? median(peerMs) : null };
  results.costs.push(cost);
  say(cost, `${searcher}: a suggestion after ${trials} trials ${cost.suggestMs.toFixed(2)} ms, on the slowest function ${cost.slowestMs.toFixed(2)} ms${cost.peerMs === null ? '' : `; Optuna ${cost.peerMs.toFixed(2)} ms`}`);
}
results.front = seeds.map(coverFront);
say({ name: 'zdt1', hypervolumes: results.front }, `NSGA-II on ZDT1: hypervolume ${median(results.front).toFixed(4)}, at least ${Math.min(...results.front).toFixed(4)}`);
results.schedulers = compareSchedulers();
for (const { name, target, random, asha, times } of results.schedulers) say({ name, target, random, asha, times }, `ASHA on ${name}: to an error of ${target} ${asha} epochs, random search ${random}: ${times.toFixed(1)} times as many`);
if (lacks !== null && !options['kept-only']) console.error(`Optuna is left out: ${lacks}`);
results.facts.push(['beside', [...peers].join(', ') || 'nothing']);
writeFileSync(options.out, renderSearchMarkdown(results));
console.error(`wrote ${options.out}`);
