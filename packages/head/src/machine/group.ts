/** One placement group, as the head keeps it and as its watchers see it. */
import type { GroupId, MusterError, ResourceSet } from '@muster/base';
import { failureToMessage, type HeadToClient } from '@muster/protocol';
import type { GroupRequest, Holding } from '@muster/scheduler';
import type { GroupPool } from './group-pool.js';
import type { Node } from './nodes.js';
import type { Process } from './processes.js';
import type { Ranked } from './queues.js';
import type { SmallSet } from './small-set.js';

/**
 *   pending ──a plan──> preparing ──all nodes have prepared──> created ──a node was lost──> repairing
 *      ^                    │                                     ^                             │
 *      └─a node was lost────┘                                     └────all nodes have prepared──┘
 *   any of them ──removed, its owner is gone, infeasible──> removed
 *
 * While it prepares, a group whose lost bundles find no other place gives up the rest, too: only a created one holds some without the others.
 */
export type GroupStateName = 'pending' | 'preparing' | 'created' | 'repairing' | 'removed';

/**
 * What a group has on one node since one epoch: it is prepared, committed and returned together.
 *
 *   preparing ──bundlesPrepared──> prepared ──the group is whole──> committed
 *       └──────────┬──────────────────┴───────────────────────────────┘
 *              returning ──bundlesReturned──> gone          (from anywhere, with its node)
 *
 * Its part of the node is held from the plan until it is gone.
 */
export interface Share {
  readonly group: Group;
  readonly node: Node;
  readonly epoch: number;
  /** By the bundle's index. */
  readonly holdings: ReadonlyMap<number, Holding>;
  /** It is all that the group still needs: the node commits as soon as it has prepared. */
  readonly isLast: boolean;
  state: 'preparing' | 'prepared' | 'committed' | 'returning';
  /** Why it is returned. */
  reason: string;
  /** When the daemon was last asked. */
  sentAtMs: number;
}

/** Where a bundle lies. */
export interface Bundle {
  readonly share: Share;
  readonly holding: Holding;
}

/** A placement group, from its request to its end. */
export interface Group extends Ranked {
  readonly id: GroupId;
  readonly name: string;
  readonly ownerId: string;
  readonly jobId: string;
  readonly request: GroupRequest;
  /** Of all its bundles. */
  readonly total: ResourceSet;
  /** Equal for groups that fit the same nodes. */
  readonly key: string;
  readonly waitsForNodes: boolean;
  /** The order in which groups were asked for. */
  readonly turn: number;
  readonly createdAtMs: number;
  /** Of its life, from its creation on; null: nobody knows. */
  readonly expectedDurationMs: number | null;
  /** Since when it waits for a place. */
  waitingSinceMs: number;
  /** Set: what runs in it was told that others need its room, and why. */
  preemption: string | null;
  state: GroupStateName;
  /** Grows whenever bundles are placed. */
  epoch: number;
  /** By index; null: without a place. */
  readonly bundles: (Bundle | null)[];
  /** Those that are not being returned. */
  readonly shares: Set<Share>;
  /** How many shares are being prepared. */
  preparingCount: number;
  /** Prepares in a row that a node refused. Meanwhile it pauses until `delayedUntilMs`. */
  failures: number;
  delayedUntilMs: number;
  /** Why it waits, as far as it was worked out. */
  reasons: string;
  failure: MusterError | null;
  endedAtMs: number | null;
  /** Null until somebody asks for a lease in it. */
  pool: GroupPool | null;
  readonly watchers: SmallSet<Process>;
  /** Told at each change, before the watchers: the gang that it is for. */
  readonly listener: ((group: Group) => void) | null;
}

/** Whether it has been there as a whole, so that leases may be in what is left of it. */
export const isEstablished = (group: Group): boolean => group.state === 'created' || group.state === 'repairing';

/** What watchers are told. */
export function groupState(group: Group): HeadToClient {
  return {
    type: 'groupState', groupId: group.id, state: group.state, epoch: group.epoch, reasons: group.reasons,
    nodeIds: isEstablished(group) ? group.bundles.map((bundle) => bundle?.share.node.id ?? '') : [],
    failure: group.failure === null ? null : failureToMessage(group.failure),
  };
}

/** What is told of a group that is refused, or that nobody remembers. */
export function refusedGroupState(groupId: string, failure: MusterError): HeadToClient {
  return { type: 'groupState', groupId, state: 'removed', epoch: 0, nodeIds: [], reasons: '', failure: failureToMessage(failure) };
}
