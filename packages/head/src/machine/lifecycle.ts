/**
 * How one end brings about others: a node's takes its leases and processes, a process's what it had asked for and its actors, a
 * job's all of its processes' and its workers on every node. The tables below know nothing of each other's ends; this does.
 */
import { makeError, type DeathCause } from '@muster/base';
import { deathFromMessage, type Death } from '@muster/protocol';
import type { Actors } from './actors.js';
import type { Claims } from './claims.js';
import type { HeadContext } from './context.js';
import { deathLine } from './death.js';
import type { Gangs } from './gangs.js';
import type { Groups } from './groups.js';
import type { Job, Jobs, JobState } from './jobs.js';
import type { KeyValues } from './key-values.js';
import type { Leases } from './leases.js';
import { LOG_FLUSH_TIMEOUT_MS } from './limits.js';
import type { Node, Nodes } from './nodes.js';
import type { PeerNews } from './peer-news.js';
import type { Process, Processes } from './processes.js';
import type { Tasks } from './tasks.js';

/** The parts of the machine that end. */
interface Parts {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly peerNews: PeerNews;
  readonly processes: Processes;
  readonly jobs: Jobs;
  readonly leases: Leases;
  readonly claims: Claims;
  readonly tasks: Tasks;
  readonly actors: Actors;
  readonly gangs: Gangs;
  readonly groups: Groups;
  readonly keyValues: KeyValues;
}

/** A driver that has said goodbye and waits until the nodes have sent its job's last output. */
interface Farewell {
  readonly driver: Process;
  readonly job: Job;
  readonly cause: DeathCause | null;
  readonly waitingFor: Set<Node>;
  readonly untilMs: number;
}

const CONNECTION_ENDED = { kind: 'killed', reason: 'its connection to the head ended' } as const satisfies DeathCause;

/** Carries ends from one part of the machine to the others. */
export class Lifecycle {
  readonly #parts: Parts;
  readonly #farewells = new Set<Farewell>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  nodeLost(node: Node, detail: string): void {
    const { context, nodes, peerNews, processes, jobs, leases, claims, groups } = this.#parts;
    context.log('warn', 'node-died', { nodeId: node.id, detail });
    const cause: DeathCause = { kind: 'node-lost', nodeId: node.id, detail };
    claims.nodeLost(node);
    nodes.remove(node, detail);
    peerNews.left(node);
    groups.nodeLost(node, detail);
    leases.nodeLost(node, cause);
    for (const process of [...processes.byId.values()]) if (process.nodeId === node.id) this.#expel(process, cause);
    for (const job of [...jobs.running.values()]) if (job.program?.nodeId === node.id) this.jobOver(job, 'failed', cause);
    for (const farewell of this.#farewells) this.#flushed(farewell, node);
    processes.broadcast({ type: 'nodeDied', nodeId: node.id, detail });
  }

  workerExited(node: Node, workerId: string, cause: DeathCause): void {
    const { context, processes, leases } = this.#parts;
    const jobId = node.workers.get(workerId)?.jobId ?? '';
    node.workers.delete(workerId);
    leases.workerExited(workerId, cause);
    const process = processes.byId.get(workerId);
    if (process !== undefined) this.#expel(process, cause);
    else if (!processes.dead.has(workerId)) {
      processes.recordDeath({ id: workerId, kind: 'worker', nodeId: node.id, jobId, cause, diedAtMs: context.nowMs });
    }
  }

  /** The process's stream has ended. A worker's daemon is given a moment to name the cause; only then is the worker killed. */
  processLost(process: Process, cause: DeathCause | null): void {
    const { nodes, processes, jobs } = this.#parts;
    processes.lose(process);
    jobs.leave(process);
    this.#release(process, `its owner ${process.id} ${cause === null ? 'is gone' : deathLine(cause)}`);
    if (process.kind === 'driver') return this.#driverLost(process, cause ?? CONNECTION_ENDED);
    if (cause !== null || !nodes.byId.has(process.nodeId)) processes.bury(process, cause ?? CONNECTION_ENDED);
  }

  /** A driver says goodbye: it gets its job's last output, then the end. */
  endJob(driver: Process, cause: Death | null): void {
    const { context, nodes, jobs, tasks } = this.#parts;
    const job = jobs.running.get(driver.jobId);
    if (driver.kind !== 'driver' || driver.isLeaving || job === undefined) return;
    driver.isLeaving = true;
    tasks.withdraw(driver);
    const connected = [...nodes.byId.values()].filter((node) => node.stream !== null);
    const farewell: Farewell = {
      driver, job, cause: cause === null ? null : deathFromMessage(cause), waitingFor: new Set(connected), untilMs: context.nowMs + LOG_FLUSH_TIMEOUT_MS,
    };
    this.#farewells.add(farewell);
    nodes.broadcast({ type: 'flushLogs', jobId: job.id });
    if (connected.length === 0) this.#sayFarewell(farewell);
  }

