/** Lays a space out as dimensions, and refuses what cannot be searched, with the path of the parameter. */
import { makeError } from '@muster/base';
import { isDeepStrictEqual } from 'node:util';
import type { Condition, Dimension } from './dimensions.js';
import { choice, int, logint, lognormal, loguniform, normal, ordinal, Parameter, qloguniform, quniform, uniform, type ParameterForm } from './parameters.js';

/** A space with its parameters replaced by the indices of their dimensions. */
export type Layout =
  | { readonly kind: 'constant'; readonly value: unknown }
  | { readonly kind: 'fields'; readonly isArray: boolean; readonly fields: readonly (readonly [key: string, layout: Layout])[] }
  | { readonly kind: 'number'; readonly dimension: number }
  /** Of a choice with order and of one without: the options, by index. */
  | { readonly kind: 'choice'; readonly dimension: number; readonly isOrdered: boolean; readonly options: readonly Layout[] };

/** What makes parameters: no constants, as other functions are. */
const MAKERS: readonly unknown[] = [choice, int, logint, lognormal, loguniform, normal, ordinal, qloguniform, quniform, uniform];

/** Longer labels of options are cut. */
const LABEL_LENGTH_MAX = 60;

/** The layout of a space, and its dimensions: each after those that it depends on. */
export function layOut(space: unknown): { readonly layout: Layout; readonly dimensions: readonly Dimension[] } {
  const dimensions: Dimension[] = [];
  const visit = (node: unknown, path: string, condition: Condition | null): Layout => {
    if (node instanceof Parameter) return node.form.kind === 'choice' ? visitChoice(node.form, path, condition) : visitNumber(node.form, path, condition);
    if (MAKERS.includes(node)) refuse(path, `what ${(node as Function).name}(...) makes, and not the function itself`);
    if (!hasFields(node)) return { kind: 'constant', value: node };
    const fields = Object.entries(node).map(([key, child]) => [key, visit(child, path === '' ? key : `${path}.${key}`, condition)] as const);
    return fields.every(([, child]) => child.kind === 'constant') ? { kind: 'constant', value: node } : { kind: 'fields', isArray: Array.isArray(node), fields };
  };
  const visitNumber = (form: Exclude<ParameterForm, { kind: 'choice' }>, path: string, condition: Condition | null): Layout => {
    checkNumber(form, path);
    dimensions.push(form.kind === 'normal'
      ? { kind: 'numeric', path, condition, scale: form.scale === 'log' ? 'lognormal' : 'normal', low: form.mean, high: form.deviation, step: null, options: null }
      : { kind: 'numeric', path, condition, scale: form.scale, low: form.low, high: form.high, step: form.step, options: null });
    return { kind: 'number', dimension: dimensions.length - 1 };
  };
  const visitChoice = ({ options, isOrdered }: Extract<ParameterForm, { kind: 'choice' }>, path: string, condition: Condition | null): Layout => {
    checkOptions(options, path);
    const dimension = dimensions.length;
    const labels = options.map(labelOf);
    dimensions.push(isOrdered
      ? { kind: 'numeric', path, condition, scale: 'linear', low: 0, high: options.length - 1, step: 1, options: labels }
      : { kind: 'categorical', path, condition, options: labels });
    const layouts = options.map((option, index) => visit(option, `${path}[${index}]`, isOrdered ? condition : { dimension, option: index }));
    if (isOrdered && layouts.some((layout) => layout.kind !== 'constant')) refuse(path, 'a list of plain values: only the options of choice() may hold parameters');
    return { kind: 'choice', dimension, isOrdered, options: layouts };
  };
  if (!hasFields(space)) refuse('', 'an object of parameters');
  const layout = visit(space, '', null);
  if (dimensions.length === 0) refuse('', 'an object with at least one parameter, such as { lr: loguniform(1e-5, 1e-1) }');
  return { layout, dimensions };
}

/** Fails with the path of what is wrong in a space. */
export function refuse(path: string, want: string): never {
  throw makeError('INVALID_ARGUMENT', { what: path === '' ? 'the search space' : `the parameter '${path}' of the search space`, want });
}

/** Whether a node of a space may hold parameters: plain objects and arrays. Instances of classes are constants. */
function hasFields(node: unknown): node is object {
  if (typeof node !== 'object' || node === null) return false;
  const prototype: unknown = Object.getPrototypeOf(node);
  return Array.isArray(node) || prototype === Object.prototype || prototype === null;
}

function checkNumber(form: Exclude<ParameterForm, { kind: 'choice' }>, path: string): void {
  if (form.kind === 'normal') {
    if (!Number.isFinite(form.mean)) refuse(path, `given a finite mean, not ${form.mean}`);
    if (!Number.isFinite(form.deviation) || form.deviation <= 0) refuse(path, `given a deviation above zero, not ${form.deviation}`);
    return;
  }
  const { low, high, scale, step } = form;
  if (!Number.isFinite(low) || !Number.isFinite(high)) refuse(path, `given finite bounds, not ${low} and ${high}`);
  if (low > high) refuse(path, `given its lower bound first, not ${low} before ${high}`);
  if (scale === 'log' && low <= 0) refuse(path, `given bounds above zero, because it is logarithmic, not ${low}`);
  if (step === null && low === high) refuse(path, `given two different bounds, or written as the constant ${low}`);
  if (step === null) return;
  if (!Number.isFinite(step) || step <= 0) refuse(path, `given a step above zero, not ${step}`);
  if (form.isWhole && !(Number.isSafeInteger(low) && Number.isSafeInteger(high))) refuse(path, `given whole bounds, not ${low} and ${high}`);
}

function checkOptions(options: readonly unknown[], path: string): void {
  if (options.length === 0) refuse(path, 'given at least one option');
  options.forEach((option, index) => {
    const earlier = options.findIndex((other) => isDeepStrictEqual(option, other));
    if (earlier < index) refuse(path, `given different options, but options ${earlier} and ${index} are both ${labelOf(option)}`);
  });
}

/** An option in a few words. */
export function labelOf(option: unknown): string {
  if (typeof option === 'string') return cut(option);
  if (typeof option === 'function') return cut(option.name || 'function');
  if (typeof option !== 'object' || option === null) return String(option);
  return cut(JSON.stringify(option, (_, value: unknown) => (value instanceof Parameter ? '*' : typeof value === 'bigint' ? String(value) : value)) ?? String(option));
}

function cut(label: string): string {
  return label.length > LABEL_LENGTH_MAX ? `${label.slice(0, LABEL_LENGTH_MAX - 3)}...` : label;
}
