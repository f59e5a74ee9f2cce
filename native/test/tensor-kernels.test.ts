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
