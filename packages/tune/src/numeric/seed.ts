/** Streams of random numbers by index, so that nobody needs to keep a generator's state. */

/** A 32-bit seed from two numbers, such that neighbours give unrelated streams. Source: the finaliser of MurmurHash3. */
export function mixedSeed(seed: number, index: number): number {
  let hash = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