  logsFlushed(node: Node, jobId: string): void {
    for (const farewell of this.#farewells) if (farewell.job.id === jobId) this.#flushed(farewell, node);
  }

  /** The program of a submitted job has ended. */
  jobProcessExited(job: Job, cause: DeathCause): void {
    const succeeded = cause.kind === 'exit' && cause.code === 0;
    this.jobOver(job, job.isStopping ? 'stopped' : succeeded ? 'succeeded' : 'failed', cause);
  }

  /** Ends a job on demand. What ends is its program, its actor or its driver; the job's end follows from that. */
  stopJob(job: Job): void {
    const { nodes, actors } = this.#parts;
    const reason = 'its job was stopped';
    job.isStopping = true;
    const node = job.program === null ? undefined : nodes.byId.get(job.program.nodeId);
    if (node !== undefined) nodes.send(node, { type: 'stopJobProcess', jobId: job.id });
    else if (job.kind === 'actor') actors.kill({ actorId: job.actorId, noRestart: true, incarnation: 0, reason });
    else this.jobOver(job, 'stopped', { kind: 'killed', reason });
  }

  jobOver(job: Job, state: Exclude<JobState, 'running'>, cause: DeathCause | null): void {
    const { context, nodes, jobs } = this.#parts;
    if (job.state !== 'running') return;
    jobs.finish(job, state, cause);
    this.#parts.keyValues.jobOver(job);
    context.log('info', 'job-ended', { jobId: job.id, state });
    for (const farewell of this.#farewells) if (farewell.job === job) this.#farewells.delete(farewell);
    for (const process of job.processes) {
      this.#release(process, `the job ${job.id} is over`);
      if (process.kind === 'driver') this.#dismiss(process, state === 'stopped' ? 'the job was stopped' : `the job ${state}`, cause);
    }
    job.processes.clear();
    nodes.broadcast({ type: 'endJobOnNode', jobId: job.id, ownerIds: [...job.ownerIds] });
  }

  /** Keeps the deadlines of farewells and of exact causes. */
  tick(): void {
    for (const farewell of this.#farewells) if (farewell.untilMs <= this.#parts.context.nowMs) this.#sayFarewell(farewell);
    for (const process of this.#parts.processes.overdue(this.#parts.nodes.byId)) this.#abandon(process);
  }

  /** The daemon has not said why: the worker may live on without its head, so it is ended. */
  #abandon(worker: Process): void {
    const { nodes, processes, leases } = this.#parts;
    const node = nodes.byId.get(worker.nodeId);
    const lease = leases.ofWorker(worker.id);
    if (lease !== undefined) leases.end(lease, { kill: true, reason: CONNECTION_ENDED.reason, tell: true });
    else if (node !== undefined) nodes.send(node, { type: 'killWorker', workerId: worker.id, reason: CONNECTION_ENDED.reason });
    node?.workers.delete(worker.id);
    processes.bury(worker, CONNECTION_ENDED);
  }

  /** The process is known to be dead, or will be treated so, whatever its stream says. */
  #expel(process: Process, cause: DeathCause): void {
    const { context, processes } = this.#parts;
    if (process.stream === null) return processes.bury(process, cause);
    context.closeClient(process.stream, makeError('NOT_CONNECTED', { cause: `of ${process.id} ended: it ${deathLine(cause)}` }));
    this.processLost(process, cause);
  }

  #driverLost(driver: Process, cause: DeathCause): void {
    const { processes, jobs } = this.#parts;
    processes.bury(driver, cause);
    for (const farewell of this.#farewells) if (farewell.driver === driver) return this.#sayFarewell(farewell);
    const job = jobs.running.get(driver.jobId);
    if (job?.kind === 'driver') this.jobOver(job, 'failed', cause);
  }

  #flushed(farewell: Farewell, node: Node): void {
    farewell.waitingFor.delete(node);
    if (farewell.waitingFor.size === 0) this.#sayFarewell(farewell);
  }

  #sayFarewell(farewell: Farewell): void {
    const { driver, job, cause } = farewell;
    this.#farewells.delete(farewell);
    const succeeded = cause === null || (cause.kind === 'exit' && cause.code === 0);
    this.#dismiss(driver, 'the driver ended', cause);
    if (job.kind === 'driver') this.jobOver(job, succeeded ? 'succeeded' : 'failed', cause);
  }

  /** The last message of a driver's stream, and the stream's end. Without a cause it has ended well. */
  #dismiss(driver: Process, reason: string, cause: DeathCause | null): void {
    const { context, processes, jobs } = this.#parts;
    if (driver.stream === null) return;
    processes.send(driver, { type: 'jobEnded', reason });
    context.closeClient(driver.stream, null);
    processes.lose(driver);
    jobs.leave(driver);
    this.#release(driver, `its owner ${driver.id} has ended`);
    processes.bury(driver, cause ?? { kind: 'exit', code: 0 });
  }

  #release(process: Process, reason: string): void {
    this.#parts.tasks.drop(process, reason);
    this.#parts.actors.ownerGone(process, reason);
    this.#parts.gangs.ownerGone(process, reason);
    this.#parts.groups.ownerGone(process, reason);
    this.#parts.keyValues.processGone(process);
  }
}
