/**
 * What goes into the store's machine and what comes out of it. Requests and replies have the shape of the messages of
 * daemon.proto, so that the daemon hands them on as they are.
 */
import type { MusterError, WireError } from '@muster/base';

/** Where another node's daemon can be reached; an Endpoint of the protocol. */
export interface StoreLocation {
  readonly nodeId: string;
  readonly unixPath: string;
  readonly host: string;
  readonly port: number;
}

/** What a client asks. */
export type ClientRequest =
  | { readonly type: 'allocate'; readonly requestId: number; readonly sizeBytes: number; readonly timeoutMs: number }
  | { readonly type: 'seal'; readonly objectId: string; readonly offset: number; readonly sizeBytes: number }
  | { readonly type: 'returnBlock'; readonly offset: number }
  | { readonly type: 'fetch'; readonly requestId: number; readonly objectId: string; readonly sizeBytes: number; readonly locations: readonly StoreLocation[] }
  | { readonly type: 'cancelFetch'; readonly requestId: number }
  | { readonly type: 'release'; readonly objectId: string }
  | { readonly type: 'freeObjects'; readonly objectIds: readonly string[]; readonly locations: readonly StoreLocation[] };

/** What a client is told. */
export type ClientReply =
  | { readonly type: 'allocated'; readonly requestId: number; readonly offset: number; readonly sizeBytes: number; readonly failure: WireError | null }
  | { readonly type: 'fetched'; readonly requestId: number; readonly objectId: string; readonly offset: number; readonly sizeBytes: number; readonly failure: WireError | null };

/** What has happened. */
export type StoreEvent =
  /** A connection; `clientId` is never used again, `processId` may be. A peer (`peerNodeId`) is another node that copies an object. */
  | { readonly type: 'clientStarted'; readonly clientId: string; readonly processId: string; readonly peerNodeId: string | null }
  /** The connection is over: everything the client held is released. */
  | { readonly type: 'clientEnded'; readonly clientId: string }
  | { readonly type: 'request'; readonly clientId: string; readonly request: ClientRequest }
  /** Another node, or an owner on one, says that objects are free. */
  | { readonly type: 'peerFreed'; readonly objectIds: readonly string[] }
  /** The owners with these keys in their objects' ids are no more: their objects are free, also those that are sealed from now on. */
  | { readonly type: 'ownersEnded'; readonly ownerKeys: readonly string[] }
  | { readonly type: 'committed'; readonly commitId: number; readonly failure: string | null }
  | { readonly type: 'spilled'; readonly fileId: number; readonly failure: string | null }
  /** The end of a pull or a spillRead. Nothing is written into its pages after that. */
  | {
    readonly type: 'transferred'; readonly transferId: number; readonly failure: string | null;
    /** The node that was asked, when it says that it has not got the object: not so if the transfer merely broke. */
    readonly missingOn: string | null;
  }
  | { readonly type: 'tick' };

/** What is to be done. */
export type StoreEffect =
  | { readonly type: 'reply'; readonly clientId: string; readonly reply: ClientReply }
  /** A peer's object lies in this file. Once opened, it stays readable. */
  | { readonly type: 'serveFile'; readonly clientId: string; readonly requestId: number; readonly fileId: number; readonly sizeBytes: number }
  /** The client broke a rule. It is forgotten already: `clientEnded` need not follow. */
  | { readonly type: 'dropClient'; readonly clientId: string; readonly failure: MusterError }
  /** Have the operating system give memory to these segments of the arena; answered by `committed`. */
  | { readonly type: 'commit'; readonly commitId: number; readonly offset: number; readonly sizeBytes: number }
  /** Write these bytes to a file; answered by `spilled`. They stay as they are until then. */
  | { readonly type: 'spillWrite'; readonly fileId: number; readonly offset: number; readonly sizeBytes: number }
  /** Read a file into the arena; answered by `transferred`. */
  | { readonly type: 'spillRead'; readonly transferId: number; readonly fileId: number; readonly offset: number; readonly sizeBytes: number }
  | { readonly type: 'spillDelete'; readonly fileId: number }
  /** Copy an object from another node into the arena; answered by `transferred`. */
  | { readonly type: 'pull'; readonly transferId: number; readonly objectId: string; readonly offset: number; readonly sizeBytes: number; readonly location: StoreLocation }
  /** Nobody wants it any more; still answered by `transferred`. */
  | { readonly type: 'cancelPull'; readonly transferId: number }
  /** Tell a node that objects are free. Without a location it is one that pulled a copy from here. */
  | { readonly type: 'forwardFree'; readonly nodeId: string; readonly location: StoreLocation | null; readonly objectIds: readonly string[] }
  /** Send a `tick` at this time. */
  | { readonly type: 'wake'; readonly atMs: number }
  | { readonly type: 'log'; readonly level: 'info' | 'warn'; readonly event: string; readonly fields: Readonly<Record<string, unknown>> };

/** How full the store is. `free + block + object + transit = total`. */
export interface StoreStats {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** Handed to clients and not sealed. */
  readonly blockBytes: number;
  /** Sealed or copied, in memory. */
  readonly objectBytes: number;
  /** Being committed, pulled or restored. */
  readonly transitBytes: number;
  /** Those of `objectBytes` that clients read, or that are on their way to disk. */
  readonly heldBytes: number;
  readonly spilledBytes: number;
  readonly objectCount: number;
  /** The longest run of free bytes. */
  readonly largestFreeBytes: number;
  /** Requests that wait for room. */
  readonly waitingCount: number;
}

/** One object, for people. */
export interface ObjectListing {
  readonly objectId: string;
  readonly sizeBytes: number;
  readonly place: 'memory' | 'disk' | 'restoring' | 'pulling';
  readonly isPrimary: boolean;
  readonly isOnDisk: boolean;
  readonly pinCount: number;
  /** Freed, but somebody reads it still. */
  readonly isFreed: boolean;
}
