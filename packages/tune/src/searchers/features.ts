/** Points as a Gaussian process sees them. */
import type { InputKind } from '../numeric/gaussian-process.js';
import type { Dimension, Point } from '../space/dimensions.js';

/** What does not exist counts as a number in the middle, and as an option of its own: two points that both lack it are alike in it. */
const ABSENT_NUMBER = 0.5;
const ABSENT_OPTION = -1;

export function featureKinds(dimensions: readonly Dimension[]): InputKind[] {
  return dimensions.map(({ kind }) => (kind === 'categorical' ? 'category' : 'number'));
}

export function featuresOf(dimensions: readonly Dimension[], point: Point): Float64Array {
  return Float64Array.from(dimensions, ({ kind }, index) => point[index] ?? (kind === 'categorical' ? ABSENT_OPTION : ABSENT_NUMBER));
}
