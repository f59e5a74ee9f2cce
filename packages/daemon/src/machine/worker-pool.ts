/**
 * The worker processes of the node: how many there are, which are ready, whom they serve. It knows leases only as a mark on a worker.
 *
 *     spawn ──> starting ──ready──> idle ⇄ leased ──> ending ──exit──> gone
 *                  │                  └──────┴─ store stream lost ─> lost ──┘ (killed when it does not exit by itself)
 *                  └─ deadline, or exit: a failed start
 *
 * A worker serves one job in its life, and keeps the GPUs it was given first.
 */
import { newId, type DeathCause, type Random } from '@muster/base';
import type { Endpoint } from '@muster/protocol';
import { deathCause, type ProcessExit } from './death-cause.js';
import type { Emit } from './messages.js';

/** Beyond that a node runs out of memory or process ids before it does anything useful. */
export const WORKERS_MAX = 2000;
/** A worker that has not opened its store stream by then hangs. Loading it takes 0.1 s, on an overloaded machine many times that. */
export const WORKER_START_TIMEOUT_MS = 60_000;
/** A worker whose store stream broke is expected to exit by itself within this time: then the cause of its death is its own. */
export const WORKER_LOST_TIMEOUT_MS = 1000;
/** A job's workers beyond the prestarted number end after being idle that long. */
export const WORKER_IDLE_TIMEOUT_MS = 60_000;
/** How long the pool waits before it is filled up again. */
export const TOP_UP_DELAY_MS = 200;
/** After that many failed starts in a row the next one is likely to fail too: those who wait are told. */
const START_FAILURES_MAX = 3;
/** Pauses between failed starts double from the first to the second. */
const START_RETRY_MIN_MS = 100;
const START_RETRY_MAX_MS = 5000;

/** One worker process. The pool owns its life; the lease table marks whom it serves. */
export interface Worker {
  readonly workerId: string;
  pid: number;
  state: 'starting' | 'ready' | 'lost' | 'ending';
  /** Set once it is ready. */
  endpoint: Endpoint | null;
  /** The job it serves; empty until its first lease. */
  jobId: string;
  /** The GPUs it was given; null until its first lease. */
  gpuIds: readonly number[] | null;
  /** Empty while it is idle. */
  leaseId: string;
  /** The actor it hosts; empty otherwise. */
  actorId: string;
  /** Of the actor, for people. */
  name: string;
  /** It owns what others hold: it is not ended for being idle. */
  isNeeded: boolean;
  /** Why this node ends it; null while it does not. */
  killReason: string | null;
  /** When it is killed for hanging, or for being idle. */
  deadlineMs: number;
}

/** The sizes of the pool. */
export interface WorkerPoolOptions {
  readonly random: Random;
  /** Workers that are kept ready, apart from those of actors. */
  readonly prestartCount: number;
  /** More would slow each other down when they start at the same time. */
  readonly startingMax: number;
}

/** The worker that a lease needs. */
export interface WorkerWish {
  readonly jobId: string;
  readonly gpuIds: readonly number[];
  /** Actors prefer a worker that no task has touched. */
  readonly prefersUnused: boolean;
}

