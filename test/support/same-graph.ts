/** Whether two values are the same graph: equal in everything that can be seen of them, and alike in which parts are shared. */
import { types } from 'node:util';

type Known = Map<object, unknown>;

/** Where two values differ, as in `value.list[2]: 1 instead of 2`; empty when they do not. */
export function difference(actual: unknown, expected: unknown, path = 'value', known: Known = new Map()): string {
  if (typeof expected !== 'object' || expected === null) return Object.is(actual, expected) ? '' : `${path}: ${show(actual)} instead of ${show(expected)}`;
  if (known.has(expected)) return known.get(expected) === actual ? '' : `${path}: not the part that stands elsewhere too`;
  if (typeof actual !== 'object' || actual === null) return `${path}: ${show(actual)} instead of an object`;
  known.set(expected, actual);
  if (Object.getPrototypeOf(actual) !== Object.getPrototypeOf(expected)) return `${path}: of another class`;
  return differenceOfContents(actual, expected, path, known) || differenceOfProperties(actual, expected, path, known);
}

/** What an object holds beside its properties. */
function differenceOfContents(actual: object, expected: object, path: string, known: Known): string {
  const [found, wanted] = [contents(actual), contents(expected)];
  if (found.length !== wanted.length) return `${path}: ${found.length} instead of ${wanted.length} entries`;
  for (const [i, part] of wanted.entries()) {
    const different = difference(found[i], part, `${path}<${i}>`, known);
    if (different) return different;
  }
  return '';
}

function contents(value: object): unknown[] {
  if (value instanceof Map) return [...value].flat();
  if (value instanceof Set) return [...value];
  if (value instanceof Date) return [value.getTime()];
  if (value instanceof RegExp) return [value.source, value.flags];
  if (types.isBoxedPrimitive(value)) return [(value as { valueOf(): unknown }).valueOf()];
  if (ArrayBuffer.isView(value)) return [value.byteLength, hex(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))];
  if (types.isArrayBuffer(value)) return [hex(new Uint8Array(value)), (value as { readonly maxByteLength?: number }).maxByteLength];
  return [];
}

function differenceOfProperties(actual: object, expected: object, path: string, known: Known): string {
  if (ArrayBuffer.isView(expected)) return '';
  const [keys, wanted] = [Reflect.ownKeys(actual), Reflect.ownKeys(expected)];
  if (keys.length !== wanted.length || wanted.some((key, i) => keys[i] !== key)) return `${path}: the properties ${keys.map(String).join()} instead of ${wanted.map(String).join()}`;
  for (const key of wanted) {
    const found = difference(Reflect.get(actual, key), Reflect.get(expected, key), `${path}.${String(key)}`, known);
    if (found) return found;
  }
  return '';
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');

function show(value: unknown): string {
  if (Object.is(value, -0)) return '-0';
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 100)) : String(value);
}
