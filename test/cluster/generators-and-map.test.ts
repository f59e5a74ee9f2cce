/** Generators, cancellation and map on one real node. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  cancel, context, get, init, ObjectRef, put, remote, shutdown, TaskCancelledError, WorkerDiedError,
} from '@muster/core';
import { collectGarbage } from '../support/garbage.js';
import { makeLatch, type LatchHandle } from '../support/latch.js';
import { isAlive } from '../support/processes.js';
import { rejection, until } from '../support/until.js';

const increment = remote((x: number) => x + 1);
/** Ends early when it is cancelled. */
const pause = remote(async (ms: number) => { await delay(ms, undefined, { signal: context().signal }); return ms; });
/** The signal may have aborted already. */
const aborted = async (signal: AbortSignal): Promise<void> => {
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
};

t.before(async () => {
  await init({ cpus: 2, gpus: 2, memory: '4GiB', resources: { tpu: 2 }, labels: { zone: 'a' }, logs: false });
});
t.teardown(() => shutdown());

t.test('mapUnordered delivers each once, the fast before the slow', async (t) => {
  const latch = await makeLatch();
  const waitIfFirst = remote(async (x: number) => {
    if (x === 0) await latch.opened();
    return x;
  }, { cpus: 0.5 });
  const seen: number[] = [];
  for await (const x of waitIfFirst.mapUnordered([0, 1, 2, 3])) {
    seen.push(x);
    if (seen.length === 3) await latch.open();
  }
  t.same(seen.slice(0, 3).sort(), [1, 2, 3]);
  t.same(seen.slice(3), [0]);
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

  await t.test('end their task when nobody begins the loop, or goes on with it', async (t) => {
    const latch = await makeLatch();
    const endless = remote(async function* (door: LatchHandle, name: string) {
      try {
        await door.note(`${name} begins`);
        for (let i = 0; ; i++) yield i;
      } finally {
        await door.note(`${name} ends`);
      }
    });
    const left = endless.remote(latch, 'left');
    await latch.noted(1);
    await left.return();
    t.equal((await latch.noted(2))[1], 'left ends');
    await (async () => { await endless.remote(latch, 'dropped').next(); })();
    await until('nobody holds the iterator', async () => {
      await collectGarbage();
      return (await latch.entries()).includes('dropped ends');
    });
  });

  await t.test('deliver also to a loop that begins after they have ended', async (t) => {
    const latch = await makeLatch();
    const done = remote(function* () { yield 1; yield 2; latch.note.remote('ended'); }).remote();
    const failing = remote(function* () { yield 1; latch.note.remote('ended'); throw new RangeError('in the end'); }).remote();
    await latch.noted(2);
    await increment(1); // their last words are there: they came before
    const values: number[] = [];
    for await (const ref of done) values.push(await get(ref));
    t.same(values, [1, 2]);
    const error = await rejection((async () => { for await (const ref of failing) values.push(await get(ref)); })());
    t.same(values, [1, 2, 1]);
    t.ok(error instanceof RangeError, String(error));
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
    const many = Array.from({ length: 20_000 }, () => increment.remote(slow));
    for (const each of many) cancel(each);
    cancel(slow);
    t.ok((await rejection(get(slow))) instanceof TaskCancelledError);
    t.equal((await Promise.allSettled(many.map((ref) => get(ref)))).filter(({ status }) => status === 'rejected').length, many.length);
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

  await t.test('with a grace ends the worker of a task that does not listen in time, and no other', async (t) => {
    const latch = await makeLatch();
    const deaf = remote(async (door: LatchHandle) => {
      await door.note(String(process.pid));
      const { signal } = context();
      await aborted(signal);
      for (;;);
    });
    const ref = deaf.remote(latch);
    const [pid] = await latch.noted(1);
    cancel(ref, { graceMs: 100 });
    t.ok((await rejection(get(ref))) instanceof TaskCancelledError);
    await until(`process ${pid} ends`, () => !isAlive(Number(pid)));

    const polite = remote(async (door: LatchHandle) => {
      await door.note('runs');
      await aborted(context().signal);
    }).remote(latch);
    await latch.noted(2);
    cancel(polite, { graceMs: 300 });
    t.same(await Promise.all(Array.from({ length: 8 }, () => pause.options({ retries: 0 })(600))), Array.from({ length: 8 }, () => 600), 'those that come after it have time of their own');
    for (const options of [{ graceMs: -1 }, { force: 1 }, { gracems: 1 }, null]) t.throws(() => cancel(polite, options as never), { code: 'INVALID_ARGUMENT' }, JSON.stringify(options));
    t.throws(() => cancel(5 as never), { code: 'INVALID_ARGUMENT', message: /cancel\(number\)/ });
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

  for (const how of ['map', 'mapUnordered'] as const) {
    await t.test(`${how}: refuses what makes no sense`, async (t) => {
      await t.rejects(doubled[how](5 as never).next(), { code: 'INVALID_ARGUMENT', message: /iterable/ });
      for (const options of [{ window: 0 }, { window: 1.5 }, { size: 3 }, null]) await t.rejects(doubled[how]([1], options as never).next(), { code: 'INVALID_ARGUMENT' }, JSON.stringify(options));
    });
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
      await until('one hears of it', async () => (await latch.entries()).includes('aborted')); // others may have begun meanwhile
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
