/** Trainings on meshes of real processes on two nodes: replicas, stages of a pipeline and parts of layers together learn what one rank does, also when one is killed. */
import { context } from '@muster/core';
import { GradScaler, linear, manualSeed, nn, optim, tensor, type Tensor } from '@muster/tensor';
import {
  ColumnParallelLinear, copyToGroup, DataParallelTrainer, dataset, HeadParallelAttention, PipelineParallel, RowParallelLinear, vocabParallelCrossEntropy, VocabParallelEmbedding, type Dataset, type MeshShape,
  type Rank, type TrainerOptions, type TrainingOptions, type TrainingResult,
} from '@muster/train';
import t from 'tap';
import { startClusterWithFolder } from '../support/cluster-with-folder.js';

const { fresh } = await startClusterWithFolder({ nodes: [{ cpus: 1 }, { cpus: 1 }] });

const TOKENS = 13;
const WIDTH = 16;
const PLACES = 6;
const EXAMPLES = 48;
/** Of all ranks together. */
const BATCH = 16;
const EPOCHS = 4;
const STEPS = (EPOCHS * EXAMPLES) / BATCH;

type Text = { readonly tokens: Int32Array };

/** Each token follows from the one before. */
const text: Dataset<Text> = await dataset({ tokens: Int32Array.from({ length: EXAMPLES * (PLACES + 1) }, (_, index) => (Math.floor(index / (PLACES + 1)) * 5 + (index % (PLACES + 1)) * 3) % TOKENS) }, EXAMPLES);

type Group = Rank['mesh']['tensor'];

class Block extends nn.Module {
  readonly norm1 = new nn.LayerNorm(WIDTH);
  readonly attention: HeadParallelAttention;
  readonly norm2 = new nn.LayerNorm(WIDTH);
  readonly expand: ColumnParallelLinear;
  readonly contract: RowParallelLinear;

  constructor(group: Group) {
    super();
    this.attention = new HeadParallelAttention(WIDTH, 4, { isCausal: true, group });
    this.expand = new ColumnParallelLinear(WIDTH, 4 * WIDTH, { group });
    this.contract = new RowParallelLinear(4 * WIDTH, WIDTH, { group });
  }

  forward(input: Tensor): Tensor {
    const attended = input.add(this.attention.forward(this.norm1.forward(input)));
    return attended.add(this.contract.forward(this.expand.forward(this.norm2.forward(attended)).gelu()));
  }
}

/** The logits, with the embedding's weights. */
class Output extends nn.Module {
  readonly norm = new nn.LayerNorm(WIDTH);
  readonly weight: Tensor;
  readonly #group: Group;

  constructor(embedding: VocabParallelEmbedding, group: Group) {
    super();
    this.weight = embedding.weight;
    this.#group = group;
  }

  forward(input: Tensor): Tensor {
    return linear(copyToGroup(this.norm.forward(input), this.#group), this.weight);
  }
}

interface Plan {
  readonly epochs?: number;
  readonly options?: () => Partial<TrainingOptions>;
  /** Before each step, with the number of the steps that were made. */
  readonly before?: (rank: Rank, step: number) => void;
}

interface Learned {
  /** Of the last batch, after the last step. */
  readonly evaluated: number;
  /** Steps that this process made. */
  readonly steps: number;
  readonly node: number;
}

const learn = (mesh: Partial<MeshShape>, { epochs = EPOCHS, options, before }: Plan = {}, trainer: Partial<TrainerOptions> = {}): Promise<TrainingResult<Learned>> => new DataParallelTrainer<Learned>(async (rank) => {
  manualSeed(7);
  const group = rank.mesh.tensor;
  const embedding = new VocabParallelEmbedding(TOKENS, WIDTH, { group });
  const model = new PipelineParallel([embedding, new Block(group), new Block(group), new Output(embedding, group)], { mesh: rank.mesh, microBatches: 2 });
  const loader = rank.loader(text, { batchSize: BATCH / rank.mesh.shape.data, seed: 5 });
  const training = await rank.train({ model, optimizer: new optim.SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9 }), clipGradNorm: 0.5, ...options?.() });
  const places = (from: number, { tokens }: Text): Tensor => tensor(tokens, { dtype: 'i64' }).reshape(-1, PLACES + 1).slice(1, from, from + PLACES);
  const batchOf = (batch: Parameters<typeof model.batch<Text>>[0]): ReturnType<typeof model.batch<Text>> => model.batch(batch, {
    input: (columns) => places(0, columns),
    loss: (output, columns) => vocabParallelCrossEntropy(output.reshape(-1, output.shape.at(-1)!), places(1, columns).reshape(-1), { group, classes: TOKENS }),
  });
  let steps = 0;
  for await (const batch of training.batches(loader, { epochs })) {
    before?.(rank, training.stepCount);
    if (await training.step(batchOf(batch))) steps++;
  }
  const whole = await loader.batches(0).next();
  const { loss } = await training.evaluate(batchOf(whole.value));
  return { evaluated: loss, steps, node: context().gang!.nodeRank };
}, { mesh, cpus: 0.5, progress: false, ...trainer }).fit();

/** The largest difference between the losses of two runs, step by step. */
function furthest(a: TrainingResult<Learned>, b: TrainingResult<Learned>): number {
  if (a.history.length !== b.history.length) return Infinity;
  return Math.max(Math.abs(a.results[0]!.evaluated - b.results[0]!.evaluated), ...a.history.map(({ loss }, index) => Math.abs(loss - b.history[index]!.loss)));
}

