/**
 * Revives a captured value. Objects are made empty and filled from a queue, so that cycles close and deep values do not meet the
 * limits of the stack; only what must be there at an object's birth (its prototype, a class's superclass) is made before it.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { makeError, MusterError } from '@muster/base';
import { manufacture } from './factory.js';
import { makeImportMeta } from './import-meta.js';
import { intrinsicNamed } from './intrinsics.js';
import { moduleMember } from './loader.js';
import {
  ACCESSOR, CONFIGURABLE, decodeGraph, decodeModules, ENUMERABLE, unreadable, WRITABLE,
  type FunctionNode, type Graph, type ModuleReference, type Node, type ObjectState, type PropertyNode, type Slot, type SymbolNode, type ViewNode,
} from './nodes.js';
import { isHome, noteProvenance, remember, valueOf } from './origins.js';

export interface ReviveOptions {
  /** Gives the object that {@link CaptureOptions.replace} took apart. A function among the parts may not have its free variables yet. */
  readonly restore?: (form: string, parts: readonly unknown[]) => object;
  /** Gives the bytes that {@link CaptureOptions.externalize} kept out of the message. They are used as they are, without a copy. */
  readonly external?: (index: number) => ArrayBufferLike;
}

/**
 * Makes the value that {@link capture} captured. The modules it refers to have to be loaded: see {@link preload}. Classes and
 * symbols that this process knows by their origin are used as they are; a function that returns to the process that made it is the original.
 *
 * @throws RuntimeEnvError when a module does not export what the value refers to
 * @throws MusterError PROTOCOL for bytes that capture did not make
 */
export function revive(bytes: Uint8Array, options: ReviveOptions = {}): unknown {
  const modules = decodeModules(bytes);
  return new Decoder(decodeGraph(bytes), modules, options).decode();
}

type NodeOf<Kind extends Node['kind']> = Extract<Node, { readonly kind: Kind }>;

const MADE = 1;
const BEING_MADE = 2;

/** Nodes that are made without making others, and so can be given to a function at its birth. */
const EARLY: ReadonlySet<Node['kind']> = new Set(['intrinsic', 'symbol', 'module', 'require', 'import-meta']);

const VIEW_TYPE = /^(?:DataView|(?:Big)?(?:Int|Uint|Float)\d+(?:Clamped)?Array)$/;

class Decoder {
  readonly #graph: Graph;
  readonly #modules: readonly ModuleReference[];
  readonly #options: ReviveOptions;
  readonly #values: unknown[];
  readonly #progress: Uint8Array;
  /** What still has to be filled, in the order in which it was made. */
  readonly #unfilled: (() => void)[] = [];
  #filled = 0;
  /** Functions and symbols that arrived. They become known when all is well: a value that failed half-way must not be met again. */
  readonly #arrivals: (readonly [origin: string, value: object | symbol])[] = [];
  #callersError: unknown;

  constructor(graph: Graph, modules: readonly ModuleReference[], options: ReviveOptions) {
    this.#graph = graph;
    this.#modules = modules;
    this.#options = options;
    this.#values = new Array<unknown>(graph.nodes.length);
    this.#progress = new Uint8Array(graph.nodes.length);
  }

