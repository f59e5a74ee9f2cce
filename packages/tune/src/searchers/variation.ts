/**
 * New points from old ones: crossover and mutation, of numbers and of choices.
 * Source: Deb and Agrawal, 1995 (simulated binary crossover); Deb and Goyal, 1996 (polynomial mutation).
 */
import type { Random } from '@muster/base';
import type { Dimension, Point } from '../space/dimensions.js';
import { cellAt } from '../space/scale.js';

/** How close children are to their parents: the larger, the closer. */
export interface VariationOptions {
  readonly crossoverIndex: number;
  readonly mutationIndex: number;
  /** The probability that a dimension is mutated. */
  readonly mutationProbability: number;
}

/** A child of two points, in each dimension near one of them. What one lacks comes from the other, and what both lack is drawn anew. */
export function crossed(dimensions: readonly Dimension[], [first, second]: readonly [Point, Point], { crossoverIndex }: VariationOptions, random: Random): number[] {
  return dimensions.map((dimension, index) => {
    const [a, b] = random.next() < 0.5 ? [second[index] ?? null, first[index] ?? null] : [first[index] ?? null, second[index] ?? null];
    if (a === null || b === null) return a ?? b ?? drawn(dimension, random);
    if (dimension.kind === 'categorical') return a;
    return random.next() < 0.5 || a === b ? a : simulatedBinary(a, b, crossoverIndex, random);
  });
}

/** Changes a point, here and there. */
export function mutated(dimensions: readonly Dimension[], latent: readonly number[], { mutationIndex, mutationProbability }: VariationOptions, random: Random): number[] {
  return dimensions.map((dimension, index) => {
    const coordinate = latent[index]!;
    if (random.next() >= mutationProbability) return coordinate;
    if (dimension.kind === 'categorical') return drawn(dimension, random);
    const moved = polynomial(coordinate, mutationIndex, random);
    const [low, high] = cellAt(dimension, coordinate);
    return moved >= low && moved <= high && high > low ? nextCell(low, high, random) : moved;
  });
}

/** A mutation of a whole number that stays within its cell would be none. */
function nextCell(low: number, high: number, random: Random): number {
  const step = high - low;
  const target = random.next() < 0.5 ? low - step / 2 : high + step / 2;
  return Math.min(1, Math.max(0, target < 0 ? high + step / 2 : target > 1 ? low - step / 2 : target));
}

function drawn(dimension: Dimension, random: Random): number {
  return dimension.kind === 'categorical' ? Math.floor(random.next() * dimension.options.length) : random.next();
}

/** A child near the first of two numbers in [0, 1], spread as far as they are apart, and inside. */
function simulatedBinary(a: number, b: number, index: number, random: Random): number {
  const distance = Math.abs(a - b);
  const room = a < b ? a : 1 - a;
  const alpha = 2 - (1 + (2 * room) / distance) ** -(index + 1);
  const u = random.next();
  const spread = u <= 1 / alpha ? (u * alpha) ** (1 / (index + 1)) : (1 / (2 - u * alpha)) ** (1 / (index + 1));
  const middle = (a + b) / 2;
  const child = a < b ? middle - (spread * distance) / 2 : middle + (spread * distance) / 2;
  return Math.min(1, Math.max(0, child));
}

function polynomial(coordinate: number, index: number, random: Random): number {
  const u = random.next();
  const power = 1 / (index + 1);
  const step = u < 0.5
    ? (2 * u + (1 - 2 * u) * (1 - coordinate) ** (index + 1)) ** power - 1
    : 1 - (2 * (1 - u) + (2 * u - 1) * coordinate ** (index + 1)) ** power;
  return Math.min(1, Math.max(0, coordinate + step));
}
