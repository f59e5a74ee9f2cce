/** get, put, wait, cancel and free: what users do with references. */
import { makeError } from '@muster/base';
import type { Session } from '../io/session.js';
import { attachWaiter, ObjectRef, RefState, type Waiter } from '../machine/reference.js';
import type { ResultStream } from '../machine/stream.js';
import { currentSession, requireSession, sessionHasEnded, sessionOfReferences } from './current.js';
import { checkCancelOptions, checkWaitOptions } from './options.js';

/** The values of a list of references, with their types. */
export type Values<Refs extends readonly unknown[]> = { -readonly [K in keyof Refs]: Refs[K] extends ObjectRef<infer T> ? T : never };

/** Call sites are remembered for errors while fewer tasks than this are unfinished: a stack costs as much as a task. */
const STACKS_MAX_PENDING = 256;

/**
 * The value of a reference, or of each of a list, in order. Waits for pending ones; large arrays are views of shared memory.
 * @throws the error of the first reference found to have failed: the user's own, or a MusterError
 */
export function get<T>(ref: ObjectRef<T>): Promise<T>;
export function get<const Refs extends readonly ObjectRef[]>(refs: Refs): Promise<Values<Refs>>;
export function get(refs: ObjectRef | readonly ObjectRef[]): Promise<unknown> {
  if (!(refs instanceof ObjectRef) && !Array.isArray(refs)) return Promise.reject(notARef(refs));
  if (Array.isArray(refs) && refs.length === 0) return Promise.resolve([]);
  const session = currentSession();
  if (session === null) return Promise.reject(sessionHasEnded());
  return refs instanceof ObjectRef ? getOne(session, refs) : getMany(session, refs as readonly ObjectRef[], callerStack(session, get));
}

function callerStack(session: Session, below: (...args: never[]) => unknown): string | undefined {
  if (session.owner.slots.usedCount > STACKS_MAX_PENDING) return undefined;
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, below);
  return holder.stack;
}

/** One reference's value. */
export function getOne(session: Session, ref: ObjectRef): Promise<unknown> {
  if (ref.state === RefState.value) return Promise.resolve(ref.value);
  const stack = callerStack(session, getOne);
  if (ref.state !== RefState.pending || ref.detail?.foreign || session.isClosed) return session.valueOf(ref, stack);
  return new Promise((resolve, reject) => {
    session.beginWait();
    attachWaiter(ref, new SingleGet(session, stack, resolve, reject));
  });
}

class SingleGet implements Waiter {
  constructor(
    readonly session: Session, readonly stack: string | undefined,
    readonly resolve: (value: unknown) => void, readonly reject: (error: unknown) => void,
  ) {}

  settled(ref: ObjectRef): void {
    this.session.endWait();
    if (ref.state === RefState.value) this.resolve(ref.value);
    else this.session.valueOf(ref, this.stack).then(this.resolve, this.reject);
  }
}

async function getMany(session: Session, refs: readonly ObjectRef[], stack: string | undefined): Promise<unknown[]> {
  for (const ref of refs) if (!(ref instanceof ObjectRef)) throw notARef(ref);
  await session.settled(refs);
  const values: unknown[] = new Array(refs.length);
  let simple = true;
  for (let i = 0; i < refs.length; i++) {
    const ref = refs[i]!;
    if (ref.state === RefState.value) values[i] = ref.value;
    else if (ref.state === RefState.failed) throw await session.errorOf(ref, stack);
    else simple = false;
  }
  return simple ? values : Promise.all(refs.map((ref) => session.valueOf(ref, stack)));
}

function notARef(value: unknown): Error {
  return makeError('INVALID_ARGUMENT', { what: `get(${nameOfType(value)})`, want: 'an ObjectRef or an array of them' });
}

const nameOfType = (value: unknown): string => (value === null ? 'null' : typeof value);

/**
 * Makes a value an object: immutable from then on, kept by this process, large ones in shared memory.
 * @throws CaptureError for what cannot travel; ObjectStoreFullError when nothing can be freed
 */
export async function put<T>(value: T): Promise<ObjectRef<T>> {
  if (value instanceof ObjectRef) throw makeError('INVALID_ARGUMENT', { what: 'put(ObjectRef)', want: 'a value; put the reference into an array to make an object of it' });
  return (await requireSession().put(value)) as ObjectRef<T>;
}

export interface WaitOptions {
  /** How many must be ready. Default 1. */
  readonly count?: number;
  /** Default: no limit. 0 looks without waiting. */
  readonly timeoutMs?: number;
}

export interface WaitResult<T> {
  /** At most `count`, in the order given. A failed reference is ready: `get` throws its error. */
  readonly ready: ObjectRef<T>[];
  readonly pending: ObjectRef<T>[];
}