  decode(): unknown {
    try {
      const value = this.#value(this.#graph.root);
      this.#fill();
      for (const [origin, arrived] of this.#arrivals) remember(origin, arrived);
      return value;
    } catch (error) {
      if (error instanceof MusterError || (error !== undefined && error === this.#callersError)) throw error;
      throw unreadable(error instanceof Error ? error.message : String(error), { cause: error });
    }
  }

  #value(slot: Slot): unknown {
    if (typeof slot !== 'object' || slot === null) return slot;
    const index = slot[0];
    return this.#progress[index] === MADE ? this.#values[index] : this.#make(index);
  }

  #make(index: number): unknown {
    const node = this.#graph.nodes[index];
    if (!node || this.#progress[index] === BEING_MADE) throw unreadable(node ? `node ${index} needs itself` : `it has no node ${index}`);
    this.#progress[index] = BEING_MADE;
    const value = this.#born(node);
    this.#values[index] = value;
    this.#progress[index] = MADE;
    return value;
  }

  #fill(): void {
    while (this.#filled < this.#unfilled.length) this.#unfilled[this.#filled++]?.();
  }

  #later(fill: () => void): void {
    this.#unfilled.push(fill);
  }

  /** The value of a node, with what can only be given at birth. The rest is filled later. */
  #born(node: Node): unknown {
    switch (node.kind) {
      case 'intrinsic': return intrinsic(node.name);
      case 'module': return moduleMember(this.#module(node.module), node.path);
      case 'interop': return this.#interop(node);
      case 'require': return createRequire(path.join(node.directory, '[require]'));
      case 'import-meta': return makeImportMeta(node.url);
      case 'replaced': return this.#restore(node);
      case 'symbol': return this.#symbol(node);
      case 'prototype': return (this.#value(node.of) as Function).prototype;
      case 'function': return this.#function(node);
      case 'bound': return this.#bound(node);
      case 'buffer': return this.#buffer(node);
      case 'view': return this.#view(node);
      case 'rebuilt': return this.#rebuilt(node);
      case 'error': return this.#error(node);
      case 'array': return this.#array(node);
      case 'object': return this.#object(node);
      case 'date': return this.#withState(new Date(node.timeMs), node);
      case 'boxed': return this.#withState(Object(this.#value(node.value)) as object, node);
      case 'regexp': return this.#withState(new RegExp(node.source, node.flags), node, (regexp) => { regexp.lastIndex = this.#value(node.lastIndex) as number; });
      case 'set': return this.#withState(new Set(), node, (set) => { for (const slot of node.values) Set.prototype.add.call(set, this.#value(slot)); });
      case 'map': return this.#withState(new Map(), node, (map) => {
        for (const [index, slot] of node.entries.entries()) if (index % 2 === 0) Map.prototype.set.call(map, this.#value(slot), this.#value(node.entries[index + 1]));
      });
      default: throw unreadable(`it has a node of an unknown kind, '${String((node as { kind?: unknown }).kind)}'`);
    }
  }

  // --- values that others have

  #module(index: number): ModuleReference {
    const module = this.#modules[index];
    if (!module) throw unreadable(`it has no module ${index}`);
    return module;
  }

  #interop({ helper, module, rest }: NodeOf<'interop'>): unknown {
    const convert = this.#value(helper) as (module: unknown, ...rest: readonly unknown[]) => unknown;
    this.#fill(); // the helper runs now, and needs all that it closes over
    return convert(this.#value(module), ...rest);
  }

  #restore({ form, parts }: NodeOf<'replaced'>): object {
    const { restore } = this.#options;
    if (!restore) throw makeError('INTERNAL', { what: 'revive() has the option restore for a value captured with replace' });
    const values = parts.map((slot) => this.#value(slot));
    return this.#calling(() => restore(form, values));
  }

