/**
 * The leases of the node, from StartLease to LeaseEnded. Each message of the head may come twice, late or for something long over, and is
 * answered the same way each time.
 *
 *     startLease ──> waiting (for a worker) ──> active ──> [ending: its worker is killed] ──> ended
 *                       └─ no worker can be had: failed
 */
import { formatDurationMs, type DeathCause } from '@muster/base';
import { deathToMessage, type BundleRef, type EndLease, type NodeToHead, type StartLease } from '@muster/protocol';
import type { BundleTable } from './bundle-table.js';
import type { Emit } from './messages.js';
import type { Worker, WorkerPool } from './worker-pool.js';

/** How long a lease waits for a worker before the head may try elsewhere. */
export const LEASE_START_TIMEOUT_MS = 120_000;
/** Ended leases are remembered, because a message about them may still be on its way. */
const ENDED_LEASES_MAX = 10_000;
/** Ends from that long before the connection broke are told again, since they may have been lost with it. */
const RESEND_WINDOW_MS = 30_000;

interface Lease {
  readonly leaseId: string;
  readonly jobId: string;
  readonly actorId: string;
  readonly name: string;
  readonly deadlineMs: number;
  /** As the machine numbers them. The head chooses: what it gives is free. */
  readonly gpuIds: readonly number[];
  /** In which it is; null: in none. */
  readonly bundle: BundleRef | null;
  worker: Worker | null;
  /** The head has asked for its end: the worker's death is no news. */
  isEnding: boolean;
}

interface EndedLease {
  readonly message: NodeToHead;
  readonly endedAtMs: number;
}

/** All leases that the head has placed here. */
export class LeaseTable {
  readonly #pool: WorkerPool;
  readonly #bundles: BundleTable;
  readonly #gpuIds: readonly number[];
  readonly #emit: Emit;
  readonly #send: (message: NodeToHead) => void;
  readonly #leases = new Map<string, Lease>();
  /** Those without a worker, in the order in which they came. */
  readonly #waiting = new Set<Lease>();
  readonly #ended = new Map<string, EndedLease>();

  /** @param options `gpuIds`: as the machine numbers the node's GPUs */
  constructor(options: { pool: WorkerPool; bundles: BundleTable; gpuIds: readonly number[]; emit: Emit; send: (message: NodeToHead) => void }) {
    this.#pool = options.pool;
    this.#bundles = options.bundles;
    this.#gpuIds = options.gpuIds;
    this.#emit = options.emit;
    this.#send = options.send;
  }

