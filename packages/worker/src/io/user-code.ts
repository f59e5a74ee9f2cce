/** Users' code in a worker: revives functions, calls them, awaits their promises, and knows on whose behalf the code that asks runs. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { formatDurationMs, makeError, taskId, type TaskId } from '@muster/base';
import { Composite, type ClientToHead } from '@muster/protocol';
import {
  describeStored, encodeComposite, encodeStored, encodeThrown, EncodedValue, INLINE_MAX_BYTES, sizeOf, type ObjectRef, type Serialized, type Session, type StoredDescriptor,
} from '@muster/core/internal';
import type { CallerLine, DefinedFunction } from '../machine/caller-line.js';
import type { Executor } from '../machine/executor.js';
import { WAITS, type EncodedResult, type ExecutorPorts, type ExecutorTimer, type Receiver } from '../machine/ports.js';
import type { Preemption, Running } from '../machine/running.js';

type Callable = (...args: unknown[]) => unknown;

/** What `context().signal` gives as its reason. */
export const preemptedError = (what: string, { why, graceMs }: Preemption): Error => makeError('PREEMPTED', { what, why, grace: formatDurationMs(graceMs) });

/** Who runs the code, and who hears of callers that break a rule. */
export interface UserCodeOptions {
  readonly session: Session;
  readonly executor: () => Executor;
  readonly refuse: (line: CallerLine, error: unknown) => void;
}

export class UserCode implements ExecutorPorts {
  /** The actor that lives here. */
  instance: Record<string, Callable> | null = null;
  /** What began last: its output is what code prints outside of all tasks. */
  lastBegun: { readonly name: string } = { name: '' };
  readonly #session: Session;
  readonly #storage = new AsyncLocalStorage<Running>();
  #current: Running | null = null;

  constructor(readonly options: UserCodeOptions) {
    this.#session = options.session;
    options.session.waits.onChange = (count) => this.#executor.waitsChanged(count);
    options.session.adoptChild = (ref) => { if (this.current) this.#executor.adopt(this.current, ref); };
  }

  get #executor(): Executor {
    return this.options.executor();
  }

  // ---------------------------------------------------------------- who runs

  /** The task or call on whose behalf the code that asks runs. */
  get current(): Running | null {
    return this.#storage.getStore() ?? this.#current;
  }

  /** Its id. */
  get currentTaskId(): TaskId | null {
    const running = this.current;
    return running ? taskId(running.line.callerKey, running.sequence) : null;
  }

