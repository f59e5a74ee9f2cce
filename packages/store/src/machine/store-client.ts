/** What one connection to the store holds: blocks it writes into, pins, and requests that wait for an answer. */
import { makeError, type MusterError } from '@muster/base';
import { PAGE_BYTES, pagesOf, type PageRange } from './pages.js';
import type { RoomRequest } from './room.js';
import type { RoomPurpose } from './stored-object.js';

/** Pages that a client may write to. Objects are cut out of it by seals; it stays, also with nothing left, until it is returned. */
export interface Block {
  /** Its name between client and store: no other block starts there while it is open. */
  readonly start: number;
  unsealed: PageRange[];
}

/** One connection's holdings. */
export class StoreClient {
  readonly clientId: string;
  readonly processId: string;
  /** The node that copies an object; null for a process of this node. */
  readonly peerNodeId: string | null;
  readonly allocations = new Map<number, RoomRequest<RoomPurpose>>();
  /** The objects of fetches that were not answered. */
  readonly fetches = new Map<number, string>();
  readonly #pins = new Map<string, number>();
  readonly #blocks = new Map<number, Block>();

  constructor(clientId: string, processId: string, peerNodeId: string | null) {
    this.clientId = clientId;
    this.processId = processId;
    this.peerNodeId = peerNodeId;
  }

  /** Pages that the client may write to. */
  get blockPages(): number {
    let pages = 0;
    for (const block of this.#blocks.values()) for (const range of block.unsealed) pages += range.pages;
    return pages;
  }

  addBlock(range: PageRange): void {
    this.#blocks.set(range.start, { start: range.start, unsealed: [range] });
  }

  /** Cuts an object out of the client's blocks. @throws MusterError PROTOCOL */
  cut(offset: number, sizeBytes: number): PageRange {
    const start = offset / PAGE_BYTES;
    const pages = pagesOf(sizeBytes);
    const holds = (range: PageRange): boolean => range.start <= start && start + pages <= range.start + range.pages;
    const block = [...this.#blocks.values()].findLast((candidate) => candidate.unsealed.some(holds));
    if (!block || !Number.isInteger(start)) {
      throw this.violation(`it sealed ${sizeBytes} bytes at ${offset}, which is not inside of a block of its own, at a page's start`);
    }
    block.unsealed = block.unsealed.flatMap((range) => (holds(range) ? around(range, start, start + pages) : range));
    return { start, pages };
  }

  /** The block that starts there, which is the client's no more; undefined when it is returned already. */
  takeBlock(offset: number): Block | undefined {
    const block = this.#blocks.get(offset / PAGE_BYTES);
    if (block) this.#blocks.delete(block.start);
    return block;
  }

  blocks(): Iterable<Block> {
    return this.#blocks.values();
  }

  addPin(objectId: string): void {
    this.#pins.set(objectId, (this.#pins.get(objectId) ?? 0) + 1);
  }

  /** @throws MusterError PROTOCOL */
  removePin(objectId: string): void {
    const count = this.#pins.get(objectId);
    if (count === undefined) throw this.violation(`it released ${objectId}, which it had not fetched`);
    if (count === 1) this.#pins.delete(objectId);
    else this.#pins.set(objectId, count - 1);
  }

  /** An object's id for each of the client's pins. */
  *pins(): Iterable<string> {
    for (const [objectId, count] of this.#pins) for (let pin = 0; pin < count; pin++) yield objectId;
  }

  /** @throws MusterError PROTOCOL when the number is in use. */
  checkRequestId(requestId: number): void {
    if (this.allocations.has(requestId) || this.fetches.has(requestId)) throw this.violation(`it used the request number ${requestId} twice`);
  }

  violation(cause: string): MusterError {
    return makeError('PROTOCOL', { what: this.processId, cause });
  }
}

/** What is left of a range when [start, end) is cut out of it. */
function around(range: PageRange, start: number, end: number): PageRange[] {
  const rest: PageRange[] = [];
  const rangeEnd = range.start + range.pages;
  if (range.start < start) rest.push({ start: range.start, pages: start - range.start });
  if (end < rangeEnd) rest.push({ start: end, pages: rangeEnd - end });
  return rest;
}
