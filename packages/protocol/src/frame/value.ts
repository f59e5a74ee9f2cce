/**
 * Values inside records. Primitives are written in place, in the spirit of MessagePack; everything else is a composite: a tag,
 * a u32 length and bytes that only core understands, so that a reader can keep or skip it without decoding it.
 *
 *   00..7f int  |  e0..ff negative int  |  a0..bf ASCII string of 0..31 bytes  |  c0 null  c1 undefined  c2 false  c3 true
 *   cb f64  |  d2 i32  |  d9 UTF-8 string  |  c4 plain  c5 graph  c6 packed  c7 stored: composites
 */
import { toUSVString } from 'node:util';
import { makeError } from '@muster/base';
import type { ByteReader, ByteWriter } from './bytes.js';

/** The forms of a composite. */
export const Composite = {
  /** Plain data, as MessagePack. */
  plain: 0xc4,
  /** A graph with functions, classes, instances or references, as @muster/closure captures it. */
  graph: 0xc5,
  /** A plain or graph value together with the references and buffers that it holds: see core's values/packed. */
  packed: 0xc6,
  /** An object in shared memory: where it is. */
  stored: 0xc7,
} as const;

const SHORT_STRING_MAX = 31;
const ASCII_MAX = 0x7f;
/** Longer strings travel as composites, which may lie in shared memory. */
const STRING_MAX_CHARS = 32 * 1024;

/** Whether a string is written in place: a short one that UTF-8 can say, which has no lone surrogates. */
export function isInlineString(value: string): boolean {
  return value.length <= STRING_MAX_CHARS && toUSVString(value) === value;
}

/** Writes a primitive; false, and nothing written, for anything else (objects, functions, bigints, symbols, strings that are not inline). */
export function writePrimitive(writer: ByteWriter, value: unknown): boolean {
  if (writer.position + 40 > writer.buffer.length) writer.reserve(40);
  const buffer = writer.buffer;
  const at = writer.position;
  switch (typeof value) {
    case 'number':
      if ((value | 0) === value && !(value === 0 && 1 / value < 0)) {
        if (value >= -32 && value < 128) {
          buffer[at] = value < 0 ? value + 256 : value;
          writer.position = at + 1;
        } else {
          buffer[at] = 0xd2;
          writer.view.setInt32(at + 1, value, true);
          writer.position = at + 5;
        }
      } else {
        buffer[at] = 0xcb;
        writer.view.setFloat64(at + 1, value, true);
        writer.position = at + 9;
      }
      return true;
    case 'string':
      return writeString(writer, value);
    case 'boolean':
      buffer[at] = value ? 0xc3 : 0xc2;
      break;
    case 'undefined':
      buffer[at] = 0xc1;
      break;
    default:
      if (value !== null) return false;
      buffer[at] = 0xc0;
  }
  writer.position = at + 1;
  return true;
}

function writeString(writer: ByteWriter, value: string): boolean {
  const length = value.length;
  if (length <= SHORT_STRING_MAX) {
    const buffer = writer.buffer; // writePrimitive has reserved 40 bytes
    let to = writer.position + 1;
    let index = 0;
    for (; index < length; index++) {
      const code = value.charCodeAt(index);
      if (code > ASCII_MAX) break;
      buffer[to++] = code;
    }
    if (index === length) {
      buffer[writer.position] = 0xa0 | length;
      writer.position = to;
      return true;
    }
  }
  if (!isInlineString(value)) return false;
  writer.u8(0xd9);
  writer.text(value);
  return true;
}

/** What {@link readPrimitive} returns for a composite; its tag and range are then in `compositeTag`, `start` and `end` of the cursor. */
export const COMPOSITE: unique symbol = Symbol('composite');

/** Reads values; after a composite, its tag and place. */
export interface ValueCursor {
  compositeTag: number;
  compositeStart: number;
  compositeEnd: number;
}

/** Reads a primitive, or steps over a composite and returns COMPOSITE. @throws MusterError PROTOCOL */
export function readPrimitive(reader: ByteReader, cursor: ValueCursor): unknown {
  const tag = reader.u8();
  if (tag < 0x80) return tag;
  if (tag >= 0xe0) return tag - 256;
  if (tag >= 0xa0 && tag < 0xc0) {
    const length = tag & 31;
    const at = reader.take(length);
    return reader.buffer.toString('latin1', at, at + length);
  }
  switch (tag) {
    case 0xc0: return null;
    case 0xc1: return undefined;
    case 0xc2: return false;
    case 0xc3: return true;
    case 0xcb: return reader.f64();
    case 0xd2: return reader.view.getInt32(reader.take(4), true);
    case 0xd9: return reader.text();
    case Composite.plain:
    case Composite.graph:
    case Composite.packed:
    case Composite.stored: {
      const sizeBytes = reader.u32();
      cursor.compositeTag = tag;
      cursor.compositeStart = reader.take(sizeBytes);
      cursor.compositeEnd = reader.position;
      return COMPOSITE;
    }
    default:
      throw makeError('PROTOCOL', { what: 'a peer', cause: `unknown value tag 0x${tag.toString(16)}` });
  }
}

/** Writes a composite whole. */
export function writeComposite(writer: ByteWriter, tag: number, bytes: Uint8Array): void {
  writer.reserve(bytes.length + 5);
  writer.buffer[writer.position] = tag;
  writer.position += 1;
  writer.block(bytes);
}
