/** A space that was checked and laid out as dimensions: what searchers and schedulers work with. */
import type { Random } from '@muster/base';
import type { Dimension, Point } from './dimensions.js';

/** A predicate over configurations: only those for which it holds are tried. */
export type Constraint = (config: never) => boolean;

/** What belongs to a space beside its parameters. */
export interface SpaceOptions {
  /** What must hold between parameters. */
  readonly constraints?: readonly Constraint[];
}

/** A checked space: its dimensions, and the way between points and configurations. Immutable. */
export interface SearchSpace {
  readonly dimensions: readonly Dimension[];
  /** The configuration of a point. Coordinates need not be exact: the nearest value is taken, and what does not exist is left out. */
  configOf(point: Point): unknown;
  /**
   * The point of a configuration.
   * @throws InvalidArgumentError with the parameter's path where a value is missing or out of bounds
   */
  pointOf(config: unknown): Point;
  /** Whether the constraints hold. */
  allows(point: Point): boolean;
  /** A point that the constraints allow, drawn from the parameters' own distributions. */
  sample(random: Random): Point;
}
