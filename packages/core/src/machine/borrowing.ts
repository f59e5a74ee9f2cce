/**
 * The borrower's side: one connection to each process whose references this process holds. When a reference is collected, its owner hears of it. A
 * connection that breaks is made anew, and the first word on it says all that is held; when the owner is dead, what it owned is gone, and references to
 * it say so.
 *
 *   new ──first reference──> connected ──breaks──> waiting ──pause is over──> connected       any ──the head says it is dead──> gone
 */
import { describeDeath, makeError, type MusterError, type ObjectId } from '@muster/base';
import {
  ByteReader, COMPOSITE, Composite, deathFromMessage, failureFromMessage, readPrimitive,
  type BorrowerToOwner, type Death, type Endpoint, type OwnerToBorrower, type Resolved, type ValueCursor,
} from '@muster/protocol';
import { decodeStored, type RefDescriptor } from './descriptors.js';
import { RESOLVED_ERROR } from './lending.js';
import type { Owner } from './owner.js';
import { containedIn } from './packed.js';
import { EncodedValue, ObjectRef, RefState, StoredObject } from './reference.js';

/** The pause before connection n + 1 is FIRST * 2^n, at most MAX, times a random half to whole. */
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 2000;

/** The edge's half of a connection to an owner. */
export interface LenderTransport {
  send(message: BorrowerToOwner): void;
  close(): void;
}

/** The machine's half. */
export interface LenderHandlers {
  onMessage(message: OwnerToBorrower): void;
  onClosed(): void;
}

/** One reference that its owner is to count, and whom to tell when it has. */
interface Borrow {
  readonly id: ObjectId;
  readonly counted: (() => void)[];
}

interface Lender {
  readonly ownerId: string;
  readonly endpoint: Endpoint;
  transport: LenderTransport | null;
  connectionCount: number;
  /** Connections in a row on which the owner said nothing. */
  failedCount: number;
  /** When to connect again. */
  retryAtMs: number;
  readonly ids: Set<ObjectId>;
  /** The last borrow of each id that the owner has not acknowledged. */
  readonly uncounted: Map<ObjectId, Borrow>;
  /** What each acknowledgement that is awaited stands for. */
  readonly acks: Map<number, readonly Borrow[]>;
  /** References whose values were asked for, and the nodes that failed to deliver them. */
  readonly asked: Map<ObjectId, { readonly ref: ObjectRef; readonly lostOn: readonly string[] }>;
  /** Gathered in this turn, to be sent as one message each. */
  borrowing: Borrow[];
  resolving: ObjectId[];
  returning: ObjectId[];
  isFlushDue: boolean;
}

export class Borrowing {
  readonly #lenders = new Map<string, Lender>();
  readonly #whenCounted: (() => void)[] = [];
  #requestCount = 0;
  #uncountedCount = 0;

  constructor(readonly owner: Owner) {}

  /** The one reference of a foreign object. `counted` is called when its owner has counted it (or is gone). */
  adopt(descriptor: RefDescriptor, counted: () => void): ObjectRef {
    const { id, ownerId, owner } = descriptor;
    const { foreignRefs } = this.owner.ports;
    const known = foreignRefs.find(id);
    if (known) {
      const borrow = this.#lenders.get(ownerId)?.uncounted.get(id);
      if (borrow) borrow.counted.push(counted);
      else counted();
      return known;
    }
    const ref = new ObjectRef(this.owner, -1);
    ref.detail = { foreign: { id, ownerId, owner } };
    foreignRefs.add(ref);
    const lender = this.#lender(ownerId, owner);
    const borrow: Borrow = { id, counted: [counted] };
    lender.ids.add(id);
    lender.uncounted.set(id, borrow);
    lender.borrowing.push(borrow);
    this.#uncountedCount++;
    this.#flushLater(lender);
    return ref;
  }

  /** Whether every reference that arrived so far is counted by its owner. */
  get isCounted(): boolean {
    return this.#uncountedCount === 0;
  }

  /** Calls back when that is so. */
  whenCounted(callback: () => void): void {
    if (this.isCounted) callback();
    else this.#whenCounted.push(callback);
  }

  /** Asks for a value; the reference settles when it comes. */
  resolve(ref: ObjectRef, lostOn: readonly string[]): void {
    const { id, owner, ownerId } = ref.detail!.foreign!;
    const lender = this.#lender(ownerId, owner);
    lender.asked.set(id, { ref, lostOn });
    lender.resolving.push(id);
    this.#flushLater(lender);
  }

