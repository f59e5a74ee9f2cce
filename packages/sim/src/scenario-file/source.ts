/** The text of a scenario file: its TOML, and on which line each key stands, for errors that say where. */
import { makeError, type MusterError } from '@muster/base';
import { parse, TomlError, type TomlTableWithoutBigInt } from 'smol-toml';

/** A value of TOML. */
export type Table = TomlTableWithoutBigInt;

/** Keys from the outermost table inwards; a number counts the tables of an array. */
export type Path = readonly (string | number)[];

/** One scenario file. */
export class Source {
  readonly root: Table;
  /** By path, as {@link keyOf} writes it. */
  readonly #lines: ReadonlyMap<string, number>;

  /** @throws MusterError INVALID_ARGUMENT when it is no TOML */
  constructor(readonly fileName: string, text: string) {
    try {
      this.root = parse(text, { integersAsBigInt: false });
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
      const what = error.message.split('\n', 1)[0]!.replace(/^Invalid TOML document: /, '');
      throw makeError('INVALID_ARGUMENT', { what: `${fileName}, line ${error.line}, column ${error.column}`, want: `TOML (${what})` });
    }
    this.#lines = linesOf(text);
  }

  /** The error of a value that cannot be meant. `found`: what stands there. */
  error(path: Path, found: string, want: string): MusterError {
    const line = this.#lineOf(path);
    const where = [this.fileName, ...(line === undefined ? [] : [`line ${line}`])].join(', ');
    return makeError('INVALID_ARGUMENT', { what: `${where}: ${found}`, want });
  }

  /** Of the key itself, or else of the table around it. */
  #lineOf(path: Path): number | undefined {
    for (let length = path.length; length > 0; length--) {
      const line = this.#lines.get(keyOf(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return undefined;
  }
}

const keyOf = (path: Path): string => path.join('.');

/** The lines of tables and of keys that begin a line. Keys inside of inline tables count as their table. */
function linesOf(text: string): ReadonlyMap<string, number> {
  const lines = new Map<string, number>();
  const counts = new Map<string, number>();
  let table: Path = [];
  for (const [index, line] of text.split('\n').entries()) {
    const [, opening, name] = /^\s*(\[\[?)\s*([^\]]+?)\s*\]/.exec(line) ?? [];
    if (name !== undefined) {
      table = name.split('.').map(unquoted);
      if (opening === '[[') {
        const count = counts.get(keyOf(table)) ?? 0;
        counts.set(keyOf(table), count + 1);
        table = [...table, count];
      }
      lines.set(keyOf(table), index + 1);
      continue;
    }
    const [, key] = /^\s*([\w."'-]+)\s*=/.exec(line) ?? [];
    if (key !== undefined) lines.set(keyOf([...table, ...key.split('.').map(unquoted)]), index + 1);
  }
  return lines;
}

const unquoted = (key: string): string => key.trim().replace(/^(["'])(.*)\1$/, '$2');
