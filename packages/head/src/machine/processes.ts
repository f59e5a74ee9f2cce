/**
 * The processes that can own references: drivers and workers, each with one stream to the head. The end of the stream is the
 * process's end. Who asked hears of it with its exact cause, for which a worker's daemon is given a moment.
 *
 *   connected ──stream ends──> lost (waits for its cause) ──cause or timeout──> dead
 */
import { makeError, type DeathCause, type MusterError } from '@muster/base';
import { deathToMessage, type ClientHello, type Endpoint, type HeadToClient } from '@muster/protocol';
import type { Actor } from './actor.js';
import type { HeadContext } from './context.js';
import type { Demand } from './demands.js';
import type { Gang } from './gang.js';
import type { Group } from './group.js';
import { History } from './history.js';
import { DEATH_CAUSE_WAIT_MS, PROCESSES_DEAD_KEPT_MAX, PROCESSES_MAX, WATCHES_PER_PROCESS_MAX } from './limits.js';
import type { Node } from './nodes.js';
import { readName, refusal } from './requests.js';
import { SmallSet } from './small-set.js';

/** A driver or worker that has said hello. */
export interface Process {
  readonly id: string;
  readonly kind: 'driver' | 'worker';
  /** Empty: on no node of the cluster. */
  readonly nodeId: string;
  readonly pid: number;
  readonly endpoint: Endpoint | null;
  readonly entrypoint: string;
  readonly wantsLogs: boolean;
  readonly connectedAtMs: number;
  /** Empty for a worker that has not been leased yet. */
  jobId: string;
  /** Null when it is lost. */
  stream: number | null;
  /** A driver that has said goodbye: it asks for nothing more. */
  isLeaving: boolean;
  /** By the process's number for each; null until it has asked for something, which most workers never do. */
  demands: Map<number, Demand> | null;
  /** Those that die with it. */
  readonly actors: SmallSet<Actor>;
  readonly gangs: SmallSet<Gang>;
  readonly groups: SmallSet<Group>;
  readonly watchers: SmallSet<Process>;
  readonly watchedProcesses: SmallSet<Process>;
  readonly watchedActors: SmallSet<Actor>;
  readonly watchedGangs: SmallSet<Gang>;
  readonly watchedGroups: SmallSet<Group>;
}

/** What is remembered of a process. */
export interface DeadProcess {
  readonly id: string;
  readonly kind: 'driver' | 'worker';
  readonly nodeId: string;
  readonly jobId: string;
  readonly cause: DeathCause;
  readonly diedAtMs: number;
}

/** All connected processes, and those that died lately. */
export class Processes {
  readonly byId = new Map<string, Process>();
  readonly dead = new History<DeadProcess>(PROCESSES_DEAD_KEPT_MAX);
  readonly #context: HeadContext;
  readonly #byStream = new Map<number, Process>();
  /** Lost ones and when their cause is waited for no longer. */
  readonly #lost = new Map<Process, number>();

  constructor(context: HeadContext) {
    this.#context = context;
  }

  ofStream(stream: number): Process | undefined {
    return this.#byStream.get(stream);
  }

  /** The process whose objects and tasks carry this key in their ids. */
  ofOwnerKey(key: string): Process | undefined {
    return this.byId.get(`driver-${key}`) ?? this.byId.get(`worker-${key}`);
  }

  /** The same of those that died lately. */
  deadOfOwnerKey(key: string): DeadProcess | undefined {
    return this.dead.get(`driver-${key}`) ?? this.dead.get(`worker-${key}`);
  }

  /** Whether a worker with this id must not be used any more. */
  isGone(processId: string): boolean {
    return this.dead.has(processId) || this.byId.get(processId)?.stream === null;
  }

  /** Why this process may not join, or null. */
  helloFailure(hello: ClientHello): MusterError | null {
    const id = hello.processId;
    const kind = hello.isDriver ? 'driver' : 'worker';
    if (!new RegExp(`^${kind}-[^-\\s]+$`).test(id)) return makeError('INVALID_ARGUMENT', { what: `the process id '${id}'`, want: `${kind}- and a unique key` });
    if (this.byId.has(id) || this.dead.has(id)) return makeError('INVALID_ARGUMENT', { what: `the process id ${id}`, want: 'new: it has been used' });
    if (this.byId.size < PROCESSES_MAX) return null;
    return makeError('UNSCHEDULABLE', { what: id, reasons: `the cluster has ${PROCESSES_MAX} processes, the most it may` });
  }

