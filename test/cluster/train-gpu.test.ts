/** Trainings on GPUs of a cluster, one that two processes share and one a node: they learn what they learn on the CPU, also when a rank is killed. The GPUs are native/cuda's emulator. */
import { emulatedEnvironment, emulatorLacks } from '@muster/native/cuda-emulator';
import { manualSeed, optim } from '@muster/tensor';
import { DataParallelTrainer, type TrainerOptions } from '@muster/train';
import t from 'tap';
import { startClusterWithFolder } from '../support/cluster-with-folder.js';
import { PointsNet, lossOf, pointsDataset } from '../support/points.js';

const skip = emulatorLacks() ?? false;
Object.assign(process.env, emulatedEnvironment()); // which nodes and workers inherit
const { fresh } = await startClusterWithFolder({ nodes: [{ cpus: 1, gpus: 1 }, { cpus: 1, gpus: 1 }] });
const points = await pointsDataset();

interface Learned {
  readonly weights: readonly number[];
  readonly device: string;
  readonly visible: string | undefined;
  readonly way: string | null;
}

/** @param killedAt the step before which rank 1 is killed, the first time */
async function learn(trainer: Partial<TrainerOptions>, killedAt = -1): Promise<{ readonly ranks: readonly Learned[]; readonly losses: readonly number[]; readonly restarts: number; readonly warnings: readonly string[] }> {
  const { results, history, restarts, warnings } = await new DataParallelTrainer<Learned>(async (rank) => {
    manualSeed(rank.rank); // other weights at each rank: those of rank 0 count
    const model = new PointsNet().to(rank.device);
    const training = await rank.train({ model, optimizer: new optim.AdamW(model.parameters(), { learningRate: 0.02 }) });
    for await (const { columns } of training.batches(rank.loader(points, { batchSize: 8, seed: 5 }), { epochs: 1 })) {
      if (rank.rank === 1 && rank.incarnation === 1 && training.stepCount === killedAt) process.kill(process.pid, 'SIGKILL');
      await training.step(() => lossOf(model, columns, 'f32', rank.device));
    }
    const weights = model.parameters().flatMap((parameter) => Array.from(parameter.toTypedArray() as Float32Array));
    return { weights, device: rank.device, visible: process.env['CUDA_VISIBLE_DEVICES'], way: rank.mesh.data.deviceWay?.way ?? null };
  }, { ranks: 2, cpus: 0.5, strategy: 'strict-pack', progress: false, ...trainer }).fit();
  return { ranks: results, losses: history.map(({ loss }) => loss), restarts, warnings };
}

const furthest = (a: readonly number[], b: readonly number[]): number => (a.length === b.length ? Math.max(...a.map((value, index) => Math.abs(value - b[index]!))) : Infinity);

t.test('two processes that share a GPU learn what they learn on the CPU', { skip }, async (t) => {
  const host = await learn({});
  const device = await learn({ device: 'cuda', gpus: 0.5 });
  t.match(host.ranks[0], { device: 'cpu', way: null });
  for (const rank of device.ranks) {
    t.match(rank, { device: 'cuda:0', visible: '0', way: 'shared' });
    t.ok(furthest(rank.weights, host.ranks[0]!.weights) < 1e-4, `weights within ${furthest(rank.weights, host.ranks[0]!.weights)}`);
  }
  t.ok(furthest(device.losses, host.losses) < 1e-4);
  t.strictSame(device.ranks[0]!.weights, device.ranks[1]!.weights, 'and have the same bits');
});

t.test('those of two nodes do so, too, by the network, and say so', { skip }, async (t) => {
  const host = await learn({});
  const device = await learn({ device: 'cuda', strategy: 'strict-spread' });
  for (const rank of device.ranks) {
    t.match(rank, { device: 'cuda:0', way: 'staged' });
    t.ok(furthest(rank.weights, host.ranks[0]!.weights) < 1e-4, `weights within ${furthest(rank.weights, host.ranks[0]!.weights)}`);
  }
  t.match(device.warnings, [/gradients of GPUs travel through host memory: its ranks are on several nodes/]);
});

t.test('when one is killed both go on from the checkpoint', { skip }, async (t) => {
  const whole = await learn({ device: 'cuda', gpus: 0.5 });
  const killed = await learn({ device: 'cuda', gpus: 0.5, storage: fresh(), checkpoint: { everySteps: 2 } }, 3);
  t.equal(killed.restarts, 1);
  t.strictSame(killed.ranks[0]!.weights, whole.ranks[0]!.weights);
});

t.test('a rank asks for a GPU of its own unless told otherwise, and devices have names', { skip }, async (t) => {
  t.match((await learn({ device: 'cuda', ranks: 1 })).ranks, [{ device: 'cuda:0', visible: '0' }]);
  await t.rejects(learn({ device: 'cuda', ranks: 3, strategy: 'pack', timeoutMs: 500 }), { code: 'UNSCHEDULABLE', message: /gpu/ });
  t.throws(() => new DataParallelTrainer(async () => 0, { ranks: 1, device: 'cuda:1' as 'cuda' }), { code: 'INVALID_ARGUMENT', message: /device: "cuda:1".*'cpu' or 'cuda'/ });
});
