/** The task frame codec: values and records round-trip, and bytes that nobody wrote are refused. */
import t from 'tap';
import { MusterError, seededRandom } from '@muster/base';
import { ByteReader, ByteWriter } from './bytes.js';
import { FRAME_PART_BYTES, frameMessages, FrameReader } from './parts.js';
import { FrameWriter, framePayload, OwnerOp } from './records.js';
import { Composite, COMPOSITE, readPrimitive, writeComposite, writePrimitive, type ValueCursor } from './value.js';

const cursor = (): ValueCursor => ({ compositeTag: 0, compositeStart: 0, compositeEnd: 0 });

function roundTrip(value: unknown): unknown {
  const writer = new ByteWriter(8);
  if (!writePrimitive(writer, value)) throw new Error(`${String(value)} was not taken for a primitive`);
  const reader = new ByteReader().reset(writer.buffer.subarray(0, writer.position));
  const back = readPrimitive(reader, cursor());
  if (reader.position !== reader.end) throw new Error(`${String(value)} left bytes over`);
  return back;
}

t.test('primitives come back exactly', (t) => {
  const values = [
    0, -0, 1, -1, 31, -32, -33, 127, 128, 255, 65535, 2 ** 31 - 1, -(2 ** 31), 2 ** 31, 2 ** 53, 1.5, -1e300, NaN, Infinity, -Infinity, Number.MIN_VALUE,
    '', 'a', 'x'.repeat(31), 'x'.repeat(32), 'é', '🙂', 'x'.repeat(32_768), '\u0000', true, false, null, undefined,
  ];
  for (const value of values) {
    const back = roundTrip(value);
    t.ok(Object.is(back, value), `${String(value).slice(0, 40)} came back as ${String(back).slice(0, 40)}`);
  }
  t.end();
});

t.test('random primitives come back exactly', (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
  const random = seededRandom(seed);
  const make = (): unknown => {
    switch (Math.floor(random.next() * 4)) {
      case 0: return Math.floor((random.next() - 0.5) * 2 ** Math.floor(random.next() * 54));
      case 1: return (random.next() - 0.5) * 10 ** Math.floor(random.next() * 300);
      case 2: return random.hex(Math.floor(random.next() * 70));
      default: return String.fromCodePoint(...Array.from({ length: 20 }, () => 32 + Math.floor(random.next() * 0xd000)));
    }
  };
  let wrong = 0;
  const writer = new ByteWriter(16);
  const values = Array.from({ length: 20_000 }, make);
  for (const value of values) writePrimitive(writer, value);
  const reader = new ByteReader().reset(writer.buffer.subarray(0, writer.position));
  for (const value of values) if (!Object.is(readPrimitive(reader, cursor()), value)) wrong++;
  t.equal(wrong, 0, `seed ${seed}`);
  t.end();
});

t.test('objects, long strings and strings that are no UTF-8 are left to core', (t) => {
  const writer = new ByteWriter(8);
  for (const value of [{}, [], () => 1, 5n, Symbol('x'), 'x'.repeat(32_769), '\ud800 alone']) t.equal(writePrimitive(writer, value), false);
  t.equal(writer.position, 0, 'nothing was written');
  t.end();
});

t.test('a composite can be stepped over', (t) => {
  const writer = new ByteWriter(8);
  writeComposite(writer, Composite.graph, Buffer.from('abc'));
  writePrimitive(writer, 7);
  const reader = new ByteReader().reset(writer.buffer.subarray(0, writer.position));
  const at = cursor();
  t.equal(readPrimitive(reader, at), COMPOSITE);
  t.equal(at.compositeTag, Composite.graph);
  t.equal(reader.buffer.toString('utf8', at.compositeStart, at.compositeEnd), 'abc');
  t.equal(readPrimitive(reader, at), 7);
  t.end();
});

t.test('a frame carries its records', (t) => {
  const writer = new FrameWriter();
  for (let slot = 0; slot < 50_000; slot++) {
    const at = writer.beginRecord(OwnerOp.cancel);
    writer.u32(slot);
    writer.endRecord(at);
  }
  const payload = framePayload(writer.take());
  t.ok(writer.isEmpty);
  const reader = new ByteReader().reset(payload);
  let expected = 0;
  while (reader.position < reader.end) {
    const end = reader.u32() + reader.position;
    if (reader.u8() !== OwnerOp.cancel || reader.u32() !== expected++ || reader.position !== end) t.fail(`record ${expected}`);
  }
  t.equal(expected, 50_000);
  t.end();
});

t.test('a frame larger than a message travels in parts', (t) => {
  const writer = new FrameWriter();
  const record = writer.beginRecord(OwnerOp.define);
  const block = Buffer.alloc(2 * FRAME_PART_BYTES + 12_345, 'abcdefg');
  writer.block(block);
  writer.endRecord(record);
  const frame = writer.take();
  const messages = frameMessages(frame);
  t.equal(messages.length, 3);
  const reader = new FrameReader();
  t.same(messages.slice(0, 2).map((message) => reader.take(message)), [null, null]);
  t.ok(Buffer.from(framePayload(frame)).equals(reader.take(messages[2]!)!));
  t.ok(Buffer.from(reader.take(new FrameWriter().take())!).equals(Buffer.alloc(0)), 'the next frame is whole again');
  t.end();
});

t.test('garbage is refused with PROTOCOL and nothing else', (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
  const random = seededRandom(seed);
  let other: unknown;
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.from(random.hex(2 * Math.floor(random.next() * 40)), 'hex');
    for (const read of [() => framePayload(bytes), () => readPrimitive(new ByteReader().reset(bytes), cursor())]) {
      try {
        read();
      } catch (error) {
        if (!(error instanceof MusterError) || error.code !== 'PROTOCOL') other = error;
      }
    }
  }
  t.equal(other, undefined, `seed ${seed}`);
  t.end();
});
