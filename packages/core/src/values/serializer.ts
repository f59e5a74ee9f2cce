/**
 * Values to bytes and back. A tree of plain objects, arrays and typed arrays becomes MessagePack with its buffers out of band; anything
 * else (functions, classes, instances, errors, Map, Set, cycles, references, handles) goes through @muster/closure, which keeps identity and prototypes.
 */
import { toUSVString, types } from 'node:util';
import { capture, preload, revive } from '@muster/closure';
import { makeError } from '@muster/base';
import { Composite } from '@muster/protocol';
import type { RefDescriptor } from '../machine/descriptors.js';
import { readPacked } from '../machine/packed.js';
import { ObjectRef } from '../machine/reference.js';
import { missingBuffer, packPlain, TYPED_ARRAYS, unpackPlain, unpackWithBuffers, type BufferPlace } from './message-pack.js';

/** A value taken apart: everything needed to write it anywhere. Buffers are views of the user's memory, not copies. */
export interface Serialized {
  readonly tag: number;
  readonly head: Uint8Array;
  readonly buffers: readonly Uint8Array[];
  readonly contained: readonly ObjectRef[];
}

/** Values that core itself makes and must rebuild: remote functions, actor classes and handles. */
export interface SpecialForms {
  /** The form and its parts, which travel as values themselves; undefined for anything that is not special. */
  take(value: object): { readonly form: string; readonly parts: readonly unknown[] } | undefined;
  make(form: string, parts: readonly unknown[]): object;
}

/** Deeper trees go as graphs, which are read and written without recursion. */
const PLAIN_DEPTH_MAX = 200;
/** Longer arrays are not asked for properties beside their elements: that takes longer than to write them. */
const EXACT_LENGTH = 1000;
/** Buffers smaller than this stay in the head. */
const OUT_OF_BAND_MIN_BYTES = 256;

export class Serializer {
  constructor(readonly special: SpecialForms) {}

  /** Takes a value apart. @throws CaptureError for what cannot travel (sockets, promises, …) */
  serialize(value: unknown): Serialized {
    return isPlainTree(value) ? { tag: Composite.plain, ...packPlain(value), contained: [] } : this.#serializeGraph(value);
  }

  #serializeGraph(value: unknown): Serialized {
    const buffers: Uint8Array[] = [];
    const contained: ObjectRef[] = [];
    const head = capture(value, {
      replace: (object) => {
        if (object instanceof ObjectRef) return { form: 'ref', parts: [contained.push(object) - 1] };
        return this.special.take(object);
      },
      externalize: (buffer) => (buffer.byteLength < OUT_OF_BAND_MIN_BYTES ? undefined : buffers.push(new Uint8Array(buffer)) - 1),
    });
    return { tag: Composite.graph, head, buffers, contained };
  }

  /** Modules that must be loaded before `deserialize`; undefined when there are none. */
  preload(tag: number, bytes: Uint8Array): Promise<void> | undefined {
    if (tag === Composite.plain) return undefined;
    if (tag === Composite.graph) return preload(bytes);
    const packed = readPacked(bytes);
    return packed.tag === Composite.graph ? preload(packed.head) : undefined;
  }

  /**
   * A composite back into a value. Buffers of packed values are views of `bytes` when `shared` (the bytes are the value's own, in shared
   * memory), else copies.
   */
  deserialize(tag: number, bytes: Uint8Array, adopt: (descriptor: RefDescriptor) => ObjectRef, shared: boolean): unknown {
    if (tag === Composite.plain) return unpackPlain(bytes);
    if (tag === Composite.graph) return this.#revive(bytes, [], missingBuffer);
    if (tag !== Composite.packed) throw makeError('PROTOCOL', { what: 'a peer', cause: `unknown composite 0x${tag.toString(16)}` });
    const packed = readPacked(bytes);
    const refs = packed.refs.map(adopt);
    const buffer = (index: number): BufferPlace => {
      const at = packed.buffers[index] ?? missingBuffer();
      if (shared) return { buffer: bytes.buffer as ArrayBuffer, offset: bytes.byteOffset + at.offset, sizeBytes: at.sizeBytes };
      return { buffer: copyOf(bytes, at.offset, at.sizeBytes), offset: 0, sizeBytes: at.sizeBytes };
    };
    return packed.tag === Composite.graph ? this.#revive(packed.head, refs, buffer) : unpackWithBuffers(packed.head, buffer);
  }

  #revive(head: Uint8Array, refs: readonly ObjectRef[], buffer: (index: number) => BufferPlace): unknown {
    return revive(head, {
      restore: (form, parts) => (form === 'ref' ? (refs[parts[0] as number] ?? missingBuffer()) : this.special.make(form, parts)),
      external: (index) => {
        const { buffer: whole, offset, sizeBytes } = buffer(index);
        return offset === 0 && sizeBytes === whole.byteLength ? whole : whole.slice(offset, offset + sizeBytes);
      },
    });
  }
}