  /** Leases that have no worker. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  start(message: StartLease, nowMs: number): void {
    const { leaseId, jobId, actorId, name, bundle } = message;
    const known = this.#leases.get(leaseId);
    if (known) return this.#announce(known);
    const ended = this.#ended.get(leaseId);
    if (ended) return this.#send(ended.message);
    const lease: Lease = {
      leaseId, jobId, actorId, name, bundle, gpuIds: message.gpuIds.flatMap((index) => this.#gpuIds[index] ?? []), deadlineMs: nowMs + LEASE_START_TIMEOUT_MS,
      worker: null, isEnding: false,
    };
    this.#leases.set(leaseId, lease);
    this.#waiting.add(lease);
    if (lease.gpuIds.length < message.gpuIds.length) {
      const detail = `it was given the GPUs ${message.gpuIds.join(', ')} of a node that has ${this.#gpuIds.length}`;
      return this.#fail(lease, { kind: 'start-failed', detail }, nowMs);
    }
    const refusal = bundle && this.#bundles.enter(bundle, leaseId);
    if (refusal) return this.#fail(lease, { kind: 'start-failed', detail: refusal }, nowMs);
    this.#place(lease);
  }

  end(message: EndLease, nowMs: number): void {
    const lease = this.#leases.get(message.leaseId);
    if (!lease) return this.#send(this.#ended.get(message.leaseId)?.message ?? { type: 'leaseEnded', leaseId: message.leaseId, cause: null });
    const { worker } = lease;
    if (!worker) return this.#end(lease, null, nowMs);
    if (!lease.actorId && !message.kill && worker.state === 'ready') {
      this.#end(lease, null, nowMs);
      return this.#pool.giveBack(worker, nowMs);
    }
    lease.isEnding = true;
    this.#pool.kill(worker, message.reason || 'its lease ended');
  }

  /** The job is over: its leases end, except those of actors, which may outlive it and which the head ends one by one. */
  endJob(jobId: string, nowMs: number): void {
    for (const lease of [...this.#waiting]) if (lease.jobId === jobId && !lease.actorId) this.#end(lease, null, nowMs);
    for (const worker of [...this.#pool.all()]) {
      if (worker.jobId === jobId && !worker.actorId) this.#pool.kill(worker, 'its job ended');
    }
  }

  /** The lease's worker is dead. */
  workerExited(worker: Worker, cause: DeathCause, nowMs: number): void {
    const lease = this.#leases.get(worker.leaseId);
    if (lease) this.#end(lease, cause, nowMs);
  }

  /** Workers cannot be started: whoever waits for one is told why. */
  failWaiting(cause: DeathCause, nowMs: number): void {
    for (const lease of [...this.#waiting]) this.#fail(lease, cause, nowMs);
  }

  /** Gives workers that have become free to those who wait, in the order in which they came. */
  serveWaiting(nowMs: number): void {
    for (const lease of [...this.#waiting]) {
      this.#place(lease);
      if (lease.worker || nowMs < lease.deadlineMs) continue;
      this.#fail(lease, { kind: 'start-failed', detail: `no worker became ready within ${formatDurationMs(LEASE_START_TIMEOUT_MS)}; the node has ${this.#pool.count} workers` }, nowMs);
    }
  }

  /** Tells a head that may have missed messages what is, and what was lately. */
  resend(lostAtMs: number): void {
    for (const { message, endedAtMs } of this.#ended.values()) if (endedAtMs >= lostAtMs - RESEND_WINDOW_MS) this.#send(message);
    for (const lease of this.#leases.values()) this.#announce(lease);
  }

  nextWakeMs(): number {
    let atMs = Infinity;
    for (const lease of this.#waiting) atMs = Math.min(atMs, lease.deadlineMs);
    return atMs;
  }

  #place(lease: Lease): void {
    const worker = this.#pool.take({ jobId: lease.jobId, gpuIds: lease.gpuIds, prefersUnused: lease.actorId !== '' });
    if (!worker) return;
    worker.leaseId = lease.leaseId;
    worker.actorId = lease.actorId;
    worker.name = lease.name;
    lease.worker = worker;
    this.#waiting.delete(lease);
    if (lease.gpuIds.length > 0) this.#pool.clearGpus(lease.gpuIds);
    const { leaseId, jobId, gpuIds, actorId, bundle } = lease;
    this.#emit({ type: 'commandWorker', workerId: worker.workerId, command: { leaseId, jobId, gpuIds, actorId, exit: false, bundle } });
    this.#announce(lease);
  }

  #announce(lease: Lease): void {
    const { leaseId, worker } = lease;
    if (!worker || lease.isEnding) return;
    this.#send({ type: 'leaseStarted', leaseId, workerId: worker.workerId, pid: worker.pid, endpoint: worker.endpoint });
  }

  #fail(lease: Lease, cause: DeathCause, nowMs: number): void {
    this.#forget(lease, { type: 'leaseFailed', leaseId: lease.leaseId, cause: deathToMessage(cause) }, nowMs);
  }

  #end(lease: Lease, cause: DeathCause | null, nowMs: number): void {
    this.#forget(lease, { type: 'leaseEnded', leaseId: lease.leaseId, cause: cause && deathToMessage(cause) }, nowMs);
  }

  #forget(lease: Lease, message: NodeToHead, endedAtMs: number): void {
    this.#leases.delete(lease.leaseId);
    this.#waiting.delete(lease);
    this.#ended.set(lease.leaseId, { message, endedAtMs });
    if (this.#ended.size > ENDED_LEASES_MAX) this.#ended.delete(this.#ended.keys().next().value!);
    this.#send(message);
    if (lease.bundle) this.#bundles.leave(lease.bundle, lease.leaseId); // may end the bundle, which is told after its leases
  }
}
