/**
 * TensorBoard's event files: records of a length and a message, each with a masked CRC-32C.
 * Source: tensorflow/core/lib/io/record_writer.h and tensorboard/compat/proto/event.proto.
 */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { bytesField, doubleField, floatField, intField, message } from './protobuf.js';

/** Castagnoli's polynomial, reflected. */
const POLYNOMIAL = 0x82f63b78;
const MASK_DELTA = 0xa282ead8;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc >>> 0;
});

/** The CRC-32C of bytes. Source: RFC 3720, appendix B.4. */
export function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** A file of events. */
export class EventFile {
  readonly #descriptor: number;

  constructor(path: string) {
    this.#descriptor = openSync(path, 'w');
    this.#write(message(doubleField(1, Date.now() / 1000), bytesField(3, 'brain.Event:2')));
  }

  /** One number at a step. `metadata`: a plugin's, as TensorBoard wants it for what is no plain number. */
  value(tag: string, { value, step, metadata }: { readonly value?: number; readonly step: number; readonly metadata?: Buffer }): void {
    const fields = [bytesField(1, tag), ...(value === undefined ? [] : [floatField(2, value)]), ...(metadata ? [bytesField(9, metadata)] : [])];
    this.#write(message(doubleField(1, Date.now() / 1000), intField(2, step), bytesField(5, bytesField(1, message(...fields)))));
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #write(event: Buffer): void {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(event.length));
    writeFileSync(this.#descriptor, Buffer.concat([length, maskedCrc(length), event, maskedCrc(event)]));
  }
}

function maskedCrc(bytes: Buffer): Buffer {
  const crc = crc32c(bytes);
  const masked = (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;
  const field = Buffer.alloc(4);
  field.writeUInt32LE(masked);
  return field;
}
