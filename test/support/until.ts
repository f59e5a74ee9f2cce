/** Waiting for what only the operating system knows. */
import { setTimeout as delay } from 'node:timers/promises';

const LOOK_AGAIN_MS = 10;
/** A loaded machine takes its time. */
const PATIENCE_MS = 60_000;

/** Resolves as soon as the condition holds. @throws Error that says what did not come true in time */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await delay(LOOK_AGAIN_MS);
  }
}

/** The error that a promise rejects with. @throws Error when it does not */
export async function rejection<E = Error>(promise: Promise<unknown>): Promise<E> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error as E;
  }
  throw new Error(`resolved with ${String(value)} instead of rejecting`);
}
