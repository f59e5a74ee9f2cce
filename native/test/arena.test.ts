/** The addon as JavaScript sees it: two processes on one arena, its limits, and what garbage collection makes of views. */
import { execFileSync, fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { Arena, memcpy, SEGMENT_BYTES, VIEW_LIMIT, VIEW_MAX_BYTES, viewCount, type Arena as ArenaObject } from '../index.js';
import type { PeerRequest } from './arena-peer.js';

const PREFIX = `muster-test-${process.pid}-`;
const INDEX_URL = new URL('../index.js', import.meta.url).href;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

let arenas = 0;

/** A fresh arena without memory that is gone after the test. */
function makeEmptyArena(t: Test, segments: number): ArenaObject {
  const arena = Arena.create(`/dev/shm/${PREFIX}${arenas++}`, segments * SEGMENT_BYTES);
  t.teardown(() => {
    arena.close();
    arena.unlink();
  });
  return arena;
}

/** A fresh arena, all of it committed. */
function makeArena(t: Test, segments: number): ArenaObject {
  const arena = makeEmptyArena(t, segments);
  arena.commit(0, arena.sizeBytes);
  return arena;
}

/** Another process that has the arena open. */
function makePeer(t: Test, arena: ArenaObject): (request: PeerRequest) => Promise<unknown> {
  const peer: ChildProcess = fork(new URL('arena-peer.js', import.meta.url), [arena.path]);
  t.teardown(() => peer.kill('SIGKILL'));
  return async (request) => {
    peer.send(request);
    const [reply] = await once(peer, 'message');
    return reply;
  };
}

/** Collects garbage until at most `count` views live. */
async function viewsFallTo(count: number): Promise<void> {
  while (viewCount() > count) {
    collectGarbage();
    await new Promise(setImmediate);
  }
}

t.test('two processes write and read one arena', async (t) => {
  const arena = makeArena(t, 1);
  const peer = makePeer(t, arena);
  await peer({ kind: 'write', offset: 1000, text: 'from the peer' });
  const target = new Uint8Array(13);
  arena.read(1000, target);
  t.equal(Buffer.from(target).toString(), 'from the peer');
  arena.write(5, Buffer.from('from here'));
  t.equal(await peer({ kind: 'read', offset: 5, sizeBytes: 9 }), 'from here');
});

for (const sizeBytes of [1000, 100_000, 2 * SEGMENT_BYTES]) {
  t.test(`a reader that writes to its view of ${sizeBytes} bytes changes nobody else's bytes`, async (t) => {
    const offset = 3000;
    const arena = makeArena(t, 3);
    const peer = makePeer(t, arena);
    arena.write(offset, new Uint8Array(sizeBytes).fill(1));
    await peer({ kind: 'view', offset, sizeBytes });
    t.equal(await peer({ kind: 'view-is', value: 1 }), true);
    await peer({ kind: 'fill-view', value: 9 });

    const copy = new Uint8Array(sizeBytes);
    arena.read(offset, copy);
    t.ok(copy.every((byte) => byte === 1), 'the writer keeps its bytes');
    t.ok(new Uint8Array(arena.view(offset, sizeBytes, 0)).every((byte) => byte === 1), 'so does another reader');

    arena.write(offset, new Uint8Array(sizeBytes).fill(2));
    t.equal(await peer({ kind: 'view-is', value: 9 }), true, 'the reader keeps what it wrote');
    await peer({ kind: 'view', offset, sizeBytes });
    t.equal(await peer({ kind: 'view-is', value: 2 }), true, 'a fresh view of the reused block shows what is there now');
  });
}

t.test('every range is checked: random arguments agree with an oracle and never end the process', async (t) => {
  const arena = makeEmptyArena(t, 4);
  arena.commit(SEGMENT_BYTES, 2 * SEGMENT_BYTES);
  const [start, end] = [SEGMENT_BYTES, 3 * SEGMENT_BYTES];
  const edges = [0, 1, start - 1, start, start + 1, end - 1, end, arena.sizeBytes - 1, arena.sizeBytes, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1, 2 ** 53, 2 ** 64, -1, -0.5, 0.5, NaN, Infinity, -Infinity];
  const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
  let seed = 1;
  const next = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647; // minimal standard generator
  const pick = (): number => (next() < 0.5 ? edges[Math.floor(next() * edges.length)]! : Math.floor(next() * (arena.sizeBytes + 1000)));
  const buffer = new Uint8Array(3 * SEGMENT_BYTES);

  const outcome = (call: () => unknown): string => {
    try {
      call();
      return 'ok';
    } catch (error) {
      return error instanceof RangeError ? 'RangeError' : String((error as { code?: string }).code);
    }
  };
  const expected = (offset: number, sizeBytes: number): string => {
    if (!isCount(offset) || !isCount(sizeBytes) || offset + sizeBytes > arena.sizeBytes) return 'RangeError';
    return sizeBytes === 0 || (offset >= start && offset + sizeBytes <= end) ? 'ok' : 'ERR_ARENA_UNCOMMITTED';
  };

  const wrong: unknown[] = [];
  for (let round = 0; round < 20_000; round++) {
    const offset = pick();
    const sizeBytes = pick();
    const chunk = buffer.subarray(0, Math.floor(next() * (round % 50 === 0 ? buffer.length : 5000)));
    const expectedView = sizeBytes === 0 || sizeBytes > VIEW_MAX_BYTES ? 'RangeError' : expected(offset, sizeBytes);
    const results = {
      read: [outcome(() => arena.read(offset, chunk)), expected(offset, chunk.length)],
      write: [outcome(() => arena.write(offset, chunk)), expected(offset, chunk.length)],
      view: [outcome(() => arena.view(offset, sizeBytes, 0)), expectedView],
    };
    for (const [call, [actual, want]] of Object.entries(results)) {
      if (actual !== want) wrong.push({ call, offset, sizeBytes, chunk: chunk.length, actual, want });
    }
    if (round % 2000 === 0) await new Promise(setImmediate); // lets collected views go
  }
  t.same(wrong, []);
});

t.test('arguments of a wrong type are a TypeError', async (t) => {
  const arena = makeArena(t, 1);
  const bytes = new Uint8Array(8);
  const wrong: readonly unknown[] = [undefined, null, '0', 0n, {}, []];
  for (const value of wrong) {
    const number = value as number;
    const source = value as Uint8Array;
    t.throws(() => arena.write(number, bytes), TypeError);
    t.throws(() => arena.view(0, number, 0), TypeError);
    t.throws(() => arena.view(0, 8, number), TypeError);
    t.throws(() => arena.write(0, source), TypeError);
    t.throws(() => arena.read(0, source), TypeError);
    t.throws(() => memcpy(bytes, source), TypeError);
  }
  t.throws(() => arena.write(0, new Float32Array(8) as unknown as Uint8Array), TypeError);
  t.throws(() => Arena.open('a\0b'), TypeError);
  t.throws(() => new (Arena as unknown as new () => unknown)(), TypeError);
  t.throws(() => memcpy(new Uint8Array(7), bytes), RangeError);
});

t.test('a detached buffer has no bytes to write', async (t) => {
  const arena = makeArena(t, 1);
  const source = new Uint8Array(8).fill(1);
  structuredClone(source, { transfer: [source.buffer] });
  arena.write(0, source);
  const target = new Uint8Array(8);
  arena.read(0, target);
  t.same(target, new Uint8Array(8));
});

t.test('create and open say what is in the way', async (t) => {
  const arena = makeArena(t, 1);
  t.throws(() => Arena.create(arena.path, SEGMENT_BYTES), { code: 'EEXIST', errno: -17, message: /cannot create the arena .*File exists/ });
  t.throws(() => Arena.create(`${arena.path}-odd`, SEGMENT_BYTES + 1), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => Arena.create(`${arena.path}-vast`, 2 ** 43), { code: 'ENOSPC', message: /needs \d+ bytes, and its file system has \d+ free/ });
  t.throws(() => Arena.open(`${arena.path}-absent`), { code: 'ENOENT', place: /^src\/shm\/arena\.cc:\d+$/ });
  t.throws(() => Arena.open('/dev/null'), { code: 'ERR_NOT_AN_ARENA' });
  t.equal(statSync(arena.path).mode & 0o777, 0o600, 'the file is for its user alone');
});

t.test('memory is held only while it is committed', async (t) => {
  const arena = makeEmptyArena(t, 32);
  const heldBytes = (): number => statSync(arena.path).blocks * 512;
  t.ok(heldBytes() < SEGMENT_BYTES);
  await arena.commitAsync(0, 16 * SEGMENT_BYTES);
  t.ok(heldBytes() >= 16 * SEGMENT_BYTES);
  arena.decommit(0, 15 * SEGMENT_BYTES);
  t.ok(heldBytes() < 2 * SEGMENT_BYTES);
  t.throws(() => arena.write(0, new Uint8Array(1)), { code: 'ERR_ARENA_UNCOMMITTED' });
  arena.write(15 * SEGMENT_BYTES, new Uint8Array(1));
  t.throws(() => arena.commit(1, SEGMENT_BYTES), RangeError);
  t.throws(() => arena.decommit(0, 33 * SEGMENT_BYTES), RangeError);
  await t.rejects(arena.commitAsync(31 * SEGMENT_BYTES, 2 * SEGMENT_BYTES), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
});

t.test('a commit that the file system has no room for fails cleanly', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'muster-small-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const inNamespace = ['--user', '--map-root-user', '--mount', 'sh', '-c'];
  const mount = `mount -t tmpfs -o size=${8 * SEGMENT_BYTES} tmpfs "$0"`;
  try {
    execFileSync('unshare', [...inNamespace, mount, directory], { stdio: 'pipe' });
  } catch (error) {
    t.plan(0, `a file system of a few megabytes cannot be mounted here: ${(error as Error).message}`);
    return;
  }
  const program = `
    import { writeFileSync, rmSync, statSync } from 'node:fs';
    import { Arena, SEGMENT_BYTES } from ${JSON.stringify(INDEX_URL)};
    const outcome = async (call) => { try { await call(); return 'ok'; } catch (error) { return error.code; } };
    const directory = process.argv[1], bytes = new Uint8Array(SEGMENT_BYTES).fill(3), results = [];
    results.push(await outcome(() => Arena.create(directory + '/large', 8 * SEGMENT_BYTES)));
    const arena = Arena.create(directory + '/arena', 6 * SEGMENT_BYTES);
    arena.commit(0, 2 * SEGMENT_BYTES);
    arena.write(0, bytes);
    writeFileSync(directory + '/other', new Uint8Array(4 * SEGMENT_BYTES));
    results.push(await outcome(() => arena.commit(0, 6 * SEGMENT_BYTES)));
    results.push(await outcome(() => arena.commitAsync(2 * SEGMENT_BYTES, 4 * SEGMENT_BYTES)));
    results.push(statSync(arena.path).blocks * 512 < 3 * SEGMENT_BYTES);
    results.push(await outcome(() => arena.write(2 * SEGMENT_BYTES, bytes)));
    results.push(await outcome(() => arena.write(SEGMENT_BYTES, bytes)));
    results.push(new Uint8Array(arena.view(0, SEGMENT_BYTES, 0)).every((byte) => byte === 3));
    rmSync(directory + '/other');
    results.push(await outcome(() => arena.commitAsync(0, 6 * SEGMENT_BYTES)));
    results.push(await outcome(() => arena.write(5 * SEGMENT_BYTES, bytes)));
    console.log(JSON.stringify(results));`;
  const output = execFileSync('unshare', [...inNamespace, `${mount} && exec "$1" --input-type=module -e "$2" "$0"`, directory, process.execPath, program], { encoding: 'utf8' });
  t.same(JSON.parse(output), ['ENOSPC', 'ENOSPC', 'ENOSPC', true, 'ERR_ARENA_UNCOMMITTED', 'ok', true, 'ok', 'ok']);
});

t.test('a view is released when it is collected, and not before', async (t) => {
  const arena = makeArena(t, 2);
  await viewsFallTo(0);
  const kept = new Uint8Array(arena.view(0, 1000, 40));
  for (let token = 0; token < 40; token++) arena.view(token * 1000, 100_000, token);
  t.equal(viewCount(), 41);
  await viewsFallTo(1);
  t.same(arena.takeReleased().sort((a, b) => a - b), Array.from({ length: 40 }, (_, token) => token));
  arena.write(0, Buffer.from([7]));
  t.equal(kept[0], 7);
});

t.test('the release listener is called once until the tokens are taken', async (t) => {
  const arena = makeArena(t, 1);
  await viewsFallTo(0);
  let calls = 0;
  arena.setReleaseListener(() => calls++);
  const collectTen = async (): Promise<void> => {
    for (let token = 0; token < 10; token++) arena.view(0, 1000, token);
    await viewsFallTo(0);
  };
  await collectTen();
  await collectTen();
  t.equal(calls, 1);
  t.equal(arena.takeReleased().length, 20);
  t.same(arena.takeReleased(), []);
  await collectTen();
  t.equal(calls, 2);
  arena.takeReleased();
  arena.setReleaseListener(null);
  await collectTen();
  t.equal(calls, 2);
});

t.test('views that nobody holds are released without anybody asking the collector', async (t) => {
  const arena = makeArena(t, 8);
  let made = 0;
  do {
    arena.view(0, arena.sizeBytes, made++);
    await new Promise(setImmediate);
  } while (arena.takeReleased().length === 0 && made < VIEW_LIMIT);
  t.ok(made < 2000, `one was released after ${made} of 16 MiB`);
});

t.test('views outlive the closing and unlinking of their arena', async (t) => {
  const arena = makeArena(t, 1);
  arena.write(0, Buffer.from('still here'));
  const committing = arena.commitAsync(0, SEGMENT_BYTES);
  const view = arena.view(0, 10, 1);
  arena.close();
  arena.close();
  arena.unlink();
  arena.unlink();
  await committing;
  t.equal(Buffer.from(view).toString(), 'still here');
  t.throws(() => arena.view(0, 1, 2), { code: 'ERR_ARENA_CLOSED' });
  t.throws(() => arena.write(0, new Uint8Array(1)), { code: 'ERR_ARENA_CLOSED' });
  t.throws(() => arena.commitAsync(0, SEGMENT_BYTES), { code: 'ERR_ARENA_CLOSED' });
});

t.test('past the limit of views a program is told to copy, and may go on when some are released', async (t) => {
  const arena = makeArena(t, 1);
  const held: ArrayBuffer[] = [];
  t.throws(() => { for (;;) held.push(arena.view(0, 1, held.length)); }, { code: 'ERR_ARENA_VIEW_LIMIT' });
  t.equal(viewCount(), VIEW_LIMIT);
  held.length = 0;
  await viewsFallTo(1000);
  t.ok(arena.view(0, 1, 0));
});

t.test("a thread's views end with it", async (t) => {
  const arena = makeArena(t, 1);
  await viewsFallTo(0);
  const program = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(${JSON.stringify(INDEX_URL)}).then(({ Arena }) => {
      const arena = Arena.open(workerData);
      arena.setReleaseListener(() => {});
      globalThis.views = Array.from({ length: 50 }, (_, token) => new Uint8Array(arena.view(0, 200_000, token)));
      parentPort.on('message', () => {}).postMessage('held');
    });`;
  const thread = new Worker(program, { eval: true, workerData: arena.path });
  await once(thread, 'message');
  t.equal(viewCount(), 50);
  await thread.terminate();
  t.equal(viewCount(), 0);
});

t.test('a process tied to its parent dies with it', async (t) => {
  const child = `import { dieWithParent } from ${JSON.stringify(INDEX_URL)};
    dieWithParent(Number(process.env.PARENT_PID)); console.log('tied'); setTimeout(() => {}, 20_000);`;
  const parent = `import { spawn } from 'node:child_process';
    spawn(process.execPath, ['--input-type=module', '-e', ${JSON.stringify(child)}], { stdio: 'inherit', env: { ...process.env, PARENT_PID: process.pid } });`;
  const tree = spawn(process.execPath, ['--input-type=module', '-e', parent], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(tree.stdout, 'data');
  t.equal(String(line).trim(), 'tied');
  const closed = once(tree.stdout, 'close'); // the child holds the pipe, too
  tree.kill('SIGKILL');
  await closed;

  const orphan = spawn(process.execPath, ['--input-type=module', '-e', child], { env: { ...process.env, PARENT_PID: '1' }, stdio: 'ignore' });
  const [, signal] = await once(orphan, 'exit');
  t.equal(signal, 'SIGKILL', 'and at once when the parent is gone already');
});

t.test('without the addon the error says how to build it', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'muster-unbuilt-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
  cpSync(new URL('.', INDEX_URL), join(directory, 'dist'), { recursive: true });
  t.notOk(existsSync(join(directory, 'build')));
  await t.rejects(import(join(directory, 'dist', 'index.js')), { message: /muster\.node cannot be loaded: .*Build it with `npm run build`/ });
});

t.test('no arena is left behind', async (t) => {
  t.same(readdirSync('/dev/shm').filter((name) => name.startsWith(PREFIX)), []);
});
