/**
 * Captures a value: walks the graph behind it and writes a node for every object, function and symbol that it meets, once.
 * The walk is breadth-first over a queue, so that neither long lists nor deep trees meet the limits of the stack, and a refusal names the
 * shortest path to its culprit.
 */
import { types } from 'node:util';
import { MusterError, makeError } from '@muster/base';
import { BufferEncoder, isDetached, typeOf } from './buffers.js';
import { exportedValue } from './exported.js';
import { FunctionEncoder, type GraphWriter, type Place } from './functions.js';
import { urlOfImportMeta } from './import-meta.js';
import { releaseInspector } from './inspector.js';
import { constructorArguments, constructorOf, hiddenState, nameablePrototype, traitsOf } from './instances.js';
import { intrinsicName, intrinsicNamed, nameOfLazyGlobal, wellKnownSymbolName } from './intrinsics.js';
import {
  ACCESSOR, CONFIGURABLE, ENUMERABLE, encodeGraph, NODE_LIMIT, PLAIN, WRITABLE,
  type ModuleReference, type Node, type NodeSlot, type ObjectState, type Primitive, type PropertyNode, type Slot,
} from './nodes.js';
import { originOf } from './origins.js';

export interface CaptureOptions {
  /**
   * Asked about every object and function before capture looks at it. What it returns stands for the value, and comes to
   * {@link ReviveOptions.restore}: a form, and parts that travel as values of the same graph; undefined lets capture go on.
   */
  readonly replace?: (value: object) => { readonly form: string; readonly parts: readonly unknown[] } | undefined;
  /**
   * Called for every ArrayBuffer of at least 1 KiB, behind a view or not. A number keeps its bytes out of the message, and comes to
   * {@link ReviveOptions.external}; undefined writes them into it. Of a buffer that views cover in part, only that part
   * is given, as a copy.
   */
  readonly externalize?: (buffer: ArrayBufferLike) => number | undefined;
}

/**
 * Captures any value as bytes that the caller owns: functions with what they close over, classes, instances, cycles. The value
 * is copied as it is now; what modules export is referred to.
 *
 * @throws CaptureError where a part of the value cannot travel; its `path` leads there, as in `f -> config -> socket`
 *
 * @example
 * const limit = 10;
 * const bytes = capture((x: number) => Math.min(x, limit));
 */
export function capture(value: unknown, options: CaptureOptions = {}): Uint8Array {
  try {
    return new Encoder(options).encode(value);
  } catch (error) {
    if (error instanceof MusterError) Error.captureStackTrace(error, capture); // the path says where in the value; the stack has room for the caller
    throw error;
  } finally {
    releaseInspector();
  }
}

/** A value on its way to being written, and how the walk came to it. */
interface Visit {
  readonly value: object;
  readonly node: number;
  readonly from?: Visit;
  readonly label?: PropertyKey;
}

class Encoder implements GraphWriter {
  readonly #options: CaptureOptions;
  readonly #nodes: Node[] = [];
  readonly #slots = new Map<unknown, NodeSlot>();
  readonly #modules: ModuleReference[] = [];
  readonly #moduleIndex = new Map<string, number>();
  readonly #queue: Visit[] = [];
  readonly #functions = new FunctionEncoder(this);
  readonly #buffers: BufferEncoder;
  #visit: Visit | undefined;

  constructor(options: CaptureOptions) {
    this.#options = options;
    this.#buffers = new BufferEncoder(options.externalize);
  }

