/**
 * A sweep over a classifier of MNIST's digits: which learning rate, momentum, batch size and width suit a network with one hidden layer?
 *
 * Shows: a search with TPE in which ASHA stops what learns too slowly; checkpoints from which a trial goes on when its worker dies, or when the whole
 * sweep was killed (run it again with --storage); images that lie in shared memory once, for all trials. A validation set chooses, and the test
 * images are looked at once, for the winner.
 *
 *     node --import tsx examples/tune-mnist.ts [--trials 24] [--epochs 9] [--storage runs/mnist]
 */
import { parseArgs } from 'node:util';
import { get, init, put, shutdown } from '@muster/core';
import { asha, logint, loguniform, tpe, tune, uniform, type InferConfig, type Trial } from '@muster/tune';
import { accuracyOf, makeNetwork, percent, randomNumbers, readDigits, TEST, trainEpoch, type Network } from './mnist.js';

/** Few enough for a minute on a laptop: the shapes of learning curves are those of the whole set. */
const TRAINING = { first: 0, end: 12_000 };
const VALIDATION = { first: 50_000, end: 53_000 };

const space = { rate: loguniform(1e-3, 1), momentum: uniform(0, 0.95), batch: logint(8, 128), units: logint(8, 64) };

const { values: flags } = parseArgs({ options: { trials: { type: 'string', default: '24' }, epochs: { type: 'string', default: '9' }, storage: { type: 'string' } } });
const [trials, epochs] = [Number(flags.trials), Number(flags.epochs)];
if (!Number.isInteger(trials) || trials < 1 || !Number.isInteger(epochs) || epochs < 1) {
  console.error('usage: tune-mnist [--trials N] [--epochs N] [--storage DIR], with whole numbers');
  process.exit(1);
}

await init();
const digits = await put(readDigits());
const result = await tune(async (config: InferConfig<typeof space>, trial: Trial) => {
  const images = await get(digits);
  const network = (trial.checkpoint as Network | null) ?? makeNetwork(config.units, randomNumbers(1));
  for (let epoch = trial.startEpoch; epoch < epochs; epoch++) {
    trainEpoch(network, config, images, TRAINING, randomNumbers(epoch));
    await trial.report({ accuracy: accuracyOf(network, images, VALIDATION) }, { checkpoint: network });
  }
}, {
  space, metric: 'accuracy', mode: 'max', trials, searcher: tpe(), scheduler: asha({ maxEpochs: epochs }),
  ...(flags.storage === undefined ? {} : { storage: flags.storage, resume: true }),
});

const epochsRun = result.trials.reduce((sum, { step }) => sum + step, 0);
const { config, metrics, checkpoint } = result.best;
console.log(`${epochsRun} epochs of ${trials * epochs}: the rest was stopped early`);
console.log('best configuration   ', config);
console.log('validation accuracy  ', percent(metrics['accuracy'] as number));
console.log('test accuracy        ', percent(accuracyOf(checkpoint as Network, await get(digits), TEST)));
await shutdown();
