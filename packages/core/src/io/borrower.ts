/**
 * The borrower's side: one stream to each process whose references this process holds. One ObjectRef stands for each foreign id; when it is
 * collected, its owner hears of it. When an owner dies, what it owned is gone, and references to it say so.
 */
import { describeDeath, makeError, type ObjectId } from '@muster/base';
import {
  ByteReader, Channel, COMPOSITE, Composite, deathFromMessage, failureFromMessage, readPrimitive, targetOf,
  type BorrowerToOwner, type Death, type Endpoint, type MessageStream, type OwnerToBorrower, type Resolved, type ValueCursor,
} from '@muster/protocol';
import { decodeStored } from '../machine/descriptors.js';
import { containedIn } from '../machine/packed.js';
import type { Owner } from '../machine/owner.js';
import { EncodedValue, RefState, StoredObject, type ObjectRef } from '../machine/reference.js';
import { RESOLVED_ERROR } from './lender.js';

interface Lender {
  readonly stream: MessageStream<BorrowerToOwner, OwnerToBorrower>;
  /** What to call when a batch of borrowed references is counted. */
  readonly acks: Map<number, readonly (() => void)[]>;
  /** References whose values were asked for. */
  readonly asked: Map<string, ObjectRef>;
  /** Ids borrowed over this stream. */
  readonly ids: Set<string>;
  /** Gathered in this turn, to be sent as one message each. */
  readonly borrowing: { id: string; counted: () => void }[];
  resolving: string[];
  returning: string[];
}

export interface BorrowerOptions {
  readonly processId: string;
  readonly nodeId: () => string;
  readonly token: () => string;
  readonly unref: boolean;
  /** Asks the head why a process ended; it answers through `ownerDied`. */
  readonly watchProcess: (processId: string) => void;
}

export class Borrower {
  readonly #refs = new Map<ObjectId, WeakRef<ObjectRef>>();
  readonly #lenders = new Map<string, Lender>();
  readonly #collected = new FinalizationRegistry<{ id: ObjectId; ownerId: string }>((held) => this.#drop(held.id, held.ownerId));
  readonly #whenCounted: (() => void)[] = [];
  #requestCount = 0;
  #uncountedCount = 0;

  constructor(readonly owner: Owner, readonly options: BorrowerOptions) {}

