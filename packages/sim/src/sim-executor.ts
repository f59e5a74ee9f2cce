/**
 * Runs the tasks and calls that callers send to a simulated worker, in the order in which they arrive. It speaks the real frame codec and
 * follows @muster/worker's executor rule by rule; only users' code and its time are simulated.
 */
import { makeError, MusterError, taskId, type TaskId } from '@muster/base';
import { ATTEMPT_SHIFT, ByteReader, Composite, COMPOSITE, OwnerOp, readPrimitive, WorkerOp, writePrimitive, type ValueCursor } from '@muster/protocol';
import { decodeStored, describeStored, encodeStored, EncodedValue, type ObjectRef, type StoredObject } from '@muster/core/internal';
import type { CallerLine, DefinedFunction } from './caller-line.js';
import { CodeContext } from './code-context.js';
import type { SimClass } from './library.js';
import { runProgram, until, type Ending, type Program, type UserError } from './program.js';
import type { SimSession } from './sim-session.js';
import { encode, encodeError, Large, write } from './values.js';

/** As in @muster/worker. */
const SLICE_MS = 1;
const BLOCKED_AFTER_MS = 1;

interface PendingFrame {
  readonly line: CallerLine;
  readonly payload: Uint8Array;
  position: number;
}

/** The actor that lives in this process. */
export interface ActorHome {
  readonly actorId: string;
  readonly Class: SimClass;
  readonly state: unknown;
  readonly maxConcurrency: number;
}

/** One task or call that runs. */
interface Running {
  readonly line: CallerLine;
  readonly slot: number;
  readonly taskId: TaskId;
  readonly sequence: number;
  readonly attempt: number;
  readonly definition: DefinedFunction | null;
  readonly method: string;
  readonly children: ObjectRef[];
  isCancelled: boolean;
  isPreempted: boolean;
}

/** In which process it runs. */
export interface ExecutorOptions {
  readonly session: SimSession;
  /** Of the lease that the worker has at present. */
  readonly leaseId: () => string;
}

/** The executor of one worker. */
export class SimExecutor implements ValueCursor {
  compositeTag = 0;
  compositeStart = 0;
  compositeEnd = 0;
  actor: ActorHome | null = null;
  /** Tasks of the present lease that were begun or given back; the daemon reads it when the process has died. */
  startedTasks = 0;
  /** The lease ends early. */
  isPreempted = false;
  readonly #session: SimSession;
  readonly #leaseId: () => string;
  readonly #frames: PendingFrame[] = [];
  readonly #lines = new Set<CallerLine>();
  readonly #running = new Map<CallerLine, Map<number, Running>>();
  #runningCount = 0;
  #isScheduled = false;
  #isComputing = false;
  #isBlocked = false;
  #isBlockPending = false;
  #sliceStartMs = 0;

  constructor({ session, leaseId }: ExecutorOptions) {
    this.#session = session;
    this.#leaseId = leaseId;
    session.waits.onChange = (count) => this.#waitsChanged(count);
  }

  get isIdle(): boolean {
    return this.#runningCount === 0 && this.#frames.length === 0;
  }

