/** The kernels as JavaScript calls them: results, errors for what does not fit, and work off this thread. What they compute is tested in C++. */
import t from 'tap';
import { kernels, type AdamOptions, type AdamParameter, type AttentionCall, type ConvolveCall, type GemmCall, type Heads, type Images, type SgdOptions, type Tensor } from '../index.js';

const f32 = (...values: number[]): Tensor & { dtype: 'f32' } => ({ dtype: 'f32', data: Float32Array.from(values) });
const bf16 = (count: number): Tensor & { dtype: 'bf16' } => ({ dtype: 'bf16', data: new Uint16Array(count) });

const ADAM: AdamOptions = { learningRate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, gradientFactor: 1, step: 1, decoupled: true };
const SGD: SgdOptions = { learningRate: 0.5, momentum: 0, dampening: 0, weightDecay: 0, gradientFactor: 1, nesterov: false, firstStep: true };

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

/** One image of 1 x 2 x 3 under windows of two columns. */
const IMAGES: Images = {
  batches: 1, channels: 1, rows: 2, columns: 3,
  vertical: { kernel: 1, stride: 1, padding: 0, dilation: 1, overhang: 0 }, horizontal: { kernel: 2, stride: 1, padding: 0, dilation: 1, overhang: 0 },
};

function convolveCall(): ConvolveCall {
  return {
    shape: { images: IMAGES, resultChannels: 1, groups: 1 },
    input: f32(1, 2, 3, 4, 5, 6), weight: f32(1, 10), bias: Float32Array.of(100), result: f32(0, 0, 0, 0),
  };
}

t.test('convolves, forward and backward', async (t) => {
  const call = convolveCall();
  kernels.convolve(call);
  t.strictSame([...call.result.data], [121, 132, 154, 165]);
  const { shape, input, weight } = call;
  const gradient = f32(1, 0, 0, 1);
  const inputGradient = f32(9, 9, 9, 9, 9, 9);
  await kernels.convolveBackwardInputAsync({ shape, gradient, weight, inputGradient });
  t.strictSame([...inputGradient.data], [1, 10, 0, 0, 1, 10]);
  const weightGradient = Float32Array.of(1, 1);
  const biasGradient = Float32Array.of(1);
  kernels.convolveBackwardWeight({ shape, input, gradient, weightGradient, biasGradient });
  t.strictSame([...weightGradient, ...biasGradient], [7, 9, 3]);
});

t.test('pools, forward and backward', async (t) => {
  const input = f32(1, 3, 2, 6, 5, 4);
  const result = f32(0, 0, 0, 0);
  const places = new Int32Array(4);
  kernels.pool({ images: IMAGES, pooling: 'largest', input, result, places });
  t.strictSame([[...result.data], [...places]], [[3, 3, 6, 5], [1, 1, 3, 4]]);
  const inputGradient = f32(9, 9, 9, 9, 9, 9);
  await kernels.poolBackwardAsync({ images: IMAGES, pooling: 'largest', gradient: f32(1, 2, 3, 4), places, inputGradient });
  t.strictSame([...inputGradient.data], [0, 3, 0, 3, 4, 0]);
  await kernels.poolAsync({ images: IMAGES, pooling: 'mean', input, result, places: null });
  t.strictSame([...result.data], [2, 2.5, 5.5, 4.5]);
});

/** Two queries and keys of one number; the first sees itself alone. */
function attentionCall(): AttentionCall {
  const heads = (...values: number[]): Heads => ({ tensor: f32(...values), batchStride: 2, headStride: 2, rowStride: 1 });
  const shape = { batches: 1, heads: 1, queries: 2, keys: 2, width: 1, scale: 1, causal: true };
  return { shape, query: heads(1, 0), key: heads(1, 2), value: heads(4, 8), result: heads(0, 0), logSums: new Float32Array(2) };
}

t.test('attends, forward and backward', async (t) => {
  const call = attentionCall();
  await kernels.attentionAsync(call);
  t.strictSame([...call.result.tensor.data], [4, 6]);
  t.ok(Math.abs((call.logSums[1] ?? 0) - Math.log(2)) < 1e-6);
  const gradients = { gradient: attentionCall().query, queryGradient: attentionCall().result, keyGradient: attentionCall().result, valueGradient: attentionCall().result };
  kernels.attentionBackward({ ...call, ...gradients });
  t.strictSame([...gradients.valueGradient.tensor.data], [1, 0]);
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
    [/weight\.data must be a Float32Array/, () => kernels.convolve({ ...convolveCall(), weight: wrong({ dtype: 'f32' }) })],
    [/pooling must be/, () => kernels.pool({ images: IMAGES, pooling: wrong('median'), input: f32(), result: f32(), places: null })],
    [/query must be an object/, () => kernels.attention({ ...attentionCall(), query: wrong(undefined) })],
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
    [/does not fit images of 3 columns/, () => kernels.convolve({ ...convolveCall(), shape: { ...convolveCall().shape, images: { ...IMAGES, horizontal: { ...IMAGES.horizontal, kernel: 4 } } } })],
    [/places has 3 elements, and 4 are wanted/, () => kernels.pool({ images: IMAGES, pooling: 'largest', input: f32(1, 2, 3, 4, 5, 6), result: f32(1, 2, 3, 4), places: new Int32Array(3) })],
    [/2 queries cannot see/, () => kernels.attention({ ...attentionCall(), shape: { ...attentionCall().shape, keys: 1 } })],
    [/depth must be an integer from 0/, () => kernels.gemm({ ...gemmCall(), depth: -1 })],
  ];
  for (const [message, call] of rangeErrors) t.throws(call, { name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message });
  await t.rejects(kernels.convertAsync(f32(1), bf16(2)), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
});

