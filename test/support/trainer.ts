/** A member of a gang for tests: it counts steps, tells its place, keeps checkpoints, and can be made to end. */
import { context, type GangContext } from '@muster/core';

/** What one member says of itself. */
export interface MemberReport extends GangContext {
  readonly nodeId: string;
  readonly pid: number;
  readonly steps: number;
}

export class Trainer {
  #steps = 0;
  /** Ballast, so that states travel through shared memory. */
  #weights = new Float64Array(50_000);

  constructor(readonly failsAtRank = -1) {
    if (this.#rank() === failsAtRank) throw new RangeError(`rank ${failsAtRank} will not`);
  }

  #rank(): number { return context().gang!.rank; }

  report(): MemberReport {
    return { ...context().gang!, nodeId: context().nodeId, pid: process.pid, steps: this.#steps };
  }

  step(by = 1): number {
    this.#steps += by;
    this.#weights.fill(this.#steps * 10 + this.#rank());
    return this.#steps;
  }

  /** Ends once another process is seen to have ended: never, by itself. */
  stuck(): Promise<never> {
    return new Promise(() => {});
  }

  *count(to: number): Generator<number> {
    for (let i = 0; i < to; i++) yield i * 10 + this.#rank();
  }

  fail(rank: number): number {
    if (this.#rank() === rank) throw new RangeError(`rank ${rank} failed`);
    return rank;
  }

  checkpoint(): { readonly steps: number; readonly weights: Float64Array } {
    return { steps: this.#steps, weights: this.#weights };
  }

  restore({ steps, weights }: { readonly steps: number; readonly weights: Float64Array }): void {
    if (weights[0] !== steps * 10 + this.#rank() && steps > 0) throw new Error(`rank ${this.#rank()} was given the state of another one`);
    this.#steps = steps;
    this.#weights = weights.slice();
  }
}
