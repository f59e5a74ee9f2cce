/** A growing double-ended queue of slots. */
export class SlotRing {
  #slots = new Uint32Array(64);
  #head = 0;
  length = 0;

  push(slot: number): void {
    if (this.length === this.#slots.length) this.#grow();
    this.#slots[(this.#head + this.length) & (this.#slots.length - 1)] = slot;
    this.length++;
  }

  unshift(slot: number): void {
    if (this.length === this.#slots.length) this.#grow();
    this.#head = (this.#head - 1) & (this.#slots.length - 1);
    this.#slots[this.#head] = slot;
    this.length++;
  }

  /** The first slot; the ring must not be empty. */
  peek(): number {
    return this.#slots[this.#head]!;
  }

  /** The slot at this place, from 0 for the first. */
  at(index: number): number {
    return this.#slots[(this.#head + index) & (this.#slots.length - 1)]!;
  }

  shift(): number {
    const slot = this.#slots[this.#head]!;
    this.#head = (this.#head + 1) & (this.#slots.length - 1);
    this.length--;
    return slot;
  }

  /** Takes every slot out, in order. */
  drain(): number[] {
    const all: number[] = [];
    while (this.length > 0) all.push(this.shift());
    return all;
  }

  #grow(): void {
    const larger = new Uint32Array(this.#slots.length * 2);
    for (let i = 0; i < this.length; i++) larger[i] = this.#slots[(this.#head + i) & (this.#slots.length - 1)]!;
    this.#slots = larger;
    this.#head = 0;
  }
}
