/** Actors on a real cluster: what users are promised of classes that live in processes of their own. Their ends are in actor-deaths.test.ts. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  actor, ActorDiedError, BackpressureError, CaptureError, context, get, getActor, kill, MusterError, put, remote, TaskCancelledError, wait, type ActorHandle, type ClusterInfo,
  type ObjectRef,
} from '@muster/core';
import { Counter, Recorder, Refusal } from '../support/actors.js';
import { isRunning, TestCluster } from '../support/cluster.js';
import { makeLatch, type LatchHandle } from '../support/latch.js';
import { rejection, until } from '../support/until.js';

const CALLS = 20_000;

const cluster = await TestCluster.start({ nodeTimeout: '1500ms', head: { cpus: 2 } });
t.teardown(() => cluster.stop());
const info: ClusterInfo = await cluster.connect();

t.test('calls of one caller', async (t) => {
  await t.test(`run in the order in which they were made, ${CALLS.toLocaleString('en')} of them`, async (t) => {
    const counter = await actor(Counter).create();
    const values = await get(Array.from({ length: CALLS }, () => counter.add.remote()));
    t.ok(values.every((value, i) => value === i + 1));
    const awaited = await Promise.all(Array.from({ length: 1000 }, () => counter.add()));
    t.ok(awaited.every((value, i) => value === CALLS + i + 1), 'also those that are awaited, each');
  });

  await t.test('wait for a reference that is not ready in an earlier one; calls of others do not', async (t) => {
    const [recorder, latch] = await Promise.all([actor(Recorder).create(), makeLatch()]);
    const late = remote(async (door: LatchHandle) => { await door.opened(); return 'late'; }, { cpus: 0 }).remote(latch);
    const refs = [recorder.note.remote('first'), recorder.note.remote(late), recorder.note.remote('last')];
    const fromElsewhere = remote((to: ActorHandle<Recorder>) => to.note('from elsewhere'), { cpus: 0 });
    t.equal(await get(refs[0]!), 1);
    t.equal(await fromElsewhere(recorder), 2);
    t.same((await wait(refs, { count: 3, timeoutMs: 0 })).ready.length, 1);
    await latch.open();
    t.same(await get(refs), [1, 3, 4]);
    t.same(await recorder.entries(), ['first', 'from elsewhere', 'late', 'last']);
  });

  await t.test('keep their order whatever becomes of their arguments', async (t) => {
    const recorder = await actor(Recorder).create();
    const fails = remote((): string => { throw new Refusal('no text', 0); }, { cpus: 0 }).remote();
    const large = await put(new Uint8Array(2_000_000));
    const made = remote((sizeBytes: number) => new Uint8Array(sizeBytes), { cpus: 0 }).remote(1_000_000);
    const refs = [
      recorder.note.remote('a'), recorder.measure.remote(new Uint8Array(500_000)), recorder.note.remote(fails), recorder.measure.remote(made), recorder.note.remote('b'),
      recorder.measure.remote(large), recorder.measure.remote(new Uint8Array(3)), recorder.note.remote(await put('c')),
    ];
    t.ok((await rejection(get(refs[2]!))) instanceof Refusal);
    t.same(await recorder.entries(), ['a', '500000 bytes', '1000000 bytes', 'b', '2000000 bytes', '3 bytes', 'c']);
    t.same(await get(refs.filter((_, i) => i !== 2)), [1, 2, 3, 4, 5, 6, 7]);
  });

  await t.test('go on when an argument of the first one turns out to have failed', async (t) => {
    const [recorder, latch] = await Promise.all([actor(Recorder).create(), makeLatch()]);
    await recorder.note('a');
    const fails = remote(async (door: LatchHandle): Promise<string> => { await door.opened(); throw new Refusal('too late', 0); }, { cpus: 0 }).remote(latch);
    const refs = [recorder.note.remote(fails), recorder.note.remote('b')];
    await latch.open();
    t.ok((await rejection(get(refs[0]!))) instanceof Refusal);
    t.equal(await get(refs[1]!), 2);
  });

  await t.test('are alone while an async method awaits', async (t) => {
    class Careful {
      readonly #log: string[] = [];
      async step(id: number): Promise<void> {
        this.#log.push(`+${id}`);
        await delay(id % 3);
        this.#log.push(`-${id}`);
      }
      log(): string[] { return this.#log; }
    }
    const careful = await actor(Careful).create();
    for (let id = 0; id < 20; id++) careful.step.remote(id);
    t.same(await careful.log(), Array.from({ length: 20 }, (_, id) => [`+${id}`, `-${id}`]).flat());
  });

  await t.test('of several callers keep the order of each', async (t) => {
    const recorder = await actor(Recorder).create();
    const sends = remote(async (to: ActorHandle<Recorder>, name: string) => {
      await get(Array.from({ length: 500 }, (_, i) => to.note.remote(`${name} ${i}`)));
    }, { cpus: 0.5 });
    const names = ['p', 'q', 'r', 's'];
    await get(names.map((name) => sends.remote(recorder, name)));
    const entries = await recorder.entries();
    t.equal(entries.length, 2000);
    for (const name of names) t.same(entries.filter((entry) => entry.startsWith(name)), Array.from({ length: 500 }, (_, i) => `${name} ${i}`));
  });

  await t.test('can be cancelled while they wait, and those behind move up', async (t) => {
    class Gate {
      async pass(door: LatchHandle): Promise<void> { await door.opened(); }
      async hear(door: LatchHandle): Promise<void> {
        const { signal } = context();
        await door.note('running');
        if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        await door.note('aborted');
      }
      name(): string { return 'gate'; }
    }
    const [gate, latch] = await Promise.all([actor(Gate).create(), makeLatch()]);
    const [waiting, running] = [new AbortController(), new AbortController()];
    gate.pass.remote(latch);
    const cancelled = gate.name.options({ signal: waiting.signal }).remote();
    const behind = gate.name.remote();
    waiting.abort();
    t.ok((await rejection(get(cancelled))) instanceof TaskCancelledError);
    await latch.open();
    t.equal(await get(behind), 'gate');
    const heard = gate.hear.options({ signal: running.signal }).remote(latch);
    await latch.noted(1);
    running.abort();
    t.ok((await rejection(get(heard))) instanceof TaskCancelledError);
    t.same(await latch.noted(2), ['running', 'aborted']);
    t.equal(await gate.name(), 'gate', 'the actor lives on');
  });
});

t.test('maxConcurrency', async (t) => {
  class Hall {
    #inside = 0;
    #most = 0;
    async visit(id: number, door: LatchHandle): Promise<string[]> {
      this.#most = Math.max(this.#most, ++this.#inside);
      const { taskId } = context();
      await door.note(`${id}`);
      await door.opened();
      this.#inside--;
      return [taskId!, context().taskId!];
    }
    most(): number { return this.#most; }
  }

  await t.test('so many calls run at once, never more, and start in order', async (t) => {
    const [hall, latch] = await Promise.all([actor(Hall, { maxConcurrency: 3 }).create(), makeLatch()]);
    const visits = Array.from({ length: 9 }, (_, id) => hall.visit.remote(id, latch));
    t.same(await latch.noted(3), ['0', '1', '2']);
    t.same((await wait(visits, { timeoutMs: 50 })).ready, [], 'all three are inside, and the others outside');
    t.equal((await latch.entries()).length, 3);
    await latch.open();
    const ids = await get(visits);
    t.equal(await hall.most(), 3);
    t.same(ids.map(([before]) => before), ids.map(([, after]) => after), 'each knows its own context');
    t.equal(new Set(ids.flat()).size, 9);
  });

  await t.test('one after another by default', async (t) => {
    const [hall, latch] = await Promise.all([actor(Hall).create(), makeLatch()]);
    const visits = [0, 1, 2].map((id) => hall.visit.remote(id, latch));
    t.same(await latch.noted(1), ['0']);
    t.same((await wait(visits, { timeoutMs: 50 })).ready, []);
    await latch.open();
    await get(visits);
    t.equal(await hall.most(), 1);
  });

  await t.test('generators at once know their own context', async (t) => {
    class Source {
      async *ids(count: number, door: LatchHandle): AsyncGenerator<string> {
        for (let i = 0; i < count; i++) {
          yield context().taskId!;
          await door.opened();
        }
      }
    }
    const [source, latch] = await Promise.all([actor(Source, { maxConcurrency: 2 }).create(), makeLatch()]);
    const streams = [source.ids(3, latch), source.ids(3, latch)];
    const firsts = await Promise.all(streams.map((stream) => stream.next()));
    await latch.open();
    for (const [i, stream] of streams.entries()) for await (const id of stream) t.equal(id, firsts[i]!.value);
    t.not(firsts[0]!.value, firsts[1]!.value);
  });
});

t.test('an instance', async (t) => {
  await t.test('keeps its state, in a process of its own', async (t) => {
    const [first, second] = await Promise.all([actor(Counter).create(10), actor(Counter).create(await put(20))]);
    t.same([await first.add(1), await first.add(2), await first.add(), await second.add(1)], [11, 13, 14, 21]);
    const pids = await Promise.all([first.pid(), first.pid(), second.pid()]);
    t.equal(pids[0], pids[1]);
    t.equal(new Set([...pids, process.pid]).size, 3);
  });

  await t.test('has the methods of its class and of those above it, and nothing else', async (t) => {
    const prefix = 'the ';
    class Named {
      static made = 0;
      readonly name: string;
      constructor(name: string) { this.name = prefix + name; Named.made++; }
      describe(): string { return `${this.name}, ${this.kind()}, ${Named.made}`; }
      kind(): string { return 'named'; }
    }
    class Special extends Named {
      override kind(): string { return `special ${super.kind()}`; }
      get size(): number { return 1; }
      #hidden(): number { return 1; }
      visible(): number { return this.#hidden() + this.size; }
    }
    const special = await actor(Special).create('one');
    t.equal(await special.describe(), 'the one, special named, 1');
    t.equal(await special.visible(), 2);
    t.same(['name' in special, 'size' in special, 'constructor' in special && special.constructor !== undefined, 'then' in special], [false, false, false, false]);
    t.match(special.actorId, /^actor-/);
    t.equal(await special, special, 'a handle is no thenable');
  });

  await t.test('knows its context, in its constructor too', async (t) => {
    class Aware {
      readonly #made = describe();
      made(): object { return this.#made; }
      now(): object { return describe(); }
      async later(): Promise<object> { await delay(1); return describe(); }
    }
    const describe = (): object => {
      const { jobId, nodeId, taskId, actorId, gpuIds, attempt, signal } = context();
      return { jobId, nodeId, taskId, actorId, gpuIds, attempt, aborted: signal.aborted };
    };
    const aware = await actor(Aware).create();
    const common = { jobId: info.jobId, nodeId: info.nodeId, actorId: aware.actorId, gpuIds: [], attempt: 1, aborted: false };
    t.match(await aware.made(), { ...common, taskId: null });
    t.match(await aware.now(), { ...common, taskId: /^task-/ });
    t.match(await aware.later(), { ...common, taskId: /^task-/ });
    t.not(((await aware.now()) as { taskId: string }).taskId, ((await aware.now()) as { taskId: string }).taskId);
  });

  await t.test('may have generators among its methods', async (t) => {
    class Book {
      #page = 0;
      async *pages(count: number): AsyncGenerator<number> {
        try {
          for (let i = 0; i < count; i++) yield ++this.#page;
        } finally {
          this.#page = -this.#page;
        }
      }
      *words(): Generator<{ word: string }> {
        yield { word: 'a' };
        throw new Refusal('torn out', 2);
      }
      page(): number { return this.#page; }
    }
    const book = await actor(Book).create();
    const pages: number[] = [];
    for await (const page of book.pages(200)) pages.push(page);
    t.same(pages, Array.from({ length: 200 }, (_, i) => i + 1));
    t.equal(await book.page(), -200);
    const refs: ObjectRef<number>[] = [];
    for await (const ref of book.pages.remote(3)) refs.push(ref);
    t.same(await get(refs), [-199, -198, -197]);
    for await (const page of book.pages(1_000_000)) if (page > 200) break;
    t.ok((await book.page()) < 0, 'a loop that is left ends the generator, and the next call has its turn');
    const words: string[] = [];
    const error = await rejection<Refusal>((async () => { for await (const { word } of book.words()) words.push(word); })());
    t.same([words, error instanceof Refusal, error.limit], [['a'], true, 2]);
  });

  await t.test('may have methods that take and return anything', async (t) => {
    class Echo {
      same<T>(value: T): T { return value; }
      async ref(): Promise<ObjectRef<string>[]> { return [await put('kept')]; }
      apply<T>(fn: (x: number) => T): T { return fn(20); }
    }
    const echo = await actor(Echo).create();
    const value = { map: new Map([['a', new Set([1n])]]), date: new Date(5), bytes: new Float32Array(300_000).fill(2) };
    t.strictSame(await echo.same(value), value);
    t.equal(await get((await echo.ref())[0]!), 'kept');
    const one = 1;
    t.equal(await echo.apply((x) => x + one), 21);
    t.equal(await echo.same(undefined), undefined);
  });
});

t.test('errors of users', async (t) => {
  class Strict {
    constructor(limit: number) {
      if (limit < 0) throw new Refusal('no negative limits', limit, { cause: new TypeError('a sign') });
      if (limit === 0) process.exit(6);
    }
    check(x: number): number {
      if (x > 1) throw new Refusal(`${x} is too much`, 1, { cause: new TypeError('the reason') });
      return x;
    }
    async checkLater(x: number): Promise<number> { await delay(1); return this.check(x); }
  }

  await t.test('from methods are what was thrown, and the actor lives on', async (t) => {
    const strict = await actor(Strict).create(1);
    for (const call of [strict.check(5), strict.checkLater(5), get(strict.check.remote(5))]) {
      const error = await rejection<Refusal>(call);
      t.ok(error instanceof Refusal && error instanceof RangeError);
      t.match(error, { name: 'RangeError', message: '5 is too much', limit: 1 });
      t.ok(error.cause instanceof TypeError);
      t.match(error.stack, /check[^]*--- called from ---[^]*actors\.test/);
    }
    t.equal(await strict.check(1), 1);
  });

  await t.test('from the constructor reject create(), and the name is free again', async (t) => {
    const RemoteStrict = actor(Strict, { name: 'strict', maxRestarts: 5 });
    const error = await rejection<Refusal>(RemoteStrict.create(-3));
    t.ok(error instanceof Refusal, String(error));
    t.match(error, { message: 'no negative limits', limit: -3 });
    t.ok(error.cause instanceof TypeError);
    t.match(await rejection(getActor('strict')), { code: 'ACTOR_NOT_FOUND' });
    const strict = await RemoteStrict.create(3);
    t.equal(await strict.check(1), 1);
    await kill(strict);
  });

  await t.test('in what the constructor is given come out of create()', async (t) => {
    const fails = remote((): number => { throw new Refusal('no number', 0); }, { cpus: 0 });
    t.ok((await rejection(actor(Strict).create(fails.remote()))) instanceof Refusal);
    const held = process.stdout;
    class Holder { write(): boolean { return held.write(''); } }
    t.ok((await rejection(actor(Holder).create())) instanceof CaptureError);
  });

  await t.test('a constructor that ends its process is a death with its exit code', async (t) => {
    const error = await rejection<ActorDiedError>(actor(Strict).create(0));
    t.ok(error instanceof ActorDiedError, String(error));
    t.match(error, { code: 'ACTOR_DIED', retryable: false, message: /creation of Strict.*exited with code 6/ });
  });
});

t.test('names', async (t) => {
  await t.test('are found by everybody, and unique while the actor lives', async (t) => {
    const Hits = actor(Counter, { name: 'hits' });
    const hits = await Hits.create(5);
    const same = await getActor<Counter>('hits');
    t.equal(same.actorId, hits.actorId);
    t.equal(await same.add(), 6);
    t.equal(await remote(async () => (await getActor<Counter>('hits')).add(), { cpus: 0 })(), 7);
    const taken = await rejection<MusterError>(Hits.create());
    t.ok(taken instanceof MusterError);
    t.match(taken, { name: 'ActorNameTakenError', code: 'ACTOR_NAME_TAKEN', message: /'hits'/ });
    await kill(same);
    const absent = await rejection<MusterError>(getActor('hits'));
    t.ok(absent instanceof MusterError);
    t.match(absent, { name: 'ActorNotFoundError', code: 'ACTOR_NOT_FOUND', message: /'hits'/ });
    const next = await Hits.create(0);
    t.not(next.actorId, hits.actorId);
    t.equal(await next.add(), 1);
    process.kill(await next.pid(), 'SIGKILL');
    await until('a name is free again after a death', () => Hits.create().then(kill).then(() => true, () => false));
  });

  await t.test('getIfExists: makes it once, also when many ask at the same time', async (t) => {
    const Shared = actor(Counter, { name: 'shared', getIfExists: true });
    const handles = await Promise.all(Array.from({ length: 5 }, (_, i) => Shared.create(100 * i)));
    const fromTask = await remote(async () => [await Shared.create(9000)], { cpus: 0 })();
    t.equal(new Set([...handles, ...fromTask].map((handle) => handle.actorId)).size, 1);
    for (const [i, handle] of [...handles, ...fromTask].entries()) t.equal(await handle.add(), i + 1);
    await kill(handles[0]!);
    const fresh = await Shared.create(7);
    t.not(fresh.actorId, handles[0]!.actorId);
    t.equal(await fresh.add(), 8);
    await kill(fresh);
  });

  await t.test('one that waits or starts is there already', async (t) => {
    const blocker = await actor(Counter, { cpus: 2 }).create();
    const Waiting = actor(Counter, { name: 'waiting', cpus: 2 });
    const creation = Waiting.create(3);
    await until('it waits', async () => (await cluster.status()).actors['pending'] === 1);
    t.match(await rejection(Waiting.create()), { code: 'ACTOR_NAME_TAKEN' });
    const found = getActor<Counter>('waiting');
    await kill(blocker);
    t.equal(await (await found).add(), 4);
    t.equal(await (await creation).add(), 5);
    await kill(await creation);
  });
});

t.test('handles', async (t) => {
  await t.test('go into tasks, closures, objects and other actors, and come back', async (t) => {
    const counter = await actor(Counter).create();
    const options = { cpus: 0 };
    t.equal(await remote((c: ActorHandle<Counter>) => c.add(), options)(counter), 1);
    t.equal(await remote(() => counter.add(), options)(), 2);
    t.equal(await remote(async (box: { inner: [ActorHandle<Counter>] }) => box.inner[0].add(), options)({ inner: [counter] }), 3);
    t.equal(await remote((c: ActorHandle<Counter>) => c.add(), options)(await put(counter)), 4);
    const made = await remote(async () => { const fresh = await actor(Counter, { lifetime: 'detached', name: 'made in a task' }).create(40); return [fresh]; }, options)();
    t.equal(await made[0]!.add(), 41);
    await kill(made[0]!);
    class Middle {
      constructor(readonly target: ActorHandle<Counter>) {}
      async relay(k: number): Promise<number> { return this.target.add(k); }
      async handle(): Promise<ActorHandle<Counter>> { return this.target; }
    }
    const middle = await actor(Middle).create(counter);
    t.equal(await middle.relay(2), 6);
    t.equal(await (await middle.handle()).add(), 7);
  });

  await t.test('calls that an actor makes of another keep their order', async (t) => {
    const recorder = await actor(Recorder).create();
    class Sender {
      #sent = 0;
      constructor(readonly to: ActorHandle<Recorder>) {}
      send(): void { this.to.note.remote(`${this.#sent++}`); }
      async flush(): Promise<number> { return this.to.note('end'); }
    }
    const sender = await actor(Sender).create(recorder);
    for (let i = 0; i < 1000; i++) sender.send.remote();
    t.equal(await sender.flush(), 1001);
    t.same(await recorder.entries(), [...Array.from({ length: 1000 }, (_, i) => `${i}`), 'end']);
  });

  await t.test('an actor calls itself: awaiting where it has room, or leaving it for later', async (t) => {
    class Loop {
      #self: ActorHandle<Loop> | null = null;
      #ran = 0;
      meet(self: ActorHandle<Loop>): void { this.#self = self; }
      async down(n: number): Promise<number> { return n === 0 ? 0 : 1 + (await this.#self!.down(n - 1)); }
      step(left: number): void {
        this.#ran++;
        if (left > 1) this.#self!.step.remote(left - 1);
      }
      ran(): number { return this.#ran; }
    }
    const wide = await actor(Loop, { maxConcurrency: 10 }).create();
    await wide.meet(wide);
    t.equal(await wide.down(9), 9);
    const narrow = await actor(Loop).create();
    await narrow.meet(narrow);
    await narrow.step(50);
    await until('all steps ran', async () => (await narrow.ran()) === 50);
  });

  await t.test('an actor makes another that calls it back, and that ends with it', async (t) => {
    class Child {
      constructor(readonly parent: ActorHandle<Parent>) {}
      async ask(): Promise<string> { return `${await this.parent.name()}'s child`; }
      pid(): number { return process.pid; }
    }
    class Parent {
      #child: ActorHandle<Child> | null = null;
      async bear(self: ActorHandle<Parent>): Promise<string> {
        this.#child = await actor(Child).create(self);
        return this.#child.ask();
      }
      name(): string { return 'parent'; }
      async child(): Promise<ActorHandle<Child>[]> { return [this.#child!]; }
    }
    const parent = await actor(Parent, { maxConcurrency: 2 }).create();
    t.equal(await parent.bear(parent), "parent's child");
    const [child] = await parent.child();
    const pid = await child!.pid();
    await kill(parent);
    await until('its process is gone', () => !isRunning(pid));
    t.match(await rejection(child!.ask()), { code: 'ACTOR_DIED', message: /was killed: its owner worker-\w+ is gone/ });
  });

  await t.test('whatever is called with something else than a handle says so', async (t) => {
    t.match(await rejection(kill({ actorId: 'actor-000000000000' })), { code: 'INVALID_ARGUMENT', message: /handle/ });
    t.match(await rejection(getActor(5 as never)), { code: 'INVALID_ARGUMENT', message: /name of an actor/ });
    t.throws(() => actor(5 as never), { code: 'INVALID_ARGUMENT' });
    for (const [options, word] of [
      [{ maxRestarts: -2 }, 'maxRestarts'], [{ maxConcurrency: 0 }, 'maxConcurrency'], [{ maxPendingCalls: -1 }, 'maxPendingCalls'], [{ lifetime: 'long' }, 'lifetime'],
      [{ lifetime: 'detached' }, 'name'], [{ getIfExists: true }, 'name'], [{ retries: 1 }, 'retries'],
    ] as const) t.throws(() => actor(Counter, options as never), { code: 'INVALID_ARGUMENT', message: new RegExp(word) }, JSON.stringify(options));
  });
});

t.test('maxPendingCalls', async (t) => {
  class Slow {
    async pass(door: LatchHandle): Promise<number> { await door.opened(); return 1; }
    fails(): never { throw new Error('failed'); }
  }
  const [slow, latch] = await Promise.all([actor(Slow, { maxPendingCalls: 3 }).create(), makeLatch()]);
  const pending = [1, 2, 3].map(() => slow.pass.remote(latch));

  await t.test('further calls of this caller fail at once, those of others do not', async (t) => {
    t.throws(() => slow.pass.remote(latch), BackpressureError);
    const error = await rejection<BackpressureError>(slow.pass(latch));
    t.ok(error instanceof BackpressureError);
    t.match(error, { code: 'BACKPRESSURE', retryable: true, message: new RegExp(`${slow.actorId}.* 3 calls pending.* 3\\b`) });
    const [more] = await remote(async (s: ActorHandle<Slow>, door: LatchHandle) => {
      const refs = [1, 2, 3].map(() => s.pass.remote(door));
      const failure = await s.pass(door).then(() => 'none', ({ code }: MusterError) => code);
      await door.open();
      await get(refs);
      return [failure];
    }, { cpus: 0 })(slow, latch);
    t.equal(more, 'BACKPRESSURE');
  });

  await t.test('there is room again when calls have ended, one way or the other', async (t) => {
    t.same(await get(pending), [1, 1, 1]);
    for (let round = 0; round < 3; round++) {
      t.same(await get([1, 2, 3].map(() => slow.pass.remote(latch))), [1, 1, 1]);
      for (const call of [1, 2, 3].map(() => slow.fails())) await t.rejects(call, /failed/);
    }
  });
});
