/**
 * The HTTP/2 sessions inside of @grpc/grpc-js, for what it has no calls for: connections that do not keep a process alive, and the end
 * of those that never speak. Its version is pinned; tests hold that a program ends by itself and that strangers are dropped.
 */
import type { Client, Server } from '@grpc/grpc-js';
import type { ClientHttp2Session, Http2Server, ServerHttp2Session } from 'node:http2';

interface ChannelInside {
  readonly internalChannel?: {
    readonly subchannelPool?: {
      readonly pool?: Readonly<Record<string, readonly { readonly subchannel?: { readonly transport?: { readonly session?: ClientHttp2Session } } }[]>>;
    };
  };
}

/** The channel's connections no longer keep this process alive. Call it again when a call has connected. */
export function unrefClient(client: Client): void {
  const pool = (client.getChannel() as ChannelInside).internalChannel?.subchannelPool?.pool ?? {};
  for (const entries of Object.values(pool)) {
    for (const { subchannel } of entries) {
      const session = subchannel?.transport?.session;
      if (!session) continue;
      session.ref = () => {}; // gRPC refs the session with each first call
      session.unref();
    }
  }
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
