/** A client of the object store by promises, with its own mapping of the arena. */
import { Arena } from '@muster/native';
import { failureFromMessage, NO_ENDPOINT, type Allocated, type Endpoint, type Fetched, type MessageStream, type StoreReply, type StoreRequest, type StoreWelcome, type Synced, type WorkerCommand } from '@muster/protocol';
import { Channel } from '@muster/protocol/rpc';
import { makeError, MusterError } from '@muster/base';

/** Which process connects where. */
export interface StoreSessionOptions {
  readonly target: string;
  readonly token: string;
  readonly processId: string;
  readonly endpoint?: Endpoint;
  readonly onCommand?: (command: WorkerCommand) => void;
  readonly onEnd?: (failure: MusterError | undefined) => void;
}

/** One connection. */
export class StoreSession {
  readonly welcome: StoreWelcome;
  readonly #stream: MessageStream<StoreRequest, StoreReply>;
  readonly #channel: Channel;
  readonly #arena: Arena;
  readonly #waiting = new Map<number, (reply: Allocated | Fetched | Synced | MusterError) => void>();
  #requestCount = 0;

  static connect(options: StoreSessionOptions): Promise<StoreSession> {
    return new Promise((resolve, reject) => {
      const channel = new Channel({ target: options.target, token: options.token, peer: 'the daemon' });
      const stream = channel.open('Daemon.Store');
      let session: StoreSession | undefined;
      stream.onMessage = (message) => {
        if (message.type === 'storeWelcome') resolve((session = new StoreSession(channel, stream, message)));
        else if (message.type === 'workerCommand') options.onCommand?.(message);
        else if (message.type !== 'collectGarbage') session!.#waiting.get(message.requestId)?.(message);
      };
      stream.onEnd = (failure) => {
        channel.close();
        reject(failure);
        session?.abandon(failure ?? makeError('NOT_CONNECTED', { cause: 'has ended' }));
        options.onEnd?.(failure);
      };
      stream.send({ type: 'storeHello', processId: options.processId, jobId: '', pid: process.pid, endpoint: options.endpoint ?? NO_ENDPOINT });
    });
  }

  private constructor(channel: Channel, stream: MessageStream<StoreRequest, StoreReply>, welcome: StoreWelcome) {
    this.#channel = channel;
    this.#stream = stream;
    this.welcome = welcome;
    this.#arena = Arena.open(welcome.arenaPath);
  }

  send(request: StoreRequest): void {
    this.#stream.send(request);
  }

  allocate(sizeBytes: number, timeoutMs = 10_000): Promise<Allocated> {
    return this.#ask<Allocated>((requestId) => ({ type: 'allocate', requestId, sizeBytes, timeoutMs }));
  }

  /** Resolves when others can fetch the object. */
  async put(objectId: string, bytes: Uint8Array): Promise<void> {
    const { offset } = await this.allocate(bytes.length);
    this.#arena.write(offset, bytes);
    this.send({ type: 'seal', objectId, offset, sizeBytes: bytes.length });
    this.send({ type: 'returnBlock', offset });
    await this.#ask<Synced>((requestId) => ({ type: 'sync', requestId }));
  }

  /** Pins the object. */
  fetch(objectId: string, sizeBytes: number, locations: readonly Endpoint[] = []): Promise<Fetched> {
    return this.#ask<Fetched>((requestId) => ({ type: 'fetch', requestId, objectId, sizeBytes, locations }));
  }

  /** The object's bytes; it is pinned only meanwhile. */
  async read(objectId: string, sizeBytes: number, locations: readonly Endpoint[] = []): Promise<Buffer> {
    const fetched = await this.fetch(objectId, sizeBytes, locations);
    const bytes = Buffer.alloc(fetched.sizeBytes);
    this.#arena.read(fetched.offset, bytes);
    this.send({ type: 'release', objectId });
    return bytes;
  }

  close(): void {
    this.#stream.destroy();
    this.#channel.close();
    this.#arena.close();
  }

  /** The connection is over: nobody will answer. */
  private abandon(failure: MusterError): void {
    for (const answer of this.#waiting.values()) answer(failure);
  }

  async #ask<Reply extends Allocated | Fetched | Synced>(request: (requestId: number) => StoreRequest): Promise<Reply> {
    const requestId = ++this.#requestCount;
    const reply = await new Promise<Reply | MusterError>((resolve) => {
      this.#waiting.set(requestId, resolve as never);
      this.send(request(requestId));
    });
    this.#waiting.delete(requestId);
    if (reply instanceof MusterError) throw reply;
    if ('failure' in reply && reply.failure) throw failureFromMessage(reply.failure);
    return reply;
  }
}
