/** Where one lease goes. Deterministic: the same cluster, request and hints give the same node. */
import type { Cluster, NodeRow } from './cluster.js';
import type { PlacementHints } from './request.js';
import type { Shape } from './shape.js';

/**
 * Chooses the node for one lease, or null when none fits now. In order: a preferred node with room, unless the request prefers labels that another one has;
 * the best by {@link Shape}'s score. With `leasesByNode` the fewest own leases come before both, which takes time in proportion to the number of nodes.
 */
export function place(cluster: Cluster, shape: Shape, hints: PlacementHints): string | null {
  if (hints.leasesByNode !== null) return spread(cluster, shape, hints.leasesByNode);
  const best = shape.hasPreferences ? shape.best() : null;
  for (const nodeId of hints.preferredNodeIds) {
    const node = cluster.rowOf(nodeId);
    if (node !== undefined && shape.fits(node) && (best === null || shape.unmet(node) <= shape.unmet(best))) return nodeId;
  }
  return (best ?? shape.best())?.nodeId ?? null;
}

function spread(cluster: Cluster, shape: Shape, leasesByNode: ReadonlyMap<string, number>): string | null {
  let best: NodeRow | null = null;
  let bestLeases = Infinity;
  let bestScore = Infinity;
  for (const node of cluster.rows()) {
    const leases = leasesByNode.get(node.nodeId) ?? 0;
    if (leases > bestLeases) continue;
    const score = shape.score(node);
    if (score === Infinity || (leases === bestLeases && score >= bestScore)) continue;
    [best, bestLeases, bestScore] = [node, leases, score];
  }
  return best?.nodeId ?? null;
}
