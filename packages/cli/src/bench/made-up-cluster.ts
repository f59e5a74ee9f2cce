/** The clusters that benchmarks of the scheduler and of the head make up, larger than any test machine. */
import { RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import type { LabelTerm, NodeSpec, PlacementRequest } from '@muster/scheduler';

export const CPUS_PER_NODE = 64;
/** How many kinds of demand there are. */
export const DEMAND_KINDS = 50;

/** Amounts in whole units. */
export const whole = (amounts: Readonly<Record<string, number>>): ResourceSet => Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, amount * RESOURCE_SCALE]));

/** Every second node has 8 GPUs; 5 zones, and racks of 40 nodes. */
export function madeUpNode(i: number): NodeSpec {
  const gpus: Record<string, number> = i % 2 === 1 ? { gpu: 8 } : {};
  return { nodeId: `node-${i}`, total: whole({ cpu: CPUS_PER_NODE, memory: 512 * 1024, ...gpus }), labels: { zone: `z${i % 5}`, rack: `r${Math.floor(i / 40)}` } };
}

/** Fifty kinds of demand: 1 to 8 cpus; a fifth with GPUs or a part of one; a third with memory; a seventh in one zone. */
export function madeUpRequests(): PlacementRequest[] {
  return Array.from({ length: DEMAND_KINDS }, (_, i) => {
    const gpus: Record<string, number> = i % 5 === 0 ? { gpu: i % 2 === 1 ? 0.5 : 1 + (i % 4) } : {};
    const memory: Record<string, number> = i % 3 === 0 ? { memory: (i + 1) * 1024 } : {};
    const labels: LabelTerm[] = i % 7 === 0 ? [{ key: 'zone', operator: 'in', values: [`z${i % 5}`], weight: 0 }] : [];
    return { resources: whole({ cpu: 1 + (i % 8), ...gpus, ...memory }), labels };
  });
}
