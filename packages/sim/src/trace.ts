/** The history of one simulation: a hash of everything that happened, and the text of it for whoever asks. */

/** Ids end in random digits; people read better what is counted. */
const ID_PATTERN = /\b(driver|worker|actor|lease|job|node|cluster)-([0-9a-f]{12})\b/g;
const OBJECT_PATTERN = /\bobj-([0-9a-f]{12})-([0-9a-f]{12})?/g;

/** The trace of one simulation. */
export class Trace {
  #hash = 0x811c9dc5;
  #shortIds = new Map<string, string>();
  #counts = new Map<string, number>();
  lineCount = 0;

  /** `sink` gets the text; null when nobody reads it. A brief trace hashes the times of what happens and not its text, which nobody then writes. */
  constructor(readonly sink: ((line: string) => void) | null, readonly isBrief: boolean) {}

  /** Whether `record` looks at its line. */
  get wantsText(): boolean {
    return !this.isBrief || this.sink !== null;
  }

  /** One thing that happened. Equal simulations record equal lines. */
  record(atMs: number, line: string): void {
    this.lineCount++;
    let hash = Math.imul(this.#hash ^ (atMs * 1000), 0x01000193);
    if (!this.isBrief) for (let i = 0; i < line.length; i++) hash = Math.imul(hash ^ line.charCodeAt(i), 0x01000193);
    this.#hash = hash;
    if (this.sink) this.sink(`${atMs.toFixed(3).padStart(10)}  ${this.shorten(line)}`);
  }

  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  /** The line with counted ids, in the order of their appearance: `worker-1`. */
  shorten(line: string): string {
    return line
      .replace(OBJECT_PATTERN, (_, owner: string, worker?: string) => `obj-${this.#short('key', owner)}-${worker ? this.#short('key', worker) : ''}`)
      .replace(ID_PATTERN, (id: string, kind: string, key: string) => `${kind}-${this.#short(kind === 'worker' || kind === 'driver' ? 'key' : kind, key)}`);
  }

  #short(kind: string, key: string): string {
    let short = this.#shortIds.get(key);
    if (short === undefined) {
      const count = (this.#counts.get(kind) ?? 0) + 1;
      this.#counts.set(kind, count);
      this.#shortIds.set(key, (short = String(count)));
    }
    return short;
  }
}
