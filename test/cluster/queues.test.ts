/** Queues, priorities, quotas and preemption between programs on one real cluster. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import t from 'tap';
import { actor, get, kill, remote, shutdown } from '@muster/core';
import type { ListAnswer } from '@muster/head';
import { PROGRAM, TestCluster } from '../support/cluster.js';
import { Latch, makeLatch, type LatchHandle } from '../support/latch.js';
import { Program } from '../support/program.js';
import { until } from '../support/until.js';

const GRACE_MS = 1500;
const cluster = await TestCluster.start({
  head: { cpus: 2 }, queues: [{ name: 'open', isDefault: true, gracePeriodMs: GRACE_MS }, { name: 'small', quota: { cpus: 1 }, maxPriority: 1 }],
});
t.teardown(() => cluster.stop());

const program = (source: string): Program => new Program(source, { folder: join(cluster.root, 'programs'), env: cluster.driverEnv() });

/** A file that ends those who wait for it: a task that waits for a file holds its cpu, one that waits for an actor lends it. */
function gateAt(name: string): { readonly path: string; open(): void } {
  const path = join(cluster.root, name);
  return { path, open: () => writeFileSync(path, '') };
}

const holdsUntil = remote(async (path: string, latch: LatchHandle) => {
  await latch.note('holds');
  while (!existsSync(path)) await delay(10);
  return 'held';
});

t.test('a queue that is not there is an error that names those that are', async (t) => {
  await t.rejects(cluster.connect({ queue: 'smal' }), { code: 'INVALID_ARGUMENT', message: /the queue 'smal'.*one of open, small/ });
  await t.rejects(cluster.connect({ queue: 'small', priority: 2 }), { code: 'INVALID_ARGUMENT', message: /priority 2.*from -1000 to 1 in the queue small/ });
  await t.rejects(cluster.connect({ priority: 0.5 }), { code: 'INVALID_ARGUMENT' });
});

t.test('a queue never holds more than its quota, and says so', async (t) => {
  await cluster.connect({ queue: 'small' });
  t.teardown(() => shutdown());
  const [gate, latch] = [gateAt('quota'), await makeLatch()];
  const first = holdsUntil.remote(gate.path, latch);
  await latch.noted(1);
  const second = remote(() => 'second').remote();
  await until('the second one waits for the quota', async () => (await cluster.status()).waiting.some((row) => /queue small may hold 1 cpu and holds 1 cpu/.test(row.reasons)));
  const { held, jobs } = (await cluster.status()).queues.find((queue) => queue.name === 'small')!;
  t.same({ held, jobs }, { held: { cpu: 1 }, jobs: 1 });
  t.match((await cluster.query<ListAnswer>('list', { kind: 'jobs', filter: 'queue=small' })).rows, [{ state: 'running', priority: 0 }]);
  await t.rejects(remote(() => 1, { cpus: 2 })(), { code: 'UNSCHEDULABLE', message: /queue small may hold 1 cpu in all/ });
  gate.open();
  t.same(await get([first, second]), ['held', 'second']);
});

t.test('of two that wait the one of higher priority goes first, though it came last', async (t) => {
  await cluster.connect({ priority: 9 });
  const order = await actor(Latch, { maxConcurrency: 100, name: 'order', lifetime: 'detached' }).create();
  const [gate, latch] = [gateAt('priority'), await makeLatch()];
  const held = holdsUntil.options({ cpus: 2 }).remote(gate.path, latch);
  await latch.noted(1);
  const waits = (name: string, priority: number): Program => program(`
    await init({ priority: ${priority} });
    await remote(async (name) => { const order = await getActor('order'); await order.note(name); }, { cpus: 2 })('${name}');
  `);
  const waiting = async (): Promise<string> => (await cluster.status()).waiting.map((row) => row.priority).sort().join();
  const low = waits('low', 0);
  await until('the first one waits', async () => await waiting() === '0');
  const high = waits('high', 3);
  await until('both wait', async () => await waiting() === '0,3');
  gate.open();
  t.equal(await get(held), 'held');
  t.same(await order.noted(2), ['high', 'low']);
  t.same(await Promise.all([low.ended, high.ended]), ['0', '0'], low.stderr + high.stderr);
  await kill(order);
  await shutdown();
});

