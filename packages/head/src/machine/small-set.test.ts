/** A small set against a Set. */
import t from 'tap';
import { seededRandom } from '@muster/base';
import { SmallSet } from './small-set.js';

t.test('a small set does what a Set does', async (t) => {
  const random = seededRandom(1);
  const members = Array.from({ length: 4 }, (_, index) => ({ index }));
  for (let history = 0; history < 200; history++) {
    const small = new SmallSet<object>();
    const set = new Set<object>();
    for (let step = 0; step < 30; step++) {
      const member = members[Math.floor(random.next() * (1 + (history % 4)))]!;
      const roll = random.next();
      if (roll < 0.5) { small.add(member); set.add(member); }
      else if (roll < 0.95) t.equal(small.delete(member), set.delete(member));
      else { small.clear(); set.clear(); }
      if (small.size !== set.size || small.has(member) !== set.has(member)) t.fail(`history ${history}, step ${step}`);
      if ([...small].some((each, place) => each !== [...set][place])) t.fail(`history ${history}, step ${step}: another order`);
    }
  }
});

t.test('members may go while they are looked through', async (t) => {
  const members = [{}, {}, {}];
  for (const count of [1, 3]) {
    const small = new SmallSet<object>();
    for (const member of members.slice(0, count)) small.add(member);
    let seen = 0;
    for (const member of small) {
      seen++;
      small.delete(member);
    }
    t.equal(seen, count);
    t.equal(small.size, 0);
  }
});
