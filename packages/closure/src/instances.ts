/**
 * What a prototype says of its instances: whether they are plain state that can be copied, are made again by their constructor,
 * or belong to this process (sockets, timers, private fields) and cannot travel.
 */
import { isDeepStrictEqual, types } from 'node:util';
import { analyzeFunction } from './analysis.js';
import { exportedValue, lookForModules } from './exported.js';
import { inspectFunction, scriptOf } from './inspector.js';
import { intrinsicName, intrinsicNamed, nameOfLazyGlobal } from './intrinsics.js';
import { provenanceOf } from './origins.js';

export interface InstanceTraits {
  /** Nothing on the chain is built in but Object: what instances are is in their properties. */
  readonly isPlain?: boolean;
  /** Why instances cannot travel, without the words `cannot be captured`. */
  readonly refusal?: string;
  /** The built-in class whose constructor makes instances again. */
  readonly rebuiltBy?: string;
}

const traits = new WeakMap<object, InstanceTraits>();

/** The traits of the objects that have this prototype. */
export function traitsOf(prototype: object): InstanceTraits {
  let found = traits.get(prototype);
  if (!found) traits.set(prototype, (found = readTraits(prototype)));
  return found;
}

/** Built-in prototypes whose instances capture knows how to copy, or which bring no hidden state. */
const COPYABLE: ReadonlySet<string> = new Set([
  'Object', 'Function', 'Array', 'Map', 'Set', 'Date', 'RegExp', 'Boolean', 'Number', 'String', 'Symbol', 'BigInt', 'Error', 'ArrayBuffer', 'DataView',
  'Buffer', 'Iterator', 'AsyncIterator', '%TypedArray%', '%GeneratorFunction%', '%AsyncFunction%', '%AsyncGeneratorFunction%',
].map((name) => `${name}.prototype`).concat('%IteratorPrototype%', '%AsyncIteratorPrototype%'));

function readTraits(start: object): InstanceTraits {
  lookForModules();
  let isPlain = true;
  for (let prototype: object | null = start; prototype !== null; prototype = Object.getPrototypeOf(prototype) as object | null) {
    const name = intrinsicName(prototype);
    if (name !== undefined) {
      const className = name.replace(/\.prototype$/, '');
      if (Object.hasOwn(REBUILT, className)) return { rebuiltBy: className };
      if (COPYABLE.has(name)) return { isPlain: isPlain && name === 'Object.prototype' };
      if (!isErrorOrView(prototype)) return { refusal: `an instance of ${className}` };
      isPlain = false;
      continue;
    }
    const constructor = constructorOf(prototype);
    if (constructor) {
      const ownTraits = readClassTraits(constructor);
      if (ownTraits) return ownTraits;
    }
  }
  return {};
}

function readClassTraits(constructor: Function): InstanceTraits | undefined {
  const isNodes = isInternal(constructor);
  const { name } = constructor;
  if (isNodes && Object.hasOwn(REBUILT, name) && nameOfLazyGlobal(constructor, [name])) return { rebuiltBy: name };
  if (isNodes && !isEventEmitter(constructor) && !isError(constructor.prototype)) return { refusal: `an instance of ${name}, which belongs to this process,` };
  const privates = privatesOf(constructor);
  return privates.length ? { refusal: `an instance of ${name}, which has private state (${privates.join(', ')}),` } : undefined;
}

/** The function whose `prototype` this object is. */
export function constructorOf(prototype: object): Function | undefined {
  const constructor: unknown = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
  return typeof constructor === 'function' && constructor.prototype === prototype ? constructor : undefined;
}

/** Errors of Node's own have prototypes that nobody can name; they travel as instances of the nearest class that has a name. */
export function nameablePrototype(error: Error): object | null {
  let prototype = Object.getPrototypeOf(error) as object | null;
  while (prototype !== null && isNameless(prototype)) prototype = Object.getPrototypeOf(prototype) as object | null;
  return prototype;
}

function isNameless(prototype: object): boolean {
  if (intrinsicName(prototype) !== undefined) return false;
  const constructor = constructorOf(prototype);
  if (constructor) return isInternal(constructor) && !exportedValue(constructor) && nameOfLazyGlobal(constructor, [constructor.name]) === undefined;
  return Object.values(Object.getOwnPropertyDescriptors(prototype)).some(({ value, get }) => {
    const fn: unknown = get ?? value;
    return typeof fn === 'function' && isInternal(fn);
  });
}

