/** The loss scaler goes by GradScaler's rules, those of order included. */
import t from 'tap';
import { LossScaler } from '../loss-scaler.js';

/** One iteration of one optimizer. @returns whether it stepped. */
function iterate(scaler: LossScaler, foundInfinity: boolean): boolean {
  scaler.unscaled('optimizer', foundInfinity);
  const steps = scaler.stepped('optimizer');
  scaler.update();
  return steps;
}

t.test('starts at 2^16, halves at an infinity and skips the step, doubles after 2000 iterations without one', async (t) => {
  const scaler = new LossScaler();
  t.equal(scaler.scale, 65_536);
  t.equal(iterate(scaler, true), false);
  t.equal(scaler.scale, 32_768);
  for (let iteration = 0; iteration < 1999; iteration++) t.ok(iterate(scaler, false));
  t.equal(scaler.scale, 32_768);
  iterate(scaler, false);
  t.equal(scaler.scale, 65_536);
  t.equal(scaler.state().growthTracker, 0);
});

t.test('an infinity starts the count of good iterations anew', async (t) => {
  const scaler = new LossScaler({ growthInterval: 2, initialScale: 4 });
  for (const [foundInfinity, scale] of [[false, 4], [true, 2], [false, 2], [false, 4], [false, 4], [false, 8]] as const) {
    iterate(scaler, foundInfinity);
    t.equal(scaler.scale, scale);
  }
});

t.test('grows only if the result is finite, and is an f32 always', async (t) => {
  const scaler = new LossScaler({ growthInterval: 1, initialScale: 2 ** 127 });
  iterate(scaler, false);
  t.strictSame(scaler.state(), { scale: 2 ** 127, growthTracker: 0 });
  const odd = new LossScaler({ growthInterval: 1, initialScale: 0.1, growthFactor: 1.1 });
  t.equal(odd.scale, Math.fround(0.1));
  iterate(odd, false);
  t.equal(odd.scale, Math.fround(Math.fround(0.1) * 1.1));
});

t.test('an infinity at any optimizer shrinks the scale, and only those that have one skip', async (t) => {
  const scaler = new LossScaler();
  scaler.unscaled('generator', false);
  t.ok(scaler.stepped('generator'));
  t.notOk(scaler.stepped('critic', true), 'an optimizer that unscales as it reads');
  scaler.update();
  t.equal(scaler.scale, 32_768);
});

t.test('what is out of order throws and says so', async (t) => {
  const scaler = new LossScaler();
  t.throws(() => scaler.update(), /no gradients were checked since the last update/);
  t.throws(() => scaler.stepped('optimizer'), /nothing is known of the gradients/);
  scaler.unscaled('optimizer', false);
  t.throws(() => scaler.unscaled('optimizer', false), /already unscaled since the last update/);
  scaler.stepped('optimizer');
  t.throws(() => scaler.stepped('optimizer'), /already stepped since the last update/);
  t.throws(() => scaler.unscaled('optimizer', false), /unscaled after its step/);
  scaler.update();
  t.ok(iterate(scaler, false), 'the next iteration is free again');
});

t.test('goes on from a checkpoint', async (t) => {
  const first = new LossScaler({ growthInterval: 3 });
  iterate(first, false);
  iterate(first, false);
  const second = new LossScaler({ growthInterval: 3 });
  second.restore(first.state());
  iterate(second, false);
  t.strictSame(second.state(), { scale: 131_072, growthTracker: 0 });
});

t.test('options and states that could not scale are refused', async (t) => {
  for (const options of [{ initialScale: 0 }, { initialScale: NaN }, { initialScale: 1e39 }, { growthFactor: 1 }, { backoffFactor: 1 }, { backoffFactor: 0 }, { growthInterval: 0 }, { growthInterval: 1.5 }]) {
    t.throws(() => new LossScaler(options), RangeError, JSON.stringify(options));
  }
  const scaler = new LossScaler();
  t.throws(() => scaler.restore({ scale: -1, growthTracker: 0 }), RangeError);
  t.throws(() => scaler.restore({ scale: 1, growthTracker: -1 }), RangeError);
});
