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
  readonly heads: number;
  readonly k: number;
  readonly largest: boolean;
  readonly descending: boolean;
  readonly kernelSize: m.Pair;
  readonly outputSize: m.Pair;
  readonly dtype: m.Dtype;
  readonly keepDimensions?: boolean;
  readonly margins: number[];
  readonly mode?: m.PaddingMode;
  readonly paddingMode: m.PaddingMode & m.nn.ConvolutionLayerOptions['paddingMode'];
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
  klDivergence: ([x, y], options) => m.klDivergence(x!.logSoftmax(1), y!.softmax(1).detach(), options as m.DivergenceOptions),
  klDivergenceLogarithms: ([x, y]) => m.klDivergence(x!.logSoftmax(1), y!.logSoftmax(1), { logTarget: true }),
  crossEntropyWeight: ([x, y, weight], options) => m.crossEntropy(x!, y!, { ...options as m.CrossEntropyOptions, weight: weight! }),
  crossEntropyShares: ([x, y], options) => m.crossEntropy(x!, y!.softmax(1).detach(), options as m.CrossEntropyOptions),
  nllLossWeight: ([x, y, weight], options) => m.nllLoss(x!.logSoftmax(1), y!, { ...options as m.CrossEntropyOptions, weight: weight! }),
  smoothL1Loss: withOptions(m.smoothL1Loss as never),
  binaryCrossEntropyEdge: plain(m.binaryCrossEntropy as never),
  binaryCrossEntropyWeight: ([x, y, weight], options) => m.binaryCrossEntropy(x!, y!, { ...options as m.LossOptions, weight: weight! }),
  binaryCrossEntropyLogitsWeight: ([x, y, weight, posWeight], options) => m.binaryCrossEntropyWithLogits(x!, y!, { ...options as m.LossOptions, weight: weight!, posWeight: posWeight! }),
  scatter: ([x, index, source], { dimension }) => m.scatter(x!, dimension, index!, source!), scatterAdd: ([x, index, source], { dimension }) => m.scatterAdd(x!, dimension, index!, source!),
  maskedSelect: plain(m.maskedSelect as never), maskedFill: ([x, mask], { value }) => m.maskedFill(x!, mask!, value), triu: plain((x) => m.triu(x!)),
  any: ([x], { dimension }) => x!.any(dimension), all: ([x], { dimension }) => x!.all(dimension), argmin: ([x], { dimension }) => x!.argmin(dimension),
  logsumexp: ([x], { dimensions }) => x!.logsumexp(dimensions), std: ([x], { dimensions }) => x!.std(dimensions),
  elu: plain((x) => m.elu(x!)), selu: plain(m.selu as never), softplus: plain((x) => m.softplus(x!)), mish: plain(m.mish as never), logSigmoid: plain(m.logSigmoid as never),
  hardtanh: plain((x) => m.hardtanh(x!)), relu6: plain(m.relu6 as never), hardsigmoid: plain(m.hardsigmoid as never), hardswish: plain(m.hardswish as never), softsign: plain(m.softsign as never),
  log1p: plain(m.log1p as never), expm1: plain(m.expm1 as never), prelu: plain(m.prelu as never), glu: plain((x) => m.glu(x!)),
  prod: ([x], { dimension }) => x!.prod(dimension), cumsum: ([x], { dimension }) => x!.cumsum(dimension), norm: ([x], { dimensions }) => x!.norm(dimensions),
  topk: ([x], { k, dimension, largest }) => x!.topk(k, dimension, { largest }).values, topkPlaces: ([x], { k, dimension, largest }) => x!.topk(k, dimension, { largest }).indices,
  sort: ([x], { dimension, descending }) => x!.sort(dimension, { descending }).values, argsort: ([x], { dimension, descending }) => x!.argsort(dimension, { descending }),
  embeddingPadding: ([weight, tokens], { index }) => m.embedding(weight!, tokens!, { paddingIndex: index }),
  multiheadAttention: ([query, key, value, weight, bias, outWeight, outBias, mask], { heads }) => {
    const attention = new m.nn.MultiheadAttention(query!.shape[2]!, heads);
    Object.assign(attention, { inProjWeight: weight, inProjBias: bias });
    Object.assign(attention.outProj, { weight: outWeight, bias: outBias });
    return attention.forward(query!, key, value, mask ?? null);
  },
  pad: ([x], { margins, ...rest }) => m.pad(x!, margins, rest),
  conv2dPadded: ([x, weight, bias], options) => {
    const [outputs, inputs, height, width] = weight!.shape as [number, number, number, number];
    const layer = new m.nn.Conv2d(inputs, outputs, [height, width], options);
    Object.assign(layer, { weight, bias });
    return layer.forward(x!);
  },
  adaptiveAvgPool2d: ([x], { outputSize }) => m.adaptiveAvgPool2d(x!, outputSize),
};
