/**
 * The objects of the node: their copies in memory and on disk, who waits for them, and how they come, go and return. It knows
 * clients only by id: pins of a client are the machine's business.
 */
import { errorToWire, makeError, ownerOf, type ObjectId, type WireError } from '@muster/base';
import type { ObjectListing, StoreEffect, StoreLocation } from './messages.js';
import { PAGE_BYTES, pagesOf, type PageRange } from './pages.js';
import type { VictimKind } from './room.js';
import { StoredObject, type StoreRoom, type Transfer, type Waiter } from './stored-object.js';

/** How long a fetch waits for room before it fails: readers that never release must not hang others without a word. */
export const FETCH_ROOM_TIMEOUT_MS = 60_000;
/** And how long while memory is full of what the disk does not take: only other programs' frees and releases can help then. */
export const FETCH_DISK_FAILURE_MS = 5_000;
/** Owners that ended are remembered, because their last objects may be sealed after it. */
const ENDED_OWNERS_MAX = 10_000;

/** Whom the table tells. */
export interface ObjectTableOptions {
  readonly nodeId: string;
  readonly emit: (effect: StoreEffect) => void;
  /** The bytes are readable: pins the object and answers. */
  readonly deliver: (waiter: Waiter, object: StoredObject) => void;
  /** The bytes are on disk only, and the waiter is another node, which can do with that. */
  readonly deliverFile: (waiter: Waiter, object: StoredObject, fileId: number) => void;
  readonly refuse: (waiter: Waiter, objectId: string, failure: WireError) => void;
}

/** What a fetch asks for. */
export interface FetchOptions {
  readonly objectId: string;
  readonly sizeBytes: number;
  readonly locations: readonly StoreLocation[];
  /**
   * Set when another node copies the object: it gets what is here, from the disk without a way through memory, and never waits. So no two
   * nodes wait for each other.
   */
  readonly peerNodeId: string | null;
}

/** All objects that the node has or waits for. */
export class ObjectTable {
  readonly #options: ObjectTableOptions;
  readonly #room: StoreRoom;
  readonly #objects = new Map<string, StoredObject>();
  readonly #transfers = new Map<number, Transfer>();
  readonly #writes = new Map<number, StoredObject>();
  readonly #endedOwners = new Set<string>();
  #transferCount = 0;
  #fileCount = 0;

  constructor(options: ObjectTableOptions, room: StoreRoom) {
    this.#options = options;
    this.#room = room;
  }

