/**
 * Objects on disk, one file each. A file is written under another name and renamed, so that one with its own name is whole. The
 * folder belongs to one process and dies with it: nothing is synced.
 */
import { mkdirSync } from 'node:fs';
import { open, rename, rm, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

/** Read and written at once: large enough for a disk's full speed, small enough to keep the event loop free. */
const CHUNK_BYTES = 2 ** 20;
/** Files written at the same time; more would only share the disk. */
const WRITERS_MAX = 2;

/** The folder of one node's spilled objects. */
export class SpillFolder {
  readonly #folder: string;
  readonly #lineUp: (() => void)[] = [];
  #writers = 0;

  /** The folder is made when it is missing. */
  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** Writes a file of bytes that `fill` gives piece by piece. Leaves nothing behind when it rejects. */
  async write(fileId: number, sizeBytes: number, fill: (position: number, target: Uint8Array) => void): Promise<void> {
    while (this.#writers >= WRITERS_MAX) await new Promise<void>((resolve) => this.#lineUp.push(resolve));
    this.#writers++;
    const partial = `${this.#path(fileId)}.partial`;
    try {
      await this.#withFile(partial, 'wx', (file) => writeAll(file, sizeBytes, fill));
      await rename(partial, this.#path(fileId));
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    } finally {
      this.#writers--;
      this.#lineUp.shift()?.();
    }
  }

  /** The file's bytes, piece by piece; each piece is the receiver's. Once begun, deleting the file does no harm. */
  async *read(fileId: number, sizeBytes: number): AsyncGenerator<Uint8Array> {
    const file = await open(this.#path(fileId), 'r');
    try {
      for (let position = 0; position < sizeBytes;) {
        const target = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, sizeBytes - position));
        const { bytesRead } = await file.read(target, 0, target.length, position);
        if (bytesRead === 0) throw new Error(`the file ends after ${position} of ${sizeBytes} bytes`);
        yield target.subarray(0, bytesRead);
        position += bytesRead;
      }
    } finally {
      await file.close();
    }
  }

  /** Deletes a file. What cannot be deleted stays until the folder goes. */
  delete(fileId: number): void {
    void unlink(this.#path(fileId)).catch(() => {});
  }

  #path(fileId: number): string {
    return join(this.#folder, String(fileId));
  }

  async #withFile(path: string, flags: string, use: (file: FileHandle) => Promise<void>): Promise<void> {
    const file = await open(path, flags, 0o600);
    try {
      await use(file);
    } finally {
      await file.close();
    }
  }
}

async function writeAll(file: FileHandle, sizeBytes: number, fill: (position: number, target: Uint8Array) => void): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, sizeBytes));
  for (let position = 0; position < sizeBytes;) {
    const piece = buffer.subarray(0, Math.min(buffer.length, sizeBytes - position));
    fill(position, piece);
    for (let done = 0; done < piece.length;) done += (await file.write(piece, done, piece.length - done, position + done)).bytesWritten;
    position += piece.length;
  }
}
