/**
 * The head of a cluster: who is there, who gets what, which actors live, and how jobs end. One step takes one event and
 * returns what to send, in order; nothing else happens. This file routes; the parts decide.
 *
 * Streams are strangers until their first message. A message that breaks a rule ends its own stream.
 */
import { makeError, MusterError, type DeathCause, type Random } from '@muster/base';
import {
  deathFromMessage, failureToMessage, type ClientHello, type ClientToHead, type Death, type Endpoint, type LeaseDemand, type LeaseStarted, type NodeToHead,
  type RegisterNode, type WorkerStarted,
} from '@muster/protocol';
import type { Shape } from '@muster/scheduler';
import { Queries } from '../queries/queries.js';
import { Actors } from './actors.js';
import { Claims } from './claims.js';
import { HeadContext, type HeadSettings } from './context.js';
import { Demands, type Demand } from './demands.js';
import { Fairness } from './fairness.js';
import { Gangs } from './gangs.js';
import { GroupTurns } from './group-turns.js';
import { Groups } from './groups.js';
import { Jobs } from './jobs.js';
import { KeyValues } from './key-values.js';
import { Leases, type Lease } from './leases.js';
import { Lifecycle } from './lifecycle.js';
import { HELLO_TIMEOUT_MS, STALL_MIN_MS, STOP_TIMEOUT_MS, STRANGERS_MAX, WORKERS_PER_NODE_MAX } from './limits.js';
import { TICK_MS, type HeadEffect, type HeadEvent } from './messages.js';
import { Nodes, type Node, type WorkerRecord } from './nodes.js';
import { PeerNews } from './peer-news.js';
import { Preemptions } from './preemptions.js';
import { Processes, type Process } from './processes.js';
import type { Pool } from './pool.js';
import { Queues } from './queues.js';
import { readName, refusal } from './requests.js';
import { Reservations } from './reservations.js';
import { Tasks } from './tasks.js';

/** A stream that has not said who it is. */
interface Stranger {
  readonly kind: 'node' | 'client';
  readonly openedAtMs: number;
}

/** Steps through the life of a cluster. */
export class HeadMachine {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
  readonly processes: Processes;
  readonly jobs: Jobs;
  readonly demands: Demands;
  readonly leases: Leases;
  readonly tasks: Tasks;
  readonly actors: Actors;
  readonly gangs: Gangs;
  readonly groups: Groups;
  readonly claims: Claims;
  readonly keyValues: KeyValues;
  /** Where leases in a placement group are placed; of the empty id, on the nodes. */
  readonly poolOf = (groupId: string): Pool => this.groups.poolOf(groupId);
  readonly members = (): Gangs => this.gangs;
  readonly peerNews: PeerNews;
  readonly #fairness: Fairness;
  readonly #turns: GroupTurns;
  readonly #reservations: Reservations;
  readonly #preemptions: Preemptions;
  readonly #lifecycle: Lifecycle;
  readonly #queries: Queries;
  readonly #strangers = new Map<number, Stranger>();
  #stopping: { readonly reason: string; readonly untilMs: number } | null = null;
  #hasStopped = false;
  #lastTickMs: number;

