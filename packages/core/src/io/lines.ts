/** Connections to other processes that run users' code, as gRPC streams: lines to workers, and to the owners of borrowed references. */
import { frameMessages, FrameReader, targetOf, type Endpoint } from '@muster/protocol';
import { Channel } from '@muster/protocol/rpc';
import type { LenderHandlers, LenderTransport } from '../machine/borrowing.js';
import type { LineHandlers, LineTarget, LineTransport } from '../machine/line.js';

/** Who connects. */
interface Self {
  readonly processId: string;
  readonly nodeId: string;
  readonly token: string;
  /** Its connections do not keep it alive. */
  readonly unref: boolean;
}

/** Opens a Peer.Objects stream to the owner of references. */
export function openLender(target: { readonly ownerId: string; readonly endpoint: Endpoint }, handlers: LenderHandlers, self: Self): LenderTransport {
  const channel = new Channel({ target: targetOf(target.endpoint, self.nodeId), token: self.token, unref: self.unref, peer: `the owner ${target.ownerId}` });
  const stream = channel.open('Peer.Objects');
  stream.onMessage = (message) => handlers.onMessage(message);
  stream.onEnd = () => {
    channel.close();
    handlers.onClosed();
  };
  return {
    send: (message) => void stream.send(message),
    close: () => {
      stream.end();
      channel.close();
    },
  };
}

/** Opens a Peer.Tasks stream to a worker. */
export function openLine(target: LineTarget, handlers: LineHandlers, self: Self): LineTransport {
  const channel = new Channel({ target: targetOf(target.endpoint, self.nodeId), token: self.token, unref: self.unref, peer: `the worker ${target.workerId}` });
  const stream = channel.open('Peer.Tasks', {
    'caller-id': self.processId, 'lease-id': target.leaseId, 'actor-id': target.actorId, 'incarnation': String(target.incarnation),
  });
  const reader = new FrameReader();
  stream.onMessage = (message) => {
    const payload = reader.take(message);
    if (payload) handlers.onFrame(payload);
  };
  stream.onDrain = () => handlers.onDrain();
  stream.onEnd = (failure) => {
    channel.close();
    handlers.onClosed(failure?.message ?? 'the worker closed the connection');
  };
  return {
    send: (frame) => frameMessages(frame).map((message) => stream.send(message)).every((mayGoOn) => mayGoOn),
    close: () => {
      stream.end();
      channel.close();
    },
  };
}
