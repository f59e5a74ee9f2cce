/**
 * A worker process that is started before its daemon, because a program waits for both: while this process loads the daemon's modules, the
 * worker loads its own on another core, and then waits for the line that tells it who it is.
 *
 * Must not import what takes long to load; it stands in the package's exports by itself for the same reason.
 */
import { spawn, type ChildProcess } from 'node:child_process';

/** Starts a process at the head of its own group, all of whose streams are pipes. @throws when the system refuses at once */
export function spawnDetached(command: string, args: readonly string[], options: { readonly env: NodeJS.ProcessEnv; readonly cwd?: string | undefined }): ChildProcess {
  return spawn(command, args, { ...options, detached: true, stdio: 'pipe' });
}

/** Holds at most one worker process that no daemon has taken yet. */
export class SpareWorker {
  #process: ChildProcess | null;

  /** Starts the process. It ends when this one does. */
  constructor(workerEntry: string) {
    this.#process = spawnDetached(process.execPath, [workerEntry], { env: process.env });
    this.#process.on('error', () => { this.#process = null; });
    this.#process.once('exit', () => { this.#process = null; });
  }

  /** Hands the process over, if it still lives and has not been taken. */
  take(): ChildProcess | null {
    const taken = this.#process;
    this.#process = null;
    return taken;
  }
}
