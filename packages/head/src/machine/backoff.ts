import { BACKOFF_FIRST_MS, BACKOFF_MAX_MS } from './limits.js';

/** How long to wait after this many failures in a row (1 or more). */
export function backoffMs(failures: number): number {
  return Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(failures - 1, 30));
}
