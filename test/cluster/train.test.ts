/** Data-parallel trainings on real processes: several ranks learn what one does, also when one is killed in the middle. */
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { GradScaler, manualSeed, nn, optim, tensor } from '@muster/tensor';
import { DataParallelTrainer, type Rank, type TrainerOptions, type TrainingOptions } from '@muster/train';
import t from 'tap';
import { startClusterWithFolder } from '../support/cluster-with-folder.js';
import { FEATURES, PointsNet, lossOf, pointsDataset } from '../support/points.js';

const { fresh } = await startClusterWithFolder({ nodes: [{ cpus: 2 }] });

const points = await pointsDataset();

interface Plan {
  /** Of one rank. */
  readonly batchSize: number;
  readonly epochs?: number;
  /** Instead of epochs: of the optimizer. */
  readonly steps?: number;
  readonly options?: (model: PointsNet, rank: Rank) => Partial<TrainingOptions>;
  /** Before each step, with the number of the steps that were made. */
  readonly before?: (rank: Rank, step: number) => void;
}

interface Learned {
  readonly weights: Record<string, number[]>;
  /** Steps that this process made. */
  readonly steps: number;
}

const weightsOf = (model: nn.Module): Record<string, number[]> => Object.fromEntries(Object.entries(model.stateDict()).map(([name, weights]) => [name, Array.from(weights.toTypedArray() as Float32Array)]));

const trainerOf = ({ batchSize, epochs = 1, steps: stepsMax, options, before }: Plan, trainer: Partial<TrainerOptions>): DataParallelTrainer<Learned> => new DataParallelTrainer<Learned>(async (rank) => {
  manualSeed(rank.rank); // other weights at each rank: those of rank 0 count
  const model = new PointsNet();
  const loader = rank.loader(points, { batchSize, seed: 5 });
  const training = await rank.train({ model, optimizer: new optim.AdamW(model.parameters(), { learningRate: 0.02 }), ...options?.(model, rank) });
  let steps = 0;
  for await (const { columns } of training.batches(loader, stepsMax === undefined ? { epochs } : { steps: stepsMax })) {
    before?.(rank, training.stepCount);
    if (await training.step(() => lossOf(model, columns))) steps++;
  }
  return { weights: weightsOf(model), steps };
}, { ranks: 2, cpus: 0.5, progress: false, ...trainer });

/** The largest difference between two sets of weights. */
function distance(a: Record<string, number[]>, b: Record<string, number[]>): number {
  return Math.max(...Object.entries(a).map(([name, weights]) => Math.max(...weights.map((weight, index) => Math.abs(weight - b[name]![index]!)))));
}

const learn = async (plan: Plan, trainer: Partial<TrainerOptions> = {}): Promise<Awaited<ReturnType<DataParallelTrainer<Learned>['fit']>>> => trainerOf(plan, trainer).fit();

const one = await learn({ batchSize: 16, epochs: 4 }, { ranks: 1 });

t.test('two ranks learn what one does from batches twice as large', async (t) => {
  const { results: [first, second], history, restarts } = await learn({ batchSize: 8, epochs: 4 });
  t.strictSame(first!.weights, second!.weights, 'the ranks agree to the bit');
  t.ok(distance(first!.weights, one.results[0]!.weights) < 1e-5, 'and with one rank up to the order of sums');
  t.equal(restarts, 0);
  t.strictSame(history.map(({ step }) => step), Array.from({ length: 24 }, (_, step) => step + 1));
  t.ok(history.every(({ loss }, index) => Math.abs(loss - one.history[index]!.loss) < 1e-5), 'a loss is the mean over the ranks');
  t.ok(history.at(-1)!.loss < 0.5 * history[0]!.loss, 'it learns');
  t.strictSame([history[0]!.epoch, history.at(-1)!.epoch], [0, 3]);
});

t.test('gradients of several batches make one step', async (t) => {
  const { results: [first], history } = await learn({ batchSize: 4, steps: 24, options: () => ({ accumulate: 2 }) });
  t.ok(distance(first!.weights, one.results[0]!.weights) < 1e-5);
  t.equal(history.length, 24);
});

