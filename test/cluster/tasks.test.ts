/** Tasks on one real node: what users are promised of remote functions. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  cancel, context, get, init, MusterError, ObjectRef, put, remote, shutdown, TaskCancelledError, TimeoutError, UnschedulableError, wait, WorkerDiedError,
  type ClusterInfo,
} from '@muster/core';
import { makeLatch, type LatchHandle } from '../support/latch.js';
import { isAlive } from '../support/processes.js';
import { rejection, until } from '../support/until.js';

const OFFSET = 41;
const table = new Map([['one', 1], ['two', 2]]);
const lookUp = (word: string): number => table.get(word) ?? 0;
const increment = remote((x: number) => x + 1);
/** Ends early when it is cancelled. */
const pause = remote(async (ms: number) => { await delay(ms, undefined, { signal: context().signal }); return ms; });
/** The signal may have aborted already. */
const aborted = async (signal: AbortSignal): Promise<void> => {
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
};
let cluster: ClusterInfo;

t.before(async () => {
  cluster = await init({ cpus: 2, gpus: 2, memory: '4GiB', resources: { tpu: 2 }, labels: { zone: 'a' }, logs: false });
});
t.teardown(() => shutdown());

t.test('functions', async (t) => {
  await t.test('take the values of their free variables, helpers and imports along', async (t) => {
    const factor = 2;
    const compute = remote((words: string[]) => words.map(lookUp).reduce((a, b) => a + b, OFFSET) * factor + Number(typeof readFileSync === 'function'));
    t.equal(await compute(['one', 'two']), 44 * 2 + 1);
  });

  await t.test('run in another process', async (t) => {
    const where = await remote(() => process.pid)();
    t.not(where, process.pid);
  });

  await t.test('may be async, return promises or nothing', async (t) => {
    t.equal(await remote(async (x: number) => { await delay(1); return x * 2; })(4), 8);
    t.equal(await remote((x: number) => Promise.resolve(x))(5), 5);
    t.equal(await remote(() => {})(), undefined);
    t.equal(await remote((): null => null)(), null);
  });

  await t.test('may be function declarations, methods of objects, default and rest parameters', async (t) => {
    function sum(first: number, second = 10, ...rest: number[]): number { return first + second + rest.reduce((a, b) => a + b, 0); }
    const sumOf = remote(sum);
    t.equal(await sumOf(1), 11);
    t.equal(await sumOf(1, undefined), 11);
    t.equal(await sumOf(1, 2, 3, 4), 10);
    t.equal(await remote({ triple(x: number) { return x * 3; } }.triple)(3), 9);
  });

  await t.test('may call themselves and other remote functions', async (t) => {
    const factorial = remote(async (n: number): Promise<number> => (n <= 1 ? 1 : n * (await factorial(n - 1))));
    t.equal(await factorial(6), 720);
    const twice = remote(async (x: number) => increment(await increment(x)));
    t.equal(await twice(1), 3);
  });

  await t.test('can be passed to and returned from tasks', async (t) => {
    const apply = remote((fn: (x: number) => number, x: number) => fn(x));
    t.equal(await apply((x) => x + OFFSET, 1), 42);
    const adder = await remote((n: number) => (x: number) => x + n)(5);
    t.equal(adder(1), 6);
    const callRemote = remote(async (fn: typeof increment, x: number) => fn(x));
    t.equal(await callRemote(increment, 1), 2);
  });

  await t.test('know their context', async (t) => {
    const inside = await remote(() => {
      const { jobId, nodeId, taskId, actorId, gpuIds, attempt, signal } = context();
      return { jobId, nodeId, taskId, actorId, gpuIds, attempt, aborted: signal.aborted };
    })();
    t.match(inside, { jobId: cluster.jobId, nodeId: cluster.nodeId, taskId: /^task-/, actorId: null, gpuIds: [], attempt: 1, aborted: false });
    t.match(context(), { jobId: cluster.jobId, nodeId: cluster.nodeId, taskId: null, actorId: null, attempt: 1 });
  });

  await t.test('know their context after an await too', async (t) => {
    const ids = await get(Array.from({ length: 20 }, (_, i) => remote(async (ms: number) => {
      const before = context().taskId;
      await delay(ms);
      return [before, context().taskId];
    }).remote(i % 3)));
    for (const [before, after] of ids) t.equal(before, after);
    t.equal(new Set(ids.map(([before]) => before)).size, 20);
  });
});

