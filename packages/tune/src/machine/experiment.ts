/**
 * An experiment as a pure machine: it asks the searcher for trials and the scheduler for decisions, and writes down each answer as a record in
 * the same step. Going on with a log is running it again: the searcher and the scheduler are asked everything once more, in the same order, and
 * must say the same, because equal calls in equal order give equal answers. So nothing is decided twice, and the log is all there is. The states of the searcher
 * and the scheduler after some record are a shortcut: what they were asked before need not be asked again.
 *
 *     trial:  suggest -> running -> report* -> end
 *                           ^________|  exploit: another configuration, another checkpoint
 *                           ^________|  retry: the same, from the last checkpoint
 */
import { makeError } from '@muster/base';
import { isDeepStrictEqual } from 'node:util';
import type { Decision, Scheduler } from '../scheduler.js';
import type { Json, Objective, Searcher, Suggestion } from '../searcher.js';
import { BudgetWatch, type Budget } from './budget.js';
import type { EndRecord, LogRecord, Metrics, RecordedDecision, ReportRecord } from './records.js';
import { TrialTable, type TrialRow } from './trial-table.js';

/** What an experiment works with. */
export interface ExperimentPlan {
  readonly objectives: readonly Objective[];
  readonly searcher: Searcher;
  readonly scheduler: Scheduler;
  readonly budget: Budget;
  /** Tried before the searcher is asked. */
  readonly initialPoints: readonly unknown[];
  /** Further attempts of a trial that broke off. */
  readonly retries: number;
  /** Takes every record, before what it says takes effect. */
  readonly write: (record: LogRecord) => void;
  /** Hears of every record after the table has taken it in. */
  readonly told: (record: LogRecord) => void;
}

/** What to do next. */
export type Next = { readonly kind: 'start'; readonly trial: TrialRow } | { readonly kind: 'wait' | 'finished'; readonly reason: string };

/** What a trial told. */
export interface Report {
  readonly trialId: string;
  readonly step: number;
  readonly metrics: Metrics;
  readonly hasCheckpoint: boolean;
}

/** How a trial ended, by its own account. */
export type Outcome =
  | { readonly status: 'completed'; readonly metrics: Metrics | null; readonly reason?: string }
  | { readonly status: 'stopped' | 'failed'; readonly reason: string };

/** How a trial ends that was told to. */
export function outcomeOf({ kind, reason }: RecordedDecision): Outcome {
  return kind === 'complete' ? { status: 'completed', metrics: null, reason } : { status: 'stopped', reason };
}

/** What the searcher and the scheduler knew after some record. */
export interface ExperimentState {
  readonly searcher: Json;
  readonly scheduler: Json;
}

/** One experiment. Times count milliseconds in which it was run. */
export class Experiment {
  readonly table: TrialTable;
  readonly #plan: ExperimentPlan;
  readonly #budget: BudgetWatch;
  /** What running trials are given: it may hold what a log cannot, such as functions. */
  readonly #configs = new Map<string, unknown>();
  #initialPoints = 0;
  /** Why nothing more was tried, where that was the last to be written down. */
  #finished: string | null = null;

  constructor(plan: ExperimentPlan) {
    this.#plan = plan;
    this.table = new TrialTable(plan.objectives);
    this.#budget = new BudgetWatch(plan.budget, plan.objectives[0]!);
  }

  /** The next trial; or why there is none now, or none any more. */
  next(nowMs: number): Next {
    const why = this.#budget.whyNoMore(this.table, nowMs);
    if (why !== null) return { kind: 'finished', reason: why };
    const id = String(this.table.begun + 1);
    const suggestion = this.#suggest(id);
    if (suggestion.kind !== 'trial') return suggestion;
    this.#write({ kind: 'trial', id, config: asJson(suggestion.config), reason: suggestion.reason, isInitial: suggestion.isInitial, atMs: nowMs });
    return { kind: 'start', trial: this.table.runningRow(id)! };
  }

  /** What becomes of a trial that has reported. A report that was answered before gets the same answer. */
  report({ trialId, step, metrics, hasCheckpoint }: Report, nowMs: number): RecordedDecision {
    const row = this.table.runningRow(trialId);
    if (!row) return { kind: 'stop', reason: 'the trial has ended already' };
    if (step < row.step) return { kind: 'continue', reason: 'this step was reported before' };
    if (step === row.step && row.lastDecision) return row.lastDecision.kind === 'exploit' ? { kind: 'continue', reason: 'it goes on from there' } : row.lastDecision;
    const decision = this.#decide({ trialId, step, metrics, hasCheckpoint }, nowMs);
    this.#write({ kind: 'report', id: trialId, step, metrics, hasCheckpoint, decision, atMs: nowMs });
    return decision;
  }

