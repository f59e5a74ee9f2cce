/**
 * The least of many numbers, kept up to date as they change: a tree of levels in which each number is the least of sixteen of the level below, which fill a line
 * of the processor's cache. A change goes up only as far as it changes the least, which is not far. Source: Knuth, TAOCP 3, 5.4.1 (tree selection).
 */

const FAN_OUT_BITS = 4;
const FAN_OUT = 1 << FAN_OUT_BITS;

/** Numbers by place, from 0 on; Infinity at first. In 32 bits, because many of these trees should stay in the processor's cache. */
export class Tournament {
  /** The numbers, of each sixteen of them the least, and so on, up to a level of no more than sixteen. */
  readonly #levels: Float32Array[] = [];

  constructor(size: number) {
    let width = size;
    do {
      width = Math.max(1, Math.ceil(width / FAN_OUT));
      this.#levels.push(new Float32Array(width * FAN_OUT).fill(Infinity));
    } while (width > 1);
  }

  at(place: number): number {
    return this.#levels[0]![place]!;
  }

  /** @param number one that 32 bits hold */
  set(place: number, number: number): void {
    const levels = this.#levels;
    let level = levels[0]!;
    let before = level[place]!;
    level[place] = number;
    for (let height = 1; height < levels.length && number !== before; height++) {
      place >>= FAN_OUT_BITS;
      const above = levels[height]!;
      const least = above[place]!;
      if (number >= least) {
        if (before !== least) return;
        number = leastOf(level, place);
      }
      before = least;
      above[place] = number;
      level = above;
    }
  }

  /** The first place of the least number; null while all are Infinity. */
  first(): number | null {
    const levels = this.#levels;
    const least = leastOf(levels[levels.length - 1]!, 0);
    if (least === Infinity) return null;
    let place = 0;
    for (let height = levels.length - 1; height >= 0; height--) {
      place <<= FAN_OUT_BITS;
      while (levels[height]![place] !== least) place++;
    }
    return place;
  }
}

/** The least of the sixteen that stand below a place of the next level. */
function leastOf(level: Float32Array, place: number): number {
  let least = Infinity;
  for (let index = place << FAN_OUT_BITS, end = index + FAN_OUT; index < end; index++) if (level[index]! < least) least = level[index]!;
  return least;
}
