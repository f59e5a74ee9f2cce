/**
 * The jobs: each is one program's use of the cluster. A driver that connects makes one; a submitted one begins before its
 * program does; and a detached actor has one of its own, because it and what it starts outlive its creator's.
 *
 *   running ──its driver or program ends, or its actor dies──> succeeded | failed | stopped
 */
import { makeError, newId, type DeathCause } from '@muster/base';
import type { LogLines, StartJobProcess } from '@muster/protocol';
import type { HeadContext } from './context.js';
import { History } from './history.js';
import { JOBS_FINISHED_KEPT_MAX, JOBS_RUNNING_MAX, OWNERS_PER_JOB_MAX } from './limits.js';
import type { Process, Processes } from './processes.js';
import type { Queue } from './queues.js';

/** How a job stands or ended. */
export type JobState = 'running' | 'succeeded' | 'failed' | 'stopped';

/** One program's use of the cluster. */
export interface Job {
  readonly id: string;
  readonly kind: 'driver' | 'submitted' | 'actor';
  /** What its submitter calls it; else empty. */
  readonly name: string;
  readonly entrypoint: string;
  /** Of a detached actor: the actor and its creator's job; else empty. */
  readonly actorId: string;
  readonly parentJobId: string;
  /** Of all its tasks and actors. */
  readonly queue: Queue;
  readonly priority: number;
  readonly startedAtMs: number;
  /** What runs a submitted job's program, and where. */
  readonly program: { readonly message: StartJobProcess; readonly nodeId: string } | null;
  state: JobState;
  /** Somebody asked for its end. */
  isStopping: boolean;
  endedAtMs: number | null;
  cause: DeathCause | null;
  /** Those that are connected. */
  readonly processes: Set<Process>;
  /** All that ever ran for it: their objects are freed at its end. */
  readonly ownerIds: Set<string>;
}

/** The jobs that run, and those that ended lately. */
export class Jobs {
  readonly running = new Map<string, Job>();
  readonly finished = new History<Job>(JOBS_FINISHED_KEPT_MAX);
  readonly #context: HeadContext;
  readonly #processes: Processes;

  constructor(context: HeadContext, processes: Processes) {
    this.#context = context;
    this.#processes = processes;
  }

  /** @throws MusterError UNSCHEDULABLE when too many run. */
  create(job: Pick<Job, 'kind' | 'entrypoint' | 'actorId' | 'parentJobId' | 'queue' | 'priority'> & Partial<Pick<Job, 'name'>>, program: ((jobId: string) => Job['program']) | null): Job {
    if (this.running.size >= JOBS_RUNNING_MAX) {
      throw makeError('UNSCHEDULABLE', { what: 'the job', reasons: `${JOBS_RUNNING_MAX} jobs run, the most that may` });
    }
    const id = newId('job', this.#context.random);
    const made: Job = {
      name: '', ...job, id, program: program?.(id) ?? null, startedAtMs: this.#context.nowMs, state: 'running', isStopping: false, endedAtMs: null, cause: null,
      processes: new Set(), ownerIds: new Set(),
    };
    this.running.set(id, made);
    return made;
  }

  find(jobId: string): Job | undefined {
    return this.running.get(jobId) ?? this.finished.get(jobId);
  }

  /** A connected process is of this job from now on. */
  join(jobId: string, process: Process): void {
    process.jobId = jobId;
    this.running.get(jobId)?.processes.add(process);
    this.addOwner(jobId, process.id);
  }

  addOwner(jobId: string, processId: string): void {
    const job = this.running.get(jobId);
    if (job !== undefined && job.ownerIds.size < OWNERS_PER_JOB_MAX) job.ownerIds.add(processId);
  }

  leave(process: Process): void {
    this.running.get(process.jobId)?.processes.delete(process);
  }

  /** The caller has dealt with its processes. */
  finish(job: Job, state: Exclude<JobState, 'running'>, cause: DeathCause | null): void {
    job.state = state;
    job.cause = cause;
    job.endedAtMs = this.#context.nowMs;
    this.running.delete(job.id);
    this.finished.add(job.id, job);
  }

  /** Those that ended since then, for a node that may not have heard of it. */
  finishedSince(sinceMs: number): Job[] {
    return [...this.finished.values()].filter((job) => job.endedAtMs! >= sinceMs);
  }

  /** Output goes to the drivers of its job; that of a detached actor to its creator's while that runs. */
  relay(lines: LogLines): void {
    const job = this.running.get(lines.jobId);
    if (job === undefined) return;
    const audience = job.kind === 'actor' ? this.running.get(job.parentJobId) : job;
    for (const process of audience?.processes ?? []) {
      if (process.kind === 'driver' && process.wantsLogs) this.#processes.send(process, { type: 'logLines', ...lines });
    }
  }
}
