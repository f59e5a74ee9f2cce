/** The called side: one gRPC server per process, which checks token and version before any handler sees a call. */
import { chmodSync } from 'node:fs';
import type { ServerHttp2Session } from 'node:http2';
import { Metadata, Server, ServerCredentials, type sendUnaryData, type ServerDuplexStream, type ServerUnaryCall, type ServerWritableStream } from '@grpc/grpc-js';
import { makeError, type MusterError } from '@muster/base';
import type { MessageStream } from './client.js';
import { readMessages, writerOf, type MessageWriter } from './batch.js';
import { watch } from './liveness.js';
import { isDuplex, METHODS, methodPath, PROMPT_CALLER_PATHS, type AllMethods, type DownloadMethods, type DuplexMethods, type UnaryMethods } from './methods.js';
import { onSession, unrefServer } from './inside.js';
import { CHANNEL_OPTIONS, credentialsFailure, statusOfFailure } from './wire.js';

type DuplexHandler<Name extends keyof DuplexMethods> = (
  stream: MessageStream<DuplexMethods[Name]['reply'], DuplexMethods[Name]['request']>, metadata: (key: string) => string,
) => void;

/** What a server answers. A handler must set the stream's `onMessage` and `onEnd` before it returns. */
export type Handlers = {
  readonly [Name in keyof DuplexMethods]?: DuplexHandler<Name>;
} & {
  readonly [Name in keyof UnaryMethods]?: (request: UnaryMethods[Name]['request']) => Promise<UnaryMethods[Name]['reply']>;
} & {
  readonly [Name in keyof DownloadMethods]?: (request: DownloadMethods[Name]['request']) => AsyncIterable<DownloadMethods[Name]['reply']>;
};

export interface ServerOptions {
  readonly token: string;
  /** Names this process in its refusals: `the head`. */
  readonly self: string;
  readonly handlers: Handlers;
}

/** Serves handlers on any number of addresses. */
export class RpcServer {
  readonly #server = new Server({ ...CHANNEL_OPTIONS });

  constructor(options: ServerOptions) {
    for (const name of Object.keys(options.handlers) as (keyof AllMethods)[]) {
      const method = METHODS[name];
      this.#server.register(
        methodPath(name), serve(name, options) as never, (reply) => (isDuplex(method) ? reply : method.reply.encode(reply as never)) as Buffer,
        (bytes) => (isDuplex(method) ? readMessages(method.shape, bytes, method.request) : method.request.decode(bytes)),
        isDuplex(method) ? 'bidi' : method.shape === 'unary' ? 'unary' : 'serverStream',
      );
    }
  }

  /** Listens on a unix socket, readable by its owner only. The folder must be 0700 already. */
  async listenUnix(path: string): Promise<void> {
    await this.#bind(`unix:${path}`);
    chmodSync(path, 0o600);
  }

  /** Listens on TCP; port 0 takes any free one. Returns the port. @throws MusterError CONNECTION when the port is taken. */
  listenTcp(host: string, port: number): Promise<number> {
    return this.#bind(host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
  }

  /** From now on the server keeps no process alive. Call it when it listens everywhere. */
  unref(): void {
    unrefServer(this.#server);
  }

  /** Ends all connections at once. */
  close(): void {
    this.#server.forceShutdown();
  }

  #bind(address: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
        if (error) return reject(makeError('CONNECTION', { what: address, cause: error.message }, { cause: error }));
        onSession(this.#server, watchCaller);
        resolve(port);
      });
    });
  }
}

/** A connection that has made no call by then is ended: it is nobody who knows the protocol. */
const STRANGER_TIMEOUT_MS = 3000;

