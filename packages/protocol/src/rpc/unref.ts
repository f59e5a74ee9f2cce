/**
 * Keeps connections from holding a process alive, as `unref` does for sockets. gRPC has no such call, so this reaches for the HTTP/2
 * sessions inside of @grpc/grpc-js, whose version is pinned; a test holds that a program ends by itself.
 */
import type { Client, Server } from '@grpc/grpc-js';
import type { ClientHttp2Session, Http2Server } from 'node:http2';

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

/** The server's sockets, and connections that it accepts from now on, no longer keep this process alive. */
export function unrefServer(server: Server): void {
  for (const http2Server of (server as unknown as ServerInside).http2Servers?.keys() ?? []) {
    http2Server.unref();
    http2Server.on('session', (session) => session.unref());
  }
}
