/** The recorded calls by name: what PyTorch's functions are here. `options` are a call's own, as the generator wrote them. */
import * as m from '../index.js';
import type { Tensor } from '../index.js';

/** All that any recorded call has; each has its own. */
export interface Options {
  readonly value: number;
  readonly dimension: number;
  readonly dimensions: number[];
  readonly shape: number[];
  readonly order: number[];
  readonly first: number;
  readonly second: number;
  readonly start: number;
  readonly end: number;
  readonly step: number;
  readonly index: number;
  readonly groups: number;
  readonly kernelSize: m.Pair;
  readonly dtype: m.Dtype;
  readonly keepDimensions?: boolean;
  readonly stride?: m.Pair;
  readonly padding?: m.Pair;
}

export type Call = (inputs: readonly Tensor[], options: Options) => Tensor;

const plain = (call: (...inputs: Tensor[]) => Tensor): Call => (inputs) => call(...inputs);
const withOptions = (call: (...inputs: never[]) => Tensor): Call => (inputs, options) => call(...[...inputs, options] as never[]);

export const CALLS: Readonly<Record<string, Call>> = {
  add: plain(m.add), sub: plain(m.sub), mul: plain(m.mul), div: plain(m.div), pow: plain(m.pow), maximum: plain(m.maximum), minimum: plain(m.minimum),
  addNumber: ([x], { value }) => m.add(x!, value), powNumber: ([x], { value }) => m.pow(x!, value),
  neg: plain(m.neg), exp: plain(m.exp), log: plain(m.log), sqrt: plain(m.sqrt), abs: plain(m.abs), tanh: plain(m.tanh), sigmoid: plain(m.sigmoid),
  relu: plain(m.relu), silu: plain(m.silu), gelu: plain((x) => m.gelu(x!)), geluTanh: plain((x) => m.gelu(x!, { approximate: 'tanh' })), leakyRelu: plain((x) => m.leakyRelu(x!)),
  clamp: withOptions(m.clamp), where: plain(m.where as never), eq: plain(m.eq), ne: plain(m.ne), lt: plain(m.lt), le: plain(m.le), gt: plain(m.gt), ge: plain(m.ge),
  reshape: ([x], { shape }) => x!.reshape(...shape),
  permuteReshape: ([x], { order, shape }) => x!.permute(...order).reshape(...shape),
  transpose: ([x], { first, second }) => x!.transpose(first, second), expand: ([x], { shape }) => x!.expand(...shape),
  slice: ([x], { dimension, start, end, step }) => x!.slice(dimension, start, end, step), select: ([x], { dimension, index }) => x!.select(dimension, index),
  cat: (inputs, { dimension }) => m.cat(inputs, dimension), stack: (inputs, { dimension }) => m.stack(inputs, dimension), tril: plain((x) => m.tril(x!)),
  gather: ([x, index], { dimension }) => m.gather(x!, dimension, index!), indexSelect: ([x, index], { dimension }) => m.indexSelect(x!, dimension, index!),
  embedding: plain(m.embedding as never), to: ([x], { dtype }) => x!.to(dtype),
  sum: ([x], { dimensions, ...rest }) => x!.sum(dimensions, rest), mean: ([x], { dimensions, ...rest }) => x!.mean(dimensions, rest),
  amax: ([x], { dimensions, ...rest }) => x!.amax(dimensions, rest), amin: ([x], { dimensions, ...rest }) => x!.amin(dimensions, rest),
  variance: ([x], { dimensions, ...rest }) => x!.variance(dimensions, rest), argmax: ([x], { dimension }) => x!.argmax(dimension),
  softmax: ([x], { dimension }) => x!.softmax(dimension), logSoftmax: ([x], { dimension }) => x!.logSoftmax(dimension),
  matmul: plain(m.matmul as never), linear: plain(m.linear as never), attention: withOptions(m.scaledDotProductAttention as never),
  attentionMask: ([q, k, v, mask]) => m.scaledDotProductAttention(q!, k!, v!, { mask: mask! }),
  conv2d: ([x, weight, bias], options) => m.conv2d(x!, weight!, { ...options, bias: bias ?? null }),
  maxPool2d: ([x], { kernelSize, ...rest }) => m.maxPool2d(x!, kernelSize, rest), avgPool2d: ([x], { kernelSize, ...rest }) => m.avgPool2d(x!, kernelSize, rest),
  layerNorm: ([x, weight, bias], { shape }) => m.layerNorm(x!, shape, { weight: weight!, bias: bias! }),
  groupNorm: ([x, weight, bias], { groups }) => m.groupNorm(x!, groups, { weight: weight!, bias: bias! }),
  batchNorm: ([x, weight, bias]) => m.batchNorm(x!, { weight: weight!, bias: bias! }),
  batchNormRunning: ([x, weight, bias, mean, variance]) => m.batchNorm(x!, { weight: weight!, bias: bias!, running: { mean: mean!.detach(), variance: variance!.detach() } }),
  crossEntropy: withOptions(m.crossEntropy as never), mseLoss: withOptions(m.mseLoss as never), l1Loss: plain(m.l1Loss as never), huberLoss: withOptions(m.huberLoss as never),
  nllLoss: plain((x, y) => m.nllLoss(x!.logSoftmax(1), y!)), binaryCrossEntropy: plain(m.binaryCrossEntropy as never), binaryCrossEntropyWithLogits: plain(m.binaryCrossEntropyWithLogits as never),
  klDivergence: plain((x, y) => m.klDivergence(x!.logSoftmax(1), y!.softmax(1).detach())),
};
