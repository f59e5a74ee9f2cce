/** PyTorch in a process of its own, which steps when it is asked to: a program of bench/peers that answers lines with seconds. */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export class TorchSteps {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(python: string, script: string, args: readonly string[] = []) {
    this.#child = spawn(python, ['-W', 'ignore', script, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Its name; null when it cannot run. */
  async title(): Promise<string | null> {
    const { value, done } = await this.#lines.next();
    return done ? null : String(value);
  }

  /** Milliseconds a step. @param request a line, of which the script knows what it means */
  async round(request: string): Promise<number> {
    this.#child.stdin.write(`${request}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('PyTorch ended in the middle of the benchmark');
    return Number(value) * 1000;
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
  }
}
