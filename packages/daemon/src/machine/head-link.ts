/**
 * The daemon's relation to the head: registers, beats, notices a broken connection, comes back, and gives up in the end.
 *
 *     start ──> connecting ──nodeRegistered──> registered
 *                 ^   │ stream ended, or no answer   │ stream ended
 *                 │   v                              │
 *                 └─ waiting <───────────────────────┘
 *
 * It gives up when the head refuses the node, or cannot be reached for twice the time after which it counts the node as dead anyway.
 */
import { formatDurationMs, makeError, type MusterError, type Random } from '@muster/base';
import { failureFromMessage, type HeadToNode, type NodeToHead } from '@muster/protocol';
import type { Emit } from './messages.js';

/** How long a node that was never registered looks for its head. */
export const FIRST_CONNECT_TIMEOUT_MS = 10_000;
/** A head that has accepted the connection but not answered by then is tried anew. */
export const REGISTER_TIMEOUT_MS = 5000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 2000;

/** What the link says for the node, and whom it tells. */
export interface HeadLinkOptions {
  readonly random: Random;
  readonly registration: NodeToHead & { readonly type: 'registerNode' };
  /** What the heartbeat says about the node. */
  readonly vitals: () => { readonly objectStoreUsedBytes: number; readonly spilledBytes: number; readonly objectCount: number; readonly workerCount: number };
  /** Registered, for the first time (null) or again; what was sent up to `lostAtMs` may not have arrived. */
  readonly onRegistered: (lostAtMs: number | null) => void;
  readonly onGivenUp: (reason: string, failure: MusterError) => void;
}

type Registered = HeadToNode & { readonly type: 'nodeRegistered' };

/** Whether the head hears this node, and what is done when it does not. */
export class HeadLink {
  readonly #options: HeadLinkOptions;
  readonly #emit: Emit;
  #state: 'connecting' | 'registered' | 'waiting' = 'waiting';
  /** When to do the next thing: to connect, to give up the attempt, or to beat. */
  #nextMs = Infinity;
  #attempts = 0;
  #beats = 0;
  /** Since when there is no connection. */
  #lostAtMs = 0;
  #lastFailure: MusterError | null = null;
  #isFirst = true;
  #heartbeatIntervalMs = 0;
  #patienceMs = FIRST_CONNECT_TIMEOUT_MS;

  constructor(options: HeadLinkOptions, emit: Emit) {
    this.#options = options;
    this.#emit = emit;
  }

  get isRegistered(): boolean {
    return this.#state === 'registered';
  }

  start(nowMs: number): void {
    this.#lostAtMs = nowMs;
    this.#connect(nowMs);
  }

  registered(message: Registered, nowMs: number): void {
    if (message.failure) return this.#giveUp('the head refused the node', failureFromMessage(message.failure));
    if (this.#state !== 'connecting') return;
    this.#state = 'registered';
    this.#attempts = 0;
    this.#heartbeatIntervalMs = message.heartbeatIntervalMs;
    this.#patienceMs = message.nodeTimeoutMs * 2;
    this.#nextMs = nowMs;
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    this.#options.onRegistered(isFirst ? null : this.#lostAtMs);
    this.tick(nowMs);
  }

  ended(failure: MusterError | null, nowMs: number): void {
    if (this.#state === 'waiting') return;
    if (failure?.code === 'AUTHENTICATION' || failure?.code === 'VERSION_MISMATCH') return this.#giveUp('the head refused the node', failure);
    if (this.#state === 'registered') this.#lostAtMs = nowMs;
    this.#lastFailure = failure ?? makeError('CONNECTION', { what: 'the head', cause: 'it closed the connection' });
    this.#wait(nowMs);
  }

  tick(nowMs: number): void {
    if (this.#state !== 'registered' && nowMs - this.#lostAtMs >= this.#patienceMs) return this.#loseHope();
    if (nowMs < this.#nextMs) return;
    switch (this.#state) {
      case 'waiting': return this.#connect(nowMs);
      case 'connecting':
        this.#lastFailure = makeError('CONNECTION', { what: 'the head', cause: `it did not answer within ${formatDurationMs(REGISTER_TIMEOUT_MS)}` });
        this.#emit({ type: 'disconnectHead', isGoodbye: false });
        return this.#wait(nowMs);
      case 'registered':
        this.#emit({ type: 'send', message: { type: 'heartbeat', sequence: ++this.#beats, ...this.#options.vitals() } });
        this.#nextMs = nowMs + this.#heartbeatIntervalMs;
    }
  }

  get nextWakeMs(): number {
    return this.#state === 'registered' ? this.#nextMs : Math.min(this.#nextMs, this.#lostAtMs + this.#patienceMs);
  }

  /** Beats and connects no more. */
  stop(): void {
    this.#state = 'waiting';
    this.#nextMs = this.#lostAtMs = Infinity;
  }

  #connect(nowMs: number): void {
    this.#state = 'connecting';
    this.#attempts++;
    this.#nextMs = nowMs + REGISTER_TIMEOUT_MS;
    this.#emit({ type: 'connectHead' });
    this.#emit({ type: 'send', message: this.#options.registration });
  }

  #wait(nowMs: number): void {
    this.#state = 'waiting';
    const pauseMs = Math.min(RETRY_MIN_MS * 2 ** this.#attempts, RETRY_MAX_MS);
    this.#nextMs = nowMs + pauseMs * (0.5 + this.#options.random.next() / 2); // not all nodes at once when a head returns
    this.#emit({ type: 'log', level: 'warn', event: 'head-connection-lost', fields: { cause: this.#lastFailure?.message } });
  }

  #loseHope(): void {
    const failure = this.#lastFailure ?? makeError('CONNECTION', { what: 'the head', cause: 'no connection' });
    this.#giveUp(`the head could not be reached for ${formatDurationMs(this.#patienceMs)}`, failure);
  }

  #giveUp(reason: string, failure: MusterError): void {
    this.stop();
    this.#options.onGivenUp(reason, failure);
  }
}
