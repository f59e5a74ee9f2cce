/** Submitted programs: started once, stopped gently and then not, and their ends reported until the head has surely heard. */
import { deathToMessage, type NodeToHead, type StartJobProcess } from '@muster/protocol';
import { deathCause, type ProcessExit } from './death-cause.js';
import type { Emit } from './messages.js';

/** How long a program may take to end after SIGTERM. */
export const JOB_STOP_GRACE_MS = 5000;
/** Ends that are remembered, for heads that ask again. */
const ENDED_JOBS_MAX = 1000;

interface JobProcess {
  stopReason: string | null;
  killAtMs: number;
}

/** The submitted programs that run here, and the ends of those that did. */
export class JobProcesses {
  readonly #emit: Emit;
  readonly #send: (message: NodeToHead) => void;
  readonly #running = new Map<string, JobProcess>();
  readonly #ended = new Map<string, NodeToHead>();

  constructor(emit: Emit, send: (message: NodeToHead) => void) {
    this.#emit = emit;
    this.#send = send;
  }

  get count(): number {
    return this.#running.size;
  }

  start({ jobId, argv, cwd, env }: StartJobProcess): void {
    const ended = this.#ended.get(jobId);
    if (ended) return this.#send(ended);
    if (this.#running.has(jobId)) return;
    this.#running.set(jobId, { stopReason: null, killAtMs: Infinity });
    this.#emit({ type: 'startJobProcess', jobId, argv, cwd, env });
  }

  stop(jobId: string, reason: string, nowMs: number): void {
    const job = this.#running.get(jobId);
    if (!job) {
      const ended = this.#ended.get(jobId);
      if (ended) this.#send(ended);
      return;
    }
    if (job.stopReason !== null) return;
    job.stopReason = reason;
    job.killAtMs = nowMs + JOB_STOP_GRACE_MS;
    this.#emit({ type: 'signalJobProcess', jobId, signal: 'SIGTERM' });
  }

  /** Kills all at once. */
  killAll(reason: string): void {
    for (const [jobId, job] of this.#running) {
      job.stopReason ??= reason;
      this.#emit({ type: 'signalJobProcess', jobId, signal: 'SIGKILL' });
    }
  }

  exited(jobId: string, exit: ProcessExit): void {
    const job = this.#running.get(jobId);
    if (!job) return;
    this.#running.delete(jobId);
    const message: NodeToHead = { type: 'jobProcessExited', jobId, cause: deathToMessage(deathCause(exit, job.stopReason)) };
    this.#ended.set(jobId, message);
    if (this.#ended.size > ENDED_JOBS_MAX) this.#ended.delete(this.#ended.keys().next().value!);
    this.#send(message);
  }

  resend(): void {
    for (const message of this.#ended.values()) this.#send(message);
  }

  tick(nowMs: number): void {
    for (const [jobId, job] of this.#running) {
      if (nowMs < job.killAtMs) continue;
      job.killAtMs = Infinity;
      this.#emit({ type: 'signalJobProcess', jobId, signal: 'SIGKILL' });
    }
  }

  get nextWakeMs(): number {
    let atMs = Infinity;
    for (const job of this.#running.values()) atMs = Math.min(atMs, job.killAtMs);
    return atMs;
  }
}
