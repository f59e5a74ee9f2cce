/**
 * The port between an experiment and what decides about its running trials. As pure as a searcher. Trials report at steps; a
 * scheduler answers every report. Of several objectives it looks at the first.
 */
import type { Json, Objective, TrialEnd, TrialReport } from './searcher.js';
import type { SearchSpace } from './space/search-space.js';

/** What a scheduler works for. */
export interface SchedulerContext {
  readonly space: SearchSpace;
  readonly objectives: readonly Objective[];
  readonly seed: number;
}

/** What becomes of a trial that has reported, and why, for people. */
export type Decision =
  | { readonly kind: 'continue'; readonly reason: string }
  /** It is not worth more. */
  | { readonly kind: 'stop'; readonly reason: string }
  /** It has come as far as any trial shall. */
  | { readonly kind: 'complete'; readonly reason: string }
  /** The trial goes on from a checkpoint of another, with this configuration. */
  | { readonly kind: 'exploit'; readonly trialId: string; readonly checkpointStep: number; readonly config: unknown; readonly reason: string };

/** A report as schedulers hear of it. */
export interface ScheduledReport extends TrialReport {
  /** The step of the trial's last checkpoint, which may be this report's. Missing or 0: it has none. */
  readonly checkpointStep?: number;
}

/** Decides about running trials. Equal calls in equal order give equal decisions. */
export interface Scheduler {
  /** A trial begins. A repetition is ignored. */
  start(trialId: string, config: unknown): void;
  /** A report that was made before, of this step or a later one, gets 'continue' and changes nothing. */
  report(report: ScheduledReport): Decision;
  /** A trial has ended, by itself or stopped. */
  end(end: TrialEnd): void;
  /** Whether some trial may yet go on from this checkpoint, though its own trial has a later one: then it is kept. Where this is missing, none may. */
  keeps?(trialId: string, checkpointStep: number): boolean;
  /** All that the scheduler knows, for {@link SchedulerDefinition.create}. */
  state(): Json;
}

/** A scheduler that was asked for, with its options: what `asha()` and the others return. */
export interface SchedulerDefinition {
  readonly name: string;
  /** @throws InvalidArgumentError where an option or the space does not fit */
  create(context: SchedulerContext, state?: Json): Scheduler;
}
