/** The bytes of a node's object store, each object in one piece at its offset, so that a machine that mixes places up is found out. */
import type { EncodedValue } from '@muster/core/internal';

/** One object, as it lies in an arena or a file. */
export interface StoredBytes {
  readonly objectId: string;
  readonly value: EncodedValue;
}

/** The arena of one node. */
export class Arena {
  readonly #objects = new Map<number, StoredBytes>();

  write(offset: number, bytes: StoredBytes): void {
    this.#objects.set(offset, bytes);
  }

  /** What lies at the offset, whatever it is. */
  at(offset: number): StoredBytes {
    return this.#objects.get(offset)!;
  }

  /** What lies at the offset. @throws when it is not this object */
  read(offset: number, objectId: string): StoredBytes {
    const found = this.#objects.get(offset);
    if (found?.objectId !== objectId) throw new Error(`the store says that ${objectId} lies at ${offset}, where ${found?.objectId ?? 'nothing'} lies`);
    return found;
  }
}
