/** Graphs of any shape, in one process: they come back equal, they come back through the caller's options, and damaged bytes never do. */
import { isDeepStrictEqual, types } from 'node:util';
import t from 'tap';
import { MusterError, seededRandom } from '@muster/base';
import { capture, preload, revive } from './index.js';
import { encodeGraph, type Node } from './nodes.js';

class Point { constructor(public x: unknown, public y: unknown) {} }
class Registry extends Map<unknown, unknown> { size2(): number { return this.size * 2; } }
class Stack extends Array<unknown> {}
class OddError extends TypeError { code = 'ODD'; }
const symbol = Symbol('key');
const seed = Number(process.env['MUSTER_TEST_SEED'] ?? Date.now() % 2 ** 31);

t.test(`random graphs come back equal (MUSTER_TEST_SEED=${seed})`, (t) => {
  for (let round = 0; round < 400; round++) {
    const ownPrototypes = round % 2 === 0;
    const graph = randomGraph(seed + round, ownPrototypes);
    const revived = revive(capture(graph));
    // prototypes that are copied are equal, but Node compares prototypes by identity
    const isEqual = ownPrototypes || isDeepStrictEqual(graph, revived);
    const difference = findDifference(graph, revived) ?? (isEqual ? undefined : 'it is not deeply equal');
    if (difference !== undefined) t.fail(`MUSTER_TEST_SEED=${seed + round}: ${difference}`);
  }
  t.pass('400 graphs');
  t.end();
});

t.test('views travel with the part of the buffer that they cover', (t) => {
  const whole = new ArrayBuffer(1 << 20);
  const view = new Float32Array(whole, 4000, 10).fill(1.5);
  const bytes = capture({ view, end: new Uint8Array(whole, 4096, 16) });
  t.ok(bytes.length < 500, `${bytes.length} bytes`);
  const revived = revive(bytes) as { view: Float32Array; end: Uint8Array };
  t.same(revived.view, view);
  t.equal(revived.view.buffer, revived.end.buffer);
  t.equal((revive(capture([view, whole])) as [Float32Array])[0].buffer.byteLength, 1 << 20, 'all of it where the buffer itself is wanted');
  t.end();
});

t.test('a resizable buffer stays resizable', (t) => {
  const Resizable = ArrayBuffer as unknown as new (length: number, options: { maxByteLength: number }) => ArrayBuffer & { maxByteLength: number; resize(length: number): void };
  const buffer = new Resizable(8, { maxByteLength: 64 });
  const { view } = revive(capture({ view: new Uint8Array(buffer, 0, 4) })) as { view: Uint8Array & { buffer: InstanceType<typeof Resizable> } };
  t.equal(view.buffer.maxByteLength, 64);
  view.buffer.resize(32);
  t.equal(view.buffer.byteLength, 32);
  t.end();
});

t.test('externalize keeps large buffers out of the message', (t) => {
  const kept: ArrayBufferLike[] = [];
  const large = new Float64Array(1000).fill(Math.PI);
  const part = new Uint8Array(4096).subarray(1024, 3072).fill(7);
  const value = { large, part, small: new Uint8Array(1000), inline: new Uint8Array(2048) };
  const bytes = capture(value, { externalize: (buffer) => (buffer.byteLength === 2048 && kept.length === 2 ? undefined : kept.push(buffer) - 1) });
  t.equal(kept[0], large.buffer, 'a buffer that is wanted as a whole is given as it is');
  t.equal(kept[1]?.byteLength, 2048, 'of another one the part that is covered');
  t.ok(bytes.length > 3000 && bytes.length < 4000, 'the others are in the message');
  const revived = revive(bytes, { external: (index) => kept[index]! }) as typeof value;
  t.ok(isDeepStrictEqual(revived, value));
  t.equal(revived.large.buffer, large.buffer, 'and is used as it is');
  t.throws(() => revive(bytes), { code: 'INTERNAL' });
  t.end();
});

t.test('replace puts a form and its parts in the place of a value', (t) => {
  class Handle { constructor(readonly name: string, readonly next?: object) {} }
  const options = { replace: (value: object) => (value instanceof Handle ? { form: value.name, parts: [value.next, 1] } : undefined) };
  const last = new Handle('last');
  const bytes = capture({ a: new Handle('first', { last }), b: last, ask: () => last }, options);
  const revived = revive(bytes, { restore: (form, parts) => ({ form, parts }) }) as { a: { form: string; parts: [{ last: object }, number] }; b: { form: string } };
  t.same([revived.a.form, revived.b.form, revived.a.parts[1]], ['first', 'last', 1]);
  t.equal(revived.a.parts[0].last, revived.b, 'one handle stays one handle');
  t.throws(() => revive(bytes), { code: 'INTERNAL' });
  t.end();
});

