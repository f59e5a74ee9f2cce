/** The object store of 64 MiB with more to hold than fits: spilling to disk and back, eviction of copies, and the error when nothing can leave. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { context, get, init, MusterError, ObjectStoreFullError, put, remote, shutdown, type ObjectRef } from '@muster/core';
import { eventually, TestCluster, type NodeOptions } from '../support/cluster.js';

t.setTimeout(120_000);

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

async function connectedCluster(t: Test, head: NodeOptions, nodes: readonly NodeOptions[] = []): Promise<TestCluster> {
  const cluster = await TestCluster.start({ head: { objectStore: STORE, ...head }, nodes: nodes.map((node) => ({ objectStore: STORE, ...node })) });
  t.teardown(() => cluster.stop());
  await cluster.connect();
  return cluster;
}

t.test('one node', async (t) => {
  const cluster = await connectedCluster(t, { cpus: 2 });
  const spillFolder = join(cluster.head.folder, 'spill');
  const hash = remote((bytes: Uint8Array) => sha256(bytes));

  t.test('three times what fits goes to disk and comes back byte for byte', async (t) => {
    const refs: ObjectRef<Uint8Array>[] = [];
    for (let seed = 0; seed < 24; seed++) refs.push(await put(block(seed)));
    await eventually('most of it is spilled', async () => (await cluster.row(cluster.head)).spilledBytes >= 2 * STORE_BYTES);
    t.ok(readdirSync(spillFolder).length > 0, 'there are files');
    for (let seed = 0; seed < 24; seed++) t.equal(Buffer.compare(await get(refs[seed]!), block(seed)), 0, `object ${seed}`);
    t.same(await get(refs.slice(0, 4).map((ref) => hash.remote(ref))), [0, 1, 2, 3].map((seed) => sha256(block(seed))), 'tasks read what was spilled');
  });

  t.test('results of tasks spill as well', { timeout: 20_000 }, async (t) => {
    const make = remote((seed: number, sizeBytes: number) => new Uint8Array(sizeBytes).fill(seed));
    const refs = Array.from({ length: 20 }, (_, i) => make.remote(i + 1, OBJECT_BYTES));
    for (const [i, ref] of refs.entries()) {
      const bytes = await get(ref);
      t.same([bytes.length, bytes[0], bytes[bytes.length - 1]], [OBJECT_BYTES, i + 1, i + 1]);
    }
  });

  t.test('the files of freed objects are removed', async (t) => {
    await shutdown();
    await eventually('the job has left nothing', async () => (await cluster.row(cluster.head)).objects === 0);
    t.same(readdirSync(spillFolder), []);
    await init({ address: cluster.address, token: cluster.token, logs: false });
  });

  t.test('an object larger than the store is refused at once', { timeout: 5000 }, async (t) => {
    await t.rejects(put(new Uint8Array(STORE_BYTES + 2 ** 20)), { name: 'ObjectStoreFullError', code: 'OBJECT_STORE_FULL', message: new RegExp(cluster.head.nodeId) });
  });

  t.test('a worker reads ten times the store, one object after another', async (t) => {
    const refs: ObjectRef<Uint8Array>[] = [];
    for (let seed = 0; seed < 20; seed++) refs.push(await put(block(seed)));
    const readAll = remote(async (all: { refs: ObjectRef<Uint8Array>[] }) => {
      let sum = 0;
      for (let round = 0; round < 4; round++) for (const ref of all.refs) sum += (await get(ref)).length;
      return sum;
    });
    t.equal(await readAll({ refs }), 80 * OBJECT_BYTES);
  });
});

t.test('everything is pinned', async (t) => {
  const cluster = await connectedCluster(t, { cpus: 0 });
  const refs: ObjectRef<Uint8Array>[] = [];
  const views: Uint8Array[] = [];
  for (let seed = 0; seed < 7; seed++) {
    refs.push(await put(block(seed)));
    views.push(await get(refs[seed]!));
  }
  const error = await put(block(99)).then(() => put(block(100))).then(() => undefined, (failure: MusterError) => failure);

  t.test('a put fails and says what holds the space', async (t) => {
    t.ok(error instanceof ObjectStoreFullError);
    t.match(error, { code: 'OBJECT_STORE_FULL', retryable: true, message: /objects that are being read hold 56 ?MiB/ });
    t.match(error!.message, cluster.head.nodeId);
  });

  t.test('what is held stays whole', async (t) => {
    for (const [seed, view] of views.entries()) t.equal(Buffer.compare(view, block(seed)), 0);
  });

  t.test('once the readers let go there is room again', async (t) => {
    views.length = 0;
    const [v8, vm] = [await import('node:v8'), await import('node:vm')];
    v8.setFlagsFromString('--expose-gc');
    const collectGarbage = vm.runInNewContext('gc') as () => void;
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
    t.ok(await put(block(101)));
    t.ok(await put(block(102)));
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

t.test('the disk is full', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'muster-t-disk-'));
  const mountpoint = join(home, 'small');
  mkdirSync(mountpoint, { mode: 0o700 });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=700', 'tmpfs', mountpoint], { stdio: 'pipe' });
  } catch (error) {
    rmSync(home, { recursive: true });
    t.comment(`skipped: no small file system can be mounted here: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`);
    return;
  }
  t.teardown(() => {
    execFileSync('umount', ['-l', mountpoint]);
    rmSync(home, { recursive: true });
  });
  await connectedCluster(t, { cpus: 1, home: mountpoint });
  const refs: ObjectRef<Uint8Array>[] = [];
  let failure: MusterError | undefined;
  while (!failure && refs.length < 20) await put(block(refs.length)).then((ref) => refs.push(ref), (error: MusterError) => { failure = error; });

  t.test('puts fail with the reason once memory and disk are full', async (t) => {
    t.ok(failure instanceof ObjectStoreFullError);
    t.match(failure!.message, /ENOSPC|no space left/i);
    t.ok(refs.length >= 7 && refs.length <= 12, `${refs.length} objects of ${OBJECT_BYTES} bytes were taken`);
  });

  t.test('what was taken is whole, and the node goes on', async (t) => {
    for (const [seed, ref] of refs.entries()) t.equal(Buffer.compare(await get(ref), block(seed)), 0);
    t.equal(await remote((x: number) => x + 1)(1), 2);
  });
});
