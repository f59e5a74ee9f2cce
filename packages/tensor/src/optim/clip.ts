/** Clipping of gradients before a step. */
import { kernels } from '@muster/native';
import type { Tensor } from '../tensor.js';
import { trainingTensor } from './memory.js';

const gradientsOf = (parameters: Iterable<Tensor>): Tensor[] => [...parameters].flatMap(({ grad }) => (grad === null ? [] : [grad]));

/** As torch.nn.utils.clip_grad_norm_: all gradients, taken as one vector, become no longer than `normMax`. @returns the length before */
export function clipGradNorm(parameters: Iterable<Tensor>, normMax: number): number {
  const gradients = gradientsOf(parameters);
  const norm = kernels.clipGradients(gradients.map(trainingTensor), normMax);
  for (const { storage } of gradients) storage.version++;
  return norm;
}

/** The length of all gradients, taken as one vector. */
export function gradNorm(parameters: Iterable<Tensor>): number {
  return kernels.gradientNorm(gradientsOf(parameters).map(trainingTensor));
}
