/**
 * ASHA against random search on the recorded learning curves of bench/curves/ (see record-curves.mjs): how many epochs each spends until some
 * trial's validation error is as small as that of the best few that were recorded.
 *
 * @typedef {object} Replayed
 * @property {string} name The task.
 * @property {number} target The error to reach.
 * @property {number} random Epochs of random search, the median over orders.
 * @property {number} asha Epochs of random search with ASHA.
 * @property {number} times The one divided by the other.
 */
import { seededRandom } from '@muster/base';
import { SearchSpace, asha, fixed, uniform } from '@muster/tune';
import { readFileSync, readdirSync } from 'node:fs';
import { median } from './peers/measure.mjs';

const FOLDER = new URL('curves/', import.meta.url);
const CONCURRENCY = 4;
/** Orders in which the recorded trials come, as random search would draw them. */
const ORDERS = 200;
/** The part of the recorded trials that is good enough. */
const GOOD_PART = 0.05;

/** @returns {Replayed[]} */
export function compareSchedulers() {
  return readdirSync(FOLDER).filter((file) => file.endsWith('.jsonl')).map((file) => {
    const curves = readFileSync(new URL(file, FOLDER), 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line).errors);
    const best = curves.map((errors) => Math.min(...errors)).sort((a, b) => a - b);
    const target = best[Math.ceil(GOOD_PART * best.length) - 1];
    const spent = (definition) => median(Array.from({ length: ORDERS }, (_, seed) => epochsTo(target, shuffled(curves, seed), definition)));
    const [plain, halved] = [spent(fixed()), spent(asha({ maxEpochs: curves[0].length }))];
    return { name: file.replace('.jsonl', ''), target, random: plain, asha: halved, times: plain / halved };
  });
}

/** The epochs that are spent until a trial's error is at most the target, with trials in this order, again and again. */
function epochsTo(target, curves, definition) {
  const scheduler = definition.create({ space: SearchSpace.of({ place: uniform(0, 1) }), objectives: [{ metric: 'error', mode: 'min' }], seed: 1 });
  const running = [];
  let begun = 0;
  for (let spent = 0; ; ) {
    while (running.length < CONCURRENCY) {
      const trialId = `trial-${begun}`;
      scheduler.start(trialId, { place: 0 });
      running.push({ trialId, errors: curves[begun++ % curves.length], step: 0 });
    }
    for (const trial of [...running]) {
      const error = trial.errors[trial.step++];
      spent++;
      if (error <= target) return spent;
      const { kind } = scheduler.report({ trialId: trial.trialId, step: trial.step, values: [error] });
      const isLast = trial.step === trial.errors.length;
      if (kind !== 'stop' && !isLast) continue;
      scheduler.end({ trialId: trial.trialId, status: isLast ? 'completed' : 'stopped', values: [error] });
      running.splice(running.indexOf(trial), 1);
    }
  }
}

function shuffled(list, seed) {
  const random = seededRandom(seed);
  return list.map((item) => ({ item, at: random.next() })).sort((a, b) => a.at - b.at).map(({ item }) => item);
}