  encode(value: unknown): Uint8Array {
    const root = this.slot(value, '');
    for (let next = 0; next < this.#queue.length; next++) {
      this.#visit = this.#queue[next] as Visit;
      const node = this.#write(this.#visit);
      if (node) this.#nodes[this.#visit.node] = node;
    }
    for (const [index, node] of this.#functions.finish()) this.#nodes[index] = node;
    for (const [index, node] of this.#buffers.finish()) this.#nodes[index] = node;
    try {
      return encodeGraph({ root, nodes: this.#nodes }, this.#modules);
    } catch (error) {
      if (error instanceof MusterError) throw error;
      throw makeError('CAPTURE', { detail: `the value cannot be serialised: ${String(error)}`, path: nameOfRoot(value) }, { cause: error });
    }
  }

  // --- what the encoder of functions asks for

  slot(value: unknown, label: PropertyKey): Slot {
    switch (typeof value) {
      case 'symbol':
        return this.#slots.get(value) ?? this.#remember(value, this.add(symbolNode(value)));
      case 'object':
      case 'function':
        break;
      default:
        return value as Exclude<Slot, NodeSlot>;
    }
    if (value === null) return null;
    const known = this.#slots.get(value);
    if (known) return known;
    const claimed = this.#buffers.claim(value);
    if (claimed) return this.#remember(value, claimed);
    const slot = this.#remember(value, this.#reserve());
    this.#queue.push({ value, node: slot[0], label, ...(this.#visit && { from: this.#visit }) });
    return slot;
  }

  add(node: Node): NodeSlot {
    const slot = this.#reserve();
    this.#nodes[slot[0]] = node;
    return slot;
  }

  moduleNode(module: ModuleReference, path: readonly string[]): Node {
    const key = JSON.stringify(module);
    let index = this.#moduleIndex.get(key);
    if (index === undefined) this.#moduleIndex.set(key, (index = this.#modules.push(module) - 1));
    return { kind: 'module', module: index, path };
  }

  state(value: object, expectedPrototype: object | null, skip?: (key: PropertyKey) => boolean): ObjectState {
    const { integrity } = integrityOf(value);
    // what freezing or sealing took from the attributes is given back, for the revived object is frozen as a whole
    const given = integrity === 'frozen' ? CONFIGURABLE | WRITABLE : integrity === 'sealed' ? CONFIGURABLE : 0;
    const fields: Record<string, Slot> = {};
    let hasFields = false;
    let properties: PropertyNode[] | undefined;
    for (const key of Reflect.ownKeys(value)) {
      if (skip?.(key)) continue;
      const descriptor = Object.getOwnPropertyDescriptor(value, key) ?? {};
      const attributes = attributesOf(descriptor) | given;
      if (attributes === PLAIN && !properties && typeof key === 'string' && key !== '__proto__') {
        fields[key] = this.slot(descriptor.value, key);
        hasFields = true;
      } else {
        properties ??= Object.entries(fields).map(([name, slot]) => ({ key: name, attributes: PLAIN, value: slot }));
        properties.push(this.#property(key, attributes, descriptor));
      }
    }
    return { ...this.#bearing(value, expectedPrototype), ...(properties ? { properties } : hasFields && { fields }) };
  }

  place(): Place {
    return this.#visit;
  }

  fail(detail: string, { label, place = this.#visit }: { readonly label?: PropertyKey; readonly place?: Place } = {}): never {
    const path = label === undefined ? [] : [nameOfLabel(label)];
    for (let visit = place as Visit | undefined; visit; visit = visit.from) path.unshift(visit.from ? nameOfLabel(visit.label ?? '') : nameOfRoot(visit.value));
    throw makeError('CAPTURE', { detail, path: path.join(' -> ') });
  }

  // --- nodes of single values

  #reserve(): NodeSlot {
    if (this.#nodes.length >= NODE_LIMIT) this.fail(`the value has more than ${NODE_LIMIT} objects, which is the limit`);
    return [this.#nodes.push(UNWRITTEN) - 1];
  }

  #remember(value: unknown, slot: NodeSlot): NodeSlot {
    this.#slots.set(value, slot);
    return slot;
  }

  /** What an object is beside its properties. */
  #bearing(value: object, expectedPrototype: object | null): Pick<ObjectState, 'prototype' | 'integrity'> {
    const prototype = Object.getPrototypeOf(value) as object | null;
    return { ...(prototype !== expectedPrototype && { prototype: this.slot(prototype, '[[Prototype]]') }), ...integrityOf(value) };
  }

  #property(key: PropertyKey, attributes: number, { value, get, set }: PropertyDescriptor): PropertyNode {
    const name = typeof key === 'symbol' ? this.slot(key, key) : String(key);
    if ((attributes & ACCESSOR) === 0) return { key: name, attributes, value: this.slot(value, key) };
    return { key: name, attributes: attributes & ~WRITABLE, value: this.slot(get, `get ${String(key)}`), setter: this.slot(set, `set ${String(key)}`) };
  }

  #write({ value, node }: Visit): Node | undefined {
    const replacement = this.#options.replace?.(value);
    if (replacement) {
      const { form, parts } = replacement;
      return { kind: 'replaced', form, parts: parts.map((part, index) => this.slot(part, `part ${index}`)) };
    }
    const name = intrinsicName(value);
    if (name !== undefined) return { kind: 'intrinsic', name };
    if (types.isProxy(value)) this.fail('a Proxy cannot be captured');
    if (typeof value === 'function') return this.#functions.encode(value, node);
    const exported = exportedValue(value);
    if (exported) return this.moduleNode(exported.module, exported.path);
    const url = urlOfImportMeta(value);
    if (url !== undefined) return { kind: 'import-meta', url };
    const constructor = constructorOf(value);
    if (constructor) {
      this.#functions.noteConstructor(constructor);
      return { kind: 'prototype', of: this.slot(constructor, 'constructor') };
    }
    return this.#writeObject(value, node);
  }

  #writeObject(value: object, node: number): Node | undefined {
    const prototype = Object.getPrototypeOf(value) as object | null;
    if (Array.isArray(value) && prototype === Array.prototype) return this.#writeArray(value);
    const { isPlain, refusal, rebuiltBy } = prototype === null ? {} : traitsOf(prototype);
    const hidden = hiddenState(value, isPlain === true) ?? refusal;
    if (hidden) return this.#refuse(value, hidden);
    if (isPlain) return { kind: 'object', ...this.state(value, Object.prototype) };
    if (rebuiltBy) return this.#writeRebuilt(value, rebuiltBy);
    if (Array.isArray(value)) return this.#writeArray(value);
    if (types.isArrayBuffer(value)) return this.#writeBuffer(value, node);
    if (ArrayBuffer.isView(value)) return this.#writeView(value, node);
    if (types.isMap(value)) return this.#writeMap(value);
    if (types.isSet(value)) return this.#writeSet(value);
    if (types.isDate(value)) return { kind: 'date', timeMs: Date.prototype.getTime.call(value), ...this.state(value, Date.prototype) };
    if (types.isRegExp(value)) return this.#writeRegExp(value);
    if (types.isNativeError(value)) return this.#writeError(value);
    if (types.isBoxedPrimitive(value)) return this.#writeBoxed(value);
    return { kind: 'object', ...this.state(value, Object.prototype) };
  }

  #refuse(value: object, what: string): Node {
    const name = nameOfLazyGlobal(value, ['crypto', 'performance', 'navigator']);
    return name === undefined ? this.fail(`${what} cannot be captured; create it inside of the function`) : { kind: 'intrinsic', name };
  }

  #writeRebuilt(value: object, className: string): Node {
    const parameters = constructorArguments(value, className);
    if (!parameters) return this.fail(`an instance of ${className} that its constructor cannot make again cannot be captured; create it inside of the function`);
    const Class = intrinsicNamed(className) as new () => object;
    const stack = className === 'DOMException' ? (value as DOMException).stack : undefined;
    return {
      kind: 'rebuilt', class: this.slot(Class, 'constructor'), arguments: parameters, ...(stack !== undefined && { stack }),
      ...this.state(value, Class.prototype as object, (key) => typeof key === 'symbol' || key === 'stack'),
    };
  }

  /** An array without holes and extra properties goes as its elements; one of primitives alone goes as it is. */
  #writeArray(value: readonly unknown[]): Node {
    const { length } = value;
    if (!isDense(value)) return { kind: 'array', length, ...this.state(value, Array.prototype, (key) => key === 'length') };
    const elements = isPrimitives(value) ? value : Array.from({ length }, (_, index) => this.slot(value[index], index));
    return { kind: 'array', length, elements, ...this.#bearing(value, Array.prototype) };
  }

  #writeMap(value: ReadonlyMap<unknown, unknown>): Node {
    const entries: Slot[] = [];
    for (const [key, item] of Map.prototype.entries.call(value)) {
      const index = entries.length / 2;
      entries.push(this.slot(key, `key ${index}`), this.slot(item, typeof key === 'string' ? `get('${key}')` : `value ${index}`));
    }
    return { kind: 'map', entries, ...this.state(value, Map.prototype) };
  }