t.test('what runs is preempted for a higher priority: told first, then ended, and run again without having lost an attempt', async (t) => {
  const told = join(cluster.root, 'told'); // a file: a call would lend the cpu while it lasts, and who waits for it would have it before its time
  const low = program(`
    import { writeFileSync } from 'node:fs';
    await init({ logs: false });
    class Log {
      #entries = []; #wake = () => {};
      note(entry) { this.#entries.push(entry); this.#wake(); return this.#entries.filter((each) => each === entry).length; }
      async noted(count) { while (this.#entries.length < count) await new Promise((resolve) => { this.#wake = resolve; }); }
    }
    const log = await actor(Log, { maxConcurrency: 100 }).create();
    const heeds = remote(async (log) => {
      const { signal, attempt } = context();
      if (await log.note('heeds') > 1) return 'heeds ' + attempt;
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    }, { retries: 0 });
    const ignores = remote(async (log) => {
      const { signal, attempt } = context();
      if (await log.note('ignores') > 1) return 'ignores ' + attempt;
      signal.addEventListener('abort', () => writeFileSync(${JSON.stringify(told)}, signal.reason.code + ': ' + signal.reason.message));
      await new Promise(() => {});
    }, { retries: 0, name: 'ignores' });
    const refs = [heeds.remote(log), ignores.remote(log)];
    await log.noted(2);
    console.log('running 2');
    const values = await get(refs);
    console.log('values', JSON.stringify(values));
  `);
  await low.told('running');
  const high = program(`
    await init({ priority: 5, logs: false });
    console.log('high', JSON.stringify(await remote(() => 'done', { cpus: 2 })()));
  `);
  t.equal(await high.told('high'), 'done');
  t.same(await low.told('values'), ['heeds 1', 'ignores 1']);
  t.match(readFileSync(told, 'utf8'), /^PREEMPTED: ignores is preempted and will be ended in 1.5 s: job-\w+ of priority 5 needs its room/);
  t.same(await Promise.all([low.ended, high.ended]), ['0', '0'], low.stderr + high.stderr);
});

t.test('an actor that is preempted starts again when there is room, without a restart to spare', async (t) => {
  const low = program(`
    await init({ logs: false });
    class Holder { pid() { return process.pid; } }
    const holder = await actor(Holder, { cpus: 2, maxRestarts: 0 }).create();
    console.log('first', await holder.pid());
    for (let pid = await holder.pid(), first = pid; ;) {
      try { pid = await holder.pid(); } catch (error) { console.log('error', JSON.stringify(error.message)); continue; }
      if (pid !== first) { console.log('second', pid); break; }
    }
  `);
  const first = await low.told<number>('first');
  const high = program(`
    await init({ priority: 1, logs: false });
    console.log('high', JSON.stringify(await remote(() => 'done')()));
  `);
  t.equal(await high.told('high'), 'done');
  t.not(await low.told<number>('second'), first);
  t.same(await Promise.all([low.ended, high.ended]), ['0', '0'], low.stderr + high.stderr);
});

t.test('a submitted program has the queue and the priority that it was submitted with', async (t) => {
  const submit = (...args: readonly string[]): Promise<{ stdout: string }> => promisify(execFile)(process.execPath, [PROGRAM, 'submit', ...args], { env: cluster.driverEnv() });
  const { stdout } = await submit('--queue', 'small', '--priority', '1', '--', process.execPath, '-e', 'console.log(process.env.MUSTER_QUEUE, process.env.MUSTER_PRIORITY)');
  t.equal(stdout, 'small 1\n');
  await t.rejects(submit('--queue', 'tiny', '--', 'true'), { message: /the queue 'tiny'.*one of open, small/ });
  await t.rejects(submit('--priority', 'high', '--', 'true'), { message: /--priority high.*a whole number/ });
});
