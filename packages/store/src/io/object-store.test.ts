import t, { type Test } from 'tap';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Arena, SEGMENT_BYTES } from '@muster/native';
import type { MusterError } from '@muster/base';
import type { ClientReply, ClientRequest } from '../machine/messages.js';
import { contentOf, locationOf } from '../test-support/store-world.js';
import { InMemoryArena, type ArenaMemory } from './arena-memory.js';
import { ObjectStore, type Pull, type StoreSurroundings } from './object-store.js';
import { SpillFolder } from './spill-folder.js';

const KIB = 1024;

/** A store on a real arena and a real folder, and one client that talks to it by promises. */
function openStore(t: Test, options: { sizeBytes: number; memory?: ArenaMemory; pull?: StoreSurroundings['pull'] }) {
  const folder = mkdtempSync(join(tmpdir(), 'muster-store-'));
  const arena = options.memory ?? createArena(t, options.sizeBytes);
  const forwarded: string[] = [];
  const store = new ObjectStore({
    nodeId: 'node-a', totalBytes: options.sizeBytes, segmentBytes: options.memory ? 4 * KIB : SEGMENT_BYTES, memory: arena, files: new SpillFolder(folder),
    surroundings: {
      clock: { nowMs: () => performance.now(), wallMs: () => Date.now() },
      pull: options.pull ?? (() => Promise.reject(new Error('nobody is there'))),
      forwardFree: (nodeId, _location, objectIds) => forwarded.push(`${nodeId}: ${objectIds.join(' ')}`),
      log: () => {},
    },
  });
  t.teardown(async () => {
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { store, arena, folder, forwarded, client: new TestClient(store, arena) };
}

function createArena(t: Test, sizeBytes: number): Arena {
  const arena = Arena.create(`/dev/shm/muster-store-test-${process.pid}-${arenaCount++}`, sizeBytes);
  t.teardown(() => {
    arena.unlink();
    arena.close();
  });
  return arena;
}
let arenaCount = 0;

class TestClient {
  readonly #connection;
  readonly #arena;
  readonly #waiting = new Map<number, (reply: ClientReply) => void>();
  #requestCount = 0;
  dropped: MusterError | undefined;

  constructor(store: ObjectStore, arena: ArenaMemory) {
    this.#arena = arena;
    this.#connection = store.connect('worker-1', {
      onReply: (reply) => this.#waiting.get(reply.requestId)!(reply),
      onDrop: (failure) => { this.dropped = failure; },
    });
  }

  send(request: ClientRequest): void {
    this.#connection.request(request);
  }

  allocate(sizeBytes: number, timeoutMs = 5000): Promise<ClientReply> {
    return this.#ask((requestId) => ({ type: 'allocate', requestId, sizeBytes, timeoutMs }));
  }

  async put(objectId: string, sizeBytes: number): Promise<void> {
    const { offset, failure } = await this.allocate(sizeBytes);
    if (failure) throw new Error(JSON.stringify(failure));
    this.#arena.write(offset, contentOf(objectId, sizeBytes));
    this.send({ type: 'seal', objectId, offset, sizeBytes });
    this.send({ type: 'returnBlock', offset });
  }

  /** Whether the object's bytes are right; or the code of the failure. */
  async read(objectId: string, sizeBytes: number, nodeIds: string[] = []): Promise<boolean | string> {
    const reply = await this.#ask((requestId) => ({ type: 'fetch', requestId, objectId, sizeBytes, locations: nodeIds.map(locationOf) }));
    if (reply.failure) return `${reply.failure.code}: ${reply.failure.details['cause']}`;
    const bytes = Buffer.alloc(reply.sizeBytes);
    this.#arena.read(reply.offset, bytes);
    this.send({ type: 'release', objectId });
    return bytes.equals(contentOf(objectId, sizeBytes));
  }

  #ask(request: (requestId: number) => ClientRequest): Promise<ClientReply> {
    const requestId = ++this.#requestCount;
    return new Promise((resolve) => {
      this.#waiting.set(requestId, resolve);
      this.send(request(requestId));
    });
  }
}

async function drain(chunks: AsyncIterable<{ data: Uint8Array; offset: number; objectSizeBytes: number }>): Promise<Buffer> {
  const parts = [];
  for await (const { data } of chunks) parts.push(data);
  return Buffer.concat(parts);
}

t.test('twice as many objects as memory holds are written and read back', async (t) => {
  const { store, client, folder } = openStore(t, { sizeBytes: 4 * SEGMENT_BYTES });
  const sizeBytes = 700 * KIB + 13;
  const ids = Array.from({ length: 24 }, (_, index) => `obj-w-${index}`);
  for (const id of ids) await client.put(id, sizeBytes);
  t.ok(readdirSync(folder).length >= 12, 'about half of them are files');
  for (const id of ids) t.equal(await client.read(id, sizeBytes), true, id);
  client.send({ type: 'freeObjects', objectIds: ids, locations: [] });
  t.match(store.stats(), { objectCount: 0, freeBytes: 4 * SEGMENT_BYTES, spilledBytes: 0 });
  while (readdirSync(folder).length > 0) await nextTurn();
});

t.test('many readers and writers at once, under pressure', async (t) => {
  const { store, arena } = openStore(t, { sizeBytes: 2 * SEGMENT_BYTES });
  await Promise.all([1, 2, 3, 4].map(async (writer) => {
    const client = new TestClient(store, arena);
    for (let index = 0; index < 30; index++) {
      const id = `obj-w${writer}-${index}`;
      await client.put(id, 100 * KIB + index);
      t.equal(await client.read(id, 100 * KIB + index), true);
      if (index > 5) t.equal(await client.read(`obj-w${writer}-${index - 5}`, 100 * KIB + index - 5), true);
    }
  }));
  t.equal(store.stats().objectCount, 120);
});

