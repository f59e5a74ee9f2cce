/**
 * Codecs of all control messages, built from the generated descriptor. In TypeScript a union is one object with a `type`;
 * on the wire it is a protobuf message with one field of `oneof body` set.
 */
import protobuf from 'protobufjs/light.js';
import { makeError } from '@muster/base';
import { descriptor, type Messages, type Unions } from './generated/messages.js';

protobuf.util.Long = null as never; // 64-bit integers as numbers: every size and sequence here is below 2^53
protobuf.configure();

/** Turns one kind of message into bytes and back. */
export interface Codec<T> {
  encode(message: T): Uint8Array;
  /** @throws MusterError PROTOCOL for bytes that are no such message. */
  decode(bytes: Uint8Array): T;
}

/** Plain objects in which every field is present; an absent message is null. */
const COMPLETE = { defaults: true, arrays: true, objects: true };

const root = protobuf.Root.fromJSON(descriptor as protobuf.INamespace);
const codecs = new Map<string, Codec<never>>();

function makeCodec(name: string): Codec<never> {
  const type = root.lookupType(`muster.v1.${name}`);
  const isUnion = type.oneofs?.['body'] !== undefined;
  const decode = (bytes: Uint8Array): unknown => {
    let message: Record<string, { type?: string }>;
    try {
      message = type.toObject(type.decode(bytes), COMPLETE);
    } catch (cause) {
      throw makeError('PROTOCOL', { what: 'a peer', cause: `not a ${name}: ${(cause as Error).message}` }, { cause });
    }
    if (!isUnion) return message;
    for (const body in message) return { type: body, ...message[body] };
    throw makeError('PROTOCOL', { what: 'a peer', cause: `a ${name} with no known body` });
  };
  const encode = (message: { type?: string }): Uint8Array =>
    type.encode(isUnion ? { [message.type!]: message } : message).finish();
  return { encode, decode } as unknown as Codec<never>;
}

/** The codec of a message or union of proto/muster/v1. */
export function codec<Name extends keyof Messages | keyof Unions>(name: Name): Codec<(Messages & Unions)[Name]> {
  let found = codecs.get(name);
  if (!found) codecs.set(name, (found = makeCodec(name)));
  return found as unknown as Codec<(Messages & Unions)[Name]>;
}
