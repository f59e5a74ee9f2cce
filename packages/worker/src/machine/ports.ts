/** What the executor asks of the process that it runs in. The real edge is in io/, the simulated one in @muster/sim. */
import type { ClientToHead } from '@muster/protocol';
import type { EncodedValue, ObjectRef, StoredDescriptor } from '@muster/core/internal';
import type { CallerLine, DefinedFunction } from './caller-line.js';
import type { Running } from './running.js';

/** What {@link ExecutorPorts.call} returns of code that waits for something: `Executor.returned` or `Executor.threw` tells how it ended. */
export const WAITS: unique symbol = Symbol('waits');
/**
 * What it returns of code that still computes: it has the thread, and nothing else can happen in the process until `Executor.returned`, `threw` or
 * `waits` is called. Real code computes inside of the call; only where time is simulated may a call be over before its computing is.
 */
export const COMPUTES: unique symbol = Symbol('computes');

/** A timer that can be cancelled. */
export interface ExecutorTimer {
  cancel(): void;
}

/** Hears what a value has come to: one of the two is called, once, at once or later. */
export interface Receiver<Value> {
  readonly done: (value: Value) => void;
  readonly failed: (error: unknown) => void;
}

/** A value as a record takes it, and the references in it. */
export interface EncodedResult {
  readonly value: EncodedValue;
  readonly contained: readonly ObjectRef[];
}

/** The executor's hands. Those that take a {@link Receiver} or a callback may call it before they return. */
export interface ExecutorPorts {
  nowMs(): number;
  /** Calls back at the next turn of the event loop. */
  nextTurn(callback: () => void): void;
  after(delayMs: number, callback: () => void): ExecutorTimer;
  toHead(message: ClientToHead): void;
  /** Ends the stream of a caller whose record could not be read. */
  refuse(line: CallerLine, error: unknown): void;

  /** Makes a function of its bytes. */
  revive(fn: DefinedFunction, receiver: Receiver<NonNullable<unknown>>): void;
  /** The value of a `plain` composite. The bytes are part of a frame: they may be read now, not kept. */
  decodePlain(running: Running, bytes: Uint8Array): unknown;
  decode(running: Running, encoded: EncodedValue, receiver: Receiver<unknown>): void;
  /** Reads a stored argument. Fails with OBJECT_LOST when it lies nowhere any more. */
  fetch(running: Running, stored: StoredDescriptor, receiver: Receiver<unknown>): void;

  /**
   * Calls the function or the actor's method. Returns what it returns, {@link WAITS} or {@link COMPUTES}. A generator is run from here on, too: it
   * waits, and each of its values goes to `Executor.yielded`.
   * @throws what the code throws
   */
  call(running: Running, args: readonly unknown[]): unknown;
  /** The task was cancelled, or is preempted: code that has asked hears of it. */
  interrupted(running: Running): void;
  /** The task is answered: nothing of it runs any more. */
  over(running: Running): void;

  /** Encodes a result that is no primitive. A large one is stored, and where it lies is its value. */
  encode(running: Running, value: unknown, receiver: Receiver<EncodedResult>): void;
  encodeThrown(error: unknown): EncodedValue;

  /** Keeps references until their receiver has counted them. */
  holdRefs(refs: readonly ObjectRef[]): void;
  /** They are counted, or never will be. */
  releaseRefs(refs: readonly ObjectRef[]): void;
  /** Calls back when the owners of all references that have arrived here have counted them. */
  whenCounted(callback: () => void): void;
  /** Cancels a task that a cancelled one has submitted. */
  cancelChild(ref: ObjectRef): void;
}
