/** Batches: what is sent in one turn arrives as it was sent, and bytes that are no batch are refused. */
import t from 'tap';
import { seededRandom } from '@muster/base';
import type { Codec } from '../codec.js';
import { codec } from '../codec.js';
import { readMessages, writerOf } from './batch.js';

const bytesCodec: Codec<Uint8Array> = { encode: (bytes) => bytes, decode: (bytes) => bytes };

/** Collects what is written to it. */
class FakeCall {
  readonly written: Uint8Array[] = [];
  isFull = false;

  write(bytes: Uint8Array): boolean {
    this.written.push(bytes);
    return !this.isFull;
  }

  messages(): string[] {
    return this.written.flatMap((batch) => readMessages('duplex', batch, bytesCodec).map((bytes) => Buffer.from(bytes).toString('latin1')));
  }
}

const turnOver = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('messages of any size arrive whole and in order, small ones of a turn together', async (t) => {
  const random = seededRandom(1);
  for (let history = 0; history < 50; history++) {
    const call = new FakeCall();
    const writer = writerOf('duplex', call, bytesCodec as never);
    const sent: string[] = [];
    let turns = 0;
    for (let step = 0; step < 40; step++) {
      const size = [0, 1, 127, 128, 1000, 16_383, 16_384, 65_535, 65_536, 200_000][Math.floor(random.next() * 10)]!;
      const text = String.fromCharCode(33 + (step % 90)).repeat(size);
      writer.send(Buffer.from(text, 'latin1') as never);
      sent.push(text);
      if (random.next() < 0.2) { await turnOver(); turns++; }
    }
    writer.flush();
    if (call.messages().join('|') !== sent.join('|')) t.fail(`history ${history}`);
    const bound = 2 * Math.ceil(sent.reduce((sum, { length }) => sum + length, 0) / 65_536) + turns + 1;
    if (call.written.length > bound) t.fail(`history ${history}: ${call.written.length} batches, more than ${bound}`);
  }
  const call = new FakeCall();
  const writer = writerOf('duplex', call, codec('NodeToHead') as never);
  for (let epoch = 0; epoch < 100; epoch++) writer.send({ type: 'peersMissed' } as never);
  t.equal(call.written.length, 0, 'nothing before the turn is over');
  await turnOver();
  t.equal(call.written.length, 1);
  t.equal(readMessages('duplex', call.written[0]!, codec('NodeToHead')).length, 100);
});

t.test('a call that is full says so until it drains', async (t) => {
  const call = new FakeCall();
  const writer = writerOf('duplex', call, bytesCodec as never);
  call.isFull = true;
  t.ok(writer.send(Buffer.alloc(10) as never));
  writer.flush();
  t.notOk(writer.send(Buffer.alloc(10) as never));
  writer.drained();
  t.ok(writer.send(Buffer.alloc(10) as never));
  t.notOk(writer.send(Buffer.alloc(100_000) as never), 'a large one is sent at once');
});

t.test('what was gathered for a call that is over goes nowhere', async (t) => {
  const call = new FakeCall();
  const writer = writerOf('duplex', call, bytesCodec as never);
  writer.send(Buffer.from('a') as never);
  writer.drop();
  await turnOver();
  t.same(call.written, []);
});

t.test('bytes that are no batch are refused, whatever they are', async (t) => {
  const read = (...bytes: number[]) => (): unknown => readMessages('duplex', Buffer.from(bytes), bytesCodec);
  t.same((read(0x0a, 0)() as unknown[]).length, 1);
  for (const [what, attempt] of Object.entries({
    nothing: read(), 'another field': read(0x12, 0), 'no length': read(0x0a), 'a length without an end': read(0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80), 'more than there is': read(0x0a, 5, 1),
    'the largest length': read(0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f), 'rest': read(0x0a, 1, 1, 7),
  })) t.throws(attempt, { code: 'PROTOCOL' }, what);
});