  /** References in results that callers have not counted. */
  *escrow(): Iterable<ObjectRef> {
    for (const line of this.#lines) for (const refs of line.escrow.values()) yield* refs;
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
    for (const refs of line.escrow.values()) this.#session.owner.objects.sentRefs(refs);
    line.escrow.clear();
    for (const running of this.#running.get(line)?.values() ?? []) this.#cancel(running);
    this.#running.delete(line);
  }

  /** What runs is told, and what has not started goes back. */
  preempt(): void {
    this.isPreempted = true;
    for (const line of this.#lines) {
      this.#giveBack(line);
      for (const running of this.#running.get(line)!.values()) running.isPreempted = true;
    }
  }

  receive(line: CallerLine, payload: Uint8Array): void {
    if (!this.isIdle || this.#isComputing) this.#readControl(line, payload);
    this.#frames.push({ line, payload, position: 0 });
    if (!this.#isComputing) this.#startSlice();
  }

  // ---------------------------------------------------------------- the queue

  readonly #startSlice = (): void => {
    this.#isScheduled = false;
    this.#sliceStartMs = this.#nowMs;
    this.#run();
  };

  #run(): void {
    while (this.#frames.length > 0 && this.#mayStart()) {
      const frame = this.#frames[0]!;
      const reader = new ByteReader().reset(frame.payload);
      reader.position = frame.position;
      while (reader.position < reader.end && this.#mayStart()) {
        const end = reader.u32() + reader.position;
        const op = reader.u8();
        frame.position = end;
        if (op === OwnerOp.define) this.#define(frame.line, reader);
        else if (op === OwnerOp.task || op === OwnerOp.call) {
          this.#start(frame.line, op, reader, end);
          if (this.#nowMs - this.#sliceStartMs >= SLICE_MS && !this.#isComputing) {
            this.#yieldTurn();
            return this.#flushAll();
          }
        } else this.#control(frame.line, op, reader);
        reader.position = end;
      }
      if (frame.position >= frame.payload.length && this.#frames[0] === frame) this.#frames.shift();
    }
    if (!this.#isComputing) this.#flushAll();
  }

  #mayStart(): boolean {
    return !this.#isBlocked && !this.#isComputing && this.#runningCount < (this.actor?.maxConcurrency ?? 1);
  }

  #yieldTurn(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#session.process.after(0, this.#startSlice);
  }

  #flushAll(): void {
    for (const line of this.#lines) line.flush();
  }

  get #nowMs(): number {
    return this.#session.world.clock.nowMs();
  }

  // ---------------------------------------------------------------- control records

  /** Applies the control records of a frame that has to wait, so that a cancel does not wait with it. */
  #readControl(line: CallerLine, payload: Uint8Array): void {
    const reader = new ByteReader().reset(payload);
    while (reader.position < reader.end) {
      const end = reader.u32() + reader.position;
      const op = reader.u8();
      if (op !== OwnerOp.task && op !== OwnerOp.call && op !== OwnerOp.define) this.#control(line, op, reader);
      reader.position = end;
    }
  }

  #control(line: CallerLine, op: number, reader: ByteReader): void {
    switch (op) {
      case OwnerOp.cancel: {
        const slot = reader.u32();
        const running = this.#running.get(line)?.get(slot);
        if (running) this.#cancel(running);
        else if (this.#frames.some((frame) => frame.line === line && taskSlots(frame).includes(slot))) line.cancelled.add(slot);
        return;
      }
      case OwnerOp.held: {
        const slot = reader.u32();
        this.#session.owner.objects.sentRefs(line.escrow.get(slot) ?? []);
        line.escrow.delete(slot);
        return;
      }
      case OwnerOp.takeBack: return this.#giveBack(line);
      default: throw makeError('PROTOCOL', { what: `the caller ${line.callerId}`, cause: `unknown record ${op}` });
    }
  }

  #define(line: CallerLine, reader: ByteReader): void {
    const id = reader.u32();
    line.functions.set(id, { id, name: reader.text(), isRevived: false });
  }

