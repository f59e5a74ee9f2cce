/** The executor's rules, one by one, with code and time in the test's hands. */
import t from 'tap';
import { makeError, type MusterError } from '@muster/base';
import { STREAM_WINDOW, type ObjectRef } from '@muster/core/internal';
import { ExecutorWorld, Holding, plain, Records, stored, type TestCaller } from '../test-support/executor-world.js';
import { COMPUTES, WAITS } from './ports.js';
import type { Running } from './running.js';

const WAIT = 0;
const SQUARE = 1;
const FAIL = 2;
const PREEMPTION = { why: 'others come first', graceMs: 100 };

const ref = (id: string): ObjectRef => ({ id, state: 0, detail: null }) as unknown as ObjectRef;

/** A caller that has defined functions, all of them revived, and what waits of them. */
function setUp(): { world: ExecutorWorld; caller: TestCaller; waiting: Running[] } {
  const world = new ExecutorWorld();
  const waiting: Running[] = [];
  world.code['wait'] = (running) => {
    waiting.push(running);
    return WAITS;
  };
  world.code['square'] = (_running, x) => (x as number) ** 2;
  world.code['fail'] = () => { throw new RangeError('too much'); };
  const caller = world.caller();
  caller.send(new Records().define(WAIT, 'wait').define(SQUARE, 'square').define(FAIL, 'fail').task(0, WAIT).task(1, SQUARE).task(2, FAIL));
  world.executor.returned(waiting.shift()!, null);
  world.turns();
  caller.take();
  world.called.length = world.ended.length = 0;
  world.executor.progress[0] = 0;
  return { world, caller, waiting };
}

t.test('functions that end at once are answered in one frame', async (t) => {
  const { world, caller } = setUp();
  caller.send(new Records().task(0, SQUARE, [3]).task(1, FAIL).task(2, SQUARE, [plain(5)]));
  t.equal(caller.frames.length, 1);
  t.same(caller.answers(), ['result 0 = 9', 'error 1 = too much', 'result 2 = 25']);
  t.same(world.ended, ['square', 'fail', 'square']);
  t.ok(world.executor.isIdle);
});

t.test('what waits holds the queue until it is answered', async (t) => {
  const { world, caller, waiting } = setUp();
  caller.send(new Records().task(0, WAIT).task(1, SQUARE, [2]));
  t.same(world.called, ['wait']);
  t.same(caller.answers(), []);
  world.executor.returned(waiting[0]!, { x: 1 });
  t.same(caller.answers(), ['result 0 = {"x":1}']);
  world.turns();
  t.same(caller.answers(), ['result 1 = 4']);
});

t.test('a value that cannot travel fails its task', async (t) => {
  const { world, caller, waiting } = setUp();
  caller.send(new Records().task(0, WAIT));
  world.executor.returned(waiting[0]!, () => {});
  t.same(caller.answers(), ['error 0 = it cannot travel']);
});

t.test('a turn ends after a millisecond of work, and what is left has the next one', async (t) => {
  const { world, caller } = setUp();
  world.code['slow'] = () => (world.now += 0.6);
  caller.send(new Records().define(3, 'slow').task(0, 3));
  world.turns();
  caller.take();
  const records = new Records();
  for (let slot = 0; slot < 5; slot++) records.task(slot, 3);
  caller.send(records);
  t.equal(caller.answers().length, 2);
  world.turns();
  t.equal(caller.answers().length, 3);
});

t.test('code that computes beyond its call has the thread: nothing else begins', async (t) => {
  const { world, caller, waiting } = setUp();
  const computing: Running[] = [];
  world.code['compute'] = (running) => {
    computing.push(running);
    return COMPUTES;
  };
  caller.send(new Records().define(3, 'compute').task(0, 3));
  world.executor.returned(computing.shift()!, 0);
  world.turns();
  caller.take();
  caller.send(new Records().task(0, 3).task(1, 3).task(2, SQUARE, [2]));
  t.equal(computing.length, 1);
  world.now += 5;
  world.executor.returned(computing.shift()!, 7);
  t.same(caller.take(), ['result 0 = 7', 'stats 3: 1 in 5000 us']);
  world.turns();
  world.executor.waits(computing[0]!);
  t.same(caller.answers(), []);
  world.executor.threw(computing.shift()!, new Error('no'));
  world.turns();
  t.same(caller.answers(), ['error 1 = no', 'result 2 = 4']);
  t.equal(waiting.length, 0);
});

