/**
 * The actors: their creation, names, restarts and deaths. An actor is a demand for one lease; here it is decided what runs on
 * that lease and what its loss means.
 */
import { assert, formatSizeBytes, makeError, MusterError, type ActorId, type DeathCause } from '@muster/base';
import { failureToMessage, NO_PLACEMENT, type ActorStarted, type ActorStartFailed, type CreateActor, type GangMember, type GetActor, type KillActor, type Resources } from '@muster/protocol';
import { namesNodes } from '@muster/scheduler';
import { actorState, hasRestartsLeft, NO_BYTES, NO_VALUE, recordIncarnation, unknownActorState, type Actor } from './actor.js';
import { backoffMs } from './backoff.js';
import type { HeadContext } from './context.js';
import { deathLine } from './death.js';
import type { Demands, DemandSpec, DemandStatus } from './demands.js';
import { History } from './history.js';
import type { Jobs } from './jobs.js';
import type { Lease, Leases } from './leases.js';
import {
  ACTOR_CREATION_MAX_BYTES, ACTOR_SETTLED_MS, ACTOR_START_ATTEMPTS_MAX, ACTOR_WORKER_TIMEOUT_MS, ACTORS_DEAD_KEPT_MAX, ACTORS_MAX,
  CREATION_ERROR_KEPT_MAX_BYTES, INTERFACES_KEPT_MAX, NAME_MAX_CHARS, WATCHES_PER_PROCESS_MAX,
} from './limits.js';
import type { Pool } from './pool.js';
import type { Process, Processes } from './processes.js';
import { readDemand, readName, refusal } from './requests.js';
import { SmallSet } from './small-set.js';

/** The parts of the machine that actors stand on. */
interface Foundations {
  readonly context: HeadContext;
  readonly demands: Demands;
  readonly leases: Leases;
  readonly processes: Processes;
  readonly jobs: Jobs;
  /** Where leases in a placement group are placed; of the empty id, on the nodes. */
  readonly poolOf: (groupId: string) => Pool;
  readonly members: () => MemberRules;
}

/** Decides for members of gangs what is decided for all other actors here. */
export interface MemberRules {
  /** Its worker is there; it calls {@link Actors.begin}. */
  ready(member: Actor): void;
  /** Its worker was lost before it began; another one follows. */
  notReady(member: Actor): void;
  /** Its constructor has run. */
  alive(member: Actor): void;
  /** An incarnation that had begun is over. */
  lost(member: Actor, cause: DeathCause): void;
  /** It must end for good. */
  ended(member: Actor, cause: DeathCause, creationError: Uint8Array): void;
}

/** What {@link Actors.create} and a gang ask for. */
type ActorSpec = Pick<CreateActor, 'actorId' | 'name' | 'className' | 'maxRestarts' | 'maxConcurrency' | 'maxPendingCalls' | 'interface' | 'creation'>;

/** How often leases of one kind of actor are on each node, for spreading. Shared by all actors of a class and job. */
interface Spread {
  readonly leasesByNode: Map<string, number>;
  users: number;
}

/** All actors: the live ones, their names, and those that died lately. */
export class Actors {
  readonly live = new Map<string, Actor>();
  readonly dead = new History<Actor>(ACTORS_DEAD_KEPT_MAX);
  readonly #parts: Foundations;
  readonly #detachedDied: (actor: Actor) => void;
  readonly #names = new Map<string, Actor>();
  /** By class, the last that was told. */
  readonly #interfaces = new History<Uint8Array>(INTERFACES_KEPT_MAX);
  readonly #spreads = new Map<string, Spread>();
  /** Those whose worker exists but has not connected to the head. */
  readonly #awaitingWorker = new Set<Actor>();

  /** `detachedDied` ends the job of a detached actor. */
  constructor(parts: Foundations, detachedDied: (actor: Actor) => void) {
    this.#parts = parts;
    this.#detachedDied = detachedDied;
  }

  find(actorId: string): Actor | undefined {
    return this.live.get(actorId) ?? this.dead.get(actorId);
  }

  /** The living one of that name. */
  named(name: string): Actor | undefined {
    return this.#names.get(name);
  }

  names(): Iterable<string> {
    return this.#names.keys();
  }

