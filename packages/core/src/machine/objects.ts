/**
 * The references of this process: which are owned and where their values lie, who borrows them, which are borrowed from others, and
 * how a lost value is made again.
 *
 * Counting. An owned reference lives as long as somebody here holds the ObjectRef, another process has borrowed it, or a message that
 * carries it is under way. The sender of a message keeps its references until the receiver has told their owners; so there is no moment at which a live
 * reference is uncounted.
 */
import { makeError, objectId, ownerKey, type MusterError, type ObjectId } from '@muster/base';
import { ByteWriter, Composite, writeComposite, writePrimitive, type Endpoint } from '@muster/protocol';
import { describeStored, encodeStored, type RefDescriptor } from './descriptors.js';
import type { Owner } from './owner.js';
import type { Outcome } from './ports.js';
import { attachWaiter, containedIn, notifyWaiters, ObjectRef, RefState, StoredObject, type EncodedValue, type Lineage, type RefDetail } from './reference.js';

/** Encoded arguments kept so that lost results can be made again; beyond it new results have no lineage. */
const LINEAGE_MAX_BYTES = 256 * 2 ** 20;

/** One owned object, for people. */
export interface ObjectRow {
  readonly sequence: number;
  readonly state: 'stored' | 'inline';
  readonly sizeBytes: number;
  readonly nodes: readonly string[];
  /** Processes that hold references. */
  readonly borrowers: readonly string[];
  /** Messages under way that carry it. */
  readonly inFlight: number;
}

export class ObjectTable {
  /** Owned references that others hold, by sequence. */
  readonly #exported = new Map<number, ObjectRef>();
  /** Owned values in shared memory, by sequence. */
  readonly #stored = new Map<number, StoredObject>();
  readonly #deadNodes = new Set<string>();
  #sequence = 0;
  #lineageBytes = 0;

  constructor(readonly owner: Owner) {}

