/** The owner's side of borrowing: other processes count their handles here and ask for values. */
import { makeError, MusterError, type ObjectId } from '@muster/base';
import { ByteWriter, failureToMessage, type BorrowerToOwner, type MessageStream, type OwnerToBorrower, type Resolved } from '@muster/protocol';
import type { Owner } from '../machine/owner.js';
import { EncodedValue, RefState, StoredObject, type ObjectRef } from '../machine/reference.js';

/** Serves one borrower's stream. */
export function lend(owner: Owner, encodeError: (error: MusterError) => EncodedValue, stream: MessageStream<OwnerToBorrower, BorrowerToOwner>): void {
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
        stream.send({ type: 'borrowAck', requestId: message.requestId });
        return;
      case 'unborrow':
        for (const id of message.objectIds) owner.objects.unborrowed(processId, id as ObjectId);
        return;
      case 'resolve':
        for (const id of message.objectIds) resolve(id as ObjectId, []);
        return;
      case 'reportLost': return resolve(message.objectId as ObjectId, message.nodeIds);
    }
  };
  const resolve = (id: ObjectId, lostOn: readonly string[]): void => owner.objects.resolveFor(id, lostOn, (ref) => {
    stream.send({ type: 'resolved', ...resolvedMessage(owner, id, ref, encodeError) });
  });
  stream.onEnd = () => owner.objects.borrowerGone(processId);
}

/** The first byte of an inline value: whether it is one, or an error. */
export const RESOLVED_VALUE = 0;
export const RESOLVED_ERROR = 1;

function resolvedMessage(owner: Owner, objectId: string, ref: ObjectRef | MusterError, encodeError: (error: MusterError) => EncodedValue): Resolved {
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
    owner.objects.writeReady(writer, ref); // a stored value is written as where it lies
  }
  const sizeBytes = ref.value instanceof StoredObject ? ref.value.sizeBytes : 0;
  return { ...blank, value: writer.buffer.subarray(0, writer.position), sizeBytes };
}
