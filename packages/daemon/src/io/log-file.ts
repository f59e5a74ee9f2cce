/** What one process prints, in a file. A full file is set aside once; then the older half of the output is lost. */
import { createWriteStream, openSync, readFileSync, renameSync, writeFileSync, type WriteStream } from 'node:fs';
import { join } from 'node:path';

/** Two of these are kept for a process. */
export const LOG_FILE_MAX_BYTES = 32 * 2 ** 20;
/** Output that may wait for the disk before its process must. */
const LOG_BUFFER_BYTES = 2 ** 20;

/** The file of one process. */
export class LogFile {
  readonly #path: string;
  readonly #onFailure: (error: Error) => void;
  readonly #onDrain: () => void;
  #stream: WriteStream | null = null;
  #sizeBytes = 0;
  /** Outputs on their way to the disk, and who waits for that. */
  #unwritten = 0;
  #waiting: (() => void)[] = [];
  /** Of what was set aside, also before. */
  #startOffset = 0;

  /** The file is made with the first output. */
  constructor(path: string, handlers: { readonly onDrain: () => void; readonly onFailure: (error: Error) => void }) {
    this.#path = path;
    this.#onDrain = handlers.onDrain;
    this.#onFailure = handlers.onFailure;
  }

  /** False: the disk is slower than the output; wait for `onDrain`. */
  append(text: string): boolean {
    try {
      this.#stream ??= this.#open();
    } catch (error) {
      this.#onFailure(error as Error);
      return true; // without a disk there is nothing to wait for
    }
    this.#sizeBytes += Buffer.byteLength(text);
    this.#unwritten += 1;
    const keepsUp = this.#stream.write(text, () => this.#wrote());
    if (this.#sizeBytes < LOG_FILE_MAX_BYTES) return keepsUp;
    this.#stream.end(); // what it still holds is written
    this.#stream = null;
    this.#setAside();
    return true;
  }

  close(): void {
    this.#stream?.end();
    this.#stream = null;
  }

  /** Resolves when all that was appended is in the file, or is lost with its disk. */
  async written(): Promise<void> {
    if (this.#unwritten > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Also told of what could not be written. */
  #wrote(): void {
    this.#unwritten -= 1;
    if (this.#unwritten > 0) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** The file and the word about it change in one turn: who reads both in one turn finds them in agreement. */
  #setAside(): void {
    this.#startOffset += this.#sizeBytes;
    renameSync(this.#path, asidePath(this.#path));
    const span: LogSpan = { startOffset: this.#startOffset, asideBytes: this.#sizeBytes };
    writeFileSync(spanPath(this.#path), JSON.stringify(span), { mode: 0o600 });
  }

  #open(): WriteStream {
    this.#sizeBytes = 0;
    const stream = createWriteStream('', { fd: openSync(this.#path, 'a', 0o600), highWaterMark: LOG_BUFFER_BYTES });
    stream.on('drain', this.#onDrain);
    stream.on('error', (error) => {
      this.#onFailure(error);
      this.#onDrain();
    });
    return stream;
  }
}

/** The file of a process's output. Ids come from other machines: they must not lead out of the folder. */
export function logPath(folder: string, logId: string): string {
  return join(folder, `${logId.replaceAll(/[^\w-]/g, '_')}.log`);
}

/** What was set aside of a log. */
export const asidePath = (path: string): string => `${path}.1`;

/** Which part of a process's output is in its log's files. */
export interface LogSpan {
  /** Bytes before those of the newest file. */
  readonly startOffset: number;
  /** How many of these the file that was set aside has, or will have as soon as the disk has them. */
  readonly asideBytes: number;
}

const spanPath = (path: string): string => `${path}.span`;

export function readSpan(path: string): LogSpan {
  try {
    return JSON.parse(readFileSync(spanPath(path), 'utf8')) as LogSpan;
  } catch {
    return { startOffset: 0, asideBytes: 0 }; // nothing was set aside
  }
}
