/** The report of the searchers' benchmark: figures in, Markdown and lines of the summary out. Pure; knows the targets, not how anything was run. */
import { median } from './peers/measure.mjs';
import { formatVerdict, formatTarget, table } from './report.mjs';

/** What a suggestion may take after 200 trials, in milliseconds. */
const COST_TARGETS = { tpe: { atMost: 2 }, gp: { atMost: 50 } };
const FRONT_TARGET = { atLeast: 0.34 };
const EPOCHS_TARGET = { atLeast: 4 };

/**
 * What the summary says of the searchers' targets.
 * @param {SearchResults} results
 * @returns {import('./report.mjs').TargetRow[]}
 */
export function searchTargetRows({ targets, comparisons, costs, front, schedulers }) {
  const searchers = [...new Set(comparisons.map(({ searcher }) => searcher))];
  return [
    ...searchers.map((searcher) => {
      const verdicts = comparisons.filter((row) => row.searcher === searcher && targets.includes(row.name)).map(({ verdict }) => verdict);
      const count = (verdict) => verdicts.filter((one) => one === verdict).length;
      const [better, same, worse] = ['better', 'no difference', 'worse'].map(count);
      const verdict = better + same + worse === 0 ? 'not measured' : worse === 0 ? 'met' : '**missed**';
      return { figure: `regret of ${searcher}, functions with targets`, ours: `better ${better} times, no different ${same}, worse ${worse}`, peer: "Optuna's", ratio: '', target: 'never worse', verdict };
    }),
    ...costs.filter(({ searcher }) => COST_TARGETS[searcher]).map(({ searcher, trials, slowestMs, peerMs }) => ({
      figure: `a suggestion of ${searcher} after ${trials} trials, on the slowest function`, ours: `${slowestMs.toFixed(2)} ms`, peer: peerMs === null ? '' : `Optuna, in the median: ${peerMs.toFixed(2)} ms`, ratio: '',
      target: formatTarget(COST_TARGETS[searcher], ' ms'), verdict: formatVerdict(slowestMs, COST_TARGETS[searcher]),
    })),
    { figure: 'hypervolume of NSGA-II on ZDT1, 30 variables, 2,000 evaluations', ours: median(front).toFixed(4), peer: '', ratio: '', target: formatTarget(FRONT_TARGET, ''), verdict: formatVerdict(median(front), FRONT_TARGET) },
    ...schedulers.map(({ name, target, random, asha, times }) => ({
      figure: `epochs to an error of ${target} on recorded curves: ${name}`, ours: `ASHA: ${asha}`, peer: `random search: ${random}`, ratio: `${times.toFixed(1)}×`, target: `${formatTarget(EPOCHS_TARGET, '×')} on two`,
      verdict: formatVerdict(times, EPOCHS_TARGET),
    })),
  ];
}

/**
 * @typedef {object} SearchResults
 * @property {readonly (readonly [string, string])[]} facts
 * @property {readonly string[]} targets Names of functions on which Muster must not be worse.
 * @property {readonly import('./search-comparison.mjs').Comparison[]} comparisons
 * @property {readonly { searcher: string, trials: number, suggestMs: number, slowestMs: number, peerMs: number | null }[]} costs
 * @property {readonly number[]} front Hypervolumes by seed.
 * @property {readonly import('./curve-replay.mjs').Replayed[]} schedulers
 */

/** The page. @param {SearchResults} results @returns {string} */
export function renderSearchMarkdown({ facts, targets, comparisons, costs, front, schedulers }) {
  const [listed, others] = [comparisons.filter(({ name }) => targets.includes(name)), comparisons.filter(({ name }) => !targets.includes(name))];
  const count = (rows, verdict) => rows.filter((row) => row.verdict === verdict).length;
  const summary = [['functions with targets', listed], ['others', others]].map(([title, rows]) => [title, ...['better', 'no difference', 'worse'].map((verdict) => String(count(rows, verdict)))]);
  const expected = Math.round(comparisons.filter(({ verdict }) => verdict !== null).length / 40);
  return [
    '# Search benchmark',
    '',
    'Made by `node bench/tune-search.mjs`. Regret is how much the best loss lies above the least that there is: medians over seeds. Differences',
    "are tested by Wilcoxon's signed ranks of the regrets' logarithms, paired by seed, at one chance in twenty on either side. Of as many tests as",
    `here some ${expected} would say worse, and as many better, of a searcher compared with itself. A peer's runs are fewer where they take hours.`,
    '',
    ...table(['', ''], facts),
    '',
    '## In short',
    '',
    ...table(['comparisons', 'better', 'no difference', 'worse'], summary),
    '',
    ...table(['measurement', 'value', 'target', ''], [
      ...costs.map(({ searcher, trials, suggestMs, slowestMs, peerMs }) => [
        `a suggestion of ${searcher} after ${trials} trials`,
        `${suggestMs.toFixed(2)} ms; on the slowest function ${slowestMs.toFixed(2)} ms${peerMs === null ? '' : `; the peer's ${peerMs.toFixed(2)} ms`}`,
        formatTarget(COST_TARGETS[searcher] ?? {}, ' ms'), formatVerdict(slowestMs, COST_TARGETS[searcher] ?? {}),
      ]),
      ['hypervolume of NSGA-II on ZDT1, 30 variables, 2,000 evaluations', `${median(front).toFixed(4)}; at least ${Math.min(...front).toFixed(4)}`, formatTarget(FRONT_TARGET, ''), formatVerdict(median(front), FRONT_TARGET)],
      ...schedulers.map(({ name, target, random, asha, times }) => [
        `epochs to an error of ${target} on recorded curves: ${name}`, `ASHA ${asha}, random search ${random}: ${times.toFixed(1)}×`, `${formatTarget(EPOCHS_TARGET, '×')} on two`, formatVerdict(times, EPOCHS_TARGET),
      ]),
    ]),
    '',
    '## Regret',
    '',
    ...table(['searcher', 'function', 'trials', 'seeds', 'Muster', 'peer', 'ratio', 'p', ''], comparisons.map(({ searcher, name, trials, seeds, regret, peer, chance, verdict }) => [
      searcher, name, String(trials), String(seeds), regret.toExponential(1), peer === null ? '' : peer.toExponential(1), peer === null ? '' : (regret / peer).toPrecision(2),
      chance === null ? '' : chance.toFixed(3), verdict === 'worse' ? '**worse**' : (verdict ?? ''),
    ])),
    '',
  ].join('\n');
}
