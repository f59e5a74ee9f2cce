/** One gang, as the head keeps it and as its watchers see it. */
import type { DeathCause, GangId, MusterError } from '@muster/base';
import { deathToMessage, failureToMessage, type GangMember, type HeadToClient } from '@muster/protocol';
import type { Actor } from './actor.js';
import type { Group } from './group.js';
import type { Process } from './processes.js';

/**
 *   pending ──all workers there──> starting ──all constructors ran──> alive
 *                                     │                                │ ^
 *                                     └──> restarting <──member died───┘ │
 *                                              └──all constructors ran───┘
 *   dead <──constructor threw, killed, owner died, member died and nothing may start anew
 */
export type GangStateName = 'pending' | 'starting' | 'alive' | 'restarting' | 'dead';

/** What the death of a member means. */
export const FAILURE_POLICIES = ['fail', 'restart-all', 'restart-member'] as const;
/** One of {@link FAILURE_POLICIES}. */
export type FailurePolicy = (typeof FAILURE_POLICIES)[number];

/** Actors in the bundles of one placement group. */
export interface Gang {
  readonly id: GangId;
  readonly name: string;
  readonly className: string;
  readonly ownerId: string;
  readonly jobId: string;
  readonly group: Group;
  /** By rank, which is also the number of the bundle. */
  readonly members: readonly Actor[];
  /** Where their bundles are, or were before they were lost; empty until the group is there. */
  nodeIds: readonly string[];
  readonly onFailure: FailurePolicy;
  /** Of the whole gang, or of each member; -1: always. */
  readonly maxRestarts: number;
  readonly createdAtMs: number;
  state: GangStateName;
  /** Counts the starts of the whole gang, from 1. */
  incarnation: number;
  restarts: number;
  /** Lives in a row that were short. */
  shortLives: number;
  aliveSinceMs: number | null;
  endedAtMs: number | null;
  /** Members whose workers wait for those of the others; cleared when all begin. */
  readonly ready: Set<Actor>;
  /** All members of this incarnation have been told to run their constructors. */
  hasBegun: boolean;
  /** Of the last checkpoint, by rank; empty: there was none. */
  states: readonly Uint8Array[];
  cause: DeathCause | null;
  creationError: Uint8Array;
  /** Why it can never be placed. */
  failure: MusterError | null;
  /** Why it waits. */
  reasons: string;
  readonly watchers: Set<Process>;
}

/** What watchers are told. */
export function gangState(gang: Gang): HeadToClient {
  const { cause, failure } = gang;
  return {
    type: 'gangState', gangId: gang.id, state: gang.state, incarnation: gang.incarnation, reasons: gang.reasons,
    cause: cause !== null && (gang.state === 'dead' || gang.state === 'restarting') ? deathToMessage(cause) : null, creationError: gang.creationError,
    restartsTogether: gang.onFailure === 'restart-all', actorIds: gang.members.map((member) => member.id), failure: failure === null ? null : failureToMessage(failure),
  };
}

/** Each member's place, by rank. */
export function placesOf({ id, nodeIds, incarnation }: Gang): GangMember[] {
  const sizes = new Map<string, number>();
  const localRanks = nodeIds.map((nodeId) => {
    const localRank = sizes.get(nodeId) ?? 0;
    sizes.set(nodeId, localRank + 1);
    return localRank;
  });
  const nodeRanks = new Map([...sizes.keys()].map((nodeId, nodeRank) => [nodeId, nodeRank]));
  return nodeIds.map((nodeId, rank) => ({
    gangId: id, rank, size: nodeIds.length, localRank: localRanks[rank]!, localSize: sizes.get(nodeId)!, nodeRank: nodeRanks.get(nodeId)!, nodeCount: sizes.size, incarnation,
  }));
}