  /** These pages hold the object's bytes from now on. The table owns the pages. */
  seal(objectId: string, sizeBytes: number, range: PageRange): void {
    if (this.#endedOwners.has(ownerOf(objectId as ObjectId))) return this.#room.free(range);
    const known = this.#objects.get(objectId);
    if (known?.isInMemory) {
      // A second making of an immutable object, such as a retried task's: the bytes that readers have seen stay.
      known.isPrimary = true;
      known.isFreed = false;
      this.#settle(known);
      return this.#room.free(range);
    }
    const object = this.#add(objectId, sizeBytes);
    object.isPrimary = true;
    if (known) this.#succeed(known, object);
    this.#arrived(object, range.start);
  }

  /** Makes the object readable and delivers it, now or later; or refuses. */
  fetch(waiter: Waiter, options: FetchOptions, nowMs: number): void {
    const { objectId } = options;
    let object = this.#objects.get(objectId);
    if (this.#endedOwners.has(ownerOf(objectId as ObjectId))) return this.#options.refuse(waiter, objectId, ownerless(objectId));
    if (object?.isFreed) return this.#options.refuse(waiter, objectId, freed(objectId));
    if (object?.isInMemory) return this.#options.deliver(waiter, object);
    if (options.peerNodeId !== null) return this.#serveFile(waiter, objectId, object);
    object ??= this.#add(objectId, options.sizeBytes);
    object.addSources(options.locations, this.#options.nodeId);
    object.waiters.push(waiter);
    if (!object.isOnDisk && !object.transfer && object.sources.length === 0) return this.#lose(object);
    this.#askForRoom(object, nowMs);
  }

  /** The waiter's client wants the answer no more. */
  forget(waiter: Waiter, objectId: string): void {
    const object = this.#objects.get(objectId);
    if (!object) return;
    object.waiters = object.waiters.filter((other) => other.clientId !== waiter.clientId || other.requestId !== waiter.requestId);
    if (object.waiters.length > 0 || object.isInMemory) return;
    this.#cancelRequest(object);
    if (object.transfer?.kind === 'restore') return;
    this.#detachTransfer(object);
    if (!object.isOnDisk) this.#objects.delete(objectId);
  }

  pin(object: StoredObject): void {
    object.pinCount++;
    this.#room.withdraw(object);
  }

  unpin(objectId: string): void {
    const object = this.#objects.get(objectId)!;
    if (--object.pinCount === 0) this.#settle(object);
  }

  /** Frees objects here. Returns the nodes that have copies made from here, with what to tell them. */
  free(objectIds: readonly string[]): Map<string, string[]> {
    const copies = new Map<string, string[]>();
    for (const objectId of objectIds) {
      const object = this.#objects.get(objectId);
      if (!object || object.isFreed) continue;
      for (const nodeId of object.pullers) copies.set(nodeId, [...(copies.get(nodeId) ?? []), objectId]);
      this.#free(object, freed(objectId));
    }
    return copies;
  }

  /** The keys of those who own what is here. */
  owners(): Set<string> {
    const keys = new Set<string>();
    for (const { objectId } of this.#objects.values()) keys.add(ownerOf(objectId as ObjectId));
    return keys;
  }

  /** Frees all objects of these owners, and every one that is sealed later. Other nodes are told by the head. */
  ownersEnded(ownerKeys: readonly string[]): void {
    for (const key of ownerKeys) this.#endedOwners.add(key);
    for (const object of [...this.#objects.values()]) {
      if (!object.isFreed && this.#endedOwners.has(ownerOf(object.objectId as ObjectId))) this.#free(object, ownerless(object.objectId));
    }
    for (const key of this.#endedOwners) {
      if (this.#endedOwners.size <= ENDED_OWNERS_MAX) break;
      this.#endedOwners.delete(key);
    }
  }

  /** The room for the object is there. */
  granted(object: StoredObject, start: number): void {
    object.request = null;
    if (object.isOnDisk) this.#restore(object, { start, pages: object.pages });
    else this.#pullNext(object, { start, pages: object.pages });
  }

  /** There is no room for the object in time. */
  refused(object: StoredObject, failure: WireError): void {
    object.request = null;
    this.#refuseWaiters(object, failure);
    object.sources = [];
    if (!object.isOnDisk) this.#objects.delete(object.objectId);
  }

  transferred(transferId: number, failure: string | null, missingOn: string | null): void {
    const transfer = this.#transfers.get(transferId);
    if (!transfer) return;
    this.#transfers.delete(transferId);
    const { object } = transfer;
    if (!object) return this.#room.free(transfer);
    object.transfer = null;
    if (failure === null) return this.#arrived(object, transfer.start);
    object.failures.push(failure);
    if (missingOn !== null) object.missingOn.push(missingOn);
    if (transfer.kind === 'restore') {
      this.#deleteFile(object);
      object.isPrimary = false;
    }
    this.#pullNext(object, transfer);
  }

  spilled(fileId: number, failure: string | null, nowMs: number): void {
    const object = this.#writes.get(fileId);
    if (!object) return;
    this.#writes.delete(fileId);
    if (failure === null) {
      object.file!.isWritten = true;
      this.#room.spillSucceeded();
    } else {
      object.file = null;
      this.#room.spillFailed(failure, nowMs);
      this.#dropSecondCopies();
      this.#options.emit({ type: 'log', level: 'warn', event: 'spill-failed', fields: { objectId: object.objectId, failure } });
    }
    this.#settle(object);
  }

  /** Removes a clean, unused object from memory. */
  evict(object: StoredObject): void {
    this.#leaveMemory(object);
    if (!object.isOnDisk) this.#objects.delete(object.objectId);
  }

  /** Starts to write an unused object to disk. It stays readable. */
  spill(object: StoredObject): void {
    const fileId = ++this.#fileCount;
    object.file = { fileId, isWritten: false };
    this.#writes.set(fileId, object);
    this.#options.emit({ type: 'spillWrite', fileId, offset: object.start * PAGE_BYTES, sizeBytes: object.sizeBytes });
    this.#settle(object);
  }

  get count(): number { return this.#objects.size; }

  /** Pages in memory, those of them that somebody reads, those that cannot leave now, pages on their way, and bytes on disk. */
  totals(): { memoryPages: number; readPages: number; heldPages: number; transitPages: number; spilledBytes: number } {
    const totals = { memoryPages: 0, readPages: 0, heldPages: 0, transitPages: 0, spilledBytes: 0 };
    for (const object of this.#objects.values()) {
      if (object.isInMemory) totals.memoryPages += object.pages;
      if (object.isInMemory && object.pinCount > 0) totals.readPages += object.pages;
      if (object.isInMemory && (object.pinCount > 0 || (object.file && !object.file.isWritten))) totals.heldPages += object.pages;
      if (object.isOnDisk) totals.spilledBytes += object.sizeBytes;
    }
    for (const transfer of this.#transfers.values()) totals.transitPages += transfer.pages;
    return totals;
  }

  list(): ObjectListing[] {
    return [...this.#objects.values()].map((object) => ({
      objectId: object.objectId, sizeBytes: object.sizeBytes, isPrimary: object.isPrimary, isOnDisk: object.isOnDisk,
      place: object.isInMemory ? 'memory' : !object.isOnDisk ? 'pulling' : object.waiters.length > 0 || object.transfer ? 'restoring' : 'disk',
      pinCount: object.pinCount, isFreed: object.isFreed,
    }));
  }

  #serveFile(waiter: Waiter, objectId: string, object: StoredObject | undefined): void {
    if (object?.isOnDisk) this.#options.deliverFile(waiter, object, object.file!.fileId);
    else this.#options.refuse(waiter, objectId, lost(objectId, `${this.#options.nodeId} does not have it`));
  }

  #add(objectId: string, sizeBytes: number): StoredObject {
    const object = new StoredObject(objectId, sizeBytes, pagesOf(sizeBytes));
    this.#objects.set(objectId, object);
    return object;
  }

  /** The object was made anew here: what is under way for its old self stops, and who waits gets the new one. */
  #succeed(old: StoredObject, object: StoredObject): void {
    this.#cancelRequest(old);
    this.#detachTransfer(old);
    this.#deleteFile(old);
    object.waiters = old.waiters;
    for (const nodeId of old.pullers) object.pullers.add(nodeId);
  }

  #arrived(object: StoredObject, start: number): void {
    object.start = start;
    object.sources = [];
    object.failures = [];
    object.missingOn = [];
    const { waiters } = object;
    object.waiters = [];
    for (const waiter of waiters) this.#options.deliver(waiter, object);
    if (object.pinCount === 0) this.#settle(object);
  }

  /** Puts an object in memory where it belongs, now that something about it has changed: gone, a victim of some kind, or held. */
  #settle(object: StoredObject): void {
    this.#room.withdraw(object);
    const isWriting = object.file !== null && !object.file.isWritten;
    if (object.pinCount > 0) return;
    if (object.isFreed && !isWriting) return this.#remove(object);
    const kind: VictimKind = isWriting ? 'writing' : object.isPrimary && !object.isOnDisk ? 'dirty' : 'clean';
    this.#room.offer(object, kind);
  }

  #free(object: StoredObject, failure: WireError): void {
    object.isFreed = true;
    this.#refuseWaiters(object, failure);
    this.#cancelRequest(object);
    this.#detachTransfer(object);
    if (object.isInMemory) this.#settle(object);
    else this.#remove(object);
  }

  #remove(object: StoredObject): void {
    if (object.isInMemory) this.#leaveMemory(object);
    this.#deleteFile(object);
    this.#objects.delete(object.objectId);
  }

