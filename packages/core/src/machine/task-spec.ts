/** What all tasks of one remote function with one set of options share, interned so that a task points to it. */
import type { Demand } from '@muster/protocol';
import type { SlotQueue } from './slot-queue.js';

/** A worker holds about this much work ahead, not more, so that a long task never holds others hostage. */
const WORK_AHEAD_US = 1000;
/** Tasks longer than this are sent one at a time. */
const LONG_TASK_US = 10_000;
/** Enough no-op tasks in flight to hide a round trip; more only costs memory. */
const AHEAD_MAX = 4096;
/** How fast trust in a short duration grows with each report. */
const AHEAD_GROWTH = 8;

/** How long the runs of one function take, as its workers report. */
export class DurationEstimate {
  /** Negative: not known yet. */
  averageUs = -1;
  /** How many of its tasks a worker may hold. */
  ahead = 1;

  observe(count: number, busyUs: number): void {
    const us = busyUs / count;
    // Long runs count at once, short ones convince slowly: a worker's queue must not grow on a lucky sample.
    this.averageUs = this.averageUs < 0 || us > this.averageUs ? us : this.averageUs * 0.75 + us * 0.25;
    const target = this.averageUs > LONG_TASK_US ? 1 : Math.min(AHEAD_MAX, Math.max(2, Math.floor(WORK_AHEAD_US / this.averageUs)));
    this.ahead = Math.min(target, this.ahead * AHEAD_GROWTH);
  }
}

/** A function as its owner registered it. */
export interface FunctionEntry {
  readonly id: number;
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly duration: DurationEstimate;
}

export interface TaskOptions {
  readonly name: string;
  /** Attempts after the first when a worker dies, or when `retryOn` says so. */
  readonly retries: number;
  /** Whether an error of the user's code is worth another attempt. Null: never. */
  readonly retryOn: ((error: unknown) => boolean) | null;
  /** From the start of an attempt on a worker; 0: none. */
  readonly timeoutMs: number;
  /** A generator: results are yielded one at a time. */
  readonly streaming: boolean;
}

export class TaskSpec {
  constructor(
    readonly queue: SlotQueue,
    /** Null for calls of an actor's method. */
    readonly fn: FunctionEntry | null,
    /** The function's id, or the method's index. */
    readonly target: number,
    readonly options: TaskOptions,
  ) {}
}

/** The key under which demands share leases. */
export function demandKey(demand: Demand): string {
  const amounts = Object.entries(demand.resources?.amounts ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const labels = (demand.placement?.labels ?? []).map(({ key, operator, values, weight }) => JSON.stringify([key, operator, values, weight])).sort();
  const { spread = false, groupId = '', bundle = 0, capturesChildren = false } = demand.placement ?? {};
  return JSON.stringify([amounts, demand.expectedDurationMs, spread, labels, groupId, bundle, capturesChildren, demand.waitForNodes]);
}
