/**
 * The protobuf wire format: what the generated codecs (generated/codecs.ts) write messages with and read them with. It knows no message. As in
 * proto3, a field with its type's zero value is left out, except in a list or where its presence says something; unknown fields are skipped.
 */

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

/** Ten groups of seven bits hold 64 bits. */
const VARINT_MAX_BYTES = 10;
/** A tag and a length, or a tag and a number. */
const HEADER_MAX_BYTES = 2 * VARINT_MAX_BYTES;
/** Most messages fit without growing. */
const FIRST_CAPACITY_BYTES = 256;
/** Up to this length a loop is faster than a call into Node's encoder. */
const SHORT_STRING_MAX = 64;
/** What a field of bytes is when it is absent. */
export const NO_BYTES: Uint8Array = Buffer.alloc(0);

/** Writes one message. Fields are known by their numbers. */
export class WireWriter {
  #buffer = Buffer.allocUnsafe(FIRST_CAPACITY_BYTES);
  #position = 0;

  /** What was written, as a view. The writer must not be used again. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#position);
  }

  string(field: number, value: string): void {
    if (value !== '') this.stringItem(field, value);
  }

  /** The same also when it is empty. */
  stringItem(field: number, value: string): void {
    if (value.length <= SHORT_STRING_MAX && this.#ascii(field, value)) return;
    const sizeBytes = Buffer.byteLength(value);
    this.#header(field, sizeBytes);
    this.#position += this.#buffer.write(value, this.#position, sizeBytes, 'utf8');
  }

  bytes(field: number, value: Uint8Array): void {
    if (value.length === 0) return;
    this.#header(field, value.length);
    this.#buffer.set(value, this.#position);
    this.#position += value.length;
  }

  bool(field: number, value: boolean): void {
    if (value) this.uint32(field, 1);
  }

  uint32(field: number, value: number): void {
    if (value === 0) return;
    this.#tag(field, VARINT);
    this.#varint(value >>> 0);
  }

  /** A negative number takes ten bytes. */
  int32(field: number, value: number): void {
    if (value < 0) {
      this.#tag(field, VARINT);
      this.#longVarint(value >>> 0, 0xffff_ffff);
    } else this.uint32(field, value);
  }

  /** Exact up to 2^53. */
  uint64(field: number, value: number): void {
    if (value === 0) return;
    this.#tag(field, VARINT);
    const low = value >>> 0;
    this.#longVarint(low, ((value - low) / 2 ** 32) >>> 0);
  }

  double(field: number, value: number): void {
    if (Object.is(value, 0)) return;
    this.#tag(field, FIXED64);
    this.#position = this.#buffer.writeDoubleLE(value, this.#position);
  }

  strings(field: number, values: readonly string[]): void {
    for (const value of values) this.stringItem(field, value);
  }

  /** Packed. */
  uint32s(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.#block(field, () => {
      for (const value of values) {
        this.#reserve(VARINT_MAX_BYTES);
        this.#varint(value >>> 0);
      }
    });
  }

  /** Written also when all of its fields are zero; null is absent. */
  message<T>(field: number, value: T | null, write: (out: WireWriter, value: T) => void): void {
    if (value !== null && value !== undefined) this.#block(field, () => write(this, value));
  }

  messages<T>(field: number, values: readonly T[], write: (out: WireWriter, value: T) => void): void {
    for (const value of values) this.message(field, value, write);
  }

  /** Each entry is a message with the key as field 1; `writeValue` writes field 2. */
  map<T>(field: number, values: Readonly<Record<string, T>>, writeValue: (out: WireWriter, value: T) => void): void {
    for (const key of Object.keys(values)) {
      this.#block(field, () => {
        this.string(1, key);
        writeValue(this, values[key]!);
      });
    }
  }

  /** Something whose length is known when it is written: one byte is left for the length, and what was written moves when it takes more. */
  #block(field: number, write: () => void): void {
    this.#tag(field, DELIMITED);
    const start = ++this.#position;
    write();
    const sizeBytes = this.#position - start;
    this.#reserve(VARINT_MAX_BYTES);
    this.#position = start - 1;
    if (sizeBytes > 0x7f) this.#buffer.copyWithin(start - 1 + varintBytes(sizeBytes), start, start + sizeBytes);
    this.#varint(sizeBytes);
    this.#position += sizeBytes;
  }

  /** A short string character by character; false, and nothing is written, when it is not ASCII. */
  #ascii(field: number, value: string): boolean {
    const start = this.#position;
    this.#header(field, value.length);
    const buffer = this.#buffer;
    let position = this.#position;
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) {
        this.#position = start;
        return false;
      }
      buffer[position++] = code;
    }
    this.#position = position;
    return true;
  }

  #header(field: number, sizeBytes: number): void {
    this.#reserve(HEADER_MAX_BYTES + sizeBytes);
    this.#varint((field << 3) | DELIMITED);
    this.#varint(sizeBytes);
  }

  /** Makes room for what follows the tag, too, unless that has a length. */
  #tag(field: number, wireType: number): void {
    this.#reserve(HEADER_MAX_BYTES);
    this.#varint((field << 3) | wireType);
  }

  /** Seven bits a byte, the lowest first. The number is below 2^32, and there is room. */
  #varint(value: number): void {
    while (value > 0x7f) {
      this.#buffer[this.#position++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    this.#buffer[this.#position++] = value;
  }

  #longVarint(low: number, high: number): void {
    while (high > 0) {
      this.#buffer[this.#position++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    this.#varint(low);
  }

  #reserve(sizeBytes: number): void {
    if (this.#position + sizeBytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#position + sizeBytes));
    this.#buffer.copy(larger, 0, 0, this.#position);
    this.#buffer = larger;
  }
}