t.test('references', async (t) => {
  await t.test('come back at once and are not thenables', async (t) => {
    const ref = increment.remote(1);
    t.ok(ref instanceof ObjectRef);
    t.notOk('then' in ref);
    t.equal(await ref, ref);
    t.equal(await get(ref), 2);
    t.equal(await get(ref), 2, 'again');
  });

  await t.test('as arguments are replaced by their values, also before they exist', async (t) => {
    const slow = pause.remote(50);
    t.equal(await increment(slow), 51);
    t.equal(await increment(increment.remote(increment.remote(1))), 4);
    t.equal(await remote((a: number, b: string, c: number) => `${a}${b}${c}`)(increment.remote(1), 'x', await put(3)), '2x3');
  });

  await t.test('get keeps the order of a list, with duplicates', async (t) => {
    const slow = pause.remote(30);
    const fast = increment.remote(1);
    t.same(await get([slow, fast, slow]), [30, 2, 30]);
    t.same(await get([]), []);
  });

  await t.test('a failed argument fails the task with the same error, and does not run it', async (t) => {
    const bad = remote((): number => { throw new RangeError('no number'); });
    const error = await rejection(increment(bad.remote()));
    t.ok(error instanceof RangeError);
    t.match(error.message, 'no number');
  });

  await t.test('a failed task that nobody waits for disturbs nobody', async (t) => {
    remote(() => { throw new Error('nobody sees this'); }).remote();
    t.equal(await increment(1), 2);
  });
});

t.test('generators', async (t) => {
  const count = remote(function* (n: number) { for (let i = 0; i < n; i++) yield i; });

  await t.test('deliver values in order', async (t) => {
    const seen: number[] = [];
    for await (const x of count(1000)) seen.push(x);
    t.same(seen, Array.from({ length: 1000 }, (_, i) => i));
  });

  await t.test('of no values end', async (t) => {
    for await (const _ of count(0)) t.fail('no value was expected');
  });

  await t.test('deliver each value as it is produced', async (t) => {
    const latch = await makeLatch();
    const steps = remote(async function* (door: LatchHandle) { yield 'first'; await door.opened(); yield 'second'; });
    const seen: string[] = [];
    for await (const word of steps(latch)) {
      seen.push(word);
      await latch.open();
    }
    t.same(seen, ['first', 'second']);
  });

  await t.test('hand out references', async (t) => {
    const arrays = remote(function* (n: number) { for (let i = 0; i < n; i++) yield new Float64Array(50_000).fill(i); });
    const refs: ObjectRef<Float64Array>[] = [];
    for await (const ref of arrays.remote(4)) refs.push(ref);
    t.ok(refs.every((ref) => ref instanceof ObjectRef));
    t.same((await get(refs)).map((array) => array[49_999]), [0, 1, 2, 3]);
  });

  await t.test('end their task when the loop is left', async (t) => {
    const latch = await makeLatch();
    const endless = remote(async function* (door: LatchHandle) {
      try {
        for (let i = 0; ; i++) yield i;
      } finally {
        await door.note('ended');
      }
    });
    for await (const x of endless(latch)) if (x === 3) break;
    t.same(await latch.noted(1), ['ended']);
  });

  await t.test('do not run ahead of a slow consumer without bound', async (t) => {
    const latch = await makeLatch();
    const many = remote(async function* (door: LatchHandle) {
      for (let i = 0; i < 20_000; i++) {
        if (i % 100 === 0) door.note.remote(String(i));
        yield i;
      }
    });
    const stream = many(latch);
    t.equal((await stream.next()).value, 0);
    await delay(300);
    const ahead = Number((await latch.entries()).at(-1));
    t.ok(ahead < 10_000, `${ahead} values were made ahead`);
    let last = 0;
    for await (const x of stream) last = x;
    t.equal(last, 19_999, 'and all of them arrive');
  });

  await t.test('that throw deliver what came before, then the error', async (t) => {
    const failing = remote(function* () { yield 1; yield 2; throw new RangeError('in the middle'); });
    const seen: number[] = [];
    const error = await rejection((async () => { for await (const x of failing()) seen.push(x); })());
    t.same(seen, [1, 2]);
    t.ok(error instanceof RangeError, String(error));
  });

  await t.test('whose worker dies are run again, and no value comes twice', async (t) => {
    const fragile = remote(async function* () {
      for (let i = 0; i < 10; i++) {
        if (i === 5 && context().attempt === 1) { await delay(20); process.kill(process.pid, 'SIGKILL'); }
        yield i;
      }
    });
    const seen: number[] = [];
    for await (const x of fragile()) seen.push(x);
    t.same(seen, Array.from({ length: 10 }, (_, i) => i));
  });

  await t.test('without retries say that their worker died', async (t) => {
    const fragile = remote(async function* () { yield 1; await delay(20); process.exit(3); }, { retries: 0 });
    const seen: number[] = [];
    const error = await rejection((async () => { for await (const x of fragile()) seen.push(x); })());
    t.same(seen, [1]);
    t.ok(error instanceof WorkerDiedError, String(error));
    t.match(error.message, 'exited with code 3');
  });
});

