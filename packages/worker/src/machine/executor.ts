/**
 * Runs the tasks and calls that callers send, in the order in which they arrive. Functions that end at once run back to back inside one turn of the event
 * loop, a millisecond at a time; one that waits holds the queue until it is done (or, in an actor with concurrency, one of its places).
 * While the running task waits for other tasks, whatever has not started goes back to its owner, and the cpu to the head.
 *
 * Pure: frames and what becomes of code come in through its methods, and it acts through ExecutorPorts. It is on the path of every task, so a function that
 * ends at once is one call of a port and a record. The same code runs in workers and in the simulation.
 *
 *   record -> (inputs are decoded) -> called -> returned or threw at once -------------------------> answered
 *                                            -> waits, and has a place meanwhile -> returned, threw -^
 */
import { makeError, MusterError } from '@muster/base';
import { ATTEMPT_SHIFT, Composite, COMPOSITE, FRAME_TARGET_BYTES, OwnerOp, readPrimitive, TaskFlag, WorkerOp, type ByteReader, type ValueCursor } from '@muster/protocol';
import { decodeStored, EncodedValue, STREAM_WINDOW, type ObjectRef } from '@muster/core/internal';
import type { ActorTarget } from './actor-target.js';
import { Answers } from './answers.js';
import type { CallerLine } from './caller-line.js';
import { isStart, PendingFrame } from './pending-frame.js';
import { COMPUTES, WAITS, type ExecutorPorts, type ExecutorTimer, type Receiver } from './ports.js';
import { Running, type Preemption, type Yielding } from './running.js';
import { Turn } from './turn.js';

/** A generator that never waits gives the turn back after so many values. */
const YIELD_STRIDE = 32;
/** A wait shorter than this does not give the cpu back. */
const BLOCKED_AFTER_MS = 1;

export class Executor implements ValueCursor {
  compositeTag = 0;
  compositeStart = 0;
  compositeEnd = 0;
  actor: ActorTarget | null = null;
  /** The lease ends early, and why; null while it does not. */
  preemption: Preemption | null = null;
  /**
   * Counts the tasks of the present lease that were begun or given back, in the order of their records, and those of them that were when a caller's line
   * last ended; may lie in shared memory.
   */
  progress = new Float64Array(2);
  readonly #frames: PendingFrame[] = [];
  /** What has a place, by caller and slot. */
  readonly #running = new Map<CallerLine, Map<number, Running>>();
  #runningCount = 0;
  readonly #turn: Turn;
  readonly #answers: Answers;
  #isScheduled = false;
  /** Its code computes beyond the call that began it. */
  #thread: Running | null = null;
  /** Waits of users' code that are going on. */
  #waitCount = 0;
  #isBlocked = false;
  #blockTimer: ExecutorTimer | null = null;

  constructor(readonly ports: ExecutorPorts) {
    this.#turn = new Turn(() => ports.nowMs());
    this.#answers = new Answers(ports);
  }

  get isIdle(): boolean {
    return this.#runningCount === 0 && this.#frames.length === 0 && this.#thread === null;
  }