  /** Errors of the caller's own functions are no damage of the message. */
  #calling<T>(callback: () => T): T {
    try {
      return callback();
    } catch (error) {
      this.#callersError = error;
      throw error;
    }
  }

  #symbol({ key, origin = '', description }: SymbolNode): symbol {
    if (key !== undefined) return Symbol.for(key);
    const known = valueOf(origin);
    if (typeof known === 'symbol') return known;
    const symbol = Symbol(description);
    this.#arrivals.push([origin, symbol]);
    return symbol;
  }

  // --- functions

  #function(node: FunctionNode): Function {
    const known = valueOf(node.origin);
    if (typeof known === 'function' && (node.isConstructor || isHome(node.origin))) return known;
    const { code } = node;
    const cells = node.cells.map((slot) => this.#value(slot) as object);
    const computedKeys = node.computedKeys.map((slot) => this.#value(slot) as PropertyKey);
    const { fn, bind, privates } = manufacture(code, {
      variables: node.variables.map((slot) => (this.#isEarly(slot) ? this.#value(slot) : undefined)),
      cells,
      computedKeys,
      superclass: this.#value(node.superclass),
    });
    if (node.name !== undefined && fn.name !== node.name) Object.defineProperty(fn, 'name', { value: node.name, configurable: true });
    if (node.prototypeObject !== undefined) fn.prototype = this.#value(node.prototypeObject);
    this.#arrivals.push([node.origin, fn]);
    const members = code.isClass ? { ofClass: membersOf(fn), ofPrototype: membersOf(fn.prototype as object) } : undefined;
    return this.#withState(fn, node, () => {
      const variables = node.variables.map((slot) => this.#value(slot));
      bind(variables);
      privates?.set(node.privates.map((slot) => this.#value(slot)));
      if (node.prototypeState) this.#giveState(this.#withPrototype(fn.prototype as object, node.prototypeState), node.prototypeState);
      noteProvenance(fn, { code, isConstructor: node.isConstructor, variables, cells, computedKeys, members, ...(privates && { readPrivates: privates.get }) });
    });
  }

  #isEarly(slot: Slot): boolean {
    if (typeof slot !== 'object' || slot === null) return true;
    const node = this.#graph.nodes[slot[0]];
    return node !== undefined && (EARLY.has(node.kind) || (node.kind === 'object' && isComplete(node)));
  }

  #bound(node: NodeOf<'bound'>): Function {
    const target = this.#value(node.target) as Function;
    const parameters = node.arguments.map((slot) => this.#value(slot));
    return this.#withState(Function.prototype.bind.call(target, this.#value(node.receiver), ...parameters) as Function, node);
  }

  // --- bytes

  #buffer({ bytes, external, maxByteLength }: NodeOf<'buffer'>): ArrayBufferLike {
    if (external !== undefined) {
      const { external: find } = this.#options;
      if (!find) throw makeError('INTERNAL', { what: 'revive() has the option external for a value captured with externalize' });
      return this.#calling(() => find(external));
    }
    if (!(bytes instanceof Uint8Array)) throw unreadable('a buffer has no bytes');
    const buffer = maxByteLength === undefined ? new ArrayBuffer(bytes.length) : new (ArrayBuffer as ResizableArrayBuffer)(bytes.length, { maxByteLength });
    new Uint8Array(buffer).set(bytes);
    return buffer;
  }

  #view(node: ViewNode): object {
    if (!VIEW_TYPE.test(node.type)) throw unreadable(`it has a view of an unknown type, '${node.type}'`);
    const View = intrinsic(node.type) as new (buffer: ArrayBufferLike, byteOffset: number, length: number) => object;
    return this.#withPrototype(new View(this.#value(node.buffer) as ArrayBufferLike, node.byteOffset, node.length), node);
  }

  // --- objects

  #object(node: NodeOf<'object'>): object {
    if (node.prototype !== undefined) return this.#withState(Object.create(this.#value(node.prototype) as object | null) as object, { ...node, prototype: undefined });
    if (!node.fields) return this.#withState({}, node);
    // a plain object is its fields, with values in the place of slots
    const object = node.fields as Record<string, unknown>;
    this.#later(() => {
      for (const key of Object.keys(object)) this.#fillIn(object, key);
      fix(object, node.integrity);
    });
    return object;
  }

  #array(node: NodeOf<'array'>): unknown[] {
    const elements = node.elements as unknown[] | undefined; // an array is its elements, with values in the place of slots
    if (elements && !Array.isArray(elements)) throw unreadable('an array has no elements');
    return this.#withState(elements ?? emptyArray(node.length), node, (array) => {
      if (elements) for (let index = 0; index < array.length; index++) this.#fillIn(array, index);
    });
  }

  #fillIn<Key extends PropertyKey>(object: Record<Key, unknown>, key: Key): void {
    const slot = object[key] as Slot;
    if (typeof slot === 'object' && slot !== null) object[key] = this.#value(slot);
  }

  #error(node: NodeOf<'error'>): Error {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    const error = new Error();
    Error.stackTraceLimit = stackTraceLimit;
    return this.#withState(withStack(error, this.#value(node.stack)), node);
  }

  #rebuilt(node: NodeOf<'rebuilt'>): object {
    const object = Reflect.construct(this.#value(node.class) as new () => object, node.arguments) as object;
    return this.#withState(node.stack === undefined ? object : withStack(object, node.stack), node);
  }

  #withPrototype<T extends object>(object: T, { prototype }: ObjectState): T {
    if (prototype !== undefined) Object.setPrototypeOf(object, this.#value(prototype) as object | null);
    return object;
  }

  /** Gives the object its prototype now, and its contents and properties when everything that they may be is made. */
  #withState<T extends object>(object: T, state: ObjectState, fill?: (object: T) => void): T {
    this.#withPrototype(object, state);
    if (fill || state.fields || state.properties || state.integrity) {
      this.#later(() => {
        fill?.(object);
        this.#giveState(object, state);
      });
    }
    return object;
  }

  #giveState(object: object, { fields, properties = [], integrity }: ObjectState): void {
    if (fields) {
      for (const key of Object.keys(fields)) {
        const value = this.#value(fields[key]);
        if (key in object) Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
        else (object as Record<string, unknown>)[key] = value; // nothing inherited stands in the way, so this makes an own property
      }
    }
    for (const property of properties) this.#defineProperty(object, property);
    fix(object, integrity);
  }

  #defineProperty(object: object, { key, attributes, value, setter }: PropertyNode): void {
    const enumerable = (attributes & ENUMERABLE) !== 0;
    const configurable = (attributes & CONFIGURABLE) !== 0;
    Object.defineProperty(object, this.#value(key) as PropertyKey, attributes & ACCESSOR
      ? { enumerable, configurable, get: this.#value(value) as () => unknown, set: this.#value(setter) as (value: unknown) => void }
      : { enumerable, configurable, writable: (attributes & WRITABLE) !== 0, value: this.#value(value) });
  }
}

type ResizableArrayBuffer = new (byteLength: number, options: { readonly maxByteLength: number }) => ArrayBuffer;

function intrinsic(name: string): unknown {
  const value = intrinsicNamed(name);
  if (value === undefined) throw makeError('RUNTIME_ENV', { what: `the built-in ${name}`, cause: `Node ${process.version} has none` });
  return value;
}

/** Whether an object has nothing in it but primitive values. */
function isComplete({ prototype, fields = {}, properties }: ObjectState): boolean {
  return prototype === undefined && properties === undefined && Object.values(fields).every((slot) => typeof slot !== 'object' || slot === null);
}

/** An array of holes, without room for what may never come. */
function emptyArray(length: number): unknown[] {
  const array: unknown[] = [];
  array.length = length;
  return array;
}

function fix(object: object, integrity: ObjectState['integrity']): void {
  if (integrity === 'frozen') Object.freeze(object);
  else if (integrity === 'sealed') Object.seal(object);
  else if (integrity === 'fixed') Object.preventExtensions(object);
}

function withStack<T extends object>(error: T, stack: unknown): T {
  Object.defineProperty(error, 'stack', { value: stack, writable: true, configurable: true, enumerable: false });
  return error;
}

/** The methods and accessors that a class or its prototype has from its source: all but what V8 itself puts there. */
function membersOf(owner: object): ReadonlyMap<PropertyKey, PropertyDescriptor> {
  const members = new Map<PropertyKey, PropertyDescriptor>();
  for (const key of Reflect.ownKeys(owner)) {
    const descriptor = Object.getOwnPropertyDescriptor(owner, key);
    if (descriptor && key !== 'constructor' && key !== 'prototype') members.set(key, descriptor);
  }
  return members;
}
