/** The streams of nodes and clients: numbers for the machine, gRPC streams for the world, and a bound on what waits to be sent. */
import { makeError, type MusterError } from '@muster/base';
import type { HeadToClient, HeadToNode, LogLines, MessageStream } from '@muster/protocol';

/**
 * Messages that may wait for a peer that does not read. A driver may be busy in its user's code for minutes, and meets a few
 * messages a second; one that lets this many pass will not catch up.
 */
const BACKLOG_MAX_MESSAGES = 100_000;
/** Lines of output that are held back meanwhile. The rest is counted; the logs have it all. */
const HELD_MAX_LINES = 10_000;

type Outgoing = HeadToNode | HeadToClient;
type OutgoingLog = { readonly type: 'logLines' } & LogLines;
type OutgoingStream = Pick<MessageStream<Outgoing, never>, 'send' | 'end' | 'destroy' | 'onDrain'>;

interface Connection {
  readonly stream: OutgoingStream;
  /** The peer reads more slowly than it is sent to. */
  isFull: boolean;
  /** Messages sent since then. */
  backlog: number;
  /** Output that waits until the peer has caught up. */
  readonly held: OutgoingLog[];
  heldLines: number;
  /** Lines that were left out after those. */
  suppressedCount: number;
}

/** Of output, what does not fit is left out; of everything else, a peer that does not read at all is given up. */
export class Streams {
  readonly #connections = new Map<number, Connection>();
  #count = 0;

  /** The number of a new stream. */
  add(stream: OutgoingStream): number {
    const id = ++this.#count;
    const connection: Connection = { stream, isFull: false, backlog: 0, held: [], heldLines: 0, suppressedCount: 0 };
    stream.onDrain = () => {
      connection.isFull = false;
      connection.backlog = 0;
      while (connection.held.length > 0 && !connection.isFull) releaseLog(connection);
    };
    this.#connections.set(id, connection);
    return id;
  }

  /** Whether the machine still counted on it. */
  remove(id: number): boolean {
    return this.#connections.delete(id);
  }

  /** Returns false when the stream was given up because its peer does not read. */
  send(id: number, message: Outgoing): boolean {
    const connection = this.#connections.get(id);
    if (connection === undefined) return true;
    if (message.type === 'logLines' && connection.isFull) holdLog(connection, message);
    else write(connection, message);
    if (connection.backlog < BACKLOG_MAX_MESSAGES) return true;
    this.close(id, makeError('CONNECTION', { what: 'the peer', cause: `it has not read ${BACKLOG_MAX_MESSAGES} messages` }));
    return false;
  }

  /** Without a failure, what was sent before still arrives. */
  close(id: number, failure: MusterError | null): void {
    const connection = this.#connections.get(id);
    if (connection === undefined) return;
    this.#connections.delete(id);
    if (failure === null) connection.stream.end();
    else connection.stream.destroy(failure);
  }
}

function write(connection: Connection, message: Outgoing): void {
  if (message.type === 'jobEnded') while (connection.held.length > 0) releaseLog(connection); // it is the last message
  if (!connection.stream.send(message)) connection.isFull = true;
  if (connection.isFull) connection.backlog++;
}

function holdLog(connection: Connection, log: OutgoingLog): void {
  if (connection.heldLines >= HELD_MAX_LINES) {
    connection.suppressedCount += log.lines.length + log.suppressedCount;
    return;
  }
  connection.held.push(log);
  connection.heldLines += log.lines.length;
}

function releaseLog(connection: Connection): void {
  const log = connection.held.shift()!;
  connection.heldLines -= log.lines.length;
  write(connection, log);
  if (connection.held.length > 0 || connection.suppressedCount === 0) return;
  const { suppressedCount } = connection;
  connection.suppressedCount = 0;
  write(connection, { ...log, lines: [], suppressedCount });
}