  constructor(settings: HeadSettings, random: Random, nowMs: number) {
    const context = (this.context = new HeadContext(settings, random, nowMs));
    this.#lastTickMs = nowMs;
    this.nodes = new Nodes(context);
    this.peerNews = new PeerNews(this.nodes);
    this.processes = new Processes(context);
    this.jobs = new Jobs(context, this.processes);
    this.keyValues = new KeyValues(this);
    this.queues = new Queues(settings.queues, this.nodes);
    this.demands = new Demands(this, (demand, status) =>
      demand.actorId === '' ? this.tasks.status(demand, status) : this.actors.status(demand.actorId, status));
    this.claims = new Claims(context, this.nodes, this.demands);
    this.leases = new Leases(this, {
      leaseStarted: (lease) => this.#leaseStarted(lease),
      leaseLost: (lease, cause) => (lease.demand.actorId === '' ? this.tasks : this.actors).leaseLost(lease, cause),
    });
    this.tasks = new Tasks(this);
    this.actors = new Actors(this, (actor) => {
      const job = this.jobs.running.get(actor.jobId);
      if (job !== undefined) this.#lifecycle.jobOver(job, job.isStopping || actor.cause?.kind === 'killed' ? 'stopped' : 'failed', actor.cause);
    });
    this.groups = new Groups(this);
    this.gangs = new Gangs(this);
    this.#fairness = new Fairness(this, (lease) => this.tasks.askBack(lease));
    this.#turns = new GroupTurns(context, this.demands, this.groups, (lease) => this.tasks.askBack(lease));
    this.#reservations = new Reservations(this, (lease) => this.#fairness.ask(lease));
    this.#preemptions = new Preemptions(this, { askBack: (lease) => this.#fairness.ask(lease), warn: (lease, graceMs) => this.#warn(lease, graceMs) });
    this.#lifecycle = new Lifecycle(this);
    this.#queries = new Queries(this, {
      stopJob: (job) => this.#lifecycle.stopJob(job),
      stopCluster: (reason) => this.#stopCluster(reason),
    });
  }

  /** `nowMs` never goes back. */
  step(event: HeadEvent, nowMs: number): HeadEffect[] {
    this.context.nowMs = nowMs;
    this.#handle(event);
    if (this.#stopping === null) {
      const grant = (demand: Demand, row: string): void => { this.leases.start(demand, row); };
      const admit = (demand: Demand, shape: Shape): string | null => this.claims.admit(demand, shape);
      this.claims.serve({ grant, isWaiting: (group) => this.groups.isWaiting(group), place: (group) => this.groups.place(group) });
      for (const priority of this.groups.waitingPriorities()) {
        this.demands.schedule(grant, admit, priority + 1);
        this.groups.schedule(priority);
      }
      this.demands.schedule(grant, admit, -Infinity);
    }
    return this.context.takeEffects();
  }

  #handle(event: HeadEvent): void {
    switch (event.type) {
      case 'nodeOpened': return this.#opened(event.stream, 'node');
      case 'clientOpened': return this.#opened(event.stream, 'client');
      case 'nodeMessage': return this.#guard('node', event.stream, () => this.#nodeMessage(event.stream, event.message));
      case 'clientMessage': return this.#guard('client', event.stream, () => this.#clientMessage(event.stream, event.message));
      case 'nodeClosed': return this.#nodeClosed(event.stream, event.orderly);
      case 'clientClosed': return this.#clientClosed(event.stream);
      case 'query': return this.#queries.handle(event.queryId, event.request);
      case 'tick': return this.#tick();
    }
  }

  #opened(stream: number, kind: Stranger['kind']): void {
    if (this.#strangers.size >= STRANGERS_MAX) return this.#close(kind, stream, refusal('too many connections that have not said who they are'));
    this.#strangers.set(stream, { kind, openedAtMs: this.context.nowMs });
  }

  #guard(kind: Stranger['kind'], stream: number, handle: () => void): void {
    try {
      handle();
    } catch (error) {
      if (!(error instanceof MusterError) || error.code !== 'PROTOCOL') throw error;
      const who = (kind === 'node' ? this.nodes : this.processes).ofStream(stream)?.id ?? 'a stranger';
      this.context.log('warn', 'protocol-broken', { kind, who, detail: error.message });
      this.#close(kind, stream, error);
      if (kind === 'node') this.#nodeClosed(stream, false);
      else this.#clientClosed(stream);
    }
  }

  #close(kind: Stranger['kind'], stream: number, failure: MusterError): void {
    this.#strangers.delete(stream);
    if (kind === 'node') this.context.closeNode(stream, failure);
    else this.context.closeClient(stream, failure);
  }

  #nodeClosed(stream: number, orderly: boolean): void {
    this.#strangers.delete(stream);
    const node = this.nodes.ofStream(stream);
    if (node === undefined) return;
    this.nodes.disconnect(node);
    this.groups.reachabilityChanged(node);
    if (orderly) this.#lifecycle.nodeLost(node, 'it left the cluster');
    else this.context.log('warn', 'node-unreachable', { nodeId: node.id });
  }

  #clientClosed(stream: number): void {
    this.#strangers.delete(stream);
    const process = this.processes.ofStream(stream);
    if (process !== undefined) this.#lifecycle.processLost(process, null);
  }

  // ------------------------------------------------------------------ nodes

  #nodeMessage(stream: number, message: NodeToHead): void {
    const node = this.nodes.ofStream(stream);
    if (message.type === 'registerNode') {
      if (node !== undefined || this.#strangers.has(stream)) this.#registerNode(stream, message);
      return;
    }
    if (node === undefined) {
      if (this.#strangers.has(stream)) throw refusal(`a daemon that sent ${message.type} before it registered`);
      return; // sent before it knew that its stream is closed
    }
    node.lastHeardMs = this.context.nowMs;
    switch (message.type) {
      case 'heartbeat': node.heartbeat = message; return;
      case 'leaseStarted': return this.leases.started(node, this.#asKnown(node, message));
      case 'leaseFailed':
      case 'leaseEnded': return this.leases.ended(node, message.leaseId, message.cause);
      case 'logLines': return this.jobs.relay(message);
      case 'logsFlushed': return this.#lifecycle.logsFlushed(node, message.jobId);
      case 'jobProcessExited': return this.#jobProcessExited(node, message.jobId, message.cause);
      case 'nodeReply': return this.#queries.answered(node.id, message.requestId, { failure: message.failure, json: message.json });
      case 'storedOwners': return this.#tellEndedOwners(node, message.ownerKeys);
      case 'bundlesPrepared': return this.groups.prepared(node, message);
      case 'bundlesReturned': return this.groups.returned(node, message);
      case 'peersMissed': return this.peerNews.missed(node);
      case 'workerStarted': this.#workerStarted(node, message); return;
      case 'workerExited': return this.#lifecycle.workerExited(node, message.workerId, readCause(message.cause));
    }
  }

  #registerNode(stream: number, message: RegisterNode): void {
    const { heartbeatIntervalMs, nodeTimeoutMs, clusterId } = this.context.settings;
    const registration = this.#stopping === null ? this.nodes.register(stream, message) : { type: 'refused', failure: isStopping() } as const;
    this.#strangers.delete(stream);
    const isRefused = registration.type === 'refused';
    this.context.sendToNode(stream, {
      type: 'nodeRegistered', clusterId, heartbeatIntervalMs, nodeTimeoutMs, failure: isRefused ? failureToMessage(registration.failure) : null,
    });
    this.context.log(isRefused ? 'warn' : 'info', `node-registration-${registration.type}`, { nodeId: message.nodeId });
    if (isRefused) return this.context.closeNode(stream, null);
    this.peerNews.registered(registration.node);
    if (registration.type === 'returned') this.#repeatTo(registration.node);
  }

  /** All that a node may have missed while it was cut off. Everything of it may be repeated. */
  #repeatTo(node: Node): void {
    this.groups.repeat(node); // before the leases that are in its bundles
    this.groups.reachabilityChanged(node);
    this.leases.repeat(node);
    for (const job of this.jobs.running.values()) {
      if (job.program?.nodeId !== node.id) continue;
      this.nodes.send(node, job.isStopping ? { type: 'stopJobProcess', jobId: job.id } : { type: 'startJobProcess', ...job.program.message });
    }
    for (const job of this.jobs.finishedSince(this.context.nowMs - 2 * this.context.settings.nodeTimeoutMs)) {
      this.nodes.send(node, { type: 'endJobOnNode', jobId: job.id, ownerIds: [...job.ownerIds] });
    }
  }

  /** They have been there for some seconds, and so would be known: one that is not known is no more. */
  #tellEndedOwners(node: Node, storedKeys: readonly string[]): void {
    const ownerKeys = storedKeys.filter((key) => this.processes.ofOwnerKey(key) === undefined);
    if (ownerKeys.length > 0) this.nodes.send(node, { type: 'ownersEnded', ownerKeys });
  }

  /** The record of a worker, made if its daemon's word for it was lost. */
  #workerStarted(node: Node, { workerId, pid }: Pick<WorkerStarted, 'workerId' | 'pid'>): WorkerRecord {
    const known = node.workers.get(workerId);
    if (known !== undefined) return known;
    if (node.workers.size >= WORKERS_PER_NODE_MAX) throw refusal(`${node.id} has more than ${WORKERS_PER_NODE_MAX} workers`);
    const worker: WorkerRecord = { workerId, pid, startedAtMs: this.context.nowMs, jobId: '' };
    node.workers.set(workerId, worker);
    return worker;
  }

  /** The message with the worker's id and endpoint that are kept already: each would be kept twice for every worker. */
  #asKnown(node: Node, message: LeaseStarted): LeaseStarted {
    const workerId = node.workers.get(message.workerId)?.workerId ?? message.workerId;
    const known = this.processes.byId.get(workerId)?.endpoint ?? null;
    return { ...message, workerId, endpoint: isSameEndpoint(known, message.endpoint) ? known : message.endpoint };
  }

  #jobProcessExited(node: Node, jobId: string, cause: Death | null): void {
    const job = this.jobs.running.get(jobId);
    if (job?.program?.nodeId === node.id) this.#lifecycle.jobProcessExited(job, readCause(cause));
  }

  /** Its worker tells what runs there. */
  #warn({ id: leaseId, workerId, preemption }: Lease, graceMs: number): void {
    const worker = this.processes.byId.get(workerId);
    if (worker !== undefined) this.processes.send(worker, { type: 'leasePreempted', leaseId, reason: preemption!, graceMs });
  }

  #leaseStarted(lease: Lease): void {
    const { workerId, demand, node } = lease;
    if (this.processes.isGone(workerId)) {
      return this.leases.end(lease, { kill: true, reason: `its worker ${workerId} is gone`, tell: true });
    }
    this.#workerStarted(node, lease).jobId = demand.jobId;
    const worker = this.processes.byId.get(workerId);
    if (worker === undefined) this.jobs.addOwner(demand.jobId, workerId);
    else if (worker.jobId === '') this.jobs.join(demand.jobId, worker);
    if (demand.actorId === '') this.tasks.leaseStarted(lease);
    else this.actors.leaseStarted(lease);
  }

  // ------------------------------------------------------------------ clients

  #clientMessage(stream: number, message: ClientToHead): void {
    const process = this.processes.ofStream(stream);
    if (process === undefined) {
      if (!this.#strangers.has(stream)) return; // sent before it knew that its stream is closed
      if (message.type !== 'clientHello') throw refusal(`a client that sent ${message.type} before its hello`);
      return this.#hello(stream, message);
    }
    if (message.type === 'clientHello') {
      if (message.processId !== process.id) throw refusal(`${process.id} said hello again as '${message.processId}'`);
      return this.#welcome(process);
    }
    if (process.isLeaving && message.type !== 'clientReply' && message.type !== 'leaseReturn') return;
    this.#request(process, message);
  }

  #request(process: Process, message: Exclude<ClientToHead, { type: 'clientHello' }>): void {
    switch (message.type) {
      case 'leaseDemand': return this.#leaseDemand(process, message);
      case 'leaseReturn': return this.tasks.return(process, message);
      case 'workerBlocked': return this.leases.setBlocked(process.id, message.blocked);
      case 'createActor': return this.actors.create(process, message);
      case 'actorStarted': return this.actors.started(process, message);
      case 'actorStartFailed': return this.actors.startFailed(process, message);
      case 'killActor': return this.actors.kill(message);
      case 'getActor': return this.actors.get(process, message);
      case 'watchActor': return this.actors.watch(process, message.actorId);
      case 'createGang': return this.gangs.create(process, message);
      case 'killGang': return this.gangs.kill(message.gangId, message.reason);
      case 'watchGang': return this.gangs.watch(process, message.gangId);
      case 'gangCheckpoint': return this.gangs.checkpoint(message);
      case 'putKey': return this.keyValues.put(process, message);
      case 'getKey': return this.keyValues.get(process, message);
      case 'clearKeys': return this.keyValues.clear(process, message.namespace);
      case 'clientReply': return this.#queries.answered(process.id, message.requestId, { failure: null, json: message.json });
      case 'endJob': return this.#lifecycle.endJob(process, message.cause);
      case 'createGroup': return this.groups.create(process, message);
      case 'removeGroup': return this.groups.remove(process, message.groupId);
      case 'watchGroup': return this.groups.watch(process, message.groupId);
      case 'watchProcess': return this.processes.watch(process, message.processId);
    }
  }

  #leaseDemand(process: Process, message: LeaseDemand): void {
    if (process.jobId === '') throw refusal(`${process.id} asked for leases before it had a job`);
    const job = this.jobs.running.get(process.jobId);
    if (job !== undefined) this.tasks.demand(process, job, message);
  }

  #hello(stream: number, hello: ClientHello): void {
    this.#strangers.delete(stream);
    let process: Process;
    try {
      process = this.#admit(stream, hello);
    } catch (error) {
      this.context.log('warn', 'client-refused', { processId: hello.processId, detail: (error as Error).message });
      const { clusterId } = this.context.settings;
      this.context.sendToClient(stream, {
        type: 'welcome', clusterId, jobId: '', failure: failureToMessage(error), daemonUnixPath: '', nodeId: '', nodeTimeoutMs: 0,
      });
      return this.context.closeClient(stream, null);
    }
    this.context.log('info', 'client-connected', { processId: process.id, jobId: process.jobId, nodeId: process.nodeId });
    this.#welcome(process);
    this.actors.workerConnected(process);
  }

  /** @throws MusterError when the process may not join */
  #admit(stream: number, hello: ClientHello): Process {
    if (this.#stopping !== null) throw isStopping();
    const failure = this.processes.helloFailure(hello);
    if (failure !== null) throw failure;
    const nodeId = hello.nodeId !== '' ? hello.nodeId : hello.isDriver ? (this.nodes.headNode?.id ?? '') : '';
    if (!this.nodes.byId.has(nodeId) && (nodeId !== '' || !hello.isDriver)) {
      const dead = this.nodes.dead.get(nodeId);
      if (dead !== undefined) throw makeError('NODE_DIED', { what: hello.processId, cause: `its node ${nodeId} was lost (${dead.detail})` });
      throw makeError('INVALID_ARGUMENT', { what: `the node '${nodeId}' of ${hello.processId}`, want: 'one that has registered with this head' });
    }
    const node = this.nodes.byId.get(nodeId);
    const worker = node?.workers.get(hello.processId);
    const jobId = hello.isDriver ? this.#jobOfDriver(hello) : (worker?.jobId ?? '');
    const process = this.processes.add(stream, { ...hello, processId: worker?.workerId ?? hello.processId, nodeId: node?.id ?? '' });
    if (jobId !== '') this.jobs.join(jobId, process);
    return process;
  }

  #jobOfDriver({ jobId, queue, priority, entrypoint }: ClientHello): string {
    if (jobId === '') {
      return this.jobs.create({ kind: 'driver', entrypoint: readName(entrypoint), actorId: '', parentJobId: '', queue: this.queues.admit(queue, priority), priority }, null).id;
    }
    const job = this.jobs.running.get(jobId);
    if (job?.kind !== 'submitted') throw makeError('INVALID_ARGUMENT', { what: `the job id '${jobId}'`, want: 'that of a submitted job that runs' });
    const isSame = (queue === '' || queue === job.queue.settings.name) && (priority === 0 || priority === job.priority);
    if (isSame) return jobId;
    const want = `those that it was submitted with: ${job.queue.settings.name} and ${job.priority}`;
    throw makeError('INVALID_ARGUMENT', { what: `queue '${queue}' and priority ${priority} of a submitted program`, want });
  }

  #welcome(process: Process): void {
    const node = this.nodes.byId.get(process.nodeId);
    const { clusterId, nodeTimeoutMs } = this.context.settings;
    this.processes.send(process, {
      type: 'welcome', clusterId, jobId: process.jobId, failure: null,
      daemonUnixPath: node?.endpoint?.unixPath ?? '', nodeId: process.nodeId, nodeTimeoutMs,
    });
  }

  // ------------------------------------------------------------------ time and the end

  #tick(): void {
    const { nowMs, settings } = this.context;
    for (const [stream, stranger] of this.#strangers) {
      if (nowMs - stranger.openedAtMs < HELLO_TIMEOUT_MS) continue;
      this.#close(stranger.kind, stream, refusal(`a connection that said nothing for ${HELLO_TIMEOUT_MS / 1000} s`));
    }
    this.#excuseStall();
    for (const node of this.nodes.silent()) this.#lifecycle.nodeLost(node, `no heartbeat for ${settings.nodeTimeoutMs / 1000} s`);
    this.peerNews.tick();
    this.leases.tick();
    this.actors.tick();
    this.groups.tick();
    this.keyValues.tick();
    this.#lifecycle.tick();
    this.#queries.tick();
    this.demands.tick();
    this.claims.tick();
    this.#reservations.tick();
    this.#fairness.tick();
    this.#turns.tick();
    this.#preemptions.tick();
    if (this.#stopping === null || this.#hasStopped || (this.nodes.byId.size > 0 && nowMs < this.#stopping.untilMs)) return;
    this.#hasStopped = true;
    this.context.stop(this.#stopping.reason);
  }

  /** A head that was stopped or starved itself has not heard anybody: that is nobody's silence. */
  #excuseStall(): void {
    const { nowMs } = this.context;
    const awayMs = nowMs - this.#lastTickMs - TICK_MS;
    this.#lastTickMs = nowMs;
    if (awayMs < STALL_MIN_MS) return;
    this.context.log('warn', 'head-stalled', { awayMs });
    this.nodes.excuse(awayMs);
  }

  #stopCluster(reason: string): void {
    if (this.#stopping !== null) return;
    this.#stopping = { reason, untilMs: this.context.nowMs + STOP_TIMEOUT_MS };
    this.context.log('info', 'cluster-stopping', { reason });
    for (const process of this.processes.byId.values()) if (process.kind === 'driver') this.processes.send(process, { type: 'jobEnded', reason });
    this.nodes.broadcast({ type: 'shutdown', reason });
  }
}

const isSameEndpoint = (a: Endpoint | null, b: Endpoint | null): boolean =>
  a !== null && b !== null && a.nodeId === b.nodeId && a.unixPath === b.unixPath && a.host === b.host && a.port === b.port;

const isStopping = (): MusterError => makeError('NOT_CONNECTED', { cause: 'was refused: the cluster is stopping' });

/** @throws MusterError PROTOCOL for an unknown kind */
const readCause = (cause: Death | null): DeathCause => (cause === null ? { kind: 'killed', reason: 'its daemon gave no cause' } : deathFromMessage(cause));
