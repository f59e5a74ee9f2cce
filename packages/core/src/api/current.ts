/** The one session of this process. A driver makes it by init() or at its first remote call; a worker's main makes its own. */
import { makeError, type MusterError } from '@muster/base';
import type { Session } from '../io/session.js';

let current: Session | null = null;
let makeImplicitly: (() => Session) | null = null;

/** The session, connected or connecting; made with init()'s defaults when there is none. */
export function requireSession(): Session {
  if (current) return current;
  return makeImplicitly!();
}

/** The session that references came from: whoever has one has a session, unless it has ended. @throws MusterError NOT_CONNECTED */
export function sessionOfReferences(): Session {
  if (!current) throw sessionHasEnded();
  return current;
}

export const sessionHasEnded = (): MusterError => makeError('NOT_CONNECTED', { cause: 'that the references belong to has ended' });

export function currentSession(): Session | null {
  return current;
}

export function setSession(session: Session | null): void {
  current = session;
}

/** Tells how a session is made without an explicit init(). */
export function onImplicitInit(make: () => Session): void {
  makeImplicitly = make;
}
