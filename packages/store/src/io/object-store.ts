/** The store at work: runs the machine's effects on the arena and on disk, and gives clients and peers a connection each. */
import { errorFromWire, makeError, MusterError, type Clock } from '@muster/base';
import type { ClientReply, ClientRequest, ObjectListing, StoreEffect, StoreEvent, StoreLocation, StoreStats } from '../machine/messages.js';
import { StoreMachine } from '../machine/store-machine.js';
import type { ArenaMemory } from './arena-memory.js';
import type { SpillFolder } from './spill-folder.js';

/** Sent to a peer at once. */
const PEER_CHUNK_BYTES = 2 ** 20;

/** An object to be read from another node. */
export interface Pull {
  readonly objectId: string;
  readonly sizeBytes: number;
  readonly location: StoreLocation;
  /** Nobody wants it any more. */
  readonly signal: AbortSignal;
}

/** A piece of an object, for another node. */
export interface ObjectChunk {
  readonly objectSizeBytes: number;
  readonly offset: number;
  readonly data: Uint8Array;
}

/** What the store needs from its surroundings. */
export interface StoreSurroundings {
  readonly clock: Clock;
  /** Reads an object from another node, from its first byte to its last. Rejects when that fails. */
  pull(pull: Pull, write: (bytes: Uint8Array) => void): Promise<void>;
  /** Tells a node that objects are free; `location` is null when only the node's id is known. */
  forwardFree(nodeId: string, location: StoreLocation | null, objectIds: readonly string[]): void;
  log(level: 'info' | 'warn', event: string, fields: Readonly<Record<string, unknown>>): void;
}

/** The answers to one client. */
export interface ClientListener {
  onReply(reply: ClientReply): void;
  /** The client broke a rule and is not served any more. */
  onDrop(failure: MusterError): void;
}

/** One client's connection to the store. */
export interface StoreConnection {
  request(request: ClientRequest): void;
  /** Releases everything the client holds. */
  end(): void;
}

interface Listener extends ClientListener {
  onFile(fileId: number, sizeBytes: number): void;
}

/** The memory and disk of a store, and its surroundings. */
export interface ObjectStoreOptions {
  readonly nodeId: string;
  readonly totalBytes: number;
  readonly segmentBytes: number;
  readonly memory: ArenaMemory;
  readonly files: SpillFolder;
  readonly surroundings: StoreSurroundings;
}

