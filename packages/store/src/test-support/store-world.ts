/**
 * A store machine with the world around it: an arena and files of real bytes, work that ends when the test says so, and a model
 * of what each client holds. Every answer of the machine is checked against the model and against the bytes.
 */
import { seededRandom, type Random } from '@muster/base';
import type { ClientReply, ClientRequest, StoreEffect, StoreEvent, StoreLocation } from '../machine/messages.js';
import { PAGE_BYTES, pagesOf } from '../machine/pages.js';
import { StoreMachine } from '../machine/store-machine.js';

/** A block that a client holds. */
export interface ModelBlock {
  readonly offset: number;
  readonly sizeBytes: number;
  /** Bytes from the block's start that are sealed. */
  sealedBytes: number;
  /** Of the object at the block's start, which does not move before the block is returned. */
  firstBytes: number;
}

/** An object that a client reads. */
export interface ModelPin {
  readonly objectId: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** What one client holds and waits for. */
export interface ModelClient {
  readonly clientId: string;
  readonly isPeer: boolean;
  readonly blocks: ModelBlock[];
  readonly pins: ModelPin[];
  /** Unanswered, by request id: pages of a block, or an object. */
  readonly allocations: Map<number, number>;
  readonly fetches: Map<number, string>;
  readonly replies: ClientReply[];
}

/** Work the machine asked for that has not ended. */
export type PendingWork = StoreEffect & { readonly type: 'commit' | 'spillWrite' | 'spillRead' | 'pull' };

/** The bytes of an object follow from its id and size. */
export const contentOf = (objectId: string, sizeBytes: number): Buffer => Buffer.alloc(sizeBytes, `${objectId}:`);

/** A node's address. */
export const locationOf = (nodeId: string): StoreLocation => ({ nodeId, unixPath: `/${nodeId}.sock`, host: '', port: 0 });

/** One machine and its world. */
export class StoreWorld {
  readonly machine: StoreMachine;
  readonly totalPages: number;
  readonly random: Random;
  readonly files = new Map<number, Buffer>();
  readonly clients = new Map<string, ModelClient>();
  readonly effects: StoreEffect[] = [];
  readonly dropped: string[] = [];
  readonly sizes = new Map<string, number>();
  pending: PendingWork[] = [];
  nowMs = 0;
  readonly #arena: Buffer;
  readonly #committed = new Set<number>();
  readonly #cancelled = new Set<number>();
  #requestCount = 0;
  #clientCount = 0;

  constructor(totalPages: number, seed = 1, segmentPages = totalPages >> 2) {
    this.machine = new StoreMachine({ nodeId: 'node-a', totalBytes: totalPages * PAGE_BYTES, segmentBytes: segmentPages * PAGE_BYTES });
    this.totalPages = this.machine.stats().totalBytes / PAGE_BYTES;
    this.random = seededRandom(seed);
    this.#arena = Buffer.alloc(totalPages * PAGE_BYTES);
  }

  // ------------------------------------------------------------ what clients do

  connect(peerNodeId: string | null = null): ModelClient {
    const clientId = `c${++this.#clientCount}`;
    const client: ModelClient = {
      clientId, isPeer: peerNodeId !== null, blocks: [], pins: [], allocations: new Map(), fetches: new Map(), replies: [],
    };
    this.clients.set(clientId, client);
    this.step({ type: 'clientStarted', clientId, processId: `worker-${clientId}`, peerNodeId });
    return client;
  }

  disconnect(client: ModelClient): void {
    this.clients.delete(client.clientId);
    this.step({ type: 'clientEnded', clientId: client.clientId });
  }

  request(client: ModelClient, request: ClientRequest): void {
    this.step({ type: 'request', clientId: client.clientId, request });
  }

  allocate(client: ModelClient, pages: number, timeoutMs = 60_000): number {
    const requestId = ++this.#requestCount;
    client.allocations.set(requestId, pages);
    this.request(client, { type: 'allocate', requestId, sizeBytes: pages * PAGE_BYTES, timeoutMs });
    return requestId;
  }

