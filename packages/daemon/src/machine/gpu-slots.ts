/** Which GPU belongs to which lease. A GPU is given whole, or in parts to several leases; a lease's part lies on one GPU. */
import { RESOURCE_SCALE } from '@muster/base';

/** The free part of each GPU. */
export class GpuSlots {
  /** Free units of each GPU by its id. */
  readonly #free: Map<number, number>;

  constructor(gpuIds: readonly number[]) {
    this.#free = new Map(gpuIds.map((id) => [id, RESOURCE_SCALE]));
  }

  /** Whether the amount, in units, could be had when nothing else ran. */
  canEverHold(amount: number): boolean {
    return Math.ceil(amount / RESOURCE_SCALE) <= this.#free.size;
  }

  /**
   * Takes GPUs, or returns null when there are not enough free ones.
   * @param amount in units: below one GPU, or of whole ones
   * @param preferred sets of GPUs to take if they are free: workers that know them are waiting
   */
  take(amount: number, preferred: readonly (readonly number[])[]): readonly number[] | null {
    if (amount === 0) return [];
    const count = Math.ceil(amount / RESOURCE_SCALE);
    const share = Math.min(amount, RESOURCE_SCALE);
    const isFree = (id: number): boolean => (this.#free.get(id) ?? 0) >= share;
    const known = preferred.find((ids) => ids.length === count && ids.every(isFree));
    const chosen = known ?? this.#fullest(isFree).slice(0, count);
    if (chosen.length < count) return null;
    for (const id of chosen) this.#free.set(id, this.#free.get(id)! - share);
    return chosen;
  }

  /** Gives back what {@link take} gave for the amount. */
  giveBack(gpuIds: readonly number[], amount: number): void {
    const share = Math.min(amount, RESOURCE_SCALE);
    for (const id of gpuIds) this.#free.set(id, this.#free.get(id)! + share);
  }

  /** Those that have the least to spare first, so that whole GPUs stay whole. */
  #fullest(isFree: (id: number) => boolean): number[] {
    return [...this.#free.keys()].filter(isFree).sort((a, b) => this.#free.get(a)! - this.#free.get(b)! || a - b);
  }
}
