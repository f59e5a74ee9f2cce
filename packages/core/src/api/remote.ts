/** `remote(fn)`: a function that runs anywhere on the cluster. */
import { makeError } from '@muster/base';
import type { Session } from '../io/session.js';
import { RefState, type ObjectRef } from '../machine/reference.js';
import type { FunctionEntry, TaskSpec } from '../machine/task-spec.js';
import { requireSession } from './current.js';
import { optionsFromText, optionsToText } from './placement-group.js';
import { checkMapOptions, checkTaskOptions, demandOf, isClass, isGenerator, mergeOptions, resolveTaskOptions } from './options.js';
import { getOne, iterateStream } from './references.js';
import { FORM, type SpecialForm } from './special.js';
import type { MapOptions, RemoteForm, TaskOptions } from './types.js';

type AnyFunction = (...args: never[]) => unknown;

/** Inputs in flight in map(): enough to keep a cluster busy, few enough to keep results in order cheaply. */
const MAP_WINDOW = 1000;

/** Functions that a session knows, by name: the same function under another name is another one in logs and lists. */
const entries = new WeakMap<Session, WeakMap<AnyFunction, Map<string, FunctionEntry>>>();
const collected = new FinalizationRegistry<{ session: Session; id: number; captured: readonly ObjectRef[] }>(({ session, id, captured }) => session.owner.forgetFunction(id, captured));

/** Registers a function with the session at its first call: captured once, with the values that its free variables have then. */
function functionEntry(session: Session, fn: AnyFunction, name: string): FunctionEntry {
  let functions = entries.get(session);
  if (!functions) entries.set(session, (functions = new WeakMap()));
  let names = functions.get(fn);
  if (!names) functions.set(fn, (names = new Map()));
  let entry = names.get(name);
  if (!entry) {
    const { head, contained } = session.captureFunction(fn);
    entry = session.owner.defineFunction(name, head);
    session.owner.objects.sendingRefs(contained); // captured references live as long as the function
    collected.register(entry, { session, id: entry.id, captured: contained });
    names.set(name, entry);
  }
  return entry;
}

/** A remote function that arrived in a value. */
export function remoteFromParts([fn, options, retryOn]: readonly unknown[]): object {
  const portable = optionsFromText<TaskOptions>(options as string);
  return remote(fn as AnyFunction, retryOn ? { ...portable, retryOn: retryOn as NonNullable<TaskOptions['retryOn']> } : portable) as unknown as object;
}

/** The state behind a remote function. */
class RemoteTask {
  #session: Session | null = null;
  #spec: TaskSpec | null = null;
  /** The placement group that had captured this process when the specification was made. */
  #capturedBy = '';

  constructor(readonly fn: AnyFunction, readonly options: TaskOptions) {}

  submit(args: readonly unknown[]): ObjectRef {
    const session = requireSession();
    if (session !== this.#session || session.capturedBy !== this.#capturedBy || !this.#spec) {
      const { owner, capturedBy } = session;
      const options = resolveTaskOptions(this.options, this.fn);
      this.#spec = owner.taskSpec(functionEntry(session, this.fn, options.name), demandOf(this.options, 1, capturedBy), options);
      this.#session = session;
      this.#capturedBy = capturedBy;
    }
    const { signal } = this.options;
    if (signal?.aborted) throw makeError('TASK_CANCELLED', { what: `the task ${this.#spec.options.name}`, why: ' before it was submitted' });
    const ref = session.owner.submit(this.#spec, args);
    if (signal) cancelOnAbort(session, ref, signal);
    else session.adoptChild(ref);
    return ref;
  }
}

/** Cancels a task when the signal aborts, and lets go of the signal when the task is done. */
export function cancelOnAbort(session: Session, ref: ObjectRef, signal: AbortSignal): void {
  const abort = (): void => session.owner.cancel(ref, { force: false, reason: 'its signal aborted' });
  signal.addEventListener('abort', abort, { once: true });
  session.onSettled(ref, () => signal.removeEventListener('abort', abort));
}

/**
 * Makes a function remote. It is captured with everything it refers to at its first call: no module of its own is needed.
 *
 * @example
 * const square = remote((x: number) => x * x);
 * await square(4);                 // 16
 * const ref = square.remote(4);    // ObjectRef<number>, at once
 * @throws CaptureError at the first call, when something it refers to cannot travel; the message names the path to it
 */
export function remote<A extends unknown[], R>(fn: (...args: A) => R, options?: TaskOptions): RemoteForm<A, R>;
export function remote(fn: AnyFunction, options: TaskOptions = {}): unknown {
  if (typeof fn !== 'function') throw makeError('INVALID_ARGUMENT', { what: `remote(${typeof fn})`, want: 'a function' });
  if (isClass(fn)) throw makeError('INVALID_ARGUMENT', { what: `remote(${fn.name || 'a class'})`, want: 'a function; actor() makes a class remote' });
  checkTaskOptions(options);
  const task = new RemoteTask(fn, options);
  const callable = isGenerator(fn) ? generatorForm(task) : functionForm(task);
  const { signal: _signal, retryOn, ...portable } = options;
  // Parts may be unfilled when the other side makes the function again: so the options travel as text.
  const form: SpecialForm = { form: 'remote-function', parts: [fn, optionsToText(portable), retryOn] };
  return Object.assign(callable, {
    options: (more: TaskOptions) => (remote as (fn: AnyFunction, options: TaskOptions) => unknown)(fn, mergeOptions(options, more)),
    [FORM]: form,
  });
}

function functionForm(task: RemoteTask): object {
  return Object.assign(
    (...args: unknown[]) => {
      try {
        return getOne(requireSession(), task.submit(args));
      } catch (error) {
        return Promise.reject(error as Error);
      }
    },
    {
      remote: (...args: unknown[]) => task.submit(args),
      map: (inputs: Iterable<unknown>, options?: MapOptions) => mapOrdered(task, inputs, options),
      mapUnordered: (inputs: Iterable<unknown>, options?: MapOptions) => mapUnordered(task, inputs, options),
    },
  );
}

function generatorForm(task: RemoteTask): object {
  const refs = (args: readonly unknown[]): AsyncGenerator<ObjectRef, void, undefined> => iterateStream(requireSession(), task.submit(args));
  return Object.assign(
    async function* (...args: unknown[]) {
      for await (const ref of refs(args)) yield await getOne(requireSession(), ref);
    },
    { remote: (...args: unknown[]) => refs(args) },
  );
}

function windowOf(options: MapOptions = {}): number {
  checkMapOptions(options);
  return options.window ?? MAP_WINDOW;
}

/** Inputs, asked for one at a time. A wait for the next one does not hold up results. */
class Inputs {
  readonly #iterator: Iterator<unknown> | AsyncIterator<unknown>;
  #next: Promise<IteratorResult<unknown>> | null = null;
  isOver = false;