  /** Returns every task of a caller that has not started. Calls of an actor stay: their order is promised. */
  #giveBack(line: CallerLine): void {
    if (this.actor) return;
    for (const frame of this.#frames) {
      if (frame.line !== line) continue;
      const reader = new ByteReader().reset(frame.payload);
      for (reader.position = frame.position; reader.position < reader.end;) {
        const end = reader.u32() + reader.position;
        if (reader.u8() === OwnerOp.define) this.#define(line, reader);
        reader.position = end;
      }
      for (const slot of taskSlots(frame)) {
        line.cancelled.delete(slot);
        line.slotRecord(WorkerOp.returned, slot);
        this.startedTasks++;
      }
      frame.position = frame.payload.length;
    }
    line.flush();
  }

  #waitsChanged(count: number): void {
    if (count > 0) {
      if (this.#isBlocked || this.#isBlockPending) return;
      this.#isBlockPending = true;
      this.#session.process.after(BLOCKED_AFTER_MS, () => {
        this.#isBlockPending = false;
        if (!this.#isBlocked && this.#session.waits.count > 0 && this.#runningCount > 0) this.#setBlocked(true);
      });
    } else if (this.#isBlocked) this.#setBlocked(false);
  }

  #setBlocked(isBlocked: boolean): void {
    this.#isBlocked = isBlocked && !this.actor;
    this.#session.toHead({ type: 'workerBlocked', blocked: isBlocked });
    if (isBlocked) this.#session.world.ledger.blocked(this.#leaseId());
    if (this.actor) return; // its other calls may go on, and are what it may wait for
    for (const line of this.#lines) {
      if (isBlocked) this.#giveBack(line);
      line.blocked(isBlocked);
    }
    if (!isBlocked) this.#yieldTurn();
  }

  #cancel(running: Running): void {
    running.isCancelled = true;
    for (const child of running.children) this.#cancelChild(child);
  }

  /** A task that another one submits is cancelled with it, also when that has happened already. */
  #adopt(running: Running, child: ObjectRef): void {
    running.children.push(child);
    if (running.isCancelled) this.#cancelChild(child);
  }

  #cancelChild(child: ObjectRef): void {
    this.#session.owner.cancel(child, { force: false, reason: 'the task that submitted it was cancelled' });
  }

  // ---------------------------------------------------------------- one task

  #start(line: CallerLine, op: number, reader: ByteReader, end: number): void {
    const slot = reader.u32();
    const target = reader.u32();
    const flags = reader.u8();
    const argumentCount = reader.u16();
    const sequence = reader.f64();
    this.startedTasks++;
    if (line.cancelled.delete(slot)) return line.slotRecord(WorkerOp.returned, slot);
    const definition = op === OwnerOp.task ? (line.functions.get(target) ?? null) : null;
    const method = op === OwnerOp.call ? Object.keys(this.actor?.Class.methods ?? {})[target] : undefined;
    if (!definition && method === undefined) throw makeError('PROTOCOL', { what: `the caller ${line.callerId}`, cause: `a task for the unknown function ${target}` });
    const running: Running = {
      line, slot, sequence, definition, method: method ?? '', attempt: flags >> ATTEMPT_SHIFT, children: [], isCancelled: false, isPreempted: this.isPreempted,
      taskId: taskId(line.callerId.slice(line.callerId.indexOf('-') + 1), sequence),
    };
    const code = new CodeContext(this.#session, {
      taskId: running.taskId, attempt: running.attempt, isCancelled: () => running.isCancelled, isPreempted: () => running.isPreempted, adopt: (ref) => this.#adopt(running, ref),
    });
    const args = Array.from({ length: argumentCount }, () => this.#readArgument(reader, code));
    if (reader.position !== end) throw makeError('PROTOCOL', { what: `the caller ${line.callerId}`, cause: 'a task record has the wrong length' });
    const isPlain = (definition === null || definition.isRevived) && args.every((arg) => !(arg instanceof EncodedValue));
    if (isPlain) this.#runNow(running, code, args);
    else this.#runLater(running, code, args);
  }

  #readArgument(reader: ByteReader, code: CodeContext): unknown {
    const value = readPrimitive(reader, this);
    if (value !== COMPOSITE) return value;
    const bytes = Buffer.from(reader.buffer.subarray(this.compositeStart, this.compositeEnd));
    return this.compositeTag === Composite.plain ? this.#session.decode(Composite.plain, bytes, [], code.hold) : new EncodedValue(this.compositeTag, bytes);
  }

  /** Runs the function at once. It answers in this turn unless it waits for something. */
  #runNow(running: Running, code: CodeContext, args: readonly unknown[]): void {
    let isSuspended = false;
    let isInTurn = true;
    const startMs = this.#nowMs;
    this.#isComputing = true;
    const goOn = (): void => {
      this.#isComputing = false;
      if (isInTurn) return;
      if (this.#nowMs - this.#sliceStartMs < SLICE_MS) return this.#run();
      this.#flushAll();
      if (this.#frames.length > 0) this.#yieldTurn();
    };
    runProgram(this.#session.process, this.#body(running, code, args), (ending) => {
      if (isSuspended) return this.#settleLater(running, code, ending, startMs);
      if (!('error' in ending) && !this.#isPrimitive(ending.value)) {
        this.#enter(running);
        this.#settleLater(running, code, ending, startMs);
      } else {
        this.#answerNow(running, ending);
        this.#count(running, startMs);
        code.end();
      }
      goOn();
    }, () => {
      isSuspended = true;
      this.#enter(running);
      goOn();
    });
    isInTurn = false;
  }

  #isPrimitive(value: unknown): boolean {
    return value === null || typeof value !== 'object';
  }

  #answerNow(running: Running, ending: Ending<unknown>): void {
    const { line, slot } = running;
    if ('error' in ending) return this.#fail(running, ending.error);
    const at = line.writer.beginRecord(WorkerOp.result);
    line.writer.u32(slot);
    writePrimitive(line.writer, ending.value);
    line.writer.endRecord(at);
  }

  /** A preempted task that gives up has not failed: it goes back to its owner, to run again. */
  #fail({ line, slot, definition, isPreempted }: Running, error: UserError | MusterError): void {
    if (isPreempted && definition !== null) line.slotRecord(WorkerOp.returned, slot);
    else line.compositeRecord(WorkerOp.error, slot, encodeError(error));
  }

  /** The function is not known yet, or arguments lie in shared memory. */
  #runLater(running: Running, code: CodeContext, args: unknown[]): void {
    this.#enter(running);
    const startMs = this.#nowMs;
    runProgram(this.#session.process, this.#prepare(running, code, args), (prepared) => {
      if ('error' in prepared) {
        this.#fail(running, prepared.error);
        return this.#leave(running, code);
      }
      if (prepared.value !== null) {
        running.line.lostInput(running.slot, prepared.value);
        return this.#leave(running, code);
      }
      runProgram(this.#session.process, this.#body(running, code, args), (ending) => this.#settleLater(running, code, ending, startMs));
    });
  }

  /** Decodes what is not plain. Returns the id of an argument that is lost, or null. */
  *#prepare(running: Running, code: CodeContext, args: unknown[]): Program<string | null> {
    yield* until<void>((resume) => resume());
    if (running.definition) running.definition.isRevived = true;
    for (const [index, arg] of args.entries()) {
      if (!(arg instanceof EncodedValue)) continue;
      if (arg.tag !== Composite.stored) {
        args[index] = this.#session.decode(arg.tag, arg.bytes, [], code.hold);
        continue;
      }
      const stored = decodeStored(arg.bytes);
      try {
        args[index] = yield* this.#session.fetchValue({ ...stored, contained: [] }, code.hold);
      } catch (error) {
        if (error instanceof MusterError && error.code === 'OBJECT_LOST') return stored.storageId;
        throw error;
      }
    }
    return null;
  }

  /** The users' code, watched by the ledger. */
  *#body(running: Running, code: CodeContext, args: readonly unknown[]): Program<unknown> {
    const { world, process } = this.#session;
    const { ledger, library } = world;
    const { line, method, definition } = running;
    if (this.actor) ledger.called(this.actor.actorId, process.id, line.callerId, running.sequence);
    const execution = ledger.began({ taskId: running.taskId, workerId: process.id, nodeId: this.#session.nodeId, leaseId: this.#leaseId() });
    try {
      if (!definition) return yield* this.actor!.Class.methods[method]!(code, this.actor!.state as never, ...(args as never[]));
      const fn = library.functions[definition.name];
      if (!fn) throw new Error(`the library has no function ${definition.name}`);
      return yield* fn(code, ...(args as never[]));
    } finally {
      ledger.ended(execution);
    }
  }

  #enter(running: Running): void {
    this.#runningCount++;
    this.#running.get(running.line)?.set(running.slot, running);
  }

  #leave(running: Running, code: CodeContext): void {
    code.end();
    this.#runningCount--;
    this.#running.get(running.line)?.delete(running.slot);
    running.line.flush();
    if (this.#frames.length > 0) this.#yieldTurn();
  }

  #count(running: Running, startMs: number): void {
    if (running.definition) running.line.count(running.definition.id, (this.#nowMs - startMs) * 1000);
  }

  /** Answers with what the function came to, and gives its place back. */
  #settleLater(running: Running, code: CodeContext, ending: Ending<unknown>, startMs: number): void {
    runProgram(this.#session.process, this.#answer(running, ending), (answered) => {
      if ('error' in answered) this.#fail(running, answered.error);
      this.#count(running, startMs);
      this.#leave(running, code);
    });
  }

  *#answer(running: Running, ending: Ending<unknown>): Program<void> {
    if ('error' in ending) throw ending.error;
    const { value } = ending;
    yield* until<void>((resume) => this.#session.owner.borrowing.whenCounted(resume));
    if (this.#isPrimitive(value)) return this.#answerNow(running, ending);
    const { owner } = this.#session;
    if (value instanceof Large) {
      const stored = yield* until<StoredObject>((resume, fail) => this.#session.storeValue(value, running.line.callerId, resume, fail));
      this.#record(running, new EncodedValue(Composite.stored, encodeStored(describeStored(stored, owner.self))), stored.contained);
    } else {
      const written = write(value);
      this.#record(running, encode(written, owner.self), written.contained);
    }
  }

  /** Writes a composite result, and holds the references in it until the caller has counted them. */
  #record({ line, slot }: Running, value: EncodedValue, contained: readonly ObjectRef[]): void {
    if (!line.isOpen) return;
    if (contained.length > 0) {
      this.#session.owner.objects.sendingRefs(contained);
      line.escrow.set(slot, contained);
    }
    line.compositeRecord(WorkerOp.result, slot, value);
  }
}

/** The slots of the tasks in the unread part of a frame. */
function taskSlots(frame: PendingFrame): number[] {
  const slots: number[] = [];
  const reader = new ByteReader().reset(frame.payload);
  for (reader.position = frame.position; reader.position < reader.end;) {
    const end = reader.u32() + reader.position;
    const op = reader.u8();
    if (op === OwnerOp.task || op === OwnerOp.call) slots.push(reader.u32());
    reader.position = end;
  }
  return slots;
}
