/** Which nodes the arguments of queued tasks lie on: a task that runs there need not wait for them. */
import { StoredObject } from './reference.js';
import type { SlotRing } from './slot-ring.js';
import type { SlotTable } from './slots.js';

/** The tasks that the next leases will run, and as many of their arguments as are soon looked at: it is done at each change of a demand. */
const TASKS_MAX = 32;
const ARGUMENTS_MAX = 1024;
const NODES_MAX = 4;
/** Less is copied sooner than a busier or a farther worker makes up for. */
const BYTES_MIN = 2 ** 20;

/** The nodes that hold the most bytes of the stored arguments of the first tasks, the most first; of equals, the home node first. */
export function nodesOfArguments(ring: SlotRing, slots: SlotTable, homeNodeId: string): string[] {
  if (slots.templates.size === 0) return [];
  const bytesByNode = new Map<string, number>();
  let left = ARGUMENTS_MAX;
  for (let i = 0; i < Math.min(ring.length, TASKS_MAX) && left > 0; i++) {
    for (const part of slots.templates.get(ring.at(i))?.parts ?? []) {
      if (left-- === 0) break;
      if (part instanceof Uint8Array || !(part.value instanceof StoredObject)) continue;
      for (const { nodeId } of part.value.locations) bytesByNode.set(nodeId, (bytesByNode.get(nodeId) ?? 0) + part.value.sizeBytes);
    }
  }
  const ofEqual = (a: string, b: string): number => Number(b === homeNodeId) - Number(a === homeNodeId) || (a < b ? -1 : 1);
  return [...bytesByNode].filter(([, bytes]) => bytes >= BYTES_MIN).sort(([a, bytesA], [b, bytesB]) => bytesB - bytesA || ofEqual(a, b))
    .slice(0, NODES_MAX).map(([nodeId]) => nodeId);
}