/** All worker processes of the node. */
export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #emit: Emit;
  readonly #workers = new Map<string, Worker>();
  /** Ready and without a lease; the most recently used last. */
  readonly #idle = new Set<Worker>();
  #startFailures = 0;
  /** When the prestarted number is made whole again; Infinity while it is. */
  #topUpAtMs = -Infinity;
  #spawnAtMs = -Infinity;
  #isStopping = false;

  constructor(options: WorkerPoolOptions, emit: Emit) {
    this.#options = options;
    this.#emit = emit;
  }

  get count(): number {
    return this.#workers.size;
  }

  get(workerId: string): Worker | undefined {
    return this.#workers.get(workerId);
  }

  all(): Iterable<Worker> {
    return this.#workers.values();
  }

  /** A ready worker for a lease: one that knows the job, or one that knows nothing yet. The caller marks it with the lease. */
  take(wish: WorkerWish): Worker | null {
    let unused: Worker | null = null;
    let used: Worker | null = null; // the last one: the most recently idle, whose code is still warm
    for (const worker of this.#idle) {
      if (worker.gpuIds === null) unused ??= worker;
      else if (worker.jobId === wish.jobId && isSame(worker.gpuIds, wish.gpuIds)) used = worker;
    }
    const worker = wish.prefersUnused ? unused ?? used : used ?? unused;
    if (!worker) return null;
    this.#idle.delete(worker);
    worker.jobId = wish.jobId;
    worker.gpuIds = wish.gpuIds;
    worker.deadlineMs = Infinity;
    return worker;
  }

  /** The lease is over and the worker is fit for another one. */
  giveBack(worker: Worker, nowMs: number): void {
    worker.leaseId = '';
    worker.deadlineMs = nowMs + WORKER_IDLE_TIMEOUT_MS;
    this.#idle.add(worker);
  }

  kill(worker: Worker, reason: string): void {
    if (worker.state === 'ending') return;
    worker.state = 'ending';
    worker.killReason = reason;
    worker.deadlineMs = Infinity;
    this.#idle.delete(worker);
    this.#emit({ type: 'killWorker', workerId: worker.workerId });
  }

  /** Ends idle workers that may hold memory of these GPUs. One that others need keeps it: what they hold must not be lost. */
  clearGpus(gpuIds: readonly number[]): void {
    for (const worker of [...this.#idle]) {
      if (!worker.isNeeded && worker.gpuIds?.some((id) => gpuIds.includes(id))) this.kill(worker, 'it was idle and its GPUs were wanted');
    }
  }

  spawned(workerId: string, pid: number): void {
    const worker = this.#workers.get(workerId);
    if (worker) worker.pid = pid;
  }

  /** True when it is a worker of this node that has just become ready. */
  ready(workerId: string, endpoint: Endpoint): boolean {
    const worker = this.#workers.get(workerId);
    if (!worker || worker.state !== 'starting') return false;
    worker.state = 'ready';
    worker.endpoint = endpoint;
    worker.deadlineMs = Infinity;
    this.#idle.add(worker);
    this.#startFailures = 0;
    this.#topUpAtMs = Infinity;
    return true;
  }

  setNeeded(workerId: string, isNeeded: boolean): void {
    const worker = this.#workers.get(workerId);
    if (worker) worker.isNeeded = isNeeded;
  }

  disconnected(workerId: string, nowMs: number): void {
    const worker = this.#workers.get(workerId);
    if (worker?.state !== 'ready') return;
    worker.state = 'lost';
    this.#idle.delete(worker);
    worker.deadlineMs = nowMs + WORKER_LOST_TIMEOUT_MS;
  }

  /** Forgets a worker. Its cause of death, and whether it ever was ready. */
  exited(workerId: string, exit: ProcessExit, nowMs: number): { worker: Worker; cause: DeathCause; wasReady: boolean } | undefined {
    const worker = this.#workers.get(workerId);
    if (!worker) return undefined;
    this.#workers.delete(workerId);
    this.#idle.delete(worker);
    const cause = deathCause(exit, worker.killReason);
    const wasReady = worker.endpoint !== null;
    if (!wasReady && !this.#isStopping) {
      this.#startFailures++;
      this.#spawnAtMs = nowMs + Math.min(START_RETRY_MIN_MS * 2 ** (this.#startFailures - 1), START_RETRY_MAX_MS);
      this.#emit({ type: 'log', level: 'warn', event: 'worker-start-failed', fields: { workerId, cause } });
    }
    return { worker, cause, wasReady };
  }

  /** Whether starting workers does not work at present. */
  get isStartBroken(): boolean {
    return this.#startFailures >= START_FAILURES_MAX;
  }

  /** Starts what is missing. `waitingCount`: leases that have no worker. */
  refill(waitingCount: number, nowMs: number): void {
    if (this.#isStopping || nowMs < this.#spawnAtMs) return;
    let startingCount = 0;
    let pooledCount = 0;
    for (const worker of this.#workers.values()) {
      if (worker.state === 'starting') startingCount++;
      if (worker.state !== 'ending' && !worker.actorId) pooledCount++;
    }
    const { prestartCount, startingMax } = this.#options;
    const wanted = waitingCount - startingCount;
    const spare = Math.min(this.#topUp(prestartCount - pooledCount, nowMs), (startingMax >> 1) - startingCount); // the node and its first program start too
    for (let count = Math.min(Math.max(wanted, spare), startingMax - startingCount, WORKERS_MAX - this.#workers.size); count > 0; count--) this.#spawn(nowMs);
  }

  /** Ends workers that hang, and idle ones that are too many. */
  tick(nowMs: number): void {
    const pooledCount = [...this.#workers.values()].filter((worker) => !worker.actorId).length;
    let surplus = pooledCount - this.#options.prestartCount;
    for (const worker of this.#workers.values()) {
      if (nowMs < worker.deadlineMs) continue;
      if (worker.state === 'starting') this.kill(worker, `it was not ready ${WORKER_START_TIMEOUT_MS / 1000} s after its start`);
      else if (worker.state === 'lost') this.kill(worker, 'it lost its connection to the daemon and did not exit');
      else if (!worker.isNeeded && surplus-- > 0) this.kill(worker, `it was idle for ${WORKER_IDLE_TIMEOUT_MS / 1000} s`);
      else worker.deadlineMs = nowMs + WORKER_IDLE_TIMEOUT_MS;
    }
  }

  /** Kills all, and starts none from now on. */
  stop(reason: string): void {
    this.#isStopping = true;
    for (const worker of this.#workers.values()) this.kill(worker, reason);
  }

  nextWakeMs(nowMs: number): number {
    let atMs = this.#spawnAtMs > nowMs ? this.#spawnAtMs : Infinity;
    if (this.#topUpAtMs > nowMs) atMs = Math.min(atMs, this.#topUpAtMs);
    for (const worker of this.#workers.values()) atMs = Math.min(atMs, worker.deadlineMs);
    return atMs;
  }

  /**
   * How many of the missing workers to start now, though nobody waits for them. The first at once; others not while one may be needed that
   * has just become ready or was just taken: its job needs the processors, and after a job's end the node's own may follow.
   */
  #topUp(missing: number, nowMs: number): number {
    if (missing <= 0) this.#topUpAtMs = Infinity;
    else if (this.#topUpAtMs === Infinity) this.#topUpAtMs = nowMs + TOP_UP_DELAY_MS;
    return nowMs >= this.#topUpAtMs ? missing : 0;
  }

  #spawn(nowMs: number): void {
    const workerId = newId('worker', this.#options.random);
    this.#workers.set(workerId, {
      workerId, pid: 0, state: 'starting', endpoint: null, jobId: '', gpuIds: null, leaseId: '', actorId: '', name: '', isNeeded: false, killReason: null,
      deadlineMs: nowMs + WORKER_START_TIMEOUT_MS,
    });
    this.#emit({ type: 'spawnWorker', workerId });
  }
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, index) => id === b[index]);
}
