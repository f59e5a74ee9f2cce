/** A serialized value as one composite of a record, or laid out for shared memory. */
import { Composite, type Endpoint } from '@muster/protocol';
import { describeRef } from '../machine/descriptors.js';
import { layOut, type PackedLayout } from '../machine/packed.js';
import { EncodedValue } from '../machine/reference.js';
import type { Serialized } from './serializer.js';

/** Values at least this large go to shared memory instead of riding in records. */
export const INLINE_MAX_BYTES = 100 * 1024;

/** Who describes the references it holds. */
export interface RefOwnerIdentity {
  readonly processId: string;
  readonly endpoint: Endpoint;
}

/** The size that a value takes in a record, roughly: its parts without padding. */
export function sizeOf(serialized: Serialized): number {
  return serialized.buffers.reduce((sum, buffer) => sum + buffer.byteLength, serialized.head.length);
}

export function layOutValue(serialized: Serialized, self: RefOwnerIdentity | null): PackedLayout {
  const refs = self ? serialized.contained.map((ref) => describeRef(ref, self)) : [];
  return layOut(serialized.tag, refs, serialized.head, serialized.buffers);
}

/** One composite with copies of the buffers. `self` may be left out where a value cannot hold references. */
export function encodeComposite(serialized: Serialized, self: RefOwnerIdentity | null = null): EncodedValue {
  if (serialized.buffers.length === 0 && serialized.contained.length === 0) return new EncodedValue(serialized.tag, serialized.head);
  const layout = layOutValue(serialized, self);
  const bytes = Buffer.alloc(layout.sizeBytes);
  bytes.set(layout.front);
  serialized.buffers.forEach((buffer, i) => bytes.set(buffer, layout.offsets[i]!));
  return new EncodedValue(Composite.packed, bytes);
}
