import { seededRandom } from '@muster/base';
import t from 'tap';
import { logExpectedImprovement } from './expected-improvement.js';
import { defaultHyperparameters, fitProcess, GaussianProcess, negativeLogPosterior, type Observations, type SlopedPosterior } from './gaussian-process.js';
import { cholesky, dot, flipped, inverseOf, Matrix, multiply, solveLower, solveLowerRows, solveLowerTransposed, symmetricEigen } from './matrix.js';
import { minimize, minimizeEach, type Smooth } from './minimize.js';
import { momentsOf } from './moments.js';
import { normalCdf, normalDeviate, normalMass, normalQuantile } from './normal.js';
import { HaltonSequence, SobolSequence } from './sequences.js';
import { SOBOL_DIMENSIONS } from './sobol-directions.js';
import { normalizingPower, unwarp, warp } from './yeo-johnson.js';

const near = (a: number, b: number, tolerance = 1e-9): boolean => Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b));

function positiveDefinite(size: number, seed: number): Matrix {
  const random = seededRandom(seed);
  const root = new Matrix(size, size, Float64Array.from({ length: size * size }, () => normalDeviate(random)));
  const matrix = Matrix.identity(size);
  for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) matrix.set(i, j, matrix.at(i, j) + dot(root.row(i), root.row(j)));
  return matrix;
}

t.test('Sobol and Halton begin with the published points', async (t) => {
  const sobol = new SobolSequence(6, null);
  t.strictSame([0, 1, 2, 3, 4].map((index) => sobol.at(index)), [
    [0, 0, 0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.75, 0.25, 0.25, 0.25, 0.75, 0.75], [0.25, 0.75, 0.75, 0.75, 0.25, 0.25],
    [0.375, 0.375, 0.625, 0.875, 0.375, 0.125],
  ]);
  const halton = new HaltonSequence(3, null);
  t.ok([[0.5, 1 / 3, 0.2], [0.25, 2 / 3, 0.4], [0.75, 1 / 9, 0.6]].every((point, i) => point.every((x, d) => near(halton.at(i + 1)[d]!, x))));
});

t.test('scrambled sequences stay even in every dimension, and differ by seed', async (t) => {
  for (const [dimensions, make] of [[SOBOL_DIMENSIONS, (seed: number) => new SobolSequence(SOBOL_DIMENSIONS, seed)], [12, (seed: number) => new HaltonSequence(12, seed)]] as const) {
    const points = Array.from({ length: 256 }, (_, index) => make(5).at(index));
    for (let d = 0; d < dimensions; d++) {
      const quarters = [0, 0, 0, 0];
      for (const point of points) quarters[Math.floor(point[d]! * 4)]!++;
      t.ok(quarters.every((count) => Math.abs(count - 64) <= (make(5) instanceof SobolSequence ? 0 : 8)), `dimension ${d}: ${quarters.join()}`);
    }
    t.notSame(make(5).at(3), make(6).at(3));
    t.same(make(5).at(3), make(5).at(3));
  }
});

t.test('the normal distribution is exact in the body and in the tails', async (t) => {
  for (const [z, p] of [[0, 0.5], [1, 0.8413447460685429], [-1.959963984540054, 0.025], [-5, 2.866515718791939e-7], [-10, 7.61985302416052e-24], [-30, 4.906713927148187e-198]] as const) t.ok(Math.abs(normalCdf(z) / p - 1) < 1e-12, `${z}: ${normalCdf(z)}`);
  for (const p of [1e-12, 1e-4, 0.02, 0.3, 0.5, 0.9, 1 - 1e-9]) t.ok(near(normalCdf(normalQuantile(p)), p, 1e-12));
  t.ok(Math.abs(normalMass(8, 9) / (normalCdf(-8) - normalCdf(-9)) - 1) < 1e-12);
});