  /** A trial has ended. What ends a second time is ignored. */
  end(trialId: string, outcome: Outcome, nowMs: number): void {
    const row = this.table.runningRow(trialId);
    if (!row) return;
    const record = this.#endOf(row, outcome, nowMs);
    this.#tellEnd(record);
    this.#write(record);
  }

  /** An attempt broke off: whether there is another one. The trial has ended where there is none. */
  brokeOff(trialId: string, cause: string, nowMs: number): boolean {
    const row = this.table.runningRow(trialId);
    if (!row) return false;
    if (row.attempt <= this.#plan.retries) {
      this.#write({ kind: 'retry', id: trialId, cause, atMs: nowMs });
      return true;
    }
    this.end(trialId, { status: 'failed', reason: row.attempt === 1 ? cause : `attempt ${row.attempt} failed, too: ${cause}` }, nowMs);
    return false;
  }

  /** Why running trials are to be stopped; null: they may go on. */
  whyStop(nowMs: number): string | null {
    return this.#budget.whyStop(nowMs);
  }

  /** What a running trial is given now. */
  configOf(trialId: string): unknown {
    return this.#configs.get(trialId);
  }

  /** Whether a checkpoint is a trial's last, or one that another trial may yet go on from. */
  needsCheckpoint(trialId: string, checkpointStep: number): boolean {
    return (this.#plan.scheduler.keeps?.(trialId, checkpointStep) ?? false) || this.table.get(trialId)?.checkpointStep === checkpointStep;
  }

  /** After a replay: the trials that were running, which start again from their last checkpoints. Those that had been told to stop have ended. */
  interrupted(nowMs: number): TrialRow[] {
    for (const { id, lastDecision } of this.table.runningRows()) if (lastDecision?.kind === 'stop' || lastDecision?.kind === 'complete') this.end(id, outcomeOf(lastDecision), nowMs);
    return this.table.runningRows();
  }

  /** Nothing more will be tried. What is over is over once: a resumption that finds nothing to do leaves the log as it is. */
  finish(reason: string, nowMs: number): void {
    if (reason !== this.#finished) this.#write({ kind: 'finish', reason, atMs: nowMs });
  }

  /**
   * Lives through a record of the log again.
   * @throws EXPERIMENT_DIFFERS where the searcher or the scheduler say something else than they did
   */
  replay(record: LogRecord): void {
    switch (record.kind) {
      case 'trial': {
        const suggestion = this.#suggest(record.id);
        if (suggestion.kind !== 'trial' || !isDeepStrictEqual(asJson(suggestion.config), record.config)) throw differs(`trial ${record.id} would be another one`);
        break;
      }
      case 'report': this.#replayReport(record); break;
      case 'end': this.#tellEnd(record); break;
      case 'begin': case 'retry': case 'finish':
    }
    this.#take(record);
  }

  /** What a later run may start from, with {@link recall}; null where running trials have configurations that a log cannot hold: those come from the searcher alone. */
  state(): ExperimentState | null {
    for (const [id, config] of this.#configs) if (!isDeepStrictEqual(config, this.table.get(id)!.config)) return null;
    return { searcher: this.#plan.searcher.state(), scheduler: this.#plan.scheduler.state() };
  }

  /** Takes in a record that the searcher and the scheduler know of, because they were made from states that are as old or younger. */
  recall(record: LogRecord): void {
    if (record.kind === 'trial') {
      this.#configs.set(record.id, record.config);
      if (record.isInitial) this.#initialPoints++;
    }
    if (record.kind === 'report' && record.decision.kind === 'exploit') this.#configs.set(record.id, record.decision.config);
    this.#take(record);
  }

  #suggest(id: string): Exclude<Suggestion, { kind: 'trial' }> | { kind: 'trial'; config: unknown; reason: string; isInitial: boolean } {
    const { initialPoints, scheduler, searcher } = this.#plan;
    const initial = initialPoints[this.#initialPoints];
    if (initial !== undefined) {
      this.#initialPoints++;
      searcher.adopt(id, initial);
      scheduler.start(id, initial);
      this.#configs.set(id, initial);
      return { kind: 'trial', config: initial, reason: `initial point ${this.#initialPoints}`, isInitial: true };
    }
    const suggestion = searcher.suggest(id);
    if (suggestion.kind !== 'trial') return suggestion;
    scheduler.start(id, suggestion.config);
    this.#configs.set(id, suggestion.config);
    return { ...suggestion, isInitial: false };
  }

  #decide({ trialId, step, metrics, hasCheckpoint }: Report, nowMs: number): RecordedDecision {
    const decision = this.#tellReport({ id: trialId, step, metrics, hasCheckpoint });
    this.#spend(trialId, metrics);
    const why = this.#budget.whyStop(nowMs);
    if (why !== null) return { kind: 'stop', reason: why };
    if (decision.kind !== 'exploit') return decision;
    if (!(decision.checkpointStep > 0)) {
      throw makeError('INVALID_ARGUMENT', { what: `trial ${decision.trialId}, from which trial ${trialId} shall go on,`, want: 'one that reports checkpoints: trial.report(metrics, { checkpoint })' });
    }
    this.#configs.set(trialId, decision.config);
    return { ...decision, config: asJson(decision.config) };
  }

  #tellReport({ id, step, metrics, hasCheckpoint }: Pick<ReportRecord, 'id' | 'step' | 'metrics' | 'hasCheckpoint'>): Decision {
    const report = { trialId: id, step, values: this.table.valuesOf(metrics)! };
    this.#plan.searcher.report(report);
    return this.#plan.scheduler.report({ ...report, checkpointStep: hasCheckpoint ? step : this.table.get(id)!.checkpointStep });
  }

  #replayReport(record: ReportRecord): void {
    const decision = this.#tellReport(record);
    // A budget may have stopped the trial whatever the scheduler said, and budgets may be larger now.
    if (record.decision.kind === 'stop') return;
    if (decision.kind !== record.decision.kind) throw differs(`step ${record.step} of trial ${record.id} would be answered with '${decision.kind}', and was with '${record.decision.kind}'`);
    if (decision.kind === 'exploit') this.#configs.set(record.id, decision.config);
  }

  #endOf(row: TrialRow, outcome: Outcome, atMs: number): EndRecord {
    const { id } = row;
    if (outcome.status !== 'completed') return { kind: 'end', id, status: outcome.status, metrics: row.metrics, reason: outcome.reason, atMs };
    const metrics = outcome.metrics ? { ...row.metrics, ...outcome.metrics } : row.metrics;
    const { objectives, budget: { cost } } = this.#plan;
    const needed = [...objectives, ...(cost ? [cost] : [])];
    if (hasAll(metrics, needed)) return { kind: 'end', id, status: 'completed', metrics, reason: outcome.reason ?? 'it ran to its end', atMs };
    return { kind: 'end', id, status: 'failed', metrics: row.metrics, reason: whatIsMissing(metrics, needed), atMs };
  }

