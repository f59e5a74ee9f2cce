/** What runs on the nodes, as the scheduler sees it: leases outside of placement groups, and placement groups. */
import type { Cluster, Holding } from '@muster/scheduler';
import type { Group } from './group.js';
import { isLeaving, taken, type Lease } from './leases.js';
import type { Node, Nodes } from './nodes.js';

/** Somebody who holds something, and ends as a whole. */
export interface HeadTenant {
  readonly who: Lease | Group;
  readonly startedAtMs: number;
  readonly holdings: readonly (Holding & { readonly nodeId: string })[];
}

/** All that run; not those that are being made. */
export function tenantsOf(nodes: Nodes, leases: Iterable<Lease>, groups: Iterable<Group>): HeadTenant[] {
  const tenants: HeadTenant[] = [];
  for (const lease of leases) {
    if (lease.state !== 'running' || lease.pool !== nodes) continue;
    tenants.push({ who: lease, startedAtMs: lease.runningSinceMs!, holdings: [{ nodeId: lease.node.id, resources: taken(lease), gpuIds: lease.place.gpuIds }] });
  }
  for (const group of groups) {
    if (group.state !== 'created') continue;
    const holdings = [...group.shares].flatMap(({ node, holdings }) => Array.from(holdings.values(), (holding) => ({ nodeId: node.id, ...holding })));
    tenants.push({ who: group, startedAtMs: group.createdAtMs, holdings });
  }
  return tenants;
}

/** A fork of the cluster without all that is about to leave. Claimed nodes are as free as others. */
export function laterCluster(nodes: Nodes): Cluster {
  const later = nodes.cluster.fork();
  for (const node of nodes.byId.values()) {
    for (const lease of node.leases) if (lease.pool === nodes && isLeaving(lease)) later.release(node.id, holdingOf(lease));
    for (const share of node.shares.values()) {
      if (share.state === 'returning' || isLeaving(share.group)) for (const holding of share.holdings.values()) later.release(node.id, holding);
    }
    if (node.row.condition === 'reserved') later.setCondition(node.id, 'ready');
  }
  return later;
}

/** The nodes of which a tenant has a share. */
export const nodesOf = (who: Lease | Group): readonly Node[] => ('place' in who ? [who.place.node] : Array.from(who.shares, ({ node }) => node));

const holdingOf = (lease: Lease): Holding => ({ resources: taken(lease), gpuIds: lease.place.gpuIds });
