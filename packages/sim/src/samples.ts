/** Durations, kept for their percentiles. */

const ROOM_MIN = 1024;

/** A growing list of numbers. */
export class Samples {
  #values = new Float64Array(ROOM_MIN);
  #count = 0;

  add(value: number): void {
    if (this.#count === this.#values.length) {
      const larger = new Float64Array(this.#count * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#count++] = value;
  }

  /** The values that these shares of all do not exceed; zeros when there are none. */
  percentiles(shares: readonly number[]): number[] {
    const sorted = this.#values.slice(0, this.#count).sort();
    return shares.map((share) => sorted[Math.max(0, Math.ceil(share * this.#count) - 1)] ?? 0);
  }
}
