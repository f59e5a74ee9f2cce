/** A growing buffer to write records into, and a cursor to read them. Integers are little-endian and unaligned. */
import { makeError } from '@muster/base';

/** Owns its buffer. The hot paths write into `buffer` and `view` directly after `reserve`. */
export class ByteWriter {
  buffer: Buffer;
  view: DataView;
  position: number;

  /** `start` bytes at the front are left for a header. What does not fit grows to at least `grownBytes`. */
  constructor(capacityBytes: number, start = 0, readonly grownBytes = 0) {
    this.buffer = Buffer.allocUnsafeSlow(capacityBytes);
    this.view = new DataView(this.buffer.buffer);
    this.position = start;
  }

  /** Makes room for this many more bytes. */
  reserve(sizeBytes: number): void {
    if (this.position + sizeBytes > this.buffer.length) this.#grow(sizeBytes);
  }

  u8(value: number): void {
    this.reserve(1);
    this.buffer[this.position++] = value;
  }

  u16(value: number): void {
    this.reserve(2);
    this.view.setUint16(this.position, value, true);
    this.position += 2;
  }

  u32(value: number): void {
    this.reserve(4);
    this.view.setUint32(this.position, value, true);
    this.position += 4;
  }

  f64(value: number): void {
    this.reserve(8);
    this.view.setFloat64(this.position, value, true);
    this.position += 8;
  }

  bytes(source: Uint8Array): void {
    this.reserve(source.length);
    this.buffer.set(source, this.position);
    this.position += source.length;
  }

  /** A u32 length, then the bytes. */
  block(source: Uint8Array): void {
    this.u32(source.length);
    this.bytes(source);
  }

  /** A u32 length, then UTF-8. */
  text(value: string): void {
    const sizeBytes = Buffer.byteLength(value);
    this.u32(sizeBytes);
    this.reserve(sizeBytes);
    this.buffer.write(value, this.position, 'utf8');
    this.position += sizeBytes;
  }

  #grow(sizeBytes: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.grownBytes, this.position + sizeBytes + 64));
    this.buffer.copy(larger, 0, 0, this.position);
    this.buffer = larger;
    this.view = new DataView(larger.buffer);
  }
}

/** What a reader stands in before it is given anything. */
const NOTHING = Buffer.alloc(0);
const NO_VIEW = new DataView(NOTHING.buffer, 0, 0);

/** Reads what ByteWriter wrote. Reading past the end throws PROTOCOL. */
export class ByteReader {
  buffer: Buffer = NOTHING;
  view: DataView = NO_VIEW;
  position = 0;
  end = 0;

  /** Starts over on other bytes, which it does not copy. */
  reset(bytes: Uint8Array): this {
    this.buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.position = 0;
    this.end = bytes.length;
    return this;
  }

  u8(): number {
    if (this.position >= this.end) throw truncated();
    return this.buffer[this.position++]!;
  }

  u16(): number {
    const at = this.take(2);
    return this.view.getUint16(at, true);
  }

  u32(): number {
    const at = this.take(4);
    return this.view.getUint32(at, true);
  }

  f64(): number {
    const at = this.take(8);
    return this.view.getFloat64(at, true);
  }

  /** A view of the next bytes, not a copy. */
  bytes(sizeBytes: number): Buffer {
    const at = this.take(sizeBytes);
    return this.buffer.subarray(at, at + sizeBytes);
  }

  /** What `block` wrote, as a view. */
  block(): Buffer {
    return this.bytes(this.u32());
  }

  text(): string {
    const sizeBytes = this.u32();
    const at = this.take(sizeBytes);
    return this.buffer.toString('utf8', at, at + sizeBytes);
  }

  /** Steps over bytes and returns where they start. */
  take(sizeBytes: number): number {
    const at = this.position;
    if (at + sizeBytes > this.end) throw truncated();
    this.position = at + sizeBytes;
    return at;
  }
}

function truncated(): Error {
  return makeError('PROTOCOL', { what: 'a peer', cause: 'a record ends too early' });
}