t.test('options', async (t) => {
  await t.test('cpus: no more runs at once than fits', async (t) => {
    const latch = await makeLatch();
    const both = remote(async (door: LatchHandle, id: string) => { door.note.remote(`+${id}`); await delay(30); door.note.remote(`-${id}`); }, { cpus: 2 });
    await get([both.remote(latch, 'a'), both.remote(latch, 'b'), both.remote(latch, 'c')]);
    const entries = await latch.noted(6);
    for (let i = 0; i < 6; i += 2) t.equal(entries[i]!.slice(1), entries[i + 1]!.slice(1), entries.join(' '));
  });

  await t.test('gpus: each task sees its own', async (t) => {
    const latch = await makeLatch();
    const gpus = remote(async (door: LatchHandle) => {
      await door.note('in');
      await door.opened();
      return { visible: process.env['CUDA_VISIBLE_DEVICES'], ids: context().gpuIds };
    }, { gpus: 1, cpus: 0 });
    const refs = [gpus.remote(latch), gpus.remote(latch)];
    await latch.noted(2);
    await latch.open();
    const seen = await get(refs);
    t.same(seen.map(({ visible }) => visible).sort(), ['0', '1']);
    for (const { visible, ids } of seen) t.equal(ids.join(), visible);
  });

  await t.test('gpus: fractions share one', async (t) => {
    const latch = await makeLatch();
    const half = remote(async (door: LatchHandle) => {
      await door.note('in');
      await door.opened();
      return process.env['CUDA_VISIBLE_DEVICES'];
    }, { gpus: 0.5, cpus: 0 });
    const refs = Array.from({ length: 4 }, () => half.remote(latch));
    await latch.noted(4);
    await latch.open();
    t.same((await get(refs)).sort(), ['0', '0', '1', '1']);
  });

  await t.test('gpus: whoever asks for none sees none, two are two', async (t) => {
    t.equal(await remote(() => process.env['CUDA_VISIBLE_DEVICES'])(), '');
    t.equal(await remote(() => process.env['CUDA_VISIBLE_DEVICES'], { gpus: 2 })(), '0,1');
  });

  await t.test('resources and memory: held while a task runs', async (t) => {
    for (const options of [{ cpus: 0, resources: { tpu: 2 } }, { cpus: 0, memory: '3GiB' }] as const) {
      const latch = await makeLatch();
      const holds = remote(async (door: LatchHandle, id: string) => { door.note.remote(`+${id}`); await delay(20); door.note.remote(`-${id}`); }, options);
      await get([holds.remote(latch, 'a'), holds.remote(latch, 'b')]);
      const entries = await latch.noted(4);
      t.equal(entries[0]!.slice(1), entries[1]!.slice(1), entries.join(' '));
    }
  });

  await t.test('what can never fit fails at once and says why', async (t) => {
    for (const [options, reason] of [
      [{ cpus: 64 }, /cpu/], [{ gpus: 3 }, /gpu/], [{ resources: { fpga: 1 } }, /fpga/], [{ memory: '1TiB' }, /memory/],
      [{ placement: { labels: { zone: 'b' } } }, /zone/], [{ placement: { node: 'node-000000000000' } }, /node-000000000000/],
    ] as const) {
      const error = await rejection(remote(() => 1, options)());
      t.ok(error instanceof UnschedulableError, `${JSON.stringify(options)}: ${error}`);
      t.match(error.message, reason);
    }
  });

  await t.test('placement: by node, by labels, spread', async (t) => {
    const where = remote(() => context().nodeId);
    t.equal(await where.options({ placement: { node: cluster.nodeId } })(), cluster.nodeId);
    t.equal(await where.options({ placement: { labels: { zone: 'a' } } })(), cluster.nodeId);
    t.equal(await where.options({ placement: 'spread' })(), cluster.nodeId);
  });

  await t.test('retries: a worker that dies is replaced', async (t) => {
    const dies = remote((times: number) => {
      if (context().attempt <= times) process.kill(process.pid, 'SIGKILL');
      return context().attempt;
    });
    t.equal(await dies(2), 3);
    const error = await rejection(dies.options({ retries: 1 })(5));
    t.ok(error instanceof WorkerDiedError);
    t.match(error, { code: 'WORKER_DIED', retryable: true, message: /SIGKILL/ });
  });

  await t.test('retries: errors of the function are not tried again', async (t) => {
    const error = await rejection<{ attempt: number }>(remote((): void => { throw Object.assign(new Error('once'), { attempt: context().attempt }); })());
    t.equal(error.attempt, 1);
  });

  await t.test('retryOn: chooses errors worth another attempt, with a pause that grows', async (t) => {
    const flaky = remote((good: number) => {
      const { attempt } = context();
      if (attempt < good) throw Object.assign(new RangeError('not yet'), { attempt });
      return attempt;
    }, { retries: 2, retryOn: (error) => error instanceof RangeError });
    t.equal(await flaky(1), 1);
    const startMs = performance.now();
    t.equal(await flaky(3), 3);
    t.ok(performance.now() - startMs > 20, 'attempts do not follow each other at once');
    const error = await rejection<{ attempt: number }>(flaky(9));
    t.equal(error.attempt, 3, 'the last error is the one that comes out');
    const other = await rejection<{ attempt: number }>(flaky.options({ retryOn: (error) => error instanceof SyntaxError })(2));
    t.equal(other.attempt, 1);
  });

  await t.test('timeoutMs: ends what waits and what spins', async (t) => {
    for (const work of [async () => { await delay(60_000); }, async () => { for (;;); }]) {
      const startMs = performance.now();
      const error = await rejection(remote(work, { timeoutMs: 200, retries: 0 })());
      t.ok(error instanceof TimeoutError, String(error));
      t.match(error.message, '200');
      t.ok(performance.now() - startMs < 5000);
    }
    t.equal(await increment(1), 2, 'others run on');
  });

  await t.test('timeoutMs: aborts the signal', async (t) => {
    const latch = await makeLatch();
    const hears = remote(async (door: LatchHandle) => {
      await aborted(context().signal);
      await door.note('aborted');
    }, { timeoutMs: 100, retries: 0 });
    t.ok((await rejection(hears(latch))) instanceof TimeoutError);
    t.same(await latch.noted(1), ['aborted']);
  });

  await t.test('timeoutMs: counts each attempt, not the queue', async (t) => {
    const block = remote(async () => { await delay(300); }, { cpus: 2 });
    const quick = remote(() => 'done', { timeoutMs: 200, retries: 0 });
    const [, value] = await Promise.all([block(), quick()]);
    t.equal(value, 'done');
  });

  await t.test('timeoutMs: another attempt is made while retries are left', async (t) => {
    const slowOnce = remote(async () => { if (context().attempt === 1) await delay(60_000); return context().attempt; }, { timeoutMs: 200, retries: 1 });
    t.equal(await slowOnce(), 2);
  });

  await t.test('name: stands in errors', async (t) => {
    const error = await rejection(remote((): void => process.exit(4), { name: 'my-step', retries: 0 })());
    t.match(error.message, /my-step.*exited with code 4/);
  });

  await t.test('options() adds to what was given', async (t) => {
    const base = remote((): void => process.exit(4), { name: 'base-name', retries: 0 });
    t.match((await rejection(base.options({ cpus: 1 })())).message, 'base-name');
  });

  await t.test('signal: cancels what runs, waits or was not submitted', async (t) => {
    const running = new AbortController();
    const ref = pause.options({ signal: running.signal }).remote(60_000);
    setTimeout(() => running.abort(), 50);
    t.ok((await rejection(get(ref))) instanceof TaskCancelledError);
    t.ok((await rejection(pause.options({ signal: AbortSignal.abort() })(1))) instanceof TaskCancelledError);
  });

  await t.test('bad ones are refused at once, by name', (t) => {
    for (const [options, word] of [
      [{ cpus: -1 }, 'cpu'], [{ cpus: Number.NaN }, 'cpu'], [{ memory: 'lots' }, 'lots'], [{ retries: 1.5 }, 'retries'], [{ timeoutMs: 0 }, 'timeoutMs'],
      [{ placement: 'here' }, 'placement'], [{ speed: 1 }, 'speed'], [{ resources: { tpu: -1 } }, 'tpu'], [{ gpus: 1.5 }, 'gpu'],
      [{ retryOn: true }, 'retryOn'], [{ signal: 1 }, 'signal'], [{ name: 5 }, 'name'],
    ] as const) {
      try {
        remote(() => 1, options as never);
        t.fail(`${JSON.stringify(options)} was accepted`);
      } catch (error) {
        t.ok(error instanceof MusterError, `${JSON.stringify(options)}: ${error}`);
        t.match((error as MusterError).code, 'INVALID_ARGUMENT');
        t.match((error as MusterError).message, word);
      }
    }
    t.throws(() => remote(5 as never), { code: 'INVALID_ARGUMENT' });
    t.end();
  });
});

