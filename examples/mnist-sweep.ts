/**
 * Random search on MNIST: which learning rate, batch size and number of epochs suit softmax regression best?
 *
 * Shows: a large value put into shared memory once and read in place by every task; a task that is a closure over its helpers; results taken
 * as they are done. The validation images choose, and the test images are looked at once, for the winner.
 *
 *     node --import tsx examples/mnist-sweep.ts [--trials 16] [--seed 1]
 */
import { parseArgs } from 'node:util';
import { get, init, put, remote, shutdown, wait } from '@muster/core';
import { CLASSES, percent, PIXELS, randomNumbers, readDigits, shuffled, TEST, TRAINING, VALIDATION, type Digits, type ImageSet } from './mnist.js';

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

/** Mini-batch gradient descent. */
function train({ learningRate, batchSize, epochs, seed }: Config, digits: Digits): Float32Array {
  const random = randomNumbers(seed);
  const weights = new Float32Array((PIXELS + 1) * CLASSES);
  const errors = new Float32Array(batchSize * CLASSES);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = shuffled(TRAINING, random);
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
function accuracy(weights: Float32Array, digits: Digits, set: ImageSet): number {
  const scores = new Float32Array(CLASSES);
  let right = 0;
  for (let image = set.first; image < set.end; image++) {
    score(digits, image, weights, scores, 0);
    if (scores.indexOf(Math.max(...scores)) === digits.labels[image]) right++;
  }
  return right / (set.end - set.first);
}

function drawConfig(random: () => number): Config {
  return {
    learningRate: 10 ** (-3 + 3 * random()), // 0.001 to 1, each order of magnitude as likely
    batchSize: 2 ** (4 + Math.floor(5 * random())), // 16 to 256
    epochs: 2 + Math.floor(5 * random()), // 2 to 6
    seed: Math.floor(2 ** 32 * random()),
  };
}

// ---------------------------------------------------------------- the sweep

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

// Captured with everything it needs: train, accuracy and what they call here; what mnist.ts exports is imported there.
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
