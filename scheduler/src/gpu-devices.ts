/** Which GPUs of a node are free, and which part of each. A GPU is given whole, or in parts to several leases; a lease's part lies on one GPU. */
import { RESOURCE_SCALE } from '@muster/base';

/** The GPUs of one node, numbered from 0. */
export class GpuDevices {
  /** Free units of each, also of devices that have gone while they were held. */
  #free: number[] = [];
  #deviceCount = 0;
  #freeUnits = 0;
  #wholeCount = 0;
  #largestPart = 0;

  /** @param units RESOURCE_SCALE for each GPU; a bundle of a placement group may have a part of one, which is then the last */
  constructor(units: number) {
    this.resize(units);
  }

  /** GPUs that nobody uses. */
  get wholeCount(): number {
    return this.#wholeCount;
  }

  /** The most that is free of one GPU, in units. */
  get largestPart(): number {
    return this.#largestPart;
  }

  /** What is free of all of them, in units. */
  get freeUnits(): number {
    return this.#freeUnits;
  }

  get count(): number {
    return this.#deviceCount;
  }

  /** How many leases of this amount would fit, one after the other. */
  capacity(amount: number): number {
    if (amount >= RESOURCE_SCALE) return Math.floor(this.#wholeCount / Math.ceil(amount / RESOURCE_SCALE));
    let count = 0;
    for (let id = 0; id < this.#deviceCount; id++) count += Math.max(0, Math.floor(this.#free[id]! / amount));
    return count;
  }

  /** What would be left of the device that {@link take} would give for a part of a GPU. */
  smallestLeft(amount: number): number {
    let least = RESOURCE_SCALE;
    for (let id = 0; id < this.#deviceCount; id++) {
      const left = this.#free[id]! - amount;
      if (left >= 0 && left < least) least = left;
    }
    return least;
  }

  /** Takes GPUs that are there: the ones with the least to spare, so that whole ones stay whole. */
  take(amount: number): readonly number[] {
    const count = Math.ceil(amount / RESOURCE_SCALE);
    const share = Math.min(amount, RESOURCE_SCALE);
    const taken: number[] = [];
    while (taken.length < count) {
      let best = -1;
      for (let id = 0; id < this.#deviceCount; id++) {
        const free = this.#free[id]!;
        if (free >= share && (best === -1 || free < this.#free[best]!)) best = id;
      }
      if (best === -1) throw new Error(`no GPU with ${share} units free`);
      this.#free[best]! -= share;
      taken.push(best);
    }
    this.#count();
    return taken;
  }

  /** Takes exactly these, whether they are free or not: somebody has them already. */
  claim(gpuIds: readonly number[], amount: number): void {
    for (const id of gpuIds) {
      while (this.#free.length <= id) this.#free.push(RESOURCE_SCALE);
      this.#free[id]! -= Math.min(amount, RESOURCE_SCALE);
    }
    this.#count();
  }

  /** Gives back what was taken for the amount. */
  giveBack(gpuIds: readonly number[], amount: number): void {
    for (const id of gpuIds) this.#free[id]! += Math.min(amount, RESOURCE_SCALE);
    this.#count();
  }

  /** The node has another number of GPUs now; the last ones come and go. */
  resize(units: number): void {
    this.#deviceCount = Math.ceil(units / RESOURCE_SCALE);
    while (this.#free.length < this.#deviceCount) this.#free.push(Math.min(RESOURCE_SCALE, units - this.#free.length * RESOURCE_SCALE));
    this.#count();
  }

  /** The free units of each GPU that has any. */
  free(): { readonly id: number; readonly free: number }[] {
    return this.#free.slice(0, this.#deviceCount).flatMap((free, id) => (free > 0 ? [{ id, free }] : []));
  }

  /** The free units of each GPU, also of those that have none. */
  freeOfEach(): readonly number[] {
    return this.#free.slice(0, this.#deviceCount);
  }

  /** What {@link freeOfEach} gave, of as many GPUs. */
  restore(free: readonly number[]): void {
    this.#free = [...free];
    this.#count();
  }

  assign(other: GpuDevices): void {
    this.#free = [...other.#free];
    this.#deviceCount = other.#deviceCount;
    this.#count();
  }

  #count(): void {
    this.#freeUnits = 0;
    this.#wholeCount = 0;
    this.#largestPart = 0;
    for (let id = 0; id < this.#deviceCount; id++) {
      const free = this.#free[id]!;
      this.#freeUnits += free;
      if (free === RESOURCE_SCALE) this.#wholeCount++;
      if (free > this.#largestPart) this.#largestPart = free;
    }
  }
}