t.test('in f16 with a loss scale the ranks still agree, and learn about the same', async (t) => {
  const options = (): Partial<TrainingOptions> => ({ dtype: 'f16', scaler: new GradScaler({ initialScale: 2 ** 24 }), clipGradNorm: 5 });
  const { results: [first, second], history } = await learn({ batchSize: 8, epochs: 8, options });
  t.strictSame(first!.weights, second!.weights);
  t.ok(history[0]!.isSkipped, 'a scale that is too large overflows');
  t.ok(history.at(-1)!.scale < 2 ** 24 && !history.at(-1)!.isSkipped, 'until it has shrunk');
  t.ok(history.at(-1)!.loss < 0.6 * history[0]!.loss);
});

t.test('a rank that is killed in the middle costs the steps since the last checkpoint', async (t) => {
  const storage = fresh();
  const { results: [first, second], history, restarts, warnings } = await learn({
    batchSize: 8, epochs: 4,
    before: (rank, step) => { if (rank.incarnation === 1 && rank.rank === 1 && step === 14) process.kill(process.pid, 'SIGKILL'); },
  }, { storage, checkpoint: { everySteps: 5 } });
  t.equal(restarts, 1);
  t.match(warnings, [/^all ranks start anew, from the last checkpoint: a rank .*SIGKILL$/], 'which says what happened, and leaves nothing to do');
  t.strictSame([first!.steps, second!.steps], [14, 14], 'from step 10 on');
  t.strictSame(history.map(({ step }) => step), Array.from({ length: 24 }, (_, step) => step + 1));
  t.ok(distance(first!.weights, one.results[0]!.weights) < 1e-5, 'and the same is learned');
  const again = await learn({ batchSize: 8, epochs: 4 }, { storage });
  t.strictSame(again.results.map(({ steps }) => steps), [4, 4], 'a new training goes on from there, too');
});

t.test('other ranks go on where a training stopped', async (t) => {
  const storage = fresh();
  await learn({ batchSize: 8, epochs: 2 }, { storage, checkpoint: { everySteps: 4 } });
  const { results: [alone] } = await learn({ batchSize: 16, epochs: 4 }, { storage, ranks: 1 });
  t.equal(alone!.steps, 12);
  t.ok(distance(alone!.weights, one.results[0]!.weights) < 1e-5);
  truncateSync(join(storage, 'step-12', 'rank-0'), 100);
  const damaged = await learn({ batchSize: 16, epochs: 4 }, { storage, ranks: 1 });
  t.equal(damaged.results[0]!.steps, 16, 'a damaged checkpoint is left out for the one before');
});

t.test('what cannot be trained ends at every rank, with the cause', async (t) => {
  await t.rejects(learn({ batchSize: 8, epochs: 1, before: (rank, step) => { if (rank.rank === 1 && step === 2) throw new RangeError('bad data'); } }), { name: 'RangeError', message: 'bad data' });
  await t.rejects(learn({ batchSize: 80, epochs: 1 }), { code: 'INVALID_ARGUMENT', message: /96 examples.*at least 160/ });
  await t.rejects(learn({ batchSize: 8, epochs: 1, options: (model, rank) => (rank.rank === 1 ? { model: new nn.Linear(FEATURES, 2) } : {}) }), { code: 'INVALID_ARGUMENT', message: /model of rank 1, with 2 tensors, beside that of rank 0 with 4/ });
  await t.rejects(learn({ batchSize: 8, epochs: 4, options: (model) => ({ optimizer: new optim.SGD(model.parameters(), { learningRate: 1e30 }) }) }), { code: 'TRAINING', message: /step \d+ of the training failed: its loss is/ });
  const unused = new DataParallelTrainer(async (rank) => {
    const model = new PointsNet();
    const training = await rank.train({ model, optimizer: new optim.SGD(model.parameters(), { learningRate: 0.1 }) });
    for await (const { columns } of training.batches(rank.loader(points, { batchSize: 8, seed: 1 }), { epochs: 1 })) await training.step(() => model.hidden.forward(tensor(columns.x).reshape(-1, FEATURES)).mean());
  }, { ranks: 2, cpus: 0.5, progress: false });
  await t.rejects(unused.fit(), { code: 'INVALID_ARGUMENT', message: /does not depend on output.weight, output.bias/ });
  t.throws(() => new DataParallelTrainer(async () => 1, { ranks: 0 }), { code: 'INVALID_ARGUMENT' });
  t.throws(() => new DataParallelTrainer(async () => 1, { ranks: 1, checkpoint: { everySteps: 5 } }), { code: 'INVALID_ARGUMENT', message: /storage/ });
});
