/** The daemon's children: workers and submitted programs, with their log files. Their lives are told to the machine as events. */
import type { Logger, WorkerProgress } from '@muster/base';
import type { WorkerLine } from '@muster/protocol';
import type { DaemonEffect, DaemonEvent } from '../machine/messages.js';
import type { OutputSpan } from '../machine/line-splitter.js';
import { Child } from './child.js';
import { LogFile, logPath } from './log-file.js';
import { OomWatch } from './oom-watch.js';
import type { SpareWorker } from './spare-worker.js';

/** Output that a process has printed is read within this time, unless it prints without end. */
const DRAIN_TIMEOUT_MS = 1000;
/** Who asks for output waits this long for a slow disk; then what has not arrived there is missing from the answer. */
const WRITE_TIMEOUT_MS = 1000;

/** How workers are started, and who hears of all children. */
export interface ProcessesOptions {
  readonly logFolder: string;
  readonly workerEntry: string;
  readonly workerExecArgv: readonly string[];
  readonly spareWorker: SpareWorker | null;
  readonly workerLine: (workerId: string) => WorkerLine;
  /** How far a worker that has died had come. */
  readonly progressOf: (workerId: string) => WorkerProgress | undefined;
  readonly logger: Logger;
  readonly onEvent: (event: DaemonEvent) => void;
}

/** All children of the daemon. */
export class Processes {
  readonly #options: ProcessesOptions;
  readonly #oom = new OomWatch();
  /** By the id of the worker or the job. */
  readonly #children = new Map<string, Child>();
  readonly #logs = new Map<string, LogFile>();

  constructor(options: ProcessesOptions) {
    this.#options = options;
  }

  startWorker(workerId: string): void {
    const { workerEntry, workerExecArgv, spareWorker, workerLine, progressOf, onEvent } = this.#options;
    const log = this.#openLog(workerId);
    const child = new Child({
      command: process.execPath, args: [...workerExecArgv, workerEntry], env: process.env, process: spareWorker?.take(), firstInput: `${JSON.stringify(workerLine(workerId))}\n`, oom: this.#oom,
      onOutput: (isError, spans) => {
        onEvent({ type: 'output', workerId, isError, spans });
        return log.append(textOf(spans));
      },
      onExit: (exit) => {
        this.#forget(workerId);
        onEvent({ type: 'workerExited', workerId, exit: { ...exit, progress: progressOf(workerId) } });
      },
    });
    this.#children.set(workerId, child);
    onEvent({ type: 'workerSpawned', workerId, pid: child.pid });
  }

  startJob({ jobId, argv, cwd, env }: DaemonEffect & { type: 'startJobProcess' }): void {
    const log = this.#openLog(jobId);
    const [command = '', ...args] = argv;
    this.#children.set(jobId, new Child({
      command, args, cwd: cwd || undefined, env: { ...process.env, ...env }, firstInput: null, oom: this.#oom,
      onOutput: (_, spans) => log.append(textOf(spans)),
      onExit: (exit) => {
        this.#forget(jobId);
        this.#options.onEvent({ type: 'jobProcessExited', jobId, exit });
      },
    }));
  }

  /** Signals a worker or a submitted program, and all that it started. */
  signal(id: string, signal: 'SIGTERM' | 'SIGKILL'): void {
    this.#children.get(id)?.signal(signal);
  }

  /** Resolves when what these workers have printed up to now has been handed on. */
  drained(workerIds: readonly string[]): Promise<void> {
    return within(DRAIN_TIMEOUT_MS, workerIds.map((id) => this.#children.get(id)?.drained()));
  }

  /** Resolves when what these processes have printed up to now can be read from their log files. */
  written(ids: readonly string[]): Promise<void> {
    return within(WRITE_TIMEOUT_MS, ids.map((id) => this.#logs.get(id)?.written()));
  }

  /** Kills what still runs, and closes the log files. */
  close(): void {
    for (const child of this.#children.values()) child.signal('SIGKILL');
    for (const log of this.#logs.values()) log.close();
  }

  #openLog(id: string): LogFile {
    const log = new LogFile(logPath(this.#options.logFolder, id), {
      onDrain: () => this.#children.get(id)?.resume(),
      onFailure: (error) => this.#options.logger.warn('log-file-failed', { id, cause: error.message }),
    });
    this.#logs.set(id, log);
    return log;
  }

  #forget(id: string): void {
    this.#children.delete(id);
    const log = this.#logs.get(id);
    log?.close();
    void log?.written().then(() => this.#logs.delete(id));
  }
}

async function within(timeoutMs: number, promises: readonly (Promise<void> | undefined)[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, timeoutMs); });
  await Promise.race([Promise.all(promises), late]);
  clearTimeout(timer);
}

function textOf(spans: readonly OutputSpan[]): string {
  return spans.map((span) => `${span.lines.join('\n')}\n`).join('');
}
