/**
 * Trainings on GPUs: what ranks learn there is what they learn on the CPU. The GPU is native/cuda's emulator, one for all ranks, which are threads; ranks in processes of their own are in
 * packages/collective and test/cluster.
 */
import { cudaLacks } from '@muster/tensor';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { MeshRun } from '../test-support/mesh-training.js';
import type { LearnedStage } from '../test-support/pipeline-parallel.js';
import { onMesh } from '../test-support/ranks.js';
import type { LearnedParts } from '../test-support/tensor-parallel.js';

process.env['MUSTER_EMULATED_GPU'] = '0'; // of all ranks' threads
const skip = cudaLacks() ?? false;
/** Beyond the order of sums there are the kernels' own exponential and power. */
const TOLERANCE = 1e-4;

const moduleOf = (name: string): string => new URL(`../test-support/${name}.js`, import.meta.url).href;
const train = (mesh: object, argument: object): Promise<MeshRun[]> => onMesh(mesh, moduleOf('mesh-training'), 'train', argument);
const onGpu = <T extends object>(argument: T): T & { readonly device: 'cuda:0' } => ({ ...argument, device: 'cuda:0' });

function furthest(a: readonly number[], b: readonly number[]): number {
  return a.length === b.length ? Math.max(...a.map((value, index) => Math.abs(value - b[index]!))) : Infinity;
}

const losses = ({ records }: MeshRun): number[] => records.map(({ loss }) => loss);

t.test('replicas learn what one rank does on the CPU, with gradients and states whole and in shards', { skip }, async (t) => {
  const [one] = await train({}, { steps: 2 });
  for (const zero of [undefined, 1, 2]) {
    const ranks = await train({ data: 2 }, onGpu({ steps: 2, zero }));
    const distance = furthest(losses(ranks[0]!), losses(one!));
    t.ok(distance < TOLERANCE, `zero ${zero}: losses within ${distance}`);
    t.equal(ranks[0]!.sum, ranks[1]!.sum, 'replicas are equal to the bit');
  }
});

t.test('two replicas of two stages of layers in two parts do so, too, and leave out a step that is infinite at one of them', { skip }, async (t) => {
  const mesh = { pipeline: 2, data: 2, tensor: 2 };
  const infiniteAt = { step: 0, rank: 6 };
  const [host, device] = [await train(mesh, { steps: 2, infiniteAt }), await train(mesh, onGpu({ steps: 2, infiniteAt }))];
  t.ok(furthest(losses(device[0]!), losses(host[0]!)) < TOLERANCE);
  for (const { records } of device) t.strictSame(records.map(({ isSkipped, scale }) => [isSkipped, scale]), [[true, 2], [false, 2]]);
});

t.test('layers in parts learn what they learn on the CPU, all-reduces going by the GPU that the ranks share', { skip }, async (t) => {
  for (const dtype of [undefined, 'bf16']) {
    const plan = { blocks: 1, steps: 2, dtype };
    const [host] = await onMesh<LearnedParts>({ tensor: 2 }, moduleOf('tensor-parallel'), 'learn', plan);
    const device = await onMesh<LearnedParts>({ tensor: 2 }, moduleOf('tensor-parallel'), 'learn', onGpu(plan));
    const tolerance = dtype === undefined ? TOLERANCE : 0.02;
    for (const each of device) {
      t.ok(furthest(each.losses, host!.losses) < tolerance, `losses within ${furthest(each.losses, host!.losses)}`);
      for (const [name, values] of Object.entries(host!.weights)) t.ok(furthest(each.weights[name]!, values) < tolerance, `${name} within ${furthest(each.weights[name]!, values)}`);
      t.strictSame([each.way, each.allReduces], ['shared', host!.allReduces]);
    }
  }
});

t.test('stages learn what they learn on the CPU, with an embedding that the last shares with the first', { skip }, async (t) => {
  const plan = { microBatches: 4, steps: 2 };
  const host = await onMesh<LearnedStage>({ pipeline: 2 }, moduleOf('pipeline-parallel'), 'learn', plan);
  const device = await onMesh<LearnedStage>({ pipeline: 2 }, moduleOf('pipeline-parallel'), 'learn', onGpu(plan));
  device.forEach((stage, rank) => {
    t.ok(furthest(stage.losses, host[rank]!.losses) < TOLERANCE || stage.losses.length === 0);
    t.strictSame(stage.parameters, host[rank]!.parameters);
    for (const [name, values] of Object.entries(host[rank]!.weights)) t.ok(furthest(stage.weights[name]!, values) < TOLERANCE, `${name} within ${furthest(stage.weights[name]!, values)}`);
  });
  t.strictSame(device[0]!.weights['0.weight'], device[1]!.weights['5.weight']);
});

t.test('a training goes on from its checkpoint, on the GPU and from one to the other', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'muster-gpu-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [whole] = await train({ data: 2 }, onGpu({ steps: 2, zero: 1 }));
  await train({ data: 2 }, onGpu({ steps: 1, zero: 1, everySteps: 1, storage: folder }));
  const [rest] = await train({ data: 2 }, onGpu({ steps: 2, zero: 1, storage: folder }));
  t.equal(rest!.sum, whole!.sum);
  const [host] = await train({ data: 2 }, { steps: 2, storage: folder });
  t.equal(host!.records.length, 1);
  t.ok(furthest(losses(host!), losses(whole!).slice(1)) < TOLERANCE);
});

t.test('a model that was left on the CPU is refused', { skip }, async (t) => {
  await t.rejects(train({}, { steps: 1, placeDevice: 'cuda:0' }), { code: 'INVALID_ARGUMENT', message: /0\.weight is on cpu in a training on cuda:0.*model\.to\(rank\.device\)/ });
});
