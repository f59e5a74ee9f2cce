/** Clipping of gradients before a step. */
import { tensorError } from '../failure.js';
import type { Tensor } from '../tensor.js';
import { byDevice, steppable } from './memory.js';

const gradientsOf = (parameters: Iterable<Tensor>): Tensor[] => [...parameters].flatMap(({ grad }) => (grad === null ? [] : [grad]));

/** The first of them, if there is one. @throws TensorError for what is not dense and floating point, or on several devices */
function onOneDevice(gradients: readonly Tensor[]): Tensor | undefined {
  const devices = [...byDevice(gradients.map(steppable)).keys()];
  if (devices.length > 1) throw tensorError('the norm of gradients', devices.map(({ name }) => name), 'the gradients must be on one device');
  return gradients[0];
}

/** As torch.nn.utils.clip_grad_norm_: all gradients, taken as one vector, become no longer than `normMax`. @returns the length before */
export function clipGradNorm(parameters: Iterable<Tensor>, normMax: number): number {
  const gradients = gradientsOf(parameters);
  const norm = onOneDevice(gradients)?.device.clipGradients(gradients, normMax) ?? 0;
  for (const { storage } of gradients) storage.version++;
  return norm;
}

/** The length of all gradients, taken as one vector. */
export function gradNorm(parameters: Iterable<Tensor>): number {
  const gradients = gradientsOf(parameters);
  return onOneDevice(gradients)?.device.gradientNorm(gradients) ?? 0;
}
