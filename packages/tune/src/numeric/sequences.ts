/**
 * Low-discrepancy sequences: points of the unit cube by their index, which fill it evenly. Scrambled by a seed they are other
 * points, as even, and uniform each.
 * Source: Joe and Kuo, 2008 (Sobol); Burley, 2020 (Owen's scrambling by a hash); Owen, 2017 (randomised Halton).
 */
import { seededRandom } from '@muster/base';
import { mixedSeed } from './seed.js';
import { SOBOL_DIMENSIONS, sobolDirections } from './sobol-directions.js';

/** A sequence of points in [0, 1)ⁿ. */
export interface Sequence {
  at(index: number): number[];
}

/** The evenest sequence that there is for this many dimensions. */
export function evenSequence(dimensions: number, seed: number): Sequence {
  return dimensions <= SOBOL_DIMENSIONS ? new SobolSequence(dimensions, seed) : new HaltonSequence(dimensions, seed);
}

/** Sobol's sequence in Gray-code order, for up to {@link SOBOL_DIMENSIONS} dimensions; unscrambled where the seed is null. */
export class SobolSequence implements Sequence {
  readonly #directions: readonly Uint32Array[];
  readonly #seed: number | null;

  constructor(dimensions: number, seed: number | null) {
    this.#directions = Array.from({ length: dimensions }, (_, dimension) => sobolDirections(dimension));
    this.#seed = seed;
  }

  at(index: number): number[] {
    return this.#directions.map((directions, dimension) => {
      let bits = 0;
      for (let gray = index ^ (index >>> 1), bit = 0; gray !== 0; gray >>>= 1, bit++) if (gray & 1) bits ^= directions[bit]!;
      return (this.#seed === null ? bits >>> 0 : scrambled(bits >>> 0, mixedSeed(this.#seed, dimension))) / 2 ** 32;
    });
  }
}

/** Owen's nested scrambling: each bit is flipped or not, as those above it say. */
function scrambled(bits: number, seed: number): number {
  let x = reversed(bits);
  x = (x + seed) | 0;
  for (const factor of [0x6c50b47c, 0xb82f1e52, 0xc7afe638, 0x8d22f6e6]) x ^= Math.imul(x, factor);
  return reversed(x);
}

function reversed(bits: number): number {
  let x = bits;
  x = ((x >>> 1) & 0x55555555) | ((x & 0x55555555) << 1);
  x = ((x >>> 2) & 0x33333333) | ((x & 0x33333333) << 2);
  x = ((x >>> 4) & 0x0f0f0f0f) | ((x & 0x0f0f0f0f) << 4);
  x = ((x >>> 8) & 0x00ff00ff) | ((x & 0x00ff00ff) << 8);
  return ((x >>> 16) | (x << 16)) >>> 0;
}

/** Digits below this are not felt. */
const SMALLEST_DIGIT = 1e-10;

/** Halton's sequence, for any number of dimensions; unscrambled where the seed is null. */
export class HaltonSequence implements Sequence {
  /** By dimension and by place of the digit: what each digit is replaced with. */
  readonly #permutations: readonly (readonly Uint16Array[])[];

  constructor(dimensions: number, seed: number | null) {
    this.#permutations = primes(dimensions).map((base, dimension) => {
      const places = Math.ceil(-Math.log(SMALLEST_DIGIT) / Math.log(base));
      return Array.from({ length: places }, (_, place) => (seed === null ? identity(base) : shuffled(base, mixedSeed(seed, dimension * 64 + place))));
    });
  }

  at(index: number): number[] {
    return this.#permutations.map((places) => {
      const base = places[0]!.length;
      let rest = index;
      let weight = 1 / base;
      let value = 0;
      for (const permutation of places) {
        value += permutation[rest % base]! * weight;
        rest = Math.floor(rest / base);
        weight /= base;
      }
      return value;
    });
  }
}

function identity(size: number): Uint16Array {
  return Uint16Array.from({ length: size }, (_, digit) => digit);
}

function shuffled(size: number, seed: number): Uint16Array {
  const digits = identity(size);
  const random = seededRandom(seed);
  for (let i = size - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1));
    [digits[i], digits[j]] = [digits[j]!, digits[i]!];
  }
  return digits;
}

function primes(count: number): number[] {
  const found: number[] = [];
  for (let candidate = 2; found.length < count; candidate++) if (found.every((prime) => candidate % prime !== 0)) found.push(candidate);
  return found;
}