t.test('a disk that fails is named when the store is full', async (t) => {
  const { client, folder } = openStore(t, { sizeBytes: 64 * KIB, memory: new InMemoryArena(64 * KIB) });
  await client.put('obj-w-1', 60 * KIB);
  rmSync(folder, { recursive: true });
  const reply = await client.allocate(32 * KIB, 100);
  t.equal(reply.failure?.code, 'OBJECT_STORE_FULL');
  t.match(reply.failure?.details['used'], /spilling to disk failed: ENOENT/);
  t.equal(await client.read('obj-w-1', 60 * KIB), true, 'the object is still there');
});

t.test('a failed write leaves no partial file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'muster-spill-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const files = new SpillFolder(folder);
  await t.rejects(files.write(1, 3 * KIB * KIB, (position) => { if (position > 0) throw new Error('the reader failed'); }), /the reader failed/);
  t.same(readdirSync(folder), []);
  await files.write(2, 10, (_, target) => target.fill(7));
  await t.rejects(async () => { for await (const _ of files.read(2, 11)); }, /ends after 10 of 11 bytes/);
});

t.test('peers read objects from memory and from disk, in pieces of at most 1 MiB', async (t) => {
  const sizeBytes = 2 * SEGMENT_BYTES;
  const { store, client, forwarded } = openStore(t, { sizeBytes });
  await client.put('obj-w-1', sizeBytes - 5);
  const offsets = [];
  for await (const { offset, data, objectSizeBytes } of store.serve('obj-w-1', 'node-b')) {
    offsets.push(offset);
    t.equal(objectSizeBytes, sizeBytes - 5);
    t.ok(data.length <= KIB * KIB);
  }
  t.same(offsets, [0, 1, 2, 3].map((index) => index * KIB * KIB));
  await client.put('obj-w-2', 10);
  t.equal(store.list().find((object) => object.objectId === 'obj-w-1')?.place, 'disk');
  t.ok((await drain(store.serve('obj-w-1', 'node-c'))).equals(contentOf('obj-w-1', sizeBytes - 5)));
  for await (const _ of store.serve('obj-w-2', 'node-d')) break; // a peer that goes away
  await client.put('obj-w-3', 0);
  t.equal((await drain(store.serve('obj-w-3', 'node-d'))).length, 0);
  await t.rejects(drain(store.serve('obj-w-9', 'node-c')), { code: 'OBJECT_LOST' });
  t.equal(store.stats().heldBytes, 0);
  store.peerFreed(['obj-w-1']);
  t.same(forwarded, ['node-b: obj-w-1', 'node-c: obj-w-1']);
});

t.test('a pulled object is read like any other, and a node that sends too little or too much is passed over', async (t) => {
  const sizeBytes = 100 * KIB;
  const { client } = openStore(t, {
    sizeBytes: 1024 * KIB, memory: new InMemoryArena(1024 * KIB),
    pull: async ({ objectId, location }, write) => {
      const content = contentOf(objectId, sizeBytes);
      if (location.nodeId === 'node-b') write(content.subarray(1));
      if (location.nodeId === 'node-c') for (let count = 0; count < 3; count++) write(content);
      if (location.nodeId === 'node-d') for (let at = 0; at < sizeBytes; at += 1000) write(content.subarray(at, at + 1000));
    },
  });
  t.equal(await client.read('obj-x-1', sizeBytes, ['node-b', 'node-c', 'node-d']), true);
  t.equal(await client.read('obj-x-2', sizeBytes, ['node-b', 'node-c']),
    `OBJECT_LOST: node-b: only ${sizeBytes - 1} of ${sizeBytes} bytes came; node-c: it is larger there than ${sizeBytes} bytes`);
});

t.test('a cancelled pull writes nothing any more', async (t) => {
  const memory = new InMemoryArena(64 * KIB);
  let onPull: (started: { pull: Pull; write: (bytes: Uint8Array) => void }) => void;
  const started = new Promise<Parameters<typeof onPull>[0]>((resolve) => { onPull = resolve; });
  const { store, client } = openStore(t, {
    sizeBytes: 64 * KIB, memory,
    pull: (pull, write) => {
      onPull({ pull, write });
      return new Promise(() => {});
    },
  });
  void client.read('obj-x-1', 64 * KIB, ['node-b']);
  const { pull, write } = await started;
  write(contentOf('obj-x-1', 10));
  client.send({ type: 'cancelFetch', requestId: 1 });
  t.equal(pull.signal.aborted, true);
  t.equal(store.stats().freeBytes, 64 * KIB, 'its pages are free at once');
  t.throws(() => write(contentOf('obj-x-1', 10)));
});

t.test('a client that breaks a rule is told why', async (t) => {
  const { client } = openStore(t, { sizeBytes: 64 * KIB, memory: new InMemoryArena(64 * KIB) });
  client.send({ type: 'seal', objectId: 'obj-w-1', offset: 0, sizeBytes: 1 });
  t.match(client.dropped, { code: 'PROTOCOL', message: /worker-1.*not inside of a block of its own/ });
});

t.test('waiting ends at its deadline on the real clock', async (t) => {
  const { client } = openStore(t, { sizeBytes: 64 * KIB, memory: new InMemoryArena(64 * KIB) });
  await client.allocate(40 * KIB);
  const startedAt = performance.now();
  const reply = await client.allocate(40 * KIB, 60);
  t.equal(reply.failure?.code, 'OBJECT_STORE_FULL');
  t.ok(performance.now() - startedAt >= 59);
});
