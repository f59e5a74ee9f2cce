/** One class stays one class, wherever it goes and however often. This file is the main script, so its classes go by value. */
import { setFlagsFromString } from 'node:v8';
import { setImmediate as nextTurn } from 'node:timers/promises';
import vm from 'node:vm';
import t from 'tap';
import { capture, revive } from './index.js';
import { originCount } from './origins.js';
import { WorkerProcess } from './testing/worker-process.js';

class Point {
  constructor(readonly x: number, readonly y: number) {}
  norm(): number { return Math.hypot(this.x, this.y); }
}
class Point3 extends Point {
  constructor(x: number, y: number, readonly z: number) { super(x, y); }
  override norm(): number { return Math.hypot(super.norm(), this.z); }
}
class PaymentError extends RangeError {
  constructor(message: string, readonly amount: number, options?: ErrorOptions) { super(message, options); }
}
class Tally {
  static #total = 10;
  static count = 0;
  static [Symbol.for('add up')](): number { Tally.count++; return Tally.#total++; }
  static addUp(): number { return Tally[Symbol.for('add up') as unknown as 'addUp'](); }
}
const tag = Symbol('tag');
let step = 1;
function advance(): number { step += 1; return step; }

const worker = await WorkerProcess.start();
const other = await WorkerProcess.start();
t.teardown(() => Promise.all([worker.stop(), other.stop()]));

t.test('a class that arrives in two messages is one class', async (t) => {
  t.equal(await worker.call((value: unknown) => value instanceof Point, new Point(3, 4)), true);
  t.equal(await worker.call((value: unknown) => value instanceof Point, new Point3(3, 4, 0)), true);
  t.equal(await worker.call((a: Point, b: Point3) => a.constructor === Object.getPrototypeOf(b.constructor), new Point(1, 2), new Point3(1, 2, 3)), true);
});

t.test('an error thrown there is an instance of the class that is here', async (t) => {
  const failure = await worker.call((amount: number) => { throw new PaymentError('too much', amount, { cause: new Point(1, 1) }); }, 7).catch((error: unknown) => error);
  t.ok(failure instanceof PaymentError && failure instanceof RangeError);
  t.match(failure, { message: 'too much', amount: 7 });
  t.ok((failure as Error).cause instanceof Point);
  t.match((failure as Error).stack, /identity\.test/, 'with the stack of the worker, at the original place');
});

t.test('what comes home is the original', async (t) => {
  const fn = (): number => step;
  t.equal(await worker.call((value: unknown) => value, fn), fn);
  t.equal(await worker.call((value: unknown) => value, Point3), Point3);
  t.equal(await worker.call((value: unknown) => value, tag), tag);
  t.equal(Object.getPrototypeOf(await worker.call(() => new Point3(1, 2, 2))), Point3.prototype);
  const reply = await worker.ask({ bytes: capture(fn), give: 'itself' });
  t.equal(revive(reply.value as Uint8Array), fn);
});

t.test('a worker passes a class on to another one', async (t) => {
  const { value } = await worker.ask({ bytes: capture(() => new Point3(2, 3, 6)), give: 'result' });
  const isPoint = capture((value: Point) => [value instanceof Point, value.norm()]);
  const reply = await other.ask({ bytes: isPoint, parameters: [value as Uint8Array] });
  t.equal(reply.text, '[ true, 7 ]');
});

t.test('a function is captured again with all that it was revived with', async (t) => {
  const { value } = await worker.ask({ bytes: capture(() => [Tally.addUp(), Tally.count, advance()]), give: 'itself' });
  const reply = await other.ask({ bytes: value as Uint8Array });
  t.equal(reply.text, '[ 10, 1, 2 ]');
});

t.test('the state of a known class is not overwritten', async (t) => {
  const count = (): number => Tally.addUp();
  t.equal(await other.call(count), 11, 'the worker has called it once, in the test before');
  t.equal(await other.call(() => Tally.addUp()), 12);
  t.equal(Tally.count, 0, 'and nothing comes back by itself');
});

t.test('a plain function is made anew from each message, with the state that it has then', async (t) => {
  const config = { level: 1 };
  const readLevel = (): number => config.level;
  t.equal(await worker.call(() => readLevel()), 1);
  config.level = 2;
  t.equal(await worker.call(() => readLevel()), 2);
});

t.test('a symbol is one symbol in all messages', async (t) => {
  t.equal(await worker.call((value: Record<symbol, string>) => value[tag], { [tag]: 'found' }), 'found');
});

t.test('a class made in the worker is one class on its way here and back', async (t) => {
  const made = await worker.call(() => { class Local { hi(): string { return 'hi'; } } Object.assign(globalThis, { Local }); return new Local(); });
  t.equal(made.hi(), 'hi');
  t.equal(await worker.call((value: unknown) => value instanceof (globalThis as unknown as { Local: typeof Point }).Local, made), true);
});

t.test('functions made in a worker by revived code travel too', async (t) => {
  const factor = 3;
  const makeTimes = await worker.call(() => {
    let calls = 0;
    return (x: number): number[] => [x * factor, ++calls, advance()];
  });
  t.same(makeTimes(2), [6, 1, 2]);
  t.same(makeTimes(2), [6, 2, 3]);
  t.equal(step, 3, 'advance came home, and is the original');
  const mode = await worker.call(() => () => { try { (Object.freeze({ a: 1 }) as { a: number }).a = 2; return 'sloppy'; } catch { return 'strict'; } });
  t.equal(mode(), 'strict', 'in the mode of the code around them');
});

t.test('a message that fails leaves no half-made class behind', (t) => {
  class Fragile { static partner = Symbol('partner'); }
  const bytes = elsewhere(capture([Fragile, { replaced: true }], { replace: (value) => ('replaced' in value ? { form: 'any', parts: [] } : undefined) }));
  const before = originCount();
  t.throws(() => revive(bytes, { restore: () => { throw new TypeError('no'); } }), new TypeError('no'), "the caller's error is not wrapped");
  t.equal(originCount(), before);
  const [Revived] = revive(bytes, { restore: () => ({}) }) as [typeof Fragile];
  t.type(Revived.partner, 'symbol');
  t.end();
});

t.test('the table forgets what nobody holds', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const before = originCount();
  for (let i = 0; i < 100; i++) {
    const captured = capture(() => i);
    revive(elsewhere(captured));
  }
  t.ok(originCount() >= before + 100);
  const deadlineMs = performance.now() + 10_000;
  while (originCount() > before && performance.now() < deadlineMs) {
    collect();
    await nextTurn();
  }
  t.ok(originCount() <= before, 'neither captured nor revived functions stay');
});

/** The same message as it would be from another process. */
function elsewhere(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  const [key = ''] = /[0-9a-f]{16}-/.exec(text) ?? [];
  return Buffer.from(text.replaceAll(key, `${'0'.repeat(16)}-`), 'latin1');
}