  /** Whose output it is that is printed now. */
  get outputName(): string {
    return (this.#storage.getStore() ?? this.lastBegun).name;
  }

  /** Aborts when the task is cancelled or preempted, also when that has happened already. */
  signalOf(running: Running): AbortSignal {
    const known = running.attachment as AbortController | null;
    if (known) return known.signal;
    const controller = new AbortController();
    running.attachment = controller;
    this.interrupted(running);
    return controller.signal;
  }

  interrupted(running: Running): void {
    const controller = running.attachment as AbortController | null;
    if (running.isCancelled) controller?.abort(new DOMException('the task was cancelled', 'AbortError'));
    else if (running.preemption) controller?.abort(preemptedError(running.name, running.preemption));
  }

  // ---------------------------------------------------------------- calls

  call(running: Running, args: readonly unknown[]): unknown {
    this.#current = this.lastBegun = running;
    if (running.yielding) {
      void this.#iterate(running, args);
      return WAITS;
    }
    const value = this.#invoke(running, args);
    if (value === null || typeof value !== 'object' || typeof (value as PromiseLike<unknown>).then !== 'function') return value;
    void Promise.resolve(value).then((result) => this.#executor.returned(running, result), (error: unknown) => this.#executor.threw(running, error));
    return WAITS;
  }

  #invoke(running: Running, args: readonly unknown[]): unknown {
    const { fn, method } = running;
    if (fn === null) {
      const instance = this.instance!;
      const { key } = method!;
      if (this.#interleaves) return this.#storage.run(running, () => instance[key]!(...args));
      return instance[key]!(...args);
    }
    const callable = fn.revived as Callable;
    switch (args.length) {
      case 0: return callable();
      case 1: return callable(args[0]);
      case 2: return callable(args[0], args[1]);
      default: return callable(...args);
    }
  }

  /** Whether several calls may run at once, so that each must keep its own context. Elsewhere the last one begun is the one that runs. */
  get #interleaves(): boolean {
    const { actor } = this.#executor;
    return actor !== null && actor.maxConcurrency > 1;
  }

  /** Runs a generator. Its code runs where it is asked for values. */
  async #iterate(running: Running, args: readonly unknown[]): Promise<void> {
    const iterate = async (): Promise<void> => {
      for await (const value of this.#invoke(running, args) as AsyncIterable<unknown> | Iterable<unknown>) {
        const isWanted = await new Promise<boolean>((done, failed) => this.#executor.yielded(running, value, { done, failed }));
        if (!isWanted) break;
      }
    };
    try {
      await (this.#interleaves ? this.#storage.run(running, iterate) : iterate());
    } catch (error) {
      return this.#executor.threw(running, error);
    }
    this.#executor.exhausted(running);
  }

  over(running: Running): void {
    if (this.#current === running) this.#current = null;
  }

  // ---------------------------------------------------------------- values

  revive({ bytes }: DefinedFunction, { done, failed }: Receiver<NonNullable<unknown>>): void {
    void this.#session.decode(bytes[0]!, bytes.subarray(1), [], false).then((fn) => done(fn!), failed);
  }

  decodePlain(_running: Running, bytes: Uint8Array): unknown {
    return this.#session.decodeLoaded(Composite.plain, bytes, [], false);
  }

  decode(_running: Running, { tag, bytes }: EncodedValue, { done, failed }: Receiver<unknown>): void {
    void this.#session.decode(tag, bytes, [], false).then(done, failed);
  }

  fetch(_running: Running, stored: StoredDescriptor, { done, failed }: Receiver<unknown>): void {
    void this.#session.fetchValue({ ...stored, contained: [] }).then(done, failed);
  }

  encode(running: Running, value: unknown, { done, failed }: Receiver<EncodedResult>): void {
    const { self } = this.#session.owner;
    let serialized: Serialized;
    try {
      serialized = this.#session.serializer.serialize(value);
    } catch (error) {
      return failed(error);
    }
    const { contained } = serialized;
    if (sizeOf(serialized) < INLINE_MAX_BYTES) return done({ value: encodeComposite(serialized, self), contained });
    void this.#session.storeValue(serialized, running.line.callerId)
      .then((stored) => done({ value: new EncodedValue(Composite.stored, encodeStored(describeStored(stored, self))), contained }), failed);
  }

  encodeThrown(error: unknown): EncodedValue {
    return encodeThrown(this.#session.serializer, error);
  }

  // ---------------------------------------------------------------- references

  holdRefs(refs: readonly ObjectRef[]): void {
    this.#session.owner.objects.sendingRefs(refs);
  }

  releaseRefs(refs: readonly ObjectRef[]): void {
    this.#session.owner.objects.sentRefs(refs);
  }

  whenCounted(callback: () => void): void {
    const { borrowing } = this.#session.owner;
    if (borrowing.isCounted) callback();
    else borrowing.whenCounted(() => process.nextTick(callback)); // not inside of the owner's machine
  }

  cancelChild(ref: ObjectRef): void {
    this.#session.owner.cancel(ref, { force: false, reason: 'the task that submitted it was cancelled' });
  }

  // ---------------------------------------------------------------- the rest of the world

  nowMs(): number {
    return performance.now();
  }

  nextTurn(callback: () => void): void {
    setImmediate(callback);
  }

  after(delayMs: number, callback: () => void): ExecutorTimer {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  }

  toHead(message: ClientToHead): void {
    this.#session.owner.ports.toHead(message);
  }

  refuse(line: CallerLine, error: unknown): void {
    this.options.refuse(line, error);
  }
}