  #writeSet(value: ReadonlySet<unknown>): Node {
    const values = Array.from(Set.prototype.values.call(value), (item, index) => this.slot(item, `value ${index}`));
    return { kind: 'set', values, ...this.state(value, Set.prototype) };
  }

  #writeRegExp(value: RegExp): Node {
    const { source, flags, lastIndex } = value;
    return { kind: 'regexp', source, flags, lastIndex: this.slot(lastIndex, 'lastIndex'), ...this.state(value, RegExp.prototype, (key) => key === 'lastIndex') };
  }

  #writeBuffer(value: ArrayBuffer, node: number): undefined {
    if (isDetached(value)) this.fail('an ArrayBuffer whose bytes were transferred cannot be captured');
    this.#buffers.addWhole(value, [node]);
    return undefined;
  }

  #writeView(value: ArrayBufferView, node: number): undefined {
    const { buffer } = value;
    if (!types.isArrayBuffer(buffer)) return this.fail('a view of a SharedArrayBuffer cannot be captured: processes do not share it');
    if (isDetached(buffer)) this.fail('a view of an ArrayBuffer whose bytes were transferred cannot be captured');
    const prototype = Object.getPrototypeOf(value) as object | null;
    const isOwnType = prototype === (intrinsicNamed(typeOf(value)) as Function).prototype;
    const state = isOwnType ? {} : { prototype: this.slot(prototype, '[[Prototype]]') };
    this.#buffers.addView(value as ArrayBufferView<ArrayBuffer>, node, state, () => this.#slots.get(buffer) ?? this.#reserve());
    return undefined;
  }

  #writeError(value: Error): Node {
    const prototype = nameablePrototype(value);
    return {
      kind: 'error',
      stack: typeof value.stack === 'string' ? value.stack : undefined,
      ...this.state(value, Object.getPrototypeOf(value) as object, (key) => key === 'stack'),
      ...(prototype !== Error.prototype && { prototype: this.slot(prototype, '[[Prototype]]') }),
    };
  }

  #writeBoxed(value: object): Node {
    const Class = [Number, String, Boolean, Symbol, BigInt].find((candidate) => candidate.name === primitiveTypeOf(value)) ?? Object;
    const primitive: unknown = Class.prototype.valueOf.call(value);
    const isIndex = (key: PropertyKey): boolean => typeof primitive === 'string' && typeof key === 'string' && (key === 'length' || /^\d+$/.test(key));
    return { kind: 'boxed', value: this.slot(primitive, 'valueOf'), ...this.state(value, Class.prototype, isIndex) };
  }
}