  #leaveMemory(object: StoredObject): void {
    this.#room.withdraw(object);
    this.#room.free({ start: object.start, pages: object.pages });
    object.start = -1;
  }

  /** The disk is full. Of objects that are read in memory the copies on it go: they are needed only when their objects must leave again. */
  #dropSecondCopies(): void {
    for (const object of this.#objects.values()) if (object.isInMemory && object.isOnDisk && object.pinCount > 0) this.#deleteFile(object);
  }

  #deleteFile(object: StoredObject): void {
    if (object.file) this.#options.emit({ type: 'spillDelete', fileId: object.file.fileId });
    object.file = null;
  }

  #askForRoom(object: StoredObject, nowMs: number): void {
    const patience = { deadlineMs: nowMs + FETCH_ROOM_TIMEOUT_MS, diskFailureMs: FETCH_DISK_FAILURE_MS };
    if (!object.transfer) object.request ??= this.#room.request(object, patience, nowMs);
  }

  #cancelRequest(object: StoredObject): void {
    if (object.request) this.#room.cancel(object.request);
    object.request = null;
  }

  #restore(object: StoredObject, range: PageRange): void {
    const transfer = this.#startTransfer(object, 'restore', range);
    this.#options.emit({ type: 'spillRead', transferId: transfer.transferId, fileId: object.file!.fileId, offset: range.start * PAGE_BYTES, sizeBytes: object.sizeBytes });
  }

  /** Pulls into these pages from the next node that should have the object, or gives up. */
  #pullNext(object: StoredObject, range: PageRange): void {
    const location = object.sources.shift();
    if (!location || object.waiters.length === 0) {
      this.#room.free(range);
      return this.#lose(object);
    }
    const { transferId } = this.#startTransfer(object, 'pull', range);
    this.#options.emit({ type: 'pull', transferId, objectId: object.objectId, offset: range.start * PAGE_BYTES, sizeBytes: object.sizeBytes, location });
  }

  #startTransfer(object: StoredObject, kind: Transfer['kind'], range: PageRange): Transfer {
    const transfer: Transfer = { transferId: ++this.#transferCount, kind, object, start: range.start, pages: range.pages };
    this.#transfers.set(transfer.transferId, transfer);
    object.transfer = transfer;
    return transfer;
  }

  #detachTransfer(object: StoredObject): void {
    const { transfer } = object;
    if (!transfer) return;
    object.transfer = null;
    transfer.object = null;
    if (transfer.kind === 'pull') this.#options.emit({ type: 'cancelPull', transferId: transfer.transferId });
  }

  #lose(object: StoredObject): void {
    this.#objects.delete(object.objectId);
    const cause = object.failures.length > 0 ? object.failures.join('; ') : 'no node is known to have it';
    this.#refuseWaiters(object, lost(object.objectId, cause, object.missingOn));
  }

  #refuseWaiters(object: StoredObject, failure: WireError): void {
    const { waiters } = object;
    object.waiters = [];
    for (const waiter of waiters) this.#options.refuse(waiter, object.objectId, failure);
  }
}

const freed = (objectId: string): WireError => errorToWire(makeError('OBJECT_FREED', { what: objectId }));

const ownerless = (objectId: string): WireError => errorToWire(makeError('OWNER_DIED', { what: objectId, cause: 'has ended' }));

/** `missingOn`: nodes that say that they have not got it, so that nobody asks them again. */
function lost(objectId: string, cause: string, missingOn: readonly string[] = []): WireError {
  return errorToWire(makeError('OBJECT_LOST', { what: objectId, cause, missingOn: missingOn.join(' ') }));
}
