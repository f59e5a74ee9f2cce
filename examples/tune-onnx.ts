/**
 * How should a model be served? Tunes the threads of an ONNX Runtime session and the images of a batch for two objectives at once: answers that come soon,
 * and many of them. There is no one best setting, so the result is a Pareto front.
 *
 * Shows: NSGA-II for several objectives; a class whose trials are actors, because a session is made once and measured in several steps; trials one at a time,
 * because what is measured is the machine. The model is trained here on MNIST's digits and written as ONNX, and its answers are those of the network.
 *
 *     node --import tsx examples/tune-onnx.ts [--trials 40] [--units 512] [--seconds 0.3]
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { get, init, put, shutdown } from '@muster/core';
import { exportOnnx, nn, tensor, zeros } from '@muster/tensor';
import { choice, int, logint, nsga2, tune, type InferConfig, type SteppedTrial, type TrialStep } from '@muster/tune';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { accuracyOf, CLASSES, makeNetwork, percent, PIXELS, randomNumbers, readDigits, TEST, trainEpoch, type Digits, type Network } from './mnist.js';

const TRAINING = { first: 0, end: 4_000 };
/** Each trial is measured so often; the last word is the mean. */
const STEPS = 3;
/** Not measured: the first batches of a session are slow. */
const WARM_UP_BATCHES = 3;

const cpus = availableParallelism();
const space = {
  batch: logint(1, 512),
  intraOpThreads: int(1, Math.max(2, cpus)),
  execution: choice([{ mode: 'sequential' }, { mode: 'parallel', interOpThreads: int(1, Math.max(2, cpus)) }]),
  optimization: choice(['disabled', 'basic', 'all']),
};
type Config = InferConfig<typeof space>;

const { values: flags } = parseArgs({ options: { trials: { type: 'string', default: '40' }, units: { type: 'string', default: '512' }, seconds: { type: 'string', default: '0.3' } } });
const [trials, units, seconds] = [Number(flags.trials), Number(flags.units), Number(flags.seconds)];
if (!Number.isInteger(trials) || trials < 1 || !Number.isInteger(units) || units < 1 || !(seconds > 0)) {
  console.error('usage: tune-onnx [--trials N] [--units N] [--seconds S]');
  process.exit(1);
}

/** A network as a model of `pixels` (images x 784, 0 to 1), which gives `chances` (images x 10). */
function onnxModel({ hidden, output }: Network): Uint8Array {
  const model = new nn.Sequential(new nn.Linear(PIXELS, units), new nn.ReLU(), new nn.Linear(units, CLASSES), new nn.Softmax(1));
  model.loadStateDict({ ...layerOf('0', hidden, PIXELS, units), ...layerOf('2', output, units, CLASSES) });
  return exportOnnx(model, [zeros([1, PIXELS])], { inputNames: ['pixels'], outputNames: ['chances'], dynamicAxes: { pixels: { 0: 'images' } } });
}

/** A layer of a network, inputs x outputs and then its biases, as a linear layer's state. */
function layerOf(name: string, values: Float32Array, inputs: number, outputs: number) {
  const weight = tensor(values.subarray(0, inputs * outputs), { shape: [inputs, outputs] }).transpose();
  return { [`${name}.weight`]: weight, [`${name}.bias`]: tensor(values.subarray(inputs * outputs)) };
}

await init();
const images = readDigits();
const network = makeNetwork(units, randomNumbers(1));
trainEpoch(network, { rate: 0.1, momentum: 0.9, batch: 32 }, images, TRAINING, randomNumbers(1));
const [digits, model] = [await put(images), await put(onnxModel(network))];

/** Pixels as the model takes them, `count` images from `first` on, beginning anew at the end of the test images. */
function pixelsOf({ pixels }: Digits, first: number, count: number): Tensor {
  const data = new Float32Array(count * PIXELS);
  for (let row = 0; row < count; row++) {
    const image = TEST.first + ((first + row) % (TEST.end - TEST.first));
    for (let pixel = 0; pixel < PIXELS; pixel++) data[row * PIXELS + pixel] = pixels[image * PIXELS + pixel]! / 255;
  }
  return new Tensor('float32', data, [count, PIXELS]);
}

