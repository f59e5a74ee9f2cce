/**
 * Virtual time: a queue of what happens when. Nothing takes time but waiting for the next event, so a minute of a cluster's life is
 * over in milliseconds, and equal programs give equal histories.
 *
 * Order: events in the order of their times, those of one time in the order in which they were scheduled. What is deferred runs right
 * after the event that deferred it, as Node's nextTick does.
 */
import type { Clock } from '@muster/base';

/** Something that will happen, unless it is cancelled. */
export interface Timer {
  cancel(): void;
}

class Entry implements Timer {
  constructor(readonly atMs: number, readonly sequence: number, public action: (() => void) | null) {}

  cancel(): void {
    this.action = null;
  }
}

/** The time of one simulation. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #sequence = 0;
  readonly #heap: Entry[] = [];
  #deferred: (() => void)[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  /** Runs the action at that time, or next if the time is past. */
  at(atMs: number, action: () => void): Timer {
    const entry = new Entry(Math.max(atMs, this.#nowMs), ++this.#sequence, action);
    this.#push(entry);
    return entry;
  }

  after(delayMs: number, action: () => void): Timer {
    return this.at(this.#nowMs + delayMs, action);
  }

  /** Runs the action when the present event is over, before the next one. */
  defer(action: () => void): void {
    this.#deferred.push(action);
  }

  /** When the next event is due; Infinity when there is none. */
  get nextMs(): number {
    while (this.#heap.length > 0 && this.#heap[0]!.action === null) this.#pop();
    return this.#heap[0]?.atMs ?? Infinity;
  }

  /** Runs the next event and what it defers. False when there is none up to this time, which it then is. */
  step(untilMs: number): boolean {
    if (this.nextMs > untilMs) {
      this.#nowMs = Math.max(this.#nowMs, untilMs);
      return false;
    }
    const entry = this.#pop();
    this.#nowMs = entry.atMs;
    entry.action!();
    this.flush();
    return true;
  }

  /** Runs what is deferred, and what that defers. */
  flush(): void {
    while (this.#deferred.length > 0) {
      const batch = this.#deferred;
      this.#deferred = [];
      for (const action of batch) action();
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.push(entry) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): Entry {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
    return top;
  }
}

const isBefore = (a: Entry, b: Entry): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);
