/**
 * Whose turn it is: the highest priority first, among equals the queue whose dominant share is the smallest. A queue's dominant share is the largest share that
 * it holds of any resource of the cluster, divided by its weight.
 *
 * Source: Ghodsi et al., "Dominant Resource Fairness", NSDI 2011.
 */
import { fits, formatResources, shortage, type ResourceSet } from '@muster/base';

/** What an administrator says of a queue. */
export interface QueueSettings {
  readonly name: string;
  /** A queue of weight 2 is due twice what one of weight 1 is. */
  readonly weight: number;
  /** The most it may hold; an absent resource is not limited. */
  readonly quota: ResourceSet;
}

/** The queue of those who name none. */
export const DEFAULT_QUEUE = 'default';

/** A queue, and what it holds. */
export class ShareOfQueue<Settings extends QueueSettings = QueueSettings> {
  readonly settings: Settings;
  readonly #held: Record<string, number> = {};
  readonly #hasQuota: boolean;

  constructor(settings: Settings) {
    this.settings = settings;
    this.#hasQuota = Object.keys(settings.quota).length > 0;
  }

  /** Amounts of zero are those that it held before. */
  get held(): ResourceSet {
    return this.#held;
  }

  add(resources: ResourceSet): void {
    for (const name in resources) this.#held[name] = (this.#held[name] ?? 0) + resources[name]!;
  }

  subtract(resources: ResourceSet): void {
    for (const name in resources) this.#held[name] = (this.#held[name] ?? 0) - resources[name]!;
  }

  /** A share of its own that begins as this one is. */
  fork(): ShareOfQueue<Settings> {
    const copy = new ShareOfQueue(this.settings);
    copy.add(this.#held);
    return copy;
  }

  /** From 0; above 1 for a queue of small weight that holds nearly everything. `change`: as if it held so much more. */
  dominantShare(capacity: ResourceSet, change: ResourceSet = {}): number {
    let largest = 0;
    for (const name in this.#held) largest = Math.max(largest, (this.#held[name]! + (change[name] ?? 0)) / (capacity[name] || Infinity));
    for (const name in change) if (this.#held[name] === undefined) largest = Math.max(largest, change[name]! / (capacity[name] || Infinity));
    return largest / this.settings.weight;
  }

  /** How much too little of its quota is left for this; empty when it may hold it. */
  quotaShortage(resources: ResourceSet): ResourceSet {
    if (!this.#hasQuota) return {};
    return shortage(this.settings.quota, this.#limited(resources, this.#held));
  }

  /** Why the queue may not hold so much more, or null when it may. */
  overQuota(resources: ResourceSet): string | null {
    if (!this.#hasQuota) return null;
    const { quota, name } = this.settings;
    const over = Object.keys(this.quotaShortage(resources));
    if (over.length === 0) return null;
    const pick = (set: ResourceSet): ResourceSet => Object.fromEntries(over.map((each) => [each, set[each] ?? 0]));
    return `queue ${name} may hold ${formatResources(pick(quota))} and holds ${formatResources(pick(this.#held))}`;
  }

  /** Why the queue may not hold this even when it holds nothing else, or null when it may. */
  neverHolds(resources: ResourceSet): string | null {
    if (!this.#hasQuota) return null;
    const { quota, name } = this.settings;
    if (fits(quota, this.#limited(resources, {}))) return null;
    return `queue ${name} may hold ${formatResources(quota)} in all`;
  }

  #limited(resources: ResourceSet, held: ResourceSet): ResourceSet {
    const limited: Record<string, number> = {};
    for (const name in resources) if (this.settings.quota[name] !== undefined) limited[name] = (held[name] ?? 0) + resources[name]!;
    return limited;
  }
}

/** What has a place among those who wait. */
export interface Ranked {
  readonly priority: number;
  readonly queue: ShareOfQueue;
}

/** Negative when it is the turn of `a` before `b`; 0 for those of one priority and equal shares. */
export function compareTurns(a: Ranked, b: Ranked, capacity: ResourceSet): number {
  if (a.priority !== b.priority) return b.priority - a.priority;
  return a.queue === b.queue ? 0 : a.queue.dominantShare(capacity) - b.queue.dominantShare(capacity);
}
