/** The kernels as an array library calls them: one call of each kind, and what is refused before it can touch memory. What they compute is tested in C++. */
import t from 'tap';
import { ACTIVATIONS, DTYPE_NUMBERS, MAPS, REDUCTIONS, tensorKernels } from '../index.js';

const F32 = DTYPE_NUMBERS.f32;
const numbers = (...values: number[]): Float64Array => Float64Array.from(values);

/** result[i] = map(first[i], second[i]), of vectors. */
function map(name: keyof typeof MAPS, result: Float32Array, first: Float32Array, second: Float32Array, { count = result.length, offset = 0, stride = 1 } = {}): void {
  tensorKernels.map(numbers(1, MAPS[name], 1, count, F32, offset, stride, F32, 0, 1, F32, 0, 1), result, first, second, null);
}

t.test('computes in place, also in parts of a memory', async (t) => {
  const result = new Float32Array(6);
  map('add', result, Float32Array.of(1, 2), Float32Array.of(10, 20), { count: 2, offset: 1, stride: 3 });
  t.strictSame([...result], [0, 11, 0, 0, 22, 0]);
  const sums = new Float32Array(2);
  tensorKernels.reduce(numbers(0, REDUCTIONS.sum, 0.5, 2, 1, 2, 3, F32, 0, 1, F32, 0, 3, 1), sums, Float32Array.of(1, 2, 3, 4, 5, 6));
  t.strictSame([...sums], [3, 7.5]);
});

t.test('a bias that is not there has its numbers all the same', async (t) => {
  const result = new Float32Array(1);
  const vector = [F32, 0, 2, 1, 0];
  tensorKernels.gemm(numbers(1, ACTIVATIONS.identity, 2, 0, 1, 1, 1, 2, F32, 0, 1, 1, 0, ...vector, F32, 0, 1, 1, 0, 0, 0), result, Float32Array.of(1, 2), Float32Array.of(3, 4), null);
  t.equal(result[0], 22);
});

t.test('what is not what it should be is a TypeError, and what does not fit a RangeError', async (t) => {
  const [a, b, result] = [new Float32Array(4), new Float32Array(4), new Float32Array(4)];
  const outside = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
  t.throws(() => map('add', result, a, b, { count: 5 }), outside);
  t.throws(() => map('add', result, a, b, { offset: 1 }), outside);
  t.throws(() => map('add', result, a, b, { offset: -1 }), outside);
  t.throws(() => map('add', result, a, b, { stride: 0 }), outside, 'a result that overlaps itself');
  t.throws(() => map('add', result, a, b, { offset: 0.5 }), outside);
  t.throws(() => map('add', result, a, b, { stride: 2 ** 60 }), outside);
  t.throws(() => map('add', new Int32Array(4) as never, a, b), TypeError);
  t.throws(() => map('add', result, a, null as never), outside);
  t.throws(() => tensorKernels.map(numbers(1, MAPS.copy, 1), result, a, null, null), TypeError, 'too few numbers');
  t.throws(() => tensorKernels.map(numbers(1, 99, 0, F32, 0, F32, 0, F32, 0, F32, 0), result, a, b, b), outside);
  t.throws(() => tensorKernels.map(numbers(1, MAPS.copy, 9), result, a, null, null), outside);
  t.throws(() => tensorKernels.map(numbers(1000, MAPS.copy, 0, F32, 0, F32, 0), result, a, null, null), outside);
  t.throws(() => tensorKernels.map(new Float32Array(9) as never, result, a, null, null), TypeError);
  t.throws(() => tensorKernels.softmax(numbers(1, 3, 4, F32, 0, F32, 0), result, a), outside, 'no whole rows');
  t.throws(() => tensorKernels.softmax(numbers(1, 4, 8, F32, 0, F32, 0), result, a), outside, 'more than the memory has');
  t.throws(() => tensorKernels.embedding(numbers(1, 2, 2, 1, F32, 0, F32, 0, DTYPE_NUMBERS.i32, 0), result, a, Int32Array.of(2)), outside, 'a token beyond the table');
  const gone = new Float32Array(4);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  t.throws(() => map('add', result, gone, b), TypeError);
  t.strictSame([...result], [0, 0, 0, 0], 'nothing was written');
});

