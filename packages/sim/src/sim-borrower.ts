/**
 * References between simulated processes: the borrower's side and the owner's, over simulated streams. They follow core's io/borrower and
 * io/lender step by step, but a reference that is collected is found by the simulated collector.
 */
import { describeDeath, makeError, MusterError, type ObjectId } from '@muster/base';
import {
  ByteReader, ByteWriter, COMPOSITE, Composite, deathFromMessage, failureFromMessage, failureToMessage, readPrimitive, targetOf,
  type BorrowerToOwner, type Death, type Endpoint, type MessageStream, type OwnerToBorrower, type Resolved, type ValueCursor,
} from '@muster/protocol';
import { decodeStored, EncodedValue, RefState, StoredObject, type ObjectRef, type Owner, type RefDescriptor } from '@muster/core/internal';
import type { Network } from './network.js';
import type { SimProcess } from './process.js';
import { decodeRefs, encodeError } from './values.js';

/** The first byte of an inline value: whether it is one, or an error. */
const RESOLVED_VALUE = 0;
const RESOLVED_ERROR = 1;

interface Lender {
  readonly stream: MessageStream<BorrowerToOwner, OwnerToBorrower>;
  /** What to call when a batch of borrowed references is counted. */
  readonly acks: Map<number, readonly (() => void)[]>;
  /** References whose values were asked for. */
  readonly asked: Map<string, ObjectRef>;
  /** Ids borrowed over this stream. */
  readonly ids: Set<ObjectId>;
  /** Gathered in this turn, to be sent as one message each. */
  readonly borrowing: { readonly id: ObjectId; readonly counted: () => void }[];
  readonly resolving: ObjectId[];
  readonly returning: ObjectId[];
}

/** Who borrows. */
export interface BorrowerOptions {
  readonly owner: Owner;
  readonly process: SimProcess;
  readonly network: Network;
  readonly nodeId: () => string;
  readonly watchProcess: (processId: string) => void;
  readonly watchForeign: (ref: ObjectRef) => void;
}

/** All references that one process has borrowed. */
export class SimBorrower {
  readonly #options: BorrowerOptions;
  readonly #refs = new Map<ObjectId, ObjectRef>();
  readonly #lenders = new Map<string, Lender>();
  readonly #whenCounted: (() => void)[] = [];
  #requestCount = 0;
  #uncountedCount = 0;

  constructor(options: BorrowerOptions) {
    this.#options = options;
  }

  /** The one reference of a foreign id. `counted` is called when its owner has counted it (or is gone). */
  intern(id: ObjectId, make: () => ObjectRef, counted: () => void): ObjectRef {
    const known = this.#refs.get(id);
    if (known) {
      counted();
      return known;
    }
    const ref = make();
    const { owner, ownerId } = ref.detail!.foreign!;
    this.#refs.set(id, ref);
    this.#options.watchForeign(ref);
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

  /** Calls back when every reference that arrived so far is counted by its owner. */
  whenCounted(resume: () => void): void {
    if (this.#uncountedCount === 0) resume();
    else this.#whenCounted.push(resume);
  }

  resolve(ref: ObjectRef, lostOn: readonly string[]): void {
    const { id, owner, ownerId } = ref.detail!.foreign!;
    const lender = this.#lender(ownerId, owner);
    lender.asked.set(id, ref);
    if (lostOn.length > 0) return void lender.stream.send({ type: 'reportLost', objectId: id, nodeIds: lostOn });
    lender.resolving.push(id);
    this.#flushLater(lender);
  }

  ownerDied(processId: string, death: Death | null): void {
    const lender = this.#lenders.get(processId);
    if (!lender) return;
    this.#lenders.delete(processId);
    lender.stream.destroy();
    const cause = death ? describeDeath(deathFromMessage(death)) : 'ended';
    for (const batch of lender.acks.values()) for (const counted of batch) counted();
    for (const { counted } of lender.borrowing.splice(0)) counted();
    for (const id of lender.ids) {
      const ref = this.#refs.get(id);
      if (ref?.state === RefState.pending) this.#options.owner.objects.settle(ref, { kind: 'failed', error: makeError('OWNER_DIED', { what: id, cause: `${processId} ${cause}` }) });
    }
  }

  /** The reference was collected. */
  gone(ref: ObjectRef): void {
    const { id, ownerId } = ref.detail!.foreign!;
    this.#refs.delete(id);
    const lender = this.#lenders.get(ownerId);
    if (!lender?.ids.delete(id)) return;
    lender.returning.push(id);
    this.#flushLater(lender);
  }

  /** References that wait for their values. */
  *roots(): Iterable<ObjectRef> {
    for (const lender of this.#lenders.values()) yield* lender.asked.values();
  }

  close(): void {
    for (const lender of this.#lenders.values()) lender.stream.end();
    this.#lenders.clear();
  }

  /** Sends what this turn has gathered for an owner, at its end. */
  #flushLater(lender: Lender): void {
    const { borrowing, resolving, returning, stream } = lender;
    if (borrowing.length + resolving.length + returning.length !== 1) return;
    this.#options.process.defer(() => {
      if (borrowing.length > 0) {
        const batch = borrowing.splice(0);
        const requestId = ++this.#requestCount;
        lender.acks.set(requestId, batch.map(({ counted }) => counted));
        stream.send({ type: 'borrow', objectIds: batch.map(({ id }) => id), requestId });
      }
      if (resolving.length > 0) stream.send({ type: 'resolve', objectIds: resolving.splice(0) });
      if (returning.length > 0) stream.send({ type: 'unborrow', objectIds: returning.splice(0) });
    });
  }

  #lender(ownerId: string, endpoint: Endpoint): Lender {
    const known = this.#lenders.get(ownerId);
    if (known) return known;
    const { network, process, nodeId, watchProcess } = this.#options;
    const stream = network.open(process, targetOf(endpoint, nodeId()), 'Peer.Objects');
    const lender: Lender = { stream, acks: new Map(), asked: new Map(), ids: new Set(), borrowing: [], resolving: [], returning: [] };
    this.#lenders.set(ownerId, lender);
    stream.onMessage = (message) => {
      if (message.type === 'borrowAck') {
        for (const counted of lender.acks.get(message.requestId) ?? []) counted();
        lender.acks.delete(message.requestId);
        return;
      }
      const ref = lender.asked.get(message.objectId);
      lender.asked.delete(message.objectId);
      if (ref) this.#settle(ref, message);
    };
    stream.onEnd = () => watchProcess(ownerId);
    stream.send({ type: 'borrowerHello', processId: process.id, nodeId: nodeId() });
    return lender;
  }