  #tellEnd({ id, status, metrics }: EndRecord): void {
    const end = { trialId: id, status, values: this.table.valuesOf(metrics) };
    this.#plan.searcher.end(end);
    this.#plan.scheduler.end(end);
  }

  #write(record: LogRecord): void {
    this.#plan.write(record);
    this.#take(record);
    this.#plan.told(record);
  }

  #take(record: LogRecord): void {
    this.table.apply(record);
    this.#finished = record.kind === 'finish' ? record.reason : null;
    if (record.kind === 'report') this.#spend(record.id, record.metrics);
    if (record.kind !== 'end') return;
    this.#configs.delete(record.id);
    if (record.metrics) this.#spend(record.id, record.metrics);
    this.#budget.ended(record.id, record.status === 'failed' ? null : (this.table.valuesOf(record.metrics)?.[0] ?? null));
  }

  #spend(trialId: string, metrics: Metrics): void {
    const { cost } = this.#plan.budget;
    if (cost) this.#budget.spend(trialId, metrics[cost.metric]);
  }
}

/** A metric that must be a finite number: an objective, or what trials cost. */
type Needed = Pick<Objective, 'metric'>;

function hasAll(metrics: Metrics | null, needed: readonly Needed[]): boolean {
  return needed.every(({ metric }) => typeof metrics?.[metric] === 'number' && Number.isFinite(metrics[metric]));
}

/** What lacks for a result, in a sentence. */
export function whatIsMissing(metrics: Metrics | null, needed: readonly Needed[]): string {
  if (metrics === null) return `it ended without a result: return { ${needed[0]!.metric} } or call trial.report({ ${needed[0]!.metric} })`;
  const { metric } = needed.find((one) => !hasAll(metrics, [one]))!;
  if (metric in metrics) return `its metric '${metric}' is ${String(metrics[metric])}, and must be a finite number`;
  return `its result lacks the metric '${metric}'; it has ${Object.keys(metrics).join(', ') || 'none'}`;
}

/** A value as a log can hold it: functions by their names, large integers by their digits. */
export function asJson(value: unknown): Json {
  const text = JSON.stringify(value, (_, part: unknown) => (typeof part === 'function' ? part.name || 'function' : typeof part === 'bigint' ? String(part) : part));
  return JSON.parse(text ?? 'null') as Json;
}

const differs = (difference: string): Error => makeError('EXPERIMENT_DIFFERS', { folder: 'the folder', difference });
