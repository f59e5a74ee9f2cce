/**
 * Which elements of a parameter a rank has, and what of them lies where in the parts of other ranks, however those are cut.
 *
 * A parameter is panels of rows. A rank of a tensor-parallel group has a run of each panel's rows; one that shards the optimizer's state has, of those, a span of
 * elements in their order.
 */
import type { Span } from './shards.js';

/** The parameter as a whole. Of a matrix that is cut along its columns each row is a panel, and its rows are single elements. */
export interface ParameterGrid {
  readonly panels: number;
  /** Of each panel. */
  readonly rows: number;
  /** Of each row. */
  readonly elements: number;
}

export interface ParameterPart extends ParameterGrid {
  /** The rows of each panel that are here. */
  readonly held: Span;
  /** The elements that are here, counted over those rows of all panels. */
  readonly span: Span;
}

/** Elements that two parts share and that follow each other in both, from places counted in their spans. */
export interface SharedRun {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/** All of a parameter that nobody cuts. */
export function wholeGrid(size: number): ParameterGrid {
  return { panels: 1, rows: size, elements: 1 };
}

export const gridSize = ({ panels, rows, elements }: ParameterGrid): number => panels * rows * elements;

/** All elements of the held rows. */
export function partOf(grid: ParameterGrid, held: Span = { start: 0, end: grid.rows }): ParameterPart {
  return { ...grid, held, span: { start: 0, end: gridSize({ ...grid, rows: held.end - held.start }) } };
}

/** Whether other ranks have rows that are not here. */
export function isCut({ held, rows }: ParameterPart): boolean {
  return held.end - held.start < rows;
}

/** Whether one part says something of the other: they are cut along the same rows, or one of them has all. */
export function isComparable(one: ParameterPart, other: ParameterPart): boolean {
  const isSame = one.panels === other.panels && one.rows === other.rows && one.elements === other.elements;
  return isSame || (gridSize(one) === gridSize(other) && (!isCut(one) || !isCut(other)));
}

/** What `to` and `from`, which are comparable, have both, in order. */
export function* sharedRuns(to: ParameterPart, from: ParameterPart): Generator<SharedRun> {
  const { panels, rows, elements } = isCut(to) ? to : from;
  const heldBy = (part: ParameterPart): Span => (isCut(part) ? part.held : { start: 0, end: rows });
  const [toHeld, fromHeld] = [heldBy(to), heldBy(from)];
  const start = Math.max(toHeld.start, fromHeld.start);
  const count = (Math.min(toHeld.end, fromHeld.end) - start) * elements;
  for (let panel = 0; panel < panels; panel++) {
    const placeIn = (held: Span): number => (panel * (held.end - held.start) + start - held.start) * elements;
    const [toPlace, fromPlace] = [placeIn(toHeld), placeIn(fromHeld)];
    const first = Math.max(0, to.span.start - toPlace, from.span.start - fromPlace);
    const end = Math.min(count, to.span.end - toPlace, from.span.end - fromPlace);
    if (first < end) yield { from: fromPlace + first - from.span.start, to: toPlace + first - to.span.start, count: end - first };
  }
}