/** Waits until `count` of the references are ready, or the time is over. @throws MusterError INVALID_ARGUMENT */
export function wait<T>(refs: readonly ObjectRef<T>[], options?: WaitOptions): Promise<WaitResult<T>>;
export function wait<const Refs extends readonly ObjectRef[]>(refs: Refs, options?: WaitOptions): Promise<WaitResult<Values<Refs>[number]>>;
export async function wait(refs: readonly ObjectRef[], options: WaitOptions = {}): Promise<WaitResult<unknown>> {
  if (!Array.isArray(refs)) throw notReferences();
  checkWaitOptions(options, refs.length);
  const { count = 1, timeoutMs } = options;
  let split = splitReady(refs, count);
  if (split.ready.length < count && timeoutMs !== 0) {
    await sessionOfReferences().someSettled(refs, count, timeoutMs);
    split = splitReady(refs, count);
  }
  return split;
}

const notReferences = (): Error => makeError('INVALID_ARGUMENT', { what: 'the first argument of wait()', want: 'an array of ObjectRefs' });

/** Looks at no more references than it must: a thousand waits for the next of a thousand tasks are common. */
function splitReady(refs: readonly ObjectRef[], count: number): WaitResult<unknown> {
  const ready: ObjectRef[] = [];
  let pending: ObjectRef[] | null = null;
  let i = 0;
  for (; i < refs.length && ready.length < count; i++) {
    const ref = refs[i]!;
    if (!((ref as unknown) instanceof ObjectRef)) throw notReferences();
    if (ref.state !== RefState.pending) ready.push(ref);
    else (pending ??= []).push(ref);
  }
  const rest = refs.slice(i);
  return { ready, pending: pending ? pending.concat(rest) : rest };
}

export interface CancelOptions {
  /** Also end the worker of a task that runs. Default false: it hears of it through `context().signal`. */
  readonly force?: boolean;
  /** End the worker of a task that still runs so many milliseconds after it was told. Default: it may go on; not used with `force`. */
  readonly graceMs?: number;
}

/**
 * Cancels the task behind a reference: at once while it is queued, by its AbortSignal when it runs. Its `get` rejects with TaskCancelledError.
 * @throws MusterError INVALID_ARGUMENT
 */
export function cancel(ref: ObjectRef, options: CancelOptions = {}): void {
  if (!((ref as unknown) instanceof ObjectRef)) throw makeError('INVALID_ARGUMENT', { what: `cancel(${nameOfType(ref)})`, want: 'an ObjectRef' });
  checkCancelOptions(options);
  const { force = false, graceMs } = options;
  sessionOfReferences().owner.cancel(ref, { force, graceMs });
}

/** Frees the values of references now, whoever still holds them: `get` rejects with ObjectFreedError from then on. */
export function free(refs: readonly ObjectRef[]): void {
  if (!Array.isArray(refs) || !refs.every((ref) => ref instanceof ObjectRef)) throw makeError('INVALID_ARGUMENT', { what: 'the argument of free()', want: 'an array of ObjectRefs' });
  sessionOfReferences().owner.objects.free(refs);
}

/** A generator task and who consumes it. */
interface Consumption {
  readonly session: Session;
  /** The reference that stands for the task's end. */
  readonly end: ObjectRef;
  readonly stream: ResultStream;
  /** Whether nobody wants more: then its end is none of a failure. */
  isLeft: boolean;
}

/** Iterators that nobody holds any more: their tasks would wait for a consumer for ever, each with a worker of its own. */
const dropped = new FinalizationRegistry<Consumption>((consumption) => leave(consumption));

/** The references of a generator task as its values arrive. Leaving the loop cancels the task, and so does dropping the iterator, begun or not. */
export function iterateStream(session: Session, end: ObjectRef): AsyncGenerator<ObjectRef, void, undefined> {
  const stream = session.owner.streams.get(end);
  if (!stream) throw makeError('INTERNAL', { what: 'a generator task has no stream' });
  const consumption: Consumption = { session, end, stream, isLeft: false };
  const values = valuesOf(consumption);
  const finish = values.return.bind(values);
  values.return = (value) => {
    leave(consumption); // a generator that has not begun runs no code to do it
    return finish(value);
  };
  dropped.register(values, consumption);
  return values;
}

async function* valuesOf(consumption: Consumption): AsyncGenerator<ObjectRef, void, undefined> {
  const { session, end, stream } = consumption;
  try {
    while (!consumption.isLeft) {
      const ref = stream.take();
      if (ref) yield ref;
      else if (end.state === RefState.pending) await session.waiting(new Promise<void>((resolve) => stream.whenChanged(resolve)));
      else if (end.state === RefState.failed) throw await session.errorOf(end, undefined);
      else return;
    }
  } finally {
    leave(consumption);
  }
}

function leave(consumption: Consumption): void {
  consumption.isLeft = true;
  consumption.session.owner.cancel(consumption.end, { force: false, reason: 'its loop ended early' });
}
