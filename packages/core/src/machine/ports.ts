/** What the owner's machine asks of the world. Real edges are in io/, simulated ones in @muster/sim. */
import type { MusterError, ObjectId } from '@muster/base';
import type { ClientToHead, Endpoint } from '@muster/protocol';
import type { LenderHandlers, LenderTransport } from './borrowing.js';
import type { LineHandlers, LineTarget, LineTransport } from './line.js';
import type { EncodedValue, ObjectRef, StoredObject } from './reference.js';

export interface OwnerPorts {
  readonly nowMs: () => number;
  /** From now on calls `Owner.tick` every {@link OWNER_TICK_MS}, until that returns false. */
  readonly startTicks: () => void;
  /** A number in [0, 1), for backoff. */
  readonly random: () => number;
  /** Runs a callback at the end of this turn, after the code that is running now. */
  readonly defer: (callback: () => void) => void;
  readonly toHead: (message: ClientToHead) => void;
  readonly openLine: (target: LineTarget, handlers: LineHandlers) => LineTransport;
  /** Decodes an error of users' code and asks `retryOn`; calls back once, maybe later. */
  readonly judgeError: (error: EncodedValue, retryOn: (error: unknown) => boolean, decide: (retry: boolean) => void) => void;
  /** The copies of these objects are garbage. */
  readonly freeStored: (objects: readonly StoredObject[]) => void;
  /** Whether others would lose something if this process ended; said when it changes. */
  readonly needed: (isNeeded: boolean) => void;
  /** From now on tell `Owner.collected` when the reference object was garbage-collected. */
  readonly watchCollection: (ref: ObjectRef) => void;
  readonly foreignRefs: ForeignRefs;
  readonly openLender: (target: { readonly ownerId: string; readonly endpoint: Endpoint }, handlers: LenderHandlers) => LenderTransport;
  readonly encodeError: (error: MusterError) => EncodedValue;
}

/** The references of this process to foreign objects, one for each id; they stay here no longer than users' code holds them. */
export interface ForeignRefs {
  find(id: ObjectId): ObjectRef | undefined;
  /** From now on this is the reference of its id; `Borrowing.collected` is told when it was garbage-collected. */
  add(ref: ObjectRef): void;
}

/** What a reference comes to. */
export type Outcome =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'encoded'; readonly value: EncodedValue }
  | { readonly kind: 'stored'; readonly stored: StoredObject }
  | { readonly kind: 'failed'; readonly error: MusterError | EncodedValue };
