/** Scheduling, wait, limits and nested tasks on one real node. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  cancel, context, get, init, ObjectRef, remote, shutdown, wait, type Placement,
} from '@muster/core';
import { TestCluster } from '../support/cluster.js';
import { makeLatch, type LatchHandle } from '../support/latch.js';
import { rejection, until } from '../support/until.js';

const increment = remote((x: number) => x + 1);
/** Ends early when it is cancelled. */
const pause = remote(async (ms: number) => { await delay(ms, undefined, { signal: context().signal }); return ms; });

t.before(async () => {
  await init({ cpus: 2, gpus: 2, memory: '4GiB', resources: { tpu: 2 }, labels: { zone: 'a' }, logs: false });
});
t.teardown(() => shutdown());

t.test('scheduling', async (t) => {
  await t.test('short tasks do not wait for a long one beside them', async (t) => {
    const work = remote(async (ms: number) => { if (ms > 0) await delay(ms); return ms; });
    await get([work.remote(0), work.remote(0)]);
    const long = work.remote(60_000);
    const shorts = Array.from({ length: 1000 }, () => work.remote(0));
    await get(shorts);
    t.equal((await wait([long], { timeoutMs: 0 })).ready.length, 0);
    cancel(long, { force: true });
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

  await t.test('refuses what makes no sense', async (t) => {
    const ref = increment.remote(1);
    for (const options of [{ timeoutMs: -1 }, { timeoutMs: NaN }, { timeoutMs: '5' }, { timeout: 5 }, null]) t.match(await rejection(wait([ref], options as never)), { code: 'INVALID_ARGUMENT' }, JSON.stringify(options));
    for (const count of [0, 2, -1, 1.5]) t.match(await rejection(wait([ref], { count })), { code: 'INVALID_ARGUMENT' });
    t.match(await rejection(wait([5 as never])), { code: 'INVALID_ARGUMENT' });
  });

  await t.test('works in a task on references that came in', async (t) => {
    const slow = pause.remote(60_000);
    const fast = increment.remote(1);
    const inner = remote(async (refs: ObjectRef<number>[]) => {
      const { ready, pending } = await wait(refs, { count: 1 });
      return [ready.length, pending.length, await get(ready[0]!)];
    });
    t.same(await inner([slow, fast]), [1, 1, 2]);
    t.equal((await wait([slow], { timeoutMs: 0 })).ready.length, 0, 'the slow one was not waited for');
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
    const refs = Array.from({ length: 2000 }, () => busy.remote());
    await remote(() => 1, { memory: '1MiB' })();
    t.ok((await wait(refs, { count: refs.length, timeoutMs: 0 })).pending.length > 0, 'before all others were done');
    for (const ref of refs) cancel(ref);
  });
});

// Last: with a cluster of its own.
t.test('conditions on labels', async (t) => {
  await shutdown();
  const cluster = await TestCluster.start({ nodes: [{ labels: { zone: 'a', disk: 'ssd' } }, { labels: { zone: 'b', disk: 'nvme' } }, { labels: { zone: 'c' } }] });
  t.teardown(() => cluster.stop());
  const rows = await Promise.all(cluster.nodes.map((node) => cluster.row(node)));
  await cluster.connect();
  const where = remote(() => context().nodeId);
  const zonesOf = async (placement: Placement): Promise<string> => {
    const nodeIds = await get(Array.from({ length: 4 }, () => where.options({ placement }).remote()));
    return [...new Set(nodeIds.map((nodeId) => rows.find((row) => row.nodeId === nodeId)!.labels['zone']))].sort().join();
  };
  t.equal(await zonesOf({ labels: { zone: 'b' } }), 'b');
  t.match(await zonesOf({ labels: { disk: { in: ['ssd', 'nvme'] } } }), /^(a|b|a,b)$/);
  t.equal(await zonesOf({ labels: { disk: { notIn: ['ssd', 'nvme'] } } }), 'c');
  t.equal(await zonesOf({ labels: { disk: { exists: true }, zone: { notIn: ['a'] } } }), 'b');
  t.equal(await zonesOf({ labels: { disk: { exists: false } } }), 'c');
  const b = rows.find((row) => row.labels['zone'] === 'b')!.nodeId; // they register in any order
  const idle = (): Promise<void> => until('no lease is held', async () => Object.values((await cluster.status()).leases).every((count) => count === 0));
  await idle();
  t.equal(await where.options({ placement: { labels: { disk: { in: ['nvme'], weight: 10 } } } })(), b, 'a preference goes before the node of the driver');
  await idle();
  t.equal(await where.options({ placement: { node: b, soft: true } })(), b);
  t.ok(await where.options({ placement: { node: 'node-000000000000', soft: true } })(), 'elsewhere, when the node is not there');
  const error = await rejection(where.options({ placement: { labels: { disk: { in: ['tape', 'floppy'] } } } })());
  t.match(error.message, /lacks? label disk in tape\|floppy/);
  await shutdown();
});
