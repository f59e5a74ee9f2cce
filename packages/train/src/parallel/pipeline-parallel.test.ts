/** A model in stages: what a pipeline learns is what one rank learns, with a few micro-batches in memory at a time. */
import t from 'tap';
import { onMesh } from '../test-support/ranks.js';
import type { LearnedStage } from '../test-support/pipeline-parallel.js';

const MODULE = new URL('../test-support/pipeline-parallel.js', import.meta.url).href;
const learn = (stages: number, argument: object): Promise<LearnedStage[]> => onMesh({ pipeline: stages }, MODULE, 'learn', argument);

function furthest(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return Infinity;
  return Math.max(...a.map((value, index) => Math.abs(value - b[index]!)));
}

t.test('stages learn what the whole model would, with an embedding that the last shares with the first', async (t) => {
  const [one] = await learn(1, { microBatches: 1, steps: 20 });
  t.ok(one!.losses.at(-1)! < 0.7 * one!.losses[0]!, 'which is something');
  for (const [stages, microBatches] of [[1, 4], [2, 1], [2, 6], [3, 4]] as const) {
    const learned = await learn(stages, { microBatches, steps: 20 });
    const last = learned.at(-1)!;
    t.ok(furthest(last.losses, one!.losses) < 1e-5, `${stages} stages, ${microBatches} micro-batches: losses within ${furthest(last.losses, one!.losses)}`);
    for (const { weights } of learned) for (const [name, values] of Object.entries(weights)) t.ok(furthest(values, one!.weights[name]!) < 1e-5, `${name}, within ${furthest(values, one!.weights[name]!)}`);
    t.strictSame([...new Set(learned.flatMap(({ weights }) => Object.keys(weights)))].sort(), Object.keys(one!.weights).sort(), 'between them they have all');
    t.strictSame(learned[0]!.weights['0.weight'], last.weights['5.weight'], 'and one embedding');
    t.strictSame([...new Set(learned.flatMap(({ parameters }) => parameters))].sort(), [...one!.parameters].sort(), 'which has one name');
  }
});

t.test('in bf16 the sums of micro-batches are those of one', async (t) => {
  const [one] = await learn(1, { microBatches: 4, steps: 20, dtype: 'bf16' });
  const [, two] = await learn(2, { microBatches: 4, steps: 20, dtype: 'bf16' });
  t.ok(furthest(two!.losses, one!.losses) < 1e-5, `within ${furthest(two!.losses, one!.losses)}`);
});

t.test('a stage keeps no more micro-batches than there are stages from it to the end', async (t) => {
  const [few, many] = [await onMesh<number>({ pipeline: 3 }, MODULE, 'measure', 3), await onMesh<number>({ pipeline: 3 }, MODULE, 'measure', 12)];
  for (const stage of [0, 1, 2]) t.ok(many[stage]! < 1.05 * few[stage]!, `stage ${stage} has ${many[stage]} bytes of 12 micro-batches, and ${few[stage]} of 3`);
});

t.test('modules go where they are told', async (t) => {
  const [first, second] = await learn(2, { microBatches: 2, steps: 1, split: [1, 5] });
  t.strictSame(Object.keys(first!.weights), ['0.weight']);
  t.equal(second!.first, (0 + 12 * 3 % 11) / 2, 'metrics are means over the micro-batches');
  await t.rejects(learn(2, { microBatches: 2, steps: 1, split: [3, 4] }), { code: 'INVALID_ARGUMENT', message: /6 modules into 3 \+ 4.*2 positive numbers whose sum is 6/ });
  await t.rejects(learn(2, { microBatches: 0, steps: 1 }), { code: 'INVALID_ARGUMENT', message: /0 micro-batches/ });
  await t.rejects(learn(7, { microBatches: 1, steps: 1 }), { code: 'INVALID_ARGUMENT', message: /6 modules for 7 stages/ });
});

t.test('what a pipeline cannot carry is refused', async (t) => {
  const [first] = await onMesh<string>({ pipeline: 2 }, MODULE, 'refuse');
  t.match(first, /batch of 3 examples for 2 micro-batches.*; .*output f32\[2, 16\] of a stage.*f32\[1, 16\]/);
});