  /** References in results that callers have not counted. */
  *heldRefs(): Iterable<ObjectRef> {
    for (const { escrow } of this.#running.keys()) yield* escrow.refs();
  }

  addLine(line: CallerLine): void {
    this.#running.set(line, new Map());
  }

  /** The caller is gone: what it sent is dropped, what runs for it is cancelled. */
  removeLine(line: CallerLine): void {
    line.isOpen = false;
    this.progress[1] = this.progress[0]!;
    const running = this.#running.get(line);
    this.#running.delete(line);
    for (let i = this.#frames.length - 1; i >= 0; i--) if (this.#frames[i]!.line === line) this.#frames.splice(i, 1);
    this.#release(line.escrow.empty());
    for (const each of running?.values() ?? []) this.#cancel(each);
  }

  /** What runs is told, and what has not started goes back. */
  preempt(preemption: Preemption): void {
    this.preemption = preemption;
    for (const [line, running] of this.#running) {
      this.#giveBack(line);
      for (const each of running.values()) {
        each.preemption = preemption;
        this.ports.interrupted(each);
      }
    }
  }

  /** A frame from a caller. */
  receive(line: CallerLine, payload: Uint8Array): void {
    const frame = new PendingFrame(line, payload);
    const mustWait = !this.isIdle;
    this.#frames.push(frame);
    if (mustWait) this.#readControl(frame);
    this.#run();
    if (!mustWait && !frame.isRead) this.#readControl(frame);
  }

  /** So many waits of users' code are going on. */
  waitsChanged(count: number): void {
    this.#waitCount = count;
    if (count > 0 && !this.#isBlocked && !this.#blockTimer) {
      this.#blockTimer = this.ports.after(BLOCKED_AFTER_MS, () => {
        this.#blockTimer = null;
        if (this.#waitCount > 0 && this.#runningCount > 0) this.#setBlocked(true);
      });
    } else if (count === 0) {
      this.#blockTimer?.cancel();
      this.#blockTimer = null;
      if (this.#isBlocked) this.#setBlocked(false);
    }
  }

  // ---------------------------------------------------------------- the queue

  #run(): void {
    if (this.#thread !== null) return;
    this.#turn.begin();
    this.#goOn();
  }

  /** Starts what may start. Users' code may come back into the executor from in here, but not into this loop. */
  #goOn(): void {
    while (this.#frames.length > 0 && this.#mayStart()) {
      const frame = this.#frames[0]!;
      try {
        this.#read(frame);
      } catch (error) {
        this.#refuse(frame.line, error);
      }
      if (frame.isRead && this.#frames[0] === frame) this.#frames.shift();
    }
    if (this.#thread !== null) return;
    this.#turn.end();
    if (this.#turn.isOver && this.#frames.length > 0) this.#yieldTurn();
    for (const line of this.#running.keys()) line.flush();
  }

  #read({ line, reader, isControlApplied }: PendingFrame): void {
    while (reader.position < reader.end && this.#mayStart()) {
      const end = reader.u32() + reader.position;
      const op = reader.u8();
      if (isStart(op)) {
        this.#start(line, op, reader, end);
        continue;
      }
      if (op === OwnerOp.define) this.#define(line, reader);
      else if (!isControlApplied) this.#control(line, op, reader);
      if (reader.position < end) reader.position = end;
    }
  }

  #mayStart(): boolean {
    return this.#runningCount < (this.actor === null ? 1 : this.actor.maxConcurrency) && !this.#turn.isOver && this.#thread === null && (!this.#isBlocked || this.actor !== null);
  }

  #yieldTurn(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.ports.nextTurn(this.#nextTurn);
  }

  readonly #nextTurn = (): void => {
    this.#isScheduled = false;
    this.#run();
  };

  /** A record breaks a rule: nothing more is taken from its caller. */
  #refuse(line: CallerLine, error: unknown): void {
    this.removeLine(line);
    this.ports.refuse(line, error);
  }

  // ---------------------------------------------------------------- control records

