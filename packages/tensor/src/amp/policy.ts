/**
 * What autocast makes of an operation's inputs: PyTorch's rules for the CPU. Which operation goes by which rule is said where it is defined.
 * Source: PyTorch 2.13, torch/csrc autocast_mode for CPU.
 */
import type { Dtype } from '../dtype.js';
import type { Tensor } from '../tensor.js';

/** 'lower': in autocast's dtype. 'f32': in f32. 'widest': in the widest of its inputs' dtypes. */
export type AutocastRule = 'lower' | 'f32' | 'widest';

/** An autocast that is in force. */
export interface AutocastState {
  readonly dtype: 'f16' | 'bf16';
  /** Casts, so that their gradients flow back. */
  cast(tensor: Tensor, dtype: Dtype): Tensor;
}

let state: AutocastState | null = null;

/** What is in force, if anything. */
export function autocastState(): AutocastState | null {
  return state;
}

/** Puts it into force, or null. @returns what was before */
export function setAutocastState(next: AutocastState | null): AutocastState | null {
  const before = state;
  state = next;
  return before;
}

const isCastable = ({ dtype }: Tensor): boolean => dtype === 'f32' || dtype === 'f16' || dtype === 'bf16';

/** The inputs as the operation takes them. */
export function autocastInputs(rule: AutocastRule, inputs: readonly Tensor[]): readonly Tensor[] {
  if (state === null) return inputs;
  const { dtype: lower } = state;
  if (rule === 'widest' && inputs.every(({ dtype }) => dtype === inputs[0]!.dtype)) return inputs;
  const wanted: Dtype = rule === 'lower' ? lower : rule === 'f32' || inputs.some(({ dtype }) => dtype === 'f32') ? 'f32' : lower;
  return inputs.map((input) => (isCastable(input) && input.dtype !== wanted ? state!.cast(input, wanted) : input));
}
