/** Which dtype results have, by those of the inputs and under autocast: PyTorch's, and refused where PyTorch refuses. */
import t from 'tap';
import * as m from './index.js';
import type { Dtype, Tensor } from './index.js';
import { fixture } from './test-support/recorded.js';

type Results = Readonly<Record<Dtype, Dtype | null>>;

interface Recorded {
  readonly singles: Readonly<Record<string, Results>>;
  readonly pairs: Readonly<Record<string, Readonly<Record<Dtype, Results>>>>;
}

const RECORDED = fixture<Recorded>('dtypes');
const DTYPES = ['f32', 'f16', 'bf16', 'i64', 'i32', 'bool'] as const;
const seen = (): Tensor => m.ones([2, 2], { dtype: 'bool' });
const first = (): Tensor => m.tensor([0], { dtype: 'i64' });
const everyFirst = (): Tensor => m.zeros([2, 2], { dtype: 'i64' });

const PAIRS: Readonly<Record<string, (a: Tensor, b: Tensor) => Tensor>> = {
  add: m.add, sub: m.sub, mul: m.mul, div: m.div, pow: m.pow, maximum: m.maximum, minimum: m.minimum, eq: m.eq, lt: m.lt, where: (a, b) => m.where(seen(), a, b), cat: (a, b) => m.cat([a, b]),
  matmul: m.matmul, linear: (a, b) => m.linear(a, b),
};

const SINGLES: Readonly<Record<string, (a: Tensor) => Tensor>> = {
  neg: m.neg, abs: m.abs, exp: m.exp, log: m.log, sqrt: m.sqrt, tanh: m.tanh, sigmoid: m.sigmoid, log1p: m.log1p, expm1: m.expm1, relu: m.relu, silu: m.silu, gelu: (a) => m.gelu(a), elu: (a) => m.elu(a),
  softplus: (a) => m.softplus(a), hardtanh: (a) => m.hardtanh(a), softmax: (a) => a.softmax(0), logSoftmax: (a) => a.logSoftmax(0), sum: (a) => a.sum(), mean: (a) => a.mean(), amax: (a) => a.amax(), amin: (a) => a.amin(),
  argmax: (a) => a.argmax(), argmin: (a) => a.argmin(), variance: (a) => a.variance(), std: (a) => a.std(), logsumexp: (a) => a.logsumexp(0), any: (a) => a.any(), all: (a) => a.all(),
  prod: (a) => a.prod(), cumsum: (a) => a.cumsum(0), norm: (a) => a.norm(), sort: (a) => a.sort(0).values, argsort: (a) => a.argsort(0), tril: (a) => m.tril(a),
  clamp: (a) => a.clamp({ min: 0, max: 1 }), reshape: (a) => a.reshape(4), transpose: (a) => a.transpose(), slice: (a) => a.slice(1, 0, 2, 2), gather: (a) => a.gather(0, everyFirst()), indexSelect: (a) => a.indexSelect(0, first()),
  scatter: (a) => a.scatter(0, everyFirst(), a), scatterAdd: (a) => a.scatterAdd(0, everyFirst(), a), maskedSelect: (a) => a.maskedSelect(seen()), maskedFill: (a) => a.maskedFill(seen(), 1),
  embedding: (a) => m.embedding(a, first()), layerNorm: (a) => m.layerNorm(a, [2]), maxPool2d: (a) => m.maxPool2d(a.reshape(1, 1, 2, 2), 2), dropout: (a) => m.dropout(a),
  addNumber: (a) => a.add(2), addFraction: (a) => a.add(0.5), divNumber: (a) => a.div(2), powNumber: (a) => a.pow(3),
};

/** The dtype of a result; null where it is refused, with an error of this package. */
function dtypeOf(call: () => Tensor): Dtype | null {
  try {
    return call().dtype;
  } catch (error) {
    if ((error as { code?: string }).code === 'TENSOR') return null;
    throw error;
  }
}

t.test('results have the dtypes that PyTorch gives them, and none where it refuses', async (t) => {
  for (const a of DTYPES) {
    for (const [name, call] of Object.entries(SINGLES)) t.equal(dtypeOf(() => call(m.ones([2, 2], { dtype: a }))), RECORDED.singles[name]![a], `${name} of ${a}`);
    for (const b of DTYPES) {
      for (const [name, call] of Object.entries(PAIRS)) t.equal(dtypeOf(() => call(m.ones([2, 2], { dtype: a }), m.ones([2, 2], { dtype: b }))), RECORDED.pairs[name]![a]![b], `${name} of ${a} and ${b}`);
    }
  }
});

