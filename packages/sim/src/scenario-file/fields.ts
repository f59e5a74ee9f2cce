/** Reads the keys of one table of a scenario file, each with its type and its bounds. What is wrong is said with its line and what is wanted. */
import { parseSizeBytes } from '@muster/base';
import type { Range } from '../network.js';
import type { Path, Source, Table } from './source.js';

interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A duration such as `250ms`, `1.5s`, `10m`; null for anything else. */
function parseDurationMs(text: unknown): number | null {
  const [, amount, unit] = /^\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)\s*$/.exec(String(text)) ?? [];
  return amount === undefined ? null : Number(amount) * DURATION_UNITS_MS[unit!]!;
}

const show = (value: unknown): string => JSON.stringify(value);

/** One table. Call {@link end} when all keys have been asked for: what is left is a mistake. */
export class Fields {
  readonly #known = new Set<string>();

  constructor(readonly source: Source, readonly path: Path, readonly table: Table) {}

  has(key: string): boolean {
    return this.#value(key) !== undefined;
  }

  /** A number. Without an `otherwise` it must be there, here as below. */
  number(key: string, { min = -Infinity, max = Infinity }: Bounds, otherwise?: number): number {
    const want = bounded('a number', { min, max });
    const value = this.#value(key) ?? otherwise;
    if (typeof value !== 'number' || !(value >= min && value <= max)) throw this.error(key, want);
    return value;
  }

  integer(key: string, bounds: Bounds, otherwise?: number): number {
    const value = this.number(key, bounds, otherwise);
    if (!Number.isSafeInteger(value)) throw this.error(key, bounded('a whole number', bounds));
    return value;
  }

  text(key: string, otherwise?: string): string {
    const value = this.#value(key) ?? otherwise;
    if (typeof value !== 'string') throw this.error(key, 'a text in quotes');
    return value;
  }

  boolean(key: string, otherwise: boolean): boolean {
    const value = this.#value(key) ?? otherwise;
    if (typeof value !== 'boolean') throw this.error(key, 'true or false');
    return value;
  }

  choice<Choice extends string>(key: string, choices: readonly Choice[], otherwise?: Choice): Choice {
    const value = this.#value(key) ?? otherwise;
    if (!choices.includes(value as Choice)) throw this.error(key, `one of ${choices.map(show).join(', ')}`);
    return value as Choice;
  }

  durationMs(key: string, otherwise?: string): number {
    const durationMs = parseDurationMs(this.#value(key) ?? otherwise);
    if (durationMs === null) throw this.error(key, 'a duration such as "250ms", "1.5s" or "10m"');
    return durationMs;
  }

  /** One duration, or two of them: `"1ms..5ms"`. */
  durationRangeMs(key: string, otherwise?: string): Range {
    const [min, max, ...more] = String(this.#value(key) ?? otherwise).split('..').map(parseDurationMs);
    if (typeof min !== 'number' || max === null || more.length > 0 || min > (max ?? min)) throw this.error(key, 'a duration such as "5ms", or a range such as "1ms..5ms"');
    return [min, max ?? min];
  }

  sizeBytes(key: string, otherwise?: string): number {
    try {
      return parseSizeBytes((this.#value(key) ?? otherwise) as string);
    } catch {
      throw this.error(key, 'a size such as "512MiB"');
    }
  }

  /** Amounts by name. */
  amounts(key: string): Readonly<Record<string, number>> {
    const amounts: Record<string, number> = {};
    for (const [name, amount] of Object.entries(this.optionalTable(key)?.table ?? {})) {
      if (typeof amount !== 'number' || amount < 0) throw this.error(key, 'a table of amounts such as { tpu = 4 }');
      amounts[name] = amount;
    }
    return amounts;
  }

  /** A table that must be there. */
  inner(key: string): Fields {
    const inner = this.optionalTable(key);
    if (inner === null) throw this.error(key, 'a table');
    return inner;
  }

  optionalTable(key: string): Fields | null {
    const value = this.#value(key);
    if (value === undefined) return null;
    if (typeof value !== 'object' || Array.isArray(value) || value instanceof Date) throw this.error(key, 'a table');
    return new Fields(this.source, [...this.path, key], value as Table);
  }

  /** Tables written as `[[key]]`; one alone may be `[key]`. */
  tables(key: string): readonly Fields[] {
    const value = this.#value(key) ?? [];
    if (!Array.isArray(value)) return [this.inner(key)];
    return value.map((table, index) => {
      if (typeof table !== 'object' || table === null || Array.isArray(table)) throw this.error(key, `tables, each under [[${key}]]`);
      return new Fields(this.source, [...this.path, key, index], table as Table);
    });
  }

  /** @throws MusterError when the table has keys that nobody asked for */
  end(): void {
    for (const key of Object.keys(this.table)) {
      if (!this.#known.has(key)) throw this.source.error([...this.path, key], `the key ${show(key)}`, `one of ${[...this.#known].sort().join(', ')}`);
    }
  }

  /** The error of this key's value. */
  error(key: string, want: string): Error {
    const value = this.#value(key);
    return this.source.error([...this.path, key], value === undefined ? `a missing '${key}'` : `${key} = ${show(value)}`, want);
  }

  #value(key: string): unknown {
    this.#known.add(key);
    return this.table[key];
  }
}

function bounded(what: string, { min = -Infinity, max = Infinity }: Bounds): string {
  if (min === -Infinity && max === Infinity) return what;
  if (max === Infinity) return `${what} of at least ${min}`;
  return `${what} from ${min} to ${max}`;
}
