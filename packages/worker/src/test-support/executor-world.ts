/** An executor whose code, clock and callers are in a test's hands: functions are plain ones of the test, and nothing happens by itself. */
import { makeError, type ActorId, type MusterError } from '@muster/base';
import { ByteReader, Composite, COMPOSITE, FrameWriter, framePayload, OwnerOp, readPrimitive, TaskFlag, WorkerOp, writeComposite, writePrimitive, type ClientToHead } from '@muster/protocol';
import { encodeStored, EncodedValue, type ObjectRef, type StoredDescriptor } from '@muster/core/internal';
import { methodsOf } from '../machine/actor-target.js';
import { CallerLine, type DefinedFunction } from '../machine/caller-line.js';
import { Executor } from '../machine/executor.js';
import type { EncodedResult, ExecutorPorts, ExecutorTimer, Receiver } from '../machine/ports.js';
import type { Running } from '../machine/running.js';

/** What a function of a test does: as {@link ExecutorPorts.call}. */
export type TestCode = (running: Running, ...args: unknown[]) => unknown;

/** A result that holds references. */
export class Holding {
  constructor(readonly refs: readonly ObjectRef[]) {}
}

const OPS = new Map(Object.entries(WorkerOp).map(([name, op]) => [op as number, name]));

/** Writes a frame of records. */
export class Records {
  readonly #writer = new FrameWriter();

  define(id: number, name: string): this {
    return this.#record(OwnerOp.define, (writer) => {
      writer.u32(id);
      writer.text(name);
      writer.block(Buffer.of(Composite.graph));
    });
  }

  /** A task of the function with this number. */
  task(slot: number, fn: number, args: readonly unknown[] = [], flags = 0): this {
    return this.#start(OwnerOp.task, slot, fn, args, flags);
  }

  generator(slot: number, fn: number): this {
    return this.#start(OwnerOp.task, slot, fn, [], TaskFlag.streaming);
  }

  call(slot: number, method: number, args: readonly unknown[] = []): this {
    return this.#start(OwnerOp.call, slot, method, args, 0);
  }

  #start(op: number, slot: number, target: number, args: readonly unknown[], flags: number): this {
    return this.#record(op, (writer) => {
      writer.u32(slot);
      writer.u32(target);
      writer.u8(flags);
      writer.u16(args.length);
      writer.f64(slot);
      for (const arg of args) if (!writePrimitive(writer, arg)) writeComposite(writer, (arg as EncodedValue).tag, (arg as EncodedValue).bytes);
    });
  }

  cancel(slot: number): this {
    return this.#record(OwnerOp.cancel, (writer) => writer.u32(slot));
  }

  held(slot: number, index = 0): this {
    return this.#record(OwnerOp.held, (writer) => {
      writer.u32(slot);
      writer.u32(index);
    });
  }

  credit(slot: number, count: number): this {
    return this.#record(OwnerOp.credit, (writer) => {
      writer.u32(slot);
      writer.u32(count);
    });
  }

  takeBack(): this {
    return this.#record(OwnerOp.takeBack, () => {});
  }

  /** A record that nobody knows. */
  nonsense(): this {
    return this.#record(99, () => {});
  }

  #record(op: number, write: (writer: FrameWriter) => void): this {
    const at = this.#writer.beginRecord(op);
    write(this.#writer);
    this.#writer.endRecord(at);
    return this;
  }

  get payload(): Uint8Array {
    return framePayload(this.#writer.take());
  }
}

/** One caller, and what it was answered. */
export class TestCaller {
  readonly line: CallerLine;
  /** Records as text, such as `result 3 = 9`, frames apart from each other. */
  readonly frames: string[][] = [];
  /** Why it is served no longer. */
  refusal: unknown = null;

  constructor(readonly world: ExecutorWorld, name: string) {
    this.line = new CallerLine(name, 'lease-1', (frame) => this.frames.push(describe(framePayload(frame))));
    world.executor.addLine(this.line);
  }

  send(records: Records): void {
    this.world.executor.receive(this.line, records.payload);
  }

  /** What was answered since the last look. */
  take(): string[] {
    return this.frames.splice(0).flat();
  }

  /** The same without durations, which only some tests are about. */
  answers(): string[] {
    return this.take().filter((record) => !record.startsWith('stats'));
  }
}

/** The executor of one worker. */
export class ExecutorWorld implements ExecutorPorts {
  readonly executor = new Executor(this);
  now = 0;
  readonly code: Record<string, TestCode> = {};
  /** The names of functions and methods in the order in which they were called. */
  readonly called: string[] = [];
  readonly interruptions: string[] = [];
  readonly ended: string[] = [];
  readonly head: ClientToHead[] = [];
  readonly held = new Set<ObjectRef>();
  readonly cancelled: ObjectRef[] = [];
  readonly revivals: (() => void)[] = [];
  readonly fetches: { readonly stored: StoredDescriptor; readonly receiver: Receiver<unknown> }[] = [];
  readonly #turns: (() => void)[] = [];
  readonly #timers: { readonly atMs: number; callback: (() => void) | null }[] = [];
  readonly #callers: TestCaller[] = [];
  /** Functions are revived in the turn in which that is asked. */
  revivesAtOnce = true;

  caller(name = 'driver-1'): TestCaller {
    const caller = new TestCaller(this, name);
    this.#callers.push(caller);
    return caller;
  }

