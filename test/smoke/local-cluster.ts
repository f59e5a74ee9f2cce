/** The main things once, on a cluster of its own: run with a newer Node than the tests', which loads this file as it is. */
import t from 'tap';
import { actor, get, init, put, remote, shutdown } from '@muster/core';

const ELEMENTS = 1_000_000;

t.before(() => init({ cpus: 2, objectStore: '256MiB' }));
t.teardown(() => shutdown());

t.test('a task is a closure over what it uses', async (t) => {
  const factor = 7;
  const times = remote((x: number) => x * factor);
  t.equal(await times(6), 42);
  t.strictSame(await get([times.remote(1), times.remote(2)]), [7, 14]);
});

t.test('an error of a task is the caller\'s error', async (t) => {
  const fails = remote((): number => { throw new RangeError('too far'); });
  await t.rejects(fails(), { name: 'RangeError', message: 'too far' });
});

t.test('an actor keeps its state', async (t) => {
  class Counter {
    #n = 0;
    add(k: number): number {
      return (this.#n += k);
    }
  }
  const counter = await actor(Counter).create();
  t.strictSame(await get([counter.add.remote(1), counter.add.remote(2)]), [1, 3]);
});

t.test('a large array is shared', async (t) => {
  const floats = await put(new Float32Array(ELEMENTS).fill(0.5));
  const sum = remote((values: Float32Array) => values.reduce((total, value) => total + value, 0));
  t.equal(await sum(floats), ELEMENTS / 2);
  t.equal((await get(floats)).length, ELEMENTS);
});
