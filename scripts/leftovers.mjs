/** What a test may leave behind and must not: processes, shared memory, files. Processes are known by a mark in their environment. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Processes that lost their parent need a moment to notice it. */
const GRACE_MS = 3000;
const LOOK_AGAIN_MS = 50;
export const SHARED_MEMORY = '/dev/shm';
/** Kept in the system's temp folder by others: tsx's cache of compiled files. */
const FOREIGN = /^(tsx-|node-compile-cache)/;

/** @typedef {{ pid: number, command: string }} RunningProcess */

/** The living processes whose environment holds `NAME=value`. None where the system does not tell. @returns {RunningProcess[]} */
export function processesMarked(mark) {
  if (!existsSync('/proc/self/environ')) return [];
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      if (!readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(mark)) return [];
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      return command ? [{ pid: Number(name), command }] : []; // a zombie has none: it has ended
    } catch {
      return []; // it ended meanwhile, or belongs to somebody else
    }
  });
}

/** Waits until no marked process is left; ends those that stay and returns them. */
export async function endMarkedProcesses(mark) {
  const deadline = performance.now() + GRACE_MS;
  let left = processesMarked(mark);
  while (left.length > 0 && performance.now() < deadline) {
    await sleep(LOOK_AGAIN_MS);
    left = processesMarked(mark);
  }
  killAll(left);
  return left;
}

/** @param {readonly RunningProcess[]} processes */
export function killAll(processes) {
  for (const { pid } of processes) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it has ended by itself
    }
  }
}

/** The names in shared memory that are ours. */
export function sharedMemoryNames() {
  return existsSync(SHARED_MEMORY) ? readdirSync(SHARED_MEMORY).filter((name) => name.startsWith('muster')) : [];
}

/** Those names that came since `before` and that no process uses: other clusters may run on this machine at the same time. */
export async function orphanedSharedMemory(before) {
  const deadline = performance.now() + GRACE_MS;
  for (;;) {
    const fresh = sharedMemoryNames().filter((name) => !before.includes(name));
    const orphans = fresh.length === 0 ? [] : fresh.filter((name) => !isMapped(join(SHARED_MEMORY, name)));
    if (orphans.length === 0 || performance.now() > deadline) return orphans;
    await sleep(LOOK_AGAIN_MS);
  }
}

function isMapped(path) {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).some((name) => {
    try {
      return readFileSync(`/proc/${name}/maps`, 'utf8').includes(path) || readdirSync(`/proc/${name}/fd`).some((fd) => readlinkSync(`/proc/${name}/fd/${fd}`) === path);
    } catch {
      return false;
    }
  });
}

/** The files and sockets below a folder, and the folders that were made for one test or one node. */
export function filesLeft(folder) {
  return readdirSync(folder, { withFileTypes: true }).filter((entry) => !FOREIGN.test(entry.name)).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (!entry.isDirectory()) return [path];
    const inside = filesLeft(path);
    return inside.length === 0 && /^(muster|node)-/.test(entry.name) ? [path] : inside;
  });
}
