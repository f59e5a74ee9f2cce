/**
 * A child process at the head of its own group: its output, its last words, and its exact end. Signals of a terminal do not reach it, and
 * what it started ends with it.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { FATAL_ERROR_PATTERN, NATIVE_STACK_PATTERN, STDERR_TAIL_LINES, type ProcessExit } from '../machine/death-cause.js';
import { LineSplitter, type OutputSpan } from '../machine/line-splitter.js';
import type { OomWatch } from './oom-watch.js';
import { spawnDetached } from './spare-worker.js';

/** How long the output of a dead process may take to arrive. It is only late when a process it started holds the pipe. */
const OUTPUT_GRACE_MS = 200;

/** What to run, and who hears of it. */
export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Runs already, started with this command and {@link spawnDetached}. */
  readonly process?: ChildProcess | null;
  /** Written to its stdin, which then stays open as long as this process lives; null: it has no stdin. */
  readonly firstInput: string | null;
  readonly oom: OomWatch;
  /** False: output comes too fast, and should wait until {@link Child.resume}. */
  readonly onOutput: (isError: boolean, spans: OutputSpan[]) => boolean;
  /** The last call, after all output. */
  readonly onExit: (exit: ProcessExit) => void;
}

/** An exit without its last words. */
type BareExit = Omit<ProcessExit, 'stderrTail' | 'fatalError' | 'progress'>;

/** One child process, from its start to its end. */
export class Child {
  readonly #process: ChildProcess | null;
  readonly #options: ChildOptions;
  readonly #tail: string[] = [];
  /** Hand on what stdout and stderr hold of a line without its end. */
  readonly #breakLines: (() => void)[] = [];
  #fatalError = '';
  #isAborting = false;
  #isSignalled = false;
  #outputCount = 0;
  #hasExited = false;

  constructor(options: ChildOptions) {
    this.#options = options;
    this.#process = options.process ?? this.#spawn();
    if (!this.#process) return;
    const { stdin, stdout, stderr } = this.#process;
    stdin?.on('error', () => {}); // it is gone: its exit tells
    if (options.firstInput === null) stdin?.end();
    else stdin?.write(options.firstInput);
    if (stdout) this.#pump(stdout, false);
    if (stderr) this.#pump(stderr, true);
    this.#process.once('error', (error) => this.#fail(error));
    this.#process.once('exit', (code, signal) => this.#exited({
      code, signal, isOomKill: signal === 'SIGKILL' && !this.#isSignalled && options.oom.takeKill(), spawnFailure: null,
    }));
  }

  /** 0 when it could not be started. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Sends a signal to the process and all that it started. */
  signal(signal: NodeJS.Signals): void {
    if (this.#hasExited) return;
    this.#isSignalled = true;
    this.#signalGroup(signal);
  }

  /** Takes output again. */
  resume(): void {
    this.#process?.stdout?.resume();
    this.#process?.stderr?.resume();
  }

  /** Resolves when everything that was printed before the call has been handed on, also a line that has no end yet. */
  async drained(): Promise<void> {
    for (let seen = -1; seen !== this.#outputCount && !this.#hasExited;) {
      seen = this.#outputCount;
      await this.#resumed();
      await nextTurn(); // one turn may have begun before the call; in the next, what the kernel holds is read
      await nextTurn();
    }
    for (const breakLine of this.#breakLines) breakLine();
  }

  /** Resolves when output is taken. */
  async #resumed(): Promise<void> {
    for (const stream of [this.#process?.stdout, this.#process?.stderr]) if (stream?.isPaused()) await once(stream, 'resume');
  }

  #pump(stream: NodeJS.ReadableStream, isError: boolean): void {
    const splitter = new LineSplitter();
    const handOn = (spans: OutputSpan[]): void => {
      if (spans.length === 0 || this.#hasExited) return;
      if (isError) for (const span of spans) this.#remember(span.lines);
      if (!this.#options.onOutput(isError, spans)) stream.pause();
    };
    stream.on('data', (bytes: Buffer) => {
      this.#outputCount++;
      handOn(splitter.push(bytes));
    });
    const breakLine = (): void => handOn(splitter.end());
    stream.on('end', breakLine);
    this.#breakLines.push(breakLine);
    stream.on('error', () => {});
  }

  #remember(lines: readonly string[]): void {
    const fatal = lines.find((line) => FATAL_ERROR_PATTERN.test(line));
    if (fatal !== undefined) this.#fatalError = fatal;
    if (this.#isAborting) return;
    const nativeAt = lines.findIndex((line) => NATIVE_STACK_PATTERN.test(line));
    this.#isAborting = nativeAt >= 0;
    const words = this.#isAborting ? lines.slice(0, nativeAt) : lines;
    this.#tail.push(...words.slice(-STDERR_TAIL_LINES));
    this.#tail.splice(0, this.#tail.length - STDERR_TAIL_LINES);
  }

  /** Null when the system refused at once. */
  #spawn(): ChildProcess | null {
    const { command, args, env, cwd } = this.#options;
    try {
      return spawnDetached(command, args, { env, cwd });
    } catch (error) {
      setImmediate(() => this.#fail(error as Error)); // after the constructor, like every other end
      return null;
    }
  }

  #fail(error: Error): void {
    const { cwd } = this.#options;
    const spawnFailure = cwd === undefined || existsSync(cwd) ? error.message : `the folder ${cwd} does not exist`;
    this.#finish({ code: null, signal: null, isOomKill: false, spawnFailure });
  }

  #exited(exit: BareExit): void {
    this.#signalGroup('SIGKILL'); // what it started ends with it
    const timer = setTimeout(() => this.#finish(exit), OUTPUT_GRACE_MS);
    this.#process!.once('close', () => {
      clearTimeout(timer);
      this.#finish(exit);
    });
  }

  #finish(exit: BareExit): void {
    if (this.#hasExited) return;
    this.#hasExited = true;
    this.#options.onExit({ ...exit, stderrTail: this.#tail.join('\n'), fatalError: this.#fatalError });
  }

  #signalGroup(signal: NodeJS.Signals): void {
    if (this.pid === 0) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // nobody is left in the group
    }
  }
}
