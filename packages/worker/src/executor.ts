/**
 * Runs the tasks and calls that callers send, in the order in which they arrive. Synchronous functions run back to back inside one turn of the event
 * loop, a millisecond at a time; a function that returns a promise holds the queue until it is done (or, in an actor with concurrency, one of its places).
 * While the running task waits for other tasks, whatever has not started goes back to its owner, and the cpu to the head.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { makeError, MusterError, taskId } from '@muster/base';
import { ATTEMPT_SHIFT, ByteReader, Composite, COMPOSITE, FRAME_TARGET_BYTES, OwnerOp, readPrimitive, TaskFlag, WorkerOp, writePrimitive, type ValueCursor } from '@muster/protocol';
import {
  decodeStored, describeStored, encodeComposite, encodeStored, encodeThrown, EncodedValue, INLINE_MAX_BYTES, sizeOf, STREAM_WINDOW, type ObjectRef, type Session,
} from '@muster/core/internal';
import type { ActorTarget } from './actor-target.js';
import type { CallerLine, DefinedFunction } from './caller-line.js';
import { taskSlots, type PendingFrame } from './pending-frame.js';
import { LostInput } from './lost-input.js';
import { Running, type Preemption } from './running.js';

/** A turn of the event loop is given back after this much work. */
const SLICE_MS = 1;
/** The clock is read at least once in so many tasks. */
const CLOCK_STRIDE_MAX = 64;
/** A generator that never waits gives the turn back after so many values. */
const YIELD_STRIDE = 32;
/** A wait shorter than this does not give the cpu back. */
const BLOCKED_AFTER_MS = 1;

/** Stands for a control record that was applied ahead of its turn. */
const APPLIED = 0;

type Callable = (...args: unknown[]) => unknown;

export class Executor implements ValueCursor {
  compositeTag = 0;
  compositeStart = 0;
  compositeEnd = 0;
  actor: ActorTarget | null = null;
  /** The lease ends early, and why; null while it does not. */
  preemption: Preemption | null = null;
  /** The name of what began last. */
  lastBegun = '';
  /** Counts the tasks of the present lease that were begun or given back, in the order of their records; may lie in shared memory. */
  progress = new Float64Array(1);
  readonly #frames: PendingFrame[] = [];
  readonly #reader = new ByteReader();
  readonly #lines = new Set<CallerLine>();
  readonly #running = new Map<CallerLine, Map<number, Running>>();
  readonly #storage = new AsyncLocalStorage<Running>();
  #current: Running | null = null;
  #runningCount = 0;
  #scheduled = false;
  #isBlocked = false;
  #blockTimer: NodeJS.Timeout | null = null;
  #stride = 1;

  constructor(readonly session: Session) {
    session.waits.onChange = (count) => this.#waitsChanged(count);
    session.adoptChild = (ref) => this.current?.adopt(ref, session);
  }

  /** The task or call on whose behalf the code that asks runs. */
  get current(): Running | null {
    return this.#storage.getStore() ?? this.#current;
  }

  /** Whose output it is that is printed now. */
  get outputName(): string {
    return this.#storage.getStore()?.name ?? this.lastBegun;
  }

  get isIdle(): boolean {
    return this.#runningCount === 0 && this.#frames.length === 0;
  }

  addLine(line: CallerLine): void {
    this.#lines.add(line);
    this.#running.set(line, new Map());
  }

