/** Another process that revives, seen from this one. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { capture, preload, revive } from '../index.js';
import { environment } from './project.js';

export interface WorkerRequest {
  readonly id: number;
  /** A captured function. */
  readonly bytes: Uint8Array;
  /** Each captured by itself, as a message of its own. */
  readonly parameters?: readonly Uint8Array[];
  /** Its result as text or captured, or the function itself captured again. */
  readonly give?: 'text' | 'result' | 'itself';
}

export interface WorkerReply {
  readonly id: number;
  readonly text?: string;
  readonly value?: Uint8Array;
  readonly thrown?: Uint8Array;
  readonly message?: string;
}

export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (reply: WorkerReply) => void>();
  #lastId = 0;
  #stderr = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr?.on('data', (chunk) => { this.#stderr += String(chunk); });
    child.on('exit', (code, signal) => {
      for (const [id, done] of this.#waiting) done({ id, message: `the worker ended: ${code ?? signal}` });
    });
  }

  /** Starts one, by default with the flags of this process. */
  static async start(execArgv: readonly string[] = process.execArgv): Promise<WorkerProcess> {
    const child = fork(fileURLToPath(new URL('./worker-main.js', import.meta.url)), {
      serialization: 'advanced', execArgv: [...execArgv], env: environment, stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    const worker = new WorkerProcess(child);
    await once(child, 'message');
    child.on('message', (reply: WorkerReply) => worker.#waiting.get(reply.id)?.(reply));
    return worker;
  }

  /** What it has written to stderr so far. */
  get stderr(): string {
    return this.#stderr;
  }

  ask(request: Omit<WorkerRequest, 'id'>): Promise<WorkerReply> {
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ id, ...request });
    });
  }

  /** Calls a function there; the function and each parameter are captured by themselves. What it throws is thrown here. */
  async call<Parameters extends readonly unknown[], Result>(fn: (...parameters: Parameters) => Result, ...parameters: Parameters): Promise<Awaited<Result>> {
    const reply = await this.ask({ bytes: capture(fn), parameters: parameters.map((parameter) => capture(parameter)), give: 'result' });
    const bytes = reply.value ?? reply.thrown;
    if (!bytes) throw new Error(reply.message);
    await preload(bytes);
    const value = revive(bytes);
    if (reply.thrown) throw value;
    return value as Awaited<Result>;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }
}
