/** The generated codecs against protobuf's own library, which reads the same .proto files: each reads what the other wrote. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import protobuf from 'protobufjs';
import t from 'tap';
import { MusterError, seededRandom, type Random } from '@muster/base';
import { codec, type Codec } from './codec.js';
import { FORMS } from './generated/codecs.js';

const MESSAGES_OF_EACH_KIND = 60;
const NAMES = Object.keys(FORMS) as (keyof typeof FORMS)[];
/** Numbers at which the encoding changes its length. */
const NUMBERS = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 35, 2 ** 42 + 1, 2 ** 53 - 1];
const DOUBLES = [0, -0, 1.5, -1e300, Infinity, NaN, Number.MIN_VALUE];

const protoRoot = fileURLToPath(new URL('../../../proto', import.meta.url));
const root = new protobuf.Root();
root.resolvePath = (_origin, target) => `${protoRoot}/${target}`;
root.loadSync(readdirSync(`${protoRoot}/muster/v1`).map((file) => `muster/v1/${file}`)).resolveAll();

const typeNamed = (name: string): protobuf.Type => root.lookupType(`muster.v1.${name}`);
const isUnion = (type: protobuf.Type): boolean => type.oneofs?.['body'] !== undefined;
type Message = Record<string, unknown>;
const anyCodec = (name: string): Codec<Message> => codec(name as never) as unknown as Codec<Message>;

/** As protobuf's library has it: the union's body is a field. Its numbers of 64 bits are objects, so they travel as texts. */
function theirs(type: protobuf.Type, message: Message): Message {
  const { type: body, ...fields } = message;
  const plain = isUnion(type) ? { [body as string]: fields } : message;
  return Object.fromEntries(Object.entries(plain).map(([name, value]) => [name, theirsOf(type.fields[name]!, value)]));
}

function theirsOf(field: protobuf.Field, value: unknown): unknown {
  if (value === null) return null;
  if (field.resolvedType instanceof protobuf.Type) {
    const type = field.resolvedType;
    return Array.isArray(value) ? value.map((item) => theirs(type, item as Message)) : theirs(type, value as Message);
  }
  return field.type === 'uint64' ? String(value as number) : value;
}

/** The other way, with every field present. */
function ours(type: protobuf.Type, message: Message): Message {
  if (isUnion(type)) {
    const [body] = Object.keys(message) as [string];
    return { type: body, ...ours(type.fields[body]!.resolvedType as protobuf.Type, message[body] as Message) };
  }
  return Object.fromEntries(type.fieldsArray.map((field) => [field.name, oursOf(field, message[field.name])]));
}

function oursOf(field: protobuf.Field, value: unknown): unknown {
  if (field.resolvedType instanceof protobuf.Type) {
    const type = field.resolvedType;
    return Array.isArray(value) ? value.map((item) => ours(type, item as Message)) : value ? ours(type, value as Message) : null;
  }
  if (field.type === 'uint64') return Number(value);
  return value instanceof Uint8Array ? Buffer.from(value) : value;
}

function randomMessage(type: protobuf.Type, random: Random): Message {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random.next() * values.length)]!;
  if (isUnion(type)) {
    const body = pick(type.fieldsArray);
    return { type: body.name, ...randomMessage(body.resolvedType as protobuf.Type, random) };
  }
  const scalars: Record<string, () => unknown> = {
    string: () => pick(['', 'a', 'é🙂', random.hex(20), 'long '.repeat(Math.floor(random.next() * 100))]),
    bytes: () => Buffer.from(random.hex(Math.floor(random.next() * 300))),
    bool: () => random.next() < 0.5,
    double: () => pick([...DOUBLES, random.next()]),
    uint32: () => pick(NUMBERS.filter((number) => number < 2 ** 32)),
    int32: () => pick([...NUMBERS.filter((number) => number < 2 ** 31), -1, -128, -(2 ** 31)]),
    uint64: () => pick(NUMBERS),
  };
  const value = (field: protobuf.Field): unknown => {
    const single = (): unknown => (field.resolvedType instanceof protobuf.Type ? randomMessage(field.resolvedType, random) : scalars[field.type]!());
    const several = Array.from({ length: Math.floor(random.next() * 4) }, single);
    if (field instanceof protobuf.MapField) return Object.fromEntries(several.map((item) => [pick(['', 'cpu', random.hex(8)]), item]));
    if (field.repeated) return several;
    return field.resolvedType && random.next() < 0.3 ? null : single();
  };
  return Object.fromEntries(type.fieldsArray.map((field) => [field.name, value(field)]));
}