t.test('durations are told by function, from the beginning of the call, and not those of an actor\'s calls', async (t) => {
  const { world, caller, waiting } = setUp();
  world.code['late'] = (running) => {
    world.now += 3; // before it first waits
    waiting.push(running);
    return WAITS;
  };
  caller.send(new Records().define(3, 'late').task(0, 3));
  world.executor.returned(waiting.shift()!, 0);
  world.turns();
  caller.take();
  caller.send(new Records().task(0, 3));
  world.now += 2;
  world.executor.returned(waiting.shift()!, 0);
  t.same(caller.take(), ['result 0 = 0', 'stats 3: 1 in 5000 us']);
  world.houseActor(['late', 'quick']);
  world.code['quick'] = () => (world.now += 1);
  caller.send(new Records().call(0, 1).call(1, 0));
  world.turns();
  world.executor.returned(waiting.shift()!, 0);
  t.notMatch(caller.take().join(), /stats/);
});

t.test('a cancel does not wait its turn, not even behind its task in one frame, and meets no other task of its slot', async (t) => {
  const { world, caller, waiting } = setUp();
  caller.send(new Records().task(0, WAIT).task(1, SQUARE, [1]).cancel(1).cancel(0));
  t.ok(waiting[0]!.isCancelled);
  t.same(world.interruptions, ['wait']);
  world.executor.returned(waiting.shift()!, null);
  world.turns();
  t.same(caller.answers(), ['result 0 = null', 'returned 1']);
  caller.send(new Records().task(2, WAIT));
  caller.send(new Records().task(1, SQUARE, [1]).cancel(2).cancel(9));
  world.executor.returned(waiting.shift()!, null);
  caller.send(new Records().task(2, SQUARE, [3]).task(9, SQUARE, [3])); // both slots are used again, and the frame before has not had its turn
  world.turns();
  t.same(caller.answers(), ['result 2 = null', 'result 1 = 1', 'result 2 = 9', 'result 9 = 9']);
});

t.test('what has not started is given back when it is asked for, and known functions stay known', async (t) => {
  const { world, caller, waiting } = setUp();
  const other = world.caller('driver-2');
  other.send(new Records().define(0, 'square').task(5, 0, [2]));
  world.turns();
  t.same(other.answers(), ['result 5 = 4']);
  caller.send(new Records().task(0, WAIT).task(1, SQUARE, [2]));
  other.send(new Records().task(6, 0, [3]));
  caller.send(new Records().cancel(1).define(3, 'fail').task(2, SQUARE, [2]).takeBack());
  t.same(caller.answers(), ['returned 1', 'returned 2']);
  t.equal(world.executor.progress[0], 4, 'one task of the other caller, then one begun and two given back');
  world.executor.returned(waiting.shift()!, null);
  world.turns();
  t.same(other.answers(), ['result 6 = 9']);
  caller.send(new Records().task(1, 3));
  t.same(caller.answers(), ['result 0 = null', 'error 1 = too much']);
});

t.test('a task behind a take-back in one frame has one end', async (t) => {
  const { caller } = setUp();
  caller.send(new Records().task(0, SQUARE, [1]).takeBack().task(1, SQUARE, [2]));
  t.same(caller.answers(), ['result 0 = 1', 'returned 1']);
});

t.test('a task that waits for others lends its cpu out after a millisecond, and its queue', async (t) => {
  const { world, caller, waiting } = setUp();
  caller.send(new Records().task(0, WAIT).task(1, SQUARE, [2]));
  world.executor.waitsChanged(1);
  world.pass(0.9);
  world.executor.waitsChanged(0);
  world.executor.waitsChanged(1);
  world.pass(0.9);
  t.same(world.head, [], 'each wait was a short one');
  world.pass(0.1);
  t.same(world.head, [{ type: 'workerBlocked', blocked: true }]);
  t.same(caller.answers(), ['returned 1', 'blocked true']);
  caller.send(new Records().task(1, SQUARE, [2]));
  world.executor.waitsChanged(2);
  world.executor.waitsChanged(1);
  world.executor.returned(waiting.shift()!, null);
  world.turns();
  t.same(caller.answers(), ['result 0 = null'], 'another wait of its code goes on');
  world.executor.waitsChanged(0);
  world.turns();
  t.same(world.head.slice(1), [{ type: 'workerBlocked', blocked: false }]);
  t.same(caller.answers(), ['blocked false', 'result 1 = 4']);
});