t.test('cancellation', async (t) => {
  await t.test('of a queued task is immediate, and it never runs', async (t) => {
    const latch = await makeLatch();
    const blockers = [remote(async (door: LatchHandle) => door.opened(), { cpus: 2 }).remote(latch)];
    const notes = remote(async (door: LatchHandle) => door.note('ran'));
    const refs = Array.from({ length: 10 }, () => notes.remote(latch));
    for (const ref of refs) cancel(ref);
    for (const ref of refs) t.ok((await rejection(get(ref))) instanceof TaskCancelledError);
    await latch.open();
    await get(blockers);
    t.equal(await increment(1), 2);
    t.same(await latch.entries(), []);
  });

  await t.test('of a task that waits for its arguments is immediate', async (t) => {
    const slow = pause.remote(5000);
    const waiting = increment.remote(slow);
    cancel(waiting);
    t.ok((await rejection(get(waiting))) instanceof TaskCancelledError);
    cancel(slow);
    t.ok((await rejection(get(slow))) instanceof TaskCancelledError);
  });

  await t.test('of a running task aborts its signal and rejects at once', async (t) => {
    const latch = await makeLatch();
    const polite = remote(async (door: LatchHandle) => {
      const { signal } = context();
      await door.note('running');
      await aborted(signal);
      await door.note('tidied up');
      return 'too late';
    });
    const ref = polite.remote(latch);
    await latch.noted(1);
    cancel(ref);
    t.ok((await rejection(get(ref))) instanceof TaskCancelledError);
    t.same(await latch.noted(2), ['running', 'tidied up']);
  });

  await t.test('with force ends the worker of a task that does not listen', async (t) => {
    const latch = await makeLatch();
    const deaf = remote(async (door: LatchHandle) => {
      await door.note(String(process.pid));
      for (;;);
    });
    const ref = deaf.remote(latch);
    const [pid] = await latch.noted(1);
    cancel(ref, { force: true });
    t.ok((await rejection(get(ref))) instanceof TaskCancelledError);
    await until(`process ${pid} ends`, () => !isAlive(Number(pid)));
    t.equal(await increment(1), 2);
  });

  await t.test('reaches the tasks that a task has submitted', async (t) => {
    const latch = await makeLatch();
    const child = remote(async (door: LatchHandle) => {
      const { signal } = context();
      await door.note('child runs');
      await aborted(signal);
      await door.note('child aborted');
    });
    const parent = remote(async (door: LatchHandle) => child(door));
    const ref = parent.remote(latch);
    await latch.noted(1);
    cancel(ref);
    t.ok((await rejection(get(ref))) instanceof TaskCancelledError);
    t.same(await latch.noted(2), ['child runs', 'child aborted']);
  });

  await t.test('of what is done changes nothing', async (t) => {
    const ref = increment.remote(1);
    await get(ref);
    cancel(ref);
    cancel(ref, { force: true });
    t.equal(await get(ref), 2);
  });

  await t.test('fails the tasks that need the result', async (t) => {
    const slow = pause.remote(5000);
    const next = increment.remote(slow);
    cancel(slow);
    t.ok((await rejection(get(next))) instanceof TaskCancelledError);
  });
});

