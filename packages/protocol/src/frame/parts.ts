/**
 * Frames that are larger than a message may be, such as a task with a thousand arguments of 90 KB. They travel as `Frame { bytes part = 2; }`
 * messages, and the last piece as a `payload`: together they are the payload.
 */
import { makeError } from '@muster/base';
import { FRAME_HEADER_BYTES, framePayload, writeFrameHeader } from './records.js';

/** Far below the limit of a message; see MESSAGE_MAX_BYTES. */
export const FRAME_PART_BYTES = 16 * 2 ** 20;
/** What a receiver puts together at most: a peer cannot make it run out of memory. */
const FRAME_MAX_BYTES = 2 ** 31;

const PAYLOAD_TAG = 0x0a;
const PART_TAG = 0x12;

/** The messages that carry a frame: nearly always itself. */
export function frameMessages(frame: Uint8Array): readonly Uint8Array[] {
  if (frame.length <= FRAME_PART_BYTES) return [frame];
  const messages: Uint8Array[] = [];
  for (let at = FRAME_HEADER_BYTES; at < frame.length; at += FRAME_PART_BYTES) {
    const piece = frame.subarray(at, at + FRAME_PART_BYTES);
    const message = Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES + piece.length);
    writeFrameHeader(message, at + FRAME_PART_BYTES < frame.length ? PART_TAG : PAYLOAD_TAG, piece.length);
    message.set(piece, FRAME_HEADER_BYTES);
    messages.push(message);
  }
  return messages;
}

/** Puts the messages of one stream together again. */
export class FrameReader {
  #parts: Uint8Array[] = [];
  #sizeBytes = 0;

  /** The payload that is complete with this message, or null when more of it is to come. @throws MusterError PROTOCOL */
  take(message: Uint8Array): Uint8Array | null {
    if (message[0] === PAYLOAD_TAG && this.#parts.length === 0) return framePayload(message);
    const isPart = message[0] === PART_TAG;
    const piece = framePayload(message, isPart ? PART_TAG : PAYLOAD_TAG);
    this.#sizeBytes += piece.length;
    if (this.#sizeBytes > FRAME_MAX_BYTES) throw makeError('PROTOCOL', { what: 'a peer', cause: `a task frame of more than ${FRAME_MAX_BYTES} bytes` });
    this.#parts.push(piece);
    if (isPart) return null;
    const payload = Buffer.concat(this.#parts, this.#sizeBytes);
    this.#parts = [];
    this.#sizeBytes = 0;
    return payload;
  }
}
