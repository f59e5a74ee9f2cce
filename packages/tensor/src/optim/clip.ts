/** Clipping of gradients before a step. */
import { tensorError } from '../failure.js';
import { numberTensor, type Tensor } from '../tensor.js';
import { byDevice, steppable } from './memory.js';
import { checkOption } from './optimizer.js';

/** PyTorch's: keeps the factor finite. */
const EPSILON = 1e-6;

const gradientsOf = (parameters: Iterable<Tensor>): Tensor[] => [...parameters].flatMap(({ grad }) => (grad === null ? [] : [grad]));

/** The first of them, if there is one. @throws TensorError for what is not dense and floating point, or on several devices */
function onOneDevice(gradients: readonly Tensor[]): Tensor | undefined {
  const devices = [...byDevice(gradients.map(steppable)).keys()];
  if (devices.length > 1) throw tensorError('the norm of gradients', devices.map(({ name }) => name), 'the gradients must be on one device');
  return gradients[0];
}

/** As torch.nn.utils.clip_grad_norm_: all gradients, taken as one vector, become no longer than `normMax`. @returns the length before */
export function clipGradNorm(parameters: Iterable<Tensor>, normMax: number): number {
  checkOption('largest norm', normMax, normMax >= 0, '0 or more');
  const gradients = gradientsOf(parameters);
  const norm = onOneDevice(gradients)?.device.clipGradients(gradients, normMax) ?? 0;
  for (const { storage } of gradients) storage.version++;
  return norm;
}

/** As torch.nn.utils.clip_grads_with_norm_: {@link clipGradNorm} for a length that is known, such as that of gradients whose parts are on several ranks. */
export function clipGradsWithNorm(parameters: Iterable<Tensor>, normMax: number, norm: number): void {
  const factor = normMax / (norm + EPSILON);
  if (factor >= 1) return;
  const multiplier = numberTensor(factor);
  for (const gradient of gradientsOf(parameters)) {
    gradient.device.map('multiply', gradient, gradient, multiplier);
    gradient.storage.version++;
  }
  multiplier.dispose();
}

/** The length of all gradients, taken as one vector. */
export function gradNorm(parameters: Iterable<Tensor>): number {
  const gradients = gradientsOf(parameters);
  return onOneDevice(gradients)?.device.gradientNorm(gradients) ?? 0;
}

/** As torch.nn.utils.clip_grad_value_: each number of each gradient becomes no further from 0 than `valueMax`. */
export function clipGradValue(parameters: Iterable<Tensor>, valueMax: number): void {
  checkOption('largest value', valueMax, valueMax >= 0, '0 or more');
  using least = numberTensor(-valueMax);
  using most = numberTensor(valueMax);
  for (const gradient of gradientsOf(parameters)) {
    gradient.device.map('maximum', gradient, gradient, least);
    gradient.device.map('minimum', gradient, gradient, most);
    gradient.storage.version++;
  }
}
