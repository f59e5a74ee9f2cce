/**
 * The lock of an experiment's folder: one driver at a time. The file names the process that holds it by its id and by when it was started, so that
 * another process that has got the same id later is not taken for it.
 */
import { makeError } from '@muster/base';
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, renameSync, rmSync, unlinkSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { asStorageError } from './log.js';

interface Holder {
  readonly pid: number;
  /** In the kernel's ticks since the machine started: field 22 of /proc/PID/stat. */
  readonly startTicks: string;
  readonly host: string;
}

/** Of another machine nothing can be known, so its locks stay until somebody removes them. */
const isAlive = ({ pid, startTicks, host }: Holder): boolean => host !== hostname() || startTicksOf(pid) === startTicks;

/** A lock that this process holds. */
export class FolderLock {
  readonly #file: string;

  private constructor(file: string) {
    this.#file = file;
  }

  /** @throws EXPERIMENT_IN_USE where a living process holds it; STORAGE */
  static take(folder: string): FolderLock {
    const file = join(folder, 'lock');
    const mine: Holder = { pid: process.pid, startTicks: startTicksOf(process.pid)!, host: hostname() };
    const draft = `${file}.${process.pid}`;
    try {
      writeSynced(draft, `${JSON.stringify(mine)}\n`);
      while (!tryLink(draft, file)) dropStale(folder, file);
    } catch (error) {
      throw asStorageError(file, error);
    } finally {
      rmSync(draft, { force: true });
    }
    return new FolderLock(file);
  }

  release(): void {
    unlinkSync(this.#file);
  }
}

function writeSynced(file: string, text: string): void {
  const descriptor = openSync(file, 'w');
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** A link is made whole or not at all, and only one process can make it. */
function tryLink(draft: string, file: string): boolean {
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Removes the lock of a process that is gone. Of two that try, the rename lets one through, and it makes sure that it took the lock it had read. */
function dropStale(folder: string, file: string): void {
  const holder = readHolder(file);
  if (holder === null) return; // released meanwhile
  if (isAlive(holder)) throw makeError('EXPERIMENT_IN_USE', { folder, holder: `process ${holder.pid}${holder.host === hostname() ? '' : ` on ${holder.host}`}; its lock is ${file}` });
  const taken = `${file}.stale.${process.pid}`;
  try {
    renameSync(file, taken);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const moved = readHolder(taken);
  if (moved && isAlive(moved)) tryLink(taken, file); // somebody was faster, and holds it now: give it back
  unlinkSync(taken);
}

function readHolder(file: string): Holder | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Holder;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** When a living process was started; null: there is none of that id, or it has ended and only its parent has not looked yet. */
function startTicksOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // the name before it may hold blanks and parentheses
    return fields[0] === 'Z' || fields[0] === 'X' ? null : fields[19]!;
  } catch {
    return null;
  }
}