/** The object store of one node. */
export class ObjectStore {
  readonly #options: ObjectStoreOptions;
  readonly #machine: StoreMachine;
  readonly #listeners = new Map<string, Listener>();
  readonly #pulls = new Map<number, AbortController>();
  readonly #commits = new Set<Promise<void>>();
  readonly #events: StoreEvent[] = [];
  #isStepping = false;
  #clientCount = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ObjectStoreOptions) {
    this.#options = options;
    this.#machine = new StoreMachine(options);
  }

  /** Opens a connection for a process of this node. */
  connect(processId: string, listener: ClientListener): StoreConnection {
    return this.#connect(processId, null, { ...listener, onReply: (reply) => listener.onReply(reply), onDrop: (failure) => listener.onDrop(failure), onFile: () => {} });
  }

  /** An object's bytes for another node. @throws MusterError OBJECT_LOST when it is not here */
  async *serve(objectId: string, peerNodeId: string): AsyncGenerator<ObjectChunk> {
    let found: { bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>; sizeBytes: number } | undefined;
    let failure = makeError('OBJECT_LOST', { what: objectId, cause: `${this.#options.nodeId} is shutting down` });
    const connection = this.#connect(`the peer ${peerNodeId}`, peerNodeId, {
      onReply: (reply) => {
        if (reply.failure) failure = errorFromWire(reply.failure);
        else found = { bytes: this.#readArena(reply.offset, reply.sizeBytes), sizeBytes: reply.sizeBytes };
      },
      onFile: (fileId, sizeBytes) => { found = { bytes: this.#options.files.read(fileId, sizeBytes), sizeBytes }; },
      onDrop: (cause) => { failure = cause; },
    });
    try {
      connection.request({ type: 'fetch', requestId: 1, objectId, sizeBytes: 0, locations: [] });
      if (!found) throw failure; // peers never wait: the answer came within the call
      let offset = 0;
      for await (const data of found.bytes) {
        yield { objectSizeBytes: found.sizeBytes, offset, data };
        offset += data.length;
      }
      if (offset === 0) yield { objectSizeBytes: 0, offset: 0, data: new Uint8Array(0) };
    } finally {
      connection.end();
    }
  }

  /** Another node, or an owner on one, says that objects are free. */
  peerFreed(objectIds: readonly string[]): void {
    this.#step({ type: 'peerFreed', objectIds });
  }

  /** These owners' objects are free, also those that are still to be sealed. */
  ownersEnded(ownerKeys: readonly string[]): void {
    this.#step({ type: 'ownersEnded', ownerKeys });
  }

  stats(): StoreStats {
    return this.#machine.stats();
  }

  list(): ObjectListing[] {
    return this.#machine.list();
  }

  /** The keys, in their objects' ids, of those who own what is here. */
  owners(): ReadonlySet<string> {
    return this.#machine.owners();
  }

  /** Stops. When it resolves, nothing touches the arena any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const pull of this.#pulls.values()) pull.abort();
    await Promise.all(this.#commits);
  }

  #connect(processId: string, peerNodeId: string | null, listener: Listener): StoreConnection {
    const clientId = `client-${++this.#clientCount}`;
    this.#listeners.set(clientId, listener);
    this.#step({ type: 'clientStarted', clientId, processId, peerNodeId });
    return {
      request: (request) => this.#step({ type: 'request', clientId, request }),
      end: () => {
        this.#listeners.delete(clientId);
        this.#step({ type: 'clientEnded', clientId });
      },
    };
  }

  /** Events that come up while effects are carried out wait for their turn, so that effects keep their order. */
  #step(event: StoreEvent): void {
    if (this.#isClosed) return;
    this.#events.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let next = this.#events.shift(); next; next = this.#events.shift()) {
        for (const effect of this.#machine.step(next, this.#options.surroundings.clock.nowMs())) this.#carryOut(effect);
      }
    } finally {
      this.#isStepping = false;
    }
  }

  #carryOut(effect: StoreEffect): void {
    const { surroundings, files, memory } = this.#options;
    switch (effect.type) {
      case 'reply': return this.#listeners.get(effect.clientId)?.onReply(effect.reply);
      case 'serveFile': return this.#listeners.get(effect.clientId)?.onFile(effect.fileId, effect.sizeBytes);
      case 'dropClient': return this.#drop(effect.clientId, effect.failure);
      case 'commit': return this.#commit(effect.commitId, effect.offset, effect.sizeBytes);
      case 'spillWrite':
        return this.#after(files.write(effect.fileId, effect.sizeBytes, (position, target) => this.#read(memory, effect.offset + position, target)),
          (failure) => ({ type: 'spilled', fileId: effect.fileId, failure }));
      case 'spillRead':
        return this.#after(this.#restore(effect.fileId, effect.offset, effect.sizeBytes),
          (failure) => ({ type: 'transferred', transferId: effect.transferId, failure, missingOn: null }));
      case 'spillDelete': return files.delete(effect.fileId);
      case 'pull': return this.#pull(effect);
      case 'cancelPull': return this.#pulls.get(effect.transferId)?.abort();
      case 'forwardFree': return surroundings.forwardFree(effect.nodeId, effect.location, effect.objectIds);
      case 'wake': return this.#wake(effect.atMs);
      case 'log': return surroundings.log(effect.level, effect.event, effect.fields);
    }
  }

  #after(work: Promise<void>, event: (failure: string | null) => StoreEvent): void {
    work.then(() => this.#step(event(null)), (error: unknown) => this.#step(event(causeOf(error))));
  }

  #drop(clientId: string, failure: MusterError): void {
    const listener = this.#listeners.get(clientId);
    this.#listeners.delete(clientId);
    listener?.onDrop(failure);
  }

  #commit(commitId: number, offset: number, sizeBytes: number): void {
    const work = this.#options.memory.commitAsync(offset, sizeBytes);
    const settled = work.catch(() => {}).finally(() => this.#commits.delete(settled));
    this.#commits.add(settled);
    this.#after(work, (failure) => ({ type: 'committed', commitId, failure }));
  }

  #read(memory: ArenaMemory, offset: number, target: Uint8Array): void {
    if (this.#isClosed) throw makeError('INTERNAL', { what: 'the store is closed' });
    memory.read(offset, target);
  }

  async #restore(fileId: number, offset: number, sizeBytes: number): Promise<void> {
    let position = 0;
    for await (const bytes of this.#options.files.read(fileId, sizeBytes)) {
      if (this.#isClosed) return;
      this.#options.memory.write(offset + position, bytes);
      position += bytes.length;
    }
  }

  /** The pull is over, for the machine, as soon as it is aborted: no byte is written into the arena after that. */
  #pull(effect: StoreEffect & { type: 'pull' }): void {
    const { transferId, objectId, sizeBytes, location } = effect;
    const controller = new AbortController();
    this.#pulls.set(transferId, controller);
    let position = 0;
    const write = (bytes: Uint8Array): void => {
      controller.signal.throwIfAborted();
      if (position + bytes.length > sizeBytes) throw new Error(`it is larger there than ${sizeBytes} bytes`);
      this.#options.memory.write(effect.offset + position, bytes);
      position += bytes.length;
    };
    const finish = (failure: string | null, isMissing = false): void => {
      if (!this.#pulls.delete(transferId)) return;
      this.#step({ type: 'transferred', transferId, failure: failure === null ? null : `${location.nodeId}: ${failure}`, missingOn: isMissing ? location.nodeId : null });
    };
    controller.signal.addEventListener('abort', () => finish('cancelled'), { once: true });
    this.#options.surroundings.pull({ objectId, sizeBytes, location, signal: controller.signal }, write).then(
      () => finish(position === sizeBytes ? null : `only ${position} of ${sizeBytes} bytes came`),
      (error: unknown) => finish(causeOf(error), error instanceof MusterError && error.code === 'OBJECT_LOST'));
  }

  #wake(atMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#step({ type: 'tick' }), Math.max(0, atMs - this.#options.surroundings.clock.nowMs()));
  }

  *#readArena(offset: number, sizeBytes: number): Iterable<Uint8Array> {
    for (let position = 0; position < sizeBytes; position += PEER_CHUNK_BYTES) {
      const piece = Buffer.allocUnsafe(Math.min(PEER_CHUNK_BYTES, sizeBytes - position));
      if (this.#isClosed) throw makeError('CONNECTION', { what: this.#options.nodeId, cause: 'it is shutting down' });
      this.#options.memory.read(offset + position, piece);
      yield piece;
    }
  }
}

/** A failure as part of another one's message: without the advice, which would be about something else. */
function causeOf(error: unknown): string {
  return error instanceof MusterError ? String(error.details['cause'] ?? error.message) : String((error as Error).message);
}
