/** Tensors as optimizers hand them to their device. */
import type { Device } from '../device/device.js';
import { isFloating } from '../dtype.js';
import { tensorError } from '../failure.js';
import type { Tensor } from '../tensor.js';

/** The tensor, which must be dense and of floating point. @throws TensorError */
export function steppable(tensor: Tensor): Tensor {
  if (tensor.isDisposed) throw tensorError('an optimizer', [tensor], 'it was disposed of');
  if (!isFloating(tensor.dtype)) throw tensorError('an optimizer', [tensor], 'parameters and gradients are floating point');
  if (!tensor.isDense) throw tensorError('an optimizer', [tensor], 'its elements do not lie one behind the other: take contiguous() of it');
  return tensor;
}

/** Tensors by the device that they are on. */
export function byDevice<T extends { readonly device: Device }>(tensors: readonly T[]): Map<Device, T[]> {
  const found = new Map<Device, T[]>();
  for (const tensor of tensors) {
    const others = found.get(tensor.device);
    if (others === undefined) found.set(tensor.device, [tensor]);
    else others.push(tensor);
  }
  return found;
}
