/**
 * Data-parallel training in 16 bits: a gang of four ranks learns a linear regression, each from a quarter of the samples, and one rank learns it from all of
 * them. The weights of both are the same to within a unit in the last place of bf16.
 *
 * Shows: products and gradients in bf16, with weights in f32 behind them; gradients averaged over ranks by an all-reduce; a loss scale that starts much
 * too large and finds its size, because steps whose gradients are infinite are left out.
 *
 *     node --import tsx examples/allreduce.ts
 */
import { collective } from '@muster/collective';
import { context, gang, init, kill, shutdown } from '@muster/core';
import { kernels, type Matrices } from '@muster/native/kernels';
import { LossScaler } from '@muster/native/loss-scaler';

const RANKS = 4;
const SAMPLES = 8192;
const FEATURES = 32;
const STEPS = 200;
const OPTIMIZER = { learningRate: 0.02, momentum: 0.9, dampening: 0, weightDecay: 0, gradientFactor: 1, nesterov: false };
/** Infinite gradients are certain with it: 2^16 is where one would begin. */
const INITIAL_SCALE = 2 ** 127;
/** The weights lie between -4 and 4, where neighbours in bf16, which has 8 bits of precision, are at most so far apart. */
const TOLERANCE = 2 ** -6;

interface Learned {
  readonly weights: Float32Array;
  readonly loss: number;
  readonly skippedSteps: number;
}

const zeros = (length: number): { readonly dtype: 'bf16'; readonly data: Uint16Array } => ({ dtype: 'bf16', data: new Uint16Array(length) });
const column = (tensor: Matrices['tensor']): Matrices => ({ tensor, rowStride: 1, columnStride: 1, batchStride: 0 });

/** From -1 to 1, and the same in every process. Source: the mixer of MurmurHash3. */
function noise(of: 'inputs' | 'weights' | 'errors', index: number): number {
  let bits = Math.imul(of.charCodeAt(0) + index * 256, 0x9e3779b1);
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return ((bits ^ (bits >>> 16)) >>> 0) / 2 ** 31 - 1;
}

class Regression {
  /** This rank's rows of the samples: every size-th, from its own number on. */
  readonly #rows: number;
  readonly #inputs;
  readonly #outputs: Float32Array;

  constructor() {
    const { rank, size } = context().gang!;
    this.#rows = SAMPLES / size;
    const inputs = new Float32Array(this.#rows * FEATURES);
    this.#outputs = new Float32Array(this.#rows);
    for (let row = 0; row < this.#rows; row++) {
      const sample = row * size + rank;
      for (let feature = 0; feature < FEATURES; feature++) {
        const input = (inputs[row * FEATURES + feature] = noise('inputs', sample * FEATURES + feature));
        this.#outputs[row]! += input * 4 * noise('weights', feature);
      }
      this.#outputs[row]! += 0.1 * noise('errors', sample);
    }
    this.#inputs = zeros(inputs.length);
    kernels.convert({ dtype: 'f32', data: inputs }, this.#inputs);
  }

  async learn(): Promise<Learned> {
    const { rank, size } = context().gang!;
    const communicator = await collective(context().gang);
    const scaler = new LossScaler({ initialScale: INITIAL_SCALE });
    const weights = new Float32Array(FEATURES);
    const momentum = new Float32Array(FEATURES);
    const copy = zeros(FEATURES);
    const gradient = zeros(FEATURES);
    const loss = new Float32Array(1);
    let skippedSteps = 0;
    for (let step = 1; step <= STEPS; step++) {
      loss[0] = this.#backward(copy, gradient, scaler.scale);
      await Promise.all([communicator.allReduce(gradient.data, { dtype: 'bf16', op: 'average' }), communicator.allReduce(loss, { op: 'average' })]);
      // The average has the same bits on all ranks, so they agree on what is found in it.
      scaler.unscaled('sgd', kernels.unscale([gradient], scaler.scale));
      if (scaler.stepped('sgd')) kernels.sgd([{ weights, gradient, momentum, copy }], { ...OPTIMIZER, firstStep: step === skippedSteps + 1 });
      else skippedSteps++;
      scaler.update();
      if (rank === 0 && step % 50 === 0) {
        console.log(`${size} ${size === 1 ? 'rank' : 'ranks'}, step ${step}: loss ${loss[0].toFixed(5)}, scale 2^${Math.log2(scaler.scale)}, ${skippedSteps} ${skippedSteps === 1 ? 'step' : 'steps'} left out`);
      }
    }
    communicator.close();
    return { weights, loss: loss[0]!, skippedSteps };
  }

  /** Fills the gradient of the scaled mean of squared errors. @returns the mean */
  #backward(weights: Matrices['tensor'], gradient: Matrices['tensor'], scale: number): number {
    const predictions = new Float32Array(this.#rows);
    const shared = { batches: 1, columns: 1, alpha: 1, beta: 0, bias: null, activation: 'identity' } as const;
    const byRows = { tensor: this.#inputs, rowStride: FEATURES, columnStride: 1, batchStride: 0 };
    const transposed = { ...byRows, rowStride: 1, columnStride: FEATURES };
    kernels.gemm({ ...shared, rows: this.#rows, depth: FEATURES, left: byRows, right: column(weights), result: column({ dtype: 'f32', data: predictions }) });
    const errors = predictions.map((prediction, row) => prediction - this.#outputs[row]!);
    const scaled = zeros(this.#rows);
    kernels.convert({ dtype: 'f32', data: errors.map((error) => error * (2 / this.#rows) * scale) }, scaled);
    kernels.gemm({ ...shared, rows: FEATURES, depth: this.#rows, left: transposed, right: column(scaled), result: column(gradient) });
    return errors.reduce((sum, error) => sum + error * error, 0) / this.#rows;
  }
}

async function learnWith(size: number): Promise<Learned> {
  const ranks = await gang(Regression, { size, cpus: 0.25, strategy: 'strict-pack' }).create();
  const [learned, ...others] = await ranks.all.learn();
  await kill(ranks);
  if (others.some(({ weights }) => weights.some((weight, feature) => weight !== learned!.weights[feature]))) throw new Error('ranks have learned different weights');
  return learned!;
}

await init();
const together = await learnWith(RANKS);
const alone = await learnWith(1);
await shutdown();

const difference = Math.max(...together.weights.map((weight, feature) => Math.abs(weight - alone.weights[feature]!)));
console.log(`largest difference of a weight: ${difference.toExponential(2)}, and at most ${TOLERANCE} is expected`);
if (!(difference <= TOLERANCE)) process.exitCode = 1;
