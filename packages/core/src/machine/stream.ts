/** The results of a generator task, in the order they were yielded, with credit so that a fast producer waits for a slow consumer. */
import type { ObjectRef } from './reference.js';

/** Values a generator may run ahead of its consumer. */
export const STREAM_WINDOW = 64;

export class ResultStream {
  readonly #ready: ObjectRef[] = [];
  #wake: (() => void) | null = null;
  #consumedCount = 0;
  receivedCount = 0;

  /** `grant` gives the producer credit for so many further values. */
  constructor(readonly end: ObjectRef, readonly grant: (count: number) => void) {
    end.waiter = { settled: () => this.#wake?.() };
  }

  receive(ref: ObjectRef): void {
    this.receivedCount++;
    this.#ready.push(ref);
    this.#wake?.();
  }

  /** References that have arrived and were not taken. */
  get waiting(): readonly ObjectRef[] {
    return this.#ready;
  }

  /** The next value's reference, if it has arrived. */
  take(): ObjectRef | undefined {
    const ref = this.#ready.shift();
    if (ref && ++this.#consumedCount % (STREAM_WINDOW / 2) === 0) this.grant(STREAM_WINDOW / 2);
    return ref;
  }

  /** Calls back once, when there is something to take or the stream is over. */
  whenChanged(callback: () => void): void {
    this.#wake = () => {
      this.#wake = null;
      callback();
    };
  }
}
