/** The least of many numbers, against an oracle that looks at all of them. */
import t from 'tap';
import { randomOf } from './test-support/random.js';
import { Tournament } from './tournament.js';

/** One place; a leaf that is full; one more; two levels; one more; three levels that are not full. */
for (const size of [1, 16, 17, 256, 257, 700]) {
  t.test(`the first place of the least of ${size} numbers, whichever changes`, async (t) => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = randomOf(seed);
      const oracle = new Array<number>(size).fill(Infinity);
      const tournament = new Tournament(size);
      for (let step = 0; step < 1000; step++) {
        const place = random(size);
        oracle[place] = tournament.at(place) + (random(2) === 0 ? -0.25 : 0.25); // small steps: many are equal
        if (oracle[place] === Infinity) oracle[place] = random(8) / 4;
        else if (random(4) === 0) oracle[place] = Infinity;
        tournament.set(place, oracle[place]!);
        const least = Math.min(...oracle);
        const expected = least === Infinity ? null : oracle.indexOf(least);
        if (tournament.first() !== expected) t.fail(`seed ${seed}, step ${step}: ${tournament.first()} is not ${expected}`);
        if (tournament.at(place) !== oracle[place]) t.fail(`seed ${seed}, step ${step}: a number was lost`);
      }
    }
    t.pass('20 seeds of 1000 steps');
  });
}

t.test('nothing has a place among no numbers', async (t) => {
  t.equal(new Tournament(0).first(), null);
});
