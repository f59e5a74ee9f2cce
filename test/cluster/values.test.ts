/** What travels between processes, and how exactly: every value makes its way through a real task and through put and get. */
import { createServer, Socket } from 'node:net';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { seededRandom } from '@muster/base';
import { actor, CaptureError, get, init, put, remote, shutdown, type ObjectRef } from '@muster/core';
import { randomValue } from '../support/random-value.js';
import { difference } from '../support/same-graph.js';
import { rejection } from '../support/until.js';

t.before(async () => { await init({ cpus: 2, logs: false }); });
t.teardown(() => shutdown());

const echo = remote((value: unknown) => value);
/** Too large for a record: whatever it stands beside goes through shared memory. */
const large = (): Uint8Array => new Uint8Array(200_000).fill(7);

/** Checks that a value comes back the same: from a task, from `put`, and from shared memory. */
async function travels(t: Test, name: string, value: unknown): Promise<void> {
  t.equal(difference(await echo(value), value), '', `${name}, through a task`);
  t.equal(difference(await get(await put(value)), value), '', `${name}, through put and get`);
  const [stored] = (await get(await put([value, large()]))) as [unknown, unknown];
  t.equal(difference(stored, value), '', `${name}, through shared memory`);
}

// ---------------------------------------------------------------- classes that the tests send

class UserError extends RangeError {
  constructor(message: string, readonly code: number, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UserError';
  }
  get shout(): string { return this.message.toUpperCase(); }
}