t.test('a getter that takes memory away while arguments are read is found out', async (t) => {
  const taken = new Float32Array(4);
  const target = { dtype: 'bf16', get data() { return structuredClone(taken, { transfer: [taken.buffer] }) && new Uint16Array(4); } } as const;
  t.throws(() => kernels.convert({ dtype: 'f32', data: taken }, target), { name: 'TypeError', message: /detached or resized while/ });
  const async = new Float32Array(4);
  const options = { ...ADAM, get step() { return structuredClone(async, { transfer: [async.buffer] }) && 1; } };
  t.throws(() => kernels.adamAsync([{ ...adamParameter(4), weights: async }], options), { name: 'TypeError', message: /detached or resized while/ });
});

t.test('arguments drawn at random are accepted or refused, and nothing else happens', async (t) => {
  let state = 1;
  const below = (limit: number): number => (state = (1664525 * state + 1013904223) % 2 ** 32) % limit;
  const detached = new Float32Array(4);
  structuredClone(detached, { transfer: [detached.buffer] });
  const shared = new ArrayBuffer(64);
  const values: readonly (() => unknown)[] = [
    () => new Float32Array(below(9)), () => new Uint16Array(below(9)), () => new Uint8Array(below(9)), () => new Float32Array(shared, 4 * below(8), below(4)),
    () => new Uint16Array(shared, 2 * below(16), below(8)), () => new Float32Array(new SharedArrayBuffer(16)), () => new Float32Array(4).fill(NaN), () => detached,
    () => new BigInt64Array(2), () => below(5), () => -1, () => 0.5, () => NaN, () => Infinity, () => 2 ** 53, () => 'f32', () => null, () => undefined, () => true, () => 1n,
    () => Symbol('x'), () => [], () => ({}), () => new Proxy({}, { get: () => { throw new TypeError('a trap'); } }), () => new DataView(shared),
  ];
  const any = (): unknown => values[below(values.length)]!();
  const orAny = <T>(value: () => T): T => (below(12) === 0 ? any() as T : value());
  const floats = (length: number): Float32Array => orAny(() => new Float32Array(length));
  const tensor = (length: number): Tensor => orAny(() => {
    const dtype = orAny(() => (['f32', 'f16', 'bf16', 'f8e4m3', 'f8e5m2'] as const)[below(3 + 2 * below(2))]!);
    return { dtype, data: orAny(() => (dtype === 'f32' ? new Float32Array(length) : dtype === 'f16' || dtype === 'bf16' ? new Uint16Array(length) : new Uint8Array(length))) } as Tensor;
  });
  const matrices = (size: number): never => orAny(() => ({ tensor: tensor(size * size), rowStride: orAny(() => size), columnStride: orAny(() => 1), batchStride: orAny(() => 0) })) as never;
  const calls: readonly (() => unknown)[] = [
    () => { const length = below(9); return [tensor(length), tensor(length)]; },
    () => [[tensor(4), tensor(below(3))], orAny(() => 2)],
    () => { const length = below(5); return [[{ weights: floats(length), gradient: tensor(length), momentum: floats(length), copy: below(2) ? tensor(length) : null }], orAny(() => ({ ...SGD, momentum: orAny(() => 0.9) }))]; },
    () => { const length = below(5); return [[{ weights: floats(length), gradient: tensor(length), firstMoment: floats(length), secondMoment: floats(length), copy: null }], orAny(() => ({ ...ADAM, step: orAny(() => 1) }))]; },
    () => { const size = 1 + below(4); return [{ ...gemmCall(), rows: orAny(() => size), columns: orAny(() => size), depth: below(5), left: matrices(size), right: matrices(size), result: matrices(size), bias: below(2) ? floats(size) : null }]; },
  ];
  const methods = [['convert'], ['unscale', 'gradientNorm', 'clipGradients'], ['sgd'], ['adam'], ['gemm']] as const;
  let accepted = 0;
  for (let round = 0; round < 8_000; round++) {
    const kind = below(calls.length);
    const name = methods[kind]![below(methods[kind]!.length)]!;
    const call = kernels[(below(20) === 0 ? `${name}Async` : name) as 'convert'] as (...parameters: unknown[]) => unknown;
    try {
      await call(...calls[kind]!() as unknown[], orAny(() => 1));
      accepted++;
    } catch (error) {
      if (!(error instanceof TypeError || (error instanceof RangeError && 'code' in error))) throw error;
    }
  }
  t.ok(accepted > 800, `${accepted} were accepted`);
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
