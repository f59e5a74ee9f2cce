/** References inside results and values of generators, which nobody but the worker may hold until their caller has counted them. */
import type { ObjectRef } from '@muster/core/internal';

/** The references in one result, or in the value of a generator with this index. */
interface Parcel {
  readonly index: number;
  readonly refs: readonly ObjectRef[];
}

export class Escrow {
  readonly #parcels = new Map<number, Parcel[]>();

  add(slot: number, parcel: Parcel): void {
    const parcels = this.#parcels.get(slot);
    if (parcels) parcels.push(parcel);
    else this.#parcels.set(slot, [parcel]);
  }

  /** The caller has counted a parcel's references. Of several of a slot and index it is the first: a slot may be another task's before all is counted. */
  take(slot: number, index: number): readonly ObjectRef[] {
    const parcels = this.#parcels.get(slot) ?? [];
    const at = parcels.findIndex((parcel) => parcel.index === index);
    if (at < 0) return [];
    const [taken] = parcels.splice(at, 1);
    if (parcels.length === 0) this.#parcels.delete(slot);
    return taken!.refs;
  }

  *refs(): Iterable<ObjectRef> {
    for (const parcels of this.#parcels.values()) for (const { refs } of parcels) yield* refs;
  }

  /** Takes all. */
  empty(): ObjectRef[] {
    const refs = [...this.refs()];
    this.#parcels.clear();
    return refs;
  }
}
