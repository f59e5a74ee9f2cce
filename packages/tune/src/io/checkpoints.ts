/**
 * The checkpoints of an experiment: one file each, which is there whole or not at all (written under another name, synced, renamed). Of every trial the
 * last one is kept, and earlier ones as long as other trials may go on from them.
 */
import { closeSync, copyFileSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { storageError } from './log.js';

/** Which checkpoint. */
export interface CheckpointId {
  readonly trialId: string;
  readonly step: number;
}

/** The checkpoints in an experiment's folder. */
export class Checkpoints {
  readonly #folder: string;
  readonly #writing = new Set<Promise<void>>();
  /** Those whose trials have later ones. */
  readonly #superseded = new Set<CheckpointId>();

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
  copy(from: CheckpointId, to: CheckpointId): void {
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

  /** A trial has a later one. It goes, as others do that were superseded before, as soon as it is not needed. */
  supersede(id: CheckpointId, isNeeded: (id: CheckpointId) => boolean): void {
    this.#superseded.add(id);
    for (const one of this.#superseded) {
      if (isNeeded(one)) continue;
      rmSync(this.#fileOf(one.trialId, one.step), { force: true });
      this.#superseded.delete(one);
    }
  }

  /** Removes what a dead driver left: drafts, and checkpoints of which the log knows nothing. */
  sweep(isNeeded: (id: CheckpointId) => boolean): void {
    const latest = new Map<string, CheckpointId>();
    for (const name of readdirSync(this.#folder)) {
      const [, trialId, digits] = /^trial-(\d+)-step-(\d+)\.bin$/.exec(name) ?? [];
      const id = trialId === undefined ? null : { trialId, step: Number(digits) };
      if (id === null || !isNeeded(id)) {
        rmSync(join(this.#folder, name), { force: true });
        continue;
      }
      const other = latest.get(id.trialId);
      if (other) this.#superseded.add(other.step < id.step ? other : id);
      if (!other || other.step < id.step) latest.set(id.trialId, id);
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
