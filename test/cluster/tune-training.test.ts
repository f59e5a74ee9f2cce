/** Sweeps over distributed trainings: each trial is a gang whose ranks train one model together, with the trainer's own checkpoints. */
import { join } from 'node:path';
import { context } from '@muster/core';
import { crossEntropy, nn, optim, tensor, type Tensor } from '@muster/tensor';
import { dataset, joinTraining, type Rank } from '@muster/train';
import { asha, choice, readExperiment, tune, type Trial } from '@muster/tune';
import t from 'tap';
import { startClusterWithFolder } from '../support/cluster-with-folder.js';
import { makeLatch } from '../support/latch.js';

const { fresh } = await startClusterWithFolder({ nodes: [{ cpus: 2 }] });

const FEATURES = 4;
const EXAMPLES = 64;
const BATCH = 4;
const RANKS = 2;
const STEPS_PER_EPOCH = EXAMPLES / (BATCH * RANKS);
const points = await dataset((() => {
  const x = Float32Array.from({ length: EXAMPLES * FEATURES }, (_, index) => Math.sin(index * 12.9898) * 1.5);
  return { x, y: Uint8Array.from({ length: EXAMPLES }, (_, row) => (x[row * FEATURES]! > 0 ? 1 : 0)) };
})(), EXAMPLES);

class Net extends nn.Module {
  readonly hidden = new nn.Linear(FEATURES, 8);
  readonly output = new nn.Linear(8, 2);
  forward(x: Tensor): Tensor {
    return this.output.forward(this.hidden.forward(x).relu());
  }
}

interface Plan {
  readonly learningRate: number;
  readonly epochs: number;
  /** Of the trainer's checkpoints. */
  readonly storage: string;
  /** Before each step, with the number of those that were made. */
  readonly before?: (rank: Rank, step: number) => void;
}

/** Trains on one rank of a trial, and reports every epoch. @returns how many steps this process made */
async function train(trial: Trial, { learningRate, epochs, storage, before }: Plan): Promise<number> {
  let loss = Number.NaN;
  return joinTraining(async (rank) => {
    const model = new Net();
    const loader = rank.loader(points, { batchSize: BATCH, seed: 1 });
    const training = await rank.train({ model, optimizer: new optim.AdamW(model.parameters(), { learningRate }) });
    let steps = 0;
    for await (const { columns } of training.batches(loader, { epochs })) {
      before?.(rank, training.stepCount);
      await training.step(() => crossEntropy(model.forward(tensor(columns.x).reshape(-1, FEATURES)), tensor(columns.y, { dtype: 'i64' })));
      steps++;
      if (training.stepCount % loader.stepsPerEpoch === 0) await trial.report({ loss, steps, attempt: trial.attempt }, { step: training.stepCount / loader.stepsPerEpoch });
    }
    return steps;
  }, { storage, checkpoint: { everySteps: 3 }, onStep: (record) => { loss = record.loss; } });
}

t.test('ASHA stops trainings early on all of their ranks, and the best is the one that learns', async (t) => {
  const storage = fresh();
  const latch = await makeLatch();
  const rates = [3e-2, 1e-6, 1e-7];
  const result = await tune(async ({ learningRate }, trial: Trial) => {
    let stopped = false;
    await train(trial, { learningRate, epochs: 4, storage: join(storage, 'trainings', trial.id) }).catch((error: unknown) => {
      stopped = true;
      throw error;
    }).finally(() => latch.note(`${trial.id}/${context().gang!.rank}: ${stopped ? 'stopped' : 'done'}`));
  }, {
    space: { learningRate: choice(rates) }, initialPoints: rates.map((learningRate) => ({ learningRate })), trials: 3, metric: 'loss', loggers: [], storage: join(storage, 'sweep'),
    gang: { size: RANKS, strategy: 'strict-pack' }, maxConcurrent: 1, scheduler: asha({ maxEpochs: 4, reductionFactor: 3 }),
  });
  t.strictSame(result.trials.map(({ status, step }) => [status, step]), [['completed', 4], ['stopped', 1], ['stopped', 1]]);
  t.match(result.trials.map(({ endReason }) => endReason), [/has reached the last epoch/, /number 2 of 2 at rung 1/, /number \d of 3 at rung 1/]);
  t.equal(result.best.id, '1');
  t.strictSame((await latch.entries()).toSorted(), ['1/0: stopped', '1/1: stopped', '2/0: stopped', '2/1: stopped', '3/0: stopped', '3/1: stopped'], 'each rank of each, in one gang one after another');
});

t.test('a training whose member is killed goes on from its own checkpoint, and no epoch is decided twice', async (t) => {
  const storage = fresh();
  const { best } = await tune(async ({ learningRate }, trial: Trial) => {
    const killed = (rank: Rank, step: number): void => { if (trial.attempt === 1 && rank.rank === 1 && step === 2 * STEPS_PER_EPOCH + 2) process.kill(process.pid, 'SIGKILL'); };
    await train(trial, { learningRate, epochs: 4, storage: join(storage, 'trainings', trial.id), before: killed });
  }, { space: { learningRate: choice([1e-2]) }, trials: 1, metric: 'loss', loggers: [], storage: join(storage, 'sweep'), gang: { size: RANKS } });
  const checkpointed = Math.floor((2 * STEPS_PER_EPOCH + 2) / 3) * 3;
  t.match(best, { status: 'completed', step: 4, attempts: 2, metrics: { attempt: 2, steps: 4 * STEPS_PER_EPOCH - checkpointed } });
  t.strictSame([...readExperiment(join(storage, 'sweep')).records].flatMap((record) => (record.kind === 'report' ? [record.step] : [])), [1, 2, 3, 4]);
});

t.test('outside of a gang there is nothing to join', async (t) => {
  await t.rejects(joinTraining(async () => 1), { code: 'INVALID_ARGUMENT', message: /outside of a gang/ });
  const alone = tune(async () => joinTraining(async () => 1), { space: { x: choice([1]) }, metric: 'loss', trials: 1, loggers: [] });
  await t.rejects(alone, { code: 'EXPERIMENT_FAILED', message: /outside of a gang/ });
});
