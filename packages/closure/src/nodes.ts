/**
 * The wire form of a captured graph: a table of nodes that name each other by number, and the modules that they refer to.
 * Owns the types and the bytes; knows nothing of how a value becomes a node or a node a value.
 *
 *     magic, version, length of the modules, the modules as JSON, { root, nodes } as V8 serialises it
 *
 * The modules stand in front, so that a receiver can see what to import without reading the graph.
 */
import v8 from 'node:v8';
import { makeError } from '@muster/base';

export type Primitive = string | number | bigint | boolean | null | undefined;

/** A place in the graph: a primitive stands for itself, any other value is the number of its node, in brackets. */
export type Slot = Primitive | NodeSlot;
export type NodeSlot = readonly [node: number];

/** A module as the worker finds it again. `import` and `require` resolve `specifier` as the file `parent` would. */
export type ModuleReference =
  | { readonly kind: 'builtin'; readonly name: string }
  | { readonly kind: 'import'; readonly parent: string; readonly specifier: string; readonly attributes?: Readonly<Record<string, string>> }
  | { readonly kind: 'require'; readonly parent: string; readonly specifier: string };

/** Property attributes, as in a descriptor. {@link PLAIN} is what an assignment makes. */
export const ENUMERABLE = 1;
export const CONFIGURABLE = 2;
export const WRITABLE = 4;
export const ACCESSOR = 8;
export const PLAIN = ENUMERABLE | CONFIGURABLE | WRITABLE;

/** One own property. An accessor has its getter in `value` and its setter in `setter`. */
export interface PropertyNode {
  readonly key: Slot;
  readonly attributes: number;
  readonly value: Slot;
  readonly setter?: Slot;
}

/** What any object may carry. Absent fields mean: as the node's kind is born. */
export interface ObjectState {
  readonly prototype?: Slot;
  /** Properties that all are plain data with text keys; V8 writes such an object fastest. */
  readonly fields?: Readonly<Record<string, Slot>>;
  /** The properties, in order, when `fields` cannot say it. */
  readonly properties?: readonly PropertyNode[];
  readonly integrity?: 'frozen' | 'sealed' | 'fixed';
}

/** What all closures of one piece of source have in common. Closures of one source share one `Code` object, and V8 writes it once. */
export interface Code {
  readonly source: string;
  readonly isClass: boolean;
  readonly isDerived: boolean;
  /** A method can be parsed only inside of an object literal. */
  readonly isMethod: boolean;
  readonly isStrict: boolean;
  /** Where the source starts in the original file; the line counts from 0. */
  readonly url: string;
  readonly line: number;
  readonly column: number;
  /** Set when a loader had compiled the file, and the source has been put back to the places of the file as it was written. */
  readonly file?: string;
  /** Free variables that get a value of their own. */
  readonly variables: readonly string[];
  /** Free variables that are assigned, and therefore live in an object that the captured functions share. */
  readonly cells: readonly string[];
  /** Static private fields of a class. */
  readonly privates: readonly string[];
}

export interface FunctionNode extends ObjectState {
  readonly kind: 'function';
  /** Who made the function first: see origins.ts. */
  readonly origin: string;
  /** Whether instances may exist: a process revives a constructor once, and any other function as often as it arrives. */
  readonly isConstructor: boolean;
  readonly code: Code;
  readonly name?: string;
  /** In the order of `code.variables`, `code.cells` and `code.privates`. */
  readonly variables: readonly Slot[];
  readonly cells: readonly Slot[];
  readonly privates: readonly Slot[];
  /** The names of the methods whose names a class computes. */
  readonly computedKeys: readonly Slot[];
  /** What a derived class extends. */
  readonly superclass?: Slot;
  /** What the object under `prototype` carries beyond what the source gives it. */
  readonly prototypeState?: ObjectState;
  /** The object under `prototype`, where another one was put in its place. */
  readonly prototypeObject?: Slot;
}

/** A symbol of the registry has a key, any other one an origin. */
export interface SymbolNode {
  readonly kind: 'symbol';
  readonly key?: string;
  readonly origin?: string;
  readonly description?: string;
}

/** The bytes of an ArrayBuffer, inside of the message or by the number that the caller gave them. */
export interface BufferNode {
  readonly kind: 'buffer';
  readonly bytes?: Uint8Array;
  readonly external?: number;
  readonly maxByteLength?: number;
}

export interface ViewNode extends ObjectState {
  readonly kind: 'view';
  readonly type: string;
  readonly buffer: Slot;
  readonly byteOffset: number;
  /** In elements; in bytes for a DataView. */
  readonly length: number;
}

