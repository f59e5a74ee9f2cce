/** The kernels as JavaScript calls them: results, errors for what does not fit, and work off this thread. What they compute is tested in C++. */
import t from 'tap';
import { kernels, type AdamOptions, type AdamParameter, type GemmCall, type Tensor } from '../index.js';

const f32 = (...values: number[]): Tensor & { dtype: 'f32' } => ({ dtype: 'f32', data: Float32Array.from(values) });
const bf16 = (count: number): Tensor & { dtype: 'bf16' } => ({ dtype: 'bf16', data: new Uint16Array(count) });

const ADAM: AdamOptions = { learningRate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, gradientFactor: 1, step: 1, decoupled: true };

function adamParameter(count: number): AdamParameter {
  return {
    weights: new Float32Array(count).fill(1),
    gradient: { dtype: 'f32', data: new Float32Array(count).fill(0.5) },
    firstMoment: new Float32Array(count),
    secondMoment: new Float32Array(count),
    copy: bf16(count),
  };
}

/** [[1, 2], [3, 4]] * [[5, 6], [7, 8]] + [1, -100], then ReLU. */
function gemmCall(): GemmCall & { result: { tensor: { data: Float32Array } } } {
  const square = { rowStride: 2, columnStride: 1, batchStride: 0 };
  return {
    batches: 1, rows: 2, columns: 2, depth: 2,
    left: { tensor: f32(1, 2, 3, 4), ...square }, right: { tensor: f32(5, 6, 7, 8), ...square }, result: { tensor: f32(9, 9, 9, 9), ...square },
    alpha: 1, beta: 0, bias: Float32Array.of(1, -100), activation: 'relu',
  };
}

t.test('converts there and back', async (t) => {
  const target = bf16(4);
  kernels.convert(f32(1, -2, 1 + 2 ** -9, NaN), target);
  t.strictSame([...target.data.subarray(0, 3)], [0x3f80, 0xc000, 0x3f80]);
  const back = f32(0, 0, 0, 0);
  await kernels.convertAsync(target, back, 1);
  t.strictSame([...back.data], [1, -2, 1, NaN]);
});

t.test('unscales, norms and clips lists of gradients in place', async (t) => {
  const gradients = [f32(6, 0), f32(), f32(8)];
  t.equal(kernels.unscale(gradients, 2), false);
  t.equal(kernels.gradientNorm(gradients), 5);
  t.equal(await kernels.gradientNormAsync(gradients), 5);
  t.equal(kernels.clipGradients(gradients, 1), 5);
  t.ok(Math.abs((await kernels.clipGradientsAsync(gradients, 10)) - 1) < 1e-6);
  t.equal(await kernels.unscaleAsync([f32(1, Infinity)], 2), true);
});

t.test('steps Adam and SGD', async (t) => {
  const parameter = adamParameter(3);
  kernels.adam([parameter], ADAM);
  t.ok(parameter.weights.every((weight) => Math.abs(weight - 0.9) < 1e-6), 'the first step has the length of the learning rate');
  t.equal(parameter.copy?.data[0], 0x3f66);
  await kernels.adamAsync([parameter], { ...ADAM, step: 2 });
  t.ok(parameter.weights.every((weight) => Math.abs(weight - 0.8) < 1e-6));
  const weights = Float32Array.of(1);
  kernels.sgd([{ weights, gradient: f32(2), momentum: null, copy: null }],
    { learningRate: 0.25, momentum: 0, dampening: 0, weightDecay: 0, gradientFactor: 0.5, nesterov: false, firstStep: true });
  t.equal(weights[0], 0.75);
});

t.test('multiplies matrices', async (t) => {
  for (const multiply of [kernels.gemm, kernels.gemmAsync]) {
    const call = gemmCall();
    await multiply(call);
    t.strictSame([...call.result.tensor.data], [20, 0, 44, 0]);
  }
  const transposed = { ...gemmCall(), bias: null };
  kernels.gemm({ ...transposed, left: { ...transposed.left, rowStride: 1, columnStride: 2 } });
  t.strictSame([...transposed.result.tensor.data], [26, 30, 38, 44]);
});

