/** A process's connection to its node's object store. Bytes are put into the node's simulated arena and read from it in place. */
import { failureFromMessage, type Endpoint, type StoreReply, type StoreRequest, type StoreWelcome, type WorkerCommand } from '@muster/protocol';
import type { MessageStream } from '@muster/protocol';
import { makeError, type MusterError } from '@muster/base';
import { ALLOCATE_TIMEOUT_MS, type EncodedValue } from '@muster/core/internal';
import type { Arena } from './arena.js';

interface Waiting {
  readonly resume: (reply: StoreReply) => void;
  readonly fail: (error: MusterError) => void;
}

/** The connection, and who hears it. */
export interface StoreClientOptions {
  readonly stream: MessageStream<StoreRequest, StoreReply>;
  readonly arena: Arena;
  readonly hello: { readonly processId: string; readonly jobId: string; readonly pid: number; readonly endpoint: Endpoint };
  readonly onWelcome: (welcome: StoreWelcome) => void;
  readonly onCommand: (command: WorkerCommand) => void;
  readonly onClosed: (failure: MusterError | undefined) => void;
}

/** One process at its node's object store. */
export class SimStoreClient {
  welcome: StoreWelcome | null = null;
  readonly #options: StoreClientOptions;
  readonly #waiting = new Map<number, Waiting>();
  #requestCount = 0;
  #isClosed = false;

  constructor(options: StoreClientOptions) {
    this.#options = options;
    const { stream } = options;
    stream.onMessage = (message) => this.#take(message);
    stream.onEnd = (failure) => this.#closed(failure);
    stream.send({ type: 'storeHello', ...options.hello });
  }

  /** Writes an object and seals it. Resumes when others can fetch it. */
  put(storageId: string, value: EncodedValue, sizeBytes: number, resume: () => void, fail: (error: MusterError) => void): void {
    this.#ask((requestId) => ({ type: 'allocate', requestId, sizeBytes, timeoutMs: ALLOCATE_TIMEOUT_MS }), (reply) => {
      const { offset } = reply as StoreReply & { type: 'allocated' };
      this.#options.arena.write(offset, { objectId: storageId, value });
      this.#send({ type: 'seal', objectId: storageId, offset, sizeBytes });
      this.#send({ type: 'returnBlock', offset });
      this.sync(resume, fail);
    }, fail);
  }

  /** Resumes when the daemon has carried out all that was asked before, and all that it has said before has been heard. */
  sync(resume: () => void, fail: (error: MusterError) => void): void {
    this.#ask((requestId) => ({ type: 'sync', requestId }), resume, fail);
  }

  /** Makes an object readable here and reads it. `release` must be called when its view is no longer used. */
  fetch(
    stored: { readonly storageId: string; readonly sizeBytes: number; readonly locations: readonly Endpoint[] },
    resume: (found: { readonly value: EncodedValue; readonly release: () => void }) => void, fail: (error: MusterError) => void,
  ): void {
    const { storageId, sizeBytes, locations } = stored;
    this.#ask((requestId) => ({ type: 'fetch', requestId, objectId: storageId, sizeBytes, locations }), (reply) => {
      const { offset } = reply as StoreReply & { type: 'fetched' };
      const { value } = this.#options.arena.read(offset, storageId);
      resume({ value, release: () => this.#send({ type: 'release', objectId: storageId }) });
    }, fail);
  }

  free(objectIds: readonly string[], locations: readonly Endpoint[]): void {
    this.#send({ type: 'freeObjects', objectIds, locations });
  }

  sayNeeded(needed: boolean): void {
    this.#send({ type: 'ownerNeeded', needed });
  }

  close(): void {
    if (!this.#isClosed) this.#options.stream.end();
  }

  #ask(request: (requestId: number) => StoreRequest, resume: Waiting['resume'], fail: Waiting['fail']): void {
    if (this.#isClosed) return fail(storeClosed());
    const requestId = ++this.#requestCount;
    this.#waiting.set(requestId, { resume, fail });
    this.#send(request(requestId));
  }

  #take(message: StoreReply): void {
    switch (message.type) {
      case 'storeWelcome':
        this.welcome = message;
        return this.#options.onWelcome(message);
      case 'workerCommand': return this.#options.onCommand(message);
      case 'collectGarbage': return; // nothing is garbage in the simulation: references end when the program says so
      default: {
        const waiting = this.#waiting.get(message.requestId);
        this.#waiting.delete(message.requestId);
        if ('failure' in message && message.failure) waiting?.fail(failureFromMessage(message.failure));
        else waiting?.resume(message);
      }
    }
  }

  #closed(failure: MusterError | undefined): void {
    this.#isClosed = true;
    for (const waiting of this.#waiting.values()) waiting.fail(storeClosed());
    this.#waiting.clear();
    this.#options.onClosed(failure);
  }

  #send(message: StoreRequest): void {
    if (!this.#isClosed) this.#options.stream.send(message);
  }
}

const storeClosed = (): MusterError => makeError('NOT_CONNECTED', { cause: 'to the node\'s object store is closed' });