export type Node =
  | FunctionNode
  | SymbolNode
  | BufferNode
  | ViewNode
  /** A value that every process has of its own, such as `Array.prototype`: see intrinsics.ts. */
  | { readonly kind: 'intrinsic'; readonly name: string }
  /** What a module exports under `path`; its whole namespace when the path is empty. */
  | { readonly kind: 'module'; readonly module: number; readonly path: readonly string[] }
  /** What a compiler's helper (`__importStar`, `__toESM`) makes of a required module. */
  | { readonly kind: 'interop'; readonly helper: Slot; readonly module: Slot; readonly rest: readonly Primitive[] }
  /** A `require` function that resolves from a folder. */
  | { readonly kind: 'require'; readonly directory: string }
  /** What `import.meta` is to the file. */
  | { readonly kind: 'import-meta'; readonly url: string }
  /** What the caller put in the value's place. */
  | { readonly kind: 'replaced'; readonly form: string; readonly parts: readonly Slot[] }
  /** The object under `prototype` of a function. */
  | { readonly kind: 'prototype'; readonly of: Slot }
  | ({ readonly kind: 'bound'; readonly target: Slot; readonly receiver: Slot; readonly arguments: readonly Slot[] } & ObjectState)
  /** An instance of a built-in class, made again from the arguments of its constructor. */
  | ({ readonly kind: 'rebuilt'; readonly class: Slot; readonly arguments: readonly unknown[]; readonly stack?: string } & ObjectState)
  | ({ readonly kind: 'object' } & ObjectState)
  /** `elements` is absent when some are missing or not plain; then they are among the properties. */
  | ({ readonly kind: 'array'; readonly length: number; readonly elements?: readonly Slot[] } & ObjectState)
  | ({ readonly kind: 'date'; readonly timeMs: number } & ObjectState)
  | ({ readonly kind: 'regexp'; readonly source: string; readonly flags: string; readonly lastIndex: Slot } & ObjectState)
  /** Keys and values take turns. */
  | ({ readonly kind: 'map'; readonly entries: readonly Slot[] } & ObjectState)
  | ({ readonly kind: 'set'; readonly values: readonly Slot[] } & ObjectState)
  | ({ readonly kind: 'error'; readonly stack: Slot } & ObjectState)
  | ({ readonly kind: 'boxed'; readonly value: Slot } & ObjectState);

export interface Graph {
  readonly root: Slot;
  readonly nodes: readonly Node[];
}

const MAGIC = 0xc1; // never the first byte of text, nor of V8's own format (0xff)
const VERSION = 1;
const PREFIX_BYTES = 6;

/** More objects than this in one value are refused: a message is built, sent and revived as a whole. */
export const NODE_LIMIT = 8_000_000;

/** Writes a graph as bytes that the caller owns. */
export function encodeGraph(graph: Graph, modules: readonly ModuleReference[]): Uint8Array {
  const table = Buffer.from(modules.length ? JSON.stringify(modules) : '');
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix[0] = MAGIC;
  prefix[1] = VERSION;
  prefix.writeUInt32LE(table.length, 2);
  const serializer = new v8.DefaultSerializer();
  serializer.writeRawBytes(prefix);
  serializer.writeRawBytes(table);
  serializer.writeHeader();
  serializer.writeValue(graph);
  return serializer.releaseBuffer();
}

/** The modules that a graph refers to. @throws MusterError PROTOCOL */
export function decodeModules(bytes: Uint8Array): readonly ModuleReference[] {
  const end = graphOffset(bytes);
  if (end === PREFIX_BYTES) return [];
  const modules: unknown = readOrFail(() => JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + PREFIX_BYTES, end - PREFIX_BYTES).toString()));
  if (!Array.isArray(modules) || !modules.every(isModuleReference)) throw unreadable('its table of modules is damaged');
  return modules;
}

/** The graph. Byte arrays in it are views of `bytes`. @throws MusterError PROTOCOL */
export function decodeGraph(bytes: Uint8Array): Graph {
  const graph = readOrFail(() => v8.deserialize(bytes.subarray(graphOffset(bytes)))) as Partial<Graph> | null | undefined;
  if (typeof graph !== 'object' || graph === null || !Array.isArray(graph.nodes) || !('root' in graph)) throw unreadable('it holds no graph');
  if (graph.nodes.length > NODE_LIMIT) throw unreadable(`it has ${graph.nodes.length} nodes, and the limit is ${NODE_LIMIT}`);
  return graph as Graph;
}

/** The error of bytes that no capture made. */
export function unreadable(cause: string, options?: ErrorOptions): Error {
  return makeError('PROTOCOL', { what: 'a process that sent a captured value', cause }, options);
}

function graphOffset(bytes: Uint8Array): number {
  if (bytes.length < PREFIX_BYTES || bytes[0] !== MAGIC) throw unreadable('it is not a captured value');
  if (bytes[1] !== VERSION) throw unreadable(`its format is ${bytes[1]}, and this process reads ${VERSION}`);
  const offset = PREFIX_BYTES + new DataView(bytes.buffer, bytes.byteOffset).getUint32(2, true);
  if (offset >= bytes.length) throw unreadable('it is cut short');
  return offset;
}

function readOrFail<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw unreadable('its bytes are damaged', { cause: error });
  }
}

function isModuleReference(value: unknown): value is ModuleReference {
  if (typeof value !== 'object' || value === null || !('kind' in value)) return false;
  const reference = value as Partial<Record<string, unknown>>;
  if (reference['kind'] === 'builtin') return typeof reference['name'] === 'string';
  return (reference['kind'] === 'import' || reference['kind'] === 'require') && typeof reference['parent'] === 'string' && typeof reference['specifier'] === 'string';
}
