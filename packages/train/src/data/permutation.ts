/**
 * A pseudo-random permutation that is computed place by place: nothing of the size of the data is kept or drawn in advance.
 *
 * A Feistel network permutes the smallest power of four that holds all places; a place that lands outside is sent through again until it lands inside
 * (cycle walking), which takes fewer than four passes on average.
 * Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains (CT-RSA 2002); the rounds' function is the finaliser of MurmurHash3.
 */

/** Four are enough that no test of uniformity tells it from a drawn permutation; six cost a third more and leave a margin. */
const ROUNDS = 6;

/** Which permutation: equal keys give equal ones. */
export interface PermutationKey {
  readonly seed: number;
  readonly round: number;
}

/** What stands at `place` of the permutation of 0 to size - 1. `size` is at most 2^32. */
export function permutationAt(place: number, size: number, key: PermutationKey): number {
  if (size <= 1) return 0;
  const halfBits = Math.ceil(Math.log2(size) / 2) || 1;
  let value = place;
  do value = feistel(value, halfBits, key); while (value >= size);
  return value;
}

function feistel(value: number, halfBits: number, { seed, round: turn }: PermutationKey): number {
  const half = 2 ** halfBits;
  let left = Math.floor(value / half);
  let right = value % half;
  for (let round = 0; round < ROUNDS; round++) {
    [left, right] = [right, (left ^ hash(right, seed, turn * ROUNDS + round)) & (half - 1)];
  }
  return (left >>> 0) * half + (right >>> 0);
}

function hash(value: number, seed: number, round: number): number {
  let bits = Math.imul(value ^ seed, 0x85ebca6b) ^ Math.imul(round + 1, 0xc2b2ae35);
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
