/** How often a process looks, and how long it waits, wherever it runs. */

/** The machine's clock: delays, deadlines and idle leases are looked at this often. */
export const OWNER_TICK_MS = 25;
/** How long an ending job waits for the last lines of its tasks' output. */
export const END_JOB_DEADLINE_MS = 3000;
/** A lost object is looked for (and rebuilt) this often before `get` gives up. */
export const FETCH_ATTEMPTS_MAX = 10;
/** How long a put waits for room before it fails with OBJECT_STORE_FULL. */
export const ALLOCATE_TIMEOUT_MS = 30_000;
