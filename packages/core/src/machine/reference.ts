/**
 * References as their holder sees them. A reference is either owned (made here by a task, an actor call or put) or foreign (it came
 * in a value from its owner). Its state only ever moves forward, except that a stored value that was lost becomes pending again
 * while its task runs once more.
 *
 *   pending --result--> value | encoded | stored        any --error, cancel, free--> failed
 *   stored  --lost, lineage known--> pending
 */
import { objectId, type ObjectId } from '@muster/base';
import type { Endpoint } from '@muster/protocol';
import type { TaskTemplate } from './slots.js';
import type { TaskSpec } from './task-spec.js';

export const RefState = { pending: 0, value: 1, encoded: 2, stored: 3, failed: 4 } as const;

/** A composite value that has not been decoded: each `get` decodes a fresh copy. */
export class EncodedValue {
  constructor(readonly tag: number, readonly bytes: Uint8Array) {}
}

/**
 * A value in shared memory: under which id, how large, and on which nodes. Each attempt of a task stores its result under an id of its
 * own, so that a late copy of a lost attempt is never taken for the new one.
 */
export class StoredObject {
  /** Its memory was given back; a second end of the same reference must not free it again. */
  isFreed = false;

  constructor(
    readonly storageId: string,
    readonly sizeBytes: number,
    /** Daemons known to have a copy. The owner's list is the truth. */
    public locations: readonly Endpoint[],
    /** References inside the value, kept alive as long as it is. */
    readonly contained: readonly ObjectRef[],
  ) {}
}

/** Somebody waits for references. Called once for each reference it was attached to, when that one leaves pending. */
export interface Waiter {
  settled(ref: ObjectRef): void;
}

/** What only some references have. */
export interface RefDetail {
  /** Of a foreign reference: its id and where its owner listens. */
  foreign?: { readonly id: ObjectId; readonly owner: Endpoint; readonly ownerId: string };
  /** References inside an inline value, kept alive as long as it is. */
  contained?: readonly ObjectRef[];
  /** How to make the value again. */
  lineage?: Lineage;
  /** Counted while other processes hold the reference. */
  export?: ExportCounts;
}

/** A finished task whose stored result can be made again. */
export interface Lineage {
  readonly spec: TaskSpec;
  readonly template: TaskTemplate;
  attemptsLeft: number;
}

/** Who else holds an owned reference. */
export interface ExportCounts {
  /** Ids of the processes that hold it. */
  readonly borrowers: Set<string>;
  /** Messages under way that carry it. */
  inFlight: number;
  /** References inside its value, which whoever gets the value will ask for: exported with it. Null while the value is not there. */
  contained: readonly ObjectRef[] | null;
}

/** What a reference needs to know of the process that holds it. */
export interface RefHolder {
  /** The random part of the process id, which names everything the process owns. */
  readonly key: string;
}

/**
 * A reference to a value that may not exist yet. Get the value with `get(ref)`; pass the reference to other tasks to pass the value by its
 * location. Not a thenable on purpose: a function may return references without waiting for them.
 */
export class ObjectRef<T = unknown> {
  /** @internal */ state: number = RefState.pending;
  /** @internal While pending: the slot of its task, or -1. */ value: unknown = -1;
  /** @internal One, or several with how often each was attached: many thousand tasks may wait for one reference, and be cancelled one by one. */
  waiter: Waiter | Map<Waiter, number> | null = null;
  /** @internal */ detail: RefDetail | null = null;
  /** @internal */ readonly holder: RefHolder;
  /** @internal */ readonly sequence: number;
  /** Makes the type parameter matter to the type checker. */
  declare readonly __type?: T;

  /** @internal */
  constructor(holder: RefHolder, sequence: number) {
    this.holder = holder;
    this.sequence = sequence;
  }

  /** A readable id, unique in the cluster: `obj-<owner>-<sequence>`. */
  get id(): ObjectId {
    return this.detail?.foreign?.id ?? objectId(this.holder.key, this.sequence);
  }

  toString(): string {
    return `ObjectRef(${this.id})`;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const state = Object.entries(RefState).find(([, code]) => code === this.state)![0];
    return `ObjectRef(${this.id}, ${state === 'pending' || state === 'failed' ? state : 'ready'})`;
  }
}

/** The references inside a reference's value. */
export function containedIn(ref: ObjectRef): readonly ObjectRef[] {
  return ref.value instanceof StoredObject ? ref.value.contained : (ref.detail?.contained ?? []);
}

/** Tells everybody who waits. The reference must have left pending. */
export function notifyWaiters(ref: ObjectRef): void {
  const waiter = ref.waiter;
  if (waiter === null) return;
  ref.waiter = null;
  if (!(waiter instanceof Map)) return waiter.settled(ref);
  for (const [each, count] of waiter) for (let i = 0; i < count; i++) each.settled(ref);
}

/** A waiter may be attached more than once: it is told as often. */
export function attachWaiter(ref: ObjectRef, waiter: Waiter): void {
  const { waiter: first } = ref;
  if (first === null) {
    ref.waiter = waiter;
    return;
  }
  const waiters = first instanceof Map ? first : (ref.waiter = new Map([[first, 1]]));
  waiters.set(waiter, (waiters.get(waiter) ?? 0) + 1);
}

/** Takes a waiter back, however often it was attached. */
export function detachWaiter(ref: ObjectRef, waiter: Waiter): void {
  if (ref.waiter === waiter) ref.waiter = null;
  else if (ref.waiter instanceof Map && ref.waiter.delete(waiter) && ref.waiter.size === 0) ref.waiter = null;
}