  /** @throws MusterError INVALID_ARGUMENT for what cannot be iterated */
  constructor(inputs: Iterable<unknown> | AsyncIterable<unknown>) {
    const { [Symbol.asyncIterator]: iterateLater, [Symbol.iterator]: iterate } = Object(inputs) as Partial<AsyncIterable<unknown> & Iterable<unknown>>;
    if (!iterateLater && !iterate) throw makeError('INVALID_ARGUMENT', { what: 'the input of map()', want: 'an iterable or an async iterable' });
    this.#iterator = iterateLater ? iterateLater.call(inputs as AsyncIterable<unknown>) : iterate!.call(inputs as Iterable<unknown>);
  }

  /** Submits the next input, or resolves without one when `other` is first. */
  async submit(task: RemoteTask, other: Promise<void> | null): Promise<ObjectRef | null> {
    this.#next ??= Promise.resolve(this.#iterator.next());
    const first = await (other ? Promise.race([this.#next, other]) : this.#next);
    if (!first) return null;
    this.#next = null;
    if (first.done) {
      this.isOver = true;
      return null;
    }
    return task.submit([first.value]);
  }

  /** The consumer has left. */
  async close(): Promise<void> {
    if (!this.isOver) await this.#iterator.return?.();
  }
}

async function* mapOrdered(task: RemoteTask, inputs: Iterable<unknown> | AsyncIterable<unknown>, options: MapOptions | undefined): AsyncGenerator<unknown, void, undefined> {
  const window = windowOf(options);
  const session = requireSession();
  const source = new Inputs(inputs);
  const refs: ObjectRef[] = [];
  let next = 0;
  const firstDone = (): Promise<void> | null => (next < refs.length ? new Promise((resolve) => session.onSettled(refs[next]!, resolve)) : null);
  try {
    while (!source.isOver || next < refs.length) {
      const hasRoom = !source.isOver && refs.length - next < window;
      if (hasRoom && !(next < refs.length && refs[next]!.state !== RefState.pending)) {
        const done = firstDone();
        const ref = await (done ? session.waiting(source.submit(task, done)) : source.submit(task, null));
        if (ref) refs.push(ref);
        continue;
      }
      if (next === refs.length) continue;
      yield await getOne(session, refs[next++]!);
      if (next === window) {
        refs.splice(0, next);
        next = 0;
      }
    }
  } finally {
    for (; next < refs.length; next++) session.owner.cancel(refs[next]!, { force: false, reason: 'its map() ended early' });
    await source.close();
  }
}

async function* mapUnordered(task: RemoteTask, inputs: Iterable<unknown> | AsyncIterable<unknown>, options: MapOptions | undefined): AsyncGenerator<unknown, void, undefined> {
  const window = windowOf(options);
  const session = requireSession();
  const source = new Inputs(inputs);
  const pending = new Set<ObjectRef>();
  const done: ObjectRef[] = [];
  let wake = (): void => {};
  const anyDone = (): Promise<void> => new Promise((resolve) => { wake = resolve; });
  try {
    while (!source.isOver || pending.size > 0 || done.length > 0) {
      for (let ref = done.shift(); ref; ref = done.shift()) yield await getOne(session, ref);
      if (!source.isOver && pending.size < window) {
        const ref = await (pending.size > 0 ? session.waiting(source.submit(task, anyDone())) : source.submit(task, null));
        if (!ref) continue;
        pending.add(ref);
        session.onSettled(ref, () => {
          pending.delete(ref);
          done.push(ref);
          wake();
        });
      } else if (pending.size > 0) await session.waiting(anyDone());
    }
  } finally {
    for (const ref of [...pending]) session.owner.cancel(ref, { force: false, reason: 'its mapUnordered() ended early' });
    await source.close();
  }
}
