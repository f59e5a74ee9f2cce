/**
 * The daemon of one node, without its processes, sockets and clocks: what to do with what the head says, what workers do and what they
 * print. Pure: equal events and an equal source of randomness give equal effects. The object store is a machine of its own.
 */
import { describeDeath, errorToWire, makeError, ownerKey, type DeathCause, type MusterError, type ProcessId, type Random, type ResourceSet } from '@muster/base';
import { deathToMessage, resourcesToMessage, type Endpoint, type HeadToNode, type LogLines, type LogsQuestion, type NodeQuery, type NodeToHead } from '@muster/protocol';
import type { ObjectListing, StoreStats } from '@muster/store';
import { BundleTable } from './bundle-table.js';
import type { ProcessExit } from './death-cause.js';
import { HeadLink } from './head-link.js';
import { JobProcesses } from './job-processes.js';
import { LeaseTable } from './lease-table.js';
import { LogRelay } from './log-relay.js';
import type { DaemonEffect, DaemonEvent } from './messages.js';
import { PeerNews } from './peer-news.js';
import { WorkerPool, type Worker } from './worker-pool.js';

/** How long killed processes may take to vanish before the daemon ends without them. */
export const STOP_TIMEOUT_MS = 3000;
/** Dead workers whose logs can still be found by their actor or job. */
const PAST_WORKERS_MAX = 10_000;
/** How often the head hears whose objects are here. Those of an owner that has died elsewhere keep their room for up to twice that long. */
export const OWNERS_REPORT_INTERVAL_MS = 5000;

/** What the node is and has. */
export interface DaemonMachineOptions {
  readonly nodeId: string;
  /** Of this daemon's run, and of no other. */
  readonly instanceId: string;
  readonly endpoint: Endpoint;
  readonly hostname: string;
  readonly pid: number;
  readonly resources: ResourceSet;
  readonly labels: Readonly<Record<string, string>>;
  readonly objectStoreBytes: number;
  readonly isHeadNode: boolean;
  /** As many as `resources` has GPUs. */
  readonly gpuIds: readonly number[];
  /** Workers that are started before anybody asks, and kept ready. */
  readonly prestartCount: number;
  /** Workers that start at the same time. */
  readonly startingMax: number;
  readonly random: Random;
  /** What the object store tells about itself. */
  readonly store: { stats(): StoreStats; list(): readonly ObjectListing[]; owners(): ReadonlySet<string> };
}

/** Where a worker's log can be found after its death. */
interface PastWorker {
  readonly jobId: string;
  readonly actorId: string;
}

/** The daemon's decisions. Feed it every event; carry out every effect, in order. */
export class DaemonMachine {
  readonly #options: DaemonMachineOptions;
  readonly #pool: WorkerPool;
  readonly #bundles: BundleTable;
  readonly #leases: LeaseTable;
  readonly #logs: LogRelay;
  readonly #jobs: JobProcesses;
  readonly #head: HeadLink;
  readonly #peerNews: PeerNews;
  readonly #pastWorkers = new Map<string, PastWorker>();
  #effects: DaemonEffect[] = [];
  #nowMs = 0;
  #wakeAtMs = Infinity;
  #lookAtOwnersAtMs = 0;
  /** Whose objects were here when they were last looked at. */
  #knownOwners: ReadonlySet<string> = new Set();
  /** Set while the daemon ends. */
  #stopping: { readonly reason: string; readonly failure: MusterError | null; readonly atMs: number } | null = null;
  #isStopped = false;

