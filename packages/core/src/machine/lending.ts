/**
 * The owner's side of borrowing: other processes count their handles here and ask for values. A connection that breaks ends nothing: its process is
 * expected back with a new one, on which it says again what it holds, until the head says that it is dead or its time is over.
 */
import { makeError, MusterError, type ObjectId } from '@muster/base';
import { ByteWriter, failureToMessage, type BorrowerHello, type BorrowerToOwner, type MessageStream, type OwnerToBorrower, type Resolved } from '@muster/protocol';
import type { Owner } from './owner.js';
import { EncodedValue, RefState, StoredObject, type ObjectRef } from './reference.js';

/** A living process that cannot reach its lender for so long has lost what it borrowed. Two machines are rarely parted for longer and both stay in the cluster. */
const RETURN_PATIENCE_MS = 60_000;

/** The first byte of an inline value: whether it is one, or an error. */
export const RESOLVED_VALUE = 0;
export const RESOLVED_ERROR = 1;

type BorrowerStream = MessageStream<OwnerToBorrower, BorrowerToOwner>;

/** One process that borrows. */
interface Borrower {
  readonly processId: string;
  readonly nodeId: string;
  readonly connection: number;
  /** Null while it is expected back. */
  stream: BorrowerStream | null;
  untilMs: number;
}

export class Lending {
  readonly #borrowers = new Map<string, Borrower>();

  constructor(readonly owner: Owner) {}

  /** Serves one connection of a borrower. */
  serve(stream: BorrowerStream): void {
    let borrower: Borrower | null = null;
    stream.onMessage = (message) => {
      if (message.type === 'borrowerHello') borrower = this.#greet(message, stream);
      else if (!borrower) throw makeError('PROTOCOL', { what: 'a borrower', cause: 'it did not say hello' });
      else if (borrower.stream === stream) this.#take(borrower.processId, stream, message); // else a newer connection has taken its place
    };
    stream.onEnd = (failure) => {
      if (borrower?.stream === stream) this.#ended(borrower, failure);
    };
  }

  #greet(hello: BorrowerHello, stream: BorrowerStream): Borrower {
    const { processId, nodeId, connection, requestId } = hello;
    const known = this.#borrowers.get(processId);
    if (known && known.connection >= connection) return known; // overtaken by a newer one
    const former = known?.stream;
    const borrower: Borrower = { processId, nodeId, connection, stream, untilMs: Infinity };
    this.#borrowers.set(processId, borrower);
    former?.destroy();
    this.owner.objects.borrowerHolds(processId, hello.objectIds as ObjectId[]);
    stream.send({ type: 'borrowAck', requestId });
    return borrower;
  }

  #take(processId: string, stream: BorrowerStream, message: Exclude<BorrowerToOwner, { type: 'borrowerHello' }>): void {
    const { objects } = this.owner;
    switch (message.type) {
      case 'borrow':
        for (const id of message.objectIds) objects.borrowed(processId, id as ObjectId);
        stream.send({ type: 'borrowAck', requestId: message.requestId });
        return;
      case 'unborrow':
        for (const id of message.objectIds) objects.unborrowed(processId, id as ObjectId);
        return;
      case 'resolve':
        for (const id of message.objectIds) this.#resolve(stream, id as ObjectId, []);
        return;
      case 'reportLost': return this.#resolve(stream, message.objectId as ObjectId, message.nodeIds);
    }
  }

  #resolve(stream: BorrowerStream, id: ObjectId, lostOn: readonly string[]): void {
    this.owner.objects.resolveFor(id, lostOn, (ref) => { stream.send({ type: 'resolved', ...this.#resolved(id, ref) }); });
  }

  #resolved(objectId: string, ref: ObjectRef | MusterError): Resolved {
    const blank: Resolved = { objectId, value: new Uint8Array(0), sizeBytes: 0, locations: [], failure: null };
    if (ref instanceof MusterError) return { ...blank, failure: failureToMessage(ref) };
    const writer = new ByteWriter(256);
    if (ref.state === RefState.failed) {
      const error = ref.value instanceof EncodedValue ? ref.value : this.owner.ports.encodeError(ref.value as MusterError);
      writer.u8(RESOLVED_ERROR);
      writer.u8(error.tag);
      writer.block(error.bytes);
    } else {
      writer.u8(RESOLVED_VALUE);
      this.owner.objects.writeReady(writer, ref); // a stored value is written as where it lies
    }
    const sizeBytes = ref.value instanceof StoredObject ? ref.value.sizeBytes : 0;
    return { ...blank, value: writer.buffer.subarray(0, writer.position), sizeBytes };
  }

  #ended(borrower: Borrower, failure: MusterError | undefined): void {
    if (failure === undefined) return this.#forget(borrower); // it said goodbye
    borrower.stream = null;
    borrower.untilMs = this.owner.ports.nowMs() + RETURN_PATIENCE_MS;
    this.owner.watchClock();
    this.owner.ports.toHead({ type: 'watchProcess', processId: borrower.processId });
  }

  /** The head says that a process is dead: it holds nothing more. */
  processDied(processId: string): void {
    const borrower = this.#borrowers.get(processId);
    if (borrower) this.#end(borrower);
  }

  /** With a node die its processes; their connections may look alive for long. */
  nodeDied(nodeId: string): void {
    for (const borrower of [...this.#borrowers.values()]) if (borrower.nodeId === nodeId) this.#end(borrower);
  }

  #end(borrower: Borrower): void {
    const { stream } = borrower;
    this.#forget(borrower);
    stream?.destroy();
  }

  /** Some whose connections broke may come back. */
  get awaitsBorrowers(): boolean {
    for (const { untilMs } of this.#borrowers.values()) if (untilMs < Infinity) return true;
    return false;
  }

  tick(nowMs: number): void {
    for (const borrower of [...this.#borrowers.values()]) if (borrower.untilMs <= nowMs) this.#forget(borrower);
  }

  #forget(borrower: Borrower): void {
    borrower.stream = null;
    this.#borrowers.delete(borrower.processId);
    this.owner.objects.borrowerHolds(borrower.processId, []);
  }
}
