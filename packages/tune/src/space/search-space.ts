/** A space that was checked and laid out as dimensions: what searchers and schedulers work with. */
import { makeError, type Random } from '@muster/base';
import { isDeepStrictEqual } from 'node:util';
import type { Dimension, Point } from './dimensions.js';
import { labelOf, layOut, type Layout } from './layout.js';
import type { InferConfig, Space } from './parameters.js';
import { coordinateOf, isValue, valueAt } from './scale.js';

/** A predicate over configurations: only those for which it holds are tried. */
export type Constraint<Config = never> = (config: Config) => boolean;

/** What belongs to a space beside its parameters. */
export interface SpaceOptions<Config = never> {
  /** What must hold between parameters. */
  readonly constraints?: readonly Constraint<Config>[];
}

/** So many proposals in a row that the constraints refuse mean that they allow nothing, or next to nothing. */
const REJECTIONS_MAX = 2_000;

/** A checked space: its dimensions, and the way between points and configurations. Immutable. */
export class SearchSpace {
  readonly dimensions: readonly Dimension[];
  readonly #layout: Layout;
  readonly #constraints: readonly Constraint<unknown>[];

  private constructor(layout: Layout, dimensions: readonly Dimension[], constraints: readonly Constraint<unknown>[]) {
    this.#layout = layout;
    this.dimensions = dimensions;
    this.#constraints = constraints;
  }

  /**
   * Checks a space and lays it out.
   * @throws InvalidArgumentError with the parameter's path: reversed or missing bounds, a logarithm of zero, no options or equal ones, no parameter at all
   */
  static of<const S extends Space>(space: S, { constraints = [] }: SpaceOptions<InferConfig<S>> = {}): SearchSpace {
    const { layout, dimensions } = layOut(space);
    return new SearchSpace(layout, dimensions, constraints as readonly Constraint<unknown>[]);
  }

  /** Whether a dimension exists at this point. */
  isActive(point: Point, index: number): boolean {
    for (let condition = this.dimensions[index]!.condition; condition !== null; condition = this.dimensions[condition.dimension]!.condition) {
      if (point[condition.dimension] !== condition.option) return false;
    }
    return true;
  }

  /** The exact point of the configuration that is nearest to this point: quantised, in bounds, null where a dimension does not exist. */
  nearest(point: Point): Point {
    const exact: (number | null)[] = [];
    this.dimensions.forEach((dimension, index) => {
      const coordinate = point[index] ?? 0;
      if (!this.isActive(exact, index)) exact.push(null);
      else if (dimension.kind === 'categorical') exact.push(Math.min(dimension.options.length - 1, Math.max(0, Math.floor(coordinate))));
      else exact.push(dimension.step === null ? Math.min(1, Math.max(0, coordinate)) : coordinateOf(dimension, valueAt(dimension, coordinate)));
    });
    return exact.slice(); // searchers keep points, and what was pushed to has room for many more
  }

  /** The configuration of a point. Coordinates need not be exact: the nearest value is taken, and what does not exist is left out. */
  configOf(point: Point): unknown {
    return this.#build(this.#layout, this.nearest(point));
  }

  /**
   * The point of a configuration.
   * @throws InvalidArgumentError with the parameter's path where a value is missing or out of bounds, and where a constraint refuses it
   */
  pointOf(config: unknown): Point {
    const point: (number | null)[] = this.dimensions.map(() => null);
    const problem = this.#match(this.#layout, config, '', point);
    if (problem !== null) throw makeError('INVALID_ARGUMENT', { what: `the configuration ${labelOf(config)}`, want: `one of the search space: ${problem}` });
    const refusing = this.#constraints.find((constraint) => !holds(constraint, config));
    if (refusing) throw makeError('INVALID_ARGUMENT', { what: `the configuration ${labelOf(config)}`, want: `allowed by the constraint ${labelOf(String(refusing))}` });
    return point;
  }

