/** ZeRO on real processes: ranks that keep a shard of the optimizer's state, and of the gradients, learn what ranks do that keep all of it. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { allocator, GradScaler, manualSeed, nn, optim, type Tensor } from '@muster/tensor';
import { DataParallelTrainer, Training, type Rank, type StepRecord, type TrainingOptions } from '@muster/train';
import t from 'tap';
import { startClusterWithFolder } from '../support/cluster-with-folder.js';
import { CLASSES, FEATURES, lossOf, pointsDataset } from '../support/points.js';

const { root } = await startClusterWithFolder({ nodes: [{ cpus: 1 }, { cpus: 1 }] }); // four ranks are on both

/** Examples of a step, on however many ranks. */
const STEP_EXAMPLES = 16;

const points = await pointsDataset();

/** Of two buckets; its last bias has fewer numbers than there are ranks. */
class Net extends nn.Module {
  readonly first = new nn.Linear(FEATURES, 512);
  readonly hidden = new nn.Linear(512, 512);
  readonly output = new nn.Linear(512, CLASSES);

  forward(x: Tensor): Tensor {
    return this.output.forward(this.hidden.forward(this.first.forward(x).relu()).relu());
  }
}

const PARAMETER_BYTES = 4 * (FEATURES * 512 + 512 + 512 * 512 + 512 + 512 * CLASSES + CLASSES);

type Zero = TrainingOptions['zero'];
type Variant = Omit<TrainingOptions, 'model' | 'optimizer' | 'zero' | 'scaler'> & { readonly scaled?: boolean; readonly half?: boolean; readonly sgd?: boolean };

const VARIANTS: Readonly<Record<string, Variant>> = {
  plain: {},
  momentum: { sgd: true },
  accumulated: { accumulate: 2 },
  clipped: { clipGradNorm: 0.1 },
  scaled: { dtype: 'f16', scaled: true, clipGradNorm: 5 },
  halves: { half: true, dtype: 'bf16' },
};

interface Learned {
  readonly weights: readonly number[];
  readonly records: readonly StepRecord[];
  /** What the training holds between two steps, beside the model. */
  readonly bytes: number;
}

/** One training within a rank, of one epoch; without ends early, so that many fit into one gang. */
async function learn(rank: Rank, { scaled, half, sgd, ...options }: Variant, zero: Zero): Promise<Learned> {
  manualSeed(1);
  const model = new Net();
  if (half) model.to('bf16');
  const before = allocator.statistics().usedBytes;
  const optimizer = sgd ? new optim.SGD(model.parameters(), { learningRate: 0.05, momentum: 0.9 }) : new optim.AdamW(model.parameters(), { learningRate: 0.002 });
  const records: StepRecord[] = [];
  using training = await Training.begin({ ...options, model, optimizer, ...(zero ? { zero } : {}), ...(scaled ? { scaler: new GradScaler({ initialScale: 2 ** 20 }) } : {}) },
    { mesh: rank.mesh, device: rank.device, checkpoints: null, report: (record) => records.push(record), unfetched: () => [], warn: () => undefined });
  const loader = rank.loader(points, { batchSize: STEP_EXAMPLES / rank.size / (options.accumulate ?? 1), seed: 5 });
  for await (const { columns } of training.batches(loader, { epochs: 1 })) {
    await training.step(() => lossOf(model, columns, half ? 'bf16' : 'f32'));
  }
  const bytes = allocator.statistics().usedBytes - before;
  const weights = model.parameters().flatMap((parameter) => Array.from(parameter.toTypedArray() as Float32Array));
  for (const state of optimizer.state().tensors) for (const each of Object.values(state)) each.dispose();
  for (const parameter of model.parameters()) parameter.dispose();
  return { weights, records, bytes };
}

type Learnt = Readonly<Record<string, readonly Learned[]>>;

/** Every variant without ZeRO, in its stage 1 and in its stage 2, at rank 0; ranks that do not agree fail. */
async function learnAll(ranks: number): Promise<Learnt> {
  const { results: [first] } = await new DataParallelTrainer(async (rank) => {
    const learnt: Record<string, Learned[]> = {};
    for (const [name, variant] of Object.entries(VARIANTS)) {
      learnt[name] = [];
      for (const zero of [undefined, 1, 2] as const) {
        const learned = await learn(rank, variant, zero);
        const theirs = Float32Array.from(learned.weights);
        await rank.communicator.broadcast(theirs);
        if (!learned.weights.every((weight, index) => weight === theirs[index])) throw new Error(`rank ${rank.rank} has other weights than rank 0: ${name}, ${String(zero)}`);
        learnt[name].push(learned);
      }
    }
    return learnt;
  }, { ranks, cpus: 0.5, progress: false }).fit();
  return first!;
}

