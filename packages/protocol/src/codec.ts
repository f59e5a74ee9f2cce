/**
 * Codecs of all control messages. In TypeScript a union is one object with a `type`; on the wire it is a protobuf message with one field of
 * `oneof body` set.
 */
import { makeError } from '@muster/base';
import { FORMS } from './generated/codecs.js';
import type { Messages, Unions } from './generated/messages.js';
import { WireReader, WireWriter } from './wire-format.js';

/** Turns one kind of message into bytes and back. */
export interface Codec<T> {
  encode(message: T): Uint8Array;
  /** Every field is present; an absent message is null. @throws MusterError PROTOCOL for bytes that are no such message. */
  decode(bytes: Uint8Array): T;
}

type Name = keyof Messages | keyof Unions;
type Form<T> = { readonly write: (out: WireWriter, message: T) => void; readonly read: (input: WireReader) => T };

function makeCodec<T>(name: Name, { write, read }: Form<T>): Codec<T> {
  return {
    encode: (message) => {
      const out = new WireWriter();
      write(out, message);
      return out.finish();
    },
    decode: (bytes) => {
      try {
        return read(new WireReader(bytes));
      } catch (cause) {
        throw makeError('PROTOCOL', { what: 'a peer', cause: `not a ${name}: ${(cause as Error).message}` }, { cause });
      }
    },
  };
}

const codecs = new Map<Name, Codec<never>>();

/** The codec of a message or union of proto/muster/v1. */
export function codec<N extends Name>(name: N): Codec<(Messages & Unions)[N]> {
  let found = codecs.get(name);
  if (!found) codecs.set(name, (found = makeCodec(name, FORMS[name] as unknown as Form<never>)));
  return found as Codec<(Messages & Unions)[N]>;
}
