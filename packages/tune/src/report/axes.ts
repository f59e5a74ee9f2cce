/** Scales of charts: from values to places between 0 and 1, with the ticks to label. */
import type { Json } from '../searcher.js';

/** One axis. */
export interface Axis {
  readonly name: string;
  /** Where a value lies, from 0 to 1; null: it is not on this axis. */
  place(value: Json | undefined): number | null;
  readonly ticks: readonly { readonly at: number; readonly label: string }[];
}

const TICKS = 4;
/** Where even numbers are taken, there are at least so many. */
const ROUND_TICKS_MIN = 3;
/** Values that span more than so many times their least are drawn on a logarithmic axis. */
const LOG_RATIO = 50;

/** An axis that fits these values: of numbers, logarithmic where they span orders of magnitude; else of categories in the order in which they come. */
export function axisOf(name: string, values: readonly (Json | undefined)[], { isCount = false } = {}): Axis {
  const present = values.filter((value) => value !== undefined && value !== null);
  return present.every((value) => typeof value === 'number') && present.length > 0 ? numericAxis(name, present as number[], isCount) : categoricalAxis(name, present as Json[]);
}

function numericAxis(name: string, values: readonly number[], isCount: boolean): Axis {
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  const isLog = !isCount && low > 0 && high / low > LOG_RATIO;
  const to = isLog ? Math.log : (value: number): number => value;
  const from = isLog ? Math.exp : (value: number): number => value;
  const span = to(high) - to(low) || 1;
  const place = (value: number): number => (to(value) - to(low)) / span;
  const tickValues = isLog ? powersBetween(low, high) : roundBetween(low, high);
  const ticks = (tickValues.length >= 2 ? tickValues : Array.from({ length: TICKS }, (_, index) => from(to(low) + (span * index) / (TICKS - 1)))).map((value) => ({ at: place(value), label: labelOf(value) }));
  return { name: isLog ? `${name} (log)` : name, place: (value) => (typeof value === 'number' && (!isLog || value > 0) ? place(value) : null), ticks };
}

function categoricalAxis(name: string, values: readonly Json[]): Axis {
  const texts = [...new Set(values.map(textOf))];
  const at = (index: number): number => (texts.length === 1 ? 0.5 : index / (texts.length - 1));
  return {
    name,
    place: (value) => {
      const index = value === undefined || value === null ? -1 : texts.indexOf(textOf(value));
      return index < 0 ? null : at(index);
    },
    ticks: texts.map((label, index) => ({ at: at(index), label: label.slice(0, 14) })),
  };
}

const textOf = (value: Json): string => (typeof value === 'string' ? value : JSON.stringify(value));

/** Source: Heckbert, 1990, "Nice numbers for graph labels". */
function roundBetween(low: number, high: number): number[] {
  if (low === high) return [low];
  const power = 10 ** Math.floor(Math.log10((high - low) / TICKS));
  const steps = [10, 5, 2, 1, 0.5].map((factor) => factor * power);
  return steps.map((step) => multiplesBetween(low, high, step)).find(({ length }) => length >= ROUND_TICKS_MIN)!;
}

function multiplesBetween(low: number, high: number, step: number): number[] {
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, index) => (first + index) * step);
}

function powersBetween(low: number, high: number): number[] {
  const powers: number[] = [];
  for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power++) powers.push(10 ** power);
  const every = Math.ceil(powers.length / (TICKS + 1));
  return powers.filter((_, index) => index % every === 0);
}

/** A number in a few characters. */
export function labelOf(value: number): string {
  if (value === 0) return '0';
  const magnitude = Math.abs(value);
  return magnitude >= 1e5 || magnitude < 1e-3 ? value.toExponential(1).replace('.0e', 'e').replace('e+', 'e') : String(Number(value.toPrecision(4)));
}
