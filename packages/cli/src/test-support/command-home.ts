/** The real `cluster` program in child processes, with a home folder of its own. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isRunning } from '@muster/base';
import type { BackgroundNode } from '../node/background.js';

const PROGRAM = fileURLToPath(new URL('../../bin/cluster.mjs', import.meta.url));
/** Small, so that many fit. */
const OBJECT_STORE = ['--object-store', '64MiB'];

export interface Finished {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly process: ChildProcessWithoutNullStreams;
  readonly finished: Promise<Finished>;
  /** Resolves when its output so far matches. Rejects when it ends without. */
  printed(pattern: RegExp): Promise<void>;
}

/** What `cluster start --json` prints. */
export type StartedNode = BackgroundNode & { readonly address: string; readonly isHead: boolean };

export class CommandHome {
  readonly path = mkdtempSync(join(tmpdir(), 'muster-cli-'));

  /** Starts a command and goes on. */
  start(args: readonly string[], { env = {}, cwd }: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {}): Started {
    const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'MUSTER_ADDRESS' && name !== 'MUSTER_TOKEN_FILE'));
    const child = spawn(process.execPath, [PROGRAM, ...args], { env: { ...clean, MUSTER_HOME: this.path, NO_COLOR: '1', ...env }, cwd, stdio: 'pipe' });
    let stdout = '';
    let stderr = '';
    const listeners = new Set<() => void>();
    const heard = (): void => { for (const listener of listeners) listener(); };
    child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text; heard(); });
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text; heard(); });
    const finished = new Promise<Finished>((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })));
    const printed = (pattern: RegExp): Promise<void> => new Promise((resolve, reject) => {
      const look = (): void => {
        if (!pattern.test(stdout + stderr)) return;
        listeners.delete(look);
        resolve();
      };
      listeners.add(look);
      look();
      void finished.then(() => reject(new Error(`ended without printing ${pattern}: ${stdout}${stderr}`)));
    });
    return { process: child, finished, printed };
  }

  /** Runs a command to its end. */
  run(args: readonly string[], options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {}): Promise<Finished> {
    return this.start(args, options).finished;
  }

  /** Starts a node in the background. */
  async startNode(...args: readonly string[]): Promise<StartedNode> {
    const { code, stdout, stderr } = await this.run(['start', ...args, ...OBJECT_STORE, '--json']);
    if (code !== 0) throw new Error(`cluster start ${args.join(' ')}: ${stderr}`);
    return JSON.parse(stdout) as StartedNode;
  }

  /** Starts the head of a new cluster in the background, on any free port. */
  startHead(...args: readonly string[]): Promise<StartedNode> {
    return this.startNode('--head', '--port', '0', '--cpus', '0', ...args);
  }

  /** The rows of `cluster list`. */
  async list(kind: string, ...args: readonly string[]): Promise<Record<string, unknown>[]> {
    return JSON.parse((await this.run(['list', kind, '--json', ...args])).stdout) as Record<string, unknown>[];
  }

  /** Stops what runs and removes the folder. */
  async end(): Promise<void> {
    await this.run(['stop', '--all']);
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A home for one test. */
export function makeHome(test: { teardown(work: () => Promise<void>): void }): CommandHome {
  const home = new CommandHome();
  test.teardown(() => home.end());
  return home;
}

/** Resolves when there is no such process. */
export async function processEnd(pid: number): Promise<void> {
  while (isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
}
