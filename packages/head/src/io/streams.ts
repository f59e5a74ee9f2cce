/** The streams of nodes and clients: numbers for the machine, gRPC streams for the world, and a bound on what waits to be sent. */
import { makeError, type MusterError } from '@muster/base';
import type { HeadToClient, HeadToNode, LogLines, MessageStream } from '@muster/protocol';

/**
 * Messages that may wait for a peer that does not read. A driver may be busy in its user's code for minutes, and meets a few
 * messages a second; one that lets this many pass will not catch up.
 */
const BACKLOG_MAX_MESSAGES = 100_000;

type Outgoing = HeadToNode | HeadToClient;

interface Connection {
  readonly stream: MessageStream<Outgoing, unknown>;
  /** Sent since the peer last kept up; 0 while it does. */
  backlog: number;
  /** Lines of output left out meanwhile. */
  suppressedLines: number;
}

export class Streams {
  readonly #connections = new Map<number, Connection>();
  #count = 0;

  /** The number of a new stream. */
  add(stream: MessageStream<Outgoing, never>): number {
    const id = ++this.#count;
    const connection: Connection = { stream: stream as MessageStream<Outgoing, unknown>, backlog: 0, suppressedLines: 0 };
    stream.onDrain = () => { connection.backlog = 0; };
    this.#connections.set(id, connection);
    return id;
  }

  /** Whether the machine still counts on it. */
  remove(id: number): boolean {
    return this.#connections.delete(id);
  }

  /** Returns false when the stream was given up because its peer does not read. */
  send(id: number, message: Outgoing): boolean {
    const connection = this.#connections.get(id);
    if (connection === undefined) return true;
    const waits = connection.backlog > 0;
    if (message.type === 'logLines') {
      if (waits) { // output is also in a file; it is the one thing that may be left out
        connection.suppressedLines += message.lines.length + message.suppressedCount;
        return true;
      }
      message = this.#withSuppressed(connection, message);
    }
    if (connection.stream.send(message) && !waits) return true;
    if (++connection.backlog < BACKLOG_MAX_MESSAGES) return true;
    this.close(id, makeError('CONNECTION', { what: 'the peer', cause: `it has not read for ${BACKLOG_MAX_MESSAGES} messages` }));
    return false;
  }

  /** Without a failure, what was sent before still arrives. */
  close(id: number, failure: MusterError | null): void {
    const connection = this.#connections.get(id);
    if (!this.#connections.delete(id)) return;
    if (failure === null) connection!.stream.end();
    else connection!.stream.destroy(failure);
  }

  #withSuppressed(connection: Connection, message: { readonly type: 'logLines' } & LogLines): { readonly type: 'logLines' } & LogLines {
    if (connection.suppressedLines === 0) return message;
    const suppressedCount = message.suppressedCount + connection.suppressedLines;
    connection.suppressedLines = 0;
    return { ...message, suppressedCount };
  }
}
