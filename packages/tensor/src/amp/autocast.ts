/** Mixed precision by PyTorch's rules: products in 16 bits, losses in f32, the rest in what it is given. */
import { isGradEnabled } from '../autograd/graph.js';
import type { Dtype } from '../dtype.js';
import { invalid, synchronous } from '../failure.js';
import { to } from '../operations/arithmetic.js';
import type { Tensor } from '../tensor.js';
import { setAutocastState } from './policy.js';

export interface AutocastOptions {
  /** bf16 unless told otherwise, as on PyTorch's CPU. */
  readonly dtype?: 'bf16' | 'f16';
  /** False: within an outer autocast, none. */
  readonly enabled?: boolean;
}

/**
 * Runs `body` with operations computing in the dtypes that suit them. Parameters are cast once for the whole of it, however often they are used.
 * @example const loss = autocast(() => crossEntropy(model.forward(x), y));   // the backward pass goes outside
 */
export function autocast<T>(body: () => T, { dtype = 'bf16', enabled = true }: AutocastOptions = {}): T {
  if (dtype !== 'bf16' && dtype !== 'f16') throw invalid(`an autocast to ${String(dtype)}`, "'bf16' or 'f16'");
  const casts = new Map<Tensor, Tensor>();
  const cast = (tensor: Tensor, wanted: Dtype): Tensor => {
    const isParameter = tensor.isLeaf && tensor.requiresGrad && tensor.dtype === 'f32' && isGradEnabled();
    if (!isParameter) return to(tensor, wanted);
    const known = casts.get(tensor);
    if (known !== undefined && !known.isDisposed) return known;
    const made = to(tensor, wanted);
    casts.set(tensor, made);
    return made;
  };
  const before = setAutocastState(enabled ? { dtype, cast } : null);
  try {
    return synchronous('autocast', body());
  } finally {
    setAutocastState(before);
  }
}
