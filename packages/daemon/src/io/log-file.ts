/** What one process prints, in a file. A full file is set aside once; then the older half of the output is lost. */
import { createWriteStream, openSync, renameSync, type WriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';

/** Two of these are kept for a process. */
export const LOG_FILE_MAX_BYTES = 32 * 2 ** 20;
/** Output that may wait for the disk before its process must. */
const LOG_BUFFER_BYTES = 2 ** 20;
/** Of a log, the last part is shown. */
const LOG_READ_MAX_BYTES = 2 ** 20;

/** The file of one process. */
export class LogFile {
  readonly #path: string;
  readonly #onFailure: (error: Error) => void;
  readonly #onDrain: () => void;
  #stream: WriteStream | null = null;
  #sizeBytes = 0;

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
    const keepsUp = this.#stream.write(text);
    if (this.#sizeBytes < LOG_FILE_MAX_BYTES) return keepsUp;
    this.#stream.end(); // what it still holds is written
    this.#stream = null;
    renameSync(this.#path, `${this.#path}.1`);
    return true;
  }

  close(): void {
    this.#stream?.end();
    this.#stream = null;
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

/** The last part of each log that exists, under a heading when there are several. */
export async function readLogs(folder: string, logIds: readonly string[]): Promise<string> {
  const texts: { readonly logId: string; readonly text: string }[] = [];
  for (const logId of logIds) {
    const text = await readTail(logPath(folder, logId));
    if (text) texts.push({ logId, text });
  }
  if (texts.length === 1) return texts[0]!.text;
  return texts.map(({ logId, text }) => `==> ${logId} <==\n${text}`).join('\n');
}

/** The file of a process's output. Ids come from other machines: they must not lead out of the folder. */
export function logPath(folder: string, logId: string): string {
  return join(folder, `${logId.replaceAll(/[^\w-]/g, '_')}.log`);
}

async function readTail(path: string): Promise<string> {
  let file;
  try {
    file = await open(path, 'r');
  } catch {
    return '';
  }
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, LOG_READ_MAX_BYTES));
    await file.read(bytes, 0, bytes.length, size - bytes.length);
    const text = bytes.toString('utf8');
    return size > bytes.length ? text.slice(text.indexOf('\n') + 1) : text;
  } finally {
    await file.close();
  }
}
