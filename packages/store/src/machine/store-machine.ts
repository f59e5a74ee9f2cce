/**
 * The object store of one node, without its bytes: which client holds which block, which object lies where, who reads it, who waits
 * for what. The bytes move through effects. Pure: equal events give equal effects.
 */
import { errorToWire, formatSizeBytes, makeError, MusterError, type WireError } from '@muster/base';
import type { ClientRequest, ObjectListing, StoreEffect, StoreEvent, StoreLocation, StoreStats } from './messages.js';
import { ObjectTable } from './object-table.js';
import { PAGE_BYTES, pagesOf } from './pages.js';
import { Room } from './room.js';
import { StoreClient, type Block } from './store-client.js';
import { StoredObject, type BlockRequest, type RoomPurpose, type StoreRoom, type Waiter } from './stored-object.js';

/** The node and its arena. */
export interface StoreMachineOptions {
  readonly nodeId: string;
  /** The arena's size; rounded down to whole segments. */
  readonly totalBytes: number;
  /** The unit in which the operating system gives memory to the arena: whole pages. */
  readonly segmentBytes: number;
}

/** The store's decisions. Feed it every event; carry out every effect, in order. */
export class StoreMachine {
  readonly #nodeId: string;
  readonly #room: StoreRoom;
  readonly #objects: ObjectTable;
  readonly #clients = new Map<string, StoreClient>();
  #effects: StoreEffect[] = [];
  #nowMs = 0;
  #wakeAtMs = Infinity;

