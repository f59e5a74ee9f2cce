/** What the operating system says of processes and of what they leave behind. */
import { readdirSync, readFileSync } from 'node:fs';

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The living processes whose environment holds `NAME=value`: those that a program has started, and those that they have started. */
export function processesMarked(mark: string): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').length > 0;
    } catch {
      return false; // it has ended meanwhile
    }
  });
}

/** The files in shared memory that belong to Muster. */
export function sharedMemoryFiles(): string[] {
  return readdirSync('/dev/shm').filter((name) => name.startsWith('muster'));
}
