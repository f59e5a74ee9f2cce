/**
 * A training's checkpoints on disk: of each a folder with one file a rank and a manifest, which is there whole or not at all.
 *
 *   step-50.draft/rank-0, rank-1 ...  ──all are on the disk──>  manifest.json  ──rename──>  step-50/
 *
 * All ranks must reach the folder under the same path. What a killed training left half-written is swept away when the next one begins.
 */
import { makeError, makeFolder } from '@muster/base';
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

const MANIFEST = 'manifest.json';
const VERSION = 2;
const FINISHED = /^step-(\d+)$/;
const DRAFT = /^step-\d+\.draft$/;

/** What a rank has written: the manifest lists it, and reading checks it. */
export interface CheckpointFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly crc32: number;
}

/** What a checkpoint says of itself. In its file the checksum of the rest follows. */
export interface CheckpointManifest {
  readonly version: number;
  /** Steps of the optimizer that are in it. */
  readonly step: number;
  /** Of the training that wrote it. */
  readonly ranks: number;
  /** One a rank, in their order. */
  readonly files: readonly CheckpointFile[];
}

/** Those of one training. Each rank has one of these; rank 0 alone commits, sweeps and forgets. */
export class CheckpointFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Makes the folder where it is missing, and sees that it takes files: who learns that from the first checkpoint has trained for nothing until then. Every rank does.
   * @throws MusterError STORAGE
   */
  async prepare(): Promise<void> {
    await this.#stored(this.path, async () => {
      makeFolder(this.path);
      const probe = join(this.path, `probe-${randomUUID()}`);
      try {
        await writeSynced(probe, (handle) => handle.writeFile('Can files be written here?\n'));
      } finally {
        await rm(probe, { force: true });
      }
    });
  }

  /**
   * Writes one rank's part of a checkpoint that is not committed yet. Resolves when the disk has it.
   * @throws MusterError STORAGE
   */
  async write(step: number, rank: number, parts: readonly Uint8Array[]): Promise<CheckpointFile> {
    const name = this.fileOf(rank);
    const folder = this.#draftOf(step);
    return this.#stored(join(folder, name), async (file) => {
      await mkdir(folder, { recursive: true });
      let sizeBytes = 0;
      let sum = 0;
      await writeSynced(file, async (handle) => {
        for (const part of parts) {
          await handle.writeFile(part);
          sizeBytes += part.byteLength;
          sum = crc32(part, sum);
        }
      });
      return { name, sizeBytes, crc32: sum };
    });
  }

  /**
   * Makes a checkpoint count, once every rank's part is written, and removes all but the newest `keep`.
   * @param files of each rank, in their order
   * @throws MusterError STORAGE, and those before stay
   */
  async commit(step: number, files: readonly CheckpointFile[], keep: number): Promise<void> {
    const manifest: CheckpointManifest = { version: VERSION, step, ranks: files.length, files };
    const folder = join(this.path, `step-${step}`);
    await this.#stored(folder, async () => {
      await writeSynced(join(this.#draftOf(step), MANIFEST), (handle) => handle.writeFile(`${JSON.stringify({ ...manifest, crc32: crc32(JSON.stringify(manifest)) }, null, 2)}\n`));
      await syncFolder(this.#draftOf(step));
      await rm(folder, { recursive: true, force: true }); // of a training that had come as far, and was taken back
      await rename(this.#draftOf(step), folder);
      await syncFolder(this.path);
    });
    for (const old of (await this.#steps()).slice(keep)) await rm(join(this.path, `step-${old}`), { recursive: true, force: true });
  }

  /** What a rank's part is called. */
  fileOf(rank: number): string {
    return `rank-${rank}`;
  }

  /** The checkpoints whose files are all there in full length, newest first, and what is wrong with the others. Contents are checked when they are read. */
  async list(): Promise<{ readonly whole: CheckpointManifest[]; readonly damaged: string[] }> {
    const whole: CheckpointManifest[] = [];
    const damaged: string[] = [];
    for (const step of await this.#steps()) {
      const folder = join(this.path, `step-${step}`);
      try {
        whole.push(await readManifest(folder, step));
      } catch (error) {
        damaged.push(`${folder}: ${messageOf(error)}`);
      }
    }
    return { whole, damaged };
  }

  /**
   * What a rank wrote.
   * @throws Error that says how the file differs from what was written, or why it cannot be read
   */
  async read({ step, files }: CheckpointManifest, rank: number): Promise<Uint8Array> {
    const { name, sizeBytes, crc32: sum } = files[rank]!;
    const bytes = await readFile(join(this.path, `step-${step}`, name));
    if (bytes.byteLength !== sizeBytes) throw new Error(`${name} of step ${step} has ${bytes.byteLength} bytes of ${sizeBytes}`);
    if (crc32(bytes) !== sum) throw new Error(`${name} of step ${step} has other contents than were written: its checksum differs`);
    return bytes;
  }

  /** Removes what was never committed. */
  async sweep(): Promise<void> {
    for (const name of await this.#names()) {
      if (DRAFT.test(name)) await rm(join(this.path, name), { recursive: true, force: true });
    }
  }

  /** Newest first. */
  async #steps(): Promise<number[]> {
    return (await this.#names()).flatMap((name) => FINISHED.exec(name)?.[1] ?? []).map(Number).sort((a, b) => b - a);
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  #draftOf(step: number): string {
    return join(this.path, `step-${step}.draft`);
  }

  async #stored<T>(file: string, work: (file: string) => Promise<T>): Promise<T> {
    try {
      return await work(file);
    } catch (cause) {
      throw makeError('STORAGE', { file, cause: messageOf(cause) }, { cause });
    }
  }
}

async function readManifest(folder: string, step: number): Promise<CheckpointManifest> {
  const { crc32: sum, ...manifest } = JSON.parse(await readFile(join(folder, MANIFEST), 'utf8')) as CheckpointManifest & { readonly crc32: number };
  if (manifest.version !== VERSION) throw new Error(`${MANIFEST} is of version ${String(manifest.version)}, and this program reads ${VERSION}`);
  if (crc32(JSON.stringify(manifest)) !== sum) throw new Error(`${MANIFEST} has other contents than were written: its checksum differs`);
  if (manifest.step !== step) throw new Error(`${MANIFEST} is that of step ${manifest.step}`);
  for (const { name, sizeBytes } of manifest.files) {
    const { size } = await stat(join(folder, name));
    if (size !== sizeBytes) throw new Error(`${name} has ${size} bytes of ${sizeBytes}`);
  }
  return manifest;
}

async function writeSynced(file: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await open(file, 'w');
  try {
    await write(handle);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A renamed file is on the disk when its folder is. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
