/** What users write a search space with: the parameters, and the types of the configurations that they make. */
import { makeError } from '@muster/base';

declare const valueType: unique symbol;

/** How a parameter's values are laid out. Bounds are inclusive. */
export type ParameterForm =
  | { readonly kind: 'number'; readonly low: number; readonly high: number; readonly scale: 'linear' | 'log'; readonly step: number | null; readonly isWhole: boolean }
  | { readonly kind: 'normal'; readonly mean: number; readonly deviation: number; readonly scale: 'linear' | 'log' }
  | { readonly kind: 'choice'; readonly options: readonly unknown[]; readonly isOrdered: boolean };

/** One thing that a search may vary, with values of type `T`. Made by {@link uniform}, {@link int}, {@link choice} and the others here. */
export class Parameter<out T> {
  declare readonly [valueType]: T;
  constructor(readonly form: ParameterForm) {}
}

/**
 * A search space: parameters by name. Objects and arrays nest; everything else in it is a constant and stands in every
 * configuration as it is.
 */
export type Space = { readonly [name: string]: unknown };

/** The configurations of a space: every parameter replaced by its value. */
export type InferConfig<S> =
  S extends Parameter<infer T> ? T
    : S extends string | number | boolean | bigint | symbol | null | undefined | ((...args: never) => unknown) ? S
      : S extends object ? { -readonly [K in keyof S]: InferConfig<S[K]> }
        : S;

/** A real number between bounds, each as likely as any other. */
export function uniform(low: number, high: number): Parameter<number> {
  return number({ low, high, scale: 'linear', step: null, isWhole: false });
}

/** A real number above zero whose logarithm is uniform: for what varies over orders of magnitude, as learning rates do. */
export function loguniform(low: number, high: number): Parameter<number> {
  return number({ low, high, scale: 'log', step: null, isWhole: false });
}

/** One of `low`, `low + step`, ... up to `high`, each as likely as any other. */
export function quniform(low: number, high: number, step: number): Parameter<number> {
  return number({ low, high, scale: 'linear', step, isWhole: false });
}

/** One of `low`, `low + step`, ... up to `high`, small ones more likely: uniform on a logarithmic scale. */
export function qloguniform(low: number, high: number, step: number): Parameter<number> {
  return number({ low, high, scale: 'log', step, isWhole: false });
}

/** A whole number between bounds, both included. */
export function int(low: number, high: number): Parameter<number> {
  return number({ low, high, scale: 'linear', step: 1, isWhole: true });
}

/** A whole number above zero, uniform on a logarithmic scale, as sizes of layers are. */
export function logint(low: number, high: number): Parameter<number> {
  return number({ low, high, scale: 'log', step: 1, isWhole: true });
}

/** A real number without bounds, normally distributed before anything is known. */
export function normal(mean: number, deviation: number): Parameter<number> {
  return new Parameter({ kind: 'normal', mean, deviation, scale: 'linear' });
}

/** A real number above zero whose logarithm has this mean and deviation. */
export function lognormal(logMean: number, logDeviation: number): Parameter<number> {
  return new Parameter({ kind: 'normal', mean: logMean, deviation: logDeviation, scale: 'log' });
}

/**
 * One of several options that have no order. An option may be a value or an object with parameters of its own, which
 * exist only where that option is chosen:
 *
 * ```ts
 * choice([{ kernel: 'rbf', gamma: loguniform(1e-4, 1) }, { kernel: 'linear' }])
 * ```
 */
export function choice<const O extends readonly unknown[]>(options: O): Parameter<InferConfig<O[number]>> {
  return new Parameter({ kind: 'choice', options: requireArray('choice()', options), isOrdered: false });
}

/** One of several values in an order that means something, such as sizes: neighbours are taken to behave alike. */
export function ordinal<const O extends readonly unknown[]>(options: O): Parameter<InferConfig<O[number]>> {
  return new Parameter({ kind: 'choice', options: requireArray('ordinal()', options), isOrdered: true });
}

/** Bounds are checked where the parameter's path is known: {@link SearchSpace.of}. */
function number(form: Omit<Extract<ParameterForm, { kind: 'number' }>, 'kind'>): Parameter<number> {
  return new Parameter({ kind: 'number', ...form });
}

function requireArray<O extends readonly unknown[]>(what: string, options: O): O {
  if (!Array.isArray(options)) throw makeError('INVALID_ARGUMENT', { what: `the argument of ${what}`, want: 'an array of options' });
  return options;
}
