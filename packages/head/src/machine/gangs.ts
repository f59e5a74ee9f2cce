/**
 * The gangs: placement groups with an actor in each bundle. Here it is decided when the members begin, which is when all of their workers are there, and
 * what the death of one means for the others. Everything else about a member is an actor's.
 */
import { makeError, MusterError, type DeathCause, type GangId } from '@muster/base';
import { deathToMessage, failureToMessage, type CreateGang, type GangCheckpoint, type HeadToClient } from '@muster/protocol';
import { hasRestartsLeft, NO_BYTES, NO_VALUE, type Actor } from './actor.js';
import type { Actors, MemberRules } from './actors.js';
import { backoffMs } from './backoff.js';
import type { HeadContext } from './context.js';
import { deathLine } from './death.js';
import { FAILURE_POLICIES, gangState, placesOf, type FailurePolicy, type Gang } from './gang.js';
import type { Group } from './group.js';
import type { Groups } from './groups.js';
import { History } from './history.js';
import type { Jobs } from './jobs.js';
import { ACTOR_SETTLED_MS, CREATION_ERROR_KEPT_MAX_BYTES, GANGS_DEAD_KEPT_MAX, WATCHES_PER_PROCESS_MAX } from './limits.js';
import type { Process, Processes } from './processes.js';
import { readName, refusal } from './requests.js';

/** The parts of the machine that gangs stand on. */
interface Foundations {
  readonly context: HeadContext;
  readonly processes: Processes;
  readonly jobs: Jobs;
  readonly groups: Groups;
  readonly actors: Actors;
}

/** All gangs: the live ones, and those that died lately. */
export class Gangs implements MemberRules {
  readonly live = new Map<string, Gang>();
  readonly dead = new History<Gang>(GANGS_DEAD_KEPT_MAX);
  readonly #parts: Foundations;

  constructor(parts: Foundations) {
    this.#parts = parts;
  }

  find(gangId: string): Gang | undefined {
    return this.live.get(gangId) ?? this.dead.get(gangId);
  }

  /** Repeatable: a second request with the same id has the same answer. */
  create(creator: Process, message: CreateGang): void {
    let failure: MusterError | null = null;
    let gang = this.find(message.gangId);
    try {
      if (gang !== undefined && gang.ownerId !== creator.id) throw makeError('INVALID_ARGUMENT', { what: `the gang id ${message.gangId}`, want: 'new: another process has used it' });
      gang ??= this.#make(creator, message);
    } catch (error) {
      if (!(error instanceof MusterError)) throw error;
      failure = error;
    }
    this.#parts.processes.send(creator, { type: 'requestReply', requestId: message.requestId, actorId: '', failure: failure === null ? null : failureToMessage(failure), ...NO_VALUE });
    if (failure === null) this.watch(creator, message.gangId);
  }

  /** Sends the state of the gang and of its members now and at each change. */
  watch(watcher: Process, gangId: string): void {
    const gang = this.find(gangId);
    if (gang === undefined) return this.#parts.processes.send(watcher, unknownGangState(gangId));
    if (gang.state !== 'dead') {
      if (watcher.watchedGangs.size >= WATCHES_PER_PROCESS_MAX) throw refusal(`${watcher.id} watches more than ${WATCHES_PER_PROCESS_MAX} gangs`);
      gang.watchers.add(watcher);
      watcher.watchedGangs.add(gang);
    }
    for (const member of gang.members) this.#parts.actors.watch(watcher, member.id);
    this.#parts.processes.send(watcher, gangState(gang));
  }