t.test('map', async (t) => {
  const doubled = remote((x: number) => x * 2);

  await t.test('keeps the order of the inputs', async (t) => {
    const jitter = remote(async (x: number) => { await delay(x % 3); return x; });
    const seen: number[] = [];
    for await (const y of jitter.map(Array.from({ length: 200 }, (_, i) => i), { window: 50 })) seen.push(y);
    t.same(seen, Array.from({ length: 200 }, (_, i) => i));
  });

  await t.test('unordered delivers each once, the fast before the slow', async (t) => {
    const seen: number[] = [];
    for await (const ms of pause.mapUnordered([400, 1, 2, 3])) seen.push(ms);
    t.equal(seen.length, 4);
    t.equal(seen.at(-1), 400);
  });

  for (const how of ['map', 'mapUnordered'] as const) {
    await t.test(`${how}: takes no more inputs than its window ahead of its consumer`, async (t) => {
      let taken = 0;
      const inputs = function* () { for (;; taken++) yield taken; };
      let seen = 0;
      let furthest = 0;
      for await (const _ of doubled[how](inputs(), { window: 10 })) {
        seen++;
        await delay(1);
        furthest = Math.max(furthest, taken - seen);
        if (seen === 50) break;
      }
      t.ok(furthest <= 11, `was ${furthest} inputs ahead`);
    });

    await t.test(`${how}: leaving the loop closes the inputs and cancels what is under way`, async (t) => {
      const latch = await makeLatch();
      let closed = false;
      const inputs = function* () {
        try {
          for (let i = 0; ; i++) yield i;
        } finally {
          closed = true;
        }
      };
      const first = remote(async (i: number) => {
        if (i === 0) return i;
        const { signal } = context();
        await latch.note('runs');
        await aborted(signal);
        await latch.note('aborted');
        return i;
      });
      for await (const _ of first[how](inputs(), { window: 4 })) {
        await latch.noted(1);
        break;
      }
      t.ok(closed);
      t.ok((await latch.noted(2)).includes('aborted'));
    });

    await t.test(`${how}: a result comes out though the next input is not there yet`, async (t) => {
      let more = (): void => {};
      const patience = setTimeout(() => {
        t.fail('the first result did not come out before the second input');
        more();
      }, 3000);
      const inputs = async function* () {
        yield 1;
        await new Promise<void>((resolve) => { more = resolve; });
        yield 2;
      };
      const seen: number[] = [];
      for await (const y of doubled[how](inputs())) {
        seen.push(y);
        more();
      }
      clearTimeout(patience);
      t.same(seen, [2, 4]);
    });

    await t.test(`${how}: an error of one ends the loop with it`, async (t) => {
      const picky = remote((x: number) => { if (x === 3) throw new RangeError('three'); return x; });
      const error = await rejection((async () => { for await (const _ of picky[how]([1, 2, 3, 4])); })());
      t.ok(error instanceof RangeError);
    });

    await t.test(`${how}: an error of the inputs comes out`, async (t) => {
      const inputs = function* () { yield 1; throw new SyntaxError('inputs'); };
      const error = await rejection((async () => { for await (const _ of doubled[how](inputs())); })());
      t.ok(error instanceof SyntaxError);
    });

    await t.test(`${how}: no inputs, references as inputs, async inputs`, async (t) => {
      const collect = async (inputs: Iterable<number | ObjectRef<number>> | AsyncIterable<number>): Promise<number[]> => {
        const seen: number[] = [];
        for await (const y of doubled[how](inputs)) seen.push(y);
        return seen.sort((a, b) => a - b);
      };
      t.same(await collect([]), []);
      t.same(await collect([increment.remote(1), await put(5)]), [4, 10]);
      t.same(await collect((async function* () { yield 1; await delay(1); yield 2; })()), [2, 4]);
    });
  }
});