  /** Whether the constraints hold. */
  allows(point: Point): boolean {
    if (this.#constraints.length === 0) return true;
    const config = this.configOf(point);
    return this.#constraints.every((constraint) => holds(constraint, config));
  }

  /** A point that the constraints allow, drawn from the parameters' own distributions. */
  sample(random: Random): Point {
    return this.allowed(() => this.dimensions.map((dimension) => dimension.kind === 'categorical' ? Math.floor(random.next() * dimension.options.length) : random.next()));
  }

  /**
   * The first exact point of those proposed that the constraints allow.
   * @throws InvalidArgumentError where they refuse too many in a row
   */
  allowed(propose: () => Point): Point {
    for (let tries = 0; tries < REJECTIONS_MAX; tries++) {
      const point = this.nearest(propose());
      if (this.allows(point)) return point;
    }
    throw makeError('INVALID_ARGUMENT', {
      what: `the constraint ${this.#constraints.map((constraint) => labelOf(String(constraint))).join(' and ')}`,
      want: `met by some configurations, but none of ${REJECTIONS_MAX} that were drawn met it`,
    });
  }

  #build(layout: Layout, point: Point): unknown {
    switch (layout.kind) {
      case 'constant': return copyOf(layout.value);
      case 'fields': return layout.isArray
        ? layout.fields.map(([, child]) => this.#build(child, point))
        : Object.fromEntries(layout.fields.map(([key, child]) => [key, this.#build(child, point)]));
      case 'number': return this.#number(layout.dimension, point);
      case 'choice': return this.#build(layout.options[layout.isOrdered ? this.#number(layout.dimension, point) : point[layout.dimension]!]!, point);
    }
  }

  #number(index: number, point: Point): number {
    const dimension = this.dimensions[index]!;
    if (dimension.kind === 'categorical') throw makeError('INTERNAL', { what: `dimension ${dimension.path} is a number` });
    return valueAt(dimension, point[index]!);
  }

  /** Fills the coordinates of a configuration in; or says what does not fit. */
  #match(layout: Layout, config: unknown, path: string, point: (number | null)[]): string | null {
    switch (layout.kind) {
      case 'constant': return isDeepStrictEqual(config, layout.value) ? null : `${path || 'it'} must be ${labelOf(layout.value)}, not ${labelOf(config)}`;
      case 'fields': return this.#matchFields(layout, config, path, point);
      case 'number': {
        const dimension = this.dimensions[layout.dimension]!;
        if (dimension.kind === 'categorical' || !isValue(dimension, config)) return `${path} must be ${describe(dimension)}, not ${labelOf(config)}`;
        point[layout.dimension] = coordinateOf(dimension, config);
        return null;
      }
      case 'choice': return this.#matchChoice(layout, config, path, point);
    }
  }

  #matchFields({ fields, isArray }: Extract<Layout, { kind: 'fields' }>, config: unknown, path: string, point: (number | null)[]): string | null {
    if (typeof config !== 'object' || config === null || Array.isArray(config) !== isArray) return `${path || 'it'} must be ${isArray ? 'an array' : 'an object'}, not ${labelOf(config)}`;
    const unknown = Object.keys(config).find((key) => !fields.some(([name]) => name === key));
    if (unknown !== undefined) return `${path === '' ? unknown : `${path}.${unknown}`} is not in the space`;
    for (const [key, child] of fields) {
      const problem = this.#match(child, (config as Record<string, unknown>)[key], path === '' ? key : `${path}.${key}`, point);
      if (problem !== null) return problem;
    }
    return null;
  }

  #matchChoice(layout: Extract<Layout, { kind: 'choice' }>, config: unknown, path: string, point: (number | null)[]): string | null {
    const dimension = this.dimensions[layout.dimension]!;
    let problem: string | null = null;
    for (const [index, option] of layout.options.entries()) {
      const trial = [...point];
      problem = this.#match(option, config, path, trial);
      if (problem !== null) continue;
      trial[layout.dimension] = dimension.kind === 'numeric' ? coordinateOf(dimension, index) : index;
      point.splice(0, point.length, ...trial);
      return null;
    }
    return layout.options.length === 1 ? problem : `${path} must be one of ${dimension.options!.join(', ')}, not ${labelOf(config)}`;
  }
}

/** A promise would always hold. @throws INVALID_ARGUMENT */
function holds(constraint: Constraint<unknown>, config: unknown): boolean {
  const answer: unknown = constraint(config);
  if (answer instanceof Promise) throw makeError('INVALID_ARGUMENT', { what: `the constraint ${labelOf(String(constraint))}`, want: 'a function that answers at once with true or false, not with a promise' });
  return Boolean(answer);
}

/** What a number may be, for people. */
function describe(dimension: Dimension): string {
  if (dimension.kind === 'categorical') return `one of ${dimension.options.join(', ')}`;
  const { low, high, scale, step } = dimension;
  if (scale === 'normal') return 'a number';
  if (scale === 'lognormal') return 'a number above 0';
  return step === null ? `a number from ${low} to ${high}` : `one of ${low}, ${low + step}, ... ${high}`;
}

/** Configurations are the user's to change, so constants in them are copies; what cannot be copied is shared. */
function copyOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copyOf);
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, copyOf(child)]));
}
