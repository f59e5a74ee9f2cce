/**
 * The garbage collector of a simulated process, for references alone: finds those that nothing leads to any more, and says so late, as a
 * real one does. Roots are what users' code holds and what the owner's machine has under way.
 */
import { RefState, StoredObject, type ObjectRef, type Owner } from '@muster/core/internal';

type Detail = NonNullable<ObjectRef['detail']>;
type Lineage = NonNullable<Detail['lineage']>;

/** What the finalization registry of a real session remembers of an owned reference. */
interface Registration {
  readonly ref: ObjectRef;
  readonly stored: StoredObject;
  readonly detail: Detail;
}

/** What the collector looks at. */
export interface CollectorOptions {
  /** The process's owner; null as long as it has none, and so nothing to collect. */
  readonly owner: () => Owner | null;
  /** What else holds references, beside users' code and the machine. */
  readonly roots: () => Iterable<ObjectRef>;
  /** A foreign reference is gone. */
  readonly onForeignGone: (ref: ObjectRef) => void;
}

/** The collector of one process. */
export class Collector {
  readonly #options: CollectorOptions;
  readonly #held = new Map<ObjectRef, number>();
  readonly #foreign = new Set<ObjectRef>();
  #registrations: Registration[] = [];

  constructor(options: CollectorOptions) {
    this.#options = options;
  }

  /** Users' code holds the reference (once more). */
  hold(ref: ObjectRef): void {
    this.#held.set(ref, (this.#held.get(ref) ?? 0) + 1);
  }

  letGo(ref: ObjectRef): void {
    const count = this.#held.get(ref) ?? 0;
    if (count > 1) this.#held.set(ref, count - 1);
    else this.#held.delete(ref);
  }

  /** Watches an owned reference whose value is stored. */
  watch(ref: ObjectRef): void {
    this.#registrations.push({ ref, stored: ref.value as StoredObject, detail: (ref.detail ??= {}) });
  }

  watchForeign(ref: ObjectRef): void {
    this.#foreign.add(ref);
  }

  get heldCount(): number {
    return this.#held.size;
  }

  get watchedCount(): number {
    return this.#registrations.length + this.#foreign.size;
  }

  /** Collects what can no longer be reached. */
  collect(): void {
    const owner = this.#options.owner();
    if (!owner || this.watchedCount === 0) return;
    const reached = this.#reach(owner);
    const gone = this.#registrations.filter(({ ref }) => !reached.has(ref));
    this.#registrations = this.#registrations.filter(({ ref }) => reached.has(ref));
    for (const { ref, stored, detail } of gone) owner.objects.collected(ref.sequence, stored, detail);
    for (const ref of [...this.#foreign]) {
      if (reached.has(ref)) continue;
      this.#foreign.delete(ref);
      this.#options.onForeignGone(ref);
    }
  }

  #reach({ slots }: Owner): Set<ObjectRef> {
    const reached = new Set<ObjectRef>();
    const open: ObjectRef[] = [];
    const add = (ref: ObjectRef | undefined): void => {
      if (!ref || reached.has(ref)) return;
      reached.add(ref);
      open.push(ref);
    };
    for (const ref of this.#held.keys()) add(ref);
    for (const ref of this.#options.roots()) add(ref);
    for (const { ref } of this.#registrations) if (ref.detail?.export) add(ref);
    for (const ref of slots.refs) add(ref);
    for (const template of slots.templates.values()) addTemplate(template, add);
    for (let ref = open.pop(); ref; ref = open.pop()) {
      for (const inner of ref.detail?.contained ?? []) add(inner);
      if (ref.state === RefState.stored) for (const inner of (ref.value as StoredObject).contained) add(inner);
      if (ref.detail?.lineage) addTemplate(ref.detail.lineage.template, add);
    }
    return reached;
  }
}

function addTemplate(template: Lineage['template'], add: (ref: ObjectRef) => void): void {
  for (const part of template.parts) if (!(part instanceof Uint8Array)) add(part);
  for (const ref of template.held) add(ref);
  for (const ref of template.passed) add(ref);
}