t.test('scheduling', async (t) => {
  await t.test('short tasks do not wait for a long one beside them', async (t) => {
    const work = remote(async (ms: number) => { if (ms > 0) await delay(ms); return ms; });
    await get([work.remote(0), work.remote(0)]);
    const long = work.remote(3000);
    const shorts = Array.from({ length: 1000 }, () => work.remote(0));
    const startMs = performance.now();
    await get(shorts);
    const tookMs = performance.now() - startMs;
    t.ok(tookMs < 2000, `1,000 short tasks took ${tookMs} ms`);
    t.equal((await wait([long], { timeoutMs: 0 })).ready.length, 0);
    cancel(long, { force: true });
  });

  await t.test('a blocked loop does not hold the short tasks queued behind it', async (t) => {
    const spin = remote((ms: number) => { const end = Date.now() + ms; while (Date.now() < end); return ms; });
    await get(Array.from({ length: 200 }, () => spin.remote(0)));
    const long = spin.remote(2500);
    const shorts = Array.from({ length: 1000 }, () => spin.remote(0));
    const startMs = performance.now();
    await get(shorts);
    const tookMs = performance.now() - startMs;
    t.ok(tookMs < 2000, `1,000 short tasks took ${tookMs} ms`);
    await get(long);
  });

  await t.test('a task that waits gives its cpu to others', async (t) => {
    const latch = await makeLatch();
    const parent = remote(async (door: LatchHandle) => { await door.opened(); return 'parent'; }, { cpus: 2 });
    const opener = remote(async (door: LatchHandle) => { await door.open(); }, { cpus: 2 });
    const waits = remote(async (door: LatchHandle) => [await parent(door)], { cpus: 2 });
    const ref = waits.remote(latch);
    await opener(latch);
    t.same(await get(ref), ['parent']);
  });

  await t.test('many small ones all arrive', async (t) => {
    const refs = Array.from({ length: 50_000 }, (_, i) => increment.remote(i));
    const values = await get(refs);
    t.ok(values.every((value, i) => value === i + 1));
  });
});

