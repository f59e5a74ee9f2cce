/** Users' programs: each a process of its own, run from its source text. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const CORE = import.meta.resolve('@muster/core');

/** What must not outlive a test, however that ends. */
const running = new Set<ChildProcess>();
process.on('exit', () => { for (const child of running) child.kill('SIGKILL'); });

interface ProgramOptions {
  /** Its file is written into a fresh folder in this one. */
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  /** A terminal's signals go to a group of processes. */
  readonly isGroupLeader?: boolean;
}

/** A program that runs, or has run. Its text may use the functions of @muster/core. */
export class Program {
  readonly child: ChildProcess;
  /** How it ended, `0` or `SIGKILL`, once all of its output has been read. */
  readonly ended: Promise<string>;
  stdout = '';
  stderr = '';
  readonly #listeners = new Set<() => void>();

  constructor(source: string, { folder, env, isGroupLeader = false }: ProgramOptions) {
    mkdirSync(folder, { recursive: true });
    const file = join(mkdtempSync(join(folder, 'program-')), 'program.mjs');
    writeFileSync(file, `import { actor, context, gang, get, getActor, init, kill, put, remote, shutdown } from ${JSON.stringify(CORE)};\n${source}\n`);
    this.child = spawn(process.execPath, [file], { env: { ...env, NO_COLOR: '1' }, stdio: ['ignore', 'pipe', 'pipe'], detached: isGroupLeader });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => { this.stdout += text; this.#heard(); });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => { this.stderr += text; this.#heard(); });
    running.add(this.child);
    this.ended = new Promise((resolve) => this.child.once('close', (code, signal) => {
      running.delete(this.child);
      resolve(signal ?? String(code));
    }));
  }

  get lines(): string[] {
    return this.stdout.split('\n').slice(0, -1);
  }

  /** Resolves with the first line of its output that matches. Rejects when it ends without one. */
  printed(pattern: RegExp): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const line = this.lines.find((text) => pattern.test(text));
        if (line === undefined) return;
        this.#listeners.delete(look);
        resolve(line);
      };
      this.#listeners.add(look);
      void this.ended.then((status) => {
        look();
        reject(new Error(`ended with ${status} and without printing ${pattern}:\n${this.stdout}${this.stderr}`));
      });
      look();
    });
  }

  /** What it printed as JSON after `word`. */
  async told<T>(word: string): Promise<T> {
    return JSON.parse((await this.printed(new RegExp(`^${word} `))).slice(word.length + 1)) as T;
  }

  #heard(): void {
    for (const listener of this.#listeners) listener();
  }
}
