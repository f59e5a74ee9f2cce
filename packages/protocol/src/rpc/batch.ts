/**
 * Messages that one side of a stream sends in one turn travel as one gRPC message, because each of those costs what ten messages of a few fields do. It is the
 * `…Batch` message of proto/, whose one repeated field holds them.
 */
import { makeError } from '@muster/base';
import type { Codec } from '../codec.js';
import type { StreamShape } from './methods.js';

/** What a batch has before it is sent without waiting for the turn's end. Larger ones would only take longer to begin. */
const BATCH_BYTES = 64 * 2 ** 10;
/** The tag of field 1, of a length and so many bytes. */
const MESSAGES_TAG = 0x0a;
const LENGTH_MAX_BYTES = 5;

/** The sending side of a gRPC call. */
interface Call {
  /** False: it is full until it drains. */
  write(bytes: Uint8Array): boolean;
}

/** What is sent on one call. */
export interface MessageWriter<Message> {
  /** False: the call is full until it drains. */
  send(message: Message): boolean;
  /** Sends what has been gathered. */
  flush(): void;
  drained(): void;
  /** The call is over: what has been gathered goes nowhere. */
  drop(): void;
}

class BatchWriter<Message> implements MessageWriter<Message> {
  readonly #call: Call;
  readonly #encode: (message: Message) => Uint8Array;
  #encoded: Uint8Array[] = [];
  #sizeBytes = 0;
  #isFull = false;

  constructor(call: Call, codec: Codec<Message>) {
    this.#call = call;
    this.#encode = codec.encode;
  }

  send(message: Message): boolean {
    const bytes = this.#encode(message);
    if (this.#sizeBytes + bytes.length > BATCH_BYTES) this.flush();
    if (this.#encoded.push(bytes) === 1) process.nextTick(() => this.flush());
    this.#sizeBytes += bytes.length;
    if (this.#sizeBytes > BATCH_BYTES) this.flush();
    return !this.#isFull;
  }

  flush(): void {
    if (this.#encoded.length === 0) return;
    const batch = joined(this.#encoded, this.#sizeBytes);
    this.drop();
    this.#isFull = !this.#call.write(batch);
  }

  drained(): void {
    this.#isFull = false;
  }

  drop(): void {
    this.#encoded = [];
    this.#sizeBytes = 0;
  }
}

/** Of a stream in batches, or one that sends each frame by itself. */
export function writerOf(shape: StreamShape, call: Call, codec: Codec<never>): MessageWriter<never> {
  if (shape === 'duplex') return new BatchWriter(call, codec);
  return { send: (frame) => call.write(codec.encode(frame)), flush: () => {}, drained: () => {}, drop: () => {} };
}

/** What came in one gRPC message: at least one. @throws MusterError PROTOCOL for bytes that are none */
export function readMessages<Message>(shape: StreamShape, bytes: Uint8Array, codec: Codec<Message>): Message[] {
  return shape === 'duplex' ? readBatch(bytes, codec) : [codec.decode(bytes)];
}

function joined(messages: readonly Uint8Array[], sizeBytes: number): Uint8Array {
  const batch = Buffer.allocUnsafe(sizeBytes + messages.length * (1 + LENGTH_MAX_BYTES));
  let at = 0;
  for (const bytes of messages) {
    batch[at++] = MESSAGES_TAG;
    let rest = bytes.length;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) batch[at++] = (rest % 0x80) | 0x80;
    batch[at++] = rest;
    batch.set(bytes, at);
    at += bytes.length;
  }
  return batch.subarray(0, at);
}

function readBatch<Message>(batch: Uint8Array, { decode }: Codec<Message>): Message[] {
  const messages: Message[] = [];
  let at = 0;
  do {
    let length = 0;
    let scale = 1;
    const isField = batch[at++] === MESSAGES_TAG;
    let byte = 0x80;
    for (let count = 0; count < LENGTH_MAX_BYTES && byte >= 0x80; count++, scale *= 0x80) {
      byte = batch[at++] ?? 0x80;
      length += (byte % 0x80) * scale;
    }
    if (!isField || byte >= 0x80 || at + length > batch.length) throw makeError('PROTOCOL', { what: 'a peer', cause: 'not a batch of messages' });
    messages.push(decode(batch.subarray(at, at + length)));
    at += length;
  } while (at < batch.length);
  return messages;
}