  /** Why its members have not all been placed; empty when they have. */
  waitsFor({ group, state }: Gang): string {
    return state === 'pending' || state === 'restarting' ? (this.#parts.groups.waitsFor(group)?.reasons ?? '') : '';
  }

  kill(gangId: string, reason: string): void {
    const gang = this.live.get(gangId);
    if (gang !== undefined) this.#die(gang, { kind: 'killed', reason: reason || 'kill() was called' }, null);
  }

  /** The members' states for their next start. Of a gang that is dead or has another size they are of no use. */
  checkpoint({ gangId, members }: GangCheckpoint): void {
    const gang = this.live.get(gangId);
    if (gang?.members.length === members.length) gang.states = members.map(({ state }) => state);
  }

  /** Gangs do not outlive the process that made them. */
  ownerGone(owner: Process, reason: string): void {
    for (const gang of [...owner.gangs]) this.#die(gang, { kind: 'killed', reason }, null);
  }

  // ------------------------------------------------------------------ what members come to

  ready(member: Actor): void {
    const gang = this.#of(member);
    if (gang.hasBegun) return this.#begin(gang, [member]);
    gang.ready.add(member);
    if (gang.ready.size < gang.members.length) return;
    // A worker whose stream has just ended comes to its end here in a moment, and is replaced.
    if (!gang.members.every((each) => this.#parts.processes.byId.get(each.lease!.workerId)?.stream != null)) return;
    gang.hasBegun = true;
    gang.ready.clear();
    if (gang.state === 'pending') this.#become(gang, 'starting');
    this.#begin(gang, gang.members);
  }

  notReady(member: Actor): void {
    this.#of(member).ready.delete(member);
  }

  alive(member: Actor): void {
    const gang = this.#of(member);
    if (gang.state === 'alive' || gang.members.some((each) => each.state !== 'alive')) return;
    gang.aliveSinceMs = this.#parts.context.nowMs;
    this.#become(gang, 'alive');
  }

  lost(member: Actor, cause: DeathCause): void {
    const gang = this.#of(member);
    const isPreempted = cause.kind === 'preempted'; // all of it, which is nobody's fault
    if (gang.onFailure === 'restart-member' && (isPreempted || hasRestartsLeft(member))) return this.#parts.actors.restart(member, cause);
    const hasRestarts = gang.onFailure === 'restart-all' && (gang.maxRestarts === -1 || gang.restarts < gang.maxRestarts);
    if (isPreempted || hasRestarts) this.#restart(gang, member, cause);
    else this.#die(gang, cause, member);
  }

  ended(member: Actor, cause: DeathCause, creationError: Uint8Array): void {
    this.#die(this.#of(member), cause, member, creationError);
  }

  // ------------------------------------------------------------------

  /** @throws MusterError for a request that cannot be met */
  #make(creator: Process, message: CreateGang): Gang {
    const { context, groups, actors, jobs } = this.#parts;
    if (!jobs.running.has(creator.jobId) || creator.isLeaving) throw makeError('NOT_CONNECTED', { cause: 'has ended: its job is over' });
    checkGang(message);
    const className = readName(message.className);
    const name = readName(message.name);
    const group = groups.make(creator, {
      groupId: groupIdOf(message.gangId), name: name || className, bundles: message.actorIds.map(() => message.demand!), strategy: message.strategy,
      topology: message.topology, waitForNodes: message.waitForNodes,
    }, (changed) => this.#groupChanged(message.gangId, changed));
    const members = message.actorIds.map((actorId, rank) =>
      actors.addMember(creator, { ...message, actorId, name: '' }, { gangId: message.gangId, rank, groupId: group.id, resources: message.demand?.resources ?? null }));
    const gang: Gang = {
      id: message.gangId as GangId, name, className, ownerId: creator.id, jobId: creator.jobId, group, members, nodeIds: [], onFailure: message.onFailure as FailurePolicy,
      maxRestarts: message.maxRestarts, createdAtMs: context.nowMs, state: 'pending', incarnation: 1, restarts: 0, shortLives: 0, aliveSinceMs: null,
      endedAtMs: null, ready: new Set(), hasBegun: false, states: [], cause: null, creationError: NO_BYTES, failure: null, reasons: group.reasons,
      watchers: new Set(),
    };
    this.live.set(gang.id, gang);
    creator.gangs.add(gang);
    groups.enqueue(group);
    return gang;
  }

  #groupChanged(gangId: string, group: Group): void {
    const gang = this.live.get(gangId);
    if (gang === undefined) return; // it ends
    gang.reasons = group.reasons;
    if (group.failure !== null) {
      const { code, details } = group.failure;
      gang.failure = makeError(code, { ...details, what: `the gang ${gang.name || gang.className}` });
      return this.#die(gang, { kind: 'start-failed', detail: gang.failure.message }, null);
    }
    if (group.state === 'created') {
      gang.nodeIds = group.bundles.map((bundle) => bundle!.share.node.id);
      for (const member of gang.members) this.#parts.actors.want(member);
    }
    this.#publish(gang);
  }

  #begin(gang: Gang, members: readonly Actor[]): void {
    const places = placesOf(gang);
    for (const member of members) this.#parts.actors.begin(member, places[member.rank]!, gang.states[member.rank] ?? NO_BYTES);
  }

  /** All members end and start anew. The gang's watchers hear of it first: calls made before must not reach a member that is back already. */
  #restart(gang: Gang, member: Actor, cause: DeathCause): void {
    const { context, actors } = this.#parts;
    const isPreempted = cause.kind === 'preempted';
    const wasShort = !isPreempted && (gang.aliveSinceMs === null || context.nowMs - gang.aliveSinceMs < ACTOR_SETTLED_MS);
    gang.shortLives = wasShort ? gang.shortLives + 1 : 0;
    if (!isPreempted) gang.restarts++;
    gang.incarnation++;
    gang.aliveSinceMs = null;
    gang.hasBegun = false;
    gang.ready.clear();
    gang.cause = isPreempted ? cause : causeOf(gang, member, cause);
    this.#become(gang, 'restarting');
    for (const each of gang.members) actors.restart(each, each === member ? cause : gang.cause);
    if (gang.shortLives > 1) for (const each of gang.members) actors.delay(each, backoffMs(gang.shortLives - 1));
  }

