/** What the owner's machine asks of the world. Real edges are in io/, simulated ones in @muster/sim. */
import type { MusterError, ObjectId } from '@muster/base';
import type { ClientToHead } from '@muster/protocol';
import type { LineHandlers, LineTarget, LineTransport } from './line.js';
import type { EncodedValue, ObjectRef, StoredObject } from './reference.js';

export interface OwnerPorts {
  readonly nowMs: () => number;
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
  /** From now on tell `Owner.collected` when the reference object was garbage-collected. */
  readonly watchCollection: (ref: ObjectRef) => void;
  /** Asks the owner of a foreign reference for its value; answers with `Owner.resolved`. `lostOn`: these nodes failed to deliver it. */
  readonly resolveForeign: (ref: ObjectRef, lostOn: readonly string[]) => void;
  /** The reference of this process to a foreign object: the known one or `make()`. `counted` is called when its owner has counted it. */
  readonly internForeign: (id: ObjectId, make: () => ObjectRef, counted: () => void) => ObjectRef;
}

/** What a reference comes to. */
export type Outcome =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'encoded'; readonly value: EncodedValue }
  | { readonly kind: 'stored'; readonly stored: StoredObject }
  | { readonly kind: 'failed'; readonly error: MusterError | EncodedValue };
