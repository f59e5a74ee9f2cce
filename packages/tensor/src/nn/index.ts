/** Layers and models. */
export { Module, parameter, type StateDict } from './module.js';
export { AdaptiveAvgPool2d, AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Dropout, Embedding, Flatten, GroupNorm, LayerNorm, Linear, MaxPool2d, type ConvolutionLayerOptions, type NormOptions } from './layers.js';
export {
  ELU, GELU, GLU, Hardsigmoid, Hardswish, Hardtanh, Identity, LeakyReLU, LogSigmoid, LogSoftmax, Mish, PReLU, ReLU, ReLU6, SELU, Sigmoid, SiLU, Softmax, Softplus, Softsign, Tanh,
} from './activations.js';
export { attendInHeads, MultiheadAttention, type AttentionModuleOptions, type HeadsOptions } from './attention.js';
export { Sequential } from './containers.js';
