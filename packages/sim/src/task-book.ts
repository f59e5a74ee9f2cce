/** Every task that was submitted, and how often it began: a few bytes each, because there may be millions. */

/** What is known of a submitted task. */
export interface TaskOptions {
  readonly name: string;
  readonly retries: number;
}

const ROWS_MIN = 64;
/** As many as a column of 16 bits can name; a simulation has a handful. */
const KINDS_MAX = 2 ** 16 - 1;

/** The tasks of one owner, as columns by their numbers. */
class Pages {
  /** What each is, counted from 1; 0: no such task. */
  kinds = new Uint16Array(ROWS_MIN);
  executions = new Uint16Array(ROWS_MIN);

  reserve(rows: number): void {
    if (rows <= this.kinds.length) return;
    const length = Math.max(rows, this.kinds.length * 2);
    this.kinds = grown(this.kinds, length);
    this.executions = grown(this.executions, length);
  }
}

/** All tasks of one simulation. */
export class TaskBook {
  readonly #pages = new Map<string, Pages>();
  readonly #kinds: TaskOptions[] = [];
  readonly #kindNumbers = new Map<string, number>();

  add(ownerKey: string, sequence: number, { name, retries }: TaskOptions): void {
    let pages = this.#pages.get(ownerKey);
    if (!pages) this.#pages.set(ownerKey, (pages = new Pages()));
    pages.reserve(sequence + 1);
    pages.kinds[sequence] = this.#kindNumber(name, retries);
    pages.executions[sequence] = 0;
  }

  has(ownerKey: string, sequence: number): boolean {
    return (this.#pages.get(ownerKey)?.kinds[sequence] ?? 0) > 0;
  }

  /** Of a task that is known. */
  optionsOf(ownerKey: string, sequence: number): TaskOptions {
    return this.#kinds[this.#pages.get(ownerKey)!.kinds[sequence]! - 1]!;
  }

  /** Counts one more execution of a task that is known. Returns how many there were. */
  began(ownerKey: string, sequence: number): number {
    return ++this.#pages.get(ownerKey)!.executions[sequence]!;
  }

  /** An execution that does not count: it was preempted. */
  forgive(ownerKey: string, sequence: number): void {
    this.#pages.get(ownerKey)!.executions[sequence]!--;
  }

  #kindNumber(name: string, retries: number): number {
    const key = `${retries} ${name}`;
    let number = this.#kindNumbers.get(key);
    if (number === undefined) {
      if (this.#kinds.length >= KINDS_MAX) throw new Error(`a simulation with more than ${KINDS_MAX} kinds of tasks`);
      number = this.#kinds.push({ name, retries });
      this.#kindNumbers.set(key, number);
    }
    return number;
  }
}

function grown(column: Uint16Array<ArrayBuffer>, length: number): Uint16Array<ArrayBuffer> {
  const larger = new Uint16Array(length);
  larger.set(column);
  return larger;
}