  /** The caller is gone: what it sent is dropped, what runs for it is cancelled. */
  removeLine(line: CallerLine): void {
    line.isOpen = false;
    this.#lines.delete(line);
    for (let i = this.#frames.length - 1; i >= 0; i--) if (this.#frames[i]!.line === line) this.#frames.splice(i, 1);
    for (const refs of line.escrow.values()) this.session.owner.objects.sentRefs(refs);
    line.escrow.clear();
    for (const running of this.#running.get(line)?.values() ?? []) running.cancel(this.session);
    this.#running.delete(line);
  }

  /** What runs is told, and what has not started goes back. */
  preempt(preemption: Preemption): void {
    this.preemption = preemption;
    for (const line of this.#lines) {
      this.#giveBack(line);
      for (const running of this.#running.get(line)!.values()) running.preempt(preemption);
    }
  }

  /** A frame from a caller. @throws MusterError PROTOCOL */
  receive(line: CallerLine, payload: Uint8Array): void {
    if (!this.isIdle) this.#readControl(line, payload);
    this.#frames.push({ line, payload, position: 0 });
    this.#run();
  }

  // ---------------------------------------------------------------- the queue

  #run = (): void => {
    this.#scheduled = false;
    const startMs = performance.now();
    let lastMs = startMs;
    let sinceClock = 0;
    let countedFunction = -1;
    let countedLine: CallerLine | null = null;
    const clock = (): number => {
      const nowMs = performance.now();
      if (countedLine && sinceClock > 0) countedLine.count(countedFunction, sinceClock, (nowMs - lastMs) * 1000);
      this.#stride = nowMs - lastMs < 0.05 ? Math.min(CLOCK_STRIDE_MAX, this.#stride * 2) : 1;
      lastMs = nowMs;
      sinceClock = 0;
      return nowMs;
    };
    while (this.#frames.length > 0 && this.#mayStart()) {
      const frame = this.#frames[0]!;
      const reader = this.#reader.reset(frame.payload);
      reader.position = frame.position;
      while (reader.position < reader.end && this.#mayStart()) {
        const end = reader.u32() + reader.position;
        const op = reader.u8();
        if (op !== OwnerOp.task && op !== OwnerOp.call) {
          if (op === OwnerOp.define) this.#define(frame.line, reader);
          else if (op !== APPLIED) this.#control(frame.line, op, reader);
          reader.position = end;
          continue;
        }
        const slot = reader.u32();
        const target = reader.u32();
        if (sinceClock > 0 && (target !== countedFunction || frame.line !== countedLine)) clock();
        countedFunction = target;
        countedLine = frame.line;
        frame.position = end;
        const isSync = this.#start(frame.line, op, slot, target, reader, end);
        reader.reset(frame.payload).position = end; // users' code may have come back in here
        if (isSync) sinceClock++;
        if (sinceClock >= this.#stride && clock() - startMs >= SLICE_MS) {
          this.#yieldTurn();
          return this.#flushAll();
        }
      }
      frame.position = reader.position;
      if (frame.position >= frame.payload.length && this.#frames[0] === frame) this.#frames.shift();
    }
    if (sinceClock > 0) clock();
    this.#flushAll();
  };

  #mayStart(): boolean {
    return (!this.#isBlocked || this.actor !== null) && this.#runningCount < (this.actor?.maxConcurrency ?? 1);
  }

  #yieldTurn(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#run);
  }

  #flushAll(): void {
    for (const line of this.#lines) line.flush();
  }

  // ---------------------------------------------------------------- control records

  /** Applies the control records of a frame that has to wait, so that a cancel does not wait with it. */
  #readControl(line: CallerLine, payload: Uint8Array): void {
    const reader = new ByteReader().reset(payload);
    while (reader.position < reader.end) {
      const end = reader.u32() + reader.position;
      const op = reader.u8();
      if (op !== OwnerOp.task && op !== OwnerOp.call && op !== OwnerOp.define) {
        const at = reader.position - 1;
        this.#control(line, op, reader);
        payload[at] = APPLIED; // its slot may be another task's by the time the frame has its turn
      }
      reader.position = end;
    }
  }

  #control(line: CallerLine, op: number, reader: ByteReader): void {
    switch (op) {
      case OwnerOp.cancel: {
        const slot = reader.u32();
        const running = this.#running.get(line)?.get(slot);
        if (running) running.cancel(this.session);
        else if (this.#isPending(line, slot)) line.cancelled.add(slot);
        return;
      }
      case OwnerOp.credit: {
        const slot = reader.u32();
        this.#running.get(line)?.get(slot)?.grant(reader.u32());
        return;
      }
      case OwnerOp.held: {
        const slot = reader.u32();
        this.session.owner.objects.sentRefs(line.escrow.get(slot) ?? []);
        line.escrow.delete(slot);
        return;
      }
      case OwnerOp.takeBack: return this.#giveBack(line);
      default: throw makeError('PROTOCOL', { what: `the caller ${line.callerId}`, cause: `unknown record ${op}` });
    }
  }

  #isPending(line: CallerLine, slot: number): boolean {
    return this.#frames.some((frame) => frame.line === line && taskSlots(frame).includes(slot));
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
      const definitions = new ByteReader().reset(frame.payload);
      for (definitions.position = frame.position; definitions.position < definitions.end;) {
        const end = definitions.u32() + definitions.position;
        if (definitions.u8() === OwnerOp.define) this.#define(line, definitions);
        definitions.position = end;
      }
      for (const slot of taskSlots(frame)) {
        line.cancelled.delete(slot);
        line.slotRecord(WorkerOp.returned, slot);
        this.progress[0]!++;
      }
      frame.position = frame.payload.length;
    }
    line.flush();
  }

  #waitsChanged(count: number): void {
    if (count > 0 && !this.#isBlocked && !this.#blockTimer) {
      this.#blockTimer = setTimeout(() => {
        this.#blockTimer = null;
        if (this.session.waits.count > 0 && this.#runningCount > 0) this.#setBlocked(true);
      }, BLOCKED_AFTER_MS);
    } else if (count === 0) {
      if (this.#blockTimer) clearTimeout(this.#blockTimer);
      this.#blockTimer = null;
      if (this.#isBlocked) this.#setBlocked(false);
    }
  }

  #setBlocked(isBlocked: boolean): void {
    this.session.owner.ports.toHead({ type: 'workerBlocked', blocked: isBlocked });
    this.#isBlocked = isBlocked;
    if (this.actor) return; // its other calls go on: one of them may be what it waits for
    for (const line of this.#lines) {
      if (isBlocked) this.#giveBack(line);
      line.blocked(isBlocked);
    }
    if (!isBlocked) this.#yieldTurn();
  }

  // ---------------------------------------------------------------- one task

  /** Starts a task; true when it has ended already. The reader stands behind the target. */
  #start(line: CallerLine, op: number, slot: number, target: number, reader: ByteReader, end: number): boolean {
    const flags = reader.u8();
    const argumentCount = reader.u16();
    const sequence = reader.f64();
    this.progress[0]!++;
    if (line.cancelled.size > 0 && line.cancelled.delete(slot)) {
      line.slotRecord(WorkerOp.returned, slot);
      return true;
    }
    const definition = op === OwnerOp.task ? line.functions.get(target) : undefined;
    const method = op === OwnerOp.call ? this.actor?.methods[target] : undefined;
    if (!definition && !method) throw makeError('PROTOCOL', { what: `the caller ${line.callerId}`, cause: `a task for the unknown function ${target}` });
    const name = definition ? definition.name : `${this.actor!.name}.${method!.name}`;
    const running = new Running(line, slot, sequence, flags >> ATTEMPT_SHIFT, name, definition?.id ?? -1);
    if (this.preemption) running.preempt(this.preemption);
    const args: unknown[] = new Array(argumentCount);
    let isPlain = (flags & TaskFlag.streaming) === 0 && (definition === undefined || definition.revived !== null);
    for (let i = 0; i < argumentCount; i++) {
      const value = readPrimitive(reader, this);
      if (value !== COMPOSITE) args[i] = value;
      else {
        const bytes = reader.buffer.subarray(this.compositeStart, this.compositeEnd);
        if (this.compositeTag === Composite.plain) args[i] = this.session.decodeLoaded(Composite.plain, bytes, [], false);
        else {
          args[i] = new EncodedValue(this.compositeTag, bytes);
          isPlain = false;
        }
      }
    }
    if (reader.position !== end) throw makeError('PROTOCOL', { what: `the caller ${line.callerId}`, cause: 'a task record has the wrong length' });
    if (!isPlain) {
      void this.#runLater(line, running, definition, method?.name, args, (flags & TaskFlag.streaming) !== 0);
      return false;
    }
    return this.#call(line, running, definition?.revived ?? null, method?.name, args);
  }

  /** Calls the function. True when it has answered. */
  #call(line: CallerLine, running: Running, fn: Callable | null, method: string | undefined, args: unknown[]): boolean {
    const outer = this.#current;
    this.#current = running;
    this.lastBegun = running.name;
    let value: unknown;
    try {
      value = this.#invoke(running, fn, method, args);
    } catch (error) {
      this.#current = outer;
      running.fail(encodeThrown(this.session.serializer, error));
      return true;
    }
    if (value !== null && typeof value === 'object' && typeof (value as PromiseLike<unknown>).then === 'function') {
      void this.#finishLater(line, running, value as PromiseLike<unknown>);
      return false;
    }
    this.#current = outer;
    const { writer } = line;
    const at = writer.beginRecord(WorkerOp.result);
    writer.u32(running.slot);
    if (writePrimitive(writer, value)) {
      writer.endRecord(at);
      return true;
    }
    writer.position = at;
    void this.#finishLater(line, running, Promise.resolve(value));
    return false;
  }

  #invoke(running: Running, fn: Callable | null, method: string | undefined, args: unknown[]): unknown {
    if (method !== undefined) {
      const { instance } = this.actor!;
      if (this.#interleaves) return this.#storage.run(running, () => instance[method]!(...args));
      return instance[method]!(...args);
    }
    switch (args.length) {
      case 0: return fn!();
      case 1: return fn!(args[0]);
      case 2: return fn!(args[0], args[1]);
      default: return fn!(...args);
    }
  }

  /** Whether several calls may run at once, so that each must keep its own context. Elsewhere the last one begun is the one that runs. */
  get #interleaves(): boolean {
    return this.actor !== null && this.actor.maxConcurrency > 1;
  }

  #enter(line: CallerLine, running: Running): void {
    this.#runningCount++;
    this.#running.get(line)?.set(running.slot, running);
  }

  #leave(line: CallerLine, running: Running): void {
    this.#runningCount--;
    this.#running.get(line)?.delete(running.slot);
    if (this.#current === running) this.#current = null;
    line.flush();
    if (this.#frames.length > 0) this.#yieldTurn();
  }

  /** Waits for the promise of a function and answers with what it comes to. */
  async #finishLater(line: CallerLine, running: Running, promise: PromiseLike<unknown>): Promise<void> {
    this.#enter(line, running);
    try {
      await this.#settle(line, running, promise, performance.now());
    } finally {
      this.#leave(line, running);
    }
  }

  async #settle(line: CallerLine, running: Running, promise: PromiseLike<unknown>, startMs: number): Promise<void> {
    try {
      const value = await promise;
      await this.session.uncounted(); // the caller lets go of the references in its arguments when it has the answer
      await this.#answer(line, WorkerOp.result, running.slot, value);
    } catch (error) {
      running.fail(encodeThrown(this.session.serializer, error));
    }
    if (running.functionId >= 0) line.count(running.functionId, 1, (performance.now() - startMs) * 1000);
  }

  /** The slow path: arguments or function need decoding, perhaps modules or objects to be fetched. */
  async #runLater(line: CallerLine, running: Running, definition: DefinedFunction | undefined, method: string | undefined, args: unknown[], streaming: boolean): Promise<void> {
    this.#enter(line, running);
    const startMs = performance.now();
    try {
      let fn: Callable | null = null;
      try {
        if (definition) fn = definition.revived ??= (await this.session.decode(definition.bytes[0]!, definition.bytes.subarray(1), [], false)) as Callable;
        await Promise.all(args.map(async (arg, i) => { if (arg instanceof EncodedValue) args[i] = await this.#decodeArgument(arg); }));
      } catch (error) {
        return this.#inputFailed(line, running, error);
      }
      this.#current = running;
      this.lastBegun = running.name;
      const stream = (): Promise<void> => this.#stream(line, running, fn, method, args);
      if (streaming) await (this.#interleaves ? this.#storage.run(running, stream) : stream()); // a generator's code runs where it is asked for values
      else await this.#settle(line, running, (async () => this.#invoke(running, fn, method, args))(), startMs);
    } finally {
      this.#leave(line, running);
    }
  }

  async #decodeArgument(arg: EncodedValue): Promise<unknown> {
    if (arg.tag !== Composite.stored) return this.session.decode(arg.tag, arg.bytes, [], false);
    const stored = decodeStored(arg.bytes);
    try {
      return await this.session.fetchValue({ ...stored, contained: [] });
    } catch (error) {
      if (error instanceof MusterError && error.code === 'OBJECT_LOST') throw new LostInput(stored.storageId);
      throw error;
    }
  }

  #inputFailed(line: CallerLine, running: Running, error: unknown): void {
    if (error instanceof LostInput) {
      const at = line.writer.beginRecord(WorkerOp.lostInput);
      line.writer.u32(running.slot);
      line.writer.text(error.storageId);
      line.writer.endRecord(at);
    } else running.fail(encodeThrown(this.session.serializer, error));
  }

  // ---------------------------------------------------------------- answers

  async #stream(line: CallerLine, running: Running, fn: Callable | null, method: string | undefined, args: unknown[]): Promise<void> {
    running.credit = STREAM_WINDOW;
    let index = 0;
    try {
      const values = this.#invoke(running, fn, method, args) as AsyncIterable<unknown> | Iterable<unknown>;
      for await (const value of values) {
        if (running.isCancelled || !line.isOpen) break;
        await this.#answer(line, WorkerOp.yielded, running.slot, value, index++);
        running.credit--;
        this.#flushSoon(line);
        while (running.credit <= 0 && !running.isCancelled && line.isOpen) await new Promise<void>((resolve) => { running.onCredit = resolve; });
        if (line.writer.position >= FRAME_TARGET_BYTES) line.flush();
        if (index % YIELD_STRIDE === 0) await new Promise((resolve) => setImmediate(resolve)); // lets a cancel in
      }
      const at = line.writer.beginRecord(WorkerOp.ended);
      line.writer.u32(running.slot);
      line.writer.u32(index);
      line.writer.endRecord(at);
    } catch (error) {
      running.fail(encodeThrown(this.session.serializer, error));
    }
  }

  /** Sends what a generator has yielded as soon as it lets the event loop turn: values must not wait for those after them. */
  #flushSoon(line: CallerLine): void {
    if (line.isFlushing) return;
    line.isFlushing = true;
    setImmediate(() => {
      line.isFlushing = false;
      line.flush();
    });
  }

  /** Writes a result, in place or by way of shared memory, and holds the references in it until the caller has counted them. */
  async #answer(line: CallerLine, op: number, slot: number, value: unknown, index = -1): Promise<void> {
    const { writer } = line;
    const at = writer.beginRecord(op);
    writer.u32(slot);
    if (index >= 0) writer.u32(index);
    if (writePrimitive(writer, value)) return writer.endRecord(at);
    writer.position = at;
    const serialized = this.session.serializer.serialize(value);
    let encoded: EncodedValue;
    if (sizeOf(serialized) < INLINE_MAX_BYTES) encoded = encodeComposite(serialized, this.session.owner.self);
    else {
      const stored = await this.session.storeValue(serialized, line.callerId);
      encoded = new EncodedValue(Composite.stored, encodeStored(describeStored(stored, this.session.owner.self)));
    }
    if (serialized.contained.length > 0) this.#hold(line, slot, serialized.contained);
    line.compositeRecord(op, slot, encoded, index);
  }

  #hold(line: CallerLine, slot: number, refs: readonly ObjectRef[]): void {
    if (!line.isOpen) return; // nobody will count them
    this.session.owner.objects.sendingRefs(refs);
    line.escrow.set(slot, [...(line.escrow.get(slot) ?? []), ...refs]);
  }

  /** The id of the task that runs, in its owner's numbering. */
  currentTaskId(): ReturnType<typeof taskId> | null {
    const running = this.current;
    return running ? taskId(running.line.callerId.slice(running.line.callerId.indexOf('-') + 1), running.sequence) : null;
  }
}
