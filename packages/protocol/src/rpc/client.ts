/** The calling side of a connection: one channel to one peer, and typed streams and requests on it. */
import type { EventEmitter } from 'node:events';
import { Client, credentials, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { formatDurationMs, makeError, MusterError } from '@muster/base';
import { readMessages, writerOf, type MessageWriter } from './batch.js';
import { hasPromptServer, METHODS, methodPath, type AllMethods, type DownloadMethods, type DuplexMethods, type UnaryMethods } from './methods.js';
import { onConnected, sessionsOf, unrefClient } from './inside.js';
import { SILENCE_MAX_MS, watch } from './liveness.js';
import { CHANNEL_OPTIONS, failureFromStatus, requestMetadata } from './wire.js';

/** One side of a duplex stream. Messages arrive in the order they were sent. */
export interface MessageStream<Outgoing, Incoming> {
  /** False: the peer reads slower than this side writes; wait for `onDrain` before sending bulk. */
  send(message: Outgoing): boolean;
  /** Half-closes: everything sent before still arrives. */
  end(): void;
  /** Ends at once. On a server the failure reaches the client. */
  destroy(failure?: MusterError): void;
  /** Set once, synchronously after the stream was made. */
  onMessage: (message: Incoming) => void;
  /** Called exactly once: without a failure when the peer ended the stream in order. */
  onEnd: (failure: MusterError | undefined) => void;
  onDrain: () => void;
}

export interface ChannelOptions {
  /** `unix:/path` or `host:port`; see targetOf. */
  readonly target: string;
  readonly token: string;
  /** Names the peer in errors: `the head at 10.0.0.1:6380`. */
  readonly peer: string;
  /** Does not keep this process alive once it is connected. */
  readonly unref?: boolean;
}

/** A channel to one peer. It connects on the first call, or before. */
export class Channel {
  readonly #client: Client;
  readonly #options: ChannelOptions;
  /** Its peer answered no more, and the connection was given up. */
  #wasSilent = false;

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#client = new Client(options.target, credentials.createInsecure(), { ...CHANNEL_OPTIONS, 'grpc.default_authority': 'muster' });
  }

  /** Begins to connect. What becomes of it shows at the first call. */
  connect(): void {
    this.#client.getChannel().getConnectivityState(true);
  }

  /** Opens a duplex stream. Failures to connect or to authenticate arrive at `onEnd`. */
  open<Name extends keyof DuplexMethods>(
    name: Name, metadata?: Readonly<Record<string, string>>,
  ): MessageStream<DuplexMethods[Name]['request'], DuplexMethods[Name]['reply']> {
    const method = METHODS[name];
    const call = this.#client.makeBidiStreamRequest<Uint8Array, readonly DuplexMethods[Name]['reply'][]>(
      methodPath(name), (bytes) => bytes as Buffer, (bytes) => readMessages(method.shape, bytes, method.reply), requestMetadata(this.#options.token, metadata),
    );
    this.#watch(name, call);
    return wrapCall(call, writerOf(method.shape, call, method.request), (error) => this.#failure(error));
  }

  /** One request and its reply. @throws MusterError */
  request<Name extends keyof UnaryMethods>(name: Name, message: UnaryMethods[Name]['request'], timeoutMs: number): Promise<UnaryMethods[Name]['reply']> {
    const method = METHODS[name];
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest<UnaryMethods[Name]['request'], UnaryMethods[Name]['reply']>(
        methodPath(name), (m) => method.request.encode(m as never) as Buffer, (bytes) => method.reply.decode(bytes), message,
        requestMetadata(this.#options.token), { deadline: Date.now() + timeoutMs },
        (error, reply) => (error ? reject(this.#failure(error)) : resolve(reply!)),
      );
      this.#watch(name, call);
    });
  }

  /**
   * One request and a stream of replies, read at the consumer's pace. Leaving the loop cancels the call, and so does the signal.
   * @throws MusterError, or the signal's reason
   */
  async *download<Name extends keyof DownloadMethods>(
    name: Name, message: DownloadMethods[Name]['request'], signal?: AbortSignal,
  ): AsyncGenerator<DownloadMethods[Name]['reply']> {
    signal?.throwIfAborted();
    const method = METHODS[name];
    const call = this.#client.makeServerStreamRequest<DownloadMethods[Name]['request'], DownloadMethods[Name]['reply']>(
      methodPath(name), (m) => method.request.encode(m as never) as Buffer, (bytes) => method.reply.decode(bytes), message,
      requestMetadata(this.#options.token),
    );
    this.#watch(name, call);
    const abort = (): void => call.cancel();
    signal?.addEventListener('abort', abort);
    try {
      for await (const reply of call) yield reply;
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#failure(error as ServiceError);
    } finally {
      signal?.removeEventListener('abort', abort);
      call.cancel();
    }
  }

  close(): void {
    this.#client.close();
  }

  /** Watches the connection that a call is made on, as soon as there is one. */
  #watch(name: keyof AllMethods, call: Pick<EventEmitter, 'once'>): void {
    if (this.#options.unref) onConnected(this.#client, () => unrefClient(this.#client));
    call.once('metadata', () => {
      this.#wasSilent = false;
      for (const session of sessionsOf(this.#client)) {
        watch(session, hasPromptServer(name), () => {
          this.#wasSilent = true;
          session.destroy();
        });
      }
    });
  }

  #failure(error: ServiceError): MusterError {
    const { peer } = this.#options;
    if (!this.#wasSilent) return failureFromStatus(error, peer);
    return makeError('CONNECTION', { what: peer, cause: `it has answered nothing for ${formatDurationMs(SILENCE_MAX_MS)}` }, { cause: error });
  }
}

function wrapCall<Outgoing, Incoming>(
  call: ClientDuplexStream<Uint8Array, readonly Incoming[]>, writer: MessageWriter<Outgoing>, failureOf: (error: ServiceError) => MusterError,
): MessageStream<Outgoing, Incoming> {
  let over = false;
  const finish = (failure: MusterError | undefined): void => {
    if (over) return;
    over = true;
    writer.drop();
    stream.onEnd(failure);
  };
  const stream: MessageStream<Outgoing, Incoming> = {
    send: (message) => !over && writer.send(message),
    end: () => {
      writer.flush();
      call.end();
    },
    destroy: () => {
      writer.drop();
      call.cancel();
    },
    onMessage: unset, onEnd: unset, onDrain: () => {},
  };
  call.on('data', (messages: readonly Incoming[]) => {
    try {
      for (const message of messages) if (!over) stream.onMessage(message);
    } catch (error) { // a message that breaks a rule ends its own stream, never the process
      if (!(error instanceof MusterError)) throw error;
      call.cancel();
      finish(error);
    }
  });
  call.on('drain', () => {
    writer.drained();
    stream.onDrain();
  });
  call.on('error', (error: ServiceError) => finish(failureOf(error)));
  call.on('status', (state) => { if (state.code === 0) finish(undefined); });
  return stream;
}

function unset(): never {
  throw makeError('INTERNAL', { what: 'a stream was used before its handlers were set' });
}