t.test('works off this thread, several calls at once, on arrays that nobody holds any more', async (t) => {
  const size = 512;
  const matrix = { rowStride: size, columnStride: 1, batchStride: 0 };
  const ones = (): Tensor & { dtype: 'f32' } => ({ dtype: 'f32', data: new Float32Array(size * size).fill(1) });
  const results = Array.from({ length: 6 }, ones);
  await Promise.all(results.map((tensor) => kernels.gemmAsync({
    ...gemmCall(), rows: size, columns: size, depth: size, bias: null,
    left: { tensor: ones(), ...matrix }, right: { tensor: ones(), ...matrix }, result: { tensor, ...matrix },
  })));
  t.ok(results.every(({ data }) => data.every((value) => value === size)));
});

t.test('bad input throws before anything is changed', async (t) => {
  const memory = new ArrayBuffer(64);
  const detached = new Float32Array(4);
  structuredClone(detached, { transfer: [detached.buffer] });
  const wrong = (value: unknown): never => value as never;
  const typeErrors: [RegExp, () => unknown][] = [
    [/source must be an object/, () => kernels.convert(wrong(null), bf16(1))],
    [/source\.dtype must be 'f32'/, () => kernels.convert(wrong({ dtype: 'f64', data: new Float64Array(1) }), bf16(1))],
    [/source\.data must be a Float32Array/, () => kernels.convert(wrong({ dtype: 'f32', data: [1] }), bf16(1))],
    [/target\.data must be a Uint16Array/, () => kernels.convert(f32(1), wrong({ dtype: 'f16', data: new Uint8Array(2) }))],
    [/source\.data is detached/, () => kernels.convert({ dtype: 'f32', data: detached }, bf16(4))],
    [/gradients must be an array/, () => kernels.unscale(wrong(f32(1)), 2)],
    [/gradients\[1\]\.data must be/, () => kernels.unscaleAsync([f32(1), wrong({ dtype: 'f32' })], 2)],
    [/scale must be a number/, () => kernels.unscale([f32(1)], wrong('2'))],
    [/step must be a number/, () => kernels.adam([], wrong({ ...ADAM, step: undefined }))],
    [/decoupled must be true or false/, () => kernels.adam([], wrong({ ...ADAM, decoupled: 1 }))],
    [/activation must be/, () => kernels.gemm(wrong({ ...gemmCall(), activation: 'tanh' }))],
  ];
  for (const [message, call] of typeErrors) t.throws(call, { name: 'TypeError', message });

  const rangeErrors: [RegExp, () => unknown][] = [
    [/target 0 has 2 elements, and 1 are wanted/, () => kernels.convert(f32(1), bf16(2))],
    [/overlap/, () => kernels.convert({ dtype: 'f32', data: new Float32Array(memory, 0, 4) }, { dtype: 'bf16', data: new Uint16Array(memory, 14, 4) })],
    [/one of the two must be f32/, () => kernels.convert(bf16(1), bf16(1))],
    [/257 threads/, () => kernels.convert(f32(1), bf16(1), 300)],
    [/loss scale of 0/, () => kernels.unscale([f32(1)], 0)],
    [/takes f32, f16, bf16/, () => kernels.gradientNorm([wrong({ dtype: 'f8e5m2', data: new Uint8Array(1) })])],
    [/first moment 0 has 3 elements/, () => kernels.adam([{ ...adamParameter(2), firstMoment: new Float32Array(3) }], ADAM)],
    [/beta1 is 1/, () => kernels.adam([], { ...ADAM, beta1: 1 })],
    [/too few for 1 matrices of 3 x 2/, () => kernels.gemm({ ...gemmCall(), rows: 3 })],
    [/depth must be an integer from 0/, () => kernels.gemm({ ...gemmCall(), depth: -1 })],
  ];
  for (const [message, call] of rangeErrors) t.throws(call, { name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message });
  await t.rejects(kernels.convertAsync(f32(1), bf16(2)), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
});

t.test('nothing is a fine input', async (t) => {
  kernels.convert(f32(), bf16(0));
  t.equal(kernels.unscale([], 2), false);
  t.equal(kernels.gradientNorm([f32()]), 0);
  kernels.adam([adamParameter(0)], ADAM);
  const call = { ...gemmCall(), depth: 0 };
  kernels.gemm(call);
  t.strictSame([...call.result.tensor.data], [1, 0, 1, 0], 'a depth of 0 leaves the bias');
});
