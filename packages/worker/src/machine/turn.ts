/**
 * How long the tasks of one turn of the event loop take. The clock costs as much as a short task: it is read for many of them at once, and each function
 * gets its share of the time between two readings.
 */
import type { CallerLine, DefinedFunction } from './caller-line.js';

/** A turn of the event loop is given back after this much work. */
const SLICE_MS = 1;
/** The clock is read at least once in so many tasks. */
const STRIDE_MAX = 64;
/** Tasks that together took less than this are measured together with twice as many the next time. */
const CLOCK_WORTH_MS = 0.05;

export class Turn {
  /** It has lasted long enough. */
  isOver = false;
  #startMs = 0;
  #lastMs = 0;
  /** Tasks that have ended since the clock was read, and whose they are. */
  #endedCount = 0;
  #line: CallerLine | null = null;
  #fn: DefinedFunction | null = null;
  #stride = 1;

  constructor(readonly nowMs: () => number) {}

  begin(): void {
    this.isOver = false;
    this.#startMs = this.#lastMs = this.nowMs();
    this.#endedCount = 0;
  }

  /** The next task is one of this function; null: a call, of which callers need no durations. */
  expect(line: CallerLine, fn: DefinedFunction | null): void {
    if (fn === this.#fn && line === this.#line) return;
    if (this.#endedCount > 0) this.read();
    this.#line = line;
    this.#fn = fn;
  }

  /** A task has ended in the turn in which it began. */
  ended(): void {
    if (++this.#endedCount >= this.#stride) this.read();
  }

  /** When the task began that goes on now beyond its turn. */
  startedMs(): number {
    return this.#endedCount === 0 ? this.#lastMs : this.read();
  }

  /** Reads the clock, and accounts for what has ended. */
  read(): number {
    const nowMs = this.nowMs();
    const tookMs = nowMs - this.#lastMs;
    if (this.#endedCount > 0 && this.#fn !== null) this.#line!.count(this.#fn.id, this.#endedCount, tookMs * 1000);
    this.#stride = tookMs < CLOCK_WORTH_MS ? Math.min(STRIDE_MAX, this.#stride * 2) : 1;
    this.#lastMs = nowMs;
    this.#endedCount = 0;
    if (nowMs - this.#startMs >= SLICE_MS) this.isOver = true;
    return nowMs;
  }

  /** Nothing more begins in this turn. */
  end(): void {
    if (this.#endedCount > 0) this.read();
  }
}
