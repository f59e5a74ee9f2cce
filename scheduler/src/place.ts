/**
 * Where a lease goes. Pure and deterministic: the same snapshot, request and hints give the same node.
 *
 * Among the nodes that fit, the asker's own is taken, else the one whose scarcest requested resource is least used, then
 * the one with fewer leases, then the smaller id. Spreading puts the count of the request's own leases before all of these.
 */
import { fits, type ResourceSet } from '@muster/base';
import { LEASES_PER_NODE_MAX, offersItself, type ClusterSnapshot, type NodeView, type PlacementHints, type PlacementRequest } from './cluster.js';
import { Rejection } from './rejection.js';

/** A node, or why there is none now. */
export type Decision = { readonly nodeId: string } | { readonly rejection: Rejection };

/** Chooses the node for one lease. Takes time in proportion to the number of nodes. */
export function place(snapshot: ClusterSnapshot, request: PlacementRequest, hints: PlacementHints): Decision {
  const spread = hints.leasesByNode;
  let best: Candidate | null = null;
  for (const node of snapshot.nodes) {
    if (!takes(node, request)) continue;
    if (spread === null && node.nodeId === hints.preferredNodeId) return { nodeId: node.nodeId };
    const candidate = { node, ownLeases: spread?.get(node.nodeId) ?? 0, load: load(node, request.resources) };
    if (best === null || isBetter(candidate, best)) best = candidate;
  }
  return best === null ? { rejection: new Rejection(snapshot, request) } : { nodeId: best.node.nodeId };
}

interface Candidate {
  readonly node: NodeView;
  readonly ownLeases: number;
  readonly load: number;
}

function takes(node: NodeView, request: PlacementRequest): boolean {
  if (node.condition !== 'ready' || node.leaseCount >= LEASES_PER_NODE_MAX) return false;
  if (request.nodeId !== '' && request.nodeId !== node.nodeId) return false;
  if (!fits(node.available, request.resources) || !offersItself(node, request)) return false;
  for (const key in request.labels) if (node.labels[key] !== request.labels[key]) return false;
  return true;
}

/** The used share, from 0 to 1, of whichever requested resource the node has used most of. */
function load(node: NodeView, resources: ResourceSet): number {
  let highest = 0;
  for (const name in resources) {
    const total = node.total[name] ?? 0;
    if (total > 0) highest = Math.max(highest, 1 - (node.available[name] ?? 0) / total);
  }
  return highest;
}

function isBetter(a: Candidate, b: Candidate): boolean {
  if (a.ownLeases !== b.ownLeases) return a.ownLeases < b.ownLeases;
  if (a.load !== b.load) return a.load < b.load;
  if (a.node.leaseCount !== b.node.leaseCount) return a.node.leaseCount < b.node.leaseCount;
  return a.node.nodeId < b.node.nodeId;
}
