/**
 * The functions on which searchers are compared: those that targets are set for, and others, of other kinds, that show whether a searcher
 * is good or only good at those.
 *
 * @typedef {object} TestFunction
 * @property {string} name
 * @property {import('@muster/tune').Space} space
 * @property {(config: any) => number} loss
 * @property {number} minimum The least loss that there is.
 * @property {number} [noise] The deviation of what is added to the loss that searchers see. Regret is of the loss without it.
 */
import { choice, int, logint, loguniform, ordinal, uniform } from '@muster/tune';

const square = (x) => x * x;
const sum = (values) => values.reduce((total, value) => total + value, 0);
/** A space of equal parameters x0, x1, ..., and its configurations as arrays. */
const box = (dimensions, low, high) => Object.fromEntries(Array.from({ length: dimensions }, (_, i) => [`x${i}`, uniform(low, high)]));
const vector = (config) => Object.values(config);

const HARTMANN6 = {
  alpha: [1, 1.2, 3, 3.2],
  a: [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]],
  p: [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991], [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]],
};
const HARTMANN3 = {
  a: [[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]],
  p: [[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]],
};
const ACKLEY_SHIFT = [7.3, -11.1, 2.7, 15.9, -4.2];

function branin({ x, y }) {
  return square(y - (5.1 / (4 * square(Math.PI))) * square(x) + (5 / Math.PI) * x - 6) + 10 * (1 - 1 / (8 * Math.PI)) * Math.cos(x) + 10;
}

const hartmann = ({ a, p }) => (config) => {
  const x = vector(config);
  return -sum(HARTMANN6.alpha.map((alpha, i) => alpha * Math.exp(-sum(x.map((xj, j) => a[i][j] * square(xj - p[i][j] / 10_000))))));
};

function ackley(x) {
  const root = Math.sqrt(sum(x.map(square)) / x.length);
  return 20 + Math.E - 20 * Math.exp(-0.2 * root) - Math.exp(sum(x.map((xi) => Math.cos(2 * Math.PI * xi))) / x.length);
}

function rosenbrock(config) {
  const x = vector(config);
  return sum(x.slice(1).map((next, i) => 100 * square(next - square(x[i])) + square(1 - x[i])));
}

function levy(config) {
  const w = vector(config).map((x) => 1 + (x - 1) / 4);
  const last = w.at(-1);
  const inner = sum(w.slice(0, -1).map((wi) => square(wi - 1) * (1 + 10 * square(Math.sin(Math.PI * wi + 1)))));
  return square(Math.sin(Math.PI * w[0])) + inner + square(last - 1) * (1 + square(Math.sin(2 * Math.PI * last)));
}

function griewank(config) {
  const x = vector(config);
  return 1 + sum(x.map(square)) / 4000 - x.reduce((product, xi, i) => product * Math.cos(xi / Math.sqrt(i + 1)), 1);
}

function styblinskiTang(config) {
  return sum(vector(config).map((x) => (x ** 4 - 16 * square(x) + 5 * x) / 2));
}

/** As the loss of a network over its size, rate and activation: numbers of every kind, one of which hardly matters. */
function network({ rate, width, layers, batch, activation, momentum }) {
  const best = { relu: -2.5, gelu: -3, tanh: -2 }[activation];
  const penalty = { relu: 0.05, gelu: 0, tanh: 0.2 }[activation];
  return penalty + 0.3 * square(Math.log10(rate) - best - 0.2 * (layers - 3)) + 0.15 * square(Math.log2(width / 96)) + 0.08 * square(layers - 4) + 0.03 * Math.abs(Math.log2(batch / 64)) + 0.5 * square(momentum - 0.85);
}