t.test('powers grow with the number and have their way back; the one that fits takes the lean from numbers, and leaves normal ones be', async (t) => {
  for (const power of [-2, -0.3, 0, 0.5, 1]) {
    const numbers = [-40, -3, -1e-9, 0, 1e-9, 0.2, 1, 5];
    const warped = numbers.map((x) => warp(x, power));
    t.ok(warped.every((y, i) => (i === 0 || y > warped[i - 1]!) && near(unwarp(y, power), numbers[i]!)), `${power}`);
  }
  t.equal(unwarp(0.5, -2), Infinity, 'the power -2 makes nothing of a half');
  const normal = Array.from({ length: 200 }, (_, i) => normalQuantile((i + 0.5) / 200));
  t.equal(normalizingPower(normal), 1);
  const { mean, deviation } = momentsOf(normal.map(Math.exp));
  const leaning = normal.map((x) => (Math.exp(x) - mean) / deviation);
  const straight = leaning.map((x) => warp(x, normalizingPower(leaning)));
  const lean = (numbers: readonly number[]): number => { const m = momentsOf(numbers); return momentsOf(numbers.map((x) => ((x - m.mean) / m.deviation) ** 3)).mean; };
  t.ok(lean(leaning) > 3 && Math.abs(lean(straight)) < 0.5, `${lean(leaning)} to ${lean(straight)}`);
  t.equal(normalizingPower([0, 0, 0]), 1, 'of numbers that are all alike, nothing is known');
});

t.test('factors, solutions, inverses and eigenvectors give their matrix back', async (t) => {
  const matrix = positiveDefinite(12, 1);
  const lower = cholesky(matrix)!;
  const b = Float64Array.from({ length: 12 }, (_, i) => i - 4);
  const x = solveLowerTransposed(lower, solveLower(lower, b));
  t.ok(multiply(matrix, x).every((value, i) => near(value, b[i]!)));
  t.ok(multiply(inverseOf(lower), b).every((value, i) => near(value, x[i]!)));
  const { values, vectors } = symmetricEigen(matrix);
  for (let k = 0; k < 12; k++) {
    const vector = Float64Array.from({ length: 12 }, (_, i) => vectors.at(i, k));
    t.ok(multiply(matrix, vector).every((value, i) => near(value, values[k]! * vector[i]!, 1e-8)));
  }
  matrix.set(5, 5, -1);
  t.equal(cholesky(matrix), null, 'not positive definite');
});

t.test('a factor is as good where only its last rows are worked out, and many solutions are as one at a time, of every size', async (t) => {
  for (const size of [1, 2, 3, 8, 13]) {
    const matrix = positiveDefinite(size, size);
    const lower = cholesky(matrix)!;
    for (let i = 0; i < size; i++) for (let j = 0; j <= i; j++) t.ok(near(dot(lower.row(i), lower.row(j)), matrix.at(i, j)));
    for (let known = 0; known <= size; known++) {
      const first = new Matrix(known, known);
      for (let i = 0; i < known; i++) for (let j = 0; j < known; j++) first.set(i, j, matrix.at(i, j));
      t.ok(cholesky(matrix, cholesky(first)!)!.data.every((value, i) => near(value, lower.data[i]!)), `${known} of ${size} rows`);
    }
    const all = solveLowerRows(lower, matrix);
    for (let i = 0; i < size; i++) t.ok(solveLower(lower, matrix.row(i)).every((value, j) => near(value, all.at(i, j))));
    const b = matrix.row(size - 1);
    t.ok(solveLower(flipped(lower), b.toReversed()).reverse().every((value, i) => near(value, solveLowerTransposed(lower, b)[i]!)));
  }
});

const rosenbrock: Smooth = ([a, b]) => ({
  value: (1 - a!) ** 2 + 100 * (b! - a! ** 2) ** 2,
  gradient: () => Float64Array.of(-2 * (1 - a!) - 400 * a! * (b! - a! ** 2), 200 * (b! - a! ** 2)),
});

