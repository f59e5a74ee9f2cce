/** The references of this process to objects of others, held weakly: when the collector takes one, its owner is to hear of it. */
import type { ObjectId } from '@muster/base';
import type { ForeignRefs } from '../machine/ports.js';
import type { ObjectRef } from '../machine/reference.js';

export class WeakForeignRefs implements ForeignRefs {
  readonly #refs = new Map<ObjectId, WeakRef<ObjectRef>>();
  readonly #registry = new FinalizationRegistry<{ id: ObjectId; ownerId: string }>(({ id, ownerId }) => {
    if (this.find(id)) return; // made anew meanwhile
    this.#refs.delete(id);
    this.collected(id, ownerId);
  });

  /** `collected` is told when nobody holds a reference any more. */
  constructor(readonly collected: (id: ObjectId, ownerId: string) => void) {}

  find(id: ObjectId): ObjectRef | undefined {
    return this.#refs.get(id)?.deref();
  }

  add(ref: ObjectRef): void {
    const { id, ownerId } = ref.detail!.foreign!;
    this.#refs.set(id, new WeakRef(ref));
    this.#registry.register(ref, { id, ownerId });
  }
}
