/**
 * One object in the store, and where its bytes are.
 *
 *     seal ───────────────────────────────> memory ──spill──> memory+disk ──evict──> disk
 *     fetch ──> absent ──room──> pulling ──>   │  ^                                   │
 *                                              │  └──────────── restoring <──room─────┘
 *                                            evict (another node has it)
 *                                              v
 *                                             gone
 *
 * Freed, it goes at once, but for pages that somebody reads: those stay, as a freed object in memory, until the last reader is done.
 */
import type { StoreLocation } from './messages.js';
import type { PageRange } from './pages.js';
import type { Room, RoomRequest } from './room.js';

/** What pages are asked for: an object that comes back or comes from elsewhere, or a client's block. */
export type RoomPurpose = StoredObject | BlockRequest;

/** The room of a store. */
export type StoreRoom = Room<RoomPurpose, StoredObject>;

/** A client's Allocate. */
export interface BlockRequest {
  readonly clientId: string;
  readonly requestId: number;
  readonly pages: number;
}

/** A fetch that waits for the bytes. */
export interface Waiter {
  readonly clientId: string;
  readonly requestId: number;
}

/** Bytes on their way into the arena. Its pages are its own until it ends, also when nobody wants it any more. */
export interface Transfer extends PageRange {
  readonly transferId: number;
  readonly kind: 'pull' | 'restore';
  /** Null: not wanted any more. */
  object: StoredObject | null;
}

/** A copy on disk: made or being made. */
export interface SpillFile {
  readonly fileId: number;
  isWritten: boolean;
}

/** An object's state. Only the object table changes it. */
export class StoredObject implements PageRange {
  readonly objectId: string;
  readonly sizeBytes: number;
  readonly pages: number;
  /** Where in the arena its bytes are; -1: not there. */
  start = -1;
  file: SpillFile | null = null;
  transfer: Transfer | null = null;
  /** For room to put the bytes into. */
  request: RoomRequest<RoomPurpose> | null = null;
  /** Primary: the copy that must not be lost. Others are copies of another node's. */
  isPrimary = false;
  isFreed = false;
  pinCount = 0;
  waiters: Waiter[] = [];
  /** Nodes not yet tried. */
  sources: StoreLocation[] = [];
  /** What was tried in vain, for people. */
  failures: string[] = [];
  /** Nodes that were asked and have not got it. */
  missingOn: string[] = [];
  /** Nodes that copied it from here. */
  readonly pullers = new Set<string>();

  constructor(objectId: string, sizeBytes: number, pages: number) {
    this.objectId = objectId;
    this.sizeBytes = sizeBytes;
    this.pages = pages;
  }

  get isInMemory(): boolean { return this.start >= 0; }
  get isOnDisk(): boolean { return this.file !== null && this.file.isWritten; }

  addSources(locations: readonly StoreLocation[], ownNodeId: string): void {
    for (const location of locations) {
      if (location.nodeId !== ownNodeId && !this.sources.some((known) => known.nodeId === location.nodeId)) this.sources.push(location);
    }
  }
}