t.test('autocast computes in the dtypes that PyTorch does', async (t) => {
  const classes = m.tensor([0, 1], { dtype: 'i64' });
  const square = (dtype: Dtype, ...shape: number[]): Tensor => m.ones(shape.length === 0 ? [2] : shape, { dtype });
  const calls: Readonly<Record<string, (first: Dtype, second: Dtype) => Tensor>> = {
    matmul: (a, b) => square(a, 2, 2).matmul(square(b, 2, 2)), linear: (a, b) => m.linear(square(a, 2, 2), square(b, 2, 2)), conv2d: (a, b) => m.conv2d(square(a, 1, 1, 2, 2), square(b, 1, 1, 1, 1)),
    scaledDotProductAttention: (a, b) => m.scaledDotProductAttention(square(a, 1, 2, 4, 4), square(b, 1, 2, 4, 4), square(b, 1, 2, 4, 4)),
    cat: (a, b) => m.cat([square(a), square(b)]), stack: (a, b) => m.stack([square(a), square(b)]), add: (a, b) => square(a).add(square(b)), mul: (a, b) => square(a).mul(square(b)),
    mseLoss: (a, b) => m.mseLoss(square(a), square(b)), l1Loss: (a, b) => m.l1Loss(square(a), square(b)), huberLoss: (a, b) => m.huberLoss(square(a), square(b)),
    binaryCrossEntropyWithLogits: (a, b) => m.binaryCrossEntropyWithLogits(square(a), square(b)), klDivergence: (a, b) => m.klDivergence(square(a), square(b)),
    crossEntropy: (a) => m.crossEntropy(square(a, 2, 2), classes), nllLoss: (a) => m.nllLoss(square(a, 2, 2), classes), softmax: (a) => square(a).softmax(0), logSoftmax: (a) => square(a).logSoftmax(0),
    gelu: (a) => m.gelu(square(a)), relu: (a) => square(a).relu(), exp: (a) => square(a).exp(), sum: (a) => square(a).sum(), mean: (a) => square(a).mean(),
    layerNorm: (a) => m.layerNorm(square(a, 2, 2), [2], { weight: m.ones([2]), bias: m.ones([2]) }), groupNorm: (a) => m.groupNorm(square(a, 2, 2, 2), 1, { weight: m.ones([2]), bias: m.ones([2]) }),
    maxPool2d: (a) => m.maxPool2d(square(a, 1, 1, 2, 2), 2), avgPool2d: (a) => m.avgPool2d(square(a, 1, 1, 2, 2), 2), embedding: (a) => m.embedding(square(a, 2, 2), classes),
    binaryCrossEntropy: (a, b) => m.binaryCrossEntropy(square(a), square(b)), smoothL1Loss: (a, b) => m.smoothL1Loss(square(a), square(b)), prelu: (a, b) => m.prelu(square(a), square(b, 1)),
    bmm: (a, b) => square(a, 1, 2, 2).matmul(square(b, 1, 2, 2)), where: (a, b) => m.where(square('bool'), square(a), square(b)), variance: (a) => square(a).variance(),
    logsumexp: (a) => square(a).logsumexp(0), softplus: (a) => m.softplus(square(a)), elu: (a) => m.elu(square(a)), batchNorm: (a) => m.batchNorm(square(a, 2, 2), { weight: m.ones([2]), bias: m.ones([2]) }),
    adaptiveAvgPool2d: (a) => m.adaptiveAvgPool2d(square(a, 1, 1, 2, 2), 1), prod: (a) => square(a).prod(), prodAlong: (a) => square(a).prod(0),
    padConstant: (a) => m.pad(square(a, 1, 2, 2), [1, 1]), padReflect: (a) => m.pad(square(a, 1, 2, 2), [1, 1], { mode: 'reflect' }), padReplicate: (a) => m.pad(square(a, 1, 2, 2), [1, 1], { mode: 'replicate' }),
    padCircular: (a) => m.pad(square(a, 1, 2, 2), [1, 1], { mode: 'circular' }),
  };
  for (const recorded of fixture<readonly { name: string; lower: 'f16' | 'bf16'; first: Dtype; second: Dtype; result: Dtype }[]>('autocast')) {
    const { dtype } = m.autocast(() => calls[recorded.name]!(recorded.first, recorded.second), { dtype: recorded.lower });
    t.equal(dtype, recorded.result, `${recorded.name} of ${recorded.first} and ${recorded.second} under ${recorded.lower}`);
  }
});

t.test('typed arrays become what they are: all that a dataset has for columns', async (t) => {
  const made = [new Float32Array([1.5]), new Float64Array([1.5]), new Int8Array([-1]), new Uint8Array([255]), new Uint8ClampedArray([255]), new Int16Array([-1]), new Uint16Array([65535]), new Int32Array([-1]), new Uint32Array([2 ** 32 - 1]), new BigInt64Array([-1n])];
  t.strictSame(made.map((array) => [m.tensor(array).dtype, m.tensor(array).item()]), [['f32', 1.5], ['f32', 1.5], ['i32', -1], ['i32', 255], ['i32', 255], ['i32', -1], ['i32', 65535], ['i32', -1], ['i64', 2 ** 32 - 1], ['i64', -1]]);
  t.equal(m.tensor(new Uint16Array([65535]), { dtype: 'i64' }).dtype, 'i64');
  t.throws(() => m.tensor(new Uint32Array([2 ** 31]), { dtype: 'i32' }), { code: 'TENSOR', message: /tensor cannot take 2147483648: i32 holds/ });
});
