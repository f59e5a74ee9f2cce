/** ASHA on learning curves that were recorded of real training (bench/record-curves.mjs): what it spends, and what it finds. */
import { seededRandom } from '@muster/base';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { asha, SearchSpace, uniform } from '../index.js';

const CONCURRENCY = 4;
const ORDERS = 20;

/** Validation errors by epoch, of each recorded trial. */
type Curves = readonly (readonly number[])[];

function recorded(task: string): Curves {
  const lines = readFileSync(new URL(`../../../../bench/curves/${task}.jsonl`, import.meta.url), 'utf8').trimEnd().split('\n');
  return lines.map((line) => (JSON.parse(line) as { errors: number[] }).errors);
}

function shuffled(curves: Curves, seed: number): Curves {
  const random = seededRandom(seed);
  return curves.map((curve) => ({ curve, at: random.next() })).sort((a, b) => a.at - b.at).map(({ curve }) => curve);
}

/** Lets each of the trials run as far as ASHA does: how far that is, and what the least error was, by trial. */
function run(curves: Curves): { readonly epochs: readonly number[]; readonly least: number } {
  const scheduler = asha({ maxEpochs: curves[0]!.length }).create({ space: SearchSpace.of({ place: uniform(0, 1) }), objectives: [{ metric: 'error', mode: 'min' }], seed: 1 });
  const epochs = curves.map(() => 0);
  const running = new Set<number>();
  let least = Infinity;
  for (let begun = 0; begun < curves.length || running.size > 0;) {
    while (running.size < CONCURRENCY && begun < curves.length) {
      scheduler.start(`trial-${begun}`, { place: 0 });
      running.add(begun++);
    }
    for (const index of running) {
      const error = curves[index]![epochs[index]!++]!;
      least = Math.min(least, error);
      if (scheduler.report({ trialId: `trial-${index}`, step: epochs[index]!, values: [error] }).kind === 'continue') continue;
      scheduler.end({ trialId: `trial-${index}`, status: 'stopped', values: [error] });
      running.delete(index);
    }
  }
  return { epochs, least };
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;

t.test('on recorded learning curves ASHA stops half of the trials at once, spends a twelfth of the epochs, and finds one of the best five', async (t) => {
  for (const task of ['linear', 'mlp', 'text']) {
    const curves = recorded(task);
    const maxEpochs = curves[0]!.length;
    const runs = Array.from({ length: ORDERS }, (_, seed) => run(shuffled(curves, seed)));
    const spent = median(runs.map(({ epochs }) => epochs.reduce((sum, count) => sum + count, 0)));
    const stoppedAtOnce = median(runs.map(({ epochs }) => epochs.filter((count) => count === 1).length));
    const better = median(runs.map(({ least }) => curves.filter((errors) => Math.min(...errors) < least).length));
    t.ok(stoppedAtOnce > curves.length / 2, `${task}: ${stoppedAtOnce} of ${curves.length} ran for one epoch`);
    t.ok(spent < (curves.length * maxEpochs) / 12, `${task}: ${spent} of ${curves.length * maxEpochs} epochs`);
    t.ok(better < 5, `${task}: ${better} were better than the best that it found`);
  }
});
