/** How weights begin: PyTorch's defaults, drawn from the default generator. */
import { defaultGenerator } from '../random.js';
import { outsideScopes } from '../scope.js';
import { sizeOf, type Shape } from '../shape.js';
import { filled, type Tensor } from '../tensor.js';
import { parameter } from './module.js';

/** Evenly within +-bound. */
export function uniformParameter(shape: Shape, bound: number): Tensor {
  return outsideScopes(() => parameter(defaultGenerator.uniform(shape, { low: -bound, high: bound })));
}

export function normalParameter(shape: Shape, deviation: number): Tensor {
  return outsideScopes(() => parameter(defaultGenerator.normal(shape, { deviation })));
}

export function constantParameter(shape: Shape, value: number): Tensor {
  return outsideScopes(() => parameter(filled(shape, value, 'f32')));
}

/** A tensor of a module that is no parameter. */
export function buffer(shape: Shape, value: number, dtype: 'f32' | 'i64' = 'f32'): Tensor {
  return outsideScopes(() => filled(shape, value, dtype).keep());
}

/** What a linear layer or a convolution begins with: kaiming_uniform(a = sqrt 5), which is 1 / sqrt(inputs); the bias within the same bound. */
export function linearParameters(shape: Shape, hasBias: boolean): { readonly weight: Tensor; readonly bias: Tensor | null } {
  const inputs = sizeOf(shape.slice(1));
  const bound = inputs === 0 ? 0 : 1 / Math.sqrt(inputs);
  return { weight: uniformParameter(shape, bound), bias: hasBias ? uniformParameter([shape[0]!], bound) : null };
}
