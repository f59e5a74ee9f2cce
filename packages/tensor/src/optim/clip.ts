/** Clipping of gradients before a step. */
import { kernels } from '@muster/native';
import { threadCount } from '../device/cpu.js';
import { numberTensor, type Tensor } from '../tensor.js';
import { trainingTensor } from './memory.js';
import { checkOption } from './optimizer.js';

/** PyTorch's: keeps the factor finite. */
const EPSILON = 1e-6;

const gradientsOf = (parameters: Iterable<Tensor>): Tensor[] => [...parameters].flatMap(({ grad }) => (grad === null ? [] : [grad]));

/** As torch.nn.utils.clip_grad_norm_: all gradients, taken as one vector, become no longer than `normMax`. @returns the length before */
export function clipGradNorm(parameters: Iterable<Tensor>, normMax: number): number {
  const gradients = gradientsOf(parameters);
  const norm = kernels.clipGradients(gradients.map(trainingTensor), normMax, threadCount());
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
  return kernels.gradientNorm(gradientsOf(parameters).map(trainingTensor), threadCount());
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
