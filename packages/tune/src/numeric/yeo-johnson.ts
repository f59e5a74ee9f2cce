/**
 * The power transform of Yeo and Johnson: numbers that lean to one side become as much like normal ones as a power makes them.
 * Source: Yeo and Johnson, 2000, "A new family of power transformations to improve normality or symmetry".
 */
import { momentsOf } from './moments.js';

/** The powers that are tried. The first changes nothing; the further down, the more large numbers are drawn together and small ones apart. */
const POWERS = Array.from({ length: 31 }, (_, i) => (10 - i) / 10);

/** A number under a power of at most 1. Grows with the number, and has its sign. */
export function warp(x: number, power: number): number {
  return x < 0 ? -raised(-x, 2 - power) : raised(x, power);
}

/** The number that {@link warp} makes this one of; Infinity where it makes none so large. */
export function unwarp(y: number, power: number): number {
  return y < 0 ? -lowered(-y, 2 - power) : lowered(y, power);
}

function raised(x: number, power: number): number {
  return power === 0 ? Math.log1p(x) : Math.expm1(power * Math.log1p(x)) / power;
}

function lowered(y: number, power: number): number {
  if (power === 0) return Math.expm1(y);
  return power * y <= -1 ? Infinity : Math.expm1(Math.log1p(power * y) / power);
}

/** The power of at most 1 under which numbers, of mean 0 and deviation 1, look most like normal ones: that of the largest likelihood. */
export function normalizingPower(numbers: readonly number[]): number {
  const stretch = numbers.reduce((sum, x) => sum + Math.sign(x) * Math.log1p(Math.abs(x)), 0); // of the densities' logarithms, for each step of the power
  const likelihoods = POWERS.map((power) => (power - 1) * stretch - numbers.length * Math.log(momentsOf(numbers.map((x) => warp(x, power))).deviation));
  return POWERS[likelihoods.indexOf(Math.max(...likelihoods))]!;
}
