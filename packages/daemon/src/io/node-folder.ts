/**
 * A node's place in the file system: its folder with sockets, logs and spilled objects, its arena, and the file that tells programs on this
 * machine that it runs. What a dead node has left is removed by the next one that starts.
 */
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { makeError, type NodeFile } from '@muster/base';

/** The longest path of a unix socket on Linux is 107 bytes, on others 103. */
const SOCKET_PATH_MAX_BYTES = 103;
/** The longest name of a socket in the folder: that of a worker, `/worker-<12 digits>.sock`. */
const SOCKET_NAME_BYTES = 25;
/** A folder without an owner's mark may belong to a node that is just starting. */
const UNMARKED_GRACE_MS = 60_000;
const OWNER_FILE = 'process.json';
const ARENA_PREFIX = 'muster-';

/** Which process a folder belongs to. A pid alone might be another process's by now, most of all after a container's restart. */
interface OwnerMark {
  readonly pid: number;
  /** When the process started, in the kernel's clock; empty where that cannot be known. */
  readonly startTicks: string;
  readonly arenaPath: string;
}

/** The places of one node, made when the object is. */
export class NodeFolder {
  readonly nodeId: string;
  readonly path: string;
  readonly daemonSocketPath: string;
  readonly logPath: string;
  readonly spillPath: string;
  readonly arenaPath: string;
  readonly #home: string;

  /** Makes the folder and marks it as this process's. @throws MusterError INVALID_ARGUMENT when its path is too long for sockets */
  constructor(home: string, nodeId: string) {
    this.nodeId = nodeId;
    this.path = join(home, nodeId);
    this.daemonSocketPath = join(this.path, 'daemon.sock');
    this.logPath = join(this.path, 'logs');
    this.spillPath = join(this.path, 'spill');
    this.arenaPath = join(sharedMemoryFolder(), `${ARENA_PREFIX}${nodeId}`);
    this.#home = home;
    const limit = SOCKET_PATH_MAX_BYTES - SOCKET_NAME_BYTES;
    if (Buffer.byteLength(this.path) > limit) {
      throw makeError('INVALID_ARGUMENT', { what: `the folder ${this.path}`, want: `at most ${limit} bytes long, because unix sockets lie in it; set MUSTER_HOME to a shorter one` });
    }
    mkdirSync(this.path, { recursive: true, mode: 0o700 });
    mkdirSync(this.logPath, { recursive: true, mode: 0o700 });
    const mark: OwnerMark = { pid: process.pid, startTicks: startTicksOf(process.pid), arenaPath: this.arenaPath };
    writeWhole(join(this.path, OWNER_FILE), mark);
  }

  /** Lets programs on this machine find the node. */
  publish(file: NodeFile): void {
    mkdirSync(join(this.#home, 'nodes'), { recursive: true, mode: 0o700 });
    writeWhole(nodeFilePath(this.#home, this.nodeId), file);
  }

  /** Removes all of it. */
  remove(): void {
    removeNode(this.#home, this.nodeId, this.arenaPath);
  }
}

/** Removes what dead nodes have left. Returns their ids. */
export function sweepDeadNodes(home: string): string[] {
  const swept: string[] = [];
  if (!existsSync(home)) return swept;
  for (const nodeId of readdirSync(home).filter((name) => name.startsWith('node-'))) {
    const mark = readMark(join(home, nodeId));
    if (mark === null || isAlive(mark)) continue;
    removeNode(home, nodeId, mark.arenaPath);
    swept.push(nodeId);
  }
  return swept;
}

/** The owner of a folder; null when it must be left alone. */
function readMark(folder: string): OwnerMark | null {
  try {
    return JSON.parse(readFileSync(join(folder, OWNER_FILE), 'utf8')) as OwnerMark;
  } catch {
    return isOld(folder) ? { pid: 0, startTicks: '', arenaPath: join(sharedMemoryFolder(), `${ARENA_PREFIX}${basename(folder)}`) } : null;
  }
}

function isOld(folder: string): boolean {
  try {
    return Date.now() - lstatSync(folder).mtimeMs > UNMARKED_GRACE_MS;
  } catch {
    return false; // another node sweeps it at this moment
  }
}

function isAlive({ pid, startTicks }: OwnerMark): boolean {
  if (pid === 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return startTicks === startTicksOf(pid);
}

function removeNode(home: string, nodeId: string, arenaPath: string): void {
  rmSync(nodeFilePath(home, nodeId), { force: true });
  if (basename(arenaPath).startsWith(ARENA_PREFIX)) rmSync(arenaPath, { force: true });
  rmSync(join(home, nodeId), { recursive: true, force: true, maxRetries: 3 }); // a process that is being killed may still write
}

const nodeFilePath = (home: string, nodeId: string): string => join(home, 'nodes', `${nodeId}.json`);

/** Memory that all processes of the machine can map. Other systems than Linux have none that is a folder. */
export const sharedMemoryFolder = (): string => (existsSync('/dev/shm') ? '/dev/shm' : tmpdir());

/** Readers see the whole file or none. */
function writeWhole(path: string, content: unknown): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(content)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function startTicksOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // from field 3 on; the name before it may contain anything
    return state === 'Z' ? '' : (fields[18] ?? ''); // field 22; a zombie is dead, though nobody has collected it
  } catch {
    return '';
  }
}
