/** Waiting for references: one counter for each `get([...])` or `wait(...)`, not one promise for each reference. */
import { attachWaiter, detachWaiter, RefState, type ObjectRef, type Waiter } from '../machine/reference.js';

/** Resolves when all of the references have left pending, or one has failed. */
export class AllSettled implements Waiter {
  #left = 0;
  #resolve!: () => void;
  readonly done: Promise<void>;

  constructor(pending: readonly ObjectRef[]) {
    this.done = new Promise((resolve) => { this.#resolve = resolve; });
    this.#left = pending.length;
    for (const ref of pending) attachWaiter(ref, this);
  }

  settled(ref: ObjectRef): void {
    if (--this.#left === 0 || ref.state === RefState.failed) this.#resolve();
  }
}

/** Resolves when so many of the references have left pending, or the time is over. */
export class SomeSettled implements Waiter {
  #left: number;
  #resolve!: () => void;
  readonly done: Promise<void>;

  constructor(readonly pending: readonly ObjectRef[], count: number, timeoutMs: number | undefined) {
    this.#left = count;
    this.done = new Promise((resolve) => { this.#resolve = resolve; });
    for (const ref of pending) attachWaiter(ref, this);
    if (timeoutMs !== undefined) {
      const timer = setTimeout(this.#resolve, timeoutMs);
      void this.done.then(() => clearTimeout(timer));
    }
  }

  settled(): void {
    if (--this.#left === 0) this.#resolve();
  }

  /** Stops listening to those that are still pending. */
  detach(): void {
    for (const ref of this.pending) if (ref.state === RefState.pending) detachWaiter(ref, this);
  }
}
