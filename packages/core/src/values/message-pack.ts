/**
 * MessagePack for trees of plain objects, arrays and primitives; buffers in them stay out of band. The library takes 20 ms to load, so it is
 * loaded for the first value that needs it: a program's first result may come before.
 */
import { createRequire } from 'node:module';
import { makeError } from '@muster/base';

type Msgpackr = typeof import('msgpackr');

/** Where the bytes of a buffer are. */
export interface BufferPlace {
  readonly buffer: ArrayBuffer;
  readonly offset: number;
  readonly sizeBytes: number;
}

export const TYPED_ARRAYS = [
  Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array, BigInt64Array, BigUint64Array,
] as const;
const KIND_BUFFER = TYPED_ARRAYS.length;
const KIND_ARRAY_BUFFER = KIND_BUFFER + 1;
const KIND_DATA_VIEW = KIND_BUFFER + 2;

/** The buffers of the value being packed or unpacked: msgpackr's extensions have no context argument. */
let buffersOut: Uint8Array[] = [];
let buffersIn: (index: number) => BufferPlace = missingBuffer;

let loaded: InstanceType<Msgpackr['Packr']> | undefined;
let nothing: Uint8Array;

function packr(): NonNullable<typeof loaded> {
  return loaded ?? load();
}

function load(): NonNullable<typeof loaded> {
  const { addExtension, Packr } = createRequire(import.meta.url)('msgpackr') as Msgpackr;
  addExtension({ Class: Object.getPrototypeOf(Uint8Array) as never, type: 0x40, write: (value: ArrayBufferView) => packView(value), read: unpackView } as never);
  addExtension({ Class: DataView, type: 0x41, write: (value: ArrayBufferView) => packView(value), read: unpackView } as never);
  addExtension({ Class: ArrayBuffer, type: 0x42, write: (value: ArrayBuffer) => packBytes(KIND_ARRAY_BUFFER, new Uint8Array(value)), read: unpackView } as never);
  loaded = new Packr({ useRecords: false, variableMapSize: true, useToJSON: false });
  nothing = loaded.pack(null);
  return loaded;
}

function packView(view: ArrayBufferView): unknown {
  const kind = Buffer.isBuffer(view) ? KIND_BUFFER : view instanceof DataView ? KIND_DATA_VIEW : TYPED_ARRAYS.findIndex((Type) => view instanceof Type);
  return packBytes(kind, new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
}

function packBytes(kind: number, bytes: Uint8Array): unknown {
  return [kind, buffersOut.push(bytes) - 1];
}

function unpackView([kind, index]: [number, number]): unknown {
  const { buffer, offset, sizeBytes } = buffersIn(index);
  if (kind === KIND_BUFFER) return Buffer.from(buffer, offset, sizeBytes);
  if (kind === KIND_ARRAY_BUFFER) return offset === 0 && sizeBytes === buffer.byteLength ? buffer : buffer.slice(offset, offset + sizeBytes);
  if (kind === KIND_DATA_VIEW) return new DataView(buffer, offset, sizeBytes);
  const Type = TYPED_ARRAYS[kind];
  if (!Type) throw makeError('PROTOCOL', { what: 'a peer', cause: `unknown kind of array ${kind}` });
  return new Type(buffer, offset, sizeBytes / Type.BYTES_PER_ELEMENT);
}

/** @throws MusterError PROTOCOL, always */
export function missingBuffer(): never {
  throw makeError('PROTOCOL', { what: 'a peer', cause: 'a value names a buffer that it does not have' });
}

/** Packs a plain tree. The buffers are views of its own memory, not copies. */
export function packPlain(value: unknown): { readonly head: Uint8Array; readonly buffers: readonly Uint8Array[] } {
  buffersOut = [];
  const head = packr().pack(value);
  const buffers = buffersOut;
  buffersOut = [];
  return { head, buffers };
}

/** A plain tree without buffers back into a value. */
export function unpackPlain(head: Uint8Array): unknown {
  return packr().unpack(head);
}

/** The same for one with buffers, which stay where they are. */
export function unpackWithBuffers(head: Uint8Array, buffer: (index: number) => BufferPlace): unknown {
  buffersIn = buffer;
  try {
    return packr().unpack(head);
  } finally {
    buffersIn = missingBuffer;
    packr().unpack(nothing); // it remembers the bytes that it read last, and would keep them mapped
  }
}
