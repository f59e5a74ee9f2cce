/** Listening to references: what core's session does with waiters. */
import { attachWaiter, RefState, type ObjectRef } from '@muster/core/internal';

/** Calls back once, when the reference has left pending. */
export function onSettled(ref: ObjectRef, callback: () => void): void {
  if (ref.state === RefState.pending) attachWaiter(ref, { settled: () => callback() });
  else callback();
}