  /** It has no job yet. */
  add(stream: number, hello: ClientHello): Process {
    const process: Process = {
      id: hello.processId, kind: hello.isDriver ? 'driver' : 'worker', nodeId: hello.nodeId, pid: hello.pid, endpoint: hello.endpoint,
      entrypoint: readName(hello.entrypoint), wantsLogs: hello.wantLogs, connectedAtMs: this.#context.nowMs, jobId: '', stream, isLeaving: false,
      demands: null, actors: new SmallSet(), gangs: new SmallSet(), groups: new SmallSet(), watchers: new SmallSet(), watchedProcesses: new SmallSet(),
      watchedActors: new SmallSet(), watchedGangs: new SmallSet(), watchedGroups: new SmallSet(),
    };
    this.byId.set(process.id, process);
    this.#byStream.set(stream, process);
    return process;
  }

  send(process: Process, message: HeadToClient): void {
    if (process.stream !== null) this.#context.sendToClient(process.stream, message);
  }

  broadcast(message: HeadToClient): void {
    for (const process of this.byId.values()) this.send(process, message);
  }

  /** Tells `watcher` when that process is dead, at once if it is not alive. */
  watch(watcher: Process, processId: string): void {
    const target = this.byId.get(processId);
    if (target === undefined) {
      const cause = this.dead.get(processId)?.cause ?? { kind: 'killed', reason: 'it is not known to the head' };
      return this.send(watcher, { type: 'processDied', processId, cause: deathToMessage(cause) });
    }
    if (watcher.watchedProcesses.size >= WATCHES_PER_PROCESS_MAX) throw refusal(`${watcher.id} watches more than ${WATCHES_PER_PROCESS_MAX} processes`);
    target.watchers.add(watcher);
    watcher.watchedProcesses.add(target);
  }

  /** The process is no longer connected and hears no more. Call `bury` as soon as its cause is known. */
  lose(process: Process): void {
    if (process.stream !== null) this.#byStream.delete(process.stream);
    process.stream = null;
    for (const target of process.watchedProcesses) target.watchers.delete(process);
    process.watchedProcesses.clear();
    for (const actor of process.watchedActors) actor.watchers.delete(process);
    process.watchedActors.clear();
    for (const gang of process.watchedGangs) gang.watchers.delete(process);
    process.watchedGangs.clear();
    for (const group of process.watchedGroups) group.watchers.delete(process);
    process.watchedGroups.clear();
    this.#lost.set(process, this.#context.nowMs + DEATH_CAUSE_WAIT_MS);
  }

  /** Publishes a lost process's death. */
  bury(process: Process, cause: DeathCause): void {
    this.#lost.delete(process);
    this.byId.delete(process.id);
    this.recordDeath({ id: process.id, kind: process.kind, nodeId: process.nodeId, jobId: process.jobId, cause, diedAtMs: this.#context.nowMs });
    for (const watcher of process.watchers) {
      watcher.watchedProcesses.delete(process);
      this.send(watcher, { type: 'processDied', processId: process.id, cause: deathToMessage(cause) });
    }
    process.watchers.clear();
  }

  recordDeath(death: DeadProcess): void {
    this.dead.add(death.id, death);
  }

  /** Lost ones whose cause nobody has named in time. As long as a daemon cannot be heard it is waited for: it comes back, or is declared dead, which is the cause then. */
  overdue(nodes: ReadonlyMap<string, Node>): Process[] {
    const { nowMs } = this.#context;
    for (const process of this.#lost.keys()) if (nodes.get(process.nodeId)?.stream === null) this.#lost.set(process, nowMs + DEATH_CAUSE_WAIT_MS);
    return [...this.#lost].filter(([, untilMs]) => untilMs <= nowMs).map(([process]) => process);
  }
}