  /** The one ObjectRef of a foreign id. `counted` is called when its owner has counted it (or is gone). */
  intern(id: ObjectId, make: () => ObjectRef, counted: () => void): ObjectRef {
    const known = this.#refs.get(id)?.deref();
    if (known) {
      counted();
      return known;
    }
    const ref = make();
    const { owner, ownerId } = ref.detail!.foreign!;
    this.#refs.set(id, new WeakRef(ref));
    this.#collected.register(ref, { id, ownerId });
    const lender = this.#lender(ownerId, owner);
    lender.ids.add(id);
    this.#uncountedCount++;
    lender.borrowing.push({ id, counted: () => {
      counted();
      if (--this.#uncountedCount === 0) for (const wake of this.#whenCounted.splice(0)) wake();
    } });
    this.#flushLater(lender);
    return ref;
  }

  /** Resolves when every reference that arrived so far is counted by its owner; undefined when that is so now. */
  uncounted(): Promise<void> | undefined {
    if (this.#uncountedCount === 0) return undefined;
    return new Promise((resolve) => this.#whenCounted.push(resolve));
  }

  /** Asks for a value; the reference settles when it comes. */
  resolve(ref: ObjectRef, lostOn: readonly string[]): void {
    const { id, owner, ownerId } = ref.detail!.foreign!;
    const lender = this.#lender(ownerId, owner);
    lender.asked.set(id, ref);
    if (lostOn.length > 0) lender.stream.send({ type: 'reportLost', objectId: id, nodeIds: lostOn });
    else {
      lender.resolving.push(id);
      this.#flushLater(lender);
    }
  }

  /** The head says that a process is dead. */
  ownerDied(processId: string, death: Death | null): void {
    const lender = this.#lenders.get(processId);
    if (!lender) return;
    this.#lenders.delete(processId);
    lender.stream.destroy();
    const cause = death ? describeDeath(deathFromMessage(death)) : 'ended';
    for (const batch of lender.acks.values()) for (const counted of batch) counted();
    for (const { counted } of lender.borrowing) counted();
    for (const id of lender.ids) {
      const ref = this.#refs.get(id as ObjectId)?.deref();
      if (ref?.state === RefState.pending) this.owner.objects.settle(ref, { kind: 'failed', error: makeError('OWNER_DIED', { what: id, cause: `${processId} ${cause}` }) });
    }
  }

  close(): void {
    for (const lender of this.#lenders.values()) lender.stream.end();
    this.#lenders.clear();
  }

  #drop(id: ObjectId, ownerId: string): void {
    if (this.#refs.get(id)?.deref()) return; // made anew meanwhile
    this.#refs.delete(id);
    const lender = this.#lenders.get(ownerId);
    if (!lender?.ids.delete(id)) return;
    lender.returning.push(id);
    this.#flushLater(lender);
  }

  /** Sends what this turn has gathered for an owner, at its end. */
  #flushLater(lender: Lender): void {
    if (lender.borrowing.length + lender.resolving.length + lender.returning.length !== 1) return;
    process.nextTick(() => {
      if (lender.borrowing.length > 0) {
        const batch = lender.borrowing.splice(0);
        const requestId = ++this.#requestCount;
        lender.acks.set(requestId, batch.map(({ counted }) => counted));
        lender.stream.send({ type: 'borrow', objectIds: batch.map(({ id }) => id), requestId });
      }
      if (lender.resolving.length > 0) lender.stream.send({ type: 'resolve', objectIds: lender.resolving });
      if (lender.returning.length > 0) lender.stream.send({ type: 'unborrow', objectIds: lender.returning });
      lender.resolving = [];
      lender.returning = [];
    });
  }

  #lender(ownerId: string, endpoint: Endpoint): Lender {
    let lender = this.#lenders.get(ownerId);
    if (lender) return lender;
    const channel = new Channel({ target: targetOf(endpoint, this.options.nodeId()), token: this.options.token(), unref: this.options.unref, peer: `the owner ${ownerId}` });
    const stream = channel.open('Peer.Objects');
    lender = { stream, acks: new Map(), asked: new Map(), ids: new Set(), borrowing: [], resolving: [], returning: [] };
    this.#lenders.set(ownerId, lender);
    stream.onMessage = (message) => {
      if (message.type === 'borrowAck') {
        for (const counted of lender!.acks.get(message.requestId) ?? []) counted();
        lender!.acks.delete(message.requestId);
      } else {
        const ref = lender!.asked.get(message.objectId);
        lender!.asked.delete(message.objectId);
        if (ref) this.#settle(ref, message);
      }
    };
    stream.onEnd = () => {
      channel.close();
      this.options.watchProcess(ownerId); // the head knows whether it lives, and why not
    };
    stream.send({ type: 'borrowerHello', processId: this.options.processId, nodeId: this.options.nodeId() });
    return lender;
  }

  #settle(ref: ObjectRef, message: Resolved): void {
    const { objects } = this.owner;
    if (message.failure) return objects.settle(ref, { kind: 'failed', error: failureFromMessage(message.failure) });
    const reader = new ByteReader().reset(message.value);
    const failed = reader.u8() === RESOLVED_ERROR;
    const cursor: ValueCursor = { compositeTag: 0, compositeStart: 0, compositeEnd: 0 };
    const value = readPrimitive(reader, cursor);
    if (value !== COMPOSITE) return objects.settle(ref, { kind: 'value', value });
    const bytes = Buffer.from(message.value.subarray(cursor.compositeStart, cursor.compositeEnd));
    const encoded = new EncodedValue(cursor.compositeTag, bytes);
    if (failed) return objects.settle(ref, { kind: 'failed', error: encoded });
    const contained = containedIn(encoded.tag, bytes).map((descriptor) => objects.adopt(descriptor, () => {}));
    if (encoded.tag === Composite.stored) {
      const { storageId, sizeBytes, locations } = decodeStored(bytes);
      return objects.settle(ref, { kind: 'stored', stored: new StoredObject(storageId, sizeBytes, locations, contained) });
    }
    if (contained.length > 0) ref.detail!.contained = contained;
    objects.settle(ref, { kind: 'encoded', value: encoded });
  }
}

