/** A trial as its function or class sees it. */
import type { Json } from './searcher.js';

/** How a report is made. */
export interface ReportOptions {
  /** What to go on from: anything that structured clone takes. It is on disk when the report resolves. */
  readonly checkpoint?: unknown;
  /** How far the trial is. Default: one more than at the last report, from `startEpoch + 1` on. */
  readonly step?: number;
  /** What happens when the trial shall stop: `throw` (default) ends the function with a {@link TrialStopped}; `return` resolves with false. */
  readonly onStop?: 'throw' | 'return';
}

/** What a trial is given beside its configuration. */
export interface Trial {
  /** Counts the trials of the experiment, from 1; a text. */
  readonly id: string;
  /** How many epochs the checkpoint has behind it: 0 at a trial's first start. Loops begin here. */
  readonly startEpoch: number;
  /** The last checkpoint that was reported, by this trial or, in population-based training, by the one it goes on from; null: there is none. */
  readonly checkpoint: unknown;
  /** Counts starts of this trial, from 1. */
  readonly attempt: number;
  /** Aborts when the trial shall stop before its next report: the time budget is used up, or the experiment was aborted. */
  readonly signal: AbortSignal;
  /**
   * Tells how far the trial is, and resolves when it is written down, with true: go on. In a gang rank 0's metrics and checkpoint count; the other ranks wait
   * for the answer that it gets for the same step.
   * @throws TrialStopped where the trial shall stop: let it pass. INVALID_ARGUMENT where a metric of the objective is missing or not a finite number
   */
  report(metrics: Readonly<Record<string, Json>>, options?: ReportOptions): Promise<boolean>;
}

/** Ends the function of a trial that shall stop. It is no failure: code that catches errors lets it pass. */
export class TrialStopped extends Error {
  constructor(readonly reason: string) {
    super(`the trial was stopped: ${reason}`);
    this.name = 'TrialStopped';
  }
}

/** A function to be tuned. It reports, or returns its metrics, or both. */
export type Trainable<Config> = (config: Config, trial: Trial) => TrainableResult | Promise<TrainableResult>;
/** Metrics by name; a single number is the first objective's; nothing, where it reports. */
export type TrainableResult = Readonly<Record<string, Json>> | number | void;

/** Where a trial of a class is. */
export type TrialStep = Pick<Trial, 'id' | 'attempt' | 'signal'> & {
  /** Of the step to be made, from 1. */
  readonly step: number;
};

/** What {@link TrainableClass} makes: a trial that the tuner steps. Between steps it may be stopped, saved, and told to go on from elsewhere. */
export interface SteppedTrial<Config> {
  /** Makes one step, and tells how it went, as the result of a function does. Nothing: the trial has run to its end. */
  step(trial: TrialStep): TrainableResult | null | Promise<TrainableResult | null>;
  /** The checkpoint after a step: anything that structured clone takes. Nothing: there is none after this step. In a gang rank 0 is asked. */
  save?(): unknown;
  /**
   * Goes on from a checkpoint: after its constructor, where another attempt or process takes the trial up; and in population-based training in place, from
   * another trial's checkpoint with a configuration that is not the constructor's.
   */
  load?(checkpoint: never, config: Config): void | Promise<void>;
}

/** A class to be tuned: each trial is an actor of it, in a process of its own. */
export type TrainableClass<Config> = new (config: Config) => SteppedTrial<Config>;

/** Whether it is a class whose instances are stepped, and not a function. */
export function isTrainableClass(trainable: Trainable<never> | TrainableClass<never>): trainable is TrainableClass<never> {
  return typeof (trainable.prototype as Partial<SteppedTrial<never>> | undefined)?.step === 'function';
}
