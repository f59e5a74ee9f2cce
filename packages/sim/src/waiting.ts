/** Listening to references: what core's session does with waiters. */
import { RefState, type ObjectRef } from '@muster/core/internal';

/** Calls back once, when the reference has left pending. */
export function onSettled(ref: ObjectRef, callback: () => void): void {
  if (ref.state !== RefState.pending) return callback();
  const waiter = { settled: callback };
  if (ref.waiter === null) ref.waiter = waiter;
  else if (Array.isArray(ref.waiter)) ref.waiter.push(waiter);
  else ref.waiter = [ref.waiter, waiter];
}
