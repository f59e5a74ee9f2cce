/** Shared objects on two real nodes and the driver's: who sees them, how long they live, where their bytes are, and what is said when they are gone. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { actor, context, free, get, put, remote, wait, type ActorHandle, type MusterError, type ObjectRef } from '@muster/core';
import type { ListAnswer, WorkerRow } from '@muster/head';
import { block, isBlock } from '../support/blocks.js';
import { isRunning, TestCluster, type ClusterOptions } from '../support/cluster.js';
import { collectGarbage } from '../support/garbage.js';
import { Latch, makeLatch, type LatchHandle } from '../support/latch.js';
import { rejection, until } from '../support/until.js';

const NODE_TIMEOUT_MS = 2500;
const INLINE_MAX_BYTES = 100 * 1024;

type ObjectRow = { readonly [field in 'objectId' | 'state']: string } & { readonly [field in 'nodes' | 'borrowers']: readonly string[] };

async function connectedCluster(t: Test, options: ClusterOptions): Promise<TestCluster> {
  const cluster = await TestCluster.start({ nodeTimeout: `${NODE_TIMEOUT_MS}ms`, ...options });
  t.teardown(() => cluster.stop());
  await cluster.connect();
  return cluster;
}

const rowsOf = async (cluster: TestCluster): Promise<readonly ObjectRow[]> => (await cluster.query<ListAnswer>('list', { kind: 'objects' })).rows as unknown as ObjectRow[];
const rowOf = async (cluster: TestCluster, id: string): Promise<ObjectRow | undefined> => (await rowsOf(cluster)).find((row) => row.objectId === id);

/** Keeps whatever it is given, and reads it as it is told. */
class Holder {
  #kept: unknown = undefined;
  keep(value: unknown): void { this.#kept = value; }
  async read(read: (kept: never) => unknown): Promise<unknown> { return read(this.#kept as never); }
  collect(): Promise<void> { return collectGarbage(); }
  async drop(): Promise<void> {
    this.#kept = undefined;
    await collectGarbage();
  }
}

/** What a holder reads from what it keeps: a handle's methods have no type parameters. */
const readFrom = async <T>(holder: ActorHandle<Holder>, read: (kept: never) => T): Promise<Awaited<T>> => (await holder.read(read)) as Awaited<T>;

class Box {
  constructor(readonly ref: ObjectRef<Uint8Array>, readonly label: string) {}
  open(): Promise<Uint8Array> { return get(this.ref); }
}

t.test('objects', async (t) => {
  const cluster = await connectedCluster(t, { head: { cpus: 2, objectStore: '512MiB' }, nodes: [{ cpus: 2, labels: { zone: 'a' }, objectStore: '512MiB' }, { cpus: 2, labels: { zone: 'b' }, objectStore: '512MiB' }] });
  const rows = await Promise.all(cluster.nodes.map((node) => cluster.row(node)));
  const [a, b] = ['a', 'b'].map((zone) => cluster.nodes[rows.findIndex(({ labels }) => labels['zone'] === zone)]!);
  const on = (node: typeof a) => ({ placement: { node: node!.nodeId } }) as const;
  const here = { placement: { node: cluster.head.nodeId } } as const;
  const storedCount = async (): Promise<number> => (await cluster.status()).objectStore.objects;
  const usedBytes = async (): Promise<number> => (await cluster.status()).objectStore.usedBytes;
  const collectHere = remote(() => collectGarbage());
  /** Runs the collectors of the driver and of a worker on every node. */
  const collectEverywhere = async (): Promise<void> => {
    await collectGarbage();
    await get([here, on(a), on(b)].map((place) => collectHere.options({ ...place, cpus: 0.1 }).remote()));
  };
  /** An idle worker holds what its last task held until it collects, and nobody can make it. */
  const endIdleWorkers = async (): Promise<void> => {
    await collectEverywhere();
    await until('no worker is leased', async () => {
      const workers = (await cluster.query<ListAnswer>('list', { kind: 'workers' })).rows as readonly WorkerRow[];
      for (const { pid, state } of workers) if (state === 'idle' && isRunning(pid)) process.kill(pid, 'SIGKILL');
      return workers.every(({ state }) => state === 'actor');
    });
  };
  const isGone = (id: string): Promise<void> => until(`${id} is gone`, async () => {
    await collectGarbage();
    return (await rowOf(cluster, id)) === undefined;
  });

  await t.test('get', async (t) => {
    const [n, s, bytes] = [remote(() => 1).remote(), await put('text'), await put(block(1))];
    await t.test('of one, of a list in its order, of a tuple with its types', async (t) => {
      t.equal(await get(n), 1);
      const [number, text, array] = await get([n, s, bytes]);
      t.same([number satisfies number, text satisfies string], [1, 'text']);
      t.ok(isBlock(array, 1));
      t.same(await get([s, s, s]), ['text', 'text', 'text']);
      t.same(await get([]), []);
    });
    await t.test('gives each caller a copy of a small value', async (t) => {
      const ref = await put({ list: [1] });
      (await get(ref)).list.push(2);
      t.same(await get(ref), { list: [1] });
    });
    await t.test('of a list rejects with a failure as soon as there is one', async (t) => {
      const latch = await makeLatch();
      const never = remote(async (door: LatchHandle) => door.opened()).options({ cpus: 0.1 }).remote(latch);
      await t.rejects(get([never, remote((): number => { throw new RangeError('early'); }).remote()]), { name: 'RangeError', message: 'early' });
      await latch.open();
      await get(never);
    });
    await t.test('refuses what is no reference', async (t) => {
      await t.rejects(get(5 as never), { code: 'INVALID_ARGUMENT', message: /ObjectRef/ });
      await t.rejects(get([n, 5 as never]), { code: 'INVALID_ARGUMENT', message: /ObjectRef/ });
      await t.rejects(put(n), { code: 'INVALID_ARGUMENT', message: /array/ });
    });
  });

  await t.test('wait', async (t) => {
    const latch = await makeLatch();
    const held = remote(async (door: LatchHandle) => door.opened()).options({ cpus: 0.1 });
    const [first, second] = [held.remote(latch), held.remote(latch)] as ObjectRef<unknown>[];
    const done = await put('done');
    const failed = remote((): never => { throw new Error('failed'); }).remote() as ObjectRef<unknown>;
    await rejection(get(failed));
    await t.test('gives at most as many as asked for, in the order given', async (t) => {
      t.same(await wait([first!, done, failed, second!]), { ready: [done], pending: [first, failed, second] });
      t.same(await wait([first!, failed, done, second!], { count: 2 }), { ready: [failed, done], pending: [first, second] });
      t.same(await wait([done, done], { count: 2 }), { ready: [done, done], pending: [] });
    });
    await t.test('counts a failed reference as ready, also in another process', async (t) => {
      const ready = await remote(async (refs: ObjectRef<unknown>[]) => (await wait(refs)).ready.map((ref) => refs.indexOf(ref)))([first!, failed]);
      t.same(ready, [1]);
    });
    await t.test('looks without waiting at timeoutMs 0, and gives up after its time', async (t) => {
      t.same(await wait([first!, second!], { timeoutMs: 0 }), { ready: [], pending: [first, second] });
      const startMs = performance.now();
      t.same(await wait([first!, done, second!], { count: 2, timeoutMs: 100 }), { ready: [done], pending: [first, second] });
      t.ok(performance.now() - startMs > 95);
    });
    await t.test('refuses counts that can never be reached', async (t) => {
      for (const count of [0, -1, 1.5, 3, NaN]) await t.rejects(wait([first!, second!], { count }), { code: 'INVALID_ARGUMENT', message: /count/ });
      await t.rejects(wait([]), { code: 'INVALID_ARGUMENT' });
      await t.rejects(wait([1 as never]), { code: 'INVALID_ARGUMENT', message: /ObjectRef/ });
    });
    await t.test('wakes when the last one that it needs is ready', async (t) => {
      const waiting = wait([first!, second!], { count: 2 });
      await latch.open();
      t.same(await waiting, { ready: [first, second], pending: [] });
    });
  });

  await t.test('free', async (t) => {
    await t.test('ends small and large values for everybody', async (t) => {
      const holder = await actor(Holder, on(a)).create();
      for (const ref of [await put({ small: true }), await put(block(2))] as ObjectRef<unknown>[]) {
        const used = await usedBytes();
        await holder.keep([ref]);
        free([ref]);
        for (const use of [() => get(ref), () => readFrom(holder, ([kept]: [ObjectRef]) => get(kept)), () => remote((value: unknown) => value)(ref)]) {
          t.match(await rejection<MusterError>(use()), { code: 'OBJECT_FREED', message: new RegExp(`${ref.id} was freed.*after the last use`) });
        }
        await until('its memory is free', async () => (await usedBytes()) <= used);
      }
    });
    await t.test('twice is once', async (t) => {
      const ref = await put(block(3));
      free([ref, ref]);
      free([ref]);
      await t.rejects(get(ref), { code: 'OBJECT_FREED' });
    });
    await t.test('drops the result of a pending task', async (t) => {
      const used = await usedBytes();
      const ref = remote(() => block(4)).options(on(a)).remote();
      free([ref]);
      await t.rejects(get(ref), { code: 'OBJECT_FREED' });
      await until('nothing is kept of it', async () => (await usedBytes()) <= used);
    });
    await t.test('is for the owner alone, and for references', async (t) => {
      const ref = await put(block(5));
      for (const refs of [ref, 5, [ref, 5]]) t.throws(() => free(refs as never), { code: 'INVALID_ARGUMENT', message: /array of ObjectRefs/ });
      t.match(await remote(([borrowed]: [ObjectRef]) => { free([borrowed]); })([ref]).catch((error: unknown) => error), { code: 'INVALID_ARGUMENT', message: /called by its owner, driver-/ });
      t.equal((await get(ref)).length, block(5).length);
    });
  });

  await t.test('references anywhere in a value keep their object alive', async (t) => {
    const forms: Record<string, { readonly wrap: (ref: ObjectRef<Uint8Array>) => unknown; readonly read: (kept: never) => Promise<Uint8Array> }> = {
      'an array': { wrap: (ref) => [[ref]], read: ([[ref]]: [[ObjectRef<Uint8Array>]]) => get(ref) },
      'a Map, as key and value': { wrap: (ref) => new Map([[ref, { ref }]]), read: (map: Map<ObjectRef<Uint8Array>, unknown>) => get([...map.keys()][0]!) },
      'an instance of a class': { wrap: (ref) => new Box(ref, 'x'), read: (box: Box) => box.open() },
      'a closure': { wrap: (ref) => () => get(ref), read: (fn: () => Promise<Uint8Array>) => fn() },
      'a remote function': { wrap: (ref) => remote(async () => (await get(ref)).slice(), { cpus: 0.1 }), read: (fn: () => Promise<Uint8Array>) => fn() },
      'an object that was put': { wrap: async (ref) => [await put({ ref })], read: async ([outer]: [ObjectRef<{ ref: ObjectRef<Uint8Array> }>]) => get((await get(outer)).ref) },
      'a large object that was put': { wrap: async (ref) => [await put({ ref, filler: block(0) })], read: async ([outer]: [ObjectRef<{ ref: ObjectRef<Uint8Array> }>]) => get((await get(outer)).ref) },
      'the result of a task': { wrap: async (ref) => [remote((box: unknown) => box).options({ ...on(b), cpus: 0.1 }).remote({ ref })], read: async ([outer]: [ObjectRef<{ ref: ObjectRef<Uint8Array> }>]) => get((await get(outer)).ref) },
    };
    const names = Object.keys(forms);
    const before = await storedCount();
    const holders = await Promise.all(names.map((_, i) => actor(Holder, on(i % 2 ? a : b)).create()));
    const handOver = async (name: string, i: number): Promise<string> => {
      const ref = await put(block(i));
      await holders[i]!.keep(await forms[name]!.wrap(ref));
      return ref.id;
    };
    const forget = async (): Promise<string> => (await put(block(99))).id;
    const forgotten = await forget();
    const ids: string[] = [];
    for (const [i, name] of names.entries()) ids.push(await handOver(name, i));
    await isGone(forgotten);
    await collectEverywhere();
    await Promise.all(holders.map((holder) => holder.collect()));
    for (const [i, name] of names.entries()) {
      await t.test(name, async (t) => {
        t.match(await rowOf(cluster, ids[i]!), { state: 'stored' }, 'alive, though the driver holds it no more');
        t.ok(isBlock(await readFrom(holders[i]!, forms[name]!.read), i));
      });
    }
    await t.test('until the last of them is dropped', async (t) => {
      for (const holder of holders) await holder.drop();
      await endIdleWorkers();
      await until('all are gone', async () => {
        await Promise.all([collectGarbage(), ...holders.map((holder) => holder.collect())]);
        return (await rowsOf(cluster)).every(({ objectId }) => !ids.includes(objectId));
      });
      await until('the stores hold what they held before', async () => {
        await Promise.all([collectGarbage(), ...holders.map((holder) => holder.collect())]); // readers let go of their views
        return (await storedCount()) <= before;
      });
    });
  });

  await t.test('references made elsewhere', async (t) => {
    class Maker {
      async make(seed: number): Promise<{ ref: ObjectRef<Uint8Array> }> { return { ref: await put(block(seed)) }; }
      collect(): Promise<void> { return collectGarbage(); }
    }
    const maker = await actor(Maker, on(a)).create();
    const make = remote(async (seed: number) => ({ refs: [await put(block(seed))], pending: remote((x: number) => x * 2, { cpus: 0.1 }).remote(seed) }));

    await t.test('are returned by tasks and by actors, and live while somebody holds them', async (t) => {
      const use = async (): Promise<string[]> => {
        const [fromTask, fromActor] = [await make.options(on(b))(5), await maker.make(6)];
        await maker.collect();
        await collectEverywhere();
        t.ok(isBlock(await get(fromTask.refs[0]!), 5));
        t.equal(await get(fromTask.pending), 10);
        t.ok(isBlock(await get(fromActor.ref), 6));
        t.match(await rowOf(cluster, fromActor.ref.id), { nodes: [a!.nodeId], borrowers: [/^driver-/] });
        return [fromTask.refs[0]!.id, fromActor.ref.id];
      };
      for (const id of await use()) {
        await until(`the driver holds ${id} no more`, async () => {
          await collectGarbage();
          return ((await rowOf(cluster, id))?.borrowers ?? []).length === 0;
        });
      }
    });

    await t.test('pass through many hands, each of which lets go', async (t) => {
      const chain = await Promise.all([a, b, a, b].map((node) => actor(Holder, on(node)).create()));
      const start = async (): Promise<string> => {
        const { ref } = await maker.make(7);
        await chain[0]!.keep({ ref });
        return ref.id;
      };
      const id = await start();
      for (let i = 1; i < chain.length; i++) {
        const next = chain[i]!;
        await readFrom(chain[i - 1]!, async (kept: { ref: ObjectRef }) => { await next.keep({ ref: kept.ref }); });
        await chain[i - 1]!.drop();
        await collectGarbage();
      }
      await maker.collect();
      const last = chain.at(-1)!;
      await until('only the last hand holds it', async () => {
        await Promise.all([collectGarbage(), ...chain.map((holder) => holder.collect())]);
        return (await rowOf(cluster, id))?.borrowers.length === 1;
      });
      t.ok(isBlock(await readFrom(last, ({ ref }: { ref: ObjectRef<Uint8Array> }) => get(ref)), 7));
      await last.drop();
      await until('it is gone', async () => (await Promise.all([last.collect(), maker.collect()]), (await rowOf(cluster, id)) === undefined));
    });

    await t.test('are let go by a process that is killed', async (t) => {
      const holder = await actor(Holder, on(b)).create();
      const hand = async (): Promise<string> => {
        const ref = await put(block(8));
        await holder.keep([ref]);
        return ref.id;
      };
      const id = await hand();
      await collectGarbage();
      t.ok(await rowOf(cluster, id));
      process.kill(await readFrom(holder, () => process.pid), 'SIGKILL');
      await isGone(id);
    });
  });

  await t.test('a large array is read in place', async (t) => {
    const COUNT = 20_000_000;
    class Reader {
      #view: Float32Array = new Float32Array();
      /** The sum of the array, and by how many bytes memory of its own the process has grown. */
      async read(box: { ref: ObjectRef<Float32Array> }): Promise<{ sum: number; grownBytes: number }> {
        const ownBytes = (): number => Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
        await collectGarbage();
        const before = ownBytes();
        this.#view = await get(box.ref);
        let sum = 0;
        for (let i = 0; i < this.#view.length; i += 100) sum += this.#view[i]!;
        return { sum, grownBytes: ownBytes() - before };
      }
      write(index: number, value: number): number[] {
        this.#view[index] = value;
        return [this.#view[index]!, this.#view[index + 1]!];
      }
      at(index: number): number { return this.#view[index]!; }
      async again(box: { ref: ObjectRef<Float32Array> }, index: number): Promise<number> { return (await get(box.ref))[index]!; }
    }
    const ref = remote((count: number) => new Float32Array(count).fill(2)).options(on(a)).remote(COUNT);
    const [first, second] = await Promise.all([actor(Reader, on(a)).create(), actor(Reader, on(a)).create()]);
    await wait([ref]);
    let usedBytes = 0;
    await until('a heartbeat tells of the array', async () => (usedBytes = (await cluster.row(a!)).objectStoreUsedBytes) >= 4 * COUNT);

    await t.test('by several workers of a node, without memory of their own', async (t) => {
      for (const reader of [first!, second!]) {
        const { sum, grownBytes } = await reader.read({ ref });
        t.equal(sum, (COUNT / 100) * 2);
        t.ok(grownBytes < 20e6, `grown by ${grownBytes} bytes for an array of ${4 * COUNT}`);
      }
      await until('the store holds one copy', async () => {
        const { objectStoreUsedBytes } = await cluster.row(a!);
        return objectStoreUsedBytes >= 4 * COUNT && objectStoreUsedBytes < usedBytes + COUNT;
      });
    });
    await t.test('who writes writes for itself', async (t) => {
      t.same(await first!.write(5, 42), [42, 2]);
      t.equal(await second!.at(5), 2);
      t.equal(await first!.again({ ref }, 5), 2, 'reads anew what was put');
      const array = await get(ref);
      t.equal(array[5], 2);
      array[6] = 43;
      t.equal(await second!.at(6), 2);
      t.equal(await first!.at(5), 42);
    });
    await t.test('as an argument, and as a part of an object', async (t) => {
      const seen = await remote((array: Float32Array, box: { name: string; ref: ObjectRef }) => [array.length, array[1], box.name]).options(on(a))(ref, { name: 'x', ref });
      t.same(seen, [COUNT, 2, 'x']);
      const together = await get(await put({ weights: new Float64Array(50_000).fill(1), names: ['w'], raw: Buffer.alloc(200_000, 3) }));
      t.same([together.weights.length, together.weights[49_999], together.names, together.raw.length, together.raw[199_999]], [50_000, 1, ['w'], 200_000, 3]);
      t.equal(together.weights.buffer, together.raw.buffer, 'both are views of the same memory');
    });
    await Promise.all([first!.write(0, 2), second!.write(0, 2)]);
    free([ref]);
  });

  await t.test('an object comes to another node', async (t) => {
    await t.test('once, however many read it there at the same time', async (t) => {
      const SIZE = 24_000_001; // not a whole number of chunks
      const empty = await cluster.addNode({ cpus: 2 });
      const used = async (): Promise<number> => (await cluster.row(empty)).objectStoreUsedBytes;
      const ref = remote((size: number) => block(9, size)).options(on(a)).remote(SIZE);
      const latch = await makeLatch();
      const check = remote(async (door: LatchHandle, box: { ref: ObjectRef<Uint8Array> }) => {
        await door.note('ready');
        await door.opened();
        return isBlock(await get(box.ref), 9, SIZE);
      }).options({ ...on(empty), cpus: 0.5 });
      const checks = Array.from({ length: 4 }, () => check.remote(latch, { ref }));
      await latch.noted(4);
      await latch.open();
      t.same(await get(checks), [true, true, true, true]);
      await until('a copy is counted', async () => (await used()) > SIZE / 2);
      t.ok((await used()) < 1.5 * SIZE, 'there is one');
      free([ref]);
    });
    await t.test('from a worker there to one here and back', async (t) => {
      const [there, back] = [remote((bytes: Uint8Array) => bytes.map((x) => x ^ 255)).options(on(a)), remote((bytes: Uint8Array) => bytes.map((x) => x ^ 255)).options(on(b))];
      t.ok(isBlock(await back(there.remote(await put(block(4, 5_000_000)))), 4, 5_000_000));
    });
  });

  await t.test('sizes', async (t) => {
    const echo = remote((value: Uint8Array) => value);
    await t.test('on both sides of the one at which shared memory begins', async (t) => {
      for (const size of [INLINE_MAX_BYTES - 500, INLINE_MAX_BYTES - 1, INLINE_MAX_BYTES, INLINE_MAX_BYTES + 1, INLINE_MAX_BYTES + 5000]) {
        t.ok(isBlock(await echo(block(1, size)), 1, size), `${size} bytes as argument and result`);
        const ref = await put(block(2, size));
        t.ok(isBlock(await echo(ref), 2, size), `${size} bytes by reference`);
        t.equal((await rowOf(cluster, ref.id))?.state === 'stored', size >= INLINE_MAX_BYTES - 1, 'in shared memory or not');
      }
    });
    await t.test('on both sides of those of frames and messages', async (t) => {
      for (const size of [64 * 1024, 1024 * 1024, 4 * 1024 * 1024, 16 * 1024 * 1024]) {
        for (const exact of [size - 1, size + 1]) t.ok(isBlock(await echo.options(on(b))(block(3, exact)), 3, exact), `${exact} bytes`);
      }
    });
    await t.test('many middle-sized arguments make a large message', async (t) => {
      const total = remote((...parts: Uint8Array[]) => parts.reduce((sum, part) => sum + part.length, 0));
      t.equal(await total(...Array.from({ length: 1000 }, (_, i) => block(i, 90_000))), 90_000_000);
    });
    await t.test('a function takes megabytes of data along, and says where to put more', async (t) => {
      const small = block(5, 4_000_000);
      t.equal(await remote(() => small.length)(), 4_000_000);
      const large = block(6, 20_000_000);
      await t.rejects(remote(() => large.length)(), { code: 'CAPTURE', message: /at most 16 ?MiB.*put\(\)/ });
    });
  });

  await t.test('numbers', async (t) => {
    const add = remote((...numbers: number[]) => numbers.reduce((a, b) => a + b, 0));
    await t.test('10,000 arguments to one task', async (t) => {
      t.equal(await add(...Array.from({ length: 10_000 }, (_, i) => i)), 49_995_000);
      const refs = Array.from({ length: 10_000 }, (_, i) => add.remote(i));
      t.equal(await add(...refs), 49_995_000, 'that are references');
      t.throws(() => add.remote(...Array.from({ length: 70_000 }, () => 1)), { code: 'INVALID_ARGUMENT', message: /array/ });
    });
    await t.test('3,000 returns of one task', async (t) => {
      const values = await remote((count: number) => Array.from({ length: count }, (_, i) => ({ i, text: `value ${i}` })))(3000);
      t.same([values.length, values[2999]], [3000, { i: 2999, text: 'value 2999' }]);
      const refs = await remote(async (count: number) => Promise.all(Array.from({ length: count }, (_, i) => put({ i }))))(3000);
      t.same((await get(refs)).map(({ i }) => i), Array.from({ length: 3000 }, (_, i) => i), 'that are references');
    });
    await t.test('10,000 objects in one get', async (t) => {
      const refs = await Promise.all(Array.from({ length: 10_000 }, (_, i) => put(i % 100 === 0 ? block(i, 110_000) : { i })));
      const values = await get(refs);
      t.ok(values.every((value, i) => (i % 100 === 0 ? (value as Uint8Array)[1] === ((31 + i) & 255) : (value as { i: number }).i === i)));
    });
    await t.test('300 large objects put at once', async (t) => {
      const refs = await Promise.all(Array.from({ length: 300 }, (_, i) => put(block(i, 120_000))));
      t.ok((await get(refs)).every((bytes, i) => bytes[1] === ((31 + i) & 255)));
      free(refs);
    });
    await t.test('an object that contains 10,000 references', async (t) => {
      const refs = await Promise.all(Array.from({ length: 10_000 }, (_, i) => put({ i })));
      const outer = await put({ refs });
      const { refs: inside } = await get(outer);
      t.equal(inside.length, 10_000);
      t.ok(inside.every((ref, i) => ref === refs[i]), 'the driver gets its own references back');
      const sum = remote(async (box: { refs: ObjectRef<{ i: number }>[] }) => (await get(box.refs)).reduce((total, { i }) => total + i, 0));
      t.equal(await sum.options(on(a))(outer), 49_995_000, 'on another node');
    });
  });

  await t.test('the owner of a reference dies', async (t) => {
    class Owner {
      async make(): Promise<ObjectRef<unknown>[]> {
        const pending = remote(() => new Promise(() => {}), { cpus: 0.1 }).remote();
        return [await put({ small: true }), await put(block(1)), pending];
      }
      pid(): number { return process.pid; }
    }
    const owner = await actor(Owner, on(a)).create();
    const refs = await owner.make();
    const waiting = [rejection<MusterError>(get(refs[2]!)), rejection<MusterError>(remote(async (box: ObjectRef<unknown>[]) => get(box[2]!)).options(on(b))(refs))];
    process.kill(await owner.pid(), 'SIGKILL');
    for (const error of await Promise.all(waiting)) t.match(error, { name: 'OwnerDiedError', code: 'OWNER_DIED', message: /because its owner worker-\w+ .*SIGKILL.*Return values/ });
    for (const ref of refs) await t.rejects(get(ref), { code: 'OWNER_DIED', message: new RegExp(ref.id) });
    await t.rejects(remote((value: unknown) => value)(refs[1]!), { code: 'OWNER_DIED' });
  });
});

t.test('a node with objects dies', async (t) => {
  const cluster = await connectedCluster(t, { head: { cpus: 0 }, nodes: [{ cpus: 2 }] });
  const [doomed] = cluster.nodes;
  const latch = await actor(Latch, { maxConcurrency: 1000, placement: { node: cluster.head.nodeId } }).create();
  const make = remote(async (door: LatchHandle, name: string, ...from: Uint8Array[]) => {
    await door.note(name);
    return block(from.reduce((sum, part) => sum + part[0]!, 1));
  });
  class Maker {
    large(): Uint8Array { return block(5); }
    small(): number[] { return [1, 2]; }
  }
  // a diamond of four large results, and objects that nothing can make again
  const top = make.remote(latch, 'top');
  const [left, right] = [make.remote(latch, 'left', top), make.remote(latch, 'right', top)];
  const bottom = make.remote(latch, 'bottom', left, right);
  const maker = await actor(Maker).create();
  const [large, small] = [maker.large.remote(), maker.small.remote()];
  const inner = await remote(async () => ({ ref: await put(block(6)) }))();
  const consumer = make.options({ retries: 0 }).remote(latch, 'unrepeatable', top);
  await wait([top, left, right, bottom, consumer], { count: 5 });
  await wait([large, small], { count: 2 });
  const survivor = await cluster.addNode({ cpus: 2 });
  const before = (await latch.entries()).length;
  doomed!.kill('SIGKILL');
  await until('the node is dead', async () => (await cluster.row(doomed!)).state === 'dead');

  await t.test('its results are made again, with all that they were made from, also for who only borrows them', async (t) => {
    const first = await remote(async (box: { bottom: ObjectRef<Uint8Array> }) => [(await get(box.bottom))[0], context().nodeId] as const)({ bottom });
    t.same(first, [5, survivor.nodeId]); // 1, then 2 and 2, then 1 + 2 + 2
    const again = (await latch.entries()).slice(before);
    t.same([...again].sort(), ['bottom', 'left', 'right', 'top'], 'each once');
    t.ok(again[0] === 'top' && again[3] === 'bottom', again.join());
    t.same((await get([top, left, right, bottom])).map((bytes) => bytes[0]), [1, 2, 2, 5]);
  });

  await t.test('what an actor made is lost, with the reason; small values are not', async (t) => {
    const error = await rejection<MusterError>(get(large));
    t.match(error, { name: 'ObjectLostError', code: 'OBJECT_LOST', retryable: false, message: new RegExp(`${large.id} was lost: its copies were on ${doomed!.nodeId}, and no task can make it again.*put it again`) });
    t.same(await get(small), [1, 2]);
    await t.rejects(make(latch, 'after', large), { code: 'OBJECT_LOST' });
    await t.rejects(get(consumer), { code: 'OBJECT_LOST', message: /no retries left/ });
  });

  await t.test('what a task there has put is gone with its owner', async (t) => {
    await t.rejects(get(inner.ref), { code: 'OWNER_DIED', message: new RegExp(`${inner.ref.id}.*${doomed!.nodeId}`) });
  });
});
