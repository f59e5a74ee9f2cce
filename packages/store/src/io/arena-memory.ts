/** The bytes of the arena, as the store needs them: `Arena` of @muster/native, or plain memory in tests and the simulation. */
import { makeError } from '@muster/base';

/** Offsets and sizes are bytes; commits are of whole segments. */
export interface ArenaMemory {
  /** Has the operating system give memory to these bytes. Rejects where there is none: writing to them would be fatal. */
  commitAsync(offset: number, sizeBytes: number): Promise<void>;
  write(offset: number, bytes: Uint8Array): void;
  /** Fills `target` from the arena. */
  read(offset: number, target: Uint8Array): void;
}

/** An arena in this process' own memory. */
export class InMemoryArena implements ArenaMemory {
  readonly bytes: Uint8Array;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
  }

  commitAsync(offset: number, sizeBytes: number): Promise<void> {
    this.#check(offset, sizeBytes);
    return Promise.resolve();
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#check(offset, bytes.length);
    this.bytes.set(bytes, offset);
  }

  read(offset: number, target: Uint8Array): void {
    this.#check(offset, target.length);
    target.set(this.bytes.subarray(offset, offset + target.length));
  }

  #check(offset: number, sizeBytes: number): void {
    if (offset < 0 || offset + sizeBytes > this.bytes.length) throw makeError('INTERNAL', { what: `${offset}+${sizeBytes} is outside of the arena` });
  }
}
