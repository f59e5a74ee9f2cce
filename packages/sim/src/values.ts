/**
 * Values of simulated programs on the wire: plain data as JSON inside of the composites that the machines know. References inside of a
 * value travel as real ones do. A large value names its size; its bytes are only counted.
 */
import { errorFromWire, errorToWire, MusterError } from '@muster/base';
import { ByteReader, Composite } from '@muster/protocol';
import { encodeComposite, EncodedValue, ObjectRef, readRefDescriptors, type OwnerIdentity, type RefDescriptor } from '@muster/core/internal';
import { UserError } from './program.js';

/** A value that is too large for a record: it goes into the object store. */
export class Large {
  constructor(readonly content: unknown, readonly sizeBytes: number) {}
}

/** A value taken apart. */
export interface Written {
  readonly json: Buffer;
  readonly contained: readonly ObjectRef[];
}

/** Takes a value apart. */
export function write(value: unknown): Written {
  const contained: ObjectRef[] = [];
  const json = JSON.stringify(value, (_, part: unknown) => (part instanceof ObjectRef ? { $ref: contained.push(part) - 1 } : part));
  return { json: Buffer.from(json), contained };
}

/** The references inside of a value that lives in a process. */
export function* refsIn(value: unknown): Iterable<ObjectRef> {
  if (value instanceof ObjectRef) yield value;
  else if (typeof value === 'object' && value !== null) for (const part of Object.values(value)) yield* refsIn(part);
}

/** A value as text, for comparing and for people: references by their ids. */
export function print(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (part instanceof ObjectRef ? part.id : part)) ?? 'undefined';
}

/** One composite of a record, or the bytes of a stored object. */
export function encode({ json, contained }: Written, self: OwnerIdentity): EncodedValue {
  return encodeComposite({ tag: Composite.plain, head: json, buffers: [], contained }, self);
}

/** The value again. `adopt` makes a reference of each descriptor. */
export function decode(tag: number, bytes: Uint8Array, adopt: (descriptor: RefDescriptor) => ObjectRef): unknown {
  if (tag !== Composite.packed) return read(bytes, []);
  const { json, descriptors } = unpack(bytes);
  return read(json, descriptors.map(adopt));
}

/** A packed composite without buffers; its layout stands in core's machine/packed. */
function unpack(bytes: Uint8Array): { json: Uint8Array; descriptors: readonly RefDescriptor[] } {
  const reader = new ByteReader().reset(bytes);
  reader.take(4); // the tag of the head: always plain
  const refsBytes = reader.u32();
  const headBytes = reader.u32();
  reader.take(4); // no buffers
  const descriptors = refsBytes > 0 ? readRefDescriptors(new ByteReader().reset(reader.bytes(refsBytes))) : [];
  return { json: reader.bytes(headBytes), descriptors };
}

function read(json: Uint8Array, refs: readonly ObjectRef[]): unknown {
  return JSON.parse(Buffer.from(json).toString(), (_, part: unknown) => {
    const index = (part as { $ref?: number } | null)?.$ref;
    return index === undefined ? part : refs[index];
  });
}

/** What a failed program answers. */
export function encodeError(error: UserError | MusterError): EncodedValue {
  const form = error instanceof MusterError ? { $system: errorToWire(error) } : { $user: error.message };
  return new EncodedValue(Composite.plain, Buffer.from(JSON.stringify(form)));
}

/** What it came from. */
export function decodeError(error: EncodedValue | MusterError): UserError | MusterError {
  if (error instanceof MusterError) return error;
  const form = JSON.parse(Buffer.from(error.bytes).toString()) as { $system?: { code: string; details: Record<string, string> }; $user?: string };
  return form.$system ? errorFromWire(form.$system) : new UserError(form.$user);
}
