import { describeDeath, type DeathCause } from '@muster/base';

/** A death in one line, for where it is the reason of something else: without the last words of the dead. */
export function deathLine(cause: DeathCause): string {
  return describeDeath('stderrTail' in cause ? { ...cause, stderrTail: undefined } : cause);
}