t.test('primitive values need no graph', (t) => {
  for (const value of [1, -0, NaN, 'text', '', true, null, undefined, 12n, Symbol.iterator, Symbol.for('x'), symbol]) t.ok(Object.is(revive(capture(value)), value), String(value));
  t.end();
});

t.test('bytes that are cut short or foreign are refused', (t) => {
  const bytes = capture({ fn: (x: number) => x + seed, list: [1, { a: new Map([[1, new Point(1, 2)]]) }], view: new Float64Array(100) });
  const accepted = Array.from({ length: bytes.length }, (_, length) => length).filter((length) => !isRefused(bytes.subarray(0, length)));
  t.same(accepted, [], `of ${bytes.length} bytes, none can be missing`);
  for (const foreign of [Buffer.from('hello, this is text'), Buffer.alloc(100), Buffer.from([0xc1, 2, 0, 0, 0, 0, 0xff, 15, 0x30]), Buffer.from([0xc1, 1, 255, 255, 255, 255, 0xff])]) {
    t.throws(() => revive(foreign), { code: 'PROTOCOL' });
    t.throws(() => preload(foreign), { code: 'PROTOCOL' });
  }
  t.end();
});

t.test(`bytes with random damage are refused or read, and nothing worse (MUSTER_TEST_SEED=${seed})`, (t) => {
  const messages = Array.from({ length: 30 }, (_, index) => capture(index % 3 ? randomGraph(seed + index) : { fn: () => index, Point, p: new Point(index, symbol) }));
  for (let round = 0; round < 3000; round++) {
    const random = seededRandom(seed + round);
    const bytes = new Uint8Array(messages[round % messages.length]!);
    for (let change = 0; change <= random.next() * 4; change++) bytes[Math.floor(random.next() * bytes.length)] = Math.floor(random.next() * 256);
    try {
      revive(bytes);
    } catch (error) {
      if (!(error instanceof MusterError)) t.fail(`MUSTER_TEST_SEED=${seed + round}: ${String(error)}`);
    }
  }
  t.pass('3000 damaged messages');
  t.end();
});

t.test('nodes that make no sense are refused', (t) => {
  const nonsense: readonly (readonly unknown[])[] = [
    [], [null], [5], [{}], [{ kind: 'unknown' }], [{ kind: 'object', prototype: [7] }], [{ kind: 'prototype', of: [0] }], [{ kind: 'prototype', of: null }],
    [{ kind: 'function' }], [{ kind: 'function', origin: 'x', code: { source: 'syntax error(', variables: [], cells: [] }, variables: [], cells: [], computedKeys: [] }],
    [{ kind: 'array', length: -1 }], [{ kind: 'array', length: 2 ** 40 }], [{ kind: 'map', entries: 5 }], [{ kind: 'map', entries: { length: 1e9 } }], [{ kind: 'view', type: 'Function', buffer: [0] }],
    [{ kind: 'view', type: 'Uint8Array', buffer: [1], byteOffset: 0, length: 9 }, { kind: 'buffer', bytes: new Uint8Array(1) }], [{ kind: 'regexp', source: '(', flags: '' }],
    [{ kind: 'module', module: 3, path: [] }], [{ kind: 'object', prototype: [1] }, { kind: 'object', prototype: [0] }], [{ kind: 'bound', target: 1, arguments: [] }],
  ];
  for (const nodes of nonsense) t.throws(() => revive(encodeGraph({ root: [0], nodes: nodes as readonly Node[] }, [])), { code: 'PROTOCOL' }, JSON.stringify(nodes));
  t.throws(() => revive(encodeGraph({ root: [0], nodes: [{ kind: 'intrinsic', name: 'No.such.thing' }] }, [])), { code: 'RUNTIME_ENV' });
  t.end();
});

function isRefused(bytes: Uint8Array): boolean {
  try {
    revive(bytes);
    return false;
  } catch (error) {
    return error instanceof MusterError && error.code === 'PROTOCOL';
  }
}

// --- the graphs