const distance = (a: readonly number[], b: readonly number[]): number => a.reduce((most, weight, index) => Math.max(most, Math.abs(weight - b[index]!)), 0);

const learnt = new Map<number, Learnt>();
for (const ranks of [1, 2, 4]) {
  t.test(`${ranks} ranks learn the same with shards`, async (t) => {
    const all = await learnAll(ranks);
    learnt.set(ranks, all);
    for (const [name, [whole, one, two]] of Object.entries(all)) {
      const isExact = name !== 'clipped' && name !== 'scaled'; // the norm is a sum in another order
      t.ok(distance(one!.weights, whole!.weights) <= (isExact ? 0 : 1e-5), `stage 1, ${name}: ${distance(one!.weights, whole!.weights)}`);
      t.ok(distance(two!.weights, whole!.weights) <= (isExact && name !== 'accumulated' ? 0 : 1e-5), `stage 2, ${name}: ${distance(two!.weights, whole!.weights)}`);
      t.strictSame(two!.records.map(({ scale, isSkipped }) => ({ scale, isSkipped })), whole!.records.map(({ scale, isSkipped }) => ({ scale, isSkipped })), 'and skip the same steps');
      t.ok(whole!.records.at(-1)!.loss < whole!.records[0]!.loss, `it learns ${name}`);
    }
    t.ok(all['scaled']![1]!.records[0]!.isSkipped, 'a scale that is too large overflows');
  });

  t.test(`${ranks} ranks keep as much as their share`, async (t) => {
    const [whole, one, two] = learnt.get(ranks)!['plain']!.map(({ bytes }) => bytes / PARAMETER_BYTES);
    const [half, halfOne] = learnt.get(ranks)!['halves']!.map(({ bytes }) => bytes / PARAMETER_BYTES);
    const isShare = (parts: number, share: number): boolean => parts >= share && parts < 1.26 * share; // blocks of memory come in four sizes between powers of two
    t.ok(isShare(whole!, 3) && isShare(one!, 1 + 2 / ranks) && isShare(two!, 3 / ranks), `gradients and two moments: ${whole}, ${one}, ${two} times the parameters`);
    t.ok(isShare(half!, 3.5) && isShare(halfOne!, 0.5 + 3 / ranks), `of 16 bits, with masters: ${half}, ${halfOne}`);
  });
}

t.test('other numbers of ranks learn what one does', async (t) => {
  for (const name of ['plain', 'momentum', 'accumulated']) {
    for (const ranks of [2, 4]) t.ok(distance(learnt.get(ranks)![name]![2]!.weights, learnt.get(1)![name]![0]!.weights) < 1e-3, `${name}, ${ranks}: ${distance(learnt.get(ranks)![name]![2]!.weights, learnt.get(1)![name]![0]!.weights)}`);
  }
});

t.test('a checkpoint in shards is gone on from by other ranks, with shards or without', async (t) => {
  const storage = join(root, 'shards');
  const train = async (ranks: number, epochs: number, zero: Zero): Promise<{ readonly weights: readonly number[]; readonly steps: number }> => {
    const { results } = await new DataParallelTrainer(async (rank) => {
      manualSeed(1);
      const model = new Net();
      const training = await rank.train({ model, optimizer: new optim.AdamW(model.parameters(), { learningRate: 0.002 }), ...(zero ? { zero } : {}) });
      let steps = 0;
      for await (const { columns } of training.batches(rank.loader(points, { batchSize: STEP_EXAMPLES / ranks, seed: 5 }), { epochs })) {
        await training.step(() => lossOf(model, columns));
        steps++;
      }
      return { weights: model.parameters().flatMap((parameter) => Array.from(parameter.toTypedArray() as Float32Array)), steps };
    }, { ranks, cpus: 0.5, progress: false, storage, checkpoint: { everySteps: 3, keep: 9 } }).fit();
    return results[0]!;
  };
  await train(4, 1, 2);
  t.strictSame(readdirSync(join(storage, 'step-6')).sort(), ['manifest.json', 'rank-0', 'rank-1', 'rank-2', 'rank-3']);
  t.equal((await train(2, 2, 1)).steps, 6, 'two ranks go on from four');
  t.equal((await train(1, 3, undefined)).steps, 6, 'one without shards from two');
  const last = await train(4, 4, 2);
  t.equal(last.steps, 6, 'and four from one');
  rmSync(storage, { recursive: true });
  t.ok(distance(last.weights, (await train(1, 4, undefined)).weights) < 1e-3, 'what is learned is the same');
});
