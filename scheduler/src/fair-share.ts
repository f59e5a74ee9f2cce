/**
 * Whose turn it is: queues of higher priority first, among equals the one whose dominant share is the smallest. A queue's dominant share is the largest share that
 * it holds of any resource of the cluster, divided by its weight.
 *
 * Source: Ghodsi et al., "Dominant Resource Fairness", NSDI 2011.
 */
import { addResources, fits, formatResources, shortage, subtractResources, type ResourceSet } from '@muster/base';

/** What an administrator says of a queue. */
export interface QueueSettings {
  readonly name: string;
  /** Higher goes first, and may preempt lower. */
  readonly priority: number;
  /** A queue of weight 2 is due twice what one of weight 1 is. */
  readonly weight: number;
  /** The most it may hold; an absent resource is not limited. */
  readonly quota: ResourceSet;
}

export const DEFAULT_QUEUE = 'default';

/** A queue, and what it holds. */
export class ShareOfQueue {
  readonly settings: QueueSettings;
  #held: ResourceSet = {};

  constructor(settings: QueueSettings) {
    this.settings = settings;
  }

  get held(): ResourceSet {
    return this.#held;
  }

  add(resources: ResourceSet): void {
    this.#held = addResources(this.#held, resources);
  }

  subtract(resources: ResourceSet): void {
    this.#held = subtractResources(this.#held, resources);
  }

  /** From 0; above 1 for a queue of small weight that holds nearly everything. */
  dominantShare(capacity: ResourceSet): number {
    let largest = 0;
    for (const name in this.#held) if ((capacity[name] ?? 0) > 0) largest = Math.max(largest, this.#held[name]! / capacity[name]!);
    return largest / this.settings.weight;
  }

  /** Why the queue may not hold so much more, or null when it may. */
  overQuota(resources: ResourceSet): string | null {
    const { quota, name } = this.settings;
    const wanted: Record<string, number> = {};
    for (const resource in resources) if (quota[resource] !== undefined) wanted[resource] = (this.#held[resource] ?? 0) + resources[resource]!;
    if (fits(quota, wanted)) return null;
    const over = Object.keys(shortage(quota, wanted));
    const pick = (set: ResourceSet): ResourceSet => Object.fromEntries(over.map((each) => [each, set[each] ?? 0]));
    return `queue ${name} may hold ${formatResources(pick(quota))} and holds ${formatResources(pick(this.#held))}`;
  }
}

/** Orders queues by whose turn it is; equal ones by name. */
export function byTurn(capacity: ResourceSet): (a: ShareOfQueue, b: ShareOfQueue) => number {
  return (a, b) => b.settings.priority - a.settings.priority || a.dominantShare(capacity) - b.dominantShare(capacity)
    || (a.settings.name < b.settings.name ? -1 : 1);
}
