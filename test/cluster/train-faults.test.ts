/** What ends a training, what does not, and what is said of it: bad loops, data that differ, damaged checkpoints, a full disk, no memory. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { manualSeed, nn, optim, zeros, type Tensor } from '@muster/tensor';
import { DataLoader, streamedDataset, DataParallelTrainer, PipelineParallel, type Rank, type TrainerOptions, type Training, type TrainingOptions, type Until } from '@muster/train';
import t from 'tap';
import { startClusterWithFolder } from '../support/cluster-with-folder.js';
import { CLASSES, FEATURES, lossOf, pointsDataset, type Points } from '../support/points.js';

const { root } = await startClusterWithFolder({ nodes: [{ cpus: 2 }] });
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const points = await pointsDataset();
const fewer = await pointsDataset(40);

interface Plan {
  readonly ranks?: number;
  readonly epochs?: number;
  readonly until?: Until;
  readonly trainer?: Partial<TrainerOptions>;
  readonly options?: (model: nn.Module) => Partial<TrainingOptions>;
  readonly loader?: (rank: Rank) => DataLoader<Points>;
  /** In the place of a step. */
  readonly step?: (training: Training, body: () => Tensor, rank: Rank) => Promise<unknown>;
}

const model = (): nn.Module => new nn.Sequential(new nn.Linear(FEATURES, 16), new nn.ReLU(), new nn.Linear(16, CLASSES));

/** Trains, and returns the steps that the last start made. */
const train = async ({ ranks = 1, epochs = 2, until = { epochs }, trainer, options, loader, step }: Plan) => new DataParallelTrainer(async (rank) => {
  manualSeed(1);
  const net = model();
  const training = await rank.train({ model: net, optimizer: new optim.AdamW(net.parameters(), { learningRate: 0.02 }), ...options?.(net) });
  let steps = 0;
  for await (const { columns } of training.batches(loader?.(rank) ?? rank.loader(points, { batchSize: 16 / rank.size, seed: 5 }), until)) {
    const body = (): Tensor => lossOf(net, columns);
    await (step?.(training, body, rank) ?? training.step(body));
    steps++;
  }
  return steps;
}, { ranks, cpus: 0.5, progress: false, ...trainer }).fit();

t.test('a loop that does not step as often as it takes batches is told so', async (t) => {
  await t.rejects(train({ ranks: 2, step: async (training, body, { rank }) => { if (rank === 0) await training.step(body); } }), { code: 'INVALID_ARGUMENT', message: /a batch that was taken without a step is not valid: .*awaited/ });
  await t.rejects(train({ step: async (training, body) => { void training.step(body).catch(() => undefined); await training.step(body); } }), { code: 'INVALID_ARGUMENT', message: /a step within another/ });
});

