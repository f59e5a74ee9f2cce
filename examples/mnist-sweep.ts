/**
 * A sweep and then a training on MNIST's digits: which learning rate, batch size and dropout suit a small convolutional network? Trials see some thousand images; what
 * was best for them is trained on all by several workers together. The test images are looked at once, by those.
 *
 * Shows: images that lie in shared memory once, for all trials and all workers; a search with TPE in which ASHA stops what learns too slowly; a data-parallel
 * training, whose gradients are averaged while the backward pass goes on.
 *
 *     node --import tsx examples/mnist-sweep.ts [--trials 12] [--ranks 2] [--epochs 3] [--images 50000]
 */
import { parseArgs } from 'node:util';
import { init, shutdown } from '@muster/core';
import { manualSeed, optim, setThreads, tidy } from '@muster/tensor';
import { DataLoader, dataset, DataParallelTrainer } from '@muster/train';
import { asha, choice, loguniform, tpe, tune, uniform, type InferConfig, type Trial } from '@muster/tune';
import { accuracyOf, DigitNet, lossOf } from './mnist-cnn.js';
import { percent, PIXELS, readDigits, TEST, TRAINING, VALIDATION, type ImageSet } from './mnist.js';

/** Of a trial: between two reports it sees so many images. */
const ROUNDS = 4;
const ROUND_IMAGES = 2_048;
/** Images that are looked at together. */
const LOOK_BATCH = 500;
const VALIDATION_IMAGES = 2_000;

const { values: flags } = parseArgs({
  options: { trials: { type: 'string', default: '12' }, ranks: { type: 'string', default: '2' }, epochs: { type: 'string', default: '3' }, images: { type: 'string', default: String(TRAINING.end) } },
});
const [trials, ranks, epochs, images] = [Number(flags.trials), Number(flags.ranks), Number(flags.epochs), Number(flags.images)];
if (![trials, ranks, epochs, images].every((count) => Number.isInteger(count) && count > 0) || images > TRAINING.end || images < ROUND_IMAGES) {
  console.error(`usage: mnist-sweep [--trials N] [--ranks N] [--epochs N] [--images N], with whole numbers, and ${ROUND_IMAGES} to ${TRAINING.end} images`);
  process.exit(1);
}

const startedMs = performance.now();
await init();
const { pixels, labels } = readDigits();
const imagesOf = ({ first, end }: ImageSet) => dataset({ pixels: pixels.subarray(first * PIXELS, end * PIXELS), labels: labels.subarray(first, end) }, end - first);
const training = await imagesOf({ first: 0, end: images });
const validation = await imagesOf({ first: VALIDATION.first, end: VALIDATION.first + VALIDATION_IMAGES });
const test = await imagesOf(TEST);

const space = { rate: loguniform(1e-4, 3e-2), batch: choice([32, 64, 128]), dropout: uniform(0, 0.5) };

const sweep = await tune(async ({ rate, batch, dropout }: InferConfig<typeof space>, trial: Trial) => {
  setThreads(1); // its cpu
  manualSeed(1);
  const model = new DigitNet({ dropout });
  const optimizer = new optim.AdamW(model.parameters(), { learningRate: rate });
  const batches = new DataLoader(training, { rank: 0, ranks: 1, batchSize: batch, seed: 1 }).batches(0);
  for (let round = 0; round < ROUNDS; round++) {
    for (let step = 0; step < ROUND_IMAGES / batch; step++) {
      const { value: { columns } } = await batches.next();
      optimizer.zeroGrad();
      tidy(() => lossOf(model, columns).backward());
      optimizer.step();
    }
    await trial.report({ accuracy: await accuracyOf(model, new DataLoader(validation, { rank: 0, ranks: 1, batchSize: LOOK_BATCH, seed: 0, shuffle: false })) });
  }
}, { space, metric: 'accuracy', mode: 'max', trials, searcher: tpe(), seed: 1, scheduler: asha({ maxEpochs: ROUNDS }) });

const { rate, batch, dropout } = sweep.best.config;
const described = `learning rate ${rate.toPrecision(3)}, batch ${batch}, dropout ${dropout.toFixed(2)}`;
console.log(`best of ${trials} trials: ${described}, with ${percent(sweep.best.metrics['accuracy'] as number)} of the validation images after ${ROUNDS * ROUND_IMAGES} images`);
console.log(`training it on ${images.toLocaleString('en')} images with ${ranks} workers, each with a batch of ${batch}`);

const trainer = new DataParallelTrainer(async (rank) => {
  manualSeed(1);
  const model = new DigitNet({ dropout });
  const loader = rank.loader(training, { batchSize: batch, seed: 1 });
  const optimizer = new optim.AdamW(model.parameters(), { learningRate: rate });
  const schedule = new optim.LRScheduler(optimizer, optim.cosineAnnealingLR(epochs * loader.stepsPerEpoch));
  const run = await rank.train({ model, optimizer, schedule });
  for await (const { columns } of run.batches(loader, { epochs })) await run.step(() => lossOf(model, columns));
  const accuracy = Float64Array.of(await accuracyOf(model, rank.loader(test, { batchSize: LOOK_BATCH, seed: 0, shuffle: false })));
  await rank.communicator.allReduce(accuracy, { op: 'average' });
  return accuracy[0]!;
}, { ranks, cpus: 1 });
const { results: [accuracy], history } = await trainer.fit();
console.log(`test accuracy ${percent(accuracy!)} after ${history.length} steps; ${((performance.now() - startedMs) / 1000).toFixed(0)} s in all`);
await shutdown();