t.test('memory that is shared, resized or overlaps is taken as it is, or refused', async (t) => {
  const outside = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
  const memory = new Float32Array(6);
  t.throws(() => map('add', memory, memory, Float32Array.of(1, 1, 1, 1, 1), { count: 5, offset: 1 }), outside, 'a result that overlaps an input in part');
  map('add', memory, memory, Float32Array.of(1, 2, 3, 4, 5, 6));
  t.strictSame([...memory], [1, 2, 3, 4, 5, 6], 'in place');
  const shared = new Float32Array(new SharedArrayBuffer(8));
  map('add', shared, Float32Array.of(1, 2), Float32Array.of(3, 4));
  t.strictSame([...shared], [4, 6]);
  const Resizable = ArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => ArrayBuffer & { resize(bytes: number): void };
  const resizable = new Resizable(16, { maxByteLength: 64 });
  const tracking = new Float32Array(resizable);
  resizable.resize(8);
  t.throws(() => map('add', new Float32Array(4), tracking, new Float32Array(4)), outside);
  t.throws(() => tensorKernels.sgd(numbers(1, 0.1, 0, 0, 0, 0, 1), [memory]), outside, 'no whole parameters');
  const gone = new Float32Array(2);
  const list = [memory, gone];
  Object.defineProperty(list, 0, { get: () => (structuredClone(gone, { transfer: [gone.buffer] }), memory) });
  t.throws(() => tensorKernels.gradientNorm(numbers(1, F32, 0, 6, F32, 0, 2), list), TypeError, 'taken away by a getter of the list');
});

t.test('numbers and memories drawn at random are accepted or refused, and nothing else happens', async (t) => {
  let state = 1;
  const below = (limit: number): number => (state = (1664525 * state + 1013904223) % 2 ** 32) % limit;
  const detached = new Float32Array(4);
  structuredClone(detached, { transfer: [detached.buffer] });
  const block = new ArrayBuffer(256);
  const memories: readonly (() => unknown)[] = [
    () => new Float32Array(block, 4 * below(32), below(32)), () => new Float32Array(64), () => new Uint16Array(block, 2 * below(64), below(64)), () => new Int32Array(32), () => new BigInt64Array(16),
    () => new Uint8Array(block), () => null, () => undefined, () => detached, () => new Float32Array(new SharedArrayBuffer(64)), () => new Float64Array(4), () => new DataView(block), () => [1], () => 'x',
  ];
  const anyMemory = (): unknown => memories[below(below(8) === 0 ? memories.length : 2)]!();
  const odd = [-1, 0.5, NaN, Infinity, 2 ** 54, -0];
  const anyNumber = (): number => (below(40) === 0 ? odd[below(odd.length)]! : below(3));
  const names = Object.keys(tensorKernels) as (keyof typeof tensorKernels)[];
  const lists = new Set<string>(['unscale', 'gradientNorm', 'clipGradients', 'sgd', 'adam']);
  const accepted = new Map<string, number>();
  for (let round = 0; round < 40_000; round++) {
    const name = names[round % names.length]!;
    const values = Float64Array.from({ length: below(20) === 0 ? below(20) : 64 }, anyNumber);
    const given = Array.from({ length: lists.has(name) ? below(11) : 9 }, anyMemory);
    try {
      (tensorKernels[name] as (...parameters: unknown[]) => unknown)(values, ...(lists.has(name) ? [given] : given));
      accepted.set(name, (accepted.get(name) ?? 0) + 1);
    } catch (error) {
      if (!(error instanceof TypeError || (error instanceof RangeError && 'code' in error))) throw error;
    }
  }
  t.ok(accepted.size > names.length / 2, `${accepted.size} of ${names.length} kernels accepted some`);
});
