/** What is free of a node or could be made so, in the eyes of a round of fairness. GPUs are looked at one by one: parts of several hold no lease. */
import { RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import type { PlacementRequest } from '@muster/scheduler';
import type { Lease } from './leases.js';
import type { Node } from './nodes.js';

/** What one round knows of a node. */
export interface Room {
  readonly node: Node;
  /**
   * What is free or about to be, less what this round has promised; each GPU under a name of its own. Written to in place: rounds look at thousands of
   * leases.
   */
  readonly free: Record<string, number>;
  /** Leases that could be asked for; oldest first once they have been looked at. */
  askable: Lease[];
  isSorted: boolean;
  /** Leases that have been asked for. */
  readonly asked: Lease[];
  /** Of those, the ones that nobody counts on any more. */
  readonly late: Lease[];
}

/** What is free now. */
export function freeOf(node: Node, available: ResourceSet): Record<string, number> {
  const { gpu: _sum, ...rest } = available;
  const free: Record<string, number> = rest;
  for (const { id, free: units } of node.row.gpus.free()) free[nameOf(id)] = units;
  return free;
}

/** What a lease holds of this, in the names of {@link Room.free}. */
export function byDevice(resources: ResourceSet, { place: { gpuIds } }: Lease): ResourceSet {
  if (gpuIds.length === 0) return resources;
  const { gpu, ...rest } = resources;
  const named: Record<string, number> = rest;
  for (const id of gpuIds) named[nameOf(id)] = Math.min(gpu!, RESOURCE_SCALE);
  return named;
}

/** What the request needs of the room, in its names: of the GPUs that lack the least. Null: no number of leases that come back would give it enough GPUs. */
export function needsOf({ resources }: PlacementRequest, room: Room): ResourceSet | null {
  const { gpu = 0, ...needs } = resources;
  if (gpu === 0) return resources;
  const share = Math.min(gpu, RESOURCE_SCALE);
  const atMost = new Map(room.node.row.gpus.free().map(({ id }) => [id, room.free[nameOf(id)]!]));
  for (const lease of [...room.askable, ...room.asked]) {
    for (const id of lease.place.gpuIds) atMost.set(id, (atMost.get(id) ?? room.free[nameOf(id)] ?? 0) + Math.min(lease.resources['gpu']!, RESOURCE_SCALE));
  }
  const lacking = (id: number): number => Math.max(0, share - (room.free[nameOf(id)] ?? 0));
  const usable = [...atMost.keys()].filter((id) => atMost.get(id)! >= share).sort((a, b) => lacking(a) - lacking(b) || a - b);
  const count = Math.ceil(gpu / RESOURCE_SCALE);
  if (usable.length < count) return null;
  const named: Record<string, number> = needs;
  for (const id of usable.slice(0, count)) named[nameOf(id)] = share;
  return named;
}

const nameOf = (gpuId: number): string => `gpu ${gpuId}`;
