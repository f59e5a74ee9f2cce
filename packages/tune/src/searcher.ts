/**
 * The port between an experiment and what proposes its trials. A searcher is pure: it does no I/O, reads no clock, and draws its
 * randomness from the context's seed. Equal calls in equal order give equal suggestions.
 */
import type { SearchSpace } from './space/search-space.js';

/** What to make small or large. */
export interface Objective {
  /** The name of the metric that trials report. */
  readonly metric: string;
  readonly mode: 'min' | 'max';
}

/** What a searcher works for. */
export interface SearcherContext {
  readonly space: SearchSpace;
  /** At least one. Only searchers for several objectives take more. */
  readonly objectives: readonly Objective[];
  /** Everything random follows from it. */
  readonly seed: number;
}

/** What JSON can hold. States are data for a log. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** The next trial; or that there is none until others have ended; or that there will be none. With the reason, for people. */
export type Suggestion =
  | { readonly kind: 'trial'; readonly config: unknown; readonly reason: string }
  | { readonly kind: 'wait'; readonly reason: string }
  | { readonly kind: 'finished'; readonly reason: string };

/** How a trial ended: it ran to its end; a scheduler stopped it; or it failed, which counts as worse than any value. */
export type TrialStatus = 'completed' | 'stopped' | 'failed';

/** What a trial said while it runs. Values come in the order of the objectives, as the metrics were reported (not negated for 'max'). */
export interface TrialReport {
  readonly trialId: string;
  /** How far the trial is, in units of the scheduler's resource (epochs), from 1 on. */
  readonly step: number;
  readonly values: readonly number[];
}

/** The end of a trial. */
export interface TrialEnd {
  readonly trialId: string;
  readonly status: TrialStatus;
  /** The trial's last, or best, values in the order of the objectives; null where it reported none. A value that is not finite counts as a failure. */
  readonly values: readonly number[] | null;
}

/** Proposes trials. Every method ignores what it has heard before: reports and ends may be repeated. */
export interface Searcher {
  /**
   * Proposes a trial that will be known by this id. Asked again for an id that has a trial, it answers the same; other answers than a trial
   * leave the id unused.
   */
  suggest(trialId: string): Suggestion;
  /**
   * Tells of a trial that this searcher did not propose: an initial point, one of an earlier experiment.
   * @throws InvalidArgumentError where the configuration is not one of the space
   */
  adopt(trialId: string, config: unknown): void;
  /** An intermediate result of a running trial. */
  report(report: TrialReport): void;
  /** A trial has ended. An end of an unknown trial is ignored. */
  end(end: TrialEnd): void;
  /** All that the searcher knows, for {@link SearcherDefinition.create}. A copy: it does not change any more. */
  state(): Json;
}

/** A searcher that was asked for, with its options: what `tpe()` and the others return. */
export interface SearcherDefinition {
  readonly name: string;
  /** Its own, where it was given one: an experiment is not taken up again with another. */
  readonly seed?: number;
  /**
   * Makes the searcher, from the state of an earlier one where it is given: it then goes on as that one would have.
   * @throws InvalidArgumentError where the searcher cannot work in this space or for these objectives
   */
  create(context: SearcherContext, state?: Json): Searcher;
}
