/** How references, endpoints and stored objects are written inside composites. */
import { ByteReader, ByteWriter, type Endpoint } from '@muster/protocol';
import type { ObjectId } from '@muster/base';
import type { ObjectRef, StoredObject } from './reference.js';

/** A reference on the wire: its id, and where its owner listens. */
export interface RefDescriptor {
  readonly id: ObjectId;
  readonly ownerId: string;
  readonly owner: Endpoint;
}

/** A stored object on the wire. */
export interface StoredDescriptor {
  readonly storageId: string;
  readonly sizeBytes: number;
  readonly locations: readonly Endpoint[];
  readonly contained: readonly RefDescriptor[];
}

function writeEndpoint(writer: ByteWriter, endpoint: Endpoint): void {
  writer.text(endpoint.nodeId);
  writer.text(endpoint.unixPath);
  writer.text(endpoint.host);
  writer.u32(endpoint.port);
}

function readEndpoint(reader: ByteReader): Endpoint {
  return { nodeId: reader.text(), unixPath: reader.text(), host: reader.text(), port: reader.u32() };
}

export function writeRefDescriptors(writer: ByteWriter, descriptors: readonly RefDescriptor[]): void {
  writer.u32(descriptors.length);
  for (const { id, ownerId, owner } of descriptors) {
    writer.text(id);
    writer.text(ownerId);
    writeEndpoint(writer, owner);
  }
}

export function readRefDescriptors(reader: ByteReader): RefDescriptor[] {
  const descriptors: RefDescriptor[] = [];
  for (let left = reader.u32(); left > 0; left--) descriptors.push({ id: reader.text() as ObjectId, ownerId: reader.text(), owner: readEndpoint(reader) });
  return descriptors;
}

/** The body of a `stored` composite. */
export function encodeStored(stored: StoredDescriptor): Uint8Array {
  const writer = new ByteWriter(256);
  writer.text(stored.storageId);
  writer.f64(stored.sizeBytes);
  writer.u32(stored.locations.length);
  for (const location of stored.locations) writeEndpoint(writer, location);
  writeRefDescriptors(writer, stored.contained);
  return writer.buffer.subarray(0, writer.position);
}

/** @throws MusterError PROTOCOL */
export function decodeStored(bytes: Uint8Array): StoredDescriptor {
  const reader = new ByteReader().reset(bytes);
  const storageId = reader.text();
  const sizeBytes = reader.f64();
  const locations: Endpoint[] = [];
  for (let left = reader.u32(); left > 0; left--) locations.push(readEndpoint(reader));
  return { storageId, sizeBytes, locations, contained: readRefDescriptors(reader) };
}

/** The descriptor of a reference held by the process with this id and endpoint. */
export function describeRef(ref: ObjectRef, self: { readonly processId: string; readonly endpoint: Endpoint }): RefDescriptor {
  const foreign = ref.detail?.foreign;
  return foreign ? { id: foreign.id, ownerId: foreign.ownerId, owner: foreign.owner } : { id: ref.id, ownerId: self.processId, owner: self.endpoint };
}

export function describeStored(stored: StoredObject, self: { readonly processId: string; readonly endpoint: Endpoint }): StoredDescriptor {
  return { storageId: stored.storageId, sizeBytes: stored.sizeBytes, locations: stored.locations, contained: stored.contained.map((ref) => describeRef(ref, self)) };
}
