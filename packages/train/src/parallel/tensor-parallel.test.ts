/** Layers in parts: what several ranks learn together is what one learns alone. */
import t from 'tap';
import { onMesh } from '../test-support/ranks.js';
import type { LearnedParts } from '../test-support/tensor-parallel.js';

const MODULE = new URL('../test-support/tensor-parallel.js', import.meta.url).href;
const learn = (ranks: number, argument: object): Promise<LearnedParts[]> => onMesh({ tensor: ranks }, MODULE, 'learn', argument);

function furthest(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return Infinity;
  return Math.max(...a.map((value, index) => Math.abs(value - b[index]!)));
}

t.test('parts of layers learn what the layers would', async (t) => {
  const [one] = await learn(1, { blocks: 2, steps: 24 });
  t.ok(one!.losses.at(-1)! < 0.7 * one!.losses[0]!, 'which is something');
  for (const ranks of [2, 4]) {
    const parts = await learn(ranks, { blocks: 2, steps: 24 });
    for (const { losses, weights, names } of parts) {
      t.ok(furthest(losses, one!.losses) < 1e-5, `${ranks} ranks have the losses of one, within ${furthest(losses, one!.losses)}`);
      t.strictSame(names, one!.names);
      for (const [name, values] of Object.entries(one!.weights)) t.ok(furthest(weights[name]!, values) < 1e-5, `and ${name}, within ${furthest(weights[name]!, values)}`);
    }
    t.ok(parts.every(({ losses }) => furthest(losses, parts[0]!.losses) === 0), 'to the bit the same at every rank');
  }
});

t.test('in bf16 they learn it up to the rounding of partial sums', async (t) => {
  const [one] = await learn(1, { blocks: 2, steps: 24, dtype: 'bf16' });
  for (const ranks of [2, 4]) {
    const [first] = await learn(ranks, { blocks: 2, steps: 24, dtype: 'bf16' });
    t.ok(furthest(first!.losses, one!.losses) < 0.01, `${ranks} ranks, within ${furthest(first!.losses, one!.losses)}`);
  }
});

t.test('a block takes two all-reduces forward and two backward', async (t) => {
  const [[two], [three]] = await Promise.all([learn(2, { blocks: 2, steps: 1 }), learn(2, { blocks: 3, steps: 1 })]);
  t.strictSame([0, 1].map((way) => three!.allReduces[way]! - two!.allReduces[way]!), [2, 2]);
  t.strictSame(two!.allReduces, [4 + 1 + 2, 4 + 1], 'and beside those the embedding one, the loss two, and the logits one on the way back');
});

t.test('blocks that are computed again on the way back learn the same', async (t) => {
  const [[kept], [again]] = await Promise.all([learn(2, { blocks: 2, steps: 6 }), learn(2, { blocks: 2, steps: 6, isCheckpointed: true })]);
  t.strictSame(again!.losses, kept!.losses);
  t.strictSame(again!.allReduces, [kept!.allReduces[0], kept!.allReduces[1] + 4], 'with the all-reduces of the second time');
});

t.test('each layer is the one that it is a part of', async (t) => {
  for (const ranks of [1, 2, 4]) {
    for (const differences of await onMesh<number[]>({ tensor: ranks }, MODULE, 'compareLayers')) t.ok(differences.every((difference) => difference < 1e-6), `${ranks} ranks: ${differences}`);
  }
});

t.test('dropout differs inside of a group, and agrees outside', async (t) => {
  const [[before, inside, after], [otherBefore, otherInside, otherAfter]] = await onMesh<readonly [number[], number[], number[]]>({ tensor: 2 }, MODULE, 'drop') as unknown as [number[][], number[][]];
  t.strictSame([before, after], [otherBefore, otherAfter]);
  t.notSame(inside, otherInside);
  t.notSame(before, after);
});

t.test('what cannot be cut is refused', async (t) => {
  const [, second] = await onMesh<string[]>({ tensor: 2 }, MODULE, 'refuse');
  t.match(second, [/3 heads among 2 ranks/, /\[1, 4\] of which rank 1 of 2 has no part/, /indices from 5 to 5.*from 0 to 4/, /indices from 4 to 4.*from 0 to 3/, 'nothing']);
  await t.rejects(onMesh({ tensor: 0 }, MODULE, 'refuse'), { code: 'INVALID_ARGUMENT', message: /0 ranks along tensor/ });
});