  #settle(ref: ObjectRef, message: Resolved): void {
    const { objects } = this.#options.owner;
    if (message.failure) return objects.settle(ref, { kind: 'failed', error: failureFromMessage(message.failure) });
    const reader = new ByteReader().reset(message.value);
    const failed = reader.u8() === RESOLVED_ERROR;
    const cursor: ValueCursor = { compositeTag: 0, compositeStart: 0, compositeEnd: 0 };
    const value = readPrimitive(reader, cursor);
    if (value !== COMPOSITE) return objects.settle(ref, { kind: 'value', value });
    const bytes = Buffer.from(message.value.subarray(cursor.compositeStart, cursor.compositeEnd));
    const encoded = new EncodedValue(cursor.compositeTag, bytes);
    if (failed) return objects.settle(ref, { kind: 'failed', error: encoded });
    const adopt = (descriptor: RefDescriptor): ObjectRef => objects.adopt(descriptor, () => {});
    if (encoded.tag === Composite.stored) {
      const { storageId, sizeBytes, locations, contained } = decodeStored(bytes);
      return objects.settle(ref, { kind: 'stored', stored: new StoredObject(storageId, sizeBytes, locations, contained.map(adopt)) });
    }
    const contained = decodeRefs(encoded.tag, bytes).map(adopt);
    if (contained.length > 0) ref.detail!.contained = contained;
    objects.settle(ref, { kind: 'encoded', value: encoded });
  }
}

/** Serves one borrower's stream. */
export function lend(owner: Owner, stream: MessageStream<OwnerToBorrower, BorrowerToOwner>): void {
  let processId = '';
  stream.onMessage = (message) => {
    if (message.type === 'borrowerHello') {
      processId = message.processId;
      return;
    }
    if (!processId) throw makeError('PROTOCOL', { what: 'a borrower', cause: 'it did not say hello' });
    switch (message.type) {
      case 'borrow':
        for (const id of message.objectIds) owner.objects.borrowed(processId, id as ObjectId);
        return void stream.send({ type: 'borrowAck', requestId: message.requestId });
      case 'unborrow':
        for (const id of message.objectIds) owner.objects.unborrowed(processId, id as ObjectId);
        return;
      case 'resolve':
        for (const id of message.objectIds) resolve(id as ObjectId, []);
        return;
      case 'reportLost': return resolve(message.objectId as ObjectId, message.nodeIds);
    }
  };
  const resolve = (id: ObjectId, lostOn: readonly string[]): void =>
    owner.objects.resolveFor(id, lostOn, (ref) => { stream.send({ type: 'resolved', ...resolvedMessage(owner, id, ref) }); });
  stream.onEnd = () => owner.objects.borrowerGone(processId);
}

function resolvedMessage(owner: Owner, objectId: string, ref: ObjectRef | MusterError): Resolved {
  const blank: Resolved = { objectId, value: new Uint8Array(0), sizeBytes: 0, locations: [], failure: null };
  if (ref instanceof MusterError) return { ...blank, failure: failureToMessage(ref) };
  const writer = new ByteWriter(256);
  if (ref.state === RefState.failed) {
    const error = ref.value instanceof EncodedValue ? ref.value : encodeError(ref.value as MusterError);
    writer.u8(RESOLVED_ERROR);
    writer.u8(error.tag);
    writer.block(error.bytes);
  } else {
    writer.u8(RESOLVED_VALUE);
    owner.objects.writeReady(writer, ref);
  }
  const sizeBytes = ref.value instanceof StoredObject ? ref.value.sizeBytes : 0;
  return { ...blank, value: writer.buffer.subarray(0, writer.position), sizeBytes };
}
