/** One actor, as the head keeps it and as its watchers see it. */
import type { ActorId, DeathCause } from '@muster/base';
import { deathToMessage, type HeadToClient } from '@muster/protocol';
import type { Demand } from './demands.js';
import type { Lease } from './leases.js';
import { INCARNATIONS_KEPT_MAX } from './limits.js';
import type { Process } from './processes.js';
import type { SmallSet } from './small-set.js';

/**
 *   pending ──worker there──> starting ──constructor ran──> alive
 *      ^                         │ │                          │
 *      │    restarting <──died, restarts left────────────────┤
 *      └────────┘                │                            │
 *               dead <──constructor threw, killed, owner died, no restarts left
 *
 * A restarting actor goes through starting again. States carry their incarnation, and what older incarnations say is ignored.
 */
export type ActorStateName = 'pending' | 'starting' | 'alive' | 'restarting' | 'dead';

/** Where an earlier incarnation ran and why it ended. */
export interface PastIncarnation {
  readonly incarnation: number;
  readonly nodeId: string;
  readonly workerId: string;
  readonly cause: DeathCause;
}

/** An actor through all of its incarnations. */
export interface Actor {
  readonly id: ActorId;
  readonly name: string;
  readonly className: string;
  /** The process that created it. */
  readonly ownerId: string;
  /** Of its workers: its owner's job, or a detached actor's own. */
  readonly jobId: string;
  readonly isDetached: boolean;
  readonly demand: Demand;
  /** Of its gang, which decides when it begins and whether it restarts; empty: it is in none. */
  readonly gangId: string;
  /** In its gang. */
  readonly rank: number;
  /** Which actors it is spread among; empty: it is not spread. */
  readonly spreadKey: string;
  /** -1: always. */
  readonly maxRestarts: number;
  readonly maxConcurrency: number;
  readonly maxPendingCalls: number;
  readonly interface: Uint8Array;
  /** Class and arguments; kept while it lives, because a preempted one starts again whatever its restarts. */
  creation: Uint8Array;
  readonly createdAtMs: number;
  state: ActorStateName;
  incarnation: number;
  /** Those that count, and those that followed a preemption. */
  restarts: number;
  preemptions: number;
  /** Workers lost before the constructor began, since the last incarnation. */
  startAttempts: number;
  /** Lives in a row that were short. */
  shortLives: number;
  aliveSinceMs: number | null;
  endedAtMs: number | null;
  lease: Lease | null;
  /** The worker of this incarnation has been told to run the constructor. */
  hasBegun: boolean;
  cause: DeathCause | null;
  creationError: Uint8Array;
  /** Why it waits. */
  reasons: string;
  past: readonly PastIncarnation[];
  readonly watchers: SmallSet<Process>;
}

/** Stands for what is absent or no longer needed. */
export const NO_BYTES = new Uint8Array(0);
/** Of replies to other requests than for a key. */
export const NO_VALUE = { found: false, value: NO_BYTES } as const;

/** Whether another incarnation may follow this one. */
export const hasRestartsLeft = (actor: Actor): boolean => actor.maxRestarts === -1 || actor.restarts < actor.maxRestarts;

/** Remembers where the incarnation that has just ended ran. */
export function recordIncarnation(actor: Actor, lease: Lease, cause: DeathCause): void {
  const past = { incarnation: actor.incarnation, nodeId: lease.node.id, workerId: lease.workerId, cause };
  actor.past = [...actor.past, past].slice(-INCARNATIONS_KEPT_MAX);
}

/** What watchers are told. */
export function actorState(actor: Actor): HeadToClient {
  const isAlive = actor.state === 'alive';
  return {
    type: 'actorState', actorId: actor.id, state: actor.state, incarnation: actor.incarnation,
    endpoint: isAlive ? actor.lease!.endpoint : null, workerId: isAlive ? actor.lease!.workerId : '',
    cause: actor.cause !== null && (actor.state === 'dead' || actor.state === 'restarting') ? deathToMessage(actor.cause) : null,
    creationError: actor.creationError, name: actor.name, className: actor.className, interface: actor.interface,
    maxPendingCalls: actor.maxPendingCalls, reasons: actor.reasons,
  };
}

/** What is told of an actor that nobody remembers. */
export function unknownActorState(actorId: string): HeadToClient {
  return {
    type: 'actorState', actorId, state: 'dead', incarnation: 0, endpoint: null, workerId: '',
    cause: deathToMessage({ kind: 'killed', reason: 'it is not known to the head' }), creationError: NO_BYTES, name: '', className: '',
    interface: NO_BYTES, maxPendingCalls: 0, reasons: '',
  };
}
