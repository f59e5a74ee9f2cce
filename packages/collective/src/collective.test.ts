/** Communicators as programs use them: ranks in processes of their own, what they get, and what they are told when something goes wrong. */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { collective, createCommunicator, type Communicator, type Group, type NumberArray } from './index.js';
import { freshId, resultsOf, startRanks } from './test-support/rank-process.js';

const INDEX_URL = new URL('index.js', import.meta.url).href;
const TIMEOUT_MS = 60_000;

t.test('every call of two ranks', async (t) => {
  const ranks = startRanks(t, 'every call');
  const [first, second] = await resultsOf(ranks);
  const same = { sum: [3, 30], largest: [1, 0], gathered: [0, 1], told: [7, 8], half: [0x4040, 0x3f80], average: [0x3c00, 0x3c00], octets: [0x40, 0x48] };
  t.strictSame(first, { ...same, own: [1, 10], atRoot: [2], part: [1], exchanged: [0, 1] });
  t.strictSame(second, { ...same, own: [2, 20], atRoot: [6], part: [21], exchanged: [10, 11] });
  t.strictSame(await Promise.all(ranks.map((rank) => rank.exited)), [0, 0]);
});

t.test('calls that nobody waits for are made in their order', async (t) => {
  t.strictSame(await resultsOf(startRanks(t, 'many calls at once', { size: 3 })), [true, true, true]);
});

t.test('a call that waits for another rank does not hold the JavaScript thread', async (t) => {
  const ranks = startRanks(t, 'a call that waits does not hold the thread');
  t.equal(await ranks[0]!.report('word'), 'still here');
  ranks[1]!.child.send('go on');
  t.strictSame(await resultsOf(ranks), [[2, 2], [2, 2]]);
});

t.test('a call may hold the JavaScript thread, and is done when it returns if the others come in time', async (t) => {
  const ranks = startRanks(t, 'a call that holds the thread');
  t.equal(await ranks[0]!.report('word'), 'goes on');
  ranks[1]!.child.send('go on');
  t.strictSame(await resultsOf(ranks), [[2, 2, 2, 4, 4], [2, 2, 4, 4, 4]]);
});

t.test('an array lives as long as its call', async (t) => {
  const ranks = startRanks(t, 'memory outlives its last reference');
  t.equal(await ranks[0]!.report('word'), 'collected');
  ranks[1]!.child.send('go on');
  t.strictSame(await resultsOf(ranks), [1, 1]);
});

t.test('a group of messages in a circle of four ranks', async (t) => {
  t.strictSame(await resultsOf(startRanks(t, 'a ring of messages', { size: 4 })), [[3, 50_002], [0, 49_999], [1, 50_000], [2, 50_001]]);
});

t.test('a rank that dies ends the calls of the others, who are told which', async (t) => {
  const ranks = startRanks(t, 'a rank dies', { size: 3 });
  const [first, second, third] = await resultsOf(ranks);
  t.match(first, { first: { reason: 'rank-gone', rank: 1, message: /rank 1 \(process \d+\) ended without closing/ } });
  t.match(first, { next: (first as { first: unknown }).first }, 'and so do all further calls');
  t.strictSame(third, first);
  t.equal(second, null);
});

t.test('calls that hold the thread are done when they return, after those that were made before, and throw', async (t) => {
  const [first] = await resultsOf(startRanks(t, 'blocking calls', { size: 2 }));
  t.match(first, { seen: [2, 1, 1, 2], failure: { reason: 'rank-gone', rank: 1 } });
});

t.test('ranks that disagree are told of both calls', async (t) => {
  const [first, second] = await resultsOf(startRanks(t, 'ranks disagree'));
  t.match(first, { reason: 'mismatch', message: /allReduce\(sum of 1000 f32\)/ });
  t.match(first, { message: /broadcast\(999 f32 from rank 0\)/ });
  t.notMatch((first as { message: string }).message, /scenarios/, 'but not of their places, which would cost time');
  t.strictSame(second, first);
});

