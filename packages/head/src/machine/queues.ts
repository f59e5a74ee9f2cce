/**
 * The queues of the cluster: what an administrator has set, what each of them holds, and whose turn it is. A job is of one queue and has one priority for all of
 * its tasks and actors.
 */
import { makeError, type ResourceSet } from '@muster/base';
import { compareTurns, DEFAULT_QUEUE, ShareOfQueue, type QueueSettings } from '@muster/scheduler';
import { GRACE_PERIOD_MS, PRIORITY_MAX } from './limits.js';
import type { Nodes } from './nodes.js';

/** A queue as it was set up. */
export interface QueueRules extends QueueSettings {
  /** Null: as high as any. */
  readonly maxPriority: number | null;
  /** How long what runs for the queue may go on after it was told that it is preempted. */
  readonly gracePeriodMs: number;
  /** It is the queue of those who name none. */
  readonly isDefault: boolean;
}

/** What a queue is like that only has a name. */
export const PLAIN_QUEUE: Omit<QueueRules, 'name'> = { weight: 1, quota: {}, maxPriority: null, gracePeriodMs: GRACE_PERIOD_MS, isDefault: false };

/** A queue, and what its jobs hold. What they lend while their tasks wait for others, they do not hold. */
export type Queue = ShareOfQueue<QueueRules>;

/** What has a place among those who wait. */
export interface Ranked {
  readonly queue: Queue;
  readonly priority: number;
}

/** All queues. */
export class Queues {
  readonly byName: ReadonlyMap<string, Queue>;
  readonly default: Queue;
  readonly #nodes: Nodes;
  /** How many leases of each priority there are. */
  readonly #leaseCounts = new Map<number, number>();

  /** Without a default among the rules there is one named `default`. */
  constructor(rules: readonly QueueRules[], nodes: Nodes) {
    const all = rules.some((each) => each.isDefault) ? rules : [...rules, { ...PLAIN_QUEUE, name: DEFAULT_QUEUE, isDefault: true }];
    this.byName = new Map(all.map((each) => [each.name, new ShareOfQueue(each)]));
    this.default = [...this.byName.values()].find((queue) => queue.settings.isDefault)!;
    this.#nodes = nodes;
  }

  /** The queue for a job; an empty name is that of the default. @throws MusterError INVALID_ARGUMENT for an unknown one, or for a priority that it does not take */
  admit(name: string, priority: number): Queue {
    const queue = name === '' ? this.default : this.byName.get(name);
    if (queue === undefined) throw makeError('INVALID_ARGUMENT', { what: `the queue '${name}'`, want: `one of ${[...this.byName.keys()].join(', ')}` });
    const most = Math.min(queue.settings.maxPriority ?? PRIORITY_MAX, PRIORITY_MAX);
    if (Number.isInteger(priority) && priority >= -PRIORITY_MAX && priority <= most) return queue;
    throw makeError('INVALID_ARGUMENT', { what: `the priority ${priority}`, want: `a whole number from ${-PRIORITY_MAX} to ${most} in the queue ${queue.settings.name}` });
  }

  /** Negative when it is the turn of `a` before `b`. */
  compare(a: Ranked, b: Ranked): number {
    return compareTurns(a, b, this.#nodes.totals);
  }

  /** A lease begins for somebody. */
  hold({ queue, priority }: Ranked, resources: ResourceSet): void {
    queue.add(resources);
    this.#leaseCounts.set(priority, (this.#leaseCounts.get(priority) ?? 0) + 1);
  }

  /** A lease is gone. */
  release({ queue, priority }: Ranked, resources: ResourceSet): void {
    queue.subtract(resources);
    const left = this.#leaseCounts.get(priority)! - 1;
    if (left === 0) this.#leaseCounts.delete(priority);
    else this.#leaseCounts.set(priority, left);
  }

  /** A part of a lease is lent out (`1`) or taken back (`-1`). */
  lend({ queue }: Ranked, resources: ResourceSet, sign: 1 | -1): void {
    if (sign === 1) queue.subtract(resources);
    else queue.add(resources);
  }

  /** Whether anybody of a lower priority holds anything. */
  hasBelow(priority: number): boolean {
    for (const other of this.#leaseCounts.keys()) if (other < priority) return true;
    return false;
  }
}
