/** Actors through which a test and its tasks tell each other how far they are, so that nothing has to wait for a time. */
import { actor, type ActorHandle } from '@muster/core';

/** A door that opens once, and a log of what happened in front of it. */
export class Latch {
  #open = (): void => {};
  readonly #opened = new Promise<void>((resolve) => { this.#open = resolve; });
  readonly #entries: string[] = [];
  #wake = (): void => {};

  open(): void { this.#open(); }
  opened(): Promise<void> { return this.#opened; }

  note(entry: string): void {
    this.#entries.push(entry);
    this.#wake();
  }

  entries(): string[] { return this.#entries; }

  /** Resolves when so many entries were noted. */
  async noted(count: number): Promise<string[]> {
    while (this.#entries.length < count) await new Promise<void>((resolve) => { this.#wake = resolve; });
    return this.#entries;
  }
}

export type LatchHandle = ActorHandle<Latch>;

export const makeLatch = (): Promise<LatchHandle> => actor(Latch, { maxConcurrency: 1000 }).create();