t.test('wait', async (t) => {
  await t.test('returns count ready ones in the order given and the rest', async (t) => {
    const slow = pause.remote(5000);
    const [a, b] = [increment.remote(1), increment.remote(2)];
    await get([a, b]);
    const ids = (refs: readonly ObjectRef[]): string[] => refs.map((ref) => ref.id);
    const one = await wait([slow, a, b]);
    t.same([ids(one.ready), ids(one.pending)], [ids([a]), ids([slow, b])]);
    const two = await wait([b, slow, a], { count: 2 });
    t.same([ids(two.ready), ids(two.pending)], [ids([b, a]), ids([slow])]);
    cancel(slow);
  });

  await t.test('stops at its time limit', async (t) => {
    const slow = pause.remote(5000);
    const startMs = performance.now();
    const { ready, pending } = await wait([slow], { timeoutMs: 100 });
    t.ok(performance.now() - startMs >= 95);
    t.same([ready.length, pending.length], [0, 1]);
    t.equal((await wait([slow], { timeoutMs: 0 })).ready.length, 0);
    cancel(slow);
    t.equal((await wait([slow])).ready.length, 1, 'a failed one is ready');
  });

  await t.test('refuses counts that make no sense', async (t) => {
    const ref = increment.remote(1);
    for (const count of [0, 2, -1, 1.5]) t.match(await rejection(wait([ref], { count })), { code: 'INVALID_ARGUMENT' });
    t.match(await rejection(wait([5 as never])), { code: 'INVALID_ARGUMENT' });
  });

  await t.test('works in a task on references that came in', async (t) => {
    const slow = pause.remote(5000);
    const fast = increment.remote(1);
    const inner = remote(async (refs: ObjectRef<number>[]) => {
      const { ready, pending } = await wait(refs, { count: 1 });
      return [ready.length, pending.length, await get(ready[0]!)];
    });
    const startMs = performance.now();
    t.same(await inner([slow, fast]), [1, 1, 2]);
    t.ok(performance.now() - startMs < 3000, 'the slow one was not waited for');
    cancel(slow);
  });
});

