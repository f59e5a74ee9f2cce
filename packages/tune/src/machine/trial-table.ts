/** The trials of an experiment as its log tells of them: what is shown, and what a resumed experiment starts from. */
import type { Json, Objective, TrialStatus } from '../searcher.js';
import { dominates } from '../searchers/pareto.js';
import type { LogRecord, Metrics, RecordedDecision, ReportRecord } from './records.js';

/** Of a longer learning curve every second point is dropped, again and again: enough for a picture, and 10,000 trials stay small. */
const CURVE_POINTS_MAX = 256;

/** A trial, for whoever looks at it. */
export interface TrialRow {
  readonly id: string;
  /** What it was given last: population-based training changes it. */
  config: Json;
  readonly reason: string;
  readonly isInitial: boolean;
  readonly startedAtMs: number;
  status: 'running' | TrialStatus;
  /** Why it ended. */
  endReason: string;
  endedAtMs: number;
  /** Counts attempts, from 1. */
  attempt: number;
  /** The last step it reported; 0: none. */
  step: number;
  metrics: Metrics | null;
  /** The step of its last checkpoint; 0: none. */
  checkpointStep: number;
  lastDecision: RecordedDecision | null;
  /** The first objective by step. */
  curve: (readonly [step: number, value: number])[];
}

/** Every trial of an experiment, in the order in which they began. */
export class TrialTable {
  readonly rows: TrialRow[] = [];
  readonly #byId = new Map<string, TrialRow>();
  readonly #objectives: readonly Objective[];
  /** How many have not ended. */
  running = 0;
  failed = 0;
  stopped = 0;
  best: TrialRow | null = null;
  /** When the last thing happened. */
  lastAtMs = 0;

  constructor(objectives: readonly Objective[]) {
    this.#objectives = objectives;
  }

  get(id: string): TrialRow | undefined {
    return this.#byId.get(id);
  }

  get ended(): number {
    return this.rows.length - this.running;
  }

  /** Takes in what happened. Records of trials that never began are none of the log's own, and are ignored. */
  apply(record: LogRecord): void {
    if (record.kind === 'begin') return;
    this.lastAtMs = record.atMs;
    if (record.kind === 'finish') return;
    if (record.kind === 'trial') return this.#begin(record);
    const row = this.#byId.get(record.id);
    if (!row) return;
    switch (record.kind) {
      case 'report': return this.#report(row, record);
      case 'retry':
        row.attempt++;
        return;
      case 'end':
        row.status = record.status;
        row.endReason = record.reason;
        row.endedAtMs = record.atMs;
        row.metrics = record.metrics;
        this.running--;
        if (record.status === 'failed') this.failed++;
        if (record.status === 'stopped') this.stopped++;
        if (this.#isBetter(row)) this.best = row;
    }
  }

  /** The objectives' values; null where one is missing or not finite. */
  valuesOf(metrics: Metrics | null): readonly number[] | null {
    const values = this.#objectives.map(({ metric }) => metrics?.[metric]);
    return values.every((value) => typeof value === 'number' && Number.isFinite(value)) ? (values as number[]) : null;
  }

  /** Those whose results no other one beats in every objective, in the order in which they began. */
  paretoFront(): TrialRow[] {
    const done = this.rows.flatMap((row) => {
      const values = row.status === 'completed' || row.status === 'stopped' ? this.valuesOf(row.metrics) : null;
      return values ? [{ row, losses: values.map((value, index) => this.#lossOf(value, index)) }] : [];
    });
    return done.filter(({ losses }) => !done.some((other) => dominates(other.losses, losses))).map(({ row }) => row);
  }

  #begin({ id, config, reason, isInitial, atMs }: Extract<LogRecord, { kind: 'trial' }>): void {
    const row: TrialRow = {
      id, config, reason, isInitial, startedAtMs: atMs, status: 'running', endReason: '', endedAtMs: 0, attempt: 1, step: 0, metrics: null, checkpointStep: 0,
      lastDecision: null, curve: [],
    };
    this.rows.push(row);
    this.#byId.set(id, row);
    this.running++;
  }

  #report(row: TrialRow, { step, metrics, hasCheckpoint, decision }: ReportRecord): void {
    row.step = step;
    row.metrics = metrics;
    row.lastDecision = decision;
    if (hasCheckpoint) row.checkpointStep = step;
    if (decision.kind === 'exploit') {
      row.config = decision.config;
      row.checkpointStep = step; // the other trial's checkpoint, under this one's name
    }
    const value = this.valuesOf(metrics)?.[0];
    if (value !== undefined) row.curve.push([step, value]);
    if (row.curve.length > CURVE_POINTS_MAX) row.curve = row.curve.filter((_, index) => index % 2 === 1);
  }

  #lossOf(value: number, objective: number): number {
    return this.#objectives[objective]!.mode === 'max' ? -value : value;
  }

  /** Of equals the first stays. A stopped trial may be the best: it was only not worth more. */
  #isBetter(row: TrialRow): boolean {
    const value = row.status === 'failed' ? undefined : this.valuesOf(row.metrics)?.[0];
    if (value === undefined) return false;
    const best = this.best && this.valuesOf(this.best.metrics)![0]!;
    return best === null || this.#lossOf(value, 0) < this.#lossOf(best, 0);
  }
}