/** Drops strangers at once, and known callers when they have gone silent. */
function watchCaller(session: ServerHttp2Session): void {
  const timer = setTimeout(() => session.destroy(), STRANGER_TIMEOUT_MS).unref();
  session.once('stream', (_stream, headers) => {
    clearTimeout(timer);
    watch(session, PROMPT_CALLER_PATHS.has(headers[':path'] ?? ''), () => session.destroy());
  });
  session.once('close', () => clearTimeout(timer));
  session.on('error', () => session.destroy()); // such as frames that break HTTP/2
}

function serve(name: keyof AllMethods, options: ServerOptions): (call: never, callback: never) => void {
  const handler = options.handlers[name] as never;
  const { shape, reply } = METHODS[name];
  switch (shape) {
    case 'duplex':
    case 'frames':
      return (call: ServerDuplexStream<readonly unknown[], Uint8Array>) => {
        const failure = credentialsFailure(call.metadata, options.token, options.self);
        if (failure) return refuse(call, failure);
        call.sendMetadata(new Metadata()); // tells the client at once that it was let in
        const stream = wrapCall(call, writerOf(shape, call, reply));
        (handler as DuplexHandler<keyof DuplexMethods>)(stream as never, (key) => String(call.metadata.get(key)[0] ?? ''));
      };
    case 'unary':
      return (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) => {
        const failure = credentialsFailure(call.metadata, options.token, options.self);
        if (failure) return callback(statusOfFailure(failure));
        (handler as (request: unknown) => Promise<unknown>)(call.request).then(
          (reply) => callback(null, reply), (error: unknown) => callback(statusOfFailure(error)));
      };
    case 'download':
      return (call: ServerWritableStream<unknown, unknown>) => {
        const failure = credentialsFailure(call.metadata, options.token, options.self);
        if (failure) return refuse(call, failure);
        void pump((handler as (request: unknown) => AsyncIterable<unknown>)(call.request), call);
      };
  }
}

function refuse(call: { emit(event: 'error', error: unknown): boolean; on(event: 'error', listener: () => void): unknown }, failure: unknown): void {
  call.emit('error', statusOfFailure(failure));
}

async function pump(replies: AsyncIterable<unknown>, call: ServerWritableStream<unknown, unknown>): Promise<void> {
  const gone = new Promise<void>((resolve) => { call.once('cancelled', resolve); call.once('close', resolve); });
  try {
    for await (const reply of replies) {
      if (call.cancelled) return;
      if (!call.write(reply)) await Promise.race([new Promise((resolve) => call.once('drain', resolve)), gone]);
    }
    call.end();
  } catch (error) {
    refuse(call, error);
  }
}

function wrapCall(call: ServerDuplexStream<readonly unknown[], Uint8Array>, writer: MessageWriter<never>): MessageStream<never, unknown> {
  let over = false;
  const finish = (failure: MusterError | undefined): void => {
    if (over) return;
    over = true;
    writer.drop();
    stream.onEnd(failure);
  };
  const stream: MessageStream<never, unknown> = {
    send: (message) => !over && writer.send(message),
    end: () => {
      if (over) return;
      writer.flush();
      call.end();
    },
    destroy: (failure) => {
      if (over) return;
      writer.flush();
      if (failure) refuse(call, failure);
      else call.end();
      finish(failure);
    },
    onMessage: () => {}, onEnd: () => {}, onDrain: () => {},
  };
  call.on('data', (messages: readonly unknown[]) => {
    try {
      for (const message of messages) if (!over) stream.onMessage(message);
    } catch (error) { // a message that breaks a rule ends its own stream, never the process
      stream.destroy(error as MusterError);
    }
  });
  call.on('drain', () => {
    writer.drained();
    stream.onDrain();
  });
  call.on('cancelled', () => finish(makeError('CONNECTION', { what: 'the peer', cause: 'the connection closed' })));
  call.on('error', () => finish(makeError('CONNECTION', { what: 'the peer', cause: 'the connection broke' })));
  call.on('end', () => setImmediate(() => { // a cancelled call ends too, and says so a moment later
    if (over) return;
    writer.flush();
    call.end();
    finish(undefined);
  }));
  return stream;
}
