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
  /** How many ranks wait for the answer, this one included. */
  readonly size: number;
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
export type ReportId = Pick<TrialMessage, 'trialId' | 'launch' | 'step'>;

export const keyOf = ({ trialId, launch, step }: ReportId): string => `${trialId}/${launch}/${step}`;

/** What one answer of `take` holds at most: reports may carry checkpoints. */
const BATCH_MAX = 64;

/** A gang's trial: what its rank 0 was told last, and the ranks that wait for what it will be told. */
interface Following {
  launch: number;
  last: { readonly step: number; readonly answer: TrialAnswer } | null;
  readonly waiting: { readonly step: number; readonly resolve: (answer: TrialAnswer) => void }[];
}

const GOES_ON: TrialAnswer = { kind: 'continue', reason: 'rank 0 went on from there' };
const OF_AN_EARLIER_START: TrialAnswer = { kind: 'end', reason: 'the trial was started again' };

/** The actor's class. */
export class Mailbox {
  readonly #unanswered = new Map<string, { readonly message: TrialMessage; readonly resolve: (answer: TrialAnswer) => void }>();
  readonly #following = new Map<string, Following>();
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

  /** Called by the other ranks of a gang; resolves with what rank 0 was told at this step. Rank 0 never waits for them. */
  follow({ trialId, launch, step }: ReportId): Promise<TrialAnswer> {
    const following = this.#followingOf(trialId, launch);
    if (launch < following.launch) return Promise.resolve(OF_AN_EARLIER_START);
    const known = knownAnswer(following, step);
    return known ? Promise.resolve(known) : new Promise((resolve) => following.waiting.push({ step, resolve }));
  }

  /** Called by the driver. Answers to reports that are not here are ignored: those will be made again. */
  answer(report: ReportId, answer: TrialAnswer): void {
    const key = keyOf(report);
    const unanswered = this.#unanswered.get(key);
    unanswered?.resolve(answer);
    this.#unanswered.delete(key);
    this.#taken.delete(key);
    if (unanswered && unanswered.message.size > 1) this.#tellFollowers(report, answer);
  }

  /** Called by the driver: no rank of the gang runs any more. */
  forget(trialId: string): void {
    this.#following.delete(trialId);
  }

  #tellFollowers({ trialId, launch, step }: ReportId, answer: TrialAnswer): void {
    const following = this.#followingOf(trialId, launch);
    following.last = { step, answer };
    for (const { step: at, resolve } of following.waiting.splice(0)) {
      const known = knownAnswer(following, at);
      if (known) resolve(known);
      else following.waiting.push({ step: at, resolve });
    }
  }

  #followingOf(trialId: string, launch: number): Following {
    let following = this.#following.get(trialId);
    if (following === undefined || following.launch < launch) this.#following.set(trialId, (following = { launch, last: null, waiting: [] }));
    return following;
  }
}

/** What a rank is told that is as far as this; null: rank 0 has not been there. */
function knownAnswer({ last }: Following, step: number): TrialAnswer | null {
  if (last === null) return null;
  if (step < last.step) return GOES_ON;
  return step === last.step || last.answer.kind === 'end' ? last.answer : null;
}