t.test('random messages of every kind come back, and mean the same to protobuf\'s own library', async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
  const random = seededRandom(seed);
  for (const name of NAMES) {
    const type = typeNamed(name);
    const wire = anyCodec(name);
    for (let i = 0; i < MESSAGES_OF_EACH_KIND; i++) {
      const message = randomMessage(type, random);
      const bytes = wire.encode(message);
      const back = ours(type, type.toObject(type.decode(bytes), { defaults: true, arrays: true, objects: true, longs: String }));
      const read = wire.decode(type.encode(type.fromObject(theirs(type, message))).finish());
      const got = { readByThem: back, readByUs: wire.decode(bytes), writtenByThem: read };
      if (!isDeepStrictEqual(got, { readByThem: message, readByUs: message, writtenByThem: message })) return t.strictSame(got, message, `SEED=${seed}: ${name}`);
    }
  }
  t.pass(`SEED=${seed}`);
});

t.test('an empty message has every field, with its zero', async (t) => {
  t.strictSame(codec('LabelTerm').decode(new Uint8Array(0)), { key: '', operator: '', values: [], weight: 0 });
  t.strictSame(codec('Failure').decode(new Uint8Array(0)), { code: '', details: {} });
  t.strictSame(codec('Demand').decode(new Uint8Array(0)), { resources: null, placement: null, expectedDurationMs: 0, waitForNodes: false });
});

t.test('fields of a later version are skipped, and lists of numbers need not be packed', async (t) => {
  const unknown = [0xf8, 0x01, 0x05, 0xf9, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 0xfa, 0x01, 0x02, 7, 7, 0xfd, 0x01, 1, 2, 3, 4]; // field 31 in each wire type
  t.strictSame(codec('LabelTerm').decode(Buffer.from([...unknown, 0x0a, 0x01, 0x61, ...unknown])), { key: 'a', operator: '', values: [], weight: 0 });
  const list = NAMES.flatMap((name) => typeNamed(name).fieldsArray.map((field) => ({ name, field }))).find(({ field }) => field.repeated && field.type === 'uint32')!;
  const read = anyCodec(list.name).decode(Buffer.from([list.field.id << 3, 1, list.field.id << 3, 0x80, 0x01, (list.field.id << 3) | 2, 2, 3, 4]));
  t.strictSame(read[list.field.name], [1, 128, 3, 4]);
});

t.test('a map keeps a key that is a name of JavaScript\'s own', async (t) => {
  const details = JSON.parse('{"__proto__":"a","constructor":"b"}') as Record<string, string>;
  const back = codec('Failure').decode(codec('Failure').encode({ code: 'X', details })).details;
  t.strictSame(Object.entries(back), [['__proto__', 'a'], ['constructor', 'b']]);
  t.equal(Object.getPrototypeOf(back), Object.prototype);
});

t.test('what is no message is refused with PROTOCOL, however it is cut or changed', async (t) => {
  const refused = (bytes: readonly number[], cause: RegExp, name: keyof typeof FORMS = 'LabelTerm'): void => {
    t.throws(() => codec(name).decode(Buffer.from(bytes)), { code: 'PROTOCOL', message: cause });
  };
  refused([0x0a, 0x05, 0x61], /not a LabelTerm: it ends too early/);
  refused([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], /it ends too early/);
  refused([0x0a, 0x80], /it ends too early/);
  refused([0x20, ...Array<number>(10).fill(0x80), 0], /a number of more than 64 bits/);
  refused([0x0b], /a field of wire type 3/);
  refused([0x00, 0x00], /a field without a number/);
  refused([], /not a ClientToHead: it has no known body/, 'ClientToHead');
  const random = seededRandom(Number(process.env['SEED'] ?? Date.now() % 1e9));
  for (const name of NAMES) {
    const bytes = Buffer.from(anyCodec(name).encode(randomMessage(typeNamed(name), random)));
    for (let i = 0; i < 200 && bytes.length > 0; i++) {
      const broken = Buffer.from(bytes.subarray(0, Math.ceil(random.next() * bytes.length)));
      broken[Math.floor(random.next() * broken.length)] = Math.floor(random.next() * 256);
      try {
        anyCodec(name).decode(broken);
      } catch (error) {
        if (!(error instanceof MusterError) || error.code !== 'PROTOCOL') throw error;
      }
    }
  }
});
