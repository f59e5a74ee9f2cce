/** Layers and models. */
export { Module, parameter, type StateDict } from './module.js';
export { AvgPool2d, BatchNorm2d, Conv2d, Dropout, Embedding, Flatten, GELU, GroupNorm, LayerNorm, Linear, MaxPool2d, ReLU, Sigmoid, SiLU, Softmax, Tanh, type NormOptions } from './layers.js';
export { attendInHeads, MultiheadAttention, type AttentionModuleOptions, type HeadsOptions } from './attention.js';
export { Sequential } from './containers.js';
