/** Classes that tests of actors make remote. They travel with what they refer to, like any class of a user's module. */

/** Remembers what it was told, in the order in which it was told. */
export class Recorder {
  readonly #entries: string[] = [];
  note(entry: string): number { return this.#entries.push(entry); }
  measure(bytes: Uint8Array): number { return this.#entries.push(`${bytes.length} bytes`); }
  entries(): string[] { return this.#entries; }
}

/** Counts, and can be made to end in every way. */
export class Counter {
  #n: number;
  constructor(start = 0) { this.#n = start; }
  add(k = 1): number { return (this.#n += k); }
  pid(): number { return process.pid; }
  exit(code: number): void {
    process.stderr.write('the last words\n');
    process.exit(code);
  }
  explode(): Promise<never> {
    setImmediate(() => { throw new Error('from nowhere'); });
    return new Promise(() => {});
  }
  signal(name: string): Promise<never> {
    process.kill(process.pid, name);
    return new Promise(() => {});
  }
}

export class Refusal extends RangeError {
  constructor(message: string, readonly limit: number, options?: ErrorOptions) { super(message, options); }
}