const internal = new WeakMap<Function, boolean>();

/** Whether a function is Node's own, as opposed to the program's or a package's. */
function isInternal(fn: Function): boolean {
  let answer = internal.get(fn);
  if (answer === undefined) {
    const { location, bound } = provenanceOf(fn) ? { bound: true } : inspectFunction(fn);
    answer = location ? scriptOf(location.scriptId).url.startsWith('node:') : !bound;
    internal.set(fn, answer);
  }
  return answer;
}

function isErrorOrView(prototype: object): boolean {
  return isError(prototype) || prototype instanceof (Object.getPrototypeOf(Uint8Array) as Function & (new () => object));
}

function isError(prototype: unknown): boolean {
  return prototype instanceof Error;
}

function isEventEmitter(constructor: Function): boolean {
  const { module, path } = exportedValue(constructor) ?? {};
  return module?.kind === 'builtin' && module.name === 'events' && (path?.length === 0 || path?.[0] === 'EventEmitter');
}

function privatesOf(constructor: Function): readonly string[] {
  const source = Function.prototype.toString.call(constructor);
  return source.startsWith('class') && source.includes('#') ? analyzeFunction(source).instancePrivates : [];
}

/** The arguments from which a built-in class's constructor makes an equal instance. */
type ConstructorArguments = (value: object, get: (property: string) => unknown) => readonly unknown[];

const fromResolvedOptions: ConstructorArguments = (value) => {
  const options = (value as Intl.NumberFormat).resolvedOptions();
  return [options.locale, { ...options }];
};

const REBUILT: Readonly<Record<string, ConstructorArguments>> = {
  URL: (_, get) => [get('href')],
  URLSearchParams: (value) => [URLSearchParams.prototype.toString.call(value)],
  TextEncoder: () => [],
  TextDecoder: (_, get) => [get('encoding'), { fatal: get('fatal'), ignoreBOM: get('ignoreBOM') }],
  DOMException: (_, get) => [get('message'), get('name')],
  'Intl.Locale': (value) => [(value as Intl.Locale).toString()],
  'Intl.Collator': fromResolvedOptions,
  'Intl.DateTimeFormat': fromResolvedOptions,
  'Intl.DisplayNames': fromResolvedOptions,
  'Intl.ListFormat': fromResolvedOptions,
  'Intl.NumberFormat': fromResolvedOptions,
  'Intl.PluralRules': fromResolvedOptions,
  'Intl.RelativeTimeFormat': fromResolvedOptions,
  'Intl.Segmenter': fromResolvedOptions,
};

/**
 * The arguments from which `className` makes an equal instance. Undefined for an object that only has its prototype,
 * or whose options do not make an equal one.
 */
export function constructorArguments(value: object, className: string): readonly unknown[] | undefined {
  const Class = intrinsicNamed(className) as new (...parameters: readonly unknown[]) => object;
  const read = REBUILT[className];
  try {
    const parameters = read?.(value, (property) => Reflect.get(Class.prototype as object, property, value));
    if (!parameters || !className.startsWith('Intl.')) return parameters;
    const options = (instance: object): unknown => ('resolvedOptions' in instance ? (instance as Intl.NumberFormat).resolvedOptions() : String(instance));
    return isDeepStrictEqual(options(new Class(...parameters)), options(value)) ? parameters : undefined;
  } catch {
    return undefined; // the getters of a class refuse what is no instance of it
  }
}

/** What an object is if no copy can stand for it, whatever its prototype says. */
export function hiddenState(value: object, isPlain: boolean): string | undefined {
  if (types.isArgumentsObject(value)) return "an 'arguments' object";
  if (isPlain) return undefined;
  if (types.isPromise(value)) return 'a Promise';
  if (types.isWeakMap(value)) return 'a WeakMap';
  if (types.isWeakSet(value)) return 'a WeakSet';
  if (types.isGeneratorObject(value)) return 'a running generator';
  if (types.isMapIterator(value) || types.isSetIterator(value)) return 'an iterator';
  if (types.isModuleNamespaceObject(value)) return 'a module namespace that no static import declares';
  if (types.isExternal(value)) return 'a native handle';
  if (types.isSharedArrayBuffer(value)) return 'a SharedArrayBuffer, which processes do not share,';
  return undefined;
}