t.test('in debug mode they are told where both calls are made', async (t) => {
  const source = readFileSync(new URL('test-support/scenarios.js', import.meta.url), 'utf8').split('\n');
  const lineAt = (message: string, call: string): string => {
    const [, line, column] = new RegExp(`${call}\\([^)]*\\) at \\S+/test-support/scenarios\\.js:(\\d+):(\\d+)`).exec(message) ?? [];
    return source[Number(line) - 1]?.slice(Number(column) - 1) ?? message;
  };
  const [first, second] = await resultsOf(startRanks(t, 'ranks disagree', { debug: true })) as [{ message: string }, { message: string }];
  t.match(lineAt(first.message, 'allReduce'), /^allReduce\(filled\(1000/);
  t.match(lineAt(first.message, 'broadcast'), /^broadcast\(filled\(999/);
  t.strictSame(second, first);
  const [, receiver] = await resultsOf(startRanks(t, 'ranks disagree about a message', { debug: true })) as [unknown, { message: string }];
  t.match(lineAt(receiver.message, 'send'), /^send\(filled\(10/);
  t.match(lineAt(receiver.message, 'recv'), /^recv\(filled\(11/);
});

t.test('a rank that comes late is named, and told', async (t) => {
  const ranks = startRanks(t, 'a rank comes late', { timeoutMs: 3000 });
  t.equal(await ranks[0]!.report('word'), 'gave up');
  ranks[1]!.child.send('go on');
  const [first, second] = await resultsOf(ranks);
  t.match(first, { reason: 'timeout', rank: 1, message: /waiting in barrier.* for 3000 ms; it is in no call/ });
  t.strictSame(second, first);
});

t.test('a rank aborts, with a reason', async (t) => {
  const [first, second] = await resultsOf(startRanks(t, 'a rank aborts'));
  t.match(first, { reason: 'aborted', rank: 1, message: /the loss is not finite/ });
  t.strictSame(second, first);
});

t.test('closing ends what is pending', async (t) => {
  const [first, second] = await resultsOf(startRanks(t, 'a rank closes with a call pending'));
  t.match(first, { pending: { reason: 'aborted', rank: 0, message: /closed while calls were under way/ }, after: { reason: 'closed' } });
  t.match(second, (first as { pending: unknown }).pending);
});

t.test('a process ends with a call pending, and the others go on to fail', async (t) => {
  const ranks = startRanks(t, 'exits while a call is pending');
  t.equal(await ranks[0]!.exited, 0);
  t.equal(await ranks[1]!.exited, 0);
});

t.test('a worker thread may be a rank, and may be terminated in a call or while it waits for others', async (t) => {
  const id = freshId();
  const source = `
    import { parentPort } from 'node:worker_threads';
    const { createCommunicator } = await import(${JSON.stringify(INDEX_URL)});
    const communicator = await createCommunicator({ id: '${id}', rank: 1, size: 2 });
    await communicator.barrier();
    parentPort.postMessage('waiting');
    void createCommunicator({ id: '${id}-never', rank: 0, size: 2 }).catch(() => undefined);
    await communicator.allReduce(new Float32Array(10));`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  const communicator = await createCommunicator({ id, rank: 0, size: 2, timeoutMs: TIMEOUT_MS });
  await Promise.all([communicator.barrier(), once(worker, 'message')]);
  await worker.terminate();
  await t.rejects(communicator.barrier(), { name: 'CollectiveError', details: { rank: 1 } });
  communicator.close();
  t.notOk(existsSync(`/dev/shm/muster-collective-${id}-never`));
});

t.test('worker threads may be terminated at any moment', async (t) => {
  for (let round = 0; round < 12; round++) {
    const id = freshId();
    const source = `
      import { parentPort } from 'node:worker_threads';
      const { createCommunicator } = await import(${JSON.stringify(INDEX_URL)});
      for (let turn = 0; ; turn++) {
        const communicator = await createCommunicator({ id: '${id}-' + turn, rank: 0, size: 1 });
        parentPort.postMessage('busy');
        for (let call = 0; call < 10; call++) {
          const large = Array.from({ length: 4 }, () => communicator.allReduce(new Float32Array(30_000)));
          await Promise.all([...large, communicator.allReduce([]).catch(() => undefined)]);
        }
        if (turn % 2 === 0) communicator.close();
        void createCommunicator({ id: '${id}-never-' + turn, rank: 0, size: 2, timeoutMs: 20 }).catch(() => undefined);
      }`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
    for (let turn = 0; turn <= round; turn++) await once(worker, 'message');
    t.equal(await worker.terminate(), 1);
  }
});

t.test("a gang's members meet by the gang's name and start", async (t) => {
  const gang = { gangId: `gang-${freshId()}`, rank: 0, size: 1, nodeRank: 0, nodeCount: 1, incarnation: 2 };
  const communicator = await collective(gang);
  const other = await collective(gang, { name: 'other' });
  t.match(communicator, { id: `${gang.gangId}.2.default`, rank: 0, size: 1 });
  const values = Float32Array.of(1, 2);
  await communicator.allReduce(values, { op: 'average' });
  await other.broadcast(values);
  t.strictSame([...values], [1, 2]);
  communicator.close();
  other.close();
  const last = await collective({ ...gang, rank: 2, size: 3 }, { name: 'some', ranks: [2] });
  t.match(last, { rank: 0, size: 1 }, 'some of them count anew');
  last.close();
  await t.rejects(collective({ ...gang, size: 3 }, { ranks: [1, 2] }), { code: 'INVALID_ARGUMENT', message: /ranks 1, 2 .* of which 0, which calls, is none/ });
  await t.rejects(collective({ ...gang, size: 3 }, { ranks: [2, 0] }), { code: 'INVALID_ARGUMENT', message: /from 0 to 2 in ascending order/ });
  await t.rejects(collective(undefined), { code: 'INVALID_ARGUMENT', message: /runs in none/ });
});

t.test('what cannot be a communicator is refused', async (t) => {
  const refuses = async (options: object, message: RegExp): Promise<void> => {
    await t.rejects(createCommunicator({ id: freshId(), rank: 0, size: 2, ...options }), { code: 'INVALID_ARGUMENT', message });
  };
  await refuses({ id: '../x' }, /letters, digits/);
  await refuses({ id: '' }, /letters, digits/);
  await refuses({ size: 0 }, /from 1 to 128/);
  await refuses({ size: 1.5 }, /from 1 to 128/);
  await refuses({ rank: 2 }, /from 0 to 1/);
  await refuses({ rank: NaN }, /from 0 to 1/);
  await refuses({ timeoutMs: 0 }, /timeoutMs 0/);
  await t.rejects(createCommunicator({ id: freshId(), rank: 0, size: 2, timeoutMs: 20 }), { code: 'COLLECTIVE', message: /rank 1 has not joined/ });
});

/** Calls of one rank alone that must be refused, each with a word of why; the communicator is none the worse. */
const REFUSED: readonly (readonly [string, (communicator: Communicator) => Promise<void>, RegExp])[] = [
  ['no array', (c) => c.allReduce(null as unknown as NumberArray), /source of allReduce/],
  ['no target', (c) => c.allGather(new Float32Array(2), null as unknown as NumberArray), /target of allGather/],
  ['a plain array', (c) => c.allReduce([1, 2] as unknown as NumberArray), /Float64Array, Float32Array/],
  ['an Int8Array', (c) => c.allReduce(new Int8Array(2) as unknown as NumberArray), /Float64Array, Float32Array/],
  ['16 bits of neither kind', (c) => c.allReduce(new Uint16Array(2)), /'f16' or 'bf16'/],
  ['a dtype that the array does not hold', (c) => c.allReduce(new Float32Array(2), { dtype: 'f64' }), /'f32', which is what the array holds/],
  ['a dtype of other 8 bits', (c) => c.allReduce(new Uint8Array(2), { dtype: 'bf16' }), /'u8' or 'f8e4m3' or 'f8e5m2', which is/],
  ['an unknown dtype', (c) => c.allReduce(new Float32Array(2), { dtype: 'f8' as 'f32' }), /one of f32, f16/],
  ['an unknown op', (c) => c.allReduce(new Float32Array(2), { op: 'xor' as 'sum' }), /one of sum, product/],
  ['an op that every object has', (c) => c.allReduce(new Float32Array(2), { op: 'constructor' as 'sum' }), /one of sum, product/],
  ['a hold of an hour', (c) => c.allReduce(new Float32Array(2), { holdMs: 3_600_000 }), /holdMs: 3600000 is not valid: it must be from 0 to 1000/],
  ['a target of another length', (c) => c.allReduce(new Float32Array(2), { target: new Float32Array(3) }), /of 3 elements is not valid: it must be of 2/],
  ['a target of another type', (c) => c.allReduce(new Float32Array(2), { target: new Int32Array(2) }), /target of allReduce/],
  ['a root that is not there', (c) => c.broadcast(new Float32Array(2), { root: 1 }), /from 0 to 0/],
  ['a message to nobody', (c) => c.send(new Float32Array(2), {} as { to: number }), /the rank undefined that send names/],
  ['a message from nobody', (c) => c.recv(new Float32Array(2), {} as { from: number }), /the rank undefined that recv names/],
  ['a group that is collected later', (c) => c.group(async (group) => { await null; group.barrier(); }), /before it returns, and no promise/],
  ['a message to itself', (c) => c.send(new Float32Array(2), { to: 0 }), /another than its own/],
  ['a buffer that can be resized', (c) => c.allReduce(new Uint8Array(new (ArrayBuffer as unknown as new (size: number, options: object) => ArrayBuffer)(8, { maxByteLength: 16 }))), /fixed length/],
  ['an overlap', (c) => {
    const buffer = new ArrayBuffer(64);
    return c.allReduce(new Float32Array(buffer, 0, 8), { target: new Float32Array(buffer, 4, 8) });
  }, /overlap, and are not the same/],
  ['a buffer that was transferred', (c) => {
    const array = new Float32Array(8);
    structuredClone(array, { transfer: [array.buffer] });
    return c.allReduce(array);
  }, /transferred/],
];

t.test('what cannot be a call is refused, and the communicator goes on', async (t) => {
  const communicator = await createCommunicator({ id: freshId(), rank: 0, size: 1 });
  for (const [name, call, message] of REFUSED) await t.rejects(call(communicator), { code: 'INVALID_ARGUMENT', message }, name);
  await t.rejects(communicator.group((group) => group.allGather(new Float32Array(2), new Float32Array(3))), { code: 'INVALID_ARGUMENT' });
  let kept: Group | undefined;
  await communicator.group((group) => { kept = group; });
  t.throws(() => kept!.barrier(), { code: 'INVALID_ARGUMENT', message: /a group that was made/ }, 'a group that was made takes no more calls');
  const values = new Float32Array(new SharedArrayBuffer(16)).fill(3);
  await communicator.allReduce(values);
  t.strictSame([...values], [3, 3, 3, 3]);
  communicator.close();
});