  /** Repeatable: a second request with the same actor id has the same answer. */
  create(creator: Process, message: CreateActor): void {
    const known = this.find(message.actorId);
    const holder = message.name === '' ? undefined : this.#names.get(message.name);
    if (known !== undefined && known.ownerId === creator.id) return this.#accept(creator, message.requestId, known);
    if (known === undefined && holder !== undefined && message.getIfExists) return this.#accept(creator, message.requestId, holder);
    let made: Actor;
    try {
      if (known !== undefined) throw makeError('INVALID_ARGUMENT', { what: `the actor id ${message.actorId}`, want: 'new: another process has used it' });
      if (holder !== undefined) throw makeError('ACTOR_NAME_TAKEN', { actorName: message.name });
      made = this.#make(creator, message);
    } catch (error) {
      if (!(error instanceof MusterError)) throw error;
      return this.#reply(creator, message.requestId, '', error);
    }
    this.#accept(creator, message.requestId, made);
  }

  get(asker: Process, message: GetActor): void {
    const actor = this.#names.get(message.name);
    if (actor !== undefined) this.#accept(asker, message.requestId, actor);
    else this.#reply(asker, message.requestId, '', makeError('ACTOR_NOT_FOUND', { actorName: message.name }));
  }

  /** Sends the state now and at each change. */
  watch(watcher: Process, actorId: string): void {
    const actor = this.find(actorId);
    if (actor !== undefined && actor.state !== 'dead') {
      if (watcher.watchedActors.size >= WATCHES_PER_PROCESS_MAX) throw refusal(`${watcher.id} watches more than ${WATCHES_PER_PROCESS_MAX} actors`);
      actor.watchers.add(watcher);
      watcher.watchedActors.add(actor);
    }
    this.#parts.processes.send(watcher, actor === undefined ? unknownActorState(actorId) : actorState(actor));
  }

  kill(message: KillActor): void {
    const actor = this.live.get(message.actorId);
    if (actor === undefined || (message.incarnation !== 0 && message.incarnation !== actor.incarnation)) return;
    const cause: DeathCause = { kind: 'killed', reason: message.reason || 'kill() was called' };
    if (message.noRestart) return this.#end(actor, cause);
    this.#endLease(actor, cause);
    this.#restartOrDie(actor, cause);
  }

  /** Its non-detached actors do not outlive a process. */
  ownerGone(owner: Process, reason: string): void {
    for (const actor of [...owner.actors]) this.die(actor, { kind: 'killed', reason });
  }

  leaseStarted(lease: Lease): void {
    const actor = this.#ofLease(lease);
    actor.lease = lease;
    this.#awaitingWorker.add(actor);
    const worker = this.#parts.processes.byId.get(lease.workerId);
    if (worker !== undefined) this.workerConnected(worker);
  }

  leaseLost(lease: Lease, cause: DeathCause): void {
    const actor = this.#ofLease(lease);
    if (lease.workerId !== '') recordIncarnation(actor, lease, cause);
    const { hasBegun } = actor;
    actor.lease = null;
    if (hasBegun) this.#restartOrDie(actor, cause);
    else this.#startAgainOrDie(actor, cause);
  }

  /** A worker's own stream is there. If it was leased for an actor, it is told to make it. */
  workerConnected(worker: Process): void {
    const lease = this.#parts.leases.ofWorker(worker.id);
    if (lease === undefined || lease.state !== 'running' || lease.demand.actorId === '') return;
    const actor = this.live.get(lease.demand.actorId);
    if (actor === undefined || actor.lease !== lease || actor.hasBegun) return;
    this.#awaitingWorker.delete(actor);
    if (actor.gangId === '') this.begin(actor, null, NO_BYTES);
    else this.#parts.members().ready(actor);
  }