  /** An actor lives here, with these methods in the order of their numbers. */
  houseActor(methods: readonly string[], maxConcurrency = 1): void {
    this.executor.actor = { id: 'actor-1' as ActorId, name: 'Counter', methods: methodsOf('Counter', methods), maxConcurrency };
  }

  /** Runs what waits for a turn of the event loop, and what that brings about. */
  turns(): void {
    for (let next = this.#turns.shift(); next; next = this.#turns.shift()) next();
  }

  /** Time passes. */
  pass(durationMs: number): void {
    this.now += durationMs;
    for (const timer of this.#timers) {
      if (timer.atMs > this.now) continue;
      timer.callback?.();
      timer.callback = null;
    }
  }

  // ---------------------------------------------------------------- ports

  nowMs(): number {
    return this.now;
  }

  nextTurn(callback: () => void): void {
    this.#turns.push(callback);
  }

  after(delayMs: number, callback: () => void): ExecutorTimer {
    const timer: { readonly atMs: number; callback: (() => void) | null } = { atMs: this.now + delayMs, callback };
    this.#timers.push(timer);
    return { cancel: () => { timer.callback = null; } };
  }

  toHead(message: ClientToHead): void {
    this.head.push(message);
  }

  refuse(line: CallerLine, error: unknown): void {
    this.#callers.find((caller) => caller.line === line)!.refusal = error;
  }

  revive({ name }: DefinedFunction, { done, failed }: Receiver<NonNullable<unknown>>): void {
    const revive = (): void => (this.code[name] ? done(this.code[name]) : failed(makeError('CAPTURE', { detail: `there is no ${name}`, path: name })));
    if (this.revivesAtOnce) revive();
    else this.revivals.push(revive);
  }

  decodePlain(_running: Running, bytes: Uint8Array): unknown {
    return JSON.parse(Buffer.from(bytes).toString());
  }

  decode(_running: Running, { bytes }: EncodedValue, { done }: Receiver<unknown>): void {
    done(Buffer.from(bytes).toString());
  }

  fetch(_running: Running, stored: StoredDescriptor, receiver: Receiver<unknown>): void {
    this.fetches.push({ stored, receiver });
  }

  call(running: Running, args: readonly unknown[]): unknown {
    this.called.push(running.name);
    return (running.fn ? (running.fn.revived as TestCode) : this.code[running.method!.key]!)(running, ...args);
  }

  interrupted(running: Running): void {
    this.interruptions.push(running.name);
  }

  over(running: Running): void {
    this.ended.push(running.name);
  }

  encode(_running: Running, value: unknown, { done, failed }: Receiver<EncodedResult>): void {
    if (typeof value === 'function') return failed(new Error('it cannot travel'));
    const contained = value instanceof Holding ? value.refs : [];
    done({ value: new EncodedValue(Composite.plain, Buffer.from(JSON.stringify(value))), contained });
  }

  encodeThrown(error: unknown): EncodedValue {
    return new EncodedValue(Composite.plain, Buffer.from((error as MusterError).message));
  }

  holdRefs(refs: readonly ObjectRef[]): void {
    for (const ref of refs) this.held.add(ref);
  }

  releaseRefs(refs: readonly ObjectRef[]): void {
    for (const ref of refs) this.held.delete(ref);
  }

  whenCounted(callback: () => void): void {
    callback();
  }

  cancelChild(ref: ObjectRef): void {
    this.cancelled.push(ref);
  }
}

/** A plain composite. */
export const plain = (value: unknown): EncodedValue => new EncodedValue(Composite.plain, Buffer.from(JSON.stringify(value)));

/** An argument that lies in shared memory. */
export const stored = (storageId: string): EncodedValue => new EncodedValue(Composite.stored, encodeStored({ storageId, sizeBytes: 1, locations: [], contained: [] }));

function describe(payload: Uint8Array): string[] {
  const reader = new ByteReader().reset(payload);
  const lines: string[] = [];
  const cursor = { compositeTag: 0, compositeStart: 0, compositeEnd: 0 };
  const value = (): string => {
    const primitive = readPrimitive(reader, cursor);
    return primitive === COMPOSITE ? reader.buffer.toString('utf8', cursor.compositeStart, cursor.compositeEnd) : String(primitive);
  };
  while (reader.position < reader.end) {
    const end = reader.u32() + reader.position;
    const op = reader.u8();
    const name = OPS.get(op)!;
    switch (op) {
      case WorkerOp.stats: lines.push(`${name} ${reader.u32()}: ${reader.u32()} in ${reader.u32()} us`); break;
      case WorkerOp.blocked: lines.push(`${name} ${reader.u8() === 1}`); break;
      case WorkerOp.returned: lines.push(`${name} ${reader.u32()}`); break;
      case WorkerOp.ended: lines.push(`${name} ${reader.u32()} after ${reader.u32()}`); break;
      case WorkerOp.lostInput: lines.push(`${name} ${reader.u32()}: ${reader.text()}`); break;
      case WorkerOp.yielded: lines.push(`${name} ${reader.u32()}.${reader.u32()} = ${value()}`); break;
      default: lines.push(`${name} ${reader.u32()} = ${value()}`);
    }
    if (reader.position !== end) throw new Error(`${name} has the wrong length`);
  }
  return lines;
}