  /** Writes an object into the next bytes of a block and seals it. */
  seal(client: ModelClient, block: ModelBlock, objectId: string, sizeBytes: number): void {
    const offset = block.offset + block.sealedBytes;
    contentOf(objectId, sizeBytes).copy(this.#arena, offset);
    if (block.sealedBytes === 0) block.firstBytes = sizeBytes;
    block.sealedBytes += pagesOf(sizeBytes) * PAGE_BYTES;
    this.sizes.set(objectId, sizeBytes);
    this.request(client, { type: 'seal', objectId, offset, sizeBytes });
  }

  returnBlock(client: ModelClient, block: ModelBlock): void {
    client.blocks.splice(client.blocks.indexOf(block), 1);
    this.request(client, { type: 'returnBlock', offset: block.offset });
  }

  fetch(client: ModelClient, objectId: string, nodeIds: readonly string[] = [], sizeBytes = this.sizes.get(objectId) ?? PAGE_BYTES): number {
    const requestId = ++this.#requestCount;
    this.sizes.set(objectId, sizeBytes);
    client.fetches.set(requestId, objectId);
    this.request(client, { type: 'fetch', requestId, objectId, sizeBytes, locations: nodeIds.map(locationOf) });
    return requestId;
  }

  cancelFetch(client: ModelClient, requestId: number): void {
    client.fetches.delete(requestId);
    this.request(client, { type: 'cancelFetch', requestId });
  }

  release(client: ModelClient, pin: ModelPin): void {
    this.checkPin(pin);
    client.pins.splice(client.pins.indexOf(pin), 1);
    this.request(client, { type: 'release', objectId: pin.objectId });
  }

  free(client: ModelClient, objectIds: readonly string[], nodeIds: readonly string[] = []): void {
    this.request(client, { type: 'freeObjects', objectIds, locations: nodeIds.map(locationOf) });
  }

  /** Allocates exactly one object's pages, seals it, and runs what that needs. */
  put(client: ModelClient, objectId: string, pages: number): void {
    this.allocate(client, pages);
    this.settle();
    const block = client.blocks.at(-1);
    if (!block) throw new Error(`no room for ${objectId}`);
    this.seal(client, block, objectId, pages * PAGE_BYTES - 7);
    this.returnBlock(client, block);
  }

  // ------------------------------------------------------------ time and work

  wait(durationMs: number): void {
    this.nowMs += durationMs;
    this.step({ type: 'tick' });
  }

  /** Ends work that is pending; a pull that was cancelled fails. */
  finish(work: PendingWork, failure: string | null = null): void {
    this.pending.splice(this.pending.indexOf(work), 1);
    switch (work.type) {
      case 'commit':
        if (failure === null) for (const page of pagesIn(work)) this.#committed.add(page);
        return this.step({ type: 'committed', commitId: work.commitId, failure });
      case 'spillWrite':
        if (failure === null) this.files.set(work.fileId, Buffer.from(this.#bytes(work)));
        return this.step({ type: 'spilled', fileId: work.fileId, failure });
      case 'spillRead': {
        const file = this.files.get(work.fileId);
        const cause = failure ?? (file ? null : 'no such file');
        if (cause === null) file!.copy(this.#arena, work.offset);
        return this.step({ type: 'transferred', transferId: work.transferId, failure: cause, missingOn: null });
      }
      case 'pull': {
        const cause = failure ?? (this.#cancelled.has(work.transferId) ? 'cancelled' : null);
        if (cause === null) contentOf(work.objectId, work.sizeBytes).copy(this.#arena, work.offset);
        return this.step({ type: 'transferred', transferId: work.transferId, failure: cause, missingOn: null });
      }
    }
  }

  /** Ends all work well, and what follows from it. */
  settle(): void {
    while (this.pending.length > 0) this.finish(this.pending[0]!);
  }

  step(event: StoreEvent): void {
    for (const effect of this.machine.step(event, this.nowMs)) {
      this.effects.push(effect);
      this.#take(effect);
    }
    this.#checkSums();
  }

  // ------------------------------------------------------------ checks

  checkPin(pin: ModelPin): void {
    const bytes = this.#arena.subarray(pin.offset, pin.offset + pin.sizeBytes);
    this.#expect(bytes.equals(contentOf(pin.objectId, pin.sizeBytes)), `the bytes of ${pin.objectId} changed while it was pinned`);
  }

  checkAllPins(): void {
    for (const client of this.clients.values()) for (const pin of client.pins) this.checkPin(pin);
  }

  /** Pages that somebody writes to or reads. */
  heldPages(): Set<number> {
    const held = new Set<number>();
    for (const client of this.clients.values()) {
      for (const { offset, sizeBytes } of client.pins) for (const page of pagesIn({ offset, sizeBytes: sizeBytes || 1 })) held.add(page);
      for (const block of client.blocks) for (const page of pagesIn(restOf(block))) held.add(page);
    }
    return held;
  }

  /** Pages that cannot be had by waiting for the store's own work. */
  fixedPages(): Set<number> {
    const fixed = this.heldPages();
    for (const client of this.clients.values()) {
      for (const block of client.blocks) for (const page of pagesIn({ offset: block.offset, sizeBytes: block.firstBytes || PAGE_BYTES })) fixed.add(page);
    }
    return fixed;
  }

  #take(effect: StoreEffect): void {
    switch (effect.type) {
      case 'reply': return this.#takeReply(this.clients.get(effect.clientId), effect.reply);
      case 'dropClient':
        this.clients.delete(effect.clientId);
        this.dropped.push(effect.failure.message);
        return;
      case 'commit': this.pending.push(effect); return;
      case 'spillWrite': this.pending.push(effect); return;
      case 'spillRead':
      case 'pull':
        this.#expectUnused(effect, 'a transfer goes into');
        this.#bytes(effect).fill(0xdd);
        this.pending.push(effect);
        return;
      case 'cancelPull': this.#cancelled.add(effect.transferId); return;
      case 'spillDelete':
        this.#expect(this.files.delete(effect.fileId), `file ${effect.fileId} was deleted but is not there`);
        return;
      case 'serveFile': {
        const client = this.clients.get(effect.clientId)!;
        const objectId = client.fetches.get(effect.requestId)!;
        client.fetches.delete(effect.requestId);
        this.#expect(this.files.get(effect.fileId)?.equals(contentOf(objectId, effect.sizeBytes)), `the file of ${objectId} is wrong`);
        return;
      }
      case 'forwardFree': case 'wake': case 'log': return;
    }
  }

  #takeReply(client: ModelClient | undefined, reply: ClientReply): void {
    if (!client) return this.#expect(false, 'a client that is gone was answered');
    client.replies.push(reply);
    if (reply.type === 'allocated') {
      this.#expect(client.allocations.delete(reply.requestId), 'an allocation that was not asked for');
      if (reply.failure) return;
      this.#expectUnused(reply, 'a block is');
      for (const page of pagesIn(reply)) this.#expect(this.#committed.has(page), `page ${page} was handed out before it was committed`);
      this.#bytes(reply).fill(0xee); // the client may write to all of it at once
      this.#expect(!client.blocks.some((block) => block.offset === reply.offset), `two blocks of one client start at ${reply.offset}`);
      client.blocks.push({ offset: reply.offset, sizeBytes: reply.sizeBytes, sealedBytes: 0, firstBytes: 0 });
      return;
    }
    this.#expect(client.fetches.delete(reply.requestId), 'a fetch that was not asked for or was cancelled');
    if (reply.failure) return;
    const pin = { objectId: reply.objectId, offset: reply.offset, sizeBytes: reply.sizeBytes };
    this.checkPin(pin);
    client.pins.push(pin);
  }

  #expectUnused(range: { readonly offset: number; readonly sizeBytes: number }, what: string): void {
    const held = this.heldPages();
    for (const work of this.pending) if (work.type !== 'commit') for (const page of pagesIn(work)) held.add(page);
    for (const page of pagesIn(range)) this.#expect(!held.has(page), `${what} at page ${page}, which somebody uses`);
  }

  #checkSums(): void {
    const stats = this.machine.stats();
    const sum = stats.freeBytes + stats.blockBytes + stats.objectBytes + stats.transitBytes;
    this.#expect(sum === stats.totalBytes, `free ${stats.freeBytes} + block ${stats.blockBytes} + object ${stats.objectBytes} + transit ${stats.transitBytes} is not ${stats.totalBytes}`);
  }

  #bytes(range: { readonly offset: number; readonly sizeBytes: number }): Buffer {
    return this.#arena.subarray(range.offset, range.offset + range.sizeBytes);
  }

  #expect(condition: unknown, what: string): void {
    if (!condition) throw new Error(what);
  }
}

/** The pages that bytes touch. */
export function* pagesIn(range: { readonly offset: number; readonly sizeBytes: number }): Iterable<number> {
  for (let page = range.offset / PAGE_BYTES; page * PAGE_BYTES < range.offset + range.sizeBytes; page++) yield page;
}

/** What the client may still write to. */
function restOf(block: ModelBlock): { offset: number; sizeBytes: number } {
  return { offset: block.offset + block.sealedBytes, sizeBytes: block.sizeBytes - block.sealedBytes };
}
