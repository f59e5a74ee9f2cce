/** Grid search: every combination once, those of a branch only where it is chosen. */
import { makeError } from '@muster/base';
import type { SearcherContext, SearcherDefinition } from '../searcher.js';
import type { Dimension, Point } from '../space/dimensions.js';
import { coordinateOfIndex, valueCount } from '../space/scale.js';
import { defineSearcher, HistorySearcher, type Proposal } from './history-searcher.js';

/** How many values a grid takes of a parameter that has more, where {@link grid} is not told. */
const POINTS_DEFAULT = 5;
/** So many trials are a mistake: a grid grows with a power of its parameters. */
const TRIALS_MAX = 1_000_000;

/** What {@link grid} takes. */
export interface GridOptions {
  /** Of a parameter with more values than these, this many are taken, evenly: one number for all, or by the parameter's path. Default 5. */
  readonly points?: number | Readonly<Record<string, number>>;
}

/**
 * Tries every combination of values in turn, and then there is nothing more to try.
 * @throws InvalidArgumentError where the combinations are more than a million, or the number of points is below 1
 */
export function grid(options: GridOptions = {}): SearcherDefinition {
  return defineSearcher('grid', {}, (context) => new GridSearcher(context, options));
}

class GridSearcher extends HistorySearcher {
  readonly #axes: readonly (readonly number[])[];
  readonly #combinations: number;

  constructor(context: SearcherContext, options: GridOptions) {
    super(context);
    this.#axes = context.space.dimensions.map((dimension) => axisOf(dimension, pointsFor(dimension, options)));
    this.#combinations = this.#axes.reduce((product, axis) => product * axis.length, 1);
    if (this.#combinations > TRIALS_MAX) throw makeError('INVALID_ARGUMENT', { what: `a grid of ${this.#combinations} combinations`, want: `of at most ${TRIALS_MAX}; take fewer points of each parameter` });
  }

  protected propose(): Proposal {
    while (this.history.cursor < this.#combinations) {
      const raw = this.#combination(this.history.cursor++);
      const point = this.space.nearest(raw);
      if (!this.#isFirstOfItsKind(raw, point) || !this.space.allows(point)) continue;
      return { kind: 'point', point, reason: `grid: combination ${this.history.cursor} of ${this.#combinations}` };
    }
    return { kind: 'finished', reason: `grid: all ${this.#combinations} combinations were tried` };
  }

  /** Combinations in the order of an odometer, the last dimension's value changing fastest. */
  #combination(index: number): number[] {
    const point: number[] = [];
    let rest = index;
    for (const [at, axis] of [...this.#axes.entries()].reverse()) {
      point[at] = axis[rest % axis.length]!;
      rest = Math.floor(rest / axis.length);
    }
    return point;
  }

  /** Combinations that differ only in what does not exist are one; the one with first values there stands for it. */
  #isFirstOfItsKind(raw: readonly number[], point: Point): boolean {
    return point.every((coordinate, index) => coordinate !== null || raw[index] === this.#axes[index]![0]);
  }
}

function pointsFor(dimension: Dimension, { points = POINTS_DEFAULT }: GridOptions): number {
  const count = typeof points === 'number' ? points : points[dimension.path] ?? POINTS_DEFAULT;
  if (!Number.isSafeInteger(count) || count < 1) throw makeError('INVALID_ARGUMENT', { what: `grid's points for '${dimension.path}'`, want: `a whole number of at least 1, not ${count}` });
  return count;
}

/** All values of a dimension as coordinates, or evenly chosen ones, the outermost included where it has bounds. */
function axisOf(dimension: Dimension, points: number): number[] {
  if (dimension.kind === 'categorical') return dimension.options.map((_, index) => index);
  const count = valueCount(dimension);
  const isBounded = dimension.scale === 'linear' || dimension.scale === 'log';
  const chosen = Math.min(count, points);
  return Array.from({ length: chosen }, (_, i) => {
    const part = chosen === 1 ? 0.5 : i / (chosen - 1);
    if (count === Infinity) return isBounded ? part : (i + 0.5) / chosen;
    return coordinateOfIndex(dimension, Math.round(part * (count - 1)));
  });
}