/** A graph with cycles, shared parts and every kind of object; with `ownPrototypes`, some are made from others of it. */
function randomGraph(graphSeed: number, ownPrototypes = true): unknown {
  const random = seededRandom(graphSeed);
  const below = (limit: number): number => Math.floor(random.next() * limit);
  const buffer = new ArrayBuffer(64);
  new Uint8Array(buffer).forEach((_, index, bytes) => { bytes[index] = below(256); });
  const made: object[] = [];
  const fill: (() => void)[] = [];

  const primitive = (): unknown => [below(1000), random.next(), -0, NaN, `text ${below(9)}`, '', true, null, undefined, BigInt(below(1e9)), symbol, Symbol.for('shared')][below(12)];
  const value = (): unknown => (made.length && below(3) ? made[below(made.length)] : primitive());
  const key = (): PropertyKey => [`k${below(5)}`, below(5), symbol, '__proto__', 'constructor'][below(5)] as PropertyKey;
  const withProperties = <T extends object>(object: T): T => {
    fill.push(() => {
      for (let i = below(4); i > 0; i--) {
        const attributes = { enumerable: below(4) > 0, configurable: below(4) > 0, writable: below(4) > 0 };
        const name = key();
        if (Array.isArray(object) && typeof name === 'number') continue; // the elements of an array are read as values
        try { Object.defineProperty(object, name, { value: value(), ...attributes }); } catch { /* it has a property there that does not change */ }
      }
      const fix = [Object.freeze, Object.seal, Object.preventExtensions][below(12)];
      if (fix) fix(object);
    });
    return object;
  };
  const makers: readonly (() => object)[] = [
    () => withProperties({}),
    () => withProperties({ a: below(9), b: 'b' }),
    () => withProperties(Object.create(null) as object),
    () => withProperties(Object.create((ownPrototypes && made.find((object) => Object.getPrototypeOf(object) === Object.prototype)) || null) as object),
    () => withProperties(new Point(value(), value())),
    () => Array.from({ length: below(5) }, value),
    () => withProperties([1, , value()]),
    () => withProperties(Stack.from([1, value()])),
    () => { const map = new Map<unknown, unknown>(); fill.push(() => { for (let i = below(4); i > 0; i--) map.set(primitive(), value()); }); return map; },
    () => withProperties(new Registry([[primitive(), value()]])),
    () => { const set = new Set<unknown>(); fill.push(() => { for (let i = below(4); i > 0; i--) set.add(primitive()); }); return set; },
    () => withProperties(new Date(below(1e12))),
    () => { const regexp = /a(b)?/gy; regexp.lastIndex = below(5); return regexp; },
    () => withProperties(new OddError(`error ${below(9)}`, { cause: value() })),
    () => new AggregateError([new RangeError('r')], 'several'),
    () => Object([below(9), 'boxed', true, 5n][below(4)]) as object,
    () => new Uint8Array(buffer, below(32), below(32)),
    () => new Float64Array(buffer, 8 * below(4), below(4)),
    () => new DataView(buffer, below(8), 8),
    () => Buffer.from(`bytes ${below(9)}`),
    () => buffer,
    () => Object.assign(() => 1, { of: below(9) }),
    () => new URL(`https://example.com/${below(9)}?q=1`),
    () => Point,
  ];
  for (let i = 3 + below(20); i > 0; i--) made.push(makers[below(makers.length)]!());
  for (const step of fill) step();
  return made;
}

/** Where two graphs differ: in sharing, prototypes, the order and attributes of properties, or integrity. */
function findDifference(a: unknown, b: unknown): string | undefined {
  const pairs = new Map<unknown, unknown>();
  const backwards = new Map<unknown, unknown>();
  const queue: (readonly [unknown, unknown, string])[] = [[a, b, '$']];
  for (const [left, right, at] of queue) {
    if (typeof left === 'function' || left === null || typeof left !== 'object') {
      if (!Object.is(left, right)) return `${at}: ${String(left)} is not ${String(right)}`;
      continue;
    }
    if (pairs.has(left) || backwards.has(right)) {
      if (pairs.get(left) !== right || backwards.get(right) !== left) return `${at}: it is shared differently`;
      continue;
    }
    pairs.set(left, right);
    backwards.set(right, left);
    const other = right as object;
    if (Object.getPrototypeOf(left) !== Object.getPrototypeOf(other)) queue.push([Object.getPrototypeOf(left), Object.getPrototypeOf(other), `${at}.[[Prototype]]`]);
    if (Object.isFrozen(left) !== Object.isFrozen(other) || Object.isExtensible(left) !== Object.isExtensible(other)) return `${at}: its integrity differs`;
    if (ArrayBuffer.isView(left)) {
      // a view of a part carries only that part, unless the whole buffer is in the graph; sharing is what counts
      queue.push([left.buffer.byteLength > 0, (other as Uint8Array).buffer.byteLength > 0 || left.byteLength === 0, `${at}.buffer`]);
      continue;
    }
    if (types.isMap(left)) [...left].forEach((entry, index) => queue.push([entry[1], [...(other as Map<unknown, unknown>)][index]?.[1], `${at}.get(${index})`]));
    const keys = Reflect.ownKeys(left);
    if (!isDeepStrictEqual(keys, Reflect.ownKeys(other))) return `${at}: its keys are ${keys.map(String).join()}, not ${Reflect.ownKeys(other).map(String).join()}`;
    for (const key of keys) {
      if (key === 'stack') continue;
      const { value: leftValue, ...leftRest } = Object.getOwnPropertyDescriptor(left, key) as PropertyDescriptor;
      const { value: rightValue, ...rightRest } = Object.getOwnPropertyDescriptor(other, key) as PropertyDescriptor;
      if (!isDeepStrictEqual(leftRest, rightRest)) return `${at}.${String(key)}: its attributes differ`;
      queue.push([leftValue, rightValue, `${at}.${String(key)}`]);
    }
  }
  return undefined;
}