  /** Tells the actor's worker, which is there, to run the constructor. `state`: see GangCheckpoint. */
  begin(actor: Actor, gang: GangMember | null, state: Uint8Array): void {
    actor.hasBegun = true;
    actor.reasons = '';
    this.#become(actor, 'starting');
    this.#parts.processes.send(this.#parts.processes.byId.get(actor.lease!.workerId)!, {
      type: 'startActor', actorId: actor.id, incarnation: actor.incarnation, creation: actor.creation, maxConcurrency: actor.maxConcurrency,
      name: actor.name, className: actor.className, gang, state,
    });
  }

  started(worker: Process, message: ActorStarted): void {
    const actor = this.#ofWorker(worker, message);
    if (actor === null || actor.state !== 'starting') return;
    actor.aliveSinceMs = this.#parts.context.nowMs;
    actor.startAttempts = 0;
    this.#become(actor, 'alive');
    if (actor.gangId !== '') this.#parts.members().alive(actor);
  }

  startFailed(worker: Process, message: ActorStartFailed): void {
    const actor = this.#ofWorker(worker, message);
    if (actor !== null && actor.state === 'starting') this.#end(actor, { kind: 'start-failed', detail: 'its constructor threw' }, message.error);
  }

  /** Tells watchers why the actor waits. One that only a dead node or the bundles of a group that is gone could hold never will run. */
  status(actorId: string, status: DemandStatus): void {
    const actor = this.live.get(actorId)!;
    if (status.isInfeasible && (actor.demand.pool.groupId !== '' || namesNodes(actor.demand.request))) {
      return this.die(actor, { kind: 'start-failed', detail: `it can never be placed: ${status.reasons}` });
    }
    actor.reasons = status.reasons;
    this.#publish(actor);
  }

  /** The actor is dead for good. Its name is free and its worker ends. */
  die(actor: Actor, cause: DeathCause, creationError: Uint8Array = NO_BYTES): void {
    const { demands, context } = this.#parts;
    actor.cause = cause;
    actor.creationError = creationError;
    actor.reasons = '';
    actor.endedAtMs = context.nowMs;
    this.#endLease(actor, cause);
    demands.want(actor.demand, 0);
    this.#become(actor, 'dead');
    actor.creation = NO_BYTES;
    if (creationError.length > CREATION_ERROR_KEPT_MAX_BYTES) actor.creationError = NO_BYTES;
    this.#forget(actor);
    if (actor.isDetached) this.#detachedDied(actor);
  }

  /** A member of a gang, in the bundle of its rank. It wants no worker before {@link want} is called, and does not end with its owner by itself. */
  addMember(creator: Process, spec: ActorSpec, { gangId, rank, groupId, resources }: { gangId: string; rank: number; groupId: string; resources: Resources | null }): Actor {
    const { demands, jobs, poolOf } = this.#parts;
    const { request } = readDemand({ resources, placement: { ...NO_PLACEMENT, groupId, bundle: rank + 1 }, waitForNodes: false, expectedDurationMs: 0 });
    const { queue, priority } = jobs.running.get(creator.jobId)!;
    const demand = demands.create({
      demandId: 0, actorId: spec.actorId, ownerId: creator.id, jobId: creator.jobId, queue, priority, preferredNodeIds: [], waitsForNodes: true, pool: poolOf(groupId), request,
      capturesChildren: false, expectedDurationMs: null, leasesByNode: null, name: `${readName(spec.className)} ${rank}`,
    });
    return this.#add(creator, spec, { jobId: creator.jobId, isDetached: false, demand, gangId, rank, spreadKey: '', reasons: '' });
  }

  /** The member's bundle is there. */
  want(member: Actor): void {
    this.#parts.demands.want(member.demand, 1);
  }

  /** Another incarnation follows the one that has begun, which ends if it has not ended yet. */
  restart(actor: Actor, cause: DeathCause): void {
    this.#endLease(actor, cause);
    if (cause.kind === 'preempted') actor.preemptions++;
    else actor.restarts++;
    actor.incarnation++;
    actor.startAttempts = 0;
    actor.aliveSinceMs = null;
    actor.hasBegun = false;
    actor.cause = cause;
    this.#become(actor, 'restarting');
  }

  /** An actor that keeps dying must not keep the cluster busy. */
  delay(actor: Actor, delayMs: number): void {
    this.#parts.demands.delay(actor.demand, delayMs, 'its last incarnation died soon after its start');
  }

  /** Gives up on workers that do not connect. */
  tick(): void {
    const { nowMs } = this.#parts.context;
    for (const actor of this.#awaitingWorker) {
      if (nowMs - actor.lease!.runningSinceMs! < ACTOR_WORKER_TIMEOUT_MS) continue;
      const cause: DeathCause = { kind: 'start-failed', detail: `its worker did not connect to the head within ${ACTOR_WORKER_TIMEOUT_MS / 1000} s` };
      this.#endLease(actor, cause);
      this.#startAgainOrDie(actor, cause);
    }
  }

  /** @throws MusterError for a request that cannot be met */
  #make(creator: Process, message: CreateActor): Actor {
    const { demands, jobs, poolOf } = this.#parts;
    const job = jobs.running.get(creator.jobId);
    if (job === undefined || creator.isLeaving) throw makeError('NOT_CONNECTED', { cause: 'has ended: its job is over' });
    const { queue, priority } = job;
    checkCreation(message);
    const { request, isSpread, waitsForNodes, groupId, capturesChildren, expectedDurationMs } = readDemand(message.demand);
    const what = `the actor ${message.name || message.className}`;
    const pool = poolOf(groupId);
    const reasons = this.#waitReasons(what, { pool, queue, request, waitsForNodes });
    const className = readName(message.className);
    const spreadKey = isSpread ? `${creator.jobId}/${className}` : '';
    const ownJob = { kind: 'actor', entrypoint: what, actorId: message.actorId, parentJobId: job.id, queue, priority } as const;
    const jobId = message.detached ? jobs.create(ownJob, null).id : job.id;
    const demand = demands.create({
      demandId: 0, actorId: message.actorId, ownerId: creator.id, jobId, queue, priority, preferredNodeIds: [creator.nodeId], waitsForNodes,
      pool, request, capturesChildren, expectedDurationMs, leasesByNode: isSpread ? this.#joinSpread(spreadKey) : null, name: message.name || className,
    });
    const actor = this.#add(creator, message, { jobId, isDetached: message.detached, demand, gangId: '', rank: 0, spreadKey, reasons });
    if (actor.name !== '') this.#names.set(actor.name, actor);
    if (!actor.isDetached) creator.actors.add(actor);
    demands.want(demand, 1);
    return actor;
  }

  #add(creator: Process, spec: ActorSpec, rest: Pick<Actor, 'jobId' | 'isDetached' | 'demand' | 'gangId' | 'rank' | 'spreadKey' | 'reasons'>): Actor {
    const actor: Actor = {
      ...rest, id: spec.actorId as ActorId, name: spec.name, className: readName(spec.className), ownerId: creator.id, maxRestarts: spec.maxRestarts,
      maxConcurrency: spec.maxConcurrency, maxPendingCalls: spec.maxPendingCalls, interface: this.#sharedInterface(spec.className, spec.interface),
      creation: ownBytes(spec.creation),
      createdAtMs: this.#parts.context.nowMs, state: 'pending', incarnation: 1, restarts: 0, preemptions: 0, startAttempts: 0, shortLives: 0, aliveSinceMs: null,
      endedAtMs: null, lease: null, hasBegun: false, cause: null, creationError: NO_BYTES, past: [], watchers: new SmallSet(),
    };
    this.live.set(actor.id, actor);
    return actor;
  }

  /** Actors of one class have one between them. */
  #sharedInterface(className: string, bytes: Uint8Array): Uint8Array {
    const known = this.#interfaces.get(className);
    if (known !== undefined && known.length === bytes.length && known.every((byte, index) => byte === bytes[index])) return known;
    const own = ownBytes(bytes);
    this.#interfaces.add(className, own);
    return own;
  }

  /** Why the actor cannot be placed at once; empty when it can. @throws MusterError UNSCHEDULABLE when it never can */
  #waitReasons(what: string, wanted: Pick<DemandSpec, 'pool' | 'queue' | 'request' | 'waitsForNodes'>): string {
    if (this.live.size >= ACTORS_MAX) throw makeError('UNSCHEDULABLE', { what, reasons: `the cluster has ${ACTORS_MAX} actors, the most it may` });
    const status = this.#parts.demands.outlook(wanted);
    if (status?.isInfeasible === true) throw makeError('UNSCHEDULABLE', { what, reasons: status.reasons });
    return status?.reasons ?? '';
  }

  #accept(asker: Process, requestId: number, actor: Actor): void {
    this.#reply(asker, requestId, actor.id, null);
    this.watch(asker, actor.id);
  }

  #reply(asker: Process, requestId: number, actorId: string, failure: MusterError | null): void {
    this.#parts.processes.send(asker, { type: 'requestReply', requestId, actorId, failure: failure === null ? null : failureToMessage(failure), ...NO_VALUE });
  }

  /** The incarnation had begun, and its lease is gone. */
  #restartOrDie(actor: Actor, cause: DeathCause): void {
    if (actor.gangId !== '') return this.#parts.members().lost(actor, cause);
    const isPreempted = cause.kind === 'preempted'; // which is not its fault
    if (!isPreempted && !hasRestartsLeft(actor)) return this.die(actor, cause);
    const wasShort = !isPreempted && (actor.aliveSinceMs === null || this.#parts.context.nowMs - actor.aliveSinceMs < ACTOR_SETTLED_MS);
    actor.shortLives = wasShort ? actor.shortLives + 1 : 0;
    this.restart(actor, cause);
    if (actor.shortLives > 1) this.delay(actor, backoffMs(actor.shortLives - 1)); // the first restart is at once
  }

  #end(actor: Actor, cause: DeathCause, creationError: Uint8Array = NO_BYTES): void {
    if (actor.gangId === '') this.die(actor, cause, creationError);
    else this.#parts.members().ended(actor, cause, creationError);
  }

  /** No code of the user's had run: trying again is free, but not for ever. */
  #startAgainOrDie(actor: Actor, cause: DeathCause): void {
    this.#awaitingWorker.delete(actor);
    if (actor.gangId !== '') this.#parts.members().notReady(actor);
    if (cause.kind === 'node-lost' || cause.kind === 'preempted') return;
    if (++actor.startAttempts >= ACTOR_START_ATTEMPTS_MAX) return this.#restartOrDie(actor, cause);
    this.#parts.demands.startFailed(actor.demand, 'its last worker was lost before its constructor began');
  }

  #endLease(actor: Actor, cause: DeathCause): void {
    this.#awaitingWorker.delete(actor);
    for (const lease of [...actor.demand.leases]) {
      if (lease.workerId !== '') recordIncarnation(actor, lease, cause);
      this.#parts.leases.end(lease, { kill: true, reason: `its actor ${deathLine(cause)}`, tell: false });
    }
    actor.lease = null;
  }

  #become(actor: Actor, state: Actor['state']): void {
    actor.state = state;
    this.#publish(actor);
  }

  #publish(actor: Actor): void {
    if (actor.watchers.size === 0) return;
    const message = actorState(actor);
    for (const watcher of actor.watchers) this.#parts.processes.send(watcher, message);
  }

  #forget(actor: Actor): void {
    for (const watcher of actor.watchers) watcher.watchedActors.delete(actor);
    actor.watchers.clear();
    this.live.delete(actor.id);
    this.dead.add(actor.id, actor);
    if (actor.name !== '') this.#names.delete(actor.name);
    const spread = this.#spreads.get(actor.spreadKey);
    if (spread !== undefined && --spread.users === 0) this.#spreads.delete(actor.spreadKey);
    this.#parts.processes.byId.get(actor.ownerId)?.actors.delete(actor);
  }

  #joinSpread(key: string): Map<string, number> {
    const spread = this.#spreads.get(key) ?? { leasesByNode: new Map(), users: 0 };
    this.#spreads.set(key, spread);
    spread.users++;
    return spread.leasesByNode;
  }

  #ofLease(lease: Lease): Actor {
    const actor = this.live.get(lease.demand.actorId);
    assert(actor !== undefined, `${lease.id} is held for ${lease.demand.actorId}, which is dead`);
    return actor;
  }

  /** The actor that a worker speaks of, if it is the worker of the incarnation it means. */
  #ofWorker(worker: Process, message: { readonly actorId: string; readonly incarnation: number }): Actor | null {
    const actor = this.live.get(message.actorId);
    return actor?.lease?.workerId === worker.id && actor.incarnation === message.incarnation ? actor : null;
  }
}

/** The bytes by themselves: those of a message lie in a buffer with much else, all of which they would keep. */
const ownBytes = (bytes: Uint8Array): Uint8Array => (bytes.length === 0 ? NO_BYTES : new Uint8Array(bytes));

/** @throws MusterError INVALID_ARGUMENT */
function checkCreation(message: CreateActor): void {
  const check = (isValid: boolean, what: string, want: string): void => {
    if (!isValid) throw makeError('INVALID_ARGUMENT', { what, want });
  };
  check(/^actor-\S+$/.test(message.actorId), `the actor id '${message.actorId}'`, 'actor- and a unique name');
  const { maxRestarts } = message;
  check(Number.isSafeInteger(maxRestarts) && maxRestarts >= -1, `maxRestarts: ${maxRestarts}`, '-1 or a whole number of 0 or more');
  check(message.name.length <= NAME_MAX_CHARS, 'the name of an actor', `of at most ${NAME_MAX_CHARS} characters`);
  const size = formatSizeBytes(message.creation.length);
  const limit = formatSizeBytes(ACTOR_CREATION_MAX_BYTES);
  check(message.creation.length <= ACTOR_CREATION_MAX_BYTES, `a class with arguments of ${size}`, `of at most ${limit}; put() large arguments`);
}
