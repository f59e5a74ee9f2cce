/** Where leases are placed: on the nodes of the cluster, or in the bundles of one placement group. Both are rows of a scheduler's cluster. */
import type { ResourceSet } from '@muster/base';
import type { BundleRef } from '@muster/protocol';
import type { Cluster, Explanation, Holding, PlacementHints, PlacementRequest } from '@muster/scheduler';
import type { Lease } from './leases.js';
import type { AwaitedNode } from './lost-nodes.js';
import type { Node } from './nodes.js';
import type { Shapes } from './shapes.js';

/** A lease's share of a row. */
export interface Place {
  /** The row's name: a node's id, or a bundle's. */
  readonly row: string;
  /** What is held of the row, which counts its own GPUs from 0. */
  readonly holding: Holding;
  readonly node: Node;
  /** Which of the node's GPUs, counted from 0. */
  readonly gpuIds: readonly number[];
  /** Null: it is in no placement group. */
  readonly bundle: Omit<BundleRef, 'capturesChildren'> | null;
}

/** Rows that leases can have a share of. */
export interface Pool {
  /** The placement group; empty: the cluster's nodes. */
  readonly groupId: string;
  /** The rows, by their names. */
  readonly cluster: Cluster;
  readonly shapes: Shapes;
  /** Those that are placed on its rows. */
  readonly leases: Set<Lease>;
  /** Grows whenever an earlier refusal may no longer hold or may have become final: it is worth another try. */
  readonly revision: number;
  /** A share of the row, which the scheduler has seen to fit. */
  hold(row: string, resources: ResourceSet): Place;
  /** Gives back what {@link hold} gave, less what is lent. Of a row that is gone nothing is left to give. */
  release(place: Place, resources: ResourceSet): void;
  /** A blocked worker's share: others may have it (`1`), or it is taken back (`-1`), which may leave less than nothing. */
  lend(place: Place, resources: ResourceSet, sign: 1 | -1): void;
  /** A demand's hints, which speak of nodes, in the names of the rows. */
  hintsFor(hints: PlacementHints): PlacementHints;
  /** Why no row has room. Looks at all of them. */
  explain(request: PlacementRequest): Explanation;
  /** What a request that no row could ever hold waits for; null: nothing. */
  awaitedBy(request: PlacementRequest): AwaitedNode | null;
}
