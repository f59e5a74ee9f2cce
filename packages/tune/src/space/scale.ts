/** How a number of a dimension and its coordinate in [0, 1] belong together. */
import { normalCdf, normalQuantile } from '../numeric/normal.js';
import type { NumericDimension } from './dimensions.js';

/** Digits of a quantised value that are kept: 0.1 + 2 * 0.1 is to be 0.3. */
const SIGNIFICANT_DIGITS = 12;
/** How near to its end a scale without bounds is drawn: six deviations and a bit. */
const TAIL = 1e-10;

/** How many values a quantised dimension has; Infinity of others. */
export function valueCount({ low, high, step }: NumericDimension): number {
  return step === null ? Infinity : Math.floor((high - low) / step + 1e-9) + 1;
}

/** The value nearest to a coordinate. Coordinates beyond [0, 1] count as its ends. */
export function valueAt(dimension: NumericDimension, coordinate: number): number {
  const unit = Math.min(1, Math.max(0, coordinate));
  const { low, high, scale, step } = dimension;
  if (scale === 'normal' || scale === 'lognormal') {
    const z = low + high * normalQuantile(Math.min(1 - TAIL, Math.max(TAIL, unit)));
    return scale === 'normal' ? z : Math.exp(z);
  }
  const [bottom, top] = edges(dimension);
  const raw = scale === 'log' ? Math.exp(bottom + unit * (top - bottom)) : bottom + unit * (top - bottom);
  return step === null ? Math.min(high, Math.max(low, raw)) : valueOfIndex(dimension, Math.round((raw - low) / step));
}

/** The coordinate of a value, which must be one of the dimension's. */
export function coordinateOf(dimension: NumericDimension, value: number): number {
  const { low, high, scale } = dimension;
  if (scale === 'normal') return normalCdf((value - low) / high);
  if (scale === 'lognormal') return normalCdf((Math.log(value) - low) / high);
  const [bottom, top] = edges(dimension);
  return ((scale === 'log' ? Math.log(value) : value) - bottom) / (top - bottom);
}

/** Whether a value is one of the dimension's. */
export function isValue(dimension: NumericDimension, value: unknown): value is number {
  if (typeof value !== 'number' || !Number.isFinite(value)) return false;
  const { low, high, scale, step } = dimension;
  if (scale === 'normal') return true;
  if (scale === 'lognormal') return value > 0;
  if (value < low || value > high) return false;
  return step === null || Math.abs(value - valueOfIndex(dimension, Math.round((value - low) / step))) <= 1e-9 * Math.max(1, Math.abs(value));
}

/** The cell of coordinates whose values all become the one at this coordinate; of a continuous dimension, just the coordinate. */
export function cellAt(dimension: NumericDimension, coordinate: number): readonly [low: number, high: number] {
  if (dimension.step === null) return [coordinate, coordinate];
  const { low, step, scale } = dimension;
  const index = Math.round((valueAt(dimension, coordinate) - low) / step);
  const [bottom, top] = edges(dimension);
  const edgeAt = (position: number): number => ((scale === 'log' ? Math.log(low + position * step) : low + position * step) - bottom) / (top - bottom);
  return [index === 0 ? 0 : edgeAt(index - 0.5), index === valueCount(dimension) - 1 ? 1 : edgeAt(index + 0.5)];
}

/** The coordinate of a quantised dimension's value by its index, from 0 on. */
export function coordinateOfIndex(dimension: NumericDimension, index: number): number {
  return coordinateOf(dimension, valueOfIndex(dimension, index));
}

/** The index, from 0 on, of a quantised dimension's value at a coordinate. */
export function indexAt(dimension: NumericDimension, coordinate: number): number {
  return Math.round((valueAt(dimension, coordinate) - dimension.low) / dimension.step!);
}

function valueOfIndex(dimension: NumericDimension, index: number): number {
  const { low, step } = dimension;
  const inside = Math.min(valueCount(dimension) - 1, Math.max(0, index));
  const value = low + inside * step!;
  return Number.isInteger(value) ? value : Number(value.toPrecision(SIGNIFICANT_DIGITS)); // whole numbers may have more digits, and are exact
}

/**
 * Where a bounded scale begins and ends, in the units in which it is uniform. A quantised one goes half a step further
 * on both sides, so that its outer values are as likely as the inner ones.
 */
function edges(dimension: NumericDimension): readonly [bottom: number, top: number] {
  const { low, scale, step } = dimension;
  const top = step === null ? dimension.high : low + (valueCount(dimension) - 0.5) * step;
  const bottom = step === null ? low : low - step / 2;
  if (scale === 'linear') return [bottom, top];
  return [Math.log(bottom > 0 ? bottom : low / 2), Math.log(top)];
}
