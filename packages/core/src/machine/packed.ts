/**
 * The layout of a value with its references and buffers, the same inside a record and in shared memory:
 *
 *   u8 tag (plain or graph), 3 bytes 0, u32 refsBytes, u32 headBytes, u32 bufferCount, (f64 offset, f64 length) * bufferCount,
 *   reference descriptors, head (the encoded value, which names its references and buffers by number), then the buffers, each at
 *   a multiple of 64 bytes from the start, so that typed arrays of any kind are read in place.
 */
import { makeError } from '@muster/base';
import { ByteReader, ByteWriter, Composite } from '@muster/protocol';
import { decodeStored, readRefDescriptors, writeRefDescriptors, type RefDescriptor } from './descriptors.js';

const FIXED_BYTES = 16;
const ALIGNMENT_BYTES = 64;

const align = (offset: number): number => Math.ceil(offset / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;

/** Where everything of one value goes. */
export interface PackedLayout {
  readonly sizeBytes: number;
  /** All that precedes the buffers. */
  readonly front: Uint8Array;
  readonly offsets: readonly number[];
}

/** Plans the layout and writes its front; the caller places the buffers. */
export function layOut(tag: number, refs: readonly RefDescriptor[], head: Uint8Array, buffers: readonly Uint8Array[]): PackedLayout {
  const writer = new ByteWriter(FIXED_BYTES + 16 * buffers.length + head.length + 100 * refs.length + 64);
  writer.position = FIXED_BYTES + 16 * buffers.length;
  if (refs.length > 0) writeRefDescriptors(writer, refs);
  const refsBytes = writer.position - FIXED_BYTES - 16 * buffers.length;
  writer.bytes(head);
  const frontBytes = writer.position;
  let end = frontBytes;
  const offsets = buffers.map((buffer) => {
    const offset = align(end);
    end = offset + buffer.byteLength;
    return offset;
  });
  writer.position = 0;
  writer.u32(tag);
  writer.u32(refsBytes);
  writer.u32(head.length);
  writer.u32(buffers.length);
  for (let i = 0; i < buffers.length; i++) {
    writer.f64(offsets[i]!);
    writer.f64(buffers[i]!.byteLength);
  }
  return { sizeBytes: end, front: writer.buffer.subarray(0, frontBytes), offsets };
}

/** A value's parts, as views of the bytes. */
export interface PackedParts {
  readonly tag: number;
  readonly refs: readonly RefDescriptor[];
  readonly head: Uint8Array;
  readonly buffers: readonly { readonly offset: number; readonly sizeBytes: number }[];
}

/** @throws MusterError PROTOCOL */
export function readPacked(bytes: Uint8Array): PackedParts {
  const reader = new ByteReader().reset(bytes);
  const tag = reader.u32();
  const refsBytes = reader.u32();
  const headBytes = reader.u32();
  const buffers = Array.from({ length: boundedCount(reader.u32(), bytes) }, () => ({ offset: reader.f64(), sizeBytes: reader.f64() }));
  for (const { offset, sizeBytes } of buffers) {
    if (!(offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= bytes.length)) throw makeError('PROTOCOL', { what: 'a peer', cause: 'a buffer lies outside of its value' });
  }
  const refs = refsBytes > 0 ? readRefDescriptors(new ByteReader().reset(reader.bytes(refsBytes))) : [];
  return { tag, refs, head: reader.bytes(headBytes), buffers };
}

function readPackedRefs(bytes: Uint8Array): readonly RefDescriptor[] {
  return readPacked(bytes).refs;
}

function boundedCount(count: number, bytes: Uint8Array): number {
  if (count * 16 > bytes.length) throw makeError('PROTOCOL', { what: 'a peer', cause: 'a value names more buffers than it can hold' });
  return count;
}

/** The references that a composite names, without decoding it. */
export function containedIn(tag: number, bytes: Uint8Array): readonly RefDescriptor[] {
  if (tag === Composite.packed) return readPackedRefs(bytes);
  if (tag === Composite.stored) return decodeStored(bytes).contained;
  return [];
}
