/** The nodes of this machine as the commands tell them apart. */
import type { NodeFile } from '@muster/base';

/** Clusters by the address of their head, with their nodes here. */
export function byCluster(nodes: readonly NodeFile[]): Map<string, NodeFile[]> {
  const clusters = new Map<string, NodeFile[]>();
  for (const node of nodes) clusters.set(node.headAddress, [...(clusters.get(node.headAddress) ?? []), node]);
  return clusters;
}

/** Whether it is the cluster of one program, which no other is meant to use. */
export const isOneProgramsOwn = (node: NodeFile): boolean => node.headAddress.startsWith('unix:');
