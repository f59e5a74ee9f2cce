/** Which examples each rank sees: all, once an epoch, and the same whoever shares the work. */
import t from 'tap';
import { permutationAt } from './permutation.js';
import { ShardSampler } from './shard-sampler.js';

t.test('a permutation holds every place once, differs from epoch to epoch, and mixes', async (t) => {
  for (const size of [1, 2, 3, 4, 5, 16, 17, 1000, 4096, 4097]) {
    const places = [...Array(size).keys()];
    const first = places.map((place) => permutationAt(place, size, { seed: 7, round: 0 }));
    t.ok([...first].sort((a, b) => a - b).every((value, place) => value === place), `of ${size}`);
    if (size < 16) continue;
    t.notOk(first.every((value, place) => value === permutationAt(place, size, { seed: 7, round: 1 })));
    t.notOk(first.every((value, place) => value === permutationAt(place, size, { seed: 8, round: 0 })));
    t.ok(Math.abs(correlation(places, first)) < 4 / Math.sqrt(size), 'not in their order');
  }
});

function correlation(a: readonly number[], b: readonly number[]): number {
  const mean = (a.length - 1) / 2;
  const variance = a.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return a.reduce((sum, value, index) => sum + (value - mean) * (b[index]! - mean), 0) / variance;
}

t.test('a sampler', async (t) => {
  const options = { exampleCount: 103, batchSize: 5, ranks: 4, seed: 3, shuffle: true, remainder: 'drop', window: null } as const;
  const step = (sampler: ShardSampler, at: number, ranks: number): number[] => Array.from({ length: ranks }, (_, rank) => [...sampler.batch(at, rank)]).flat();

  t.test('shows no example twice in an epoch, and others first in the next', async (t) => {
    const sampler = new ShardSampler(options);
    t.equal(sampler.stepsPerEpoch, 5);
    const epoch = (number: number): number[] => Array.from({ length: 5 }, (_, at) => step(sampler, number * 5 + at, 4)).flat();
    t.equal(new Set(epoch(0)).size, 100);
    t.ok(epoch(0).every((example) => example >= 0 && example < 103));
    t.notSame(epoch(1), epoch(0));
    t.strictSame(epoch(0), Array.from({ length: 5 }, (_, at) => step(new ShardSampler(options), at, 4)).flat(), 'equal seeds, equal epochs');
  });

  t.test('shows the same examples in a step when the ranks that share it become fewer', async (t) => {
    const four = new ShardSampler(options);
    const two = new ShardSampler({ ...options, ranks: 2, batchSize: 10 });
    for (let at = 0; at < 12; at++) t.strictSame(step(two, at, 2), step(four, at, 4));
  });

  t.test('fills the last step up, or leaves it out', async (t) => {
    const wrapped = new ShardSampler({ ...options, remainder: 'wrap', shuffle: false });
    t.equal(wrapped.stepsPerEpoch, 6);
    t.strictSame(step(wrapped, 5, 4), [100, 101, 102, ...Array(17).keys()]);
    t.equal(new Set(Array.from({ length: 6 }, (_, at) => step(wrapped, at, 4)).flat()).size, 103, 'every example is seen');
    t.equal(new ShardSampler({ ...options, exampleCount: 3, remainder: 'wrap' }).batch(0, 3).length, 5, 'also when there are fewer than one step takes');
  });

  t.test('of blocks stays in the windows that are at hand', async (t) => {
    const window = { examplesPerBlock: 10, blocks: 3 };
    const four = new ShardSampler({ ...options, window });
    const two = new ShardSampler({ ...options, window, ranks: 2, batchSize: 10 });
    const shown: number[][] = [[], []];
    for (let at = 0; at < 10; at++) {
      const examples = step(four, at, 4);
      t.strictSame(step(two, at, 2), examples, 'the same for other ranks');
      const around = four.blocksAround(at);
      t.ok(examples.every((example) => around.has(Math.floor(example / 10))), `step ${at}`);
      t.ok(around.size <= 9, 'two windows, or three where a step lies in two');
      if (at < 9) t.ok(step(four, at + 1, 4).every((example) => around.has(Math.floor(example / 10))), 'what comes next is read ahead, also over the end of an epoch');
      shown[Math.floor(at / 5)]!.push(...examples);
    }
    t.strictSame(shown.map((examples) => new Set(examples).size), [100, 100]);
    t.notSame(shown[0], shown[1]);
    t.ok(Math.abs(correlation(shown[0]!.slice(0, 30), [...Array(30).keys()])) < 0.5, 'examples of a window are mixed');
    const wrapped = new ShardSampler({ ...options, remainder: 'wrap', window });
    t.equal(new Set(Array.from({ length: 6 }, (_, at) => step(wrapped, at, 4)).flat()).size, 103, 'every example is seen');
  });

  t.test('ends its epochs early where it is told to', async (t) => {
    const sampler = new ShardSampler(options);
    const whole = step(sampler, 5, 4);
    sampler.limit(3);
    t.equal(sampler.stepsPerEpoch, 3);
    t.strictSame(step(sampler, 3, 4), whole, 'the next begins');
    sampler.limit(9);
    t.equal(sampler.stepsPerEpoch, 3, 'and never later');
  });

  t.test('refuses what it could not serve', async (t) => {
    t.throws(() => new ShardSampler({ ...options, exampleCount: 19 }), { code: 'INVALID_ARGUMENT', message: /at least 20, which 4 ranks with batches of 5 take/ });
    t.throws(() => new ShardSampler({ ...options, batchSize: 0 }), { code: 'INVALID_ARGUMENT', message: /batchSize 0/ });
    t.throws(() => new ShardSampler({ ...options, ranks: 1.5 }), { code: 'INVALID_ARGUMENT', message: /ranks 1.5/ });
    for (const seed of [NaN, -1, 1.5, 2 ** 32, Infinity, undefined as never]) t.throws(() => new ShardSampler({ ...options, seed }), { code: 'INVALID_ARGUMENT', message: `the seed ${seed} of a loader is not valid: it must be a whole number from 0 to 4294967295` });
    t.doesNotThrow(() => new ShardSampler({ ...options, seed: 2 ** 32 - 1 }));
    t.throws(() => new ShardSampler({ ...options, remainder: 'keep' as 'wrap' }), { code: 'INVALID_ARGUMENT', message: /remainder keep .* 'drop' or 'wrap'/ });
  });
});