/** As the choice between kinds of model, each with parameters of its own. */
function model({ model: chosen, scaling }) {
  const scaled = scaling === 'none' ? 0.15 : 0;
  switch (chosen.kind) {
    case 'svm': return 0.1 + scaled + 0.05 * square(Math.log10(chosen.cost) - 1) + 0.08 * square(Math.log10(chosen.gamma) + 2 + 0.5 * (Math.log10(chosen.cost) - 1));
    case 'forest': return 0.18 + 0.04 * square((chosen.depth - 9) / 4) + 0.05 * square(chosen.features - 0.4);
    default: return 0.3 + scaled + 0.02 * square(Math.log10(chosen.decay) + 3);
  }
}

/** As the choice of an optimiser, one of whose options has a choice of its own. */
function training({ smoothing, optimizer }) {
  const base = 0.08 * square(smoothing - 0.2);
  switch (optimizer.name) {
    case 'sgd': return base + 0.12 + 0.06 * square(Math.log10(optimizer.rate) + 1.2) + (optimizer.momentum === 'none' ? 0.2 : 0.3 * square(optimizer.momentum.beta - 0.9));
    case 'adam': return base + 0.1 + 0.1 * square(Math.log10(optimizer.rate) + 3) + 0.02 * square(optimizer.warmup - 4);
    default: return base + 0.25 + 0.03 * square(Math.log10(optimizer.rate));
  }
}

/** @type {readonly TestFunction[]} */
export const TEST_FUNCTIONS = [
  { name: 'branin', space: { x: uniform(-5, 10), y: uniform(0, 15) }, loss: branin, minimum: 0.39788735772973816 },
  { name: 'hartmann6', space: box(6, 0, 1), loss: hartmann(HARTMANN6), minimum: -3.322368011415515 },
  { name: 'ackley5', space: box(5, -32.768, 32.768), loss: (config) => ackley(vector(config).map((xi, i) => xi - ACKLEY_SHIFT[i])), minimum: 0 },
  { name: 'rosenbrock4', space: box(4, -5, 10), loss: rosenbrock, minimum: 0 },
  {
    name: 'mixed', loss: network, minimum: network({ rate: 10 ** -2.8, width: 96, layers: 4, batch: 64, activation: 'gelu', momentum: 0.85 }),
    space: { rate: loguniform(1e-5, 1), width: logint(8, 1024), layers: int(1, 8), batch: ordinal([16, 32, 64, 128, 256]), activation: choice(['relu', 'gelu', 'tanh']), momentum: uniform(0, 0.99) },
  },
  {
    name: 'conditional', loss: model, minimum: 0.1,
    space: {
      scaling: choice(['none', 'standard', 'quantile']),
      model: choice([
        { kind: 'svm', cost: loguniform(1e-3, 1e3), gamma: loguniform(1e-5, 1e1) },
        { kind: 'forest', depth: int(1, 24), features: uniform(0.05, 1) },
        { kind: 'linear', decay: loguniform(1e-6, 1) },
      ]),
    },
  },
];

/**
 * Functions that nothing was chosen by.
 * @type {readonly TestFunction[]}
 */
export const OTHER_FUNCTIONS = [
  { name: 'levy4', space: box(4, -10, 10), loss: levy, minimum: 0 },
  { name: 'griewank3', space: box(3, -45, 60), loss: griewank, minimum: 0 },
  { name: 'styblinski4', space: box(4, -5, 5), loss: styblinskiTang, minimum: -39.16616570377142 * 4 },
  {
    name: 'nested', loss: training, minimum: 0.1,
    space: {
      smoothing: uniform(0, 1),
      optimizer: choice([
        { name: 'sgd', rate: loguniform(1e-4, 10), momentum: choice(['none', { beta: uniform(0, 1) }]) },
        { name: 'adam', rate: loguniform(1e-5, 1), warmup: int(0, 10) },
        { name: 'lbfgs', rate: loguniform(1e-2, 1e2) },
      ]),
    },
  },
  { name: 'noisy hartmann3', space: box(3, 0, 1), loss: hartmann(HARTMANN3), minimum: -3.86278214782076, noise: 0.1 },
];
