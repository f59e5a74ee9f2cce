/**
 * This process's connection to its node's object store: room to write objects, and objects to read in place. The bytes never pass through the
 * connection; they are copied once into the arena, and read through a private mapping.
 */
import { runInNewContext } from 'node:vm';
import { setFlagsFromString } from 'node:v8';
import { makeError, type MusterError } from '@muster/base';
import { Arena, VIEW_LIMIT, viewCount } from '@muster/native';
import { failureFromMessage, type Endpoint, type Fetched, type MessageStream, type StoreReply, type StoreRequest, type StoreWelcome, type WorkerCommand } from '@muster/protocol';
import { Channel } from '@muster/protocol/rpc';
import type { PackedLayout } from '../machine/packed.js';
import { ALLOCATE_TIMEOUT_MS } from '../machine/patience.js';

const PAGE_BYTES = 4096;
/** Small objects are cut from a slab that the process holds, without asking for each. A small store affords small slabs only. */
const SLAB_MAX_BYTES = 4 * 2 ** 20;
const SLABS_PER_ARENA = 64;
/** An object of more than this part of a slab gets room of its own. */
const OBJECTS_PER_SLAB = 8;

/** Runs V8's collector now: the views it finds unused are released. Takes milliseconds, and is asked for only while somebody waits for room. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
}

const pageCeil = (sizeBytes: number): number => Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES;

export interface StoreClientOptions {
  readonly target: string;
  readonly token: string;
  /** Does not keep this process alive. */
  readonly unref: boolean;
  readonly processId: string;
  readonly jobId: string;
  readonly endpoint: Endpoint;
  readonly onCommand: (command: WorkerCommand) => void;
  readonly onClosed: (failure: MusterError | undefined) => void;
}

interface Slab {
  readonly offset: number;
  position: number;
  readonly end: number;
  /** Objects cut from it that are not sealed yet. */
  unsealedCount: number;
}

/** Where an object goes: into a slab, or into a block of its own. */
interface Room {
  readonly offset: number;
  readonly slab: Slab | null;
}

export class StoreClient {
  /** Set when connected. */
  welcome!: StoreWelcome;
  #arena: Arena = undefined as never; // set by connect()
  readonly #channel: Channel;
  readonly #stream: MessageStream<StoreRequest, StoreReply>;
  readonly #pending = new Map<number, { resolve: (reply: never) => void; reject: (error: MusterError) => void }>();
  /** The storage id behind each living view's token. */
  readonly #views = new Map<number, string>();
  #viewCount = 0;
  #requestCount = 0;
  #slab: Slab | null = null;
  #slabRequest: Promise<void> | null = null;
  #closed = false;

