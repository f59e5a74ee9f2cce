/** From native errors to those that users see. */
import { makeError, MusterError } from '@muster/base';
import type { CommunicatorError } from '@muster/native';

/** The native core's limit: see MUSTER_SUBMISSIONS_MAX. */
const PENDING_MAX = '1024';

/** Which of the things that end a communicator did. */
const REASONS: Readonly<Record<string, string>> = {
  ERR_RANK_GONE: 'rank-gone', ERR_RANK_TIMED_OUT: 'timeout', ERR_CALL_MISMATCH: 'mismatch', ERR_COMMUNICATOR_ABORTED: 'aborted',
  ERR_DEVICE_FAILED: 'device-failed',
};

/**
 * A CollectiveError, with details `reason` ('rank-gone', 'timeout', 'mismatch', 'aborted', 'device-failed') and `rank`, for what ends a communicator;
 * BACKPRESSURE, NOT_CONNECTED and INVALID_ARGUMENT for what does not.
 */
export function userError(error: unknown, communicator: string): Error {
  if (error instanceof MusterError || !(error instanceof Error)) return error as Error;
  const { code, message, rank } = error as CommunicatorError;
  const what = `the communicator '${communicator}'`;
  if (code in REASONS) return makeError('COLLECTIVE', { what, cause: message, reason: REASONS[code], rank }, { cause: error });
  if (code === 'ERR_COMMUNICATOR_BUSY') return makeError('BACKPRESSURE', { what, pending: PENDING_MAX, limit: PENDING_MAX }, { cause: error });
  if (code === 'ERR_COMMUNICATOR_CLOSED') return makeError('COLLECTIVE', { what, cause: 'it is closed', reason: 'closed' }, { cause: error });
  if (code === 'ERR_OUT_OF_RANGE' || error instanceof TypeError) return makeError('INVALID_ARGUMENT', { what: `a call of ${what}`, want: `possible, but ${message}` }, { cause: error });
  return makeError('COLLECTIVE', { what, cause: message, reason: 'system' }, { cause: error });
}
