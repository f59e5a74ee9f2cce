/**
 * Notices peers that went silent without closing: a machine that was cut off, a device on the way that forgot the connection. Which means serves depends
 * on what runs at the other end:
 *
 * - Heads and daemons answer a ping at once: one that answers none for SILENCE_MAX_MS is gone.
 * - A process that runs users' code may not look at its connections for minutes. There the kernels ask and answer each other (TCP keepalive).
 *
 * gRPC's own keepalive knows neither: it would cut off peers that compute, and, as its timer runs before an answer that lies in the socket is read, also
 * those of a process that has computed itself.
 */
import type { Http2Session } from 'node:http2';
import { keepAlive } from './inside.js';

const PING_INTERVAL_MS = 2000;
/** Twice the time after which the head counts a silent node as dead: who stays away shorter than that has lost nothing. */
export const SILENCE_MAX_MS = 10_000;
/** The kernel asks an idle peer after this time, and then each second; ten questions without an answer end the connection. */
const KERNEL_PATIENCE_MS = 3000;

/** What is watched of an HTTP/2 session. */
export interface Pinged {
  readonly destroyed: boolean;
  ping(callback: (error: Error | null) => void): boolean;
  once(event: 'close', listener: () => void): unknown;
}

/** How often to ask, and how long to wait. */
export interface Patience {
  readonly intervalMs: number;
  readonly silenceMaxMs: number;
}

/**
 * Calls back when the peer has answered no ping for so long. Time in which this process itself did not look does not count: however long the
 * pause, it is one beat missed.
 */
export function watchSilence(session: Pinged, onSilent: () => void, patience: Patience = { intervalMs: PING_INTERVAL_MS, silenceMaxMs: SILENCE_MAX_MS }): void {
  let isAwaited = false;
  let missedCount = 0;
  const timer = setInterval(() => {
    if (session.destroyed) return clearInterval(timer);
    if (!isAwaited) {
      isAwaited = true;
      missedCount = 0;
      session.ping((error) => { if (error === null) isAwaited = false; });
    } else if (++missedCount * patience.intervalMs >= patience.silenceMaxMs) {
      clearInterval(timer);
      onSilent();
    }
  }, patience.intervalMs).unref();
  session.once('close', () => clearInterval(timer));
}

const watched = new WeakSet<Http2Session>();

/** Watches a connection, once. `isPrompt`: its peer runs no users' code. A unix socket needs no watch. */
export function watch(session: Http2Session, isPrompt: boolean, onSilent: () => void): void {
  if (watched.has(session)) return;
  watched.add(session);
  if (keepAlive(session, KERNEL_PATIENCE_MS) && isPrompt) watchSilence(session, onSilent);
}