t.test('an actor that waits goes on with its other calls, says so once, and takes its cpu back', async (t) => {
  const { world, caller, waiting } = setUp();
  world.houseActor(['wait', 'square'], 2);
  caller.send(new Records().call(0, 0).call(1, 0).call(2, 1, [3]));
  world.executor.waitsChanged(1);
  world.executor.waitsChanged(2);
  world.pass(1);
  world.executor.returned(waiting.shift()!, null);
  world.turns();
  t.same(caller.answers(), ['result 0 = null', 'result 2 = 9']);
  world.executor.waitsChanged(0);
  t.same(world.head, [{ type: 'workerBlocked', blocked: true }, { type: 'workerBlocked', blocked: false }]);
});

t.test('calls run up to the actor\'s concurrency at once, and are not given back', async (t) => {
  const { world, caller, waiting } = setUp();
  world.houseActor(['wait'], 2);
  caller.send(new Records().call(0, 0).call(1, 0).call(2, 0));
  caller.send(new Records().takeBack());
  t.same(world.called, ['Counter.wait', 'Counter.wait']);
  world.executor.returned(waiting[1]!, 1);
  world.turns();
  t.equal(world.called.length, 3);
  t.same(caller.answers(), ['result 1 = 1']);
});

t.test('the function and all arguments are asked for at once', async (t) => {
  const { world, caller } = setUp();
  world.revivesAtOnce = false;
  world.code['join'] = (_running, ...parts) => parts.join();
  caller.send(new Records().define(3, 'join').task(0, 3, [stored('obj-a'), 7, stored('obj-b')]));
  t.equal(world.revivals.length, 1);
  t.same(world.fetches.map(({ stored: { storageId } }) => storageId), ['obj-a', 'obj-b']);
  world.fetches[1]!.receiver.done('b');
  world.revivals[0]!();
  t.same(world.called, []);
  world.fetches[0]!.receiver.done('a');
  t.same(caller.answers(), ['result 0 = a,7,b']);
});

t.test('an argument that is lost is named, one that fails fails the task, and each task is answered once', async (t) => {
  const { world, caller } = setUp();
  caller.send(new Records().task(0, SQUARE, [stored('obj-a'), stored('obj-b')]).task(1, SQUARE, [stored('obj-c')]).task(2, SQUARE, [2]));
  const lost = makeError('OBJECT_LOST', { what: 'obj', cause: 'gone' });
  world.fetches[0]!.receiver.failed(lost);
  world.fetches[1]!.receiver.failed(lost);
  world.turns();
  world.fetches[2]!.receiver.failed(new Error('the disk is full'));
  world.turns();
  t.same(caller.answers(), ['lostInput 0: obj-a', 'error 1 = the disk is full', 'result 2 = 4']);
  t.same(world.called, ['square']);
});

t.test('the references in a result are held until its caller has counted them, or is gone', async (t) => {
  const { world, caller, waiting } = setUp();
  caller.send(new Records().task(0, WAIT).task(1, WAIT).task(2, WAIT));
  const [a, b, c] = [ref('a'), ref('b'), ref('c')];
  for (const refs of [[a], [b]]) {
    world.executor.returned(waiting.shift()!, new Holding(refs));
    world.turns();
  }
  t.same([...world.held], [a, b]);
  t.same([...world.executor.heldRefs()], [a, b]);
  caller.send(new Records().held(0).held(7));
  t.same([...world.held], [b]);
  world.executor.removeLine(caller.line);
  t.equal(world.held.size, 0);
  world.executor.returned(waiting.shift()!, new Holding([c]));
  t.equal(world.held.size, 0, 'nobody would count them');
  t.ok(world.executor.isIdle);
});

t.test('with its caller ends what it sent: what runs is cancelled with its children, the rest is dropped', async (t) => {
  const { world, caller, waiting } = setUp();
  const other = world.caller('driver-2');
  other.send(new Records().define(0, 'square'));
  caller.send(new Records().task(0, WAIT).task(1, SQUARE, [1]));
  other.send(new Records().task(0, 0, [4]));
  const [before, after] = [ref('before'), ref('after')];
  world.executor.adopt(waiting[0]!, before);
  world.executor.removeLine(caller.line);
  world.executor.adopt(waiting[0]!, after);
  t.same(world.cancelled, [before, after]);
  world.executor.returned(waiting[0]!, null);
  world.turns();
  t.same(caller.take(), []);
  t.same(other.answers(), ['result 0 = 16']);
});

