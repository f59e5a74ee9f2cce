/**
 * The HTTP/2 sessions inside of @grpc/grpc-js, for what it has no calls for: connections that do not keep a process alive, the end of those that
 * never speak, and the watch over those that fall silent. Its version is pinned; tests hold that a program ends by itself, that strangers are dropped,
 * and that silence is noticed.
 */
import type { Client, Server } from '@grpc/grpc-js';
import type { ClientHttp2Session, Http2Server, Http2Session, ServerHttp2Session } from 'node:http2';

interface ChannelInside {
  readonly internalChannel?: {
    readonly subchannelPool?: {
      readonly pool?: Readonly<Record<string, readonly { readonly subchannel?: { readonly transport?: { readonly session?: ClientHttp2Session } } }[]>>;
    };
  };
}

/** The connections that a client has at present. */
export function sessionsOf(client: Client): ClientHttp2Session[] {
  const pool = (client.getChannel() as ChannelInside).internalChannel?.subchannelPool?.pool ?? {};
  return Object.values(pool).flatMap((entries) => entries.flatMap(({ subchannel }) => subchannel?.transport?.session ?? []));
}

/** Calls back when the channel has a connection, however long its first answer takes: a peer may compute before it says a word. */
export function onConnected(client: Client, callback: () => void): void {
  client.waitForReady(Infinity, () => queueMicrotask(callback)); // it says so a moment before its connection can be found
}

/** The channel's connections no longer keep this process alive. */
export function unrefClient(client: Client): void {
  for (const session of sessionsOf(client)) {
    session.ref = () => {}; // gRPC refs the session with each first call
    session.unref();
  }
}

interface SocketInside {
  /** Pipes have no such call. */
  readonly _handle?: { readonly setKeepAlive?: (enable: boolean, afterSeconds: number) => void } | null;
}

/** Has the kernel ask an idle peer whether it is there. False for a unix socket, whose end the kernel knows by itself. */
export function keepAlive(session: Http2Session, afterMs: number): boolean {
  const handle = (session.socket as SocketInside)._handle;
  if (!handle?.setKeepAlive) return false;
  handle.setKeepAlive(true, Math.ceil(afterMs / 1000));
  return true;
}

interface ServerInside {
  readonly http2Servers?: ReadonlyMap<Http2Server, unknown>;
}

const watched = new WeakSet<Http2Server>();

/** Calls back for each connection that the server accepts from now on. To be called after each bind. */
export function onSession(server: Server, callback: (session: ServerHttp2Session) => void): void {
  for (const http2Server of (server as unknown as ServerInside).http2Servers?.keys() ?? []) {
    if (watched.has(http2Server)) continue;
    watched.add(http2Server);
    http2Server.on('session', callback);
  }
}

/** The server's sockets, and connections that it accepts from now on, no longer keep this process alive. */
export function unrefServer(server: Server): void {
  for (const http2Server of (server as unknown as ServerInside).http2Servers?.keys() ?? []) {
    http2Server.unref();
    http2Server.on('session', (session) => session.unref());
  }
}
