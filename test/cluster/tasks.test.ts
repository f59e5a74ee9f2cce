/** Tasks on one real node: what users are promised of remote functions. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  context, get, init, MusterError, ObjectRef, put, remote, shutdown, TaskCancelledError, TimeoutError, UnschedulableError, WorkerDiedError,
  type ClusterInfo,
} from '@muster/core';
import { makeLatch, type LatchHandle } from '../support/latch.js';
import { rejection } from '../support/until.js';

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
      const error = await rejection(remote(work, { timeoutMs: 200, retries: 0 })());
      t.ok(error instanceof TimeoutError, String(error));
      t.match(error.message, '200');
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
    const block = remote(async () => { await delay(2500); }, { cpus: 2 });
    const quick = remote(() => 'done', { timeoutMs: 2000, retries: 0 });
    const [, value] = await Promise.all([block(), quick()]);
    t.equal(value, 'done');
  });

  await t.test('timeoutMs: another attempt is made when retryOn asks for one', async (t) => {
    const slowOnce = remote(async () => { if (context().attempt === 1) await delay(60_000); return context().attempt; }, { timeoutMs: 2000, retries: 1, retryOn: (error) => error instanceof TimeoutError });
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
      [{ placement: 'here' }, 'placement'], [{ placement: { node: 5 } }, 'placement.node'], [{ placement: { node: 'node-1', soft: 'yes' } }, 'placement.soft'],
      [{ placement: { labels: { zone: 5 } } }, 'zone'], [{ placement: { labels: { zone: { in: [] } } } }, 'zone in'], [{ placement: { labels: { zone: { in: ['a'], exists: true } } } }, 'zone'],
      [{ placement: { labels: { zone: { in: ['a'], weight: 101 } } } }, '101'], [{ placement: { labels: { zone: { in: ['a'], wait: 1 } } } }, 'wait'], [{ placement: { labels: { zone: { exists: 1 } } } }, 'exists: 1'],
      [{ speed: 1 }, 'speed'], [{ resources: { tpu: -1 } }, 'tpu'], [{ gpus: 1.5 }, 'gpu'],
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
