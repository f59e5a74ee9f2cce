/** A binary heap of numbered items, the one with the lowest key first; equal keys go by number. */
export class Heap {
  readonly #keys: number[] = [];
  readonly #items: number[] = [];

  get size(): number {
    return this.#items.length;
  }

  get lowestKey(): number {
    return this.#keys[0]!;
  }

  push(item: number, key: number): void {
    let at = this.#items.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(key, item, this.#keys[parent]!, this.#items[parent]!)) break;
      this.#keys[at] = this.#keys[parent]!;
      this.#items[at] = this.#items[parent]!;
      at = parent;
    }
    this.#keys[at] = key;
    this.#items[at] = item;
  }

  /** Undefined when it is empty. */
  pop(): number | undefined {
    const first = this.#items[0];
    const key = this.#keys.pop()!;
    const item = this.#items.pop()!;
    const length = this.#items.length;
    if (length === 0) return first;
    let at = 0;
    for (let child = 1; child < length; child = 2 * at + 1) {
      if (child + 1 < length && isBefore(this.#keys[child + 1]!, this.#items[child + 1]!, this.#keys[child]!, this.#items[child]!)) child++;
      if (isBefore(key, item, this.#keys[child]!, this.#items[child]!)) break;
      this.#keys[at] = this.#keys[child]!;
      this.#items[at] = this.#items[child]!;
      at = child;
    }
    this.#keys[at] = key;
    this.#items[at] = item;
    return first;
  }
}

function isBefore(keyA: number, itemA: number, keyB: number, itemB: number): boolean {
  return keyA < keyB || (keyA === keyB && itemA < itemB);
}
