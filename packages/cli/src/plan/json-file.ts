/** Reads JSON that people write: what is wrong with it is said with its place, by line or by key. */
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { makeError, MusterError } from '@muster/base';

/** The text of a file, or of the standard input for `-`. @throws MusterError INVALID_ARGUMENT */
export async function readText(file: string): Promise<string> {
  if (file === '-') return text(process.stdin);
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw makeError('INVALID_ARGUMENT', { what: file, want: `a file that can be read (${(cause as Error).message})` }, { cause });
  }
}

/** A value and where it was written, such as `demand.json: groups[0].bundles[1]`. */
export class Written {
  readonly value: unknown;
  readonly place: string;

  constructor(value: unknown, place: string) {
    this.value = value;
    this.place = place;
  }

  /** @param name of the file, or of the option, to begin places with. @throws MusterError INVALID_ARGUMENT */
  static parse(json: string, name: string): Written {
    try {
      return new Written(JSON.parse(json), `${name}:`);
    } catch (error) {
      throw makeError('INVALID_ARGUMENT', { what: `${name}${lineOf(json, (error as Error).message)}`, want: `JSON (${(error as Error).message.replace(/ in JSON at position.*$/s, '')})` });
    }
  }

  /** The fields of an object, each with its place. @throws MusterError INVALID_ARGUMENT for another value and for keys that are not known */
  fields<Key extends string>(known: readonly Key[]): Readonly<Partial<Record<Key, Written>>> {
    const fields = this.entries(`an object with some of ${known.join(', ')}`);
    for (const [key, field] of fields) if (!(known as readonly string[]).includes(key)) throw field.isNot(`one of the keys ${known.join(', ')}`, '');
    return Object.fromEntries(fields) as Partial<Record<Key, Written>>;
  }

  /** All fields of an object, whatever their names. @throws MusterError INVALID_ARGUMENT for another value */
  entries(want: string): readonly (readonly [key: string, field: Written])[] {
    const { value } = this;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw this.isNot(want);
    return Object.entries(value).map(([key, field]) => [key, new Written(field, this.#below(key))] as const);
  }

  /** @throws MusterError INVALID_ARGUMENT for another value */
  items(want: string): readonly Written[] {
    if (!Array.isArray(this.value)) throw this.isNot(want);
    return this.value.map((item, index) => new Written(item, `${this.place}[${index}]`.replace(':[', ': [')));
  }

  /** @throws MusterError INVALID_ARGUMENT for another value */
  whole(least: number, most: number): number {
    const { value } = this;
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) throw this.isNot(`a whole number from ${least} to ${most}`);
    return value as number;
  }

  /** @throws MusterError INVALID_ARGUMENT for another value */
  name(): string {
    if (typeof this.value !== 'string' || this.value === '') throw this.isNot('a text that is not empty');
    return this.value;
  }

  /** What `read` makes of it; what it complains of is said with the place. */
  as<T>(read: (value: never) => T): T {
    try {
      return read(this.value as never);
    } catch (error) {
      if (!(error instanceof MusterError) || error.code !== 'INVALID_ARGUMENT') throw error;
      throw makeError('INVALID_ARGUMENT', { what: `${this.place} ${error.details['what']}`, want: String(error.details['want']) }, { cause: error });
    }
  }

  isNot(want: string, what = JSON.stringify(this.value)): MusterError {
    return makeError('INVALID_ARGUMENT', { what: `${this.place} ${what}`.trimEnd(), want });
  }

  #below(key: string): string {
    return this.place.endsWith(':') ? `${this.place} ${key}` : `${this.place}.${key}`;
  }
}

/** ` line 3, column 7`, from where the parser says that it stopped. */
function lineOf(json: string, message: string): string {
  const position = /at position (\d+)/.exec(message)?.[1];
  if (position === undefined) return '';
  const before = json.slice(0, Number(position)).split('\n');
  return ` line ${before.length}, column ${before.at(-1)!.length + 1}`;
}
