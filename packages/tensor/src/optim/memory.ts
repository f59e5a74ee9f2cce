/** Tensors as the kernels of optimizers take them. */
import type { TrainingTensor } from '@muster/native';
import { tensorError } from '../failure.js';
import type { Tensor } from '../tensor.js';

/** A dense tensor of floating point, where it lies. */
export function trainingTensor(tensor: Tensor): TrainingTensor {
  const { dtype } = tensor;
  if (dtype === 'f32') return { dtype, data: tensor.memory() as Float32Array };
  if (dtype === 'f16' || dtype === 'bf16') return { dtype, data: tensor.memory() as Uint16Array };
  throw tensorError('an optimizer', [tensor], 'parameters and gradients are floating point');
}
