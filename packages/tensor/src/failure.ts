/** Errors of tensors: each names the operation, what it was given and the rule that this breaks, at the line that called it. */
import { makeError, MusterError } from '@muster/base';

/** What an error says of a tensor. */
export interface Described {
  readonly shape: readonly number[];
  readonly dtype: string;
}

/** f32[2, 3] */
export function describe(tensor: Described): string {
  return `${tensor.dtype}[${tensor.shape.join(', ')}]`;
}

/** A TensorError. `rule` is what would be right. */
export function tensorError(operation: string, operands: readonly (Described | string)[], rule: string): MusterError {
  const given = operands.map((operand) => (typeof operand === 'string' ? operand : describe(operand))).join(' and ');
  return makeError('TENSOR', { operation, operands: given, rule });
}

/** For options that no call can have. */
export function invalid(what: string, want: string): MusterError {
  return makeError('INVALID_ARGUMENT', { what, want });
}

/** What the native kernels throw, as users see it. */
export function nativeError(operation: string, error: unknown): Error {
  if (!(error instanceof RangeError)) return error as Error;
  return makeError('TENSOR', { operation, operands: 'this', rule: error.message }, { cause: error });
}
