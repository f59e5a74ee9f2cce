/** Replicas of pipelines of layers in parts: eight ranks learn what one does. Those of fewer, on real processes, are in test/cluster/train-mesh. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { MeshRun } from '../test-support/mesh-training.js';
import { onMesh } from '../test-support/ranks.js';

const MODULE = new URL('../test-support/mesh-training.js', import.meta.url).href;
const train = (mesh: object, argument: object): Promise<MeshRun[]> => onMesh(mesh, MODULE, 'train', argument);

t.test('two replicas of two stages of layers in two parts learn what one rank does', async (t) => {
  const [one] = await train({}, { steps: 10 });
  const ranks = await train({ pipeline: 2, data: 2, tensor: 2 }, { steps: 10 });
  const losses = ({ records }: MeshRun): number[] => records.map(({ loss }) => loss);
  t.ok(losses(one!).at(-1)! < 0.8 * losses(one!)[0]!, 'which is something');
  const furthest = Math.max(...ranks.flatMap((rank) => losses(rank).map((loss, step) => Math.abs(loss - losses(one!)[step]!))));
  t.ok(furthest < 1e-5, `losses within ${furthest}`);
  t.strictSame(ranks.map(losses), ranks.map(() => losses(ranks[0]!)), 'every rank hears all');
  const sums = ranks.map(({ sum }) => sum);
  t.strictSame([sums[0], sums[1], sums[4], sums[5]], [sums[2], sums[3], sums[6], sums[7]], 'replicas are equal to the bit');
});

t.test('dropout goes on from a checkpoint with the random numbers that come next', async (t) => {
  const storage = mkdtempSync(join(tmpdir(), 'muster-mesh-'));
  t.teardown(() => rmSync(storage, { recursive: true, force: true }));
  const [whole] = await train({ data: 2 }, { steps: 6, dropout: 0.5 });
  await train({ data: 2 }, { steps: 3, dropout: 0.5, storage });
  const [rest] = await train({ data: 2 }, { steps: 6, dropout: 0.5, storage });
  t.equal(rest!.sum, whole!.sum);
  t.not(rest!.sum, (await train({ data: 2 }, { steps: 6 }))[0]!.sum);
});

t.test('an infinity at one rank has all leave the step out', async (t) => {
  for (const rank of [1, 6]) {
    const ranks = await train({ pipeline: 2, data: 2, tensor: 2 }, { steps: 3, infiniteAt: { step: 1, rank } });
    for (const { records } of ranks) {
      t.strictSame(records.map(({ isSkipped }) => isSkipped), [false, true, false]);
      t.strictSame(records.map(({ scale }) => scale), [4, 2, 2]);
    }
  }
});