class SecretError extends UserError {
  readonly #secret = 'kept';
  detail = new Map([[1, 2]]);
  reveal(): string { return this.#secret; }
}

class Shape {
  static readonly registry = new Map([['unit', 1]]);
  static readonly #hidden = 5;
  static booted = 'no';
  static { Shape.booted = 'yes'; }
  static hidden(): number { return Shape.#hidden; }
  static unit(): Shape { return new this(1); }
  constructor(public side: number) {}
  get area(): number { return this.side ** 2; }
  set area(value: number) { this.side = Math.sqrt(value); }
  toString(): string { return `shape of ${this.side}`; }
}

class Square extends Shape {
  colour = 'red';
  override toString(): string { return `square, ${super.toString()}, ${this.colour}`; }
}

class Vault {
  readonly #pin: number;
  constructor(pin: number) { this.#pin = pin; }
  opens(pin: number): boolean { return pin === this.#pin; }
}

class Tally {
  #count = 0;
  add(amount: number): number { return (this.#count += amount); }
}

// ---------------------------------------------------------------- data

t.test('what structured clone takes comes back the same', async (t) => {
  await t.test('primitives', async (t) => {
    const numbers = [0, -0, 1, -1, 127, 128, 2 ** 31 - 1, -(2 ** 31), 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER, 2 ** 63, Number.MAX_VALUE, Number.MIN_VALUE, 0.1, NaN, Infinity, -Infinity];
    for (const value of [...numbers, null, undefined, true, false, 0n, -1n, 2n ** 64n, -(2n ** 200n)]) t.ok(Object.is(await echo(value), value), `${String(value)} by itself`);
    await travels(t, 'numbers in an array', numbers);
    await travels(t, 'all others in an object', { null: null, undefined, true: true, big: [1n, -(2n ** 100n)] });
  });

  await t.test('strings of every kind and length', async (t) => {
    for (const value of ['', 'a', 'é', '😀', 'a\0b', '\ufeffmark', '\u2028', '\ud800', 'half \udc00 a pair', 'x'.repeat(31), 'x'.repeat(32), 'é'.repeat(40_000), 'x'.repeat(300_000)]) {
      const name = `${value.length} characters, from ${[...value.slice(0, 3)].map((each) => each.codePointAt(0)!.toString(16)).join(' ')}`;
      t.ok((await echo(value)) === value, `${name}, by itself`);
      t.ok((await get(await put(value))) === value, `${name}, put`);
      await travels(t, `${name}, as key and value`, { [`k${value}`]: [value] });
    }
  });

  await t.test('objects and arrays', async (t) => {
    await travels(t, 'empty ones', [{}, [], { a: {} }]);
    await travels(t, 'keys that mean something elsewhere', { toJSON: 1, constructor: 2, then: 3, length: 4, hasOwnProperty: 5, valueOf: 6, type: 'x' });
    await travels(t, 'an own property __proto__', JSON.parse('{"__proto__": {"a": 1}, "b": 2}'));
    await travels(t, 'no prototype', Object.assign(Object.create(null) as object, { a: 1 }));
    await travels(t, 'keys that look like numbers', { 2: 'b', 1: 'a', '-1': 'c', '01': 'd' });
    await travels(t, '70,000 keys', Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`key${i}`, i])));
    await travels(t, 'holes', [[1, , 3], [,], new Array(7)]); // eslint-disable-line no-sparse-arrays
    await travels(t, 'undefined where a hole could be', [undefined, 1, undefined]);
    await travels(t, 'an array with further properties', 'a muster b'.match(/m(?<rest>u\w+)/));
    await travels(t, 'frozen beside other things', [new Map(), Object.freeze({ a: Object.freeze([1]) })]);
  });

  await t.test('trees deeper than any stack', async (t) => {
    for (const depth of [150, 5000, 30_000]) {
      let list: { next: unknown } = { next: null };
      for (let i = 1; i < depth; i++) list = { next: list };
      let length = 0;
      for (let at = (await echo(list)) as { next: unknown } | null; at; at = at.next as typeof at) length++;
      t.equal(length, depth);
    }
  });

  await t.test('dates, expressions, boxed primitives', async (t) => {
    await travels(t, 'dates', [0, -1, 1e12, 8.64e15, -8.64e15, NaN].map((time) => new Date(time)));
    await travels(t, 'expressions', [/a(b)+/giu, /[/]\n/, Object.assign(/x/y, { lastIndex: 3 })]);
    await travels(t, 'boxed', [Object(1), Object(-0), Object('text'), Object(true), Object(5n)]);
  });

  await t.test('Maps and Sets, in order, with any keys', async (t) => {
    const key = { id: 1 };
    await travels(t, 'a Map', new Map<unknown, unknown>([[key, 'object'], [NaN, 'NaN'], ['k', new Map([[1, new Set([key])]])], [undefined, null], [0, -0]]));
    await travels(t, 'a Set', new Set([3, 1, 2, 'x', key, [1]]));
    const map = new Map<unknown, unknown>();
    map.set(map, map).set('set', new Set([map]));
    await travels(t, 'a Map inside of itself', map);
  });

  await t.test('arrays of numbers of every kind', async (t) => {
    const kinds = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array];
    for (const Kind of kinds) for (const length of [0, 3, 100, 50_000]) await travels(t, `${Kind.name} of ${length}`, { array: new Kind(Array.from({ length }, (_, i) => i - 1)) });
    await travels(t, 'of bigints', [new BigInt64Array([1n, -(2n ** 63n)]), new BigUint64Array([2n ** 64n - 1n])]);
    await travels(t, 'NaN and -0 in them', [new Float32Array([NaN, -0, Infinity]), new Float64Array([-0, Number.MIN_VALUE])]);
    const Float16 = Reflect.get(globalThis, 'Float16Array') as Float32ArrayConstructor | undefined;
    if (Float16) await travels(t, 'of half precision', [new Float16([1.5, -0, NaN]), new Float16(1000).fill(2)]);
  });

  await t.test('buffers and views of them', async (t) => {
    const bytes = Uint8Array.from({ length: 3000 }, (_, i) => i);
    await travels(t, 'ArrayBuffers', [new ArrayBuffer(0), bytes.buffer.slice(0, 100), bytes.buffer.slice(0)]);
    await travels(t, 'a resizable one', new (ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer)(8, { maxByteLength: 16 }));
    await travels(t, 'DataViews', [new DataView(bytes.buffer, 3, 5), new DataView(new ArrayBuffer(0))]);
    await travels(t, 'Buffers', [Buffer.from('héllo'), Buffer.alloc(0), Buffer.from(bytes), Buffer.from('abcdef').subarray(2, 4)]);
    await travels(t, 'a part of an array', [bytes.subarray(1000, 1010), new Float32Array(bytes.buffer, 400, 10)]);
  });

  await t.test('of a large array only the part that is seen goes along', async (t) => {
    const batch = new Float32Array(10_000_000).subarray(5_000_000, 5_000_010).fill(3);
    const seen = await remote((part: Float32Array) => ({ sum: part.reduce((a, b) => a + b), bytes: part.buffer.byteLength }))(batch);
    t.equal(seen.sum, 30);
    t.ok(seen.bytes < 100, `${seen.bytes} bytes`);
  });

  await t.test('cycles and shared parts', async (t) => {
    const shared = { n: 1 };
    const graph: Record<string, unknown> = { first: shared, second: [shared, new Set([shared])] };
    graph['self'] = graph;
    (graph['second'] as unknown[]).push(graph['second']);
    await travels(t, 'a graph', graph);
    const buffer = new ArrayBuffer(64);
    for (const [a, b, whole] of [await echo([new Uint8Array(buffer, 0, 8), new Float64Array(buffer, 8, 2), buffer])] as [Uint8Array, Float64Array, ArrayBuffer][]) {
      t.ok(a.buffer === b.buffer && b.buffer === whole, 'views share their buffer');
      a[0] = 9;
      t.equal(new Uint8Array(whole)[0], 9);
    }
    const both = await remote((a: { n: number }, b: { n: number }) => a === b)(shared, shared);
    t.equal(both, false, 'arguments are values of their own');
  });

  await t.test('errors', async (t) => {
    await travels(t, 'of all built-in classes', [Error, RangeError, TypeError, SyntaxError, EvalError, ReferenceError, URIError].map((Kind) => new Kind(`a ${Kind.name}`)));
    await travels(t, 'with causes', new Error('outer', { cause: new TypeError('inner', { cause: [1, { deep: true }] }) }));
    await travels(t, 'with properties', Object.assign(new Error('x'), { code: 'E_X', at: new Date(5), data: new Uint8Array(2000) }));
    await travels(t, 'many in one', new AggregateError([new RangeError('a'), 'b'], 'both'));
    const aborted = (await echo(new DOMException('stop', 'AbortError'))) as DOMException;
    t.ok(aborted instanceof DOMException);
    t.same([aborted.name, aborted.message, aborted.code], ['AbortError', 'stop', 20]);
  });
});

t.test('beyond structured clone', async (t) => {
  await t.test('symbols are the same ones when they come back', async (t) => {
    const own = Symbol('own');
    await travels(t, 'symbols', [own, Symbol.for('registered'), Symbol.iterator]);
    await travels(t, 'symbols as keys', { [own]: 1, plain: 2, [Symbol.for('registered')]: [own] });
    t.equal(await echo(own), own);
  });

  await t.test('URLs and formats', async (t) => {
    const [url, query, format] = (await echo([new URL('https://a.example/b?c=d#e'), new URLSearchParams('a=1&a=2'), new Intl.NumberFormat('de', { minimumFractionDigits: 2 })])) as [URL, URLSearchParams, Intl.NumberFormat];
    t.same([url.href, query.getAll('a'), format.format(1234.5)], ['https://a.example/b?c=d#e', ['1', '2'], '1.234,50']);
  });

  await t.test('300 random graphs, from a printed seed', async (t) => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
    t.comment(`SEED=${seed}`);
    const random = seededRandom(seed);
    const values = Array.from({ length: 300 }, () => randomValue(random));
    const returned = await get(values.map((value) => echo.remote(value)));
    const kept = await get(await Promise.all(values.map((value, i) => put(i % 3 === 0 ? [value, large()] : [value]))));
    let wrong = 0;
    for (const [i, value] of values.entries()) {
      const clone = structuredClone(value);
      for (const found of [difference(returned[i], clone), difference((kept[i] as unknown[])[0], clone), difference(value, clone)]) {
        if (found !== '' && wrong++ < 5) t.fail(`graph ${i} of seed ${seed}: ${found}`);
      }
    }
    t.equal(wrong, 0, `seed ${seed}`);
  });
});

// ---------------------------------------------------------------- code

t.test('functions', async (t) => {
  const call = remote((fn: (...args: number[]) => unknown, ...args: number[]) => fn(...args));

  await t.test('of all kinds travel as arguments and as results', async (t) => {
    const object = { factor: 3, times(x: number) { return x * this.factor; }, get ten() { return 10; } };
    t.equal(await call((x) => x! + 1, 1), 2);
    t.equal(await call(async (x) => { await delay(1); return x; }, 5), 5);
    t.equal(await call(Math.max, 1, 7, 3), 7);
    t.equal(await call(object.times.bind(object), 4), 12);
    t.same(await remote((make: (n: number) => Iterable<number>) => [...make(3)])(function* (n) { for (let i = 0; i < n; i++) yield i; }), [0, 1, 2]);
    t.equal(await remote((o: typeof object) => o.times(2) + o.ten)(object), 16);
    const curried = await remote((a: number) => (b: number) => (c: number) => a + b * c)(1);
    t.equal(curried(2)(3), 7);
  });

  await t.test('that are the driver\'s own are the same ones when they come back', async (t) => {
    const own = (): number => 1;
    t.equal(await echo(own), own);
    t.equal(await echo(Square), Square);
    t.equal(((await echo({ nested: [own] })) as { nested: unknown[] }).nested[0], own);
  });

  await t.test('close over const and let as they are at the first call', async (t) => {
    const table = new Map([['a', 1]]);
    let level = 1;
    const read = remote(() => [table.get('a'), level]);
    level = 2;
    t.same(await read(), [1, 2]);
    level = 3;
    table.set('a', 9);
    t.same(await read(), [1, 2], 'a snapshot');
  });

  await t.test('assign variables of their own copy only', async (t) => {
    let count = 0;
    const increment = remote(() => ++count);
    t.equal(await increment(), 1);
    t.equal(count, 0);
  });

  await t.test('share what they close over, within one call', async (t) => {
    const state = { count: 0 };
    const up = (): number => ++state.count;
    const read = (): number => state.count;
    t.same(await remote(() => { up(); up(); return [read(), state.count]; })(), [2, 2]);
    t.same(await remote((f: { up: typeof up; read: typeof read }) => [f.up(), f.up(), f.read()])({ up, read }), [1, 2, 2]);
    t.equal(state.count, 0);
  });

  await t.test('carry properties, and other remote functions', async (t) => {
    const tagged = Object.assign((x: number) => x * 2, { version: 'v1' });
    t.same(await remote((fn: typeof tagged) => [fn(2), fn.version])(tagged), [4, 'v1']);
    const square = remote((x: number) => x * x);
    const outer = remote(async (x: number) => (await square(x)) + (await get(square.options({ name: 'again' }).remote(2))));
    t.equal(await outer(3), 13);
    const through = await remote((o: { f: typeof square }) => ({ back: o.f, pending: o.f.remote(6) }))({ f: square });
    t.equal(await through.back(5), 25);
    t.equal(await get(through.pending), 36);
  });
});

t.test('classes', async (t) => {
  await t.test('work there as they do here: static state, accessors, inheritance, private members', async (t) => {
    const seen = await remote(() => {
      const square = new Square(2);
      square.area = 25;
      return [String(square), square.area, Shape.registry.get('unit'), Shape.booted, Square.hidden(), String(Square.unit()), new Vault(4).opens(4)];
    })();
    t.same(seen, ['square, shape of 5, red', 25, 1, 'yes', 5, 'square, shape of 1, red', true]);
  });

  await t.test('instances keep their class, in both directions', async (t) => {
    const square = new Square(3);
    await travels(t, 'an instance', square);
    await travels(t, 'instances inside of other values', new Map([['k', [square, { square }]]]));
    const made = await remote((side: number) => new Square(side))(4);
    t.ok(made instanceof Square && made instanceof Shape);
    t.same([made.area, String(made)], [16, 'square, shape of 4, red']);
    t.equal(await remote((s: Square) => s instanceof Square && s instanceof Shape && s.area)(square), 9);
  });

  await t.test('that extend built-in ones do too', async (t) => {
    class Stack extends Array<number> { top(): number | undefined { return this.at(-1); } }
    class Defaults extends Map<string, number> { read(key: string): number { return this.get(key) ?? 0; } }
    class Vector extends Float32Array { norm(): number { return Math.hypot(...this); } }
    class Moment extends Date { next(): number { return this.getTime() + 1; } }
    const [stack, map, vector, moment] = (await echo([Stack.of(1, 2), new Defaults([['a', 1]]), Vector.of(3, 4), new Moment(5)])) as [Stack, Defaults, Vector, Moment];
    t.same([stack.top(), stack.length, map.read('a'), map.read('b'), vector.norm(), moment.next()], [2, 2, 1, 0, 5, 6]);
    const alone = (await echo(Stack.of(1, 2, 3))) as Stack;
    t.ok(alone instanceof Stack && alone.top() === 3, 'an array of numbers alone');
  });

  await t.test('made inside of a task come out', async (t) => {
    const Local = await remote(() => class Local {
      readonly #value: number;
      constructor(value: number) { this.#value = value; }
      static from(value: number): InstanceType<typeof this> { return new this(value); }
      get value(): number { return this.#value; }
    })();
    t.same([new Local(4).value, Local.from(5).value, Local.name], [4, 5, 'Local']);
  });
});

t.test('handles', async (t) => {
  const tally = await actor(Tally).create();

  await t.test('of actors go anywhere and are the same actor', async (t) => {
    const inside = await remote(async (box: { tally: typeof tally }) => { await box.tally.add(2); return { again: box.tally, list: [box.tally] }; })({ tally });
    t.equal(await inside.again.add(3), 5);
    t.equal(inside.again, inside.list[0]);
    t.equal(await remote(async () => tally.add(10))(), 15, 'in a closure');
    t.equal(await (await get(await put({ tally }))).tally.add(1), 16, 'in an object');
    const adder = await remote((handle: typeof tally) => async (amount: number) => handle.add(amount))(tally);
    t.equal(await adder(4), 20, 'in a function that a task returned');
  });

  await t.test('of actors\' classes too', async (t) => {
    const RemoteTally = actor(Tally, { cpus: 0 });
    t.equal(await remote(async (Kind: typeof RemoteTally) => (await Kind.create()).add(7))(RemoteTally), 7);
  });

  await t.test('references stay references inside of values, and stand for their value at the top', async (t) => {
    const ref = await put('the value');
    const seen = await remote(async (top: string, box: { ref: ObjectRef<string> }, map: Map<string, ObjectRef<string>>) => [top, await get(box.ref), await get(map.get('r')!), box.ref === map.get('r')])(ref, { ref }, new Map([['r', ref]]));
    t.same(seen, ['the value', 'the value', 'the value', true]);
    t.equal(((await echo([ref])) as unknown[])[0], ref, 'the driver gets its own reference back');
  });
});

// ---------------------------------------------------------------- errors

t.test('what a task throws', async (t) => {
  await t.test('is of its class, with code, cause and properties', async (t) => {
    const fail = remote(() => {
      throw Object.assign(new UserError('no luck', 7, { cause: new SyntaxError('deeper') }), { when: new Date(1), tried: new Set(['a']) });
    });
    for (const error of [await rejection<UserError>(fail()), await rejection<UserError>(get(fail.remote())), await rejection<UserError>(get([fail.remote()]))]) {
      t.ok(error instanceof UserError && error instanceof RangeError);
      t.match(error, { name: 'UserError', message: 'no luck', code: 7, shout: 'NO LUCK', when: new Date(1) });
      t.ok(error.cause instanceof SyntaxError);
      t.ok((error as unknown as { tried: Set<string> }).tried.has('a'));
    }
  });

  await t.test('tells of both sides in its stack', async (t) => {
    function deepInTheTask(): never { throw new UserError('from there', 1); }
    const fail = remote(() => deepInTheTask());
    async function whereTheCallIs(): Promise<unknown> { return fail(); }
    const { stack = '' } = await rejection<Error>(whereTheCallIs());
    t.match(stack, /^UserError: from there\n/);
    t.ok(stack.indexOf('deepInTheTask') > 0 && stack.indexOf('whereTheCallIs') > stack.indexOf('deepInTheTask'), stack);
    t.match(stack, /values\.test/);
  });

  await t.test('is kept apart for each who asks', async (t) => {
    const failed = remote((): number => { throw new UserError('once', 1); }).remote();
    const [first, second] = [await rejection<UserError>(get(failed)), await rejection<UserError>(get(failed))];
    t.not(first, second);
    t.equal(first.stack?.match(/--- called from ---/g)?.length, 1);
    t.equal(second.stack?.match(/--- called from ---/g)?.length, 1);
  });

  await t.test('need not be an error', async (t) => {
    for (const thrown of ['text', 42, null, undefined, 10n, Symbol.for('s'), { a: [1] }]) {
      const caught = await remote((value: unknown): unknown => { throw value; })(thrown).then(() => 'nothing', (error: unknown) => [error]);
      t.equal(difference(caught, [thrown]), '', String(thrown));
    }
  });

  await t.test('goes through a second task as the same error', async (t) => {
    const inner = remote((): number => { throw new UserError('inside', 3); });
    const outer = remote(async () => inner());
    const error = await rejection<UserError>(outer());
    t.ok(error instanceof UserError);
    t.equal(error.code, 3);
    const wrapping = remote(async () => inner().catch((cause: unknown) => { throw new UserError('outside', 4, { cause }); }));
    const wrapped = await rejection<UserError>(wrapping());
    t.ok(wrapped.cause instanceof UserError && wrapped.cause.code === 3);
  });

  await t.test('many at once', async (t) => {
    const error = await rejection<AggregateError>(remote(async () => Promise.any([Promise.reject(new UserError('a', 1)), Promise.reject(new TypeError('b'))]))());
    t.ok(error instanceof AggregateError);
    t.ok(error.errors[0] instanceof UserError && error.errors[1] instanceof TypeError);
  });

  await t.test('loses no more than what cannot travel', async (t) => {
    const withSocket = await rejection<UserError & Record<string, unknown>>(remote(() => {
      const cause = Object.assign(new UserError('reset', 2), { socket: new Socket() });
      throw Object.assign(new UserError('has a socket', 1, { cause }), { socket: new Socket(), url: new URL('http://a.example/') });
    })());
    t.ok(withSocket instanceof UserError);
    t.match(withSocket, { message: 'has a socket', code: 1, socket: undefined, stack: /has a socket\n.*at / });
    t.equal(String(withSocket['url']), 'http://a.example/');
    t.ok(withSocket.cause instanceof UserError && withSocket.cause.code === 2, 'its cause as well');
    const secret = await rejection<SecretError>(remote(() => { throw new SecretError('has a secret', 5); })());
    t.ok(secret instanceof UserError && !(secret instanceof SecretError), 'the nearest class that may travel');
    t.match(secret, { message: 'has a secret', code: 5, detail: new Map([[1, 2]]) });
    const frozen = await rejection<UserError>(remote(() => { throw Object.freeze(new UserError('is frozen', 7)); })());
    t.match(frozen, { message: 'is frozen', code: 7, stack: /is frozen\n.*at / });
    const withRef = await rejection<UserError>(remote(async () => { throw Object.assign(new UserError('has a reference', 6), { ref: await put(1) }); })());
    t.match(withRef, { message: 'has a reference', code: 6, ref: undefined });
  });

  await t.test('may be large', async (t) => {
    for (const size of [90_000, 110_000, 1_000_000]) {
      const error = await rejection<UserError & { data: Uint8Array }>(remote((n: number) => { throw Object.assign(new UserError('m'.repeat(n), 1), { data: new Uint8Array(n).fill(4) }); })(size));
      t.same([error instanceof UserError, error.message.length, error.data.length, error.data.at(-1)], [true, size, size, 4]);
    }
    const huge = await rejection<UserError>(remote(() => { throw Object.assign(new UserError('m'.repeat(30_000_000), 1), { data: new Uint8Array(30_000_000) }); })());
    t.ok(huge instanceof UserError && huge.code === 1 && huge.message.length < 100_000, 'what no record holds is cut');
  });
});

// ---------------------------------------------------------------- refusals

t.test('what cannot travel', async (t) => {
  const file = await open('/dev/null');
  const server = createServer();
  const timer = setTimeout(() => {}, 0);
  t.teardown(() => file.close());
  const detached = new Uint8Array(8);
  structuredClone(detached, { transfer: [detached.buffer] });
  const refused: Record<string, [culprit: unknown, said: RegExp]> = {
    'a socket': [new Socket(), /Socket/], 'a server': [server, /Server/], 'a file': [file, /FileHandle/], 'a timer': [timer, /Timeout/], 'a stream': [new ReadableStream(), /ReadableStream/],
    'a Promise': [Promise.resolve(1), /Promise/], 'a WeakMap': [new WeakMap(), /WeakMap/], 'a WeakSet': [new WeakSet(), /WeakSet/], 'a WeakRef': [new WeakRef({}), /WeakRef/],
    'a running generator': [(function* () { yield 1; })(), /generator/], 'an iterator': [new Map().entries(), /iterator/], 'a Proxy': [new Proxy({}, {}), /Proxy/],
    'a SharedArrayBuffer': [new SharedArrayBuffer(8), /SharedArrayBuffer/], 'a view of one': [new Int32Array(new SharedArrayBuffer(8)), /SharedArrayBuffer/],
    'bytes that were given away': [detached, /transferred/], 'an AbortSignal': [new AbortController().signal, /AbortSignal/], 'a port': [new MessageChannel().port1, /MessagePort/],
    'an instance with private members': [new Vault(1), /Vault.*private.*#pin/], 'wasm memory': [Reflect.construct(Reflect.get(globalThis, 'WebAssembly').Memory, [{ initial: 1 }]), /WebAssembly\.Memory/],
  };
  for (const [name, [culprit, said]] of Object.entries(refused)) {
    const named = (path: string) => ({ code: 'CAPTURE', message: new RegExp(`${said.source}[^]*captured via: .*${path}`) });
    await t.test(`${name} is refused, with the way to it`, async (t) => {
      const error = await rejection(echo({ config: { list: [culprit] } }));
      t.ok(error instanceof CaptureError);
      t.match(error, named('config -> list -> \\[0\\]'));
      t.throws(() => echo.remote(new Map([['k', culprit]])), named("get\\('k'\\)"));
      await t.rejects(put({ culprit }), named('culprit'));
      const upload = remote(function upload() { return culprit; });
      t.throws(() => upload.remote(), named('upload -> culprit'));
      await t.rejects(upload(), { code: 'CAPTURE' });
    });
  }

  await t.test('a result is refused at its caller', async (t) => {
    await t.rejects(remote(() => ({ pool: { free: [new Socket()] } }))(), { code: 'CAPTURE', message: /Socket[^]*pool -> free -> \[0\]/ });
    await t.rejects(remote(() => new Vault(3))(), { code: 'CAPTURE', message: /Vault[^]*#pin/ });
  });

  await t.test('code that depends on what is around it is refused', async (t) => {
    const around = new (class { value = 1; arrow = (): number => this.value; })();
    t.throws(() => remote(around.arrow).remote(), { code: 'CAPTURE', message: /this/ });
    const makeCounter = (): { up: () => number; read: () => number } => {
      let count = 0;
      return { up: () => ++count, read: () => count };
    };
    await t.rejects(echo(makeCounter()), { code: 'CAPTURE', message: /'count'[^]*up -> count/ });
  });

  await t.test('a refused call leaves nothing behind', async (t) => {
    t.throws(() => echo.remote([1, new Socket()]), { code: 'CAPTURE' });
    t.equal(await echo('next'), 'next');
    const two = remote((a: unknown, b: unknown) => [a, b]);
    t.throws(() => two.remote('first', new WeakMap()), { code: 'CAPTURE' });
    t.same(await two('first', 'second'), ['first', 'second']);
  });
});
