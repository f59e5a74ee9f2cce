/**
 * Where trials and the driver meet: one actor for an experiment. A trial's report waits here until the driver has answered; the driver takes reports
 * in batches. The driver is no actor, and a trial's task has no way back to it, so this is the one process that an experiment has beside its trials.
 * It has no memory that matters: when it dies, trials report again and the driver gives the same answers.
 */
import type { ObjectRef } from '@muster/core';
import type { Metrics } from '../machine/records.js';

/** A report on its way to the driver. */
export interface TrialMessage {
  readonly trialId: string;
  /** Which start of the trial speaks. */
  readonly launch: number;
  readonly step: number;
  readonly metrics: Metrics;
  /** Small ones travel in the message, large ones by reference. */
  readonly checkpoint: Uint8Array | { readonly ref: ObjectRef<Uint8Array> } | null;
}

/** The driver's answer. `end`: the function shall end; what follows is the driver's business. */
export interface TrialAnswer {
  readonly kind: 'continue' | 'end';
  readonly reason: string;
}

/** Which report an answer is for. */
export const keyOf = ({ trialId, launch, step }: Pick<TrialMessage, 'trialId' | 'launch' | 'step'>): string => `${trialId}/${launch}/${step}`;

/** What one answer of `take` holds at most: reports may carry checkpoints. */
const BATCH_MAX = 64;

/** The actor's class. */
export class Mailbox {
  readonly #unanswered = new Map<string, { readonly message: TrialMessage; readonly resolve: (answer: TrialAnswer) => void }>();
  #taken = new Set<string>();
  #wake: (() => void) | null = null;

  /** Called by a trial; resolves with the driver's answer. */
  report(message: TrialMessage): Promise<TrialAnswer> {
    return new Promise((resolve) => {
      this.#unanswered.set(keyOf(message), { message, resolve });
      this.#taken.delete(keyOf(message));
      this.#wake?.();
    });
  }

  /** Called by the driver, one call at a time; resolves when there are reports. With `again`: also those it may have taken before, as a call may get lost. */
  async take(again: boolean): Promise<readonly TrialMessage[]> {
    if (again) this.#taken.clear();
    for (;;) {
      const batch: TrialMessage[] = [];
      for (const [key, { message }] of this.#unanswered) {
        if (this.#taken.has(key)) continue;
        this.#taken.add(key);
        if (batch.push(message) === BATCH_MAX) break;
      }
      if (batch.length > 0) return batch;
      await new Promise<void>((resolve) => { this.#wake = resolve; });
      this.#wake = null;
    }
  }

  /** Called by the driver. Answers to reports that are not here are ignored: those will be made again. */
  answer(key: string, answer: TrialAnswer): void {
    this.#unanswered.get(key)?.resolve(answer);
    this.#unanswered.delete(key);
    this.#taken.delete(key);
  }
}