t.test('what cannot be stepped with is told before the first step', async (t) => {
  await t.rejects(train({ options: () => ({ accumulate: 0 }) }), { code: 'INVALID_ARGUMENT', message: /accumulate: 0/ });
  await t.rejects(train({ options: () => ({ clipGradNorm: NaN }) }), { code: 'INVALID_ARGUMENT', message: /clipGradNorm: NaN/ });
  await t.rejects(train({ options: () => ({ zero: 3 as 2 }) }), { code: 'INVALID_ARGUMENT', message: /zero: 3.* stage 1 or 2/ });
  await t.rejects(train({ options: () => ({ optimizer: new optim.SGD(model().parameters()) }) }), { code: 'INVALID_ARGUMENT', message: /4 parameters that are not the model's/ });
});

t.test('what is misspelt, or is something else, is refused by its name', async (t) => {
  const refused = (plan: object, message: RegExp) => t.rejects(async () => train(plan as Plan), { code: 'INVALID_ARGUMENT', message });
  await refused({ trainer: { storge: './runs' } }, /the option 'storge' of DataParallelTrainer .*one of ranks, mesh/);
  await refused({ trainer: { storage: '' } }, /storage: "" .*the path of a folder/);
  await refused({ trainer: { storage: './runs', checkpoint: { every: 5 } } }, /the option 'every' of checkpoint/);
  t.throws(() => new DataParallelTrainer('work' as never, { ranks: 1 }), { code: 'INVALID_ARGUMENT', message: /a training by work .*a function of a rank/ });
  await refused({ options: () => ({ acumulate: 2 }) }, /the option 'acumulate' of rank.train\(\)/);
  await refused({ options: () => ({ model: undefined }) }, /model .*an nn.Module/);
  await refused({ options: () => ({ optimizer: {} }) }, /optimizer .*one of optim/);
  await refused({ options: () => ({ schedule: {} }) }, /schedule .*an optim.LRScheduler/);
  await refused({ options: () => ({ scaler: {} }) }, /scaler .*a GradScaler/);
  await refused({ loader: (rank: Rank) => rank.loader(points, { batchSize: 8, seed: 1, shufle: false } as never) }, /the option 'shufle' of a loader/);
});

t.test('a training that would never end is refused, and one of no length makes no step', async (t) => {
  for (const until of [{ epochs: NaN }, { epochs: -1 }, { steps: 1.5 }, { steps: Infinity }, {} as Until]) await t.rejects(train({ until }), { code: 'INVALID_ARGUMENT', message: /a training of .* is not valid: it must be of \{ epochs \} or of \{ steps \}/ }, JSON.stringify(until));
  const { results, history } = await train({ ranks: 2, until: { epochs: 0 } });
  t.strictSame([results, history], [[0, 0], []]);
});

t.test('what one rank does wrong, or has to read, ends the training everywhere', async (t) => {
  const broken = (rank: Rank): DataLoader<Points> => rank.loader(streamedDataset<Points>({ exampleCount: 64, examplesPerBlock: 8, read: (first, count) => {
    if (rank.rank === 1 && first === 40) throw new RangeError('the disk is gone');
    return { x: new Float32Array(count * FEATURES), y: new Uint8Array(count) };
  } }), { batchSize: 8, seed: 2 });
  await t.rejects(train({ ranks: 2, loader: broken }), { name: 'RangeError', message: 'the disk is gone' });
  await t.rejects(train({ ranks: 2, step: (training, body, { rank }) => training.step(() => body().mul(rank === 1 && training.stepCount === 2 ? NaN : 1)) }), { code: 'TRAINING', message: /step 3 of the training failed: its loss is NaN/ });
  await t.rejects(train({ ranks: 2, step: (training) => training.step((async () => zeros([])) as never) }), { code: 'INVALID_ARGUMENT', message: /what a step computes is not valid: it must be a loss/ });
  const leaving = new DataParallelTrainer(async (rank) => {
    const net = model();
    const training = await rank.train({ model: net, optimizer: new optim.AdamW(net.parameters()) });
    for await (const { columns } of training.batches(rank.loader(points, { batchSize: 8, seed: 5 }), { epochs: 1 })) {
      await training.step(() => lossOf(net, columns));
      if (rank.rank === 1) return;
    }
  }, { ranks: 2, cpus: 0.5, progress: false });
  await t.rejects(leaving.fit(), { code: 'COLLECTIVE', message: /rank 1 .*has closed the communicator/ });
});

t.test('what ranks measure is averaged by its name, and what is no number is refused', async (t) => {
  const measured = (metrics: (rank: Rank) => Readonly<Record<string, unknown>>) => train({ ranks: 2, epochs: 1, step: (training, body, rank) => training.step(() => ({ loss: body(), metrics: metrics(rank) as Record<string, number> })) });
  const { history } = await measured(({ rank }) => (rank === 0 ? { first: 1, second: 100 } : { second: 200, first: 3 }));
  t.strictSame(history[0]!.metrics, { first: 2, second: 150 }, 'in whatever order');
  await t.rejects(measured(({ rank }) => (rank === 0 ? { accuracy: 1 } : { error: 1 })), { code: 'INVALID_ARGUMENT', message: /what rank \d measures, (accuracy|dataWaitMs).* is not valid: it must be of the same names at every rank/ });
  await t.rejects(measured(({ rank }): Record<string, number> => (rank === 0 ? {} : { accuracy: 1 })), { code: 'INVALID_ARGUMENT', message: /of the same names at every rank/ });
  await t.rejects(measured(() => ({ accuracy: zeros([]) })), { code: 'INVALID_ARGUMENT', message: /the metric accuracy is not valid: it must be a number: take item\(\) of the tensor/ });
  await t.rejects(measured(() => ({ loss: 1 })), { code: 'INVALID_ARGUMENT', message: /a metric named loss/ });
});

t.test('ranks that would step in other ways are told before the first step', async (t) => {
  const differing = (name: string, options: (model: nn.Module, rank: number) => Partial<TrainingOptions>) => t.rejects(new DataParallelTrainer(async ({ rank, train: begin }) => {
    const net = model();
    await begin({ model: net, optimizer: new optim.AdamW(net.parameters(), { learningRate: 0.02 }), ...options(net, rank) });
  }, { ranks: 2, cpus: 0.5, progress: false }).fit(), { code: 'INVALID_ARGUMENT', message: new RegExp(`the ${name} of rank 1 is not valid: it must be the same as that of rank 0`) }, name);
  await differing('optimizer', (net, rank) => ({ optimizer: new optim.SGD(net.parameters(), { learningRate: 0.1 * (1 + rank) }) }));
  await differing('accumulate', (_, rank) => ({ accumulate: 1 + rank }));
  await differing('clipGradNorm', (_, rank) => (rank === 0 ? { clipGradNorm: 1 } : {}));
});

t.test('stages compute a batch together or not at all', async (t) => {
  const staged = (run: (training: Training, net: PipelineParallel) => Promise<unknown>, options: object = {}) => new DataParallelTrainer(async ({ mesh, train: begin }) => {
    const net = new PipelineParallel([new nn.Linear(FEATURES, FEATURES), new nn.Linear(FEATURES, FEATURES)], { mesh, microBatches: 1, ...options });
    await run(await begin({ model: net, optimizer: new optim.SGD(net.parameters()) }), net);
  }, { mesh: { pipeline: 2 }, cpus: 0.5, progress: false }).fit();
  const alone = (net: PipelineParallel) => () => net.forward(zeros([1, FEATURES])).sum();
  for (const call of ['step', 'evaluate'] as const) await t.rejects(staged((training, net) => training[call](alone(net))), { code: 'INVALID_ARGUMENT', message: /a batch that each stage computes by itself .* model.batch\(batch/ }, call);
  await t.rejects(staged(async () => {}, { splits: [1, 1] }), { code: 'INVALID_ARGUMENT', message: /the option 'splits' of PipelineParallel/ });
});

t.test('memory that there is not is an error of the training', async (t) => {
  await t.rejects(train({ ranks: 2, step: (training, body) => training.step(() => body().add(zeros([2 ** 45]).sum())) }), { code: 'OUT_OF_MEMORY', message: /there is no memory for \d+ bytes more/ });
});

t.test('a rank with less data ends the epochs of all, and it is said', async (t) => {
  const { results, history, warnings } = await train({
    ranks: 2, epochs: 3, // 12 steps an epoch at rank 0, and 5 at rank 1
    loader: ({ rank }) => new DataLoader(rank === 0 ? points : fewer, { rank: 0, ranks: 1, batchSize: 8, seed: 2 }),
  });
  t.strictSame(results, [15, 15]);
  t.match(history.map(({ epoch, totalSteps }) => [epoch, totalSteps]), Array.from({ length: 15 }, (_, step) => [Math.floor(step / 5), 15]));
  t.strictSame(warnings, ['ranks have data for 5 to 12 steps an epoch: epochs end after 5']);
});

t.test('examples that are read when they are needed are waited for as long as the source is behind', async (t) => {
  const file = join(root, 'numbers.bin');
  const numbers = Float32Array.from({ length: 64 * FEATURES }, (_, index) => Math.cos(index * 7.77));
  writeFileSync(file, numbers);
  const isAhead = join(root, 'block-1-is-read');
  const streamed = streamedDataset<Points>({ exampleCount: 64, examplesPerBlock: 8, read: async (first, count) => {
    while (first === 0 && !existsSync(isAhead)) await new Promise((resolve) => setTimeout(resolve, 5)); // a disk that wakes up late
    const bytes = readFileSync(file).subarray(first * FEATURES * 4, (first + count) * FEATURES * 4);
    if (first === 8) writeFileSync(isAhead, '');
    return { x: new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)), y: new Uint8Array(count).fill(first === 0 ? 0 : 1) };
  } });
  const { history } = await train({ epochs: 1, loader: (rank) => rank.loader(streamed, { batchSize: 8, seed: 2, shuffle: false }) });
  t.equal(history.length, 8);
  t.ok(history[0]!.dataWaitMs > 0, `the first step waited for the first block, and the next one was read meanwhile: ${history[0]!.dataWaitMs}`);
});

t.test('of damaged checkpoints the one before is gone on from, and it is said', async (t) => {
  const storage = join(root, 'damaged');
  const trainer = { storage, checkpoint: { everySteps: 2, keep: 4 } };
  await train({ ranks: 2, epochs: 1, trainer, options: () => ({ zero: 1 }) });
  const shard = readFileSync(join(storage, 'step-6', 'rank-1'));
  shard[shard.length - 3]! ^= 4;
  writeFileSync(join(storage, 'step-6', 'rank-1'), shard);
  const manifest = join(storage, 'step-4', 'manifest.json');
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"step": 4', '"step": 5'));
  const { results, warnings } = await train({ ranks: 2, epochs: 1, trainer, options: () => ({ zero: 1 }) });
  t.strictSame(results, [4, 4], 'from step 2 on');
  t.match(warnings, [/left out: .*step-4: manifest.json has other contents/, /left out: rank-1 of step 6 has other contents than were written: its checksum differs/]);
  for (const step of readdirSync(storage)) rmSync(join(storage, step, 'rank-1'));
  const anew = await train({ ranks: 2, epochs: 1, trainer, options: () => ({ zero: 1 }) });
  t.strictSame(anew.results, [6, 6], 'without a whole one it begins anew');
  t.match(anew.warnings, [/left out: .*ENOENT.*rank-1/]);
});

t.test('a checkpoint of something else is refused by name', async (t) => {
  const storage = join(root, 'other');
  const trainer = { storage, checkpoint: { everySteps: 3 } };
  await train({ epochs: 1, trainer });
  await t.rejects(train({ trainer, options: (net) => ({ optimizer: new optim.SGD(net.parameters()) }) }), { code: 'INVALID_ARGUMENT', message: /AdamW.*SGD/ });
  const other = (): Partial<TrainingOptions> => {
    const wider = new nn.Sequential(new nn.Linear(FEATURES, 32), new nn.ReLU(), new nn.Linear(32, CLASSES));
    return { model: wider, optimizer: new optim.AdamW(wider.parameters()) };
  };
  await t.rejects(train({ trainer, options: other }), { code: 'INVALID_ARGUMENT', message: /with tensors of the same sizes, among them 0.bias/ });
});

t.test('weights that are not finite are not saved', async (t) => {
  const storage = join(root, 'infinite');
  await t.rejects(train({ trainer: { storage, checkpoint: { everySteps: 2 } }, options: (net) => ({ optimizer: new Poisoned(net.parameters()) }) }), { code: 'TRAINING', message: /step 4 of the training failed: the weights 0.weight are not finite/ });
  t.strictSame(readdirSync(storage), ['step-2'], 'the one before stays');
});

t.test('a folder that takes no checkpoints is told before the first step, of whichever rank', async (t) => {
  const file = join(root, 'file');
  writeFileSync(file, 'no folder');
  const step = async (): Promise<void> => { throw new RangeError('a step was made'); };
  await t.rejects(train({ ranks: 2, trainer: { storage: file }, step }), { code: 'STORAGE', message: `${file} could not be written: it is no folder` });
  await t.rejects(train({ ranks: 2, trainer: { storage: '/proc/self/run' }, step }), { code: 'STORAGE', message: '/proc/self/run could not be written: ENOENT' });
});

t.test('a full disk ends the training, and the checkpoint before stays', async (t) => {
  const storage = join(root, 'full');
  const trainer = { storage, checkpoint: { everySteps: 3 } };
  const fill = async (training: Training, body: () => Tensor, { rank }: Rank): Promise<unknown> => {
    if (rank === 1 && training.stepCount === 5) {
      mkdirSync(join(storage, 'step-6.draft'), { recursive: true });
      symlinkSync('/dev/full', join(storage, 'step-6.draft', 'rank-1')); // takes no byte
    }
    return training.step(body);
  };
  await t.rejects(train({ ranks: 2, trainer, options: () => ({ zero: 2 }), step: fill }), { code: 'STORAGE', message: /step-6.draft\/rank-1 could not be written: ENOSPC/ });
  t.strictSame(readdirSync(storage), ['step-3'], 'and nothing of it is left');
  t.ok(existsSync('/dev/full'));
  t.strictSame((await train({ ranks: 2, trainer, options: () => ({ zero: 2 }) })).results, [9, 9], 'from there a training goes on');
});

t.test('Ctrl-C ends a training with its workers, and says how it goes on', async (t) => {
  const storage = join(root, 'interrupted');
  const { MUSTER_ADDRESS: _, ...env } = process.env;
  const child = spawn(process.execPath, ['--import', 'tsx', 'examples/train-mnist.ts', '--images', '2560', '--epochs', '400', '--storage', storage], { cwd: ROOT, env: { ...env, MUSTER_HOME: join(root, 'home') }, stdio: ['ignore', 'ignore', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    const isFirst = !said.includes('step');
    said += text;
    if (isFirst && said.includes('step')) child.kill('SIGINT');
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]; // its workers have its stderr, too
  t.strictSame([code, signal], [null, 'SIGINT']);
  t.match(said, new RegExp(`step \\d+ of 8,000 .*\ninterrupted: begun again, the training goes on from the last checkpoint in ${storage}\n$`));
});

/** Makes weights infinite in its fourth step. */
class Poisoned extends optim.SGD {
  #count = 0;

  override step(): void {
    super.step();
    if (++this.#count === 4) (this.parameters[0]!.memory() as Float32Array)[0] = Infinity;
  }
}
