/**
 * A process of the simulated cluster: something that runs one piece of code at a time, and that may be busy, stopped or dead. What comes
 * while it cannot listen waits at its door.
 */
import type { Timer, VirtualClock } from './clock.js';

/** How a process ended, as its parent learns it. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: string | null;
}

/** By SIGKILL. */
export const KILLED: ProcessEnd = { code: null, signal: 'SIGKILL' };

/** One process, from its start to its exit. */
export class SimProcess {
  isAlive = true;
  /** How long its work takes, compared with a machine of normal speed. */
  slowness = 1;
  /** What its clock shows beyond the true time. */
  clockSkewMs = 0;
  /** The time that it has spent on events, in all. */
  spentMs = 0;
  #isWorking = false;
  #busyUntilMs = 0;
  #stoppedUntilMs = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #onExit: ((end: ProcessEnd) => void)[] = [];

  constructor(readonly id: string, readonly host: string, readonly clock: VirtualClock) {}

  get isListening(): boolean {
    const nowMs = this.clock.nowMs();
    return !this.#isWorking && nowMs >= this.#stoppedUntilMs && nowMs >= this.#busyUntilMs;
  }

  /** Runs an event of the process: now, or as soon as it listens. Never after its death. */
  enter(action: () => void): void {
    if (!this.isAlive) return;
    if (this.isListening && this.#waiting.length === 0) action();
    else this.#waiting.push(action);
  }

  /** Whether {@link enter} would run an event now. */
  get isFree(): boolean {
    return this.#waiting.length === 0 && this.isListening;
  }

  /** The time, as the process sees it. */
  nowMs(): number {
    return this.clock.nowMs() + this.clockSkewMs;
  }

  /** What the process does at this moment takes so long: the next event waits until it is done. */
  spend(durationMs: number): void {
    if (durationMs <= 0) return;
    this.spentMs += durationMs;
    this.#busyUntilMs = Math.max(this.#busyUntilMs, this.clock.nowMs()) + durationMs * this.slowness;
    this.clock.at(this.#busyUntilMs, () => this.#admit());
  }

  /** Runs the action when the code that is running now is done. */
  defer(action: () => void): void {
    this.clock.defer(() => this.enter(action));
  }

  after(delayMs: number, action: () => void): Timer {
    return this.clock.after(delayMs, () => this.enter(action));
  }

  /** Runs the action again and again while the process lives; a tick that comes late is not made up for. */
  every(intervalMs: number, action: () => void): void {
    this.after(intervalMs, () => {
      action();
      this.every(intervalMs, action);
    });
  }

  /** Computes without looking up for so long, then goes on. */
  work(durationMs: number, then: () => void): void {
    this.#isWorking = true;
    this.clock.after(durationMs * this.slowness, () => this.#worked(then));
  }

  #worked(then: () => void): void {
    if (!this.isAlive) return;
    this.#isWorking = false;
    this.#waiting.unshift(then); // before all that has come in meanwhile
    this.#admit();
  }

  /** Stops the process, as SIGSTOP would, until that time. */
  stopUntil(atMs: number): void {
    this.#stoppedUntilMs = Math.max(this.#stoppedUntilMs, atMs);
    this.clock.at(atMs, () => this.#admit());
  }

  /** Ends a stop early. */
  resume(): void {
    this.#stoppedUntilMs = this.clock.nowMs();
    this.#admit();
  }

  /** Hears of the process's end once. */
  onExit(listener: (end: ProcessEnd) => void): void {
    this.#onExit.push(listener);
  }

  exit(end: ProcessEnd): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.#waiting.length = 0;
    for (const listener of this.#onExit) listener(end);
  }

  /** Lets in one of those who wait; each is an event of its own. */
  #admit(): void {
    if (!this.isAlive || !this.isListening) return;
    this.#waiting.shift()?.();
    if (this.#waiting.length > 0) this.clock.after(0, () => this.#admit());
  }
}
