/** That efficiency is told from turns with whole cores, and what the others are. */
import t from 'tap';
import { Scaling, type Turn } from './scaling.js';

/** Two ranks in rounds of: one alone, the other alone, both together. `speeds` are those of the second rank's core in a round. */
function ranks(speeds: readonly number[], aloneMs: number, togetherMs: readonly [number, number]): readonly (readonly Turn[])[] {
  return [0, 1].map((rank) => speeds.flatMap((second): Turn[] => {
    const speed = rank === 0 ? 100 : second;
    const slower = 100 / second;  // a part of a core takes longer
    return [
      { kind: 'alone', speed, ms: rank === 0 ? aloneMs : NaN },
      { kind: 'alone', speed, ms: rank === 1 ? aloneMs * slower : NaN },
      { kind: 'together', speed, ms: togetherMs[rank]! * slower },
    ];
  }));
}

t.test('an efficiency is made of turns in which each rank has a whole core', async (t) => {
  const speeds = [...new Array<number>(10).fill(100), ...new Array<number>(10).fill(50)];
  const scaling = new Scaling(ranks(speeds, 9, [10, 9.5]), 'alone', 'together');
  t.equal(scaling.efficiency, 0.9);
  t.equal(scaling.togetherMs, 10);
  t.equal(scaling.wholeShare, 0.5);
  t.ok(Math.abs(scaling.anyEfficiency - (0.9 + 13.5 / 20) / 2) < 1e-12, 'over all turns the mean alone is held against the slower one together');
});

t.test('of too few such turns nothing is told', async (t) => {
  const scaling = new Scaling(ranks([...new Array<number>(7).fill(100), ...new Array<number>(9).fill(50)], 9, [10, 10]), 'alone', 'together');
  t.equal(scaling.efficiency, null);
  t.ok(scaling.anyEfficiency > 0);
});
