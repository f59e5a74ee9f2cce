/** What the scheduler sees of a cluster and of one request: plain values, made by the head and never changed afterwards. */
import type { ResourceSet } from '@muster/base';

/**
 * Whether a node takes new leases. Only `ready` does. A `reserved` one is kept free for another request and an `unreachable`
 * one may come back: both count when it is asked whether a request could ever be placed. A `draining` one will never take more.
 */
export type NodeCondition = 'ready' | 'reserved' | 'unreachable' | 'draining';

/** One node that is not dead. A node whose amounts change is a new value. */
export interface NodeView {
  readonly nodeId: string;
  readonly condition: NodeCondition;
  readonly total: ResourceSet;
  /** What no lease holds. Negative where workers that were blocked have gone on. */
  readonly available: ResourceSet;
  readonly labels: Readonly<Record<string, string>>;
  readonly leaseCount: number;
}

/** The nodes at one moment, in any order. */
export interface ClusterSnapshot {
  readonly nodes: readonly NodeView[];
}

/** What one lease asks of the node it runs on. */
export interface PlacementRequest {
  readonly resources: ResourceSet;
  /** Only this node; empty: any. */
  readonly nodeId: string;
  /** Only nodes that carry all of these. */
  readonly labels: Readonly<Record<string, string>>;
}

/** What steers the choice among the nodes that fit. It never makes a request impossible. */
export interface PlacementHints {
  /** The asker's node, taken while it has room; empty: none. */
  readonly preferredNodeId: string;
  /** Set: spread, that is, take the node with the fewest leases by this count, and prefer no node. */
  readonly leasesByNode: ReadonlyMap<string, number> | null;
}

/** Each process on a node costs memory that no resource accounts for: more leases than this end in an unusable machine. */
export const LEASES_PER_NODE_MAX = 2_000;

/** A node without cpus runs only what names it, by its id or a label, or asks for something that it has. */
export function offersItself(node: NodeView, request: PlacementRequest): boolean {
  return (node.total['cpu'] ?? 0) > 0 || request.nodeId !== '' || Object.keys(request.labels).length > 0 || Object.keys(request.resources).length > 0;
}