  constructor(options: StoreMachineOptions) {
    this.#nodeId = options.nodeId;
    const emit = (effect: StoreEffect): void => { this.#effects.push(effect); };
    this.#room = new Room<RoomPurpose, StoredObject>(Math.floor(options.totalBytes / PAGE_BYTES), options.segmentBytes / PAGE_BYTES, {
      granted: (purpose, start) => (purpose instanceof StoredObject ? this.#objects.granted(purpose, start) : this.#allocated(purpose, start)),
      refused: (purpose) => this.#refused(purpose),
      evict: (object) => this.#objects.evict(object),
      spill: (object) => this.#objects.spill(object),
      commit: (commitId, range) => emit({ type: 'commit', commitId, offset: range.start * PAGE_BYTES, sizeBytes: range.pages * PAGE_BYTES }),
    });
    this.#objects = new ObjectTable({
      nodeId: options.nodeId, emit,
      deliver: (waiter, object) => this.#deliver(waiter, object),
      deliverFile: (waiter, object, fileId) => this.#deliverFile(waiter, object, fileId),
      refuse: (waiter, objectId, failure) => this.#refuseFetch(waiter, objectId, failure),
    }, this.#room);
  }

  /** Takes one event in and says what to do, in this order. */
  step(event: StoreEvent, nowMs: number): StoreEffect[] {
    this.#nowMs = nowMs;
    this.#take(event);
    this.#room.serve(nowMs);
    const wakeAtMs = this.#room.nextWakeMs(nowMs);
    if (wakeAtMs < this.#wakeAtMs) {
      this.#wakeAtMs = wakeAtMs;
      this.#effects.push({ type: 'wake', atMs: wakeAtMs });
    }
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  stats(): StoreStats {
    const { memoryPages, heldPages, transitPages, spilledBytes } = this.#objects.totals();
    let blockPages = this.#room.keptPages;
    for (const client of this.#clients.values()) blockPages += client.blockPages;
    return {
      totalBytes: this.#room.totalPages * PAGE_BYTES,
      freeBytes: this.#room.freePages * PAGE_BYTES,
      blockBytes: blockPages * PAGE_BYTES,
      objectBytes: memoryPages * PAGE_BYTES,
      transitBytes: (transitPages + this.#room.committingPages) * PAGE_BYTES,
      heldBytes: heldPages * PAGE_BYTES,
      spilledBytes,
      objectCount: this.#objects.count,
      largestFreeBytes: this.#room.largestFreePages * PAGE_BYTES,
      waitingCount: this.#room.waitingCount,
    };
  }

  list(): ObjectListing[] {
    return this.#objects.list();
  }

  /** The keys, in their objects' ids, of those who own what is here. */
  owners(): ReadonlySet<string> {
    return this.#objects.owners();
  }

  #take(event: StoreEvent): void {
    switch (event.type) {
      case 'clientStarted': this.#clients.set(event.clientId, new StoreClient(event.clientId, event.processId, event.peerNodeId)); return;
      case 'clientEnded': return this.#endClient(this.#clients.get(event.clientId));
      case 'request': return this.#request(this.#clients.get(event.clientId), event.request);
      case 'peerFreed': return this.#forward(this.#objects.free(event.objectIds));
      case 'ownersEnded': return this.#objects.ownersEnded(event.ownerKeys);
      case 'committed': return this.#room.committed(event.commitId, event.failure, this.#nowMs);
      case 'spilled': return this.#objects.spilled(event.fileId, event.failure, this.#nowMs);
      case 'transferred': return this.#objects.transferred(event.transferId, event.failure, event.missingOn);
      case 'tick':
        this.#wakeAtMs = Infinity;
        return this.#room.tick();
    }
  }

  #request(client: StoreClient | undefined, request: ClientRequest): void {
    if (!client) return; // was dropped: the rest of its stream means nothing
    try {
      this.#carryOut(client, request);
    } catch (error) {
      if (!(error instanceof MusterError) || error.code !== 'PROTOCOL') throw error;
      this.#endClient(client);
      this.#effects.push({ type: 'dropClient', clientId: client.clientId, failure: error });
    }
  }

  #carryOut(client: StoreClient, request: ClientRequest): void {
    switch (request.type) {
      case 'allocate': return this.#allocate(client, request);
      case 'seal': return this.#objects.seal(request.objectId, request.sizeBytes, client.cut(request.offset, request.sizeBytes));
      case 'returnBlock': return this.#returnBlock(client.takeBlock(request.offset));
      case 'fetch': return this.#fetch(client, request);
      case 'cancelFetch': return this.#cancelFetch(client, request.requestId);
      case 'release':
        client.removePin(request.objectId);
        return this.#objects.unpin(request.objectId);
      case 'freeObjects': return this.#freeObjects(request.objectIds, request.locations);
    }
  }

  #allocate(client: StoreClient, request: ClientRequest & { type: 'allocate' }): void {
    const { requestId, sizeBytes, timeoutMs } = request;
    client.checkRequestId(requestId);
    if (!(sizeBytes >= 0)) throw client.violation(`it asked for a block of ${sizeBytes} bytes`);
    const block: BlockRequest = { clientId: client.clientId, requestId, pages: pagesOf(sizeBytes) };
    if (block.pages > this.#room.totalPages) return this.#replyAllocated(block, 0, this.#fullFailure(block.pages));
    client.allocations.set(requestId, this.#room.request(block, { deadlineMs: this.#nowMs + timeoutMs, diskFailureMs: Infinity }, this.#nowMs));
  }

  #allocated(block: BlockRequest, start: number): void {
    const client = this.#clients.get(block.clientId)!;
    client.allocations.delete(block.requestId);
    client.addBlock({ start, pages: block.pages });
    this.#room.keep(start);
    this.#replyAllocated(block, start, null);
  }

  #refused(purpose: RoomPurpose): void {
    const failure = this.#fullFailure(purpose.pages);
    if (purpose instanceof StoredObject) return this.#objects.refused(purpose, failure);
    this.#clients.get(purpose.clientId)!.allocations.delete(purpose.requestId);
    this.#replyAllocated(purpose, 0, failure);
  }

  #replyAllocated(block: BlockRequest, start: number, failure: WireError | null): void {
    const sizeBytes = failure ? 0 : block.pages * PAGE_BYTES;
    this.#effects.push({ type: 'reply', clientId: block.clientId, reply: { type: 'allocated', requestId: block.requestId, offset: start * PAGE_BYTES, sizeBytes, failure } });
  }

  #fetch(client: StoreClient, request: ClientRequest & { type: 'fetch' }): void {
    const { requestId, objectId, sizeBytes, locations } = request;
    client.checkRequestId(requestId);
    if (!(sizeBytes >= 0)) throw client.violation(`it fetched an object of ${sizeBytes} bytes`);
    client.fetches.set(requestId, objectId);
    const waiter: Waiter = { clientId: client.clientId, requestId };
    if (pagesOf(sizeBytes) > this.#room.totalPages) return this.#refuseFetch(waiter, objectId, this.#fullFailure(pagesOf(sizeBytes)));
    this.#objects.fetch(waiter, { objectId, sizeBytes, locations, peerNodeId: client.peerNodeId }, this.#nowMs);
  }

  #deliver(waiter: Waiter, object: StoredObject): void {
    const client = this.#clients.get(waiter.clientId)!;
    client.fetches.delete(waiter.requestId);
    client.addPin(object.objectId);
    this.#objects.pin(object);
    if (client.peerNodeId !== null) object.pullers.add(client.peerNodeId);
    const { objectId, sizeBytes, start } = object;
    this.#effects.push({ type: 'reply', clientId: waiter.clientId, reply: { type: 'fetched', requestId: waiter.requestId, objectId, offset: start * PAGE_BYTES, sizeBytes, failure: null } });
  }

  #deliverFile(waiter: Waiter, object: StoredObject, fileId: number): void {
    const client = this.#clients.get(waiter.clientId)!;
    client.fetches.delete(waiter.requestId);
    object.pullers.add(client.peerNodeId!);
    this.#effects.push({ type: 'serveFile', clientId: waiter.clientId, requestId: waiter.requestId, fileId, sizeBytes: object.sizeBytes });
  }

  #refuseFetch(waiter: Waiter, objectId: string, failure: WireError): void {
    this.#clients.get(waiter.clientId)!.fetches.delete(waiter.requestId);
    this.#effects.push({ type: 'reply', clientId: waiter.clientId, reply: { type: 'fetched', requestId: waiter.requestId, objectId, offset: 0, sizeBytes: 0, failure } });
  }

  /** The answer may be on its way already: then the client releases what it is given. */
  #cancelFetch(client: StoreClient, requestId: number): void {
    const objectId = client.fetches.get(requestId);
    if (objectId === undefined) return;
    client.fetches.delete(requestId);
    this.#objects.forget({ clientId: client.clientId, requestId }, objectId);
  }

  #freeObjects(objectIds: readonly string[], locations: readonly StoreLocation[]): void {
    const copies = this.#objects.free(objectIds);
    for (const location of locations) {
      if (location.nodeId === this.#nodeId) continue;
      copies.delete(location.nodeId);
      this.#effects.push({ type: 'forwardFree', nodeId: location.nodeId, location, objectIds });
    }
    this.#forward(copies);
  }

  #forward(copies: ReadonlyMap<string, readonly string[]>): void {
    for (const [nodeId, objectIds] of copies) this.#effects.push({ type: 'forwardFree', nodeId, location: null, objectIds });
  }

  #returnBlock(block: Block | undefined): void {
    if (!block) return;
    this.#room.unkeep(block.start);
    for (const range of block.unsealed) this.#room.free(range);
  }

  #endClient(client: StoreClient | undefined): void {
    if (!client) return;
    this.#clients.delete(client.clientId);
    for (const request of client.allocations.values()) this.#room.cancel(request);
    for (const [requestId, objectId] of client.fetches) this.#objects.forget({ clientId: client.clientId, requestId }, objectId);
    for (const objectId of client.pins()) this.#objects.unpin(objectId);
    for (const block of client.blocks()) this.#returnBlock(block);
  }

  /** Why there is no room, and who holds it. */
  #fullFailure(pages: number): WireError {
    const size = (count: number): string => formatSizeBytes(count * PAGE_BYTES);
    const stats = this.stats();
    const { readPages, memoryPages } = this.#objects.totals();
    const parts = [`${formatSizeBytes(stats.freeBytes)} of ${formatSizeBytes(stats.totalBytes)} are free, in pieces of at most ${size(this.#room.largestFreePages)}`];
    if (readPages > 0) parts.push(`objects that are being read hold ${size(readPages)}`);
    if (memoryPages > readPages) parts.push(`objects that nobody reads hold ${size(memoryPages - readPages)}`);
    if (stats.spilledBytes > 0) parts.push(`${formatSizeBytes(stats.spilledBytes)} are on disk`);
    const writers = [...this.#clients.values()].filter((client) => client.blockPages > 0).sort((a, b) => b.blockPages - a.blockPages);
    if (writers.length > 0) parts.push(`unfinished blocks hold ${formatSizeBytes(stats.blockBytes)} (most: ${writers[0]!.processId} with ${size(writers[0]!.blockPages)})`);
    if (stats.transitBytes > 0) parts.push(`${formatSizeBytes(stats.transitBytes)} are on their way in`);
    const trouble = this.#room.trouble(this.#nowMs);
    if (trouble) parts.push(trouble);
    return errorToWire(makeError('OBJECT_STORE_FULL', { node: this.#nodeId, size: size(pages), used: parts.join('; ') }));
  }
}
