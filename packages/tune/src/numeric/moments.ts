/** How numbers are spread. */

/** The mean of some numbers, and their deviation from it; 1 where they are all alike, so that it divides them to zeros. */
export interface Moments {
  readonly mean: number;
  readonly deviation: number;
}

/** Of at least one number. */
export function momentsOf(numbers: readonly number[]): Moments {
  const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  return { mean, deviation: rootMeanSquare(numbers.map((x) => x - mean)) || 1 };
}

/** Of at least one number. */
export function rootMeanSquare(numbers: readonly number[]): number {
  return Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0) / numbers.length);
}
