/** @muster/tensor: arrays with gradients on the native kernels, layers, optimizers and mixed precision. */
import './methods.js';

export { Tensor, type GradientHook } from './tensor.js';
export type { Dtype } from './dtype.js';
export type { Shape } from './shape.js';
export { allocator, setMemoryLimit, setThreads, threadCount } from './device/cpu.js';
export { cudaLacks } from './device/cuda.js';
export type { MemoryStatistics } from './device/allocator.js';
export type { DeviceName } from './device/device.js';
export { scope, tidy, type Scope } from './scope.js';
export { defaultGenerator, Generator, manualSeed } from './random.js';
export {
  arange, eye, fromMemory, full, ones, rand, randint, randn, tensor, zeros, type RandomTensorOptions, type TensorOptions,
} from './factories.js';
export { enableGrad, isGradEnabled, noGrad } from './autograd/graph.js';
export type { BackwardOptions } from './autograd/backward.js';
export { checkpoint } from './autograd/checkpoint.js';
export {
  abs, add, clamp, div, eq, exp, ge, gt, le, log, lt, maximum, minimum, mul, ne, neg, pow, sigmoid, sqrt, sub, tanh, where, type Operand,
} from './operations/arithmetic.js';
export { dropout, gelu, logSoftmax, relu, silu, softmax } from './operations/activations.js';
export { elu, glu, hardsigmoid, hardswish, hardtanh, leakyRelu, logSigmoid, mish, prelu, relu6, selu, softplus, softsign } from './operations/composed-activations.js';
export { scaledDotProductAttention, type AttentionOptions } from './operations/attention.js';
export {
  adaptiveAvgPool2d, avgPool2d, conv2d, maxPool2d, type AveragePoolOptions, type ConvolutionOptions, type MaxPoolOptions, type Pair, type PoolOptions, type WindowOptions,
} from './operations/convolution.js';
export { cat, embedding, gather, indexSelect, lowerTriangle, stack, tril, triu } from './operations/indexing.js';
export {
  binaryCrossEntropy, binaryCrossEntropyWithLogits, crossEntropy, huberLoss, klDivergence, l1Loss, mseLoss, nllLoss, smoothL1Loss, type BinaryCrossEntropyOptions, type CrossEntropyOptions,
  type DivergenceOptions, type LogitsOptions, type LossOptions, type Reduction,
} from './operations/losses.js';
export { expm1, log1p } from './operations/logarithms.js';
export { batchNorm, groupNorm, layerNorm, type BatchNormOptions, type BatchStatistics, type LayerNormOptions } from './operations/normalization.js';
export { argsort, cumsum, prod, sort, topk, type SortOptions } from './operations/ordering.js';
export { pad, type PaddingMode, type PadOptions } from './operations/padding.js';
export { linear, matmul } from './operations/products.js';
export { all, amax, amin, any, argmax, argmin, logsumexp, mean, norm, std, sum, variance, type ReduceOptions, type VarianceOptions } from './operations/reductions.js';
export { maskedFill, maskedSelect, scatter, scatterAdd } from './operations/scatter.js';
export { autocast, type AutocastOptions } from './amp/autocast.js';
export { GradScaler, type GradScalerOptions } from './amp/grad-scaler.js';
export { fromSafetensors, loadSafetensors, saveSafetensors, toSafetensors, type Safetensors } from './safetensors.js';
export { exportOnnx, type DynamicAxes, type OnnxOptions } from './onnx/export.js';
export { clipGradNorm, clipGradsWithNorm, clipGradValue, gradNorm } from './optim/clip.js';
export * as autograd from './autograd/index.js';
export * as nn from './nn/index.js';
export * as optim from './optim/index.js';