const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** One setting: a session that is made at the first step, and measured at every one. */
class Serving implements SteppedTrial<Config> {
  #session: InferenceSession | null = null;
  #batch: Tensor | null = null;
  readonly #latenciesMs: number[] = [];
  readonly #rates: number[] = [];

  constructor(readonly config: Config) {}

  async step({ step }: TrialStep) {
    if (step > STEPS) return undefined;
    const session = (this.#session ??= await this.#open());
    const batch = (this.#batch ??= pixelsOf(await get(digits), 0, this.config.batch));
    const durationsMs: number[] = [];
    const endMs = performance.now() + (1000 * seconds) / STEPS;
    while (performance.now() < endMs || durationsMs.length === 0) {
      const startMs = performance.now();
      await session.run({ pixels: batch });
      durationsMs.push(performance.now() - startMs);
    }
    const sorted = durationsMs.sort((a, b) => a - b);
    this.#latenciesMs.push(sorted[Math.floor(sorted.length * 0.95)]!);
    this.#rates.push((1000 * this.config.batch) / meanOf(sorted));
    return { latencyMs: meanOf(this.#latenciesMs), imagesPerSecond: meanOf(this.#rates) };
  }

  close(): Promise<void> | undefined {
    return this.#session?.release();
  }

  async #open(): Promise<InferenceSession> {
    const { intraOpThreads, execution, optimization } = this.config;
    const session = await InferenceSession.create(await get(model), {
      intraOpNumThreads: intraOpThreads, graphOptimizationLevel: optimization, executionMode: execution.mode,
      ...(execution.mode === 'parallel' ? { interOpNumThreads: execution.interOpThreads } : {}),
    });
    const warmUp = pixelsOf(await get(digits), 0, this.config.batch);
    for (let batch = 0; batch < WARM_UP_BATCHES; batch++) await session.run({ pixels: warmUp });
    return session;
  }
}

/** The share of test images that a session names rightly: that of the network itself, if the model is the same. */
async function accuracyOfModel(): Promise<number> {
  const session = await InferenceSession.create(await get(model));
  const { chances } = await session.run({ pixels: pixelsOf(images, 0, TEST.end - TEST.first) });
  const data = chances!.data as Float32Array;
  let right = 0;
  for (let row = 0; row < TEST.end - TEST.first; row++) {
    const scores = data.subarray(row * CLASSES, (row + 1) * CLASSES);
    if (scores.indexOf(Math.max(...scores)) === images.labels[TEST.first + row]) right++;
  }
  return right / (TEST.end - TEST.first);
}

console.log(`test accuracy ${percent(await accuracyOfModel())} as ONNX, ${percent(accuracyOf(network, images, TEST))} before`);
const result = await tune(Serving, {
  space, trials, searcher: nsga2({ populationSize: 12 }), maxConcurrent: 1, resources: { cpus }, name: 'onnx',
  objectives: [{ metric: 'latencyMs', mode: 'min' }, { metric: 'imagesPerSecond', mode: 'max' }],
});

console.log(`\n${result.paretoFront.length} of ${result.trials.length} settings are beaten by no other one in both:`);
console.log('latency (p95)     images/s   batch   threads   execution              optimization');
for (const { config, metrics } of [...result.paretoFront].sort((a, b) => Number(a.metrics['latencyMs']) - Number(b.metrics['latencyMs']))) {
  const { batch, intraOpThreads, execution, optimization } = config;
  const how = execution.mode === 'parallel' ? `parallel, ${execution.interOpThreads} thread${execution.interOpThreads === 1 ? '' : 's'}` : execution.mode;
  console.log(`${Number(metrics['latencyMs']).toFixed(3).padStart(10)} ms ${Math.round(Number(metrics['imagesPerSecond'])).toString().padStart(12)} ${String(batch).padStart(7)} ${String(intraOpThreads).padStart(9)}   ${how.padEnd(22)} ${optimization}`);
}
await shutdown();
