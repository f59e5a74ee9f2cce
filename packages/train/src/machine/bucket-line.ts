/**
 * When each bucket of gradients is reduced in one backward pass.
 *
 * Collectives must begin in the same order at every rank, but gradients may become ready in another: a bucket waits until those before it have begun.
 *
 *   waiting ──its last gradient is ready──> full ──all before it have begun──> begun
 */
import type { Bucket } from './bucket-plan.js';

/** The buckets of one backward pass after another. */
export class BucketLine {
  readonly #bucketOf: Int32Array;
  readonly #sizes: readonly number[];
  readonly #missing: Int32Array;
  readonly #isReady: Uint8Array;
  #begun = 0;

  constructor(buckets: readonly Bucket[], gradientCount: number) {
    this.#bucketOf = new Int32Array(gradientCount).fill(-1);
    buckets.forEach(({ slots }, bucket) => slots.forEach(({ gradient }) => { this.#bucketOf[gradient] = bucket; }));
    this.#sizes = buckets.map(({ slots }) => slots.length);
    this.#missing = Int32Array.from(this.#sizes);
    this.#isReady = new Uint8Array(gradientCount);
  }

  /**
   * A gradient will not change any more in this pass.
   * @returns how many buckets have begun by now: those from the number of the last answer on begin with this one, in their order
   */
  ready(gradient: number): number {
    if (this.#isReady[gradient] === 1) return this.#begun; // told by two hooks
    this.#isReady[gradient] = 1;
    this.#missing[this.#bucketOf[gradient]!]!--;
    while (this.#begun < this.#missing.length && this.#missing[this.#begun] === 0) this.#begun++;
    return this.#begun;
  }

  /** Whether a gradient's bucket is being reduced, or was: it must not change any more in this pass. */
  hasBegun(gradient: number): boolean {
    return this.#bucketOf[gradient]! < this.#begun;
  }

  /** Gradients that have not become ready: backward did not reach them. */
  unready(): number[] {
    return [...this.#isReady.keys()].filter((gradient) => this.#isReady[gradient] === 0);
  }

  /** The next pass begins. */
  reset(): void {
    this.#missing.set(this.#sizes);
    this.#isReady.fill(0);
    this.#begun = 0;
  }
}
