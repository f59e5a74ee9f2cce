/** Lets callers' task streams in: that of the lease's holder, or those of anybody who calls the actor that lives here. Others are refused at once. */
import { makeError, MusterError } from '@muster/base';
import { frameMessages, FrameReader, type MessageStream } from '@muster/protocol';
import { CallerLine } from './caller-line.js';
import type { Executor } from './executor.js';

/** What admission needs to know of its worker. */
export interface AdmissionOptions {
  readonly workerId: string;
  /** Of the present lease; empty: none. */
  readonly leaseId: () => string;
  /** Calls back when everything that the daemon has said up to now has been heard; `lost` when the daemon is gone. */
  readonly whenHeardDaemon: (heard: () => void, lost: () => void) => void;
}

type CallerStream = MessageStream<Uint8Array, Uint8Array>;
type Served = Pick<Executor, 'actor' | 'addLine' | 'removeLine' | 'receive'>;

export class Admission {
  readonly #served = new Map<CallerLine, CallerStream>();

  constructor(readonly executor: Served, readonly options: AdmissionOptions) {}

  /**
   * Serves a caller's stream. The daemon names a lease to its worker before anybody hears of it, though on another connection: a stream may be
   * ahead of that word, but not of the daemon's answer to a question asked now. An actor is there before anybody is told of it.
   */
  serve(stream: CallerStream, metadata: (key: string) => string): void {
    const line = new CallerLine(metadata('caller-id'), metadata('lease-id'), (frame) => { for (const message of frameMessages(frame)) stream.send(message); });
    const reader = new FrameReader();
    const early: Uint8Array[] = [];
    let isOver = false;
    const admit = (): boolean => {
      if (line.leaseId ? line.leaseId !== this.options.leaseId() : this.executor.actor === null || this.executor.actor.id !== metadata('actor-id')) return false;
      this.#served.set(line, stream);
      this.executor.addLine(line);
      for (const payload of early.splice(0)) this.executor.receive(line, payload);
      return true;
    };
    stream.onMessage = (message) => {
      const payload = reader.take(message);
      if (!payload) return;
      if (this.#served.has(line)) this.executor.receive(line, payload);
      else if (!isOver) early.push(payload);
    };
    stream.onEnd = () => {
      isOver = true;
      if (this.#served.delete(line)) this.executor.removeLine(line);
    };
    if (admit()) return;
    const refuse = (): void => stream.destroy(this.#refusal(line, 'it has no lease on'));
    if (!line.leaseId) return refuse();
    this.options.whenHeardDaemon(() => { if (!isOver && !admit()) refuse(); }, refuse);
  }

  /** The worker has another lease, or none: who held the one before is served no longer. */
  leaseChanged(): void {
    for (const line of [...this.#served.keys()]) {
      if (line.leaseId && line.leaseId !== this.options.leaseId()) this.end(line, this.#refusal(line, 'its lease has ended on'));
    }
  }

  /** Serves a caller no longer, and says why. */
  end(line: CallerLine, error: unknown): void {
    const stream = this.#served.get(line);
    if (!stream) return;
    this.#served.delete(line);
    this.executor.removeLine(line);
    stream.destroy(error instanceof MusterError ? error : makeError('PROTOCOL', { what: line.callerId, cause: `a record could not be read: ${String(error)}` }, { cause: error }));
  }

  #refusal(line: CallerLine, why: string): MusterError {
    return makeError('PROTOCOL', { what: line.callerId, cause: `${why} ${this.options.workerId}` });
  }
}
