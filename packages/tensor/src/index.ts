/** @muster/tensor: arrays with gradients on the native kernels, layers, optimizers and mixed precision. */
import './methods.js';

export { Tensor, type GradientHook } from './tensor.js';
export type { Dtype } from './dtype.js';
export type { Shape } from './shape.js';
export { allocator, setThreads } from './device/cpu.js';
export type { MemoryStatistics } from './device/allocator.js';
export type { DeviceName } from './device/devices.js';
export { scope, tidy, type Scope } from './scope.js';
export { Generator, manualSeed } from './random.js';
export {
  arange, eye, fromMemory, full, ones, rand, randint, randn, tensor, zeros, type RandomTensorOptions, type TensorOptions,
} from './factories.js';
export { enableGrad, isGradEnabled, noGrad } from './autograd/graph.js';
export type { BackwardOptions } from './autograd/backward.js';
export { checkpoint } from './autograd/checkpoint.js';
export {
  abs, add, clamp, div, eq, exp, ge, gt, le, log, lt, maximum, minimum, mul, ne, neg, pow, sigmoid, sqrt, sub, tanh, where, type Operand,
} from './operations/arithmetic.js';
export { dropout, gelu, leakyRelu, logSoftmax, relu, silu, softmax } from './operations/activations.js';
export { scaledDotProductAttention, type AttentionOptions } from './operations/attention.js';
export { avgPool2d, conv2d, maxPool2d, type ConvolutionOptions, type Pair, type PoolOptions } from './operations/convolution.js';
export { cat, embedding, gather, indexSelect, lowerTriangle, stack, tril } from './operations/indexing.js';
export {
  binaryCrossEntropy, binaryCrossEntropyWithLogits, crossEntropy, huberLoss, klDivergence, l1Loss, mseLoss, nllLoss, type CrossEntropyOptions, type LossOptions, type Reduction,
} from './operations/losses.js';
export { batchNorm, groupNorm, layerNorm, type BatchNormOptions, type BatchStatistics, type LayerNormOptions } from './operations/normalization.js';
export { linear, matmul } from './operations/products.js';
export { amax, amin, any, argmax, mean, sum, variance, type ReduceOptions } from './operations/reductions.js';
export { autocast, type AutocastOptions } from './amp/autocast.js';
export { GradScaler, type GradScalerOptions } from './amp/grad-scaler.js';
export { fromSafetensors, loadSafetensors, saveSafetensors, toSafetensors, type Safetensors } from './safetensors.js';
export { clipGradNorm, gradNorm } from './optim/clip.js';
export * as nn from './nn/index.js';
export * as optim from './optim/index.js';
