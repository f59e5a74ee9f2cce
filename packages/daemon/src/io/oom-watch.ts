/** Knows when the kernel has killed a process of this machine or container for lack of memory. The kernel only counts such kills. */
import { readFileSync } from 'node:fs';

const COUNTER = /^oom_kill (\d+)$/m;

/** Where the kernel counts, the closest first: this process's control group, of either version, then the whole machine. */
function counterPaths(): string[] {
  const paths: string[] = [];
  for (const line of readText('/proc/self/cgroup').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === '') paths.push(`/sys/fs/cgroup${path}/memory.events`, '/sys/fs/cgroup/memory.events');
    if (controllers?.split(',').includes('memory')) paths.push(`/sys/fs/cgroup/memory${path}/memory.oom_control`, '/sys/fs/cgroup/memory/memory.oom_control');
  }
  return [...paths, '/proc/vmstat'];
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function readCount(path: string): number | null {
  const match = COUNTER.exec(readText(path));
  return match && Number(match[1]);
}

/** Tells deaths by lack of memory from others. */
export class OomWatch {
  readonly #path: string | undefined;
  /** Kills that happened before, or that a death accounts for. */
  #accounted: number;

  constructor(paths: readonly string[] = counterPaths()) {
    this.#path = paths.find((path) => readCount(path) !== null);
    this.#accounted = this.#read();
  }

  /** Whether there was a kill that no other death accounts for. It accounts for the death that is asked about. */
  takeKill(): boolean {
    if (this.#read() <= this.#accounted) return false;
    this.#accounted++;
    return true;
  }

  #read(): number {
    return (this.#path === undefined ? null : readCount(this.#path)) ?? 0;
  }
}