t.test('a preempted task that gives up goes back; a call fails, and one that goes on has its answer', async (t) => {
  const { world, caller, waiting } = setUp();
  caller.send(new Records().task(0, WAIT).task(1, SQUARE, [1]));
  world.executor.preempt(PREEMPTION);
  t.same(world.interruptions, ['wait']);
  t.same(caller.answers(), ['returned 1']);
  world.executor.threw(waiting.shift()!, new Error('stopped'));
  t.same(caller.answers(), ['returned 0']);
  caller.send(new Records().task(2, WAIT).task(3, FAIL));
  t.equal(waiting[0]!.preemption, PREEMPTION, 'what begins later knows it, too');
  world.executor.returned(waiting.shift()!, 5);
  world.turns();
  t.same(caller.answers(), ['result 2 = 5', 'returned 3']);
  world.houseActor(['fail']);
  caller.send(new Records().call(4, 0));
  t.same(caller.answers(), ['error 4 = too much']);
});

t.test('a record that nobody can read ends its caller\'s stream, in its turn or ahead of it, and no other', async (t) => {
  const broken: readonly ((records: Records) => Records)[] = [(records) => records.nonsense(), (records) => records.task(1, 77), (records) => records.call(1, 0)];
  for (const breakRule of broken) {
    for (const mustWait of [false, true]) {
      const { world, caller, waiting } = setUp();
      const other = world.caller('driver-2');
      other.send(new Records().define(0, 'square'));
      if (mustWait) caller.send(new Records().task(0, WAIT));
      caller.send(breakRule(new Records()).task(2, SQUARE, [1]));
      other.send(new Records().task(0, 0, [4]));
      if (mustWait) world.executor.returned(waiting.shift()!, null);
      world.turns();
      t.equal((caller.refusal as MusterError).code, 'PROTOCOL');
      t.notOk(caller.line.isOpen);
      t.same(other.answers(), ['result 0 = 16']);
      t.equal(other.refusal, null);
    }
  }
});

/** A generator that runs, and what it is told after each value. */
function startGenerator(): ReturnType<typeof setUp> & { generator: Running; told: (boolean | string)[]; give: (value: unknown) => void } {
  const scene = setUp();
  scene.caller.send(new Records().generator(3, WAIT));
  const generator = scene.waiting.shift()!;
  const told: (boolean | string)[] = [];
  return {
    ...scene, generator, told,
    give: (value) => scene.world.executor.yielded(generator, value, { done: (isWanted) => told.push(isWanted), failed: (error) => told.push((error as Error).message) }),
  };
}

t.test('a generator goes on as long as it has credit, and lets others in from time to time', async (t) => {
  const { world, caller, generator, told, give } = startGenerator();
  for (let value = 0; value < STREAM_WINDOW; value++) {
    give(value);
    if (told.length === value) world.turns();
  }
  t.equal(told.length, STREAM_WINDOW - 1, 'its credit is used up');
  t.same(caller.answers().slice(0, 2), ['yielded 3.0 = 0', 'yielded 3.1 = 1']);
  caller.send(new Records().credit(3, 2));
  world.turns();
  t.equal(told.length, STREAM_WINDOW);
  give('one more');
  world.executor.exhausted(generator);
  t.same(caller.answers().slice(-2), [`yielded 3.${STREAM_WINDOW} = one more`, `ended 3 after ${STREAM_WINDOW + 1}`]);
  t.ok(world.executor.isIdle);
});

t.test('a generator whose consumer has gone is told to stop, also while it waits for credit', async (t) => {
  const { world, caller, generator, told, give } = startGenerator();
  for (let value = 0; value < STREAM_WINDOW; value++) {
    give(value);
    world.turns();
  }
  caller.send(new Records().cancel(3));
  t.equal(told.at(-1), false);
  give('too late');
  t.same(told.slice(-2), [false, false]);
  world.executor.exhausted(generator);
  t.same(caller.answers().slice(-1), [`ended 3 after ${STREAM_WINDOW}`]);
});

t.test('a yielded value that cannot travel fails its generator', async (t) => {
  const { world, caller, generator, told, give } = startGenerator();
  give(() => {});
  t.same(told, ['it cannot travel']);
  world.executor.threw(generator, new Error(told[0] as string));
  t.same(caller.answers(), ['error 3 = it cannot travel']);
});

t.test('the references in a generator\'s values are let go one by one', async (t) => {
  const { world, caller, generator, give } = startGenerator();
  const [a, b, c] = [ref('a'), ref('b'), ref('c')];
  for (const each of [a, b, c]) give(new Holding([each]));
  caller.send(new Records().held(3, 1));
  t.same([...world.held], [a, c]);
  caller.send(new Records().held(3, 0).held(3, 0));
  t.same([...world.held], [c]);
  world.executor.exhausted(generator);
  caller.send(new Records().held(3, 2));
  t.equal(world.held.size, 0);
});