t.test('minima that are sought together are those that are found one by one, and no gradient is worked out that nobody needs', async (t) => {
  const box = { lower: Float64Array.of(-2, -2), upper: Float64Array.of(2, 2), evaluationsMax: 40 };
  const searches = [[-1.2, 1], [1, 1], [1.9, -1.9], [0.3, 0.2]].map((start) => ({ start: Float64Array.from(start), box }));
  const rounds: number[] = [];
  let gradients = 0;
  const together = minimizeEach(searches, (asked) => {
    rounds.push(asked.length);
    return asked.map(({ x }) => ({ value: rosenbrock(x).value, gradient: () => { gradients++; return rosenbrock(x).gradient(); } }));
  });
  t.strictSame(together.map(({ x }) => x), searches.map(({ start }) => minimize(rosenbrock, start, box).x));
  t.ok(rounds[0] === 4 && rounds.at(-1)! < 4, 'those that have arrived are asked no more');
  t.ok(gradients < rounds.reduce((sum, count) => sum + count, 0));
});

t.test('the minimiser finds a curved valley, stops at the box, and survives what is not a number', async (t) => {
  const box = { lower: Float64Array.of(-2, -2), upper: Float64Array.of(2, 2), evaluationsMax: 300 };
  const free = minimize(rosenbrock, Float64Array.of(-1.2, 1), box);
  t.ok(free.evaluation.value < 1e-8, `${free.evaluation.value}`);
  const bounded = minimize(rosenbrock, Float64Array.of(-1.2, 1), { ...box, upper: Float64Array.of(0.5, 2) });
  t.ok(near(bounded.x[0]!, 0.5, 1e-6) && near(bounded.x[1]!, 0.25, 1e-4), `${bounded.x.join()}`);
  const cliff = minimize((x) => ({ value: x[0]! < 0.3 ? NaN : x[0]!, gradient: () => Float64Array.of(1) }), Float64Array.of(0.9), { lower: Float64Array.of(0), upper: Float64Array.of(1), evaluationsMax: 50 });
  t.ok(cliff.evaluation.value >= 0.3 && cliff.evaluation.value < 0.9);
});

/** A smooth function of three numbers and a category. */
function observe(count: number): Observations {
  const sequence = new SobolSequence(4, 7);
  const inputs = Array.from({ length: count }, (_, i) => { const [a, b, c, d] = sequence.at(i); return Float64Array.of(a!, b!, c!, Math.floor(d! * 3)); });
  return { kinds: ['number', 'number', 'number', 'category'], inputs, targets: Float64Array.from(inputs, ([a, b, , d]) => Math.sin(5 * a!) + b! * b! + 0.3 * d! - 0.8) };
}

t.test('a Gaussian process passes through what it knows, finds which inputs matter, and its gradients are those of its values', async (t) => {
  const observations = observe(48);
  const model = fitProcess(observations, [defaultHyperparameters(4)], 80);
  t.ok(model.lengthOf(2) > 3 * model.lengthOf(0), 'the third input does not matter, so its length is large');
  observations.inputs.forEach((input, i) => t.ok(Math.abs(model.at(input).mean - observations.targets[i]!) < 0.01));
  const x = Float64Array.of(0.31, 0.62, 0.4, 1);
  t.ok(Math.abs(model.at(x).mean - (Math.sin(5 * 0.31) + 0.62 ** 2 - 0.5)) < 0.05);
  const [, { meanGradient, varianceGradient, ...posterior }] = model.gradientsAt([Float64Array.of(0.5, 0.5, 0.5, 2), x]) as [SlopedPosterior, SlopedPosterior];
  t.ok(near(posterior.mean, model.at(x).mean) && near(posterior.variance, model.at(x).variance));
  for (const d of [0, 1, 2]) {
    const [up, down] = [model.at(x.with(d, x[d]! + 1e-5)), model.at(x.with(d, x[d]! - 1e-5))];
    t.ok(Math.abs((up.mean - down.mean) / 2e-5 - meanGradient[d]!) < 1e-4);
    t.ok(Math.abs((up.variance - down.variance) / 2e-5 - varianceGradient[d]!) < 1e-4);
  }
  t.equal(meanGradient[3], 0);
  const imagined = model.imagining([x]);
  t.ok(imagined.at(x).variance < model.at(x).variance / 10 && near(imagined.at(x).mean, model.at(x).mean, 1e-3));
});

