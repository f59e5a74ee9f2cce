/** The object store of 64 MiB with more to hold than fits: spilling to disk and back, eviction of copies, and the error when nothing can leave. */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { actor, context, free, get, init, put, remote, shutdown, type ObjectRef } from '@muster/core';
import { TestCluster, type NodeOptions } from '../support/cluster.js';
import { smallDisk } from '../support/small-disk.js';
import { until } from '../support/until.js';

const STORE = '64MiB';
const STORE_BYTES = 64 * 2 ** 20;
const OBJECT_BYTES = 8 * 2 ** 20;

/** Bytes that differ from object to object, in every page. */
function block(seed: number, sizeBytes = OBJECT_BYTES): Uint8Array {
  const words = new Uint32Array(sizeBytes / 4);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 2_654_435_761) ^ seed;
  return new Uint8Array(words.buffer);
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Fills the store of its node, and may keep reading everything that it has put. */
class Hoard {
  readonly #refs: ObjectRef<Uint8Array>[] = [];
  readonly #views: Uint8Array[] = [];

  /** Puts objects until one does not fit. @throws ObjectStoreFullError */
  async fill(isReading: boolean): Promise<never> {
    for (;;) {
      const ref = await put(block(this.#refs.length));
      this.#refs.push(ref);
      if (isReading) this.#views.push(await get(ref));
    }
  }

  async areWhole(): Promise<boolean[]> {
    const whole: boolean[] = [];
    for (const [seed, ref] of this.#refs.entries()) whole.push(Buffer.compare(await get(ref), block(seed)) === 0);
    return whole;
  }

  stopReading(): void { this.#views.length = 0; }
  freeNewest(count: number): void { free(this.#refs.splice(-count)); }

  async add(count: number): Promise<void> {
    for (let i = 0; i < count; i++) this.#refs.push(await put(block(this.#refs.length)));
  }
}

async function connectedCluster(t: Test, head: NodeOptions, nodes: readonly NodeOptions[] = []): Promise<TestCluster> {
  const cluster = await TestCluster.start({ head: { objectStore: STORE, ...head }, nodes: nodes.map((node) => ({ objectStore: STORE, ...node })) });
  t.teardown(() => cluster.stop());
  await cluster.connect();
  return cluster;
}

t.test('full stores', async (t) => {
  const small = smallDisk(t, 24 * 1024);
  const cluster = await connectedCluster(t, { cpus: 2 }, [{ cpus: 0 }, ...(small === null ? [] : [{ cpus: 0, home: small }])]);
  const smallNode = cluster.nodes.find((node) => node.home === small);
  const largeNode = cluster.nodes.find((node) => node !== smallNode)!;
  const spillFolder = join(cluster.head.folder, 'spill');

  // A put waits half a minute for room: two nodes do so while the third spills.
  const reader = await actor(Hoard, { placement: { node: largeNode.nodeId } }).create();
  const pinned = reader.fill.remote(true);
  const writer = smallNode && await actor(Hoard, { placement: { node: smallNode.nodeId } }).create();
  const diskFull = writer?.fill.remote(false);
  const hash = remote((bytes: Uint8Array) => sha256(bytes));

  t.test('twice what fits goes to disk and comes back byte for byte', async (t) => {
    const refs: ObjectRef<Uint8Array>[] = [];
    for (let seed = 0; seed < 16; seed++) refs.push(await put(block(seed)));
    await until('most of it is spilled', async () => (await cluster.row(cluster.head)).spilledBytes >= STORE_BYTES);
    t.ok(readdirSync(spillFolder).length > 0, 'there are files');
    for (let seed = 0; seed < 16; seed++) t.equal(Buffer.compare(await get(refs[seed]!), block(seed)), 0, `object ${seed}`);
    t.same(await get(refs.slice(0, 4).map((ref) => hash.remote(ref))), [0, 1, 2, 3].map((seed) => sha256(block(seed))), 'tasks read what was spilled');
  });

  t.test('results of tasks spill as well', async (t) => {
    const make = remote((seed: number, sizeBytes: number) => new Uint8Array(sizeBytes).fill(seed));
    const refs = Array.from({ length: 12 }, (_, i) => make.remote(i + 1, OBJECT_BYTES));
    for (const [i, ref] of refs.entries()) {
      const bytes = await get(ref);
      t.same([bytes.length, bytes[0], bytes[bytes.length - 1]], [OBJECT_BYTES, i + 1, i + 1]);
    }
  });

  t.test('an object larger than the store is refused at once', async (t) => {
    await t.rejects(put(new Uint8Array(STORE_BYTES + 2 ** 20)), { name: 'ObjectStoreFullError', code: 'OBJECT_STORE_FULL', message: new RegExp(cluster.head.nodeId) });
  });

  t.test('a worker reads four times the store, one object after another', async (t) => {
    const refs: ObjectRef<Uint8Array>[] = [];
    for (let seed = 0; seed < 16; seed++) refs.push(await put(block(seed)));
    const readAll = remote(async (all: { refs: ObjectRef<Uint8Array>[] }) => {
      let sum = 0;
      for (let round = 0; round < 2; round++) for (const ref of all.refs) sum += (await get(ref)).length;
      return sum;
    });
    t.equal(await readAll({ refs }), 32 * OBJECT_BYTES);
  });

  t.test('a put fails when all there is is being read, and says what holds the space', async (t) => {
    await t.rejects(get(pinned), { name: 'ObjectStoreFullError', code: 'OBJECT_STORE_FULL', retryable: true, message: /objects that are being read hold 56 ?MiB/ });
    await t.rejects(get(pinned), { message: new RegExp(largeNode.nodeId) });
    t.same(await reader.areWhole(), Array(7).fill(true));
  });

  t.test('once the readers let go there is room again', async () => {
    await reader.stopReading();
    await reader.add(2);
  });

  t.test('a put fails with the reason once memory and disk are full', { skip: !writer && 'no small file system can be mounted here' }, async (t) => {
    await t.rejects(get(diskFull!), { name: 'ObjectStoreFullError', message: /ENOSPC|no space left/i });
  });

  t.test('with a little room again, all that was taken is whole, and the node takes more', { skip: !writer && 'no small file system can be mounted here' }, async (t) => {
    await writer!.freeNewest(2);
    const whole = await writer!.areWhole();
    t.same(whole, Array(whole.length).fill(true));
    t.ok(whole.length >= 5 && whole.length <= 10, `${whole.length + 2} objects of ${OBJECT_BYTES} bytes were taken`);
    await writer!.freeNewest(1);
    await writer!.add(1);
  });

  t.test('the files of freed objects are removed', async (t) => {
    await shutdown();
    await until('the job has left nothing', async () => (await cluster.row(cluster.head)).objects === 0);
    t.same(readdirSync(spillFolder), []);
    await init({ address: cluster.address, token: cluster.token, logs: false });
  });
});

t.test('copies on a second node', async (t) => {
  const cluster = await connectedCluster(t, { cpus: 0, objectStore: '256MiB' }, [{ cpus: 1 }]);
  const [node] = cluster.nodes;
  const refs: ObjectRef<Uint8Array>[] = [];
  for (let seed = 0; seed < 20; seed++) refs.push(await put(block(seed)));
  const hash = remote((bytes: Uint8Array) => `${context().nodeId} ${sha256(bytes)}`);

  t.test('are evicted to make room, never written to disk', async (t) => {
    for (let round = 0; round < 2; round++) {
      for (const [seed, ref] of refs.entries()) t.equal(await hash(ref), `${node!.nodeId} ${sha256(block(seed))}`);
    }
    const row = await cluster.row(node!);
    t.equal(row.spilledBytes, 0);
    t.same(readdirSync(join(node!.folder, 'spill')), []);
    t.ok(row.objectStoreUsedBytes <= STORE_BYTES);
    t.equal((await cluster.row(cluster.head)).spilledBytes, 0);
  });
});