function copyOf(bytes: Uint8Array, offset: number, sizeBytes: number): ArrayBuffer {
  const copy = new ArrayBuffer(sizeBytes);
  new Uint8Array(copy).set(bytes.subarray(offset, offset + sizeBytes));
  return copy;
}

/** Whether a value is a tree of plain objects, dense arrays, primitives and typed arrays: what MessagePack keeps exactly. */
function isPlainTree(value: unknown): boolean {
  const seen = new Set<object>();
  const isPlain = (node: unknown, depth: number): boolean => {
    switch (typeof node) {
      case 'string':
        return isUtf8(node);
      case 'boolean':
      case 'undefined':
        return true;
      case 'number':
        return node !== 0 || 1 / node > 0; // MessagePack has no -0
      case 'object':
        break;
      default:
        return false; // bigint, symbol, function
    }
    if (node === null) return true;
    if (seen.has(node) || depth === PLAIN_DEPTH_MAX || types.isProxy(node)) return false;
    seen.add(node);
    const prototype: unknown = Object.getPrototypeOf(node);
    if (Array.isArray(node)) {
      if (prototype !== Array.prototype || (node.length <= EXACT_LENGTH && Object.keys(node).length !== node.length)) return false; // holes, or further properties
      for (let i = 0; i < node.length; i++) if (!isPlain(node[i], depth + 1) || (node[i] === undefined && !(i in node))) return false;
      return true;
    }
    if (prototype === Object.prototype) {
      if (Object.getOwnPropertySymbols(node).length > 0) return false;
      for (const key of Object.keys(node)) if (key === '__proto__' || !isUtf8(key) || !isPlain((node as Record<string, unknown>)[key], depth + 1)) return false;
      return true;
    }
    if (node instanceof Date) return prototype === Date.prototype && Number.isFinite(node.getTime());
    if (ArrayBuffer.isView(node)) {
      if (!PLAIN_VIEWS.has(prototype as object) || !isPlainBuffer(node.buffer)) return false;
      if (Buffer.isBuffer(node)) return true; // small Buffers share a pool, which nobody means by sharing
      if (seen.has(node.buffer)) return false;
      seen.add(node.buffer);
      return true;
    }
    return prototype === ArrayBuffer.prototype && isPlainBuffer(node);
  };
  return isPlain(value, 0);
}

/** Whether UTF-8 can say a string: it cannot say lone surrogates. */
function isUtf8(text: string): boolean {
  return toUSVString(text) === text;
}

/** Whether a buffer is its bytes and nothing else: not shared, resizable or given away. */
function isPlainBuffer(buffer: unknown): boolean {
  if (!types.isArrayBuffer(buffer) || (buffer as { readonly resizable?: boolean }).resizable) return false;
  if (buffer.byteLength > 0) return true;
  try {
    return new Uint8Array(buffer).length === 0;
  } catch {
    return false;
  }
}

const PLAIN_VIEWS = new Set<object>([...TYPED_ARRAYS.map((Type) => Type.prototype), Buffer.prototype, DataView.prototype]);
