/**
 * The checkpoints of an experiment: one file each, which is there whole or not at all (written under another name, synced, renamed). Of every trial the
 * last one is kept.
 */
import { closeSync, copyFileSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { storageError } from './log.js';

/** The checkpoints in an experiment's folder. */
export class Checkpoints {
  readonly #folder: string;
  readonly #writing = new Set<Promise<void>>();

  constructor(experimentFolder: string) {
    this.#folder = join(experimentFolder, 'checkpoints');
    mkdirSync(this.#folder, { recursive: true });
  }

  /** Resolves when the disk has it. @throws STORAGE, and the trial's earlier checkpoint stays */
  async write(trialId: string, step: number, bytes: Uint8Array): Promise<void> {
    const writing = this.#write(trialId, step, bytes);
    this.#writing.add(writing);
    try {
      await writing;
    } finally {
      this.#writing.delete(writing);
    }
  }

  /** Resolves when nothing is being written: before then the folder is nobody else's. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#writing);
  }

  /** Makes one trial's checkpoint the other's, too. @throws STORAGE */
  copy(from: { readonly trialId: string; readonly step: number }, to: { readonly trialId: string; readonly step: number }): void {
    const file = this.#fileOf(to.trialId, to.step);
    const draft = `${file}.draft`;
    try {
      copyFileSync(this.#fileOf(from.trialId, from.step), draft);
      syncPath(draft);
      renameSync(draft, file);
      syncPath(this.#folder);
    } catch (cause) {
      rmSync(draft, { force: true });
      throw storageError(file, cause);
    }
  }

  /** Null where it is missing: somebody has removed it. */
  read(trialId: string, step: number): Uint8Array | null {
    try {
      return readFileSync(this.#fileOf(trialId, step));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  /** A trial has a later one. */
  drop(trialId: string, step: number): void {
    rmSync(this.#fileOf(trialId, step), { force: true });
  }

  /** Removes what a dead driver left: drafts, and checkpoints of which the log knows nothing. */
  sweep(stepOf: (trialId: string) => number): void {
    for (const name of readdirSync(this.#folder)) {
      const [, trialId, step] = /^trial-(\d+)-step-(\d+)\.bin$/.exec(name) ?? [];
      if (trialId === undefined || stepOf(trialId) !== Number(step)) rmSync(join(this.#folder, name), { force: true });
    }
  }

  async #write(trialId: string, step: number, bytes: Uint8Array): Promise<void> {
    const file = this.#fileOf(trialId, step);
    const draft = `${file}.draft`;
    try {
      const handle = await open(draft, 'w');
      try {
        await handle.writeFile(bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(draft, file);
      syncPath(this.#folder);
    } catch (cause) {
      await rm(draft, { force: true });
      throw storageError(file, cause);
    }
  }

  #fileOf(trialId: string, step: number): string {
    return join(this.#folder, `trial-${trialId}-step-${step}.bin`);
  }
}

/** Returns when the disk has what a file holds, or a folder's names. */
function syncPath(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