t.test('looked at together, points give what they give one by one; so do imagined ones', async (t) => {
  const observations = observe(21);
  const model = new GaussianProcess(observations, defaultHyperparameters(4));
  const points = observe(90).inputs.slice(21);
  model.atEach(points).forEach(({ mean, variance }, i) => {
    const alone = model.at(points[i]!);
    t.ok(near(mean, alone.mean) && near(variance, alone.variance));
  });
  const { kinds, inputs, targets } = observations;
  const extended = model.imagining(points.slice(0, 3));
  const anew = new GaussianProcess({ kinds, inputs: [...inputs, ...points.slice(0, 3)], targets: Float64Array.from([...targets, ...model.atEach(points.slice(0, 3)).map(({ mean }) => mean)]) }, defaultHyperparameters(4));
  t.ok(points.every((point) => near(extended.at(point).variance, anew.at(point).variance) && near(extended.at(point).mean, anew.at(point).mean)));
});

t.test("the gradient of the hyperparameters' posterior is that of its values", async (t) => {
  const smooth = negativeLogPosterior(observe(17));
  for (const noise of [1e-4, 0.1]) {
    const at = Float64Array.of(-1, 0.2, 0.7, -0.4, 0.5, Math.log(noise));
    const gradient = smooth(at).gradient();
    for (let d = 0; d < 6; d++) {
      const slope = (smooth(at.with(d, at[d]! + 1e-5)).value - smooth(at.with(d, at[d]! - 1e-5)).value) / 2e-5;
      t.ok(near(gradient[d]!, slope, 1e-4), `${d}: ${gradient[d]!} against ${slope}`);
    }
  }
});

t.test('a fit is better than its start, and repeated points do not stop it', async (t) => {
  const { kinds, inputs, targets } = observe(20);
  const repeated: Observations = { kinds, inputs: [...inputs, ...inputs], targets: Float64Array.from([...targets, ...targets]) };
  const model = fitProcess(repeated, [defaultHyperparameters(4)], 40);
  t.ok(inputs.every((input, i) => Math.abs(model.at(input).mean - targets[i]!) < 0.05));
});

t.test('the log of the expected improvement agrees with the integral, and goes on where that is nothing', async (t) => {
  const integral = (best: number, mean: number, deviation: number): number => {
    let sum = 0;
    for (let z = -12; z < 12; z += 1e-3) sum += Math.max(0, best - mean - deviation * z) * Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI) * 1e-3;
    return Math.log(sum);
  };
  for (const [best, mean, deviation] of [[0, 0, 1], [0, -2, 0.5], [0, 3, 1], [1, 1.5, 0.1], [0, 1.2, 1], [0, 0.99, 1]] as const) t.ok(near(logExpectedImprovement(best, mean, deviation).value, integral(best, mean, deviation), 1e-4));
  for (const mean of [0.5, 2, 30, 1e3, 2e4]) {
    const { value, byMean, byDeviation } = logExpectedImprovement(0, mean, 1);
    const step = 1e-5 * mean;
    const numeric = (logExpectedImprovement(0, mean + step, 1).value - logExpectedImprovement(0, mean - step, 1).value) / (2 * step);
    const numericDeviation = (logExpectedImprovement(0, mean, 1 + 1e-6).value - logExpectedImprovement(0, mean, 1 - 1e-6).value) / 2e-6;
    t.ok(Number.isFinite(value) && near(byMean, numeric, 1e-3) && near(byDeviation, numericDeviation, 1e-3), `mean ${mean}`);
  }
});
