/** The operations as methods of tensors. */
import { backward, type BackwardOptions } from './autograd/backward.js';
import * as factories from './factories.js';
import * as activations from './operations/activations.js';
import * as arithmetic from './operations/arithmetic.js';
import * as indexing from './operations/indexing.js';
import * as logarithms from './operations/logarithms.js';
import * as ordering from './operations/ordering.js';
import * as products from './operations/products.js';
import * as reductions from './operations/reductions.js';
import * as scattering from './operations/scatter.js';
import * as views from './operations/views.js';
import { tensorError } from './failure.js';
import { show } from './show.js';
import { Tensor, type GradientHook } from './tensor.js';

/** Functions whose first argument is the tensor. */
const METHODS = {
  add: arithmetic.add, sub: arithmetic.sub, mul: arithmetic.mul, div: arithmetic.div, pow: arithmetic.pow, maximum: arithmetic.maximum, minimum: arithmetic.minimum,
  clamp: arithmetic.clamp, eq: arithmetic.eq, ne: arithmetic.ne, lt: arithmetic.lt, le: arithmetic.le, gt: arithmetic.gt, ge: arithmetic.ge,
  neg: arithmetic.neg, exp: arithmetic.exp, log: arithmetic.log, sqrt: arithmetic.sqrt, abs: arithmetic.abs, tanh: arithmetic.tanh, sigmoid: arithmetic.sigmoid, to: arithmetic.to,
  contiguous: views.contiguous, clone: views.clone, detach: views.detach, reshape: views.reshape, flatten: views.flatten, permute: views.permute, transpose: views.transpose,
  expand: views.expand, squeeze: views.squeeze, unsqueeze: views.unsqueeze, slice: views.slice, narrow: views.narrow, select: views.select, split: views.split, chunk: views.chunk,
  sum: reductions.sum, mean: reductions.mean, amax: reductions.amax, amin: reductions.amin, argmax: reductions.argmax, argmin: reductions.argmin, variance: reductions.variance,
  std: reductions.std, logsumexp: reductions.logsumexp, norm: reductions.norm, any: reductions.any, all: reductions.all,
  prod: ordering.prod, cumsum: ordering.cumsum, sort: ordering.sort, argsort: ordering.argsort, topk: ordering.topk,
  matmul: products.matmul, relu: activations.relu, gelu: activations.gelu, silu: activations.silu, softmax: activations.softmax, logSoftmax: activations.logSoftmax,
  log1p: logarithms.log1p, expm1: logarithms.expm1,
  scatter: scattering.scatter, scatterAdd: scattering.scatterAdd, maskedSelect: scattering.maskedSelect, maskedFill: scattering.maskedFill, gather: indexing.gather, indexSelect: indexing.indexSelect, tril: indexing.tril, triu: indexing.triu,
  toTypedArray: factories.toTypedArray, toArray: factories.toArray, item: factories.item, backward, registerHook, onGradient, retainGrad, zeroGrad,
} as const;

type Method<F> = F extends (input: Tensor, ...rest: infer Rest) => infer Result ? (...rest: Rest) => Result
  : F extends (input: arithmetic.Operand, ...rest: infer Rest) => infer Result ? (...rest: Rest) => Result : never;
type Methods = { readonly [Name in keyof typeof METHODS]: Method<(typeof METHODS)[Name]> };

declare module './tensor.js' {
  // The documentation of each is at its function. Disposable is named again because the compiler may come here before the class's own [Symbol.dispose].
  interface Tensor extends Methods, Disposable {}
}

/**
 * Has `hook` called with the gradient of this tensor whenever a backward pass comes to it; what it returns is used instead.
 * @returns what takes the hook off again
 */
function registerHook(input: Tensor, hook: GradientHook): () => void {
  if (!input.requiresGrad) throw tensorError('registerHook', [input], 'it does not require a gradient');
  const owner = input.node ?? input;
  owner.hooks = [...owner.hooks ?? [], hook];
  return () => { owner.hooks = owner.hooks?.filter((each) => each !== hook) ?? null; };
}

/**
 * Has `listener` called, within the backward pass, when the gradient of this leaf is complete in `grad`: the last use of it is done. Where the reduction over ranks
 * begins while the backward pass goes on.
 * @returns what takes the listener off again
 */
function onGradient(input: Tensor, listener: (tensor: Tensor) => void): () => void {
  if (!input.isLeaf || !input.requiresGrad) throw tensorError('onGradient', [input], 'it takes a leaf that requires a gradient');
  input.gradientListeners = [...input.gradientListeners ?? [], listener];
  return () => { input.gradientListeners = input.gradientListeners?.filter((each) => each !== listener) ?? null; };
}

/** Has backward passes keep the gradient of a tensor that is no leaf in `grad`. @returns it */
function retainGrad(input: Tensor): Tensor {
  if (!input.requiresGrad) throw tensorError('retainGrad', [input], 'it does not require a gradient');
  if (input.node !== null) input.node.retains = input;
  return input;
}

/** Takes its gradient away; the next begins anew. */
function zeroGrad(input: Tensor): void {
  if (input.grad !== input.gradientTarget) input.grad?.dispose();
  input.grad = null;
}

for (const [name, method] of Object.entries(METHODS) as [string, (input: Tensor, ...rest: unknown[]) => unknown][]) {
  Object.defineProperty(Tensor.prototype, name, { configurable: true, writable: true, value(this: Tensor, ...rest: unknown[]) { return method(this, ...rest); } });
}
Object.defineProperty(Tensor.prototype, Symbol.for('nodejs.util.inspect.custom'), { configurable: true, writable: true, value(this: Tensor) { return show(this); } });

export type { BackwardOptions };