t.test('limits', async (t) => {
  const countArguments = remote((...args: number[]) => args.length);
  await t.test('255 arguments, and more', async (t) => {
    for (const n of [200, 255, 256, 10_000]) t.equal(await countArguments(...Array.from({ length: n }, (_, i) => i)), n);
  });

  await t.test('10,000 references as arguments of one task', async (t) => {
    const refs = Array.from({ length: 10_000 }, (_, i) => increment.remote(i));
    const sum = remote((...args: number[]) => args.reduce((a, b) => a + b, 0));
    t.equal(await sum(...refs), (10_000 * 10_001) / 2);
  });

  await t.test('large arguments and results', async (t) => {
    const echo = remote(<T>(x: T) => x);
    const text = 'é'.repeat(3_000_000);
    t.equal(await echo(text), text);
    const array = new Float64Array(200_000).fill(7);
    t.strictSame(await echo(array), array);
  });
});

t.test('no deadlock on a single cpu', async (t) => {
  await shutdown();
  await init({ cpus: 1, logs: false });
  await t.test('nested tasks wait for each other', async (t) => {
    const fibonacci = remote(async (n: number): Promise<number> => {
      if (n < 2) return n;
      const [a, b] = await get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]);
      return a + b;
    });
    t.equal(await fibonacci(6), 8);
  });

  await t.test('recursion 20 deep', async (t) => {
    const down = remote(async (n: number): Promise<number> => (n === 0 ? 0 : 1 + (await down(n - 1))));
    t.equal(await down(20), 20);
  });

  await t.test('map and generators inside of tasks', async (t) => {
    const outer = remote(async () => {
      let sum = 0;
      for await (const y of increment.map([1, 2, 3])) sum += y;
      const inner = remote(function* () { yield 10; yield 20; });
      for await (const y of inner()) sum += y;
      return sum;
    });
    t.equal(await outer(), 39);
  });

  await t.test('a task of other demands gets its turn beside a full queue', async (t) => {
    const busy = remote(async () => { await delay(5); });
    const refs = Array.from({ length: 400 }, () => busy.remote());
    const startMs = performance.now();
    await remote(() => 1, { memory: '1MiB' })();
    const tookMs = performance.now() - startMs;
    t.ok(tookMs < 1500, `waited ${tookMs} ms`);
    for (const ref of refs) cancel(ref);
  });
});
