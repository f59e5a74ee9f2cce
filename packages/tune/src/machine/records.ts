/** What an experiment's log holds, in order: every line is one of these. All that an experiment decides is here, and follows from what is here. */
import type { Json, Objective } from '../searcher.js';
import type { Decision } from '../scheduler.js';

/** What a trial reported, by name. Only numbers are compared; the rest is kept for people. */
export type Metrics = Readonly<Record<string, Json>>;

/** The first line: what the experiment is. Who goes on with it must ask for the same. */
export interface BeginRecord {
  readonly kind: 'begin';
  readonly version: 1;
  readonly name: string;
  /** The dimensions of the space, as data. */
  readonly space: Json;
  readonly objectives: readonly Objective[];
  readonly seed: number;
  readonly searcher: string;
  /** The experiment's, unless the searcher was given its own. */
  readonly searcherSeed: number;
  readonly scheduler: string;
  /** Milliseconds since 1970, in UTC. */
  readonly startedAt: number;
}

/** A trial was thought of. It is started after this line is written. */
export interface TrialRecord {
  readonly kind: 'trial';
  readonly id: string;
  readonly config: Json;
  readonly reason: string;
  /** One of the user's initial points, and not the searcher's. */
  readonly isInitial: boolean;
  readonly atMs: number;
}

/** A trial reported, and this is its answer. */
export interface ReportRecord {
  readonly kind: 'report';
  readonly id: string;
  readonly step: number;
  readonly metrics: Metrics;
  readonly hasCheckpoint: boolean;
  readonly decision: RecordedDecision;
  readonly atMs: number;
}

/** A scheduler's decision, or that of a budget that is used up. */
export type RecordedDecision = Exclude<Decision, { kind: 'exploit' }> | (Omit<Extract<Decision, { kind: 'exploit' }>, 'config'> & { readonly config: Json });

/** An attempt broke off, and another one is made from the last checkpoint. */
export interface RetryRecord {
  readonly kind: 'retry';
  readonly id: string;
  readonly cause: string;
  readonly atMs: number;
}

/** A trial has ended. */
export interface EndRecord {
  readonly kind: 'end';
  readonly id: string;
  readonly status: 'completed' | 'stopped' | 'failed';
  /** The last it reported or returned; null: nothing. */
  readonly metrics: Metrics | null;
  /** Why it ended, in a sentence. */
  readonly reason: string;
  readonly atMs: number;
}

/** The experiment is over: no trial will be thought of any more, unless it is resumed with a larger budget. */
export interface FinishRecord {
  readonly kind: 'finish';
  readonly reason: string;
  readonly atMs: number;
}

/** One line of the log. `atMs` counts the time in which the experiment was run: the time between a death and a resumption is left out. */
export type LogRecord = BeginRecord | TrialRecord | ReportRecord | RetryRecord | EndRecord | FinishRecord;