  /** A new pending reference that this process owns. */
  create(): ObjectRef {
    return new ObjectRef(this.owner, ++this.#sequence);
  }

  /** A reference that came in a value: the known one, or a new borrowed one. `counted` is called once its owner knows. */
  adopt(descriptor: RefDescriptor, counted: () => void): ObjectRef {
    if (descriptor.ownerId === this.owner.self.processId) {
      counted();
      const ref = this.#exported.get(sequenceOf(descriptor.id));
      if (ref) return ref;
      const gone = new ObjectRef(this.owner, sequenceOf(descriptor.id));
      this.settle(gone, { kind: 'failed', error: makeError('OBJECT_FREED', { what: descriptor.id }) });
      return gone;
    }
    return this.owner.borrowing.adopt(descriptor, counted);
  }

  /** Leaves pending, or changes a stored value for its remade copy, and tells who waits. */
  settle(ref: ObjectRef, outcome: Outcome): void {
    switch (outcome.kind) {
      case 'value':
        ref.state = RefState.value;
        ref.value = outcome.value;
        break;
      case 'encoded':
        ref.state = RefState.encoded;
        ref.value = outcome.value;
        break;
      case 'stored':
        ref.state = RefState.stored;
        ref.value = outcome.stored;
        if (ref.detail?.foreign) break;
        this.#stored.set(ref.sequence, outcome.stored);
        this.owner.ports.watchCollection(ref);
        break;
      case 'failed':
        ref.state = RefState.failed;
        ref.value = outcome.error;
        this.#dropLineage(ref.detail);
    }
    if (ref.detail?.export) this.#exportContained(ref);
    notifyWaiters(ref);
  }

  /** Remembers how to make the value again, in place of what was remembered when it was made before. */
  keepLineage(ref: ObjectRef, lineage: Lineage): void {
    const detail = (ref.detail ??= {});
    this.#dropLineage(detail);
    const sizeBytes = sizeOf(lineage);
    if (this.#lineageBytes + sizeBytes > LINEAGE_MAX_BYTES) return;
    this.#lineageBytes += sizeBytes;
    detail.lineage = lineage;
  }

  #dropLineage(detail: RefDetail | null): void {
    if (!detail?.lineage) return;
    this.#lineageBytes -= sizeOf(detail.lineage);
    detail.lineage = undefined;
  }

  /** Owned references that others hold. */
  get exportedCount(): number {
    return this.#exported.size;
  }

  /** What all lineage together takes. */
  get lineageBytes(): number {
    return this.#lineageBytes;
  }

  /** Ready to be an argument. Asks for a foreign one's value. */
  isReady(ref: ObjectRef): boolean {
    if (ref.state === RefState.stored && !ref.detail?.foreign && (ref.value as StoredObject).locations.every((at) => this.#deadNodes.has(at.nodeId))) this.lost(ref, []);
    if (ref.state !== RefState.pending) return true;
    this.wantValue(ref);
    return false;
  }

  /** Asks the owner of a pending foreign reference for its value, once. */
  wantValue(ref: ObjectRef): void {
    if (ref.state === RefState.pending && ref.detail?.foreign && ref.value === -1) {
      ref.value = -2; // asked
      this.owner.borrowing.resolve(ref, []);
    }
  }

  /** Writes a ready reference's value, or where it lies, as an argument. */
  writeReady(writer: ByteWriter, ref: ObjectRef): void {
    switch (ref.state) {
      case RefState.value:
        writePrimitive(writer, ref.value);
        return;
      case RefState.encoded: {
        const { tag, bytes } = ref.value as EncodedValue;
        writeComposite(writer, tag, bytes);
        return;
      }
      case RefState.stored:
        writeComposite(writer, Composite.stored, encodeStored(describeStored(ref.value as StoredObject, this.owner.self)));
        return;
      default:
        throw makeError('INTERNAL', { what: `the argument ${ref.id} is not ready` });
    }
  }

  // ---------------------------------------------------------------- exports and borrowers

  /** A message that carries these references is under way. */
  sendingRefs(refs: readonly ObjectRef[]): void {
    for (const ref of refs) {
      if (ref.detail?.foreign) continue;
      this.#exportCounts(ref).inFlight++;
    }
  }

  /** Its receiver has counted what it kept. */
  sentRefs(refs: readonly ObjectRef[]): void {
    for (const ref of refs) {
      const counts = ref.detail?.export;
      if (ref.detail?.foreign || !counts) continue;
      counts.inFlight--;
      this.#unexport(ref);
    }
  }

  /** Another process says that it holds a reference. One that is gone already is told so when it asks for the value. */
  borrowed(processId: string, id: ObjectId): void {
    const ref = this.#exported.get(sequenceOf(id));
    if (ref) this.#exportCounts(ref).borrowers.add(processId);
  }

  unborrowed(processId: string, id: ObjectId): void {
    const ref = this.#exported.get(sequenceOf(id));
    if (ref?.detail?.export?.borrowers.delete(processId)) this.#unexport(ref);
  }

  /** These are all the references that a process holds. */
  borrowerHolds(processId: string, ids: readonly ObjectId[]): void {
    for (const id of ids) this.borrowed(processId, id);
    const held = new Set(ids.map(sequenceOf));
    for (const [sequence, ref] of [...this.#exported]) {
      if (!held.has(sequence) && ref.detail?.export?.borrowers.delete(processId)) this.#unexport(ref);
    }
  }

  /** Calls back with the value of an exported reference as soon as it is there. */
  resolveFor(id: ObjectId, lostOn: readonly string[], reply: (ref: ObjectRef | MusterError) => void): void {
    const ref = this.#exported.get(sequenceOf(id));
    if (!ref) return reply(makeError('OBJECT_FREED', { what: id }));
    if (lostOn.length > 0) this.lost(ref, lostOn);
    if (ref.state !== RefState.pending) return reply(ref);
    attachWaiter(ref, { settled: reply });
  }

  /** How many references this process has made: the sequence number of the last one. */
  get madeCount(): number {
    return this.#sequence;
  }

  /** Owned values that are in shared memory or held by others. */
  list(limit: number): ObjectRow[] {
    const rows: ObjectRow[] = [];
    for (const sequence of new Set([...this.#stored.keys(), ...this.#exported.keys()])) {
      const stored = this.#stored.get(sequence);
      const counts = this.#exported.get(sequence)?.detail?.export;
      rows.push({
        sequence, state: stored ? 'stored' : 'inline', sizeBytes: stored?.sizeBytes ?? 0, nodes: stored?.locations.map((at) => at.nodeId) ?? [],
        borrowers: [...(counts?.borrowers ?? [])], inFlight: counts?.inFlight ?? 0,
      });
      if (rows.length >= limit) break;
    }
    return rows;
  }

  #exportCounts(ref: ObjectRef): NonNullable<NonNullable<ObjectRef['detail']>['export']> {
    const detail = (ref.detail ??= {});
    if (!detail.export) {
      detail.export = { borrowers: new Set(), inFlight: 0, contained: null };
      this.#exported.set(ref.sequence, ref);
      if (this.#exported.size === 1) this.owner.watchClock();
      if (ref.state !== RefState.pending) this.#exportContained(ref);
    }
    return detail.export;
  }

  #unexport(ref: ObjectRef): void {
    const counts = ref.detail?.export;
    if (!counts || counts.inFlight > 0 || counts.borrowers.size > 0) return;
    ref.detail!.export = undefined;
    this.#exported.delete(ref.sequence);
    if (this.#exported.size === 0) this.owner.watchClock();
    if (counts.contained) this.sentRefs(counts.contained);
  }

  #exportContained(ref: ObjectRef): void {
    const counts = ref.detail!.export!;
    if (counts.contained) this.sentRefs(counts.contained);
    counts.contained = containedIn(ref);
    this.sendingRefs(counts.contained);
  }

  // ---------------------------------------------------------------- ends and losses

  /** The last ObjectRef of an owned stored value was garbage-collected. */
  collected(sequence: number, stored: StoredObject, detail: RefDetail): void {
    this.#dropLineage(detail);
    if (this.#stored.get(sequence) === stored) this.#stored.delete(sequence);
    this.discard(stored);
  }

  /** A stored value that no reference was made for. */
  discard(stored: StoredObject): void {
    this.#freeStored([stored]);
  }

  /** Frees values at the user's word; of a pending task the result when it comes. @throws MusterError INVALID_ARGUMENT for references of others */
  free(refs: readonly ObjectRef[]): void {
    for (const { id, detail } of refs) {
      if (detail?.foreign) throw makeError('INVALID_ARGUMENT', { what: `free() of ${id}`, want: `called by its owner, ${detail.foreign.ownerId}: others let go of it by dropping their references` });
    }
    const stored: StoredObject[] = [];
    for (const ref of refs) {
      if (ref.state === RefState.pending) {
        if (typeof ref.value === 'number' && ref.value >= 0) this.owner.discard(ref.value, makeError('OBJECT_FREED', { what: ref.id }));
        continue;
      }
      if (ref.state === RefState.stored) {
        stored.push(ref.value as StoredObject);
        this.#stored.delete(ref.sequence);
      }
      this.settle(ref, { kind: 'failed', error: makeError('OBJECT_FREED', { what: ref.id }) });
    }
    this.#freeStored(stored);
  }

  #freeStored(stored: readonly StoredObject[]): void {
    const live = stored.filter((each) => !each.isFreed);
    for (const each of live) each.isFreed = true;
    if (live.length > 0) this.owner.ports.freeStored(live);
  }

  nodeDied(nodeId: string): void {
    this.#deadNodes.add(nodeId);
  }

  isDeadNode(nodeId: string): boolean {
    return this.#deadNodes.has(nodeId);
  }

  /**
   * A stored value is lost on these nodes (see Search). Afterwards the reference is either stored elsewhere, pending (being made again), or
   * failed with OBJECT_LOST.
   */
  lost(ref: ObjectRef, nodeIds: readonly string[]): void {
    if (ref.state !== RefState.stored) return;
    if (ref.detail?.foreign) {
      ref.state = RefState.pending;
      ref.value = -2;
      return this.owner.borrowing.resolve(ref, nodeIds);
    }
    const stored = ref.value as StoredObject;
    const left = stored.locations.filter((at: Endpoint) => !nodeIds.includes(at.nodeId) && !this.#deadNodes.has(at.nodeId));
    if (left.length > 0) {
      stored.locations = left;
      return;
    }
    stored.isFreed = true;
    this.#stored.delete(ref.sequence);
    const lineage = ref.detail?.lineage;
    if (!lineage || lineage.attemptsLeft <= 0) {
      const where = stored.locations.map((at) => at.nodeId).join(', ');
      const why = lineage ? 'its task has no retries left' : 'no task can make it again';
      return this.settle(ref, { kind: 'failed', error: makeError('OBJECT_LOST', { what: ref.id, cause: `its copies were on ${where}, and ${why}` }) });
    }
    lineage.attemptsLeft--;
    ref.state = RefState.pending;
    ref.value = -1;
    this.owner.resubmit(ref, lineage);
  }
}

function sequenceOf(id: ObjectId): number {
  return Number(id.slice(id.lastIndexOf('-') + 1));
}

function sizeOf(lineage: Lineage): number {
  let sizeBytes = 100;
  for (const part of lineage.template.parts) sizeBytes += part instanceof Uint8Array ? part.length : 8;
  return sizeBytes;
}

/** The id under which a worker stores a result for an owner: the owner's key keeps it with its owner, the rest makes it unique. */
export function storageIdFor(ownerId: string, worker: string, count: number): string {
  return `${objectId(ownerKey(ownerId as never), 0).slice(0, -1)}${ownerKey(worker as never)}.${count}`;
}
