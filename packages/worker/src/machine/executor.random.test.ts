/** Random lives of an executor with several callers, beside a dumb record of what each of them was promised. SEED=n runs one of them. */
import t from 'tap';
import { forEachSeed } from '@muster/base/testing';
import { seededRandom } from '@muster/base';
import { ExecutorWorld, plain, Records, stored, type TestCaller } from '../test-support/executor-world.js';
import { WAITS } from './ports.js';
import type { Running } from './running.js';

const SEEDS = 300;
const ROUNDS = 120;
const SLOTS_MAX = 12;

/** What a caller knows of a slot that it has not had back. */
interface Sent {
  readonly sequence: number;
  hasBegun: boolean;
  isCancelled: boolean;
}

class Caller {
  readonly sent = new Map<number, Sent>();
  isDefined = false;
  lastBegun = 0;

  constructor(readonly peer: TestCaller) {}
}

class RandomLife {
  readonly #random;
  readonly #world = new ExecutorWorld();
  readonly #waiting = new Set<Running>();
  readonly #isActor: boolean;
  readonly #concurrency: number;
  #callers: Caller[] = [];
  #sequence = 0;
  #waitCount = 0;
  #blockedCount = 0;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    this.#isActor = this.#below(3) === 0;
    this.#world.code['run'] = (running) => this.#begin(running);
    this.#concurrency = this.#isActor ? 1 + this.#below(3) : 1;
    if (this.#isActor) this.#world.houseActor(['run'], this.#concurrency);
    for (let count = 1 + this.#below(2); count > 0; count--) this.#join();
  }

  run(): void {
    for (let round = 0; round < ROUNDS; round++) {
      this.#act();
      this.#check();
    }
    for (this.#world.executor.waitsChanged(0); ; ) {
      this.#world.turns();
      for (const { receiver } of this.#world.fetches.splice(0)) receiver.done(0);
      for (const running of [...this.#waiting]) this.#end(running);
      this.#world.turns();
      if (this.#waiting.size + this.#world.fetches.length === 0) break;
    }
    this.#check();
    if (!this.#world.executor.isIdle) throw new Error('it is not idle when all has ended');
    for (const { sent } of this.#callers) if (sent.size > 0) throw new Error(`${sent.size} tasks were never answered`);
    if (this.#blockedCount !== 0) throw new Error('its cpu is still lent out');
  }

  #join(): void {
    this.#callers.push(new Caller(this.#world.caller(`driver-${++this.#sequence}`)));
  }

  #begin(running: Running): unknown {
    const caller = this.#callers.find(({ peer }) => peer.line === running.line)!;
    const sent = caller.sent.get(running.slot);
    if (!sent || sent.hasBegun) throw new Error(`slot ${running.slot} begins, which is not to begin`);
    if (sent.sequence < caller.lastBegun && this.#concurrency === 1) throw new Error(`slot ${running.slot} overtakes`);
    sent.hasBegun = true;
    caller.lastBegun = sent.sequence;
    this.#world.now += [0, 0, 0.2, 3][this.#below(4)]!;
    if (this.#below(2) === 0) return this.#below(100);
    this.#waiting.add(running);
    if (this.#waiting.size > this.#concurrency) throw new Error(`${this.#waiting.size} run at once`);
    return WAITS;
  }

  #act(): void {
    const caller = this.#callers[this.#below(this.#callers.length)]!;
    const [running] = [...this.#waiting];
    const dice = this.#below(20);
    if (dice < 8) this.#send(caller);
    else if (dice < 11 && running) this.#end(running);
    else if (dice < 14) this.#world.turns();
    else if (dice < 15) this.#world.fetches.shift()?.receiver.done(0);
    else if (dice < 17) this.#changeWaits();
    else if (dice < 18) this.#world.pass(1);
    else if (dice < 19 && this.#below(4) === 0) {
      this.#world.executor.removeLine(caller.peer.line);
      this.#callers = this.#callers.filter((other) => other !== caller);
      for (const each of this.#waiting) if (each.line === caller.peer.line) this.#end(each);
      this.#join();
    }
  }

  /** A frame of tasks, cancels and a take-back, in any order. */
  #send(caller: Caller): void {
    const records = new Records();
    if (!caller.isDefined) records.define(0, 'run');
    caller.isDefined = true;
    const isFull = (): boolean => caller.sent.size >= SLOTS_MAX;
    for (let count = this.#below(6); count > 0; count--) {
      const slot = this.#below(SLOTS_MAX);
      const sent = caller.sent.get(slot);
      if (sent) {
        records.cancel(slot);
        sent.isCancelled = true;
      } else if (!isFull()) {
        caller.sent.set(slot, { sequence: ++this.#sequence, hasBegun: false, isCancelled: false });
        const args = [plain({ slot }), ...(this.#below(5) === 0 ? [stored('obj-a')] : [])];
        if (this.#isActor) records.call(slot, 0, args);
        else records.task(slot, 0, args);
      }
    }
    if (this.#below(5) === 0) records.takeBack();
    caller.peer.send(records);
  }

  #end(running: Running): void {
    this.#waiting.delete(running);
    if (this.#below(3) === 0) this.#world.executor.threw(running, new Error('no'));
    else this.#world.executor.returned(running, this.#below(2) === 0 ? { x: 1 } : 1);
  }

  #changeWaits(): void {
    this.#waitCount = this.#waiting.size === 0 ? 0 : this.#below(3);
    this.#world.executor.waitsChanged(this.#waitCount);
  }

  /** Takes what was answered: each slot once, and none given back that has begun. */
  #check(): void {
    for (const { peer, sent } of this.#callers) {
      for (const record of peer.answers()) {
        const [, op, slot] = /^(\w+) (\w+)/.exec(record)!;
        if (op === 'blocked') continue;
        const task = sent.get(Number(slot));
        if (!task) throw new Error(`an answer for slot ${slot}, which was not sent: ${record}`);
        if ((op === 'returned') === task.hasBegun) throw new Error(`slot ${slot} ${task.hasBegun ? 'has begun' : 'has not begun'}: ${record}`);
        if (op === 'returned' && this.#isActor && !task.isCancelled) throw new Error(`a call was given back: ${record}`);
        sent.delete(Number(slot));
      }
      if (peer.refusal) throw peer.refusal;
    }
    for (const message of this.#world.head.splice(0)) {
      this.#blockedCount += message.type === 'workerBlocked' && message.blocked ? 1 : -1;
      if (this.#blockedCount < 0 || this.#blockedCount > 1) throw new Error('it lends its cpu twice, or takes it back twice');
    }
  }

  #below(count: number): number {
    return Math.floor(this.#random.next() * count);
  }
}

t.test('random lives: every task is answered once and in its order, and in the end nothing is left', async (t) => {
  forEachSeed(SEEDS, (seed) => new RandomLife(seed).run());
  t.pass(`${SEEDS} seeds of ${ROUNDS} events`);
});
