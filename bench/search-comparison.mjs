/**
 * What runs of searchers say: regrets, and whether one side's are larger than the other's by more than chance. Pure.
 *
 * @typedef {import('./search-runs.mjs').SearchRun} SearchRun
 *
 * @typedef {object} Comparison One searcher on one function after so many trials, over the seeds that both sides have.
 * @property {string} searcher
 * @property {string} name
 * @property {number} trials
 * @property {number} seeds
 * @property {number} regret Muster's median.
 * @property {number | null} peer The peer's median; `null` without one, and then the rest too.
 * @property {number | null} chance That regrets differ as much as these though neither side is better.
 * @property {'better' | 'worse' | 'no difference' | null} verdict
 */
import { median } from './peers/measure.mjs';

/** Differences that one chance in twenty would explain are none. */
const SIGNIFICANCE = 0.05;
/** Regrets below this are the arithmetic's. */
const REGRET_MIN = 1e-12;

/** The regret of the trial that looked best after so many. @param {SearchRun} run */
export function regretAfter({ seen, losses }, trials, minimum) {
  let best = 0;
  for (let i = 1; i < trials; i++) if (seen[i] < seen[best]) best = i;
  return Math.max(REGRET_MIN, losses[best] - minimum);
}

/**
 * Compares runs of the same seeds.
 * @param {{ ours: readonly SearchRun[], peers: readonly (SearchRun | null)[], trials: number, minimum: number }} runs
 * @returns {Comparison}
 */
export function compareRuns({ ours, peers, trials, minimum }) {
  const { searcher, name } = ours[0];
  const pairs = ours.flatMap((run, i) => (peers[i] && peers[i].losses.length >= trials ? [[regretAfter(run, trials, minimum), regretAfter(peers[i], trials, minimum)]] : []));
  if (pairs.length === 0) {
    const reached = ours.filter(({ losses }) => losses.length >= trials);
    return { searcher, name, trials, seeds: reached.length, regret: median(reached.map((run) => regretAfter(run, trials, minimum))), peer: null, chance: null, verdict: null };
  }
  const { chance, isWorse } = signedRankTest(pairs.map(([mine, peer]) => Math.log(mine) - Math.log(peer)));
  const verdict = chance >= SIGNIFICANCE ? 'no difference' : isWorse ? 'worse' : 'better';
  return { searcher, name, trials, seeds: pairs.length, regret: median(pairs.map(([mine]) => mine)), peer: median(pairs.map(([, peer]) => peer)), chance, verdict };
}

/**
 * The chance that paired differences lean as far as these to one side or the other, if they leaned to neither.
 * Source: Wilcoxon, 1945; the normal approximation, with ties.
 */
export function signedRankTest(differences) {
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
