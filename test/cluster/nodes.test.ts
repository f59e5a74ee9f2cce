/** Several nodes: where tasks and actors run, and how objects get from one node to another. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { actor, context, free, get, put, remote, shutdown, UnschedulableError, wait, type ObjectRef } from '@muster/core';
import { TestCluster } from '../support/cluster.js';
import { until } from '../support/until.js';

const MEGABYTES = 50;
const LARGE_BYTES = MEGABYTES * 1e6;

/** Bytes that repeat nowhere within the object, equal for equal seeds. */
function pattern(sizeBytes: number, seed: number): Uint8Array {
  const words = new Uint32Array(sizeBytes / 4);
  let state = seed | 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer);
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const cluster = await TestCluster.start({
  nodes: [{ labels: { zone: 'a', disk: 'fast' } }, { labels: { zone: 'b', disk: 'fast' } }, { labels: { zone: 'c' } }],
});
const byZone = new Map((await Promise.all(cluster.nodes.map((node) => cluster.row(node)))).map((row) => [row.labels['zone']!, row.nodeId]));
const [a, b, c] = ['a', 'b', 'c'].map((zone) => byZone.get(zone)!) as [string, string, string];
await cluster.connect();
t.teardown(() => cluster.stop());

const whereAmI = remote(async (ms: number) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return context().nodeId as string;
});
const make = remote((sizeBytes: number, seed: number) => pattern(sizeBytes, seed));
const hash = remote((bytes: Uint8Array) => ({ hash: sha256(bytes), nodeId: context().nodeId as string }));

/** An owner keeps its last lease of a kind for a second. */
const idle = (): Promise<void> => until('no lease is held', async () => Object.values((await cluster.status()).leases).every((count) => count === 0));

t.test('tasks that overlap run on all three nodes', async (t) => {
  const nodes = await get(Array.from({ length: 12 }, () => whereAmI.remote(100)));
  t.same([...new Set(nodes)].sort(), [a, b, c].sort());
});

t.test('a task runs where its large argument lies', async (t) => {
  for (const [seed, node] of [a, b, c].entries()) {
    const ref = make.options({ placement: { node } }).remote(LARGE_BYTES, seed + 1);
    await wait([ref]);
    await idle();
    t.equal((await hash(ref)).nodeId, node);
  }
});

t.test("placement 'spread' uses every node for the first three tasks", async (t) => {
  await idle();
  const nodes = await get(Array.from({ length: 3 }, () => whereAmI.options({ placement: 'spread' }).remote(300)));
  t.same(nodes.sort(), [a, b, c].sort());
});

t.test('a task runs on the node that it names', async (t) => {
  for (const node of [a, b, c]) {
    t.same(await get(Array.from({ length: 5 }, () => whereAmI.options({ placement: { node } }).remote(1))), Array(5).fill(node));
  }
});

t.test('a task runs where all of its labels are', async (t) => {
  const on = async (labels: Record<string, string>): Promise<string[]> => {
    await idle();
    return get(Array.from({ length: 8 }, () => whereAmI.options({ placement: { labels } }).remote(50)));
  };
  t.same(await on({ zone: 'b' }), Array(8).fill(b));
  t.same([...new Set(await on({ disk: 'fast' }))].sort(), [a, b].sort());
  t.same(await on({ disk: 'fast', zone: 'a' }), Array(8).fill(a));
});

t.test('what no node can hold fails at once and says why', async (t) => {
  await t.rejects(whereAmI.options({ placement: { labels: { zone: 'nowhere' } } })(1), UnschedulableError);
  await t.rejects(whereAmI.options({ placement: { node: 'node-000000000000' } })(1), UnschedulableError);
  await t.rejects(whereAmI.options({ cpus: 2 })(1), { name: 'UnschedulableError', message: /cpu/ });
  await t.rejects(whereAmI.options({ placement: { labels: { disk: 'fast', zone: 'c' } } })(1), { name: 'UnschedulableError', message: /label/ });
});

