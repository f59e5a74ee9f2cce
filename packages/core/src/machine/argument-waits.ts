/** Tasks that wait for their arguments: references whose values are not there yet. */
import type { MusterError } from '@muster/base';
import type { Owner } from './owner.js';
import { attachWaiter, containedIn, detachWaiter, ObjectRef, RefState, type EncodedValue, type Waiter } from './reference.js';
import { SlotState } from './slots.js';

const isRef = (part: Uint8Array | ObjectRef): part is ObjectRef => part instanceof ObjectRef;

export class ArgumentWaits {
  readonly #waiting = new Map<number, ArgumentWaiter>();

  constructor(readonly owner: Owner) {}

  /** Queues the task of a slot as soon as its arguments have settled. */
  wait(slot: number): void {
    const { parts } = this.owner.slots.templates.get(slot)!;
    const pending = parts.filter(isRef).filter((ref) => !this.owner.objects.isReady(ref));
    if (pending.length > 0) this.#waiting.set(slot, new ArgumentWaiter(pending, () => this.#settled(slot)));
    else this.#settled(slot);
  }

  /** Whether the arguments of the task in front of its queue are still there. If one was lost meanwhile, it waits for them again. */
  areReady(slot: number): boolean {
    const { slots, objects } = this.owner;
    const refs = slots.templates.get(slot)?.parts.filter(isRef) ?? [];
    if (refs.every((ref) => objects.isReady(ref) && ref.state !== RefState.failed)) return true;
    const { queue, fn } = slots.specs[slot]!;
    slots.states[slot] = SlotState.waiting;
    if (fn !== null) queue.ring.shift();
    this.wait(slot);
    return false;
  }

  /** The task was cancelled, or has failed. */
  drop(slot: number): void {
    this.#waiting.get(slot)?.drop();
    this.#waiting.delete(slot);
  }

  #settled(slot: number): void {
    this.#waiting.delete(slot);
    const { slots, objects } = this.owner;
    const template = slots.templates.get(slot)!;
    const refs = template.parts.filter(isRef);
    const failed = refs.find((ref) => ref.state === RefState.failed);
    if (failed) return this.owner.fail(slot, failed.value as MusterError | EncodedValue);
    if (refs.some((ref) => ref.state === RefState.pending)) return this.wait(slot); // lost again meanwhile
    slots.states[slot] = SlotState.queued;
    const before = template.passed;
    template.passed = refs.flatMap((ref) => containedIn(ref));
    objects.sendingRefs(template.passed);
    objects.sentRefs(before);
    const { queue, fn } = slots.specs[slot]!;
    if (fn !== null) queue.ring.push(slot);
    this.owner.markDirty(queue);
  }
}

/** Waits for the arguments of one task. */
class ArgumentWaiter implements Waiter {
  #left: number;

  constructor(readonly refs: readonly ObjectRef[], readonly done: () => void) {
    this.#left = refs.length;
    for (const ref of refs) attachWaiter(ref, this);
  }

  settled(): void {
    if (--this.#left === 0) this.done();
  }

  drop(): void {
    for (const ref of this.refs) detachWaiter(ref, this);
  }
}