  /** The gang is dead for good: its members end, and its bundles are free. */
  #die(gang: Gang, cause: DeathCause, member: Actor | null, creationError: Uint8Array = NO_BYTES): void {
    const { context, actors, groups, processes } = this.#parts;
    gang.cause = member === null ? cause : causeOf(gang, member, cause);
    gang.creationError = creationError;
    gang.reasons = this.waitsFor(gang);
    gang.endedAtMs = context.nowMs;
    gang.ready.clear();
    gang.states = [];
    this.live.delete(gang.id);
    this.dead.add(gang.id, gang);
    for (const each of gang.members) actors.die(each, each === member ? cause : gang.cause, each === member ? creationError : NO_BYTES);
    groups.end(gang.group, `${gang.id} ended`);
    this.#become(gang, 'dead');
    for (const watcher of gang.watchers) watcher.watchedGangs.delete(gang);
    gang.watchers.clear();
    if (creationError.length > CREATION_ERROR_KEPT_MAX_BYTES) gang.creationError = NO_BYTES;
    processes.byId.get(gang.ownerId)?.gangs.delete(gang);
  }

  #become(gang: Gang, state: Gang['state']): void {
    gang.state = state;
    this.#publish(gang);
  }

  #publish(gang: Gang): void {
    if (gang.watchers.size === 0) return;
    const message = gangState(gang);
    for (const watcher of gang.watchers) this.#parts.processes.send(watcher, message);
  }

  #of(member: Actor): Gang {
    return this.live.get(member.gangId)!;
  }
}

/** Why all end because of one. */
const causeOf = (gang: Gang, member: Actor, cause: DeathCause): DeathCause => ({ kind: 'killed', reason: `rank ${member.rank} of ${gang.id} ${deathLine(cause)}` });

/** The group in whose bundles its members run. */
const groupIdOf = (gangId: string): string => gangId.replace(/^gang-/, 'pg-');

/** What is told of a gang that nobody remembers. */
function unknownGangState(gangId: string): HeadToClient {
  return {
    type: 'gangState', gangId, state: 'dead', incarnation: 0, reasons: '', cause: deathToMessage({ kind: 'killed', reason: 'it is not known to the head' }),
    creationError: NO_BYTES, restartsTogether: false, actorIds: [], failure: null,
  };
}

/** What the group does not check. @throws MusterError INVALID_ARGUMENT */
function checkGang(message: CreateGang): void {
  const check = (isValid: boolean, what: string, want: string): void => {
    if (!isValid) throw makeError('INVALID_ARGUMENT', { what, want });
  };
  check(/^gang-\S+$/.test(message.gangId), `the gang id '${message.gangId}'`, 'gang- and a unique name');
  check((FAILURE_POLICIES as readonly string[]).includes(message.onFailure), `onFailure: '${message.onFailure}'`, `one of ${FAILURE_POLICIES.join(', ')}`);
  check(new Set(message.actorIds).size === message.actorIds.length, 'the ids of a gang\'s members', 'different');
}