  constructor(options: DaemonMachineOptions) {
    this.#options = options;
    const emit = (effect: DaemonEffect): void => { this.#effects.push(effect); };
    const send = (message: NodeToHead): void => this.#send(message);
    this.#pool = new WorkerPool(options, emit);
    this.#bundles = new BundleTable({ gpuCount: options.gpuIds.length, send });
    this.#leases = new LeaseTable({ pool: this.#pool, bundles: this.#bundles, gpuIds: options.gpuIds, emit, send });
    this.#logs = new LogRelay(options.nodeId, (lines: LogLines) => send({ type: 'logLines', ...lines }));
    this.#jobs = new JobProcesses(emit, send);
    this.#peerNews = new PeerNews(emit);
    this.#head = new HeadLink({
      random: options.random,
      registration: this.#registration(),
      vitals: () => this.#vitals(),
      onRegistered: (lostAtMs) => this.#registered(lostAtMs),
      onGivenUp: (reason, failure) => this.#shutDown(reason, failure),
    }, emit);
  }

  /** Takes one event in and says what to do, in this order. */
  step(event: DaemonEvent, nowMs: number): DaemonEffect[] {
    if (this.#isStopped) return [];
    this.#nowMs = nowMs;
    this.#take(event);
    if (this.#stopping) this.#stopWhenEmpty();
    else this.#pool.refill(this.#leases.waitingCount, nowMs);
    this.#setWake();
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #take(event: DaemonEvent): void {
    switch (event.type) {
      case 'start': return this.#start();
      case 'headMessage': return this.#takeMessage(event.message);
      case 'headEnded': return this.#head.ended(event.failure, this.#nowMs);
      case 'workerSpawned': return this.#pool.spawned(event.workerId, event.pid);
      case 'workerReady': return this.#workerReady(event.workerId, event.endpoint);
      case 'workerDisconnected': return this.#pool.disconnected(event.workerId, this.#nowMs);
      case 'workerNeeded': return this.#pool.setNeeded(event.workerId, event.isNeeded);
      case 'workerExited': return this.#workerExited(event.workerId, event.exit);
      case 'output': return this.#takeOutput(event);
      case 'outputDrained':
        this.#logs.endJob(event.jobId);
        return this.#send({ type: 'logsFlushed', jobId: event.jobId });
      case 'jobProcessExited': return this.#jobs.exited(event.jobId, event.exit);
      case 'shutdown': return this.#shutDown(event.reason, null);
      case 'tick': return this.#tick();
    }
  }

  /** Workers take longest to start: they are first. */
  #start(): void {
    this.#pool.refill(0, this.#nowMs);
    this.#head.start(this.#nowMs);
  }

  #takeMessage(message: HeadToNode): void {
    if (this.#stopping) return;
    switch (message.type) {
      case 'nodeRegistered': return this.#head.registered(message, this.#nowMs);
      case 'startLease': return this.#leases.start(message, this.#nowMs);
      case 'endLease':
        this.#leases.end(message, this.#nowMs);
        return this.#leases.serveWaiting(this.#nowMs);
      case 'prepareBundles': return this.#bundles.prepare(message);
      case 'commitBundles': return this.#bundles.commit(message);
      case 'returnBundles':
        for (const leaseId of this.#bundles.leasesIn(message)) this.#leases.end({ leaseId, kill: true, reason: message.reason }, this.#nowMs);
        this.#bundles.return(message);
        return this.#leases.serveWaiting(this.#nowMs);
      case 'killWorker': {
        const worker = this.#pool.get(message.workerId);
        if (worker) this.#pool.kill(worker, message.reason);
        return;
      }
      case 'startJobProcess': return this.#jobs.start(message);
      case 'stopJobProcess': return this.#jobs.stop(message.jobId, 'the job was stopped', this.#nowMs);
      case 'flushLogs': return this.#flushLogs(message.jobId);
      case 'peerNodes': return this.#peerNews.take(message);
      case 'shutdown': return this.#shutDown(message.reason, null);
      case 'nodeQuery': return this.#answer(message);
      case 'endJobOnNode':
        this.#leases.endJob(message.jobId, this.#nowMs);
        this.#logs.endJob(message.jobId);
        return this.#emit({ type: 'freeOwners', ownerKeys: message.ownerIds.map((id) => ownerKey(id as ProcessId)) });
      case 'ownersEnded': return this.#emit({ type: 'freeOwners', ownerKeys: message.ownerKeys });
    }
  }

  #registered(lostAtMs: number | null): void {
    if (lostAtMs === null) this.#emit({ type: 'registered' });
    for (const worker of this.#pool.all()) if (worker.state === 'ready') this.#announce(worker);
    this.#leases.resend(lostAtMs ?? Infinity);
    if (lostAtMs !== null) this.#jobs.resend();
    this.#logs.flush();
    this.#reportOwners();
  }

  /**
   * The head says which of them are no more: also of those whose end it could not tell this node when it came. It is not asked about new ones, which
   * it may not know yet.
   */
  #reportOwners(): void {
    const owners = this.#options.store.owners();
    const ownerKeys = [...owners].filter((key) => this.#knownOwners.has(key));
    if (ownerKeys.length > 0) this.#send({ type: 'storedOwners', ownerKeys });
    if (this.#nowMs < this.#lookAtOwnersAtMs) return;
    this.#lookAtOwnersAtMs = this.#nowMs + OWNERS_REPORT_INTERVAL_MS;
    this.#knownOwners = owners;
  }

  #workerReady(workerId: string, endpoint: Endpoint): void {
    if (!this.#pool.ready(workerId, endpoint)) return;
    this.#announce(this.#pool.get(workerId)!);
    this.#leases.serveWaiting(this.#nowMs);
  }

  #announce(worker: Worker): void {
    this.#send({ type: 'workerStarted', workerId: worker.workerId, pid: worker.pid });
  }

  #workerExited(workerId: string, exit: ProcessExit): void {
    const gone = this.#pool.exited(workerId, exit, this.#nowMs);
    if (!gone) return;
    const { worker, cause, wasReady } = gone;
    this.#pastWorkers.set(workerId, { jobId: worker.jobId, actorId: worker.actorId });
    if (this.#pastWorkers.size > PAST_WORKERS_MAX) this.#pastWorkers.delete(this.#pastWorkers.keys().next().value!);
    this.#leases.workerExited(worker, cause, this.#nowMs);
    if (worker.jobId) this.#emit({ type: 'freeOwners', ownerKeys: [ownerKey(workerId as ProcessId)] });
    if (wasReady) this.#send({ type: 'workerExited', workerId, cause: deathToMessage(cause) });
    else if (this.#pool.isStartBroken) this.#leases.failWaiting(asStartFailure(cause), this.#nowMs);
    this.#leases.serveWaiting(this.#nowMs);
  }

  #takeOutput(event: DaemonEvent & { type: 'output' }): void {
    const worker = this.#pool.get(event.workerId);
    if (!worker?.jobId) return; // what is printed before the first lease is in the log file
    const { jobId, workerId, pid } = worker;
    this.#logs.add({ jobId, workerId, pid, isError: event.isError }, event.spans, this.#nowMs);
    if (this.#logs.isFull && this.#head.isRegistered) this.#logs.flush();
  }

  #flushLogs(jobId: string): void {
    const workerIds = [...this.#pool.all()].filter((worker) => worker.jobId === jobId).map((worker) => worker.workerId);
    this.#emit({ type: 'drainOutput', jobId, workerIds });
  }

  #answer({ requestId, what, argument }: NodeQuery): void {
    const reply = (value: unknown): void => this.#send({ type: 'nodeReply', requestId, failure: null, json: JSON.stringify(value) });
    switch (what) {
      case 'objects': return reply(this.#options.store.list());
      case 'workers': return reply([...this.#pool.all()].map(({ workerId, pid, state, jobId, leaseId, actorId, name, gpuIds }) =>
        ({ workerId, pid, state, jobId, leaseId, actorId, name, gpuIds: gpuIds ?? [] })));
      case 'logs': {
        const question = JSON.parse(argument) as LogsQuestion;
        return this.#emit({ type: 'readLogs', requestId, question, logIds: this.#logIds(question.id) });
      }
      default: {
        const failure = errorToWire(makeError('INVALID_ARGUMENT', { what: `the query '${what}'`, want: 'objects, workers or logs' }));
        return this.#send({ type: 'nodeReply', requestId, failure, json: '' });
      }
    }
  }

  /** The log of a worker or a submitted program, or those of all workers of an actor or a job. */
  #logIds(id: string): string[] {
    const workers = [...this.#pastWorkers, ...[...this.#pool.all()].map((worker) => [worker.workerId, worker] as const)];
    const serving = workers.filter(([, worker]) => worker.actorId === id || worker.jobId === id).map(([workerId]) => workerId);
    return [id, ...serving];
  }

  #tick(): void {
    this.#wakeAtMs = Infinity;
    if (this.#stopping) return;
    this.#head.tick(this.#nowMs);
    if (this.#head.isRegistered && this.#nowMs >= this.#lookAtOwnersAtMs) this.#reportOwners(); // heartbeats make ticks enough
    this.#pool.tick(this.#nowMs);
    this.#jobs.tick(this.#nowMs);
    this.#leases.serveWaiting(this.#nowMs);
    if (this.#nowMs >= this.#logs.nextWakeMs && this.#head.isRegistered) this.#logs.flush();
  }

  /** Ends everything: logs go out, processes die, and then the daemon stops. */
  #shutDown(reason: string, failure: MusterError | null): void {
    if (this.#stopping) return;
    this.#logs.flush();
    this.#stopping = { reason, failure, atMs: this.#nowMs + STOP_TIMEOUT_MS };
    this.#emit({ type: 'log', level: 'info', event: 'node-stopping', fields: { reason, cause: failure?.message } });
    this.#head.stop();
    this.#pool.stop(reason);
    this.#jobs.killAll(reason);
  }

  #stopWhenEmpty(): void {
    const { reason, failure, atMs } = this.#stopping!;
    if (this.#pool.count + this.#jobs.count > 0 && this.#nowMs < atMs) return;
    this.#isStopped = true;
    this.#emit({ type: 'disconnectHead', isGoodbye: true });
    this.#emit({ type: 'stop', reason, failure });
  }

  #setWake(): void {
    if (this.#isStopped) return;
    const atMs = this.#stopping ? this.#stopping.atMs : Math.min(
      this.#head.nextWakeMs, this.#pool.nextWakeMs(this.#nowMs), this.#leases.nextWakeMs(), this.#jobs.nextWakeMs,
      this.#head.isRegistered ? this.#logs.nextWakeMs : Infinity);
    if (atMs >= this.#wakeAtMs) return;
    this.#wakeAtMs = atMs;
    this.#emit({ type: 'wake', atMs });
  }

  #registration(): NodeToHead & { type: 'registerNode' } {
    const { nodeId, instanceId, endpoint, hostname, pid, resources, labels, objectStoreBytes, isHeadNode } = this.#options;
    return { type: 'registerNode', nodeId, instanceId, endpoint, hostname, pid, resources: resourcesToMessage(resources), labels, objectStoreBytes, isHeadNode };
  }

  #vitals() {
    const { totalBytes, freeBytes, spilledBytes, objectCount } = this.#options.store.stats();
    return { objectStoreUsedBytes: totalBytes - freeBytes, spilledBytes, objectCount, workerCount: this.#pool.count };
  }

  /** A head that is not connected is told later, by what {@link #registered} sends again. */
  #send(message: NodeToHead): void {
    if (this.#head.isRegistered) this.#emit({ type: 'send', message });
  }

  #emit(effect: DaemonEffect): void {
    this.#effects.push(effect);
  }
}

/** A worker that died before it was ready has failed to start, for those who wait for it. */
function asStartFailure(cause: DeathCause): DeathCause {
  if (cause.kind === 'start-failed') return cause;
  const stderrTail = 'stderrTail' in cause ? cause.stderrTail : undefined;
  const detail = `a worker ${describeDeath(cause).split(';', 1)[0]} before it was ready`;
  return { kind: 'start-failed', detail, stderrTail };
}