  /** Applies the control records of a frame that has to wait, so that a cancel does not wait with it. A frame of nothing else does not wait at all. */
  #readControl(frame: PendingFrame): void {
    frame.isControlApplied = true;
    let isControl = true;
    try {
      frame.forEachLeft((op, reader) => {
        if (isStart(op) || op === OwnerOp.define) isControl = false;
        else this.#control(frame.line, op, reader);
      });
    } catch (error) {
      return this.#refuse(frame.line, error);
    }
    if (isControl) frame.drop();
    this.#forgetRead();
  }

  #forgetRead(): void {
    for (let i = this.#frames.length - 1; i >= 0; i--) if (this.#frames[i]!.isRead) this.#frames.splice(i, 1);
  }

  #control(line: CallerLine, op: number, reader: ByteReader): void {
    switch (op) {
      case OwnerOp.cancel: {
        const slot = reader.u32();
        const running = this.#running.get(line)?.get(slot);
        if (running) this.#cancel(running);
        else if (this.#frames.some((frame) => frame.line === line && frame.holds(slot))) line.cancelled.add(slot);
        return;
      }
      case OwnerOp.credit: {
        const slot = reader.u32();
        const running = this.#running.get(line)?.get(slot);
        const count = reader.u32();
        if (running?.yielding) running.yielding.credit += count;
        return running && this.#wakeGenerator(running);
      }
      case OwnerOp.held: {
        const slot = reader.u32();
        return this.#release(line.escrow.take(slot, reader.u32()));
      }
      case OwnerOp.takeBack: return this.#giveBack(line);
      default: throw makeError('PROTOCOL', { what: `the caller ${line.callerId}`, cause: `unknown record ${op}` });
    }
  }

  #release(refs: readonly ObjectRef[]): void {
    if (refs.length > 0) this.ports.releaseRefs(refs);
  }

  #define(line: CallerLine, reader: ByteReader): void {
    const id = reader.u32();
    const name = reader.text();
    line.functions.set(id, { id, name, bytes: Buffer.from(reader.block()), revived: null });
  }

  /** Returns every task of a caller that has not started. Calls of an actor stay: their order is promised. */
  #giveBack(line: CallerLine): void {
    if (this.actor) return;
    for (const frame of this.#frames) {
      if (frame.line !== line) continue;
      frame.forEachLeft((op, reader) => {
        if (op === OwnerOp.define) this.#define(line, reader);
        if (!isStart(op)) return;
        const slot = reader.u32();
        line.cancelled.delete(slot);
        line.slotRecord(WorkerOp.returned, slot);
        this.progress[0]!++;
      });
      frame.drop();
    }
    this.#forgetRead();
    line.flush();
  }

  #setBlocked(isBlocked: boolean): void {
    this.ports.toHead({ type: 'workerBlocked', blocked: isBlocked });
    this.#isBlocked = isBlocked;
    if (this.actor) return; // its other calls go on: one of them may be what it waits for
    for (const line of this.#running.keys()) {
      if (isBlocked) this.#giveBack(line);
      line.blocked(isBlocked);
    }
    if (!isBlocked) this.#yieldTurn();
  }

  #cancel(running: Running): void {
    running.isCancelled = true;
    this.ports.interrupted(running);
    for (const child of running.children) this.ports.cancelChild(child);
    this.#wakeGenerator(running);
  }

  /** A task that another one submits is cancelled with it, also when that has happened already. */
  adopt(running: Running, child: ObjectRef): void {
    if (running.isCancelled) this.ports.cancelChild(child);
    else running.addChild(child);
  }

  // ---------------------------------------------------------------- one task

  /** Starts a task. The reader stands behind the op. */
  #start(line: CallerLine, op: number, reader: ByteReader, end: number): void {
    const slot = reader.u32();
    const target = reader.u32();
    const flags = reader.u8();
    const argumentCount = reader.u16();
    const sequence = reader.f64();
    this.progress[0]!++;
    if (line.cancelled.size > 0 && line.cancelled.delete(slot)) {
      reader.position = end;
      return line.slotRecord(WorkerOp.returned, slot);
    }
    const fn = op === OwnerOp.task ? (line.functions.get(target) ?? null) : null;
    const method = op === OwnerOp.call ? (this.actor?.methods[target] ?? null) : null;
    if (fn === null && method === null) throw makeError('PROTOCOL', { what: `the caller ${line.callerId}`, cause: `a task for the unknown function ${target}` });
    this.#turn.expect(line, fn);
    const yielding: Yielding | null = (flags & TaskFlag.streaming) !== 0 ? { count: 0, credit: STREAM_WINDOW, onCredit: null } : null;
    const running = new Running(line, slot, sequence, flags >> ATTEMPT_SHIFT, fn, method, yielding, this.preemption);
    let isPlain = fn === null || fn.revived !== null;
    const args: unknown[] = new Array(argumentCount);
    for (let i = 0; i < argumentCount; i++) {
      const value = readPrimitive(reader, this);
      if (value !== COMPOSITE) {
        args[i] = value;
        continue;
      }
      const bytes = reader.buffer.subarray(this.compositeStart, this.compositeEnd);
      if (this.compositeTag === Composite.plain) args[i] = this.ports.decodePlain(running, bytes);
      else {
        args[i] = new EncodedValue(this.compositeTag, bytes);
        isPlain = false;
      }
    }
    if (reader.position !== end) throw makeError('PROTOCOL', { what: `the caller ${line.callerId}`, cause: 'a task record has the wrong length' });
    if (isPlain) this.#call(running, args);
    else this.#prepare(running, args);
  }

  /** The function is not known yet, or arguments are more than plain data: modules may have to be loaded, objects to be fetched. */
  #prepare(running: Running, args: unknown[]): void {
    this.#takePlace(running);
    const { fn } = running;
    let missing = 1;
    let hasFailed = false;
    const ready = (): void => { if (--missing === 0) this.#call(running, args); };
    const fail = (answer: () => void): void => {
      if (hasFailed) return;
      hasFailed = true;
      answer();
      this.#over(running);
    };
    const failed = (error: unknown): void => fail(() => this.#answers.writeError(running, error));
    if (fn !== null && fn.revived === null) {
      missing++;
      this.ports.revive(fn, { done: (revived) => { fn.revived = revived; ready(); }, failed });
    }
    args.forEach((arg, index) => {
      if (!(arg instanceof EncodedValue)) return;
      missing++;
      const done = (value: unknown): void => { args[index] = value; ready(); };
      if (arg.tag !== Composite.stored) return this.ports.decode(running, arg, { done, failed });
      const stored = decodeStored(arg.bytes);
      this.ports.fetch(running, stored, { done, failed: (error) => (isLost(error) ? fail(() => running.line.lostInput(running.slot, stored.storageId)) : failed(error)) });
    });
    ready();
  }

  #call(running: Running, args: readonly unknown[]): void {
    let value: unknown;
    try {
      value = this.ports.call(running, args);
    } catch (error) {
      return this.threw(running, error);
    }
    if (value === WAITS) return this.#takePlace(running);
    if (value !== COMPUTES) return this.returned(running, value);
    if (!running.hasPlace) this.#thread = running;
  }

  /** The code that computed beyond its call waits now. */
  waits(running: Running): void {
    if (this.#thread !== running) return;
    this.#thread = null;
    this.#takePlace(running);
    this.#goOn();
  }

  /** The code has come to a value. */
  returned(running: Running, value: unknown): void {
    const isOnThread = this.#leaveThread(running);
    if (running.hasPlace || !this.#answers.writePrimitive(running, WorkerOp.result, value)) this.#answerLater(running, value);
    else this.#over(running);
    if (isOnThread) this.#goOn();
  }

  /** The code has thrown. */
  threw(running: Running, error: unknown): void {
    const isOnThread = this.#leaveThread(running);
    this.#answers.writeError(running, error);
    this.#over(running);
    if (isOnThread) this.#goOn();
  }

  #leaveThread(running: Running): boolean {
    if (this.#thread !== running) return false;
    this.#thread = null;
    return true;
  }

  /** It goes on beyond this turn, or may do so. */
  #takePlace(running: Running): void {
    if (running.hasPlace) return;
    running.hasPlace = true;
    running.startedMs = this.#turn.startedMs();
    this.#runningCount++;
    this.#running.get(running.line)?.set(running.slot, running);
  }

  /** The last record of the task is written. */
  #over(running: Running): void {
    const { line, fn } = running;
    running.isOver = true;
    this.ports.over(running);
    if (!running.hasPlace) return this.#turn.ended();
    if (fn !== null && running.yielding === null) line.count(fn.id, 1, (this.ports.nowMs() - running.startedMs) * 1000);
    this.#runningCount--;
    this.#running.get(line)?.delete(running.slot);
    line.flush();
    if (this.#frames.length > 0) this.#yieldTurn();
  }

  // ---------------------------------------------------------------- generators

  /** A generator has a value. Calls back when it may go on, or with false: nobody wants more of it. */
  yielded(running: Running, value: unknown, { done, failed }: Receiver<boolean>): void {
    const yielding = running.yielding!;
    if (isUnwanted(running)) return done(false);
    this.#answers.write(running, WorkerOp.yielded, value, {
      done: () => {
        yielding.credit--;
        this.#flushSoon(running.line);
        this.#pace(running, done);
      },
      failed,
    }, yielding.count++);
  }

  #pace(running: Running, goOn: (isWanted: boolean) => void): void {
    const yielding = running.yielding!;
    if (isUnwanted(running)) return goOn(false);
    if (yielding.credit <= 0) {
      yielding.onCredit = () => this.#pace(running, goOn);
      return;
    }
    if (running.line.writer.position >= FRAME_TARGET_BYTES) running.line.flush();
    if (yielding.count % YIELD_STRIDE === 0) this.ports.nextTurn(() => goOn(true)); // lets a cancel in
    else goOn(true);
  }

  #wakeGenerator({ yielding }: Running): void {
    const wake = yielding?.onCredit;
    if (!wake) return;
    yielding!.onCredit = null;
    wake();
  }

  /** A generator has no more values, or was told to stop. */
  exhausted(running: Running): void {
    running.line.ended(running.slot, running.yielding!.count);
    this.#over(running);
  }

  /** Sends what a generator has yielded as soon as it lets the event loop turn: values must not wait for those after them. */
  #flushSoon(line: CallerLine): void {
    if (line.isFlushing) return;
    line.isFlushing = true;
    this.ports.nextTurn(() => {
      line.isFlushing = false;
      line.flush();
    });
  }

  // ---------------------------------------------------------------- answers

  /** The caller lets go of the references in its arguments when it has the answer: their owners must have counted them. */
  #answerLater(running: Running, value: unknown): void {
    this.ports.whenCounted(() => this.#answers.write(running, WorkerOp.result, value, { done: () => this.#over(running), failed: (error) => this.threw(running, error) }));
    if (!running.isOver) this.#takePlace(running);
  }
}

/** Nobody waits for more values of a generator. */
const isUnwanted = ({ isCancelled, line }: Running): boolean => isCancelled || !line.isOpen;

const isLost = (error: unknown): boolean => error instanceof MusterError && error.code === 'OBJECT_LOST';
