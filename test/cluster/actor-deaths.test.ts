/** How actors end and begin anew on a real cluster: kill(), restarts, causes of death, waiting for resources, and drivers that come and go. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  actor, ActorDiedError, ActorUnavailableError, context, get, getActor, kill, MusterError, put, remote, UnschedulableError, type ActorHandle, type ObjectRef,
} from '@muster/core';
import type { ActorRow, ExplainAnswer, ListAnswer } from '@muster/head';
import { Counter, Recorder, Refusal } from '../support/actors.js';
import { isRunning, TestCluster } from '../support/cluster.js';
import { collectGarbage } from '../support/garbage.js';
import { makeLatch, type LatchHandle } from '../support/latch.js';
import { Program } from '../support/program.js';
import { rejection, until } from '../support/until.js';

const cluster = await TestCluster.start({ nodeTimeout: '1500ms', head: { cpus: 2 } });
t.teardown(() => cluster.stop());
await cluster.connect();

const actorRow = async (actorId: string): Promise<ActorRow> =>
  ((await cluster.query<ListAnswer>('list', { kind: 'actors' })).rows as readonly ActorRow[]).find((row) => row.actorId === actorId)!;

const driver = (source: string): Program => new Program(source, { folder: cluster.root, env: cluster.driverEnv() });

t.test('kill()', async (t) => {
  await t.test('ends it at once and for good, with all of its calls', async (t) => {
    const [counter, latch] = await Promise.all([actor(Counter, { maxRestarts: -1 }).create(), makeLatch()]);
    class Stuck { async wait(door: LatchHandle): Promise<void> { await door.note('in'); await door.opened(); } }
    const stuck = await actor(Stuck, { maxRestarts: 3 }).create();
    const calls = [stuck.wait(latch), stuck.wait(latch), stuck.wait.options({ retries: 5 })(latch)].map((call) => rejection<MusterError>(call));
    await latch.noted(1);
    const pid = await counter.pid();
    await Promise.all([kill(counter), kill(stuck), kill(stuck)]);
    for (const error of await Promise.all([...calls, rejection<MusterError>(counter.add()), rejection<MusterError>(stuck.wait(latch))])) {
      t.ok(error instanceof ActorDiedError, String(error));
      t.match(error.message, /was killed: kill\(\)/);
    }
    await until('its process is gone', () => !isRunning(pid));
    t.match(await actorRow(counter.actorId), { state: 'dead', restarts: 0, cause: /was killed/ });
    await kill(counter);
    t.pass('once more does no harm');
  });

  await t.test('from a task, and of one that spins', async (t) => {
    class Spinner {
      spin(): void { for (;;); }
      pid(): number { return process.pid; }
    }
    const spinner = await actor(Spinner).create();
    const pid = await spinner.pid();
    const spins = rejection(spinner.spin());
    await remote((handle: ActorHandle<Spinner>) => kill(handle), { cpus: 0 })(spinner);
    t.ok((await spins) instanceof ActorDiedError);
    await until('its process is gone', () => !isRunning(pid));
  });
});

t.test('restarts', async (t) => {
  await t.test('replay the constructor with its arguments, references among them', async (t) => {
    class Replayed {
      #added = 0;
      constructor(readonly label: string, readonly table: Float64Array, readonly box: { inner: ObjectRef<number[]> }, readonly made: string) {}
      add(): number { return ++this.#added; }
      async describe(): Promise<unknown[]> { return [this.label, this.table.length, this.table[99_999], await get(this.box.inner), this.made]; }
      pid(): number { return process.pid; }
    }
    const make = remote((text: string) => text.repeat(2), { cpus: 0 });
    const replayed = await actor(Replayed, { maxRestarts: 1 }).create('label', await put(new Float64Array(100_000).fill(7)), { inner: await put([1, 2]) }, make.remote('ab'));
    const described = ['label', 100_000, 7, [1, 2], 'abab'];
    t.same([await replayed.add(), await replayed.add()], [1, 2]);
    t.same(await replayed.describe(), described);
    await collectGarbage(); // nobody but the actor needs the references any more
    const pid = await replayed.pid();
    process.kill(pid, 'SIGKILL');
    await until('it lives again', () => replayed.pid().then((now) => now !== pid, () => false));
    t.equal(await replayed.add(), 1, 'state is what the constructor makes');
    t.same(await replayed.describe(), described);
    t.match(await actorRow(replayed.actorId), { state: 'alive', incarnation: 2, restarts: 1, maxRestarts: 1 });
  });

  await t.test('calls under way fail or are made again, as their options say; later ones wait', async (t) => {
    class Phoenix {
      readonly #door: LatchHandle;
      constructor(door: LatchHandle) { this.#door = door; }
      async work(label: string): Promise<string> {
        const { attempt } = context();
        await this.#door.note(`${label} ${attempt}`);
        if (attempt === 1) await new Promise(() => {});
        return `${label} ${attempt}`;
      }
      pid(): number { return process.pid; }
      quick(x: number): number { return x; }
    }
    const latch = await makeLatch();
    const phoenix = await actor(Phoenix, { maxRestarts: 1, maxConcurrency: 2 }).create(latch);
    const pid = await phoenix.pid();
    const once = rejection<MusterError>(phoenix.work('once'));
    const again = phoenix.work.options({ retries: 1 })('again');
    const sent = rejection<MusterError>(phoenix.quick(1)); // sent, though it had not begun
    const kept = [2, 3, 4].map((x) => phoenix.quick.options({ retries: 2 }).remote(x));
    t.same((await latch.noted(2)).slice().sort(), ['again 1', 'once 1']);
    process.kill(pid, 'SIGKILL');
    for (const error of await Promise.all([once, sent])) {
      t.ok(error instanceof ActorUnavailableError, String(error));
      t.match(error, { code: 'ACTOR_UNAVAILABLE', retryable: true, message: /Phoenix.*SIGKILL.*restarts/ });
    }
    t.equal(await phoenix.quick(9), 9, 'a call made while it restarts waits');
    t.same(await get(kept), [2, 3, 4]);
    t.equal(await again, 'again 2');
    t.same((await latch.entries()).filter((entry) => entry.startsWith('once')), ['once 1'], 'what may not run twice did not');
  });

  await t.test('calls that are made again keep their order', async (t) => {
    class Fragile {
      readonly #recorder: ActorHandle<Recorder>;
      constructor(recorder: ActorHandle<Recorder>) { this.#recorder = recorder; }
      async note(i: number): Promise<void> {
        await this.#recorder.note(`${i}`);
        if (i === 5 && context().attempt === 1) process.kill(process.pid, 'SIGKILL');
      }
    }
    const recorder = await actor(Recorder).create();
    const fragile = await actor(Fragile, { maxRestarts: 1 }).create(recorder);
    await get(Array.from({ length: 20 }, (_, i) => fragile.note.options({ retries: 1 }).remote(i)));
    const entries = (await recorder.entries()).map(Number);
    t.same(entries.slice(-15), Array.from({ length: 15 }, (_, i) => i + 5));
    t.same(entries.slice(0, 6), [0, 1, 2, 3, 4, 5]);
  });

  await t.test('a generator under way fails, or goes on behind what has arrived', async (t) => {
    class Teller {
      async *count(to: number): AsyncGenerator<number> {
        for (let i = 0; i < to; i++) {
          yield i;
          if (i === 150 && context().attempt === 1) process.kill(process.pid, 'SIGKILL');
        }
      }
    }
    const seen: number[][] = [[], []];
    const teller = await actor(Teller, { maxRestarts: -1 }).create();
    for await (const i of teller.count.options({ retries: 1 })(300)) seen[0]!.push(i);
    t.same(seen[0], Array.from({ length: 300 }, (_, i) => i));
    const error = await rejection((async () => { for await (const i of teller.count(300)) seen[1]!.push(i); })());
    t.ok(error instanceof ActorUnavailableError, String(error));
    t.same(seen[1], Array.from({ length: seen[1]!.length }, (_, i) => i));
  });

  await t.test('-1 is always; and the last cause is told when none is left', async (t) => {
    const [always, twice] = await Promise.all([actor(Counter, { maxRestarts: -1 }).create(), actor(Counter, { maxRestarts: 2 }).create()]);
    for (const code of [1, 2, 3]) {
      t.ok((await rejection(always.exit(code))) instanceof ActorUnavailableError);
      t.equal(await always.add(), 1);
    }
    t.match(await rejection(twice.exit(1)), { code: 'ACTOR_UNAVAILABLE', message: /exited with code 1/ });
    t.match(await rejection(twice.signal('SIGSEGV')), { code: 'ACTOR_UNAVAILABLE', message: /SIGSEGV/ });
    t.match(await rejection(twice.exit(4)), { code: 'ACTOR_DIED', message: /exited with code 4/ });
    t.match(await rejection(twice.add()), { code: 'ACTOR_DIED', message: /exited with code 4/ });
    const { lines } = await cluster.query<ExplainAnswer>('explain', { id: twice.actorId });
    t.match(lines.join('\n'), /2 of 2 restarts used[^]*incarnation 1 .*exited with code 1[^]*incarnation 2 .*SIGSEGV[^]*incarnation 3 .*exited with code 4/);
  });

  await t.test('a constructor that throws at its replay ends it', async (t) => {
    class OnlyOnce {
      constructor(readonly counter: ActorHandle<Counter>) {}
      async arm(): Promise<number> { return this.counter.add(); }
      pid(): number { return process.pid; }
    }
    class Picky extends OnlyOnce {
      static marks: string[] = [];
      constructor(counter: ActorHandle<Counter>, file: string) {
        super(counter);
        if (existsSync(file)) throw new Refusal('not again', 1);
        writeFileSync(file, '');
      }
    }
    const picky = await actor(Picky, { maxRestarts: 5 }).create(await actor(Counter).create(), join(cluster.root, 'picky'));
    process.kill(await picky.pid(), 'SIGKILL');
    await until('it is dead', () => picky.arm().then(() => false, (error: MusterError) => error.code === 'ACTOR_DIED'));
    t.match(await rejection(picky.arm()), { code: 'ACTOR_DIED', message: /its constructor threw/ });
  });
});

t.test('the cause of a death is exact', async (t) => {
  const cause = async (end: (counter: ActorHandle<Counter>) => Promise<unknown>): Promise<MusterError[]> => {
    const counter = await actor(Counter, { name: 'mortal' }).create();
    const during = await rejection<MusterError>(end(counter));
    return [during, await rejection<MusterError>(counter.add())];
  };
  for (const [what, end, message] of [
    ['exit code', (c) => c.exit(7), /call Counter\.\w+ .*actor Counter 'mortal' \(actor-\w+\) exited with code 7[^]*the last words/],
    ['exit code 0', (c) => c.exit(0), /exited with code 0/],
    ['an exception that nobody catches', (c) => c.explode(), /exited with code 1[^]*Error: from nowhere/],
    ['signal', (c) => c.signal('SIGTERM'), /was ended by SIGTERM/],
    ['kill -9', (c) => c.signal('SIGKILL'), /was ended by SIGKILL/],
  ] as [string, (counter: ActorHandle<Counter>) => Promise<unknown>, RegExp][]) {
    await t.test(what, async (t) => {
      for (const error of await cause(end)) {
        t.ok(error instanceof ActorDiedError);
        t.match(error, { code: 'ACTOR_DIED', retryable: false, message });
      }
    });
  }

  await t.test('a node that was killed', async (t) => {
    const doomed = await cluster.addNode({ cpus: 1 });
    const Placed = actor(Counter, { placement: { node: doomed.nodeId } });
    const [mortal, restartable] = await Promise.all([Placed.create(), Placed.options({ maxRestarts: 3 }).create()]);
    t.equal(await mortal.add(), 1);
    doomed.kill('SIGKILL');
    await until('its death is known', () => mortal.add().then(() => false, (error: MusterError) => error.code === 'ACTOR_DIED'));
    t.match(await rejection(mortal.add()), { code: 'ACTOR_DIED', message: new RegExp(`was on ${doomed.nodeId}, which was lost`) });
    t.match(await rejection(restartable.add()), { code: 'ACTOR_DIED', message: new RegExp(doomed.nodeId) }, 'nowhere else could it be');
  });
});

t.test('create() waits for resources', async (t) => {
  const first = await actor(Counter, { cpus: 1.5 }).create();
  const second = actor(Counter, { cpus: 1, name: 'patient' }).create(1);
  await until('it waits', async () => (await cluster.status()).actors['pending'] === 1);
  const { rows } = await cluster.query<ListAnswer>('list', { kind: 'actors', filter: 'name=patient' });
  const [row] = rows as readonly ActorRow[];

  await t.test('and it is explained', async (t) => {
    t.match(row, { state: 'pending', reasons: /cpu/, nodeId: '' });
    const { state, lines } = await cluster.query<ExplainAnswer>('explain', { id: row!.actorId });
    t.equal(state, 'pending');
    t.match(lines.join('\n'), /asks for 1 cpu and has waited .*0\.5/);
  });

  await t.test('it lives when there is room', async (t) => {
    await kill(first);
    t.equal(await (await second).add(), 2);
    await kill(await second);
  });

  await t.test('what can never fit fails at once', async (t) => {
    for (const [options, reason] of [[{ cpus: 64 }, /cpu/], [{ resources: { fpga: 1 } }, /fpga/], [{ placement: { labels: { zone: 'z' } } }, /zone/]] as const) {
      const error = await rejection(actor(Counter, options).create());
      t.ok(error instanceof UnschedulableError, String(error));
      t.match(error.message, reason);
    }
  });
});

t.test('drivers', async (t: Test) => {
  const source = `
    await init();
    class Visits { #n = 0; constructor(start = 0) { this.#n = start; } visit() { return ++this.#n; } pid() { return process.pid; } }
  `;

  await t.test('a detached actor outlives its own and serves the next', async (t) => {
    const first = driver(`${source}
      const [kept, lost] = await Promise.all([
        actor(Visits, { name: 'kept', lifetime: 'detached', maxRestarts: 1 }).create(10), actor(Visits, { name: 'lost' }).create(),
      ]);
      console.log('made', JSON.stringify({ kept: await kept.visit(), keptPid: await kept.pid(), lost: await lost.visit(), lostPid: await lost.pid() }));
      await shutdown();
    `);
    const made = await first.told<{ kept: number; keptPid: number; lost: number; lostPid: number }>('made');
    t.equal(await first.ended, '0', first.stderr);
    t.same([made.kept, made.lost], [11, 1]);
    await until('the actor of its job is gone', () => !isRunning(made.lostPid));
    t.match(await rejection(getActor('lost')), { code: 'ACTOR_NOT_FOUND' });
    t.ok(isRunning(made.keptPid));

    const second = driver(`${source}
      const kept = await getActor('kept');
      const before = [await kept.visit(), await kept.pid()];
      process.kill(before[1], 'SIGKILL');
      for (;;) try { console.log('seen', JSON.stringify([...before, await kept.visit()])); break; } catch (error) { if (error.code !== 'ACTOR_UNAVAILABLE') throw error; }
      await kill(kept);
      console.log('after', JSON.stringify(await getActor('kept').catch((error) => error.code)));
    `);
    t.same(await second.told('seen'), [12, made.keptPid, 11], 'it has restarted without its creator');
    t.equal(await second.told('after'), 'ACTOR_NOT_FOUND');
    t.equal(await second.ended, '0', second.stderr);
  });

  await t.test('that race for one name with getIfExists get one actor', async (t) => {
    const latch = await actor(Counter, { name: 'runs', lifetime: 'detached' }).create();
    const racers = [1, 2].map(() => driver(`${source}
      const runs = await getActor('runs');
      class Once { constructor(count) { this.ready = count.add(); } async visit() { return this.ready; } }
      const ready = await Promise.all(Array.from({ length: 3 }, () => actor(Once, { name: 'once', lifetime: 'detached', getIfExists: true }).create(runs)));
      console.log('got', JSON.stringify([...ready.map((handle) => handle.actorId), await ready[0].visit()]));
    `));
    const got = await Promise.all(racers.map((racer) => racer.told<(string | number)[]>('got')));
    t.same(await Promise.all(racers.map((racer) => racer.ended)), ['0', '0']);
    t.equal(new Set(got.flat()).size, 2, 'one id, and one run of the constructor');
    t.equal(await latch.add(), 2);
    await Promise.all([kill(latch), kill(await getActor('once'))]);
  });
});
