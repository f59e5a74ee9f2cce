/** Lines to workers as gRPC streams. */
import { Channel, framePayload, targetOf } from '@muster/protocol';
import type { LineHandlers, LineTarget, LineTransport } from '../machine/line.js';

/** Opens a Peer.Tasks stream to a worker. */
export function openLine(target: LineTarget, handlers: LineHandlers, self: { readonly processId: string; readonly nodeId: string; readonly token: string; readonly unref: boolean }): LineTransport {
  const channel = new Channel({ target: targetOf(target.endpoint, self.nodeId), token: self.token, unref: self.unref, peer: `the worker ${target.workerId}` });
  const stream = channel.open('Peer.Tasks', {
    'caller-id': self.processId, 'lease-id': target.leaseId, 'actor-id': target.actorId, 'incarnation': String(target.incarnation),
  });
  stream.onMessage = (frame) => handlers.onFrame(framePayload(frame));
  stream.onDrain = () => handlers.onDrain();
  stream.onEnd = (failure) => {
    channel.close();
    handlers.onClosed(failure?.message ?? 'the worker closed the connection');
  };
  return {
    send: (frame) => stream.send(frame),
    close: () => {
      stream.end();
      channel.close();
    },
  };
}
