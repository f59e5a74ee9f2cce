/**
 * Values that every process has of its own, and that therefore travel by name: `Array.prototype.slice`, `process`, `fetch`.
 * Names are paths from the global object; `@@iterator` is a well-known symbol, `get ` and `set ` name half of an accessor,
 * and `%Name%` an object that no global leads to.
 */
import vm from 'node:vm';

/**
 * What Node adds to the globals of the language. A list, and not a look at the global object: that may have the program's own
 * globals on it already, which workers do not have. A global that is missing here still works, by {@link nameOfLazyGlobal}.
 */
const NODE_GLOBALS = [
  'AbortController', 'AbortSignal', 'Blob', 'BroadcastChannel', 'Buffer', 'ByteLengthQueuingStrategy', 'CloseEvent', 'CompressionStream',
  'CountQueuingStrategy', 'Crypto', 'CryptoKey', 'CustomEvent', 'DOMException', 'DecompressionStream', 'ErrorEvent', 'Event', 'EventSource',
  'EventTarget', 'File', 'FormData', 'Headers', 'MessageChannel', 'MessageEvent', 'MessagePort', 'Navigator', 'Performance', 'PerformanceEntry',
  'PerformanceMark', 'PerformanceMeasure', 'PerformanceObserver', 'PerformanceObserverEntryList', 'PerformanceResourceTiming',
  'QuotaExceededError', 'ReadableByteStreamController', 'ReadableStream', 'ReadableStreamBYOBReader', 'ReadableStreamBYOBRequest',
  'ReadableStreamDefaultController', 'ReadableStreamDefaultReader', 'Request', 'Response', 'Storage', 'SubtleCrypto', 'TextDecoder',
  'TextDecoderStream', 'TextEncoder', 'TextEncoderStream', 'TransformStream', 'TransformStreamDefaultController', 'URL', 'URLPattern',
  'URLSearchParams', 'WebAssembly', 'WebSocket', 'WritableStream', 'WritableStreamDefaultController', 'WritableStreamDefaultWriter', 'atob',
  'btoa', 'clearImmediate', 'clearInterval', 'clearTimeout', 'console', 'crypto', 'fetch', 'gc', 'global', 'localStorage', 'navigator',
  'performance', 'process', 'queueMicrotask', 'sessionStorage', 'setImmediate', 'setInterval', 'setTimeout', 'structuredClone',
];

let known: ReadonlySet<string> | undefined;

function standardGlobals(): ReadonlySet<string> {
  return (known ??= new Set([...(vm.runInNewContext('Object.getOwnPropertyNames(globalThis)') as string[]), ...NODE_GLOBALS]));
}

/** Whether a worker has this global too, as opposed to one that the program defined. */
export function isStandardGlobal(name: string): boolean {
  return standardGlobals().has(name);
}

const HIDDEN: Readonly<Record<string, () => unknown>> = {
  '%TypedArray%': () => Object.getPrototypeOf(Uint8Array),
  '%GeneratorFunction%': () => Object.getPrototypeOf(function* () {}).constructor,
  '%AsyncFunction%': () => Object.getPrototypeOf(async () => {}).constructor,
  '%AsyncGeneratorFunction%': () => Object.getPrototypeOf(async function* () {}).constructor,
  '%IteratorPrototype%': () => Object.getPrototypeOf(Object.getPrototypeOf([].values())),
  '%AsyncIteratorPrototype%': () => Object.getPrototypeOf(Object.getPrototypeOf(Object.getPrototypeOf((async function* () {})()))),
};

let names: ReadonlyMap<unknown, string> | undefined;

/** The name under which every process knows this object or function. */
export function intrinsicName(value: object): string | undefined {
  names ??= nameEverything();
  return names.get(value);
}

/** The name among the candidates of a global that Node makes only when somebody asks for it; {@link intrinsicName} does not ask. */
export function nameOfLazyGlobal(value: object, candidates: readonly string[]): string | undefined {
  return candidates.find((name) => isStandardGlobal(name) && Reflect.get(globalThis, name) === value);
}

/** The value that this process has under an intrinsic's name; undefined when there is none. */
export function intrinsicNamed(name: string): unknown {
  if (name.startsWith('@@')) return (Symbol as unknown as Record<string, unknown>)[name.slice(2)];
  const [, half, path = ''] = /^(get |set )?(.*)$/s.exec(name) ?? [];
  const keys = path.split('.').map((part) => (part.startsWith('@@') ? (Symbol as unknown as Record<string, symbol>)[part.slice(2)] ?? part : part));
  let value: unknown = globalThis;
  for (const [index, key] of keys.entries()) {
    if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return undefined;
    const isLast = index === keys.length - 1;
    if (index === 0 && typeof key === 'string' && key.startsWith('%')) value = HIDDEN[key]?.();
    else if (isLast && half) value = Object.getOwnPropertyDescriptor(value, key)?.[half === 'get ' ? 'get' : 'set'];
    else if (path !== 'globalThis') value = Reflect.get(value, key);
  }
  return value;
}

function nameEverything(): Map<unknown, string> {
  const found = new Map<unknown, string>([[globalThis, 'globalThis']]);
  for (const name of standardGlobals()) {
    const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
    if (!descriptor || name === 'globalThis' || name === 'global') continue;
    const isLazy = descriptor.get !== undefined && name !== 'process' && name !== 'Buffer';
    if (!isLazy) nameMembers(Reflect.get(globalThis, name), name, /^[A-Z]/.test(name) ? 2 : 1, found);
  }
  for (const [name, find] of Object.entries(HIDDEN)) nameMembers(find(), name, 2, found);
  nameMembers(process.env, 'process.env', 0, found);
  return found;
}

/** Objects below the lower-case globals (`process.argv`, say) are this process's own state, and not named; functions are. */
function nameMembers(value: unknown, name: string, depth: number, found: Map<unknown, string>): void {
  const isObject = typeof value === 'object' && value !== null;
  if ((!isObject && typeof value !== 'function') || found.has(value)) return;
  found.set(value, name);
  if (depth === 0) return;
  for (const key of Reflect.ownKeys(value)) {
    const part = typeof key === 'string' ? key : wellKnownSymbolName(key);
    const descriptor = Object.getOwnPropertyDescriptor(value, key);
    if (part === undefined || !descriptor) continue;
    const isState = /^[a-z]/.test(name) && typeof descriptor.value !== 'function';
    if (!isState) nameMembers(descriptor.value, `${name}.${part}`, depth - 1, found);
    if (descriptor.get && !found.has(descriptor.get)) found.set(descriptor.get, `get ${name}.${part}`);
    if (descriptor.set && !found.has(descriptor.set)) found.set(descriptor.set, `set ${name}.${part}`);
  }
}

/** `@@iterator` for `Symbol.iterator`; undefined for a symbol that is not the language's. */
export function wellKnownSymbolName(symbol: symbol): string | undefined {
  const name = symbol.description?.startsWith('Symbol.') ? symbol.description.slice('Symbol.'.length) : undefined;
  return name !== undefined && (Symbol as unknown as Record<string, unknown>)[name] === symbol ? `@@${name}` : undefined;
}
