/** An order of waiting things: fewest leases first, and among equals in turn. */

/** What can wait. The queue alone writes these fields. */
export interface Queued {
  /** The number of leases it was queued with; null: not in a queue. */
  level: number | null;
  /** Its turn among those of one level. */
  turn: number;
}

/** Finding the first takes time in proportion to the number of different lease counts, which are few. */
export class FairQueue<Item extends Queued> {
  readonly #levels = new Map<number, Set<Item>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Puts the item at the end of its level, unless it is in that level already: then it keeps its turn. */
  put(item: Item, level: number, turn: number): void {
    if (item.level === level) return;
    this.remove(item);
    item.level = level;
    item.turn = turn;
    const items = this.#levels.get(level);
    if (items === undefined) this.#levels.set(level, new Set([item]));
    else items.add(item);
    this.#size++;
  }

  remove(item: Item): void {
    if (item.level === null) return;
    const items = this.#levels.get(item.level)!;
    items.delete(item);
    if (items.size === 0) this.#levels.delete(item.level);
    item.level = null;
    this.#size--;
  }

  /** The one whose turn it is, or null. */
  first(): Item | null {
    let lowest = Infinity;
    for (const level of this.#levels.keys()) if (level < lowest) lowest = level;
    for (const item of this.#levels.get(lowest) ?? []) return item;
    return null;
  }

  /** In order. */
  *[Symbol.iterator](): Generator<Item> {
    for (const level of [...this.#levels.keys()].sort((a, b) => a - b)) yield* this.#levels.get(level)!;
  }
}