  /** References that wait for their values. */
  *askedRefs(): Iterable<ObjectRef> {
    for (const lender of this.#lenders.values()) for (const { ref } of lender.asked.values()) yield ref;
  }

  /** The reference to a foreign object was garbage-collected, and there is no new one. */
  collected(id: ObjectId, ownerId: string): void {
    const lender = this.#lenders.get(ownerId);
    if (!lender?.ids.delete(id)) return;
    lender.returning.push(id);
    this.#flushLater(lender);
  }

  /** The head says that a process is dead. */
  processDied(processId: string, death: Death | null): void {
    const lender = this.#lenders.get(processId);
    if (!lender) return;
    const cause = death ? describeDeath(deathFromMessage(death)) : 'ended';
    this.#end(lender, (id) => makeError('OWNER_DIED', { what: id, cause: `${processId} ${cause}` }));
  }

  /** With a node die its processes, though their connections may look alive for long: the head says of each why. */
  nodeDied(nodeId: string): void {
    for (const { endpoint, ownerId } of this.#lenders.values()) if (endpoint.nodeId === nodeId) this.owner.ports.toHead({ type: 'watchProcess', processId: ownerId });
  }

  /** The connection to the cluster is gone. */
  close(error: MusterError): void {
    for (const lender of [...this.#lenders.values()]) this.#end(lender, () => error);
  }

  /** Some are to be connected again. */
  get awaitsLenders(): boolean {
    for (const { transport, connectionCount } of this.#lenders.values()) if (transport === null && connectionCount > 0) return true;
    return false;
  }

  tick(nowMs: number): void {
    for (const lender of this.#lenders.values()) if (lender.transport === null && lender.connectionCount > 0 && lender.retryAtMs <= nowMs) this.#connect(lender);
  }

  // ---------------------------------------------------------------- connections

  #lender(ownerId: string, endpoint: Endpoint): Lender {
    let lender = this.#lenders.get(ownerId);
    if (!lender) {
      lender = {
        ownerId, endpoint, transport: null, connectionCount: 0, failedCount: 0, retryAtMs: 0, ids: new Set(), uncounted: new Map(), acks: new Map(),
        asked: new Map(), borrowing: [], resolving: [], returning: [], isFlushDue: false,
      };
      this.#lenders.set(ownerId, lender);
    }
    return lender;
  }

  /** Opens a connection, and says all that the owner is to know: what was said on an earlier one may not have arrived. */
  #connect(lender: Lender): void {
    const { self, ports } = this.owner;
    const unacknowledged = [...lender.acks.values()].flat().concat(lender.borrowing);
    const requestId = ++this.#requestCount;
    lender.acks.clear();
    lender.acks.set(requestId, unacknowledged);
    lender.borrowing = [];
    lender.returning = [];
    lender.resolving = [...lender.asked.keys()];
    const transport = ports.openLender(lender, {
      onMessage: (message) => { if (lender.transport === transport) this.#take(lender, message); },
      onClosed: () => { if (lender.transport === transport) this.#broke(lender); },
    });
    lender.transport = transport;
    transport.send({
      type: 'borrowerHello', processId: self.processId, nodeId: self.endpoint.nodeId, connection: ++lender.connectionCount, objectIds: [...lender.ids], requestId,
    });
    this.#flush(lender);
  }

  #broke(lender: Lender): void {
    const { ports } = this.owner;
    lender.transport = null;
    lender.retryAtMs = ports.nowMs() + Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** lender.failedCount++) * (0.5 + ports.random() / 2);
    this.owner.watchClock();
    ports.toHead({ type: 'watchProcess', processId: lender.ownerId }); // the head knows whether it lives, and why not
  }

  /** Sends what this turn gathers for an owner, at its end. */
  #flushLater(lender: Lender): void {
    if (lender.isFlushDue) return;
    lender.isFlushDue = true;
    this.owner.ports.defer(() => {
      lender.isFlushDue = false;
      if (this.#lenders.get(lender.ownerId) !== lender) return;
      if (lender.connectionCount === 0) this.#connect(lender);
      else this.#flush(lender);
    });
  }

  #flush(lender: Lender): void {
    const { transport, borrowing, resolving, returning, asked } = lender;
    if (transport === null) return; // the next connection begins with all of it
    if (borrowing.length > 0) {
      const requestId = ++this.#requestCount;
      lender.acks.set(requestId, borrowing);
      transport.send({ type: 'borrow', objectIds: borrowing.map(({ id }) => id), requestId });
    }
    const isLost = (id: ObjectId): boolean => (asked.get(id)?.lostOn.length ?? 0) > 0;
    const plain = resolving.filter((id) => !isLost(id));
    if (plain.length > 0) transport.send({ type: 'resolve', objectIds: plain });
    for (const objectId of resolving.filter(isLost)) transport.send({ type: 'reportLost', objectId, nodeIds: asked.get(objectId)!.lostOn });
    const gone = returning.filter((id) => !lender.ids.has(id)); // else it was borrowed again meanwhile
    if (gone.length > 0) transport.send({ type: 'unborrow', objectIds: gone });
    lender.borrowing = [];
    lender.resolving = [];
    lender.returning = [];
  }

  #take(lender: Lender, message: OwnerToBorrower): void {
    lender.failedCount = 0;
    if (message.type === 'borrowAck') {
      const borrows = lender.acks.get(message.requestId) ?? [];
      lender.acks.delete(message.requestId);
      this.#counted(lender, borrows);
    } else {
      const asked = lender.asked.get(message.objectId as ObjectId);
      lender.asked.delete(message.objectId as ObjectId);
      if (asked) this.#settle(asked.ref, message);
    }
  }

  #counted(lender: Lender, borrows: readonly Borrow[]): void {
    for (const borrow of borrows) {
      if (lender.uncounted.get(borrow.id) === borrow) lender.uncounted.delete(borrow.id);
      for (const counted of borrow.counted) counted();
    }
    this.#uncountedCount -= borrows.length;
    if (this.#uncountedCount === 0) for (const wake of this.#whenCounted.splice(0)) wake();
  }

  /** Nothing will be heard of this owner: nobody waits for it any more. */
  #end(lender: Lender, errorOf: (id: ObjectId) => MusterError): void {
    this.#lenders.delete(lender.ownerId);
    const { transport } = lender;
    lender.transport = null;
    transport?.close();
    this.#counted(lender, [...lender.acks.values()].flat().concat(lender.borrowing));
    const refs = new Set([...lender.asked.values()].map(({ ref }) => ref));
    for (const id of lender.ids) {
      const ref = this.owner.ports.foreignRefs.find(id);
      if (ref) refs.add(ref);
    }
    for (const ref of refs) if (ref.state === RefState.pending) this.owner.objects.settle(ref, { kind: 'failed', error: errorOf(ref.id) });
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
