/** The two sources of randomness: the operating system's, and one seed's. */
import { randomBytes } from 'node:crypto';
import type { Random } from './ports.js';

/** Randomness of the operating system, for real processes. */
export const systemRandom: Random = {
  next: () => randomBytes(4).readUInt32LE(0) / 2 ** 32,
  hex: (digits) => randomBytes((digits + 1) >> 1).toString('hex').slice(0, digits),
};

/**
 * Randomness from one 32-bit seed: equal seeds give equal sequences.
 * Source: Bob Jenkins' small fast generator (sfc32).
 */
export function seededRandom(seed: number): Random {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed >>> 0;
  let counter = 1;
  const next32 = (): number => {
    const t = (a + b + counter++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    return t >>> 0;
  };
  for (let round = 0; round < 12; round++) next32(); // mixes a small seed into all of the state
  return {
    next: () => next32() / 2 ** 32,
    hex: (digits) => {
      let text = '';
      while (text.length < digits) text += next32().toString(16).padStart(8, '0');
      return text.slice(0, digits);
    },
  };
}
