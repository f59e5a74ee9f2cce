/** Random graphs of what structured clone takes, with shared parts and cycles. */
import type { Random } from '@muster/base';

const NUMBERS = [0, -0, 1, -1, 127, 128, 2 ** 31, -(2 ** 31), 2 ** 53, 1.5, NaN, Infinity, -Infinity, Number.MIN_VALUE];
const STRINGS = ['', 'a', 'é', '😀', '\ud800', '\udfff x', 'a\0b', 'x'.repeat(40), 'toJSON', '__proto__'];
const KEYS = ['a', 'b', 'toJSON', 'constructor', 'type', '0', '1', '-1', 'é', '\ud800', 'length', 'x'.repeat(300)];
const VIEWS = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array];
const ERRORS = [Error, RangeError, TypeError, SyntaxError];
const DEPTH_MAX = 5;
const PARTS_MAX = 5;

/** A value of up to some hundred parts. */
export function randomValue(random: Random): unknown {
  return new Graph(random).value(0);
}

class Graph {
  /** Objects that may be met again. */
  readonly #known: object[] = [];

  constructor(readonly random: Random) {}

  value(depth: number): unknown {
    const isLeaf = depth === DEPTH_MAX || this.#below(10) < 2 * (depth > 0 ? 2 : 0);
    if (isLeaf) return this.#primitive();
    if (this.#known.length > 0 && this.#below(8) === 0) return this.#pick(this.#known);
    return this.#object(depth + 1);
  }

  #below(limit: number): number {
    return Math.floor(this.random.next() * limit);
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[this.#below(choices.length)]!;
  }

  #primitive(): unknown {
    switch (this.#below(7)) {
      case 0: return this.#pick(NUMBERS);
      case 1: return (this.random.next() - 0.5) * 10 ** this.#below(30);
      case 2: return this.#below(2 ** 31) - 2 ** 30;
      case 3: return this.#pick(STRINGS);
      case 4: return this.random.hex(this.#below(50));
      case 5: return BigInt(`0x0${this.random.hex(this.#below(30))}`) * (this.#below(2) ? 1n : -1n);
      default: return this.#pick([null, undefined, true, false]);
    }
  }

  #object(depth: number): object {
    switch (this.#below(14)) {
      case 0: case 1: case 2: return this.#fill(this.#know({}), depth);
      case 3: case 4: return this.#array(depth);
      case 5: return this.#map(depth);
      case 6: return this.#set(depth);
      case 7: return this.#know(new Date(this.#pick([0, -1, 1e12, NaN, 8.64e15, this.#below(2 ** 40)])));
      case 8: return this.#know(new RegExp(this.#pick(['a+', '(b)', '[^c]']), this.#pick(['', 'g', 'iu'])));
      case 9: return this.#know(Object(this.#pick([1, -0, 'boxed', true, 7n])) as object);
      case 10: return this.#know(this.#bytes().buffer);
      case 11: return this.#know(new (this.#pick(ERRORS))(this.random.hex(5)));
      default: return this.#view();
    }
  }

  #know<T extends object>(object: T): T {
    this.#known.push(object);
    return object;
  }

  #fill<T extends object>(object: T, depth: number): T {
    for (let i = this.#below(PARTS_MAX + 1); i > 0; i--) (object as Record<string, unknown>)[this.#pick(KEYS)] = this.value(depth);
    return object;
  }

  #array(depth: number): unknown[] {
    const array = this.#know([] as unknown[]);
    for (let i = this.#below(PARTS_MAX + 1); i > 0; i--) {
      if (this.#below(10) === 0) array.length++; // a hole
      else array.push(this.value(depth));
    }
    if (this.#below(10) === 0) Object.assign(array, { extra: this.value(depth) });
    return array;
  }

  #map(depth: number): Map<unknown, unknown> {
    const map = this.#know(new Map<unknown, unknown>());
    for (let i = this.#below(PARTS_MAX); i > 0; i--) map.set(this.value(depth), this.value(depth));
    return map;
  }

  #set(depth: number): Set<unknown> {
    const set = this.#know(new Set<unknown>());
    for (let i = this.#below(PARTS_MAX); i > 0; i--) set.add(this.value(depth));
    return set;
  }

  #bytes(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(8 * this.#pick([0, 1, 3, 40, 500]));
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#below(256);
    return bytes;
  }

  #view(): object {
    const { buffer } = this.#bytes();
    if (this.#below(8) === 0) return this.#know(new DataView(buffer));
    if (this.#below(8) === 0) return this.#know(new BigInt64Array(buffer));
    return this.#know(new (this.#pick(VIEWS))(buffer));
  }
}