function varintBytes(value: number): number {
  let sizeBytes = 1;
  for (; value > 0x7f; value >>>= 7) sizeBytes++;
  return sizeBytes;
}

/** Reads one message, field by field. Bytes are views of it. What ends too early or has no meaning throws RangeError. */
export class WireReader {
  readonly #buffer: Buffer;
  #position = 0;
  /** Of the innermost message that is being read. */
  #end: number;

  constructor(bytes: Uint8Array) {
    this.#buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#end = bytes.length;
  }

  /** The next field's number and wire type; 0 at the end of the message. */
  tag(): number {
    if (this.#position === this.#end) return 0;
    const tag = this.uint32();
    if (tag >>> 3 === 0) throw new RangeError('it has a field without a number');
    return tag;
  }

  string(): string {
    const at = this.#take(this.uint32());
    return this.#buffer.toString('utf8', at, this.#position);
  }

  bytes(): Uint8Array {
    const at = this.#take(this.uint32());
    return at === this.#position ? NO_BYTES : this.#buffer.subarray(at, this.#position);
  }

  bool(): boolean {
    return this.uint64() !== 0;
  }

  uint32(): number {
    return this.int32() >>> 0;
  }

  /** The lowest 32 bits. */
  int32(): number {
    let bits = 0;
    for (let count = 0; count < VARINT_MAX_BYTES; count++) {
      const byte = this.#buffer[this.#take(1)]!;
      if (count < 5) bits |= (byte & 0x7f) << (7 * count);
      if (byte < 0x80) return bits;
    }
    throw endlessNumber();
  }

  /** Exact up to 2^53. */
  uint64(): number {
    let value = 0;
    for (let scale = 1, count = 0; count < VARINT_MAX_BYTES; scale *= 128, count++) {
      const byte = this.#buffer[this.#take(1)]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw endlessNumber();
  }

  double(): number {
    return this.#buffer.readDoubleLE(this.#take(8));
  }

  /** Adds packed numbers to a list. */
  uint32s(into: number[]): void {
    this.#block(() => {
      while (this.#position < this.#end) into.push(this.uint32());
    });
  }

  message<T>(read: (input: WireReader) => T): T {
    return this.#block(() => read(this));
  }

  /** Adds one entry to a map; `readValue` reads field 2, whose tag is given. */
  entry<T>(into: Record<string, T>, { tag: valueTag, zero, read }: MapValue<T>): void {
    let key = '';
    let value = zero;
    this.#block(() => {
      for (let tag = this.tag(); tag !== 0; tag = this.tag()) {
        if (tag === STRING_KEY_TAG) key = this.string();
        else if (tag === valueTag) value = read(this);
        else this.skip(tag);
      }
    });
    if (key === '__proto__') Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true });
    else into[key] = value;
  }

  /** Steps over a field that is not known here. */
  skip(tag: number): void {
    switch (tag & 7) {
      case VARINT: return void this.uint64();
      case FIXED64: return void this.#take(8);
      case DELIMITED: return void this.#take(this.uint32());
      case FIXED32: return void this.#take(4);
      default: throw new RangeError(`it has a field of wire type ${tag & 7}`);
    }
  }

  #block<T>(read: () => T): T {
    const sizeBytes = this.uint32();
    const outerEnd = this.#end;
    if (this.#position + sizeBytes > outerEnd) throw endsEarly();
    this.#end = this.#position + sizeBytes;
    const value = read();
    this.#end = outerEnd;
    return value;
  }

  /** Steps over bytes and returns where they start. */
  #take(sizeBytes: number): number {
    const at = this.#position;
    if (at + sizeBytes > this.#end) throw endsEarly();
    this.#position = at + sizeBytes;
    return at;
  }
}

/** How a map's values are read. */
export interface MapValue<T> {
  readonly tag: number;
  /** Of an entry without a value. */
  readonly zero: T;
  readonly read: (input: WireReader) => T;
}

const STRING_KEY_TAG = (1 << 3) | DELIMITED;

const endsEarly = (): RangeError => new RangeError('it ends too early');
const endlessNumber = (): RangeError => new RangeError('it has a number of more than 64 bits');
