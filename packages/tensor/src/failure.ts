/** Errors of tensors: each names the operation, what it was given and the rule that this breaks, at the line that called it. */
import { fileURLToPath } from 'node:url';
import { makeError, MusterError, requireNames } from '@muster/base';

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
  return atCallersLine(makeError('TENSOR', { operation, operands: given, rule }));
}

/** For options that no call can have. */
export function invalid(what: string, want: string): MusterError {
  return atCallersLine(makeError('INVALID_ARGUMENT', { what, want }));
}

/** {@link requireNames}, at the line that gave the options. @param given all of them, or what is left when those that are known were taken */
export function checkNames(of: string, given: object, names: readonly string[]): void {
  try {
    requireNames(of, given, names);
  } catch (error) {
    throw atCallersLine(error as Error);
  }
}

/** What a body returns, which must have done all of its work: the rest of an asynchronous one runs when what it was run within is over. @throws MusterError INVALID_ARGUMENT */
export function synchronous<T>(name: string, result: T): T {
  if (result instanceof Promise) throw invalid(`${name}() of an asynchronous function`, 'of one that returns when it is done: await around it, not within');
  return result;
}

/** What the native kernels throw, as users see it. */
export function nativeError(operation: string, operands: readonly Described[], error: unknown): Error {
  if (!(error instanceof RangeError)) return error as Error;
  const given = operands.length === 0 ? 'this' : operands.map(describe).join(' and ');
  return atCallersLine(makeError('TENSOR', { operation, operands: given, rule: error.message }, { cause: error }));
}

/** What a kernel refused, as the operation that called it was given it: the kernel's operands may be copies of these in another dtype or shape. Others' errors stay. */
export function refusedBy(operation: string, operands: readonly Described[], error: unknown): unknown {
  if (!(error instanceof MusterError) || error.code !== 'TENSOR' || !(error.cause instanceof RangeError)) return error;
  return atCallersLine(makeError('TENSOR', { ...error.details, operation, operands: operands.map(describe).join(' and ') }));
}

/** Where this package lies. Its frames say nothing to its callers; those of its tests are callers'. */
const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const OWN_CALLERS = /\.test\.|test-support/;
/** Enough to leave this package from anywhere within it: models of models are a few frames deep for each. */
const FRAMES_MAX = 100;

/** Has the error's stack begin where this package was called: what is wrong is there. */
export function atCallersLine<E extends Error>(error: E): E {
  const shown = Error.stackTraceLimit;
  Error.stackTraceLimit = FRAMES_MAX;
  Error.captureStackTrace(error);
  Error.stackTraceLimit = shown;
  const [message, ...frames] = error.stack!.split('\n    at ') as [string, ...string[]];
  const isInside = (frame: string): boolean => (frame.includes(PACKAGE) && !OWN_CALLERS.test(frame)) || frame.endsWith('(<anonymous>)');  // or V8's, as Array.map
  const first = frames.findIndex((frame) => !isInside(frame));
  error.stack = [message, ...frames.slice(Math.max(first, 0), Math.max(first, 0) + shown)].join('\n    at ');
  return error;
}