  /** Connects and maps the arena. @throws MusterError */
  static async connect(options: StoreClientOptions): Promise<StoreClient> {
    const client = new StoreClient(options);
    try {
      client.welcome = await client.#hello(options);
      client.#open(client.welcome.arenaPath);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  private constructor(options: StoreClientOptions) {
    this.#channel = new Channel({ target: options.target, token: options.token, unref: options.unref, peer: 'the node\'s daemon' });
    this.#stream = this.#channel.open('Daemon.Store');
  }

  #hello(options: StoreClientOptions): Promise<StoreWelcome> {
    return new Promise((resolve, reject) => {
      this.#stream.onMessage = (message) => {
        switch (message.type) {
          case 'storeWelcome': return message.failure ? reject(failureFromMessage(message.failure)) : resolve(message);
          case 'workerCommand': return options.onCommand(message);
          case 'collectGarbage': return collectGarbage();
          default: return this.#answer(message.requestId, message);
        }
      };
      this.#stream.onEnd = (failure) => {
        reject(failure ?? makeError('CONNECTION', { what: 'the node\'s daemon', cause: 'it closed the connection' }));
        this.#closed = true;
        const error = makeError('NOT_CONNECTED', { cause: 'to the node\'s object store is closed' });
        for (const waiting of this.#pending.values()) waiting.reject(error);
        this.#pending.clear();
        options.onClosed(failure);
      };
      this.#send({ type: 'storeHello', processId: options.processId, jobId: options.jobId, pid: process.pid, endpoint: options.endpoint });
    });
  }

  /** Writes an object and seals it. The caller keeps the buffers unchanged until then. @throws ObjectStoreFullError */
  async put(storageId: string, layout: PackedLayout, buffers: readonly Uint8Array[]): Promise<void> {
    const room = layout.sizeBytes <= this.#slabBytes / OBJECTS_PER_SLAB ? await this.#cut(layout.sizeBytes) : { offset: await this.#allocate(layout.sizeBytes), slab: null };
    this.#arena.write(room.offset, layout.front);
    for (let i = 0; i < buffers.length; i++) if (buffers[i]!.byteLength > 0) this.#arena.write(room.offset + layout.offsets[i]!, buffers[i]!);
    this.#send({ type: 'seal', objectId: storageId, offset: room.offset, sizeBytes: layout.sizeBytes });
    if (room.slab) room.slab.unsealedCount--;
    this.#returnIfDone(room.slab ?? { offset: room.offset, unsealedCount: 0 });
    await this.sync(); // others may hear of the object sooner than the daemon would
  }

  /** Resolves when the daemon has carried out all that was asked before, and all that it has said before has been heard. */
  async sync(): Promise<void> {
    await this.#ask((requestId) => ({ type: 'sync', requestId }));
  }

  /** Makes an object readable here and maps it; the mapping ends when the buffer is collected. @throws ObjectLostError */
  async fetch(storageId: string, sizeBytes: number, locations: readonly Endpoint[]): Promise<ArrayBuffer> {
    const fetched = await this.#ask<Fetched>((requestId) => ({ type: 'fetch', requestId, objectId: storageId, sizeBytes, locations }));
    if (viewCount() >= VIEW_LIMIT) return this.#copy(fetched);
    const token = ++this.#viewCount;
    this.#views.set(token, storageId);
    return this.#arena.view(fetched.offset, fetched.sizeBytes, token);
  }

  /** The kernel allows no more mappings: read a copy. */
  #copy(fetched: Fetched): ArrayBuffer {
    const copy = new Uint8Array(fetched.sizeBytes);
    this.#arena.read(fetched.offset, copy);
    this.#send({ type: 'release', objectId: fetched.objectId });
    return copy.buffer;
  }

  #open(arenaPath: string): void {
    this.#arena = Arena.open(arenaPath);
    this.#arena.setReleaseListener(() => setImmediate(() => {
      for (const token of this.#arena.takeReleased()) {
        const storageId = this.#views.get(token);
        this.#views.delete(token);
        if (storageId !== undefined) this.#send({ type: 'release', objectId: storageId });
      }
    }));
  }

  free(objectIds: readonly string[], locations: readonly Endpoint[]): void {
    this.#send({ type: 'freeObjects', objectIds, locations });
  }

  /** Whether this worker must not be ended for being idle. */
  sayNeeded(needed: boolean): void {
    this.#send({ type: 'ownerNeeded', needed });
  }

  close(): void {
    if (!this.#closed) this.#stream.end();
    this.#channel.close();
    this.#arena?.setReleaseListener(null);
    this.#arena?.close();
  }

  get #slabBytes(): number {
    return Math.min(SLAB_MAX_BYTES, pageCeil(this.welcome.arenaBytes / SLABS_PER_ARENA));
  }

  /** Room for a small object, from the slab. */
  async #cut(sizeBytes: number): Promise<Room> {
    for (;;) {
      const slab = this.#slab;
      if (slab && slab.end - slab.position >= sizeBytes) {
        const offset = slab.position;
        slab.position += pageCeil(sizeBytes);
        slab.unsealedCount++;
        return { offset, slab };
      }
      await (this.#slabRequest ??= this.#renewSlab());
    }
  }

  async #renewSlab(): Promise<void> {
    try {
      const old = this.#slab;
      this.#slab = null;
      if (old) this.#returnIfDone(old);
      const offset = await this.#allocate(this.#slabBytes);
      this.#slab = { offset, position: offset, end: offset + this.#slabBytes, unsealedCount: 0 };
    } finally {
      this.#slabRequest = null;
    }
  }

  /** Gives a block back that nothing more is cut from, once everything in it is sealed: the daemon takes no seal after that. */
  #returnIfDone(block: Pick<Slab, 'offset' | 'unsealedCount'>): void {
    if (block !== this.#slab && block.unsealedCount === 0) this.#send({ type: 'returnBlock', offset: block.offset });
  }

  async #allocate(sizeBytes: number): Promise<number> {
    const allocated = await this.#ask<{ offset: number }>((requestId) => ({ type: 'allocate', requestId, sizeBytes, timeoutMs: ALLOCATE_TIMEOUT_MS }));
    return allocated.offset;
  }

  #ask<Reply>(request: (requestId: number) => StoreRequest): Promise<Reply> {
    if (this.#closed) return Promise.reject(makeError('NOT_CONNECTED', { cause: 'to the node\'s object store is closed' }));
    const requestId = ++this.#requestCount;
    return new Promise<Reply>((resolve, reject) => {
      this.#pending.set(requestId, { resolve, reject });
      this.#send(request(requestId));
    });
  }

  #answer(requestId: number, reply: Extract<StoreReply, { requestId: number }>): void {
    const waiting = this.#pending.get(requestId);
    if (!waiting) return;
    this.#pending.delete(requestId);
    if ('failure' in reply && reply.failure) waiting.reject(failureFromMessage(reply.failure));
    else waiting.resolve(reply as never);
  }

  #send(message: StoreRequest): void {
    if (!this.#closed) this.#stream.send(message);
  }
}