const one = await learn({});
const unclipped = await learn({}, { options: () => ({ clipGradNorm: 1e9 }) });
t.ok(one.history.at(-1)!.loss < 0.6 * one.history[0]!.loss, 'one rank learns');
t.ok(furthest(unclipped, one) > 0.01, 'and something else where gradients are not clipped');

for (const mesh of [{ data: 2, tensor: 2 }, { data: 2, pipeline: 2 }, { tensor: 2, pipeline: 2 }, { tensor: 4 }]) {
  t.test(`a mesh of ${Object.entries(mesh).map(([axis, ranks]) => `${axis} ${ranks}`).join(' x ')} learns what one rank does`, async (t) => {
    const learned = await learn(mesh);
    t.ok(furthest(learned, one) < 1e-4, `losses within ${furthest(learned, one)}, with gradients clipped by the norm of all ranks`);
    t.equal(learned.results.length, 4);
    t.equal(new Set(learned.results.map(({ evaluated }) => evaluated)).size, 1, 'all hear the same loss');
    t.strictSame(learned.results.map(({ node }) => node), [0, 0, 1, 1], 'neighbours share a node');
  });
}

t.test('in f16 all ranks of a mesh skip a step together', async (t) => {
  const options = (): Partial<TrainingOptions> => ({ dtype: 'f16', scaler: new GradScaler({ initialScale: 2 ** 24 }) });
  const learned = await learn({ tensor: 2, pipeline: 2 }, { options });
  t.ok(learned.history[0]!.isSkipped, 'a scale that is too large overflows');
  t.ok(!learned.history.at(-1)!.isSkipped && learned.history.at(-1)!.loss < 0.8 * learned.history[0]!.loss, 'until it has shrunk');
  t.equal(new Set(learned.results.map(({ evaluated }) => evaluated)).size, 1);
});

t.test('a member that is killed in the middle costs the steps since the last checkpoint', async (t) => {
  const storage = fresh();
  const learned = await learn({ tensor: 2, pipeline: 2 }, {
    before: (rank, step) => { if (rank.incarnation === 1 && rank.rank === 2 && step === 8) process.kill(process.pid, 'SIGKILL'); },
  }, { storage, checkpoint: { everySteps: 3 } });
  t.equal(learned.restarts, 1);
  t.strictSame(learned.results.map(({ steps }) => steps), [6, 6, 6, 6], 'from step 6 on');
  t.ok(furthest(learned, one) < 1e-4, `and the same is learned, within ${furthest(learned, one)}`);
});

t.test('another mesh goes on where a training stopped', async (t) => {
  const storage = fresh();
  const checkpoint = { everySteps: STEPS / 4 };
  const evaluated: number[] = [];
  const turns: readonly (Partial<MeshShape> & { readonly zero?: 2 })[] = [{ tensor: 2, pipeline: 2 }, { data: 2, tensor: 2, zero: 2 }, { pipeline: 3 }, {}];
  for (const [index, { zero, ...mesh }] of turns.entries()) {
    const { results } = await learn(mesh, { epochs: index + 1, options: () => (zero ? { zero } : {}) }, { storage, checkpoint });
    t.ok(results.every(({ steps }) => steps === STEPS / 4), `${JSON.stringify(turns[index])} makes the steps that are left`);
    evaluated.push(results[0]!.evaluated);
  }
  t.ok(Math.abs(evaluated.at(-1)! - one.results[0]!.evaluated) < 1e-4, `four meshes together have learned what one rank did, within ${Math.abs(evaluated.at(-1)! - one.results[0]!.evaluated)}`);
  const other = (rank: Rank): Promise<unknown> => {
    const model = new nn.Linear(2, 2);
    return rank.train({ model, optimizer: new optim.SGD(model.parameters(), { learningRate: 0.1 }) });
  };
  await t.rejects(new DataParallelTrainer(other, { mesh: { data: 2 }, cpus: 0.5, progress: false, storage }).fit(), { code: 'INVALID_ARGUMENT', message: /mesh pipeline 1 x data 1 x tensor 1.*weight.*mesh pipeline 1 x data 2 x tensor 1/ });
});

t.test('what no mesh can train is refused', async (t) => {
  const plain = (mesh: Partial<MeshShape>, trainer: Partial<TrainerOptions> = {}): DataParallelTrainer<void> => new DataParallelTrainer(async (rank) => {
    const model = new nn.Linear(2, 2);
    await rank.train({ model, optimizer: new optim.SGD(model.parameters(), { learningRate: 0.1 }) });
  }, { mesh, cpus: 0.5, progress: false, ...trainer });
  await t.rejects(plain({ pipeline: 2 }).fit(), { code: 'INVALID_ARGUMENT', message: /a model for 2 stages.*PipelineParallel/ });
  await t.rejects(learn({ pipeline: 2 }, { options: () => ({ zero: 1 }) }), { code: 'INVALID_ARGUMENT', message: /zero: 1 with parameters that stages share/ });
  t.throws(() => plain({ tensor: 1.5 }), { code: 'INVALID_ARGUMENT', message: /1.5 ranks along tensor/ });
  t.throws(() => plain({ tensors: 2 } as never), { code: 'INVALID_ARGUMENT', message: /the axis tensors.*pipeline, data, tensor/ });
  t.throws(() => plain({ data: 2 }, { ranks: 2 }), { code: 'INVALID_ARGUMENT', message: /ranks and a mesh/ });
});