t.test('an actor runs where it was placed and is called from a task on another node', async (t) => {
  class Counter {
    #count = 0;
    add(amount: number): { count: number; nodeId: string } { return { count: (this.#count += amount), nodeId: context().nodeId }; }
  }
  const counter = await actor(Counter, { placement: { node: b } }).create();
  const caller = remote(async (amount: number) => ({ ...(await counter.add(amount)), calledFrom: context().nodeId as string }));
  t.same(await caller.options({ placement: { node: a } })(2), { count: 2, nodeId: b, calledFrom: a });
  t.same(await caller.options({ placement: { node: c } })(3), { count: 5, nodeId: b, calledFrom: c });
  t.same(await counter.add(1), { count: 6, nodeId: b });
});

t.test(`${MEGABYTES} MB from a task on one node are read byte for byte by a second, a third and the driver's`, async (t) => {
  const ref = make.options({ placement: { node: a } }).remote(LARGE_BYTES, 1);
  const expected = pattern(LARGE_BYTES, 1);
  const onB = await hash.options({ placement: { node: b } })(ref);
  const onC = await hash.options({ placement: { node: c } })(ref);
  t.same([onB, onC], [{ hash: sha256(expected), nodeId: b }, { hash: sha256(expected), nodeId: c }]);
  t.equal(Buffer.compare(await get(ref), expected), 0);
});

t.test('several readers of one object share one pull on each node', async (t) => {
  const ref = await put(pattern(LARGE_BYTES, 2));
  const readers = [a, b, c].flatMap((node) => Array.from({ length: 2 }, () => hash.options({ cpus: 0.5, placement: { node } }).remote(ref)));
  const seen = await get(readers);
  t.same([...new Set(seen.map((reader) => reader.hash))], [sha256(pattern(LARGE_BYTES, 2))]);
  t.same([a, b, c].map((node) => seen.filter((reader) => reader.nodeId === node).length), [2, 2, 2]);
  for (const node of cluster.nodes) {
    await until('one copy on each node', async () => (await cluster.row(node)).objectStoreUsedBytes < 4 * LARGE_BYTES);
  }
});

t.test('a task reads many large objects from all nodes at once', async (t) => {
  const refs = [a, b, c].flatMap((node, n) => Array.from({ length: 3 }, (_, i) => make.options({ placement: { node } }).remote(1_000_000, 10 * n + i)));
  const sum = remote((...parts: Uint8Array[]) => parts.map((part) => sha256(part)));
  t.same(await sum(...refs), [0, 1, 2].flatMap((n) => [0, 1, 2].map((i) => sha256(pattern(1_000_000, 10 * n + i)))));
});

t.test('a reference inside an object leads a third node to bytes on the first', async (t) => {
  const inner = make.options({ placement: { node: a } }).remote(1_000_000, 7);
  const wrap = remote((nested: { ref: ObjectRef<Uint8Array> }) => ({ nested, filler: new Uint8Array(200_000) }));
  const outer = wrap.options({ placement: { node: b } }).remote({ ref: inner });
  const unwrap = remote(async (box: { nested: { ref: ObjectRef<Uint8Array> } }) => sha256(await get(box.nested.ref)));
  t.equal(await unwrap.options({ placement: { node: c } })(outer), sha256(pattern(1_000_000, 7)));
});

t.test('free() frees the copies on all nodes, once no reader looks at them', async (t) => {
  const used = async (): Promise<number> => (await cluster.status()).objectStore.usedBytes;
  await shutdown(); // what the tests before have left would be counted as well
  await until('the stores are empty', async () => (await used()) === 0);
  await cluster.connect();
  const [ref, other] = [await put(pattern(20_000_000, 3)), await put(pattern(1_000_000, 4))];
  const everywhere = (bytes: ObjectRef<Uint8Array>): Promise<unknown> => get([a, b, c].map((node) => hash.options({ placement: { node } }).remote(bytes)));
  await everywhere(ref);
  await until('four copies are counted', async () => (await used()) >= 80_000_000);
  await everywhere(other);
  const collectGarbage = remote(async () => {
    const [v8, vm] = [await import('node:v8'), await import('node:vm')];
    v8.setFlagsFromString('--expose-gc');
    vm.runInNewContext('gc')();
  });
  free([ref]);
  await get([a, b, c].map((node) => collectGarbage.options({ placement: { node } }).remote()));
  await until('the copies are gone', async () => (await used()) < 20_000_000);
  await t.rejects(get(ref), { code: 'OBJECT_FREED' });
});