/** Stands where a node is not written yet. */
const UNWRITTEN: Node = { kind: 'object' };

function attributesOf({ enumerable, configurable, writable, get, set }: PropertyDescriptor): number {
  const isAccessor = get !== undefined || set !== undefined;
  return (enumerable ? ENUMERABLE : 0) | (configurable ? CONFIGURABLE : 0) | (writable ? WRITABLE : 0) | (isAccessor ? ACCESSOR : 0);
}

function integrityOf(value: object): Pick<ObjectState, 'integrity'> {
  if (Object.isExtensible(value)) return {};
  return { integrity: Object.isFrozen(value) ? 'frozen' : Object.isSealed(value) ? 'sealed' : 'fixed' };
}

function isPrimitives(values: readonly unknown[]): values is readonly Primitive[] {
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if ((typeof value === 'object' && value !== null) || typeof value === 'function' || typeof value === 'symbol') return false;
  }
  return true;
}

/** Beyond this length, properties of an array that are not enumerable are not looked for: that takes 5 times as long as to see the others. */
const EXACT_LENGTH = 10_000;

/** Whether an array is its elements and nothing else: no holes, no further properties. */
function isDense(value: readonly unknown[]): boolean {
  const { length } = value;
  if (length <= EXACT_LENGTH) {
    const keys = Reflect.ownKeys(value);
    return keys.length === length + 1 && keys[length] === 'length';
  }
  const keys = Object.keys(value);
  return keys.length === length && keys[length - 1] === String(length - 1) && Object.getOwnPropertySymbols(value).length === 0;
}

function primitiveTypeOf(value: object): string {
  if (types.isNumberObject(value)) return 'Number';
  if (types.isStringObject(value)) return 'String';
  if (types.isBooleanObject(value)) return 'Boolean';
  return types.isSymbolObject(value) ? 'Symbol' : 'BigInt';
}

function symbolNode(symbol: symbol): Node {
  const wellKnown = wellKnownSymbolName(symbol);
  if (wellKnown !== undefined) return { kind: 'intrinsic', name: wellKnown };
  const key = Symbol.keyFor(symbol);
  if (key !== undefined) return { kind: 'symbol', key };
  return { kind: 'symbol', origin: originOf(symbol), ...(symbol.description !== undefined && { description: symbol.description }) };
}

function nameOfRoot(value: unknown): string {
  if (typeof value === 'function') return value.name || '<function>';
  const constructor: unknown = typeof value === 'object' && value !== null && !types.isProxy(value) ? value.constructor : undefined;
  return typeof constructor === 'function' && constructor.name && constructor !== Object ? `<${constructor.name}>` : '<value>';
}

function nameOfLabel(label: PropertyKey): string {
  return typeof label === 'number' ? `[${label}]` : typeof label === 'symbol' ? `[${String(label)}]` : label;
}
