/** What a training says of wrong arguments. */
import { makeError, type MusterError } from '@muster/base';

/** @param want what it must be, after "it must be" */
export function invalidArgument(what: string, want: string): MusterError {
  return makeError('INVALID_ARGUMENT', { what, want });
}
