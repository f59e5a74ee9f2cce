/**
 * The trials of an experiment as its log tells of them: what is shown, and what a resumed experiment starts from.
 *
 * Those that run are objects. Of those that have ended there may be tens of thousands, of which hardly one is ever looked at: each is a text, from which its row is made
 * when somebody asks for it, and a number for each objective, by which all of them are compared.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Json, Objective, TrialStatus } from '../searcher.js';
import { dominates } from '../searchers/pareto.js';
import type { LogRecord, Metrics, RecordedDecision, ReportRecord } from './records.js';

/** A trial, for whoever looks at it. That of a running trial changes with it; of one that has ended every row is a copy. */
export interface TrialRow {
  /** The trial's number, from 1 on. */
  readonly id: string;
  /** What it was given last, as population-based training changes it; of a trial that has ended, what its metrics are of. */
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
  /** The step of its last checkpoint; 0: there is none that its metrics are of. */
  checkpointStep: number;
  /** What it was told last while it runs; null: nothing, or it has ended. */
  lastDecision: RecordedDecision | null;
}

/** Every trial of an experiment, in the order in which they began. */
export class TrialTable {
  readonly #objectives: readonly Objective[];
  readonly #running = new Map<string, TrialRow>();
  /** Of running trials that took over from another one and have told nothing since: what they had been given before. */
  readonly #given = new Map<string, Json>();
  /** By number: the text of a trial that has ended; null while it runs. */
  readonly #ended: (string | null)[] = [];
  /** By objective and number: what is to be small; NaN where there is no result. */
  readonly #losses: readonly number[][];
  failed = 0;
  stopped = 0;
  best: TrialRow | null = null;
  /** When the last thing happened. */
  lastAtMs = 0;

  constructor(objectives: readonly Objective[]) {
    this.#objectives = objectives;
    this.#losses = objectives.map(() => []);
  }

  /** How many trials have begun. */
  get begun(): number {
    return this.#ended.length;
  }

  /** How many have not ended. */
  get running(): number {
    return this.#running.size;
  }

  get ended(): number {
    return this.begun - this.running;
  }

  get(id: string): TrialRow | undefined {
    return this.#running.get(id) ?? this.#endedRow(Number(id) - 1);
  }

  /** The trial, while it runs. */
  runningRow(id: string): TrialRow | undefined {
    return this.#running.get(id);
  }

  /** Those that run, in the order in which they began. */
  runningRows(): TrialRow[] {
    return [...this.#running.values()];
  }

  /** All of them, in the order in which they began. */
  *rows(): Generator<TrialRow> {
    for (let index = 0; index < this.begun; index++) yield this.#rowAt(index);
  }

  /** Those that have ended, the best by the first objective first, and last those that have no result. */
  bestRows(count: number): TrialRow[] {
    const losses = this.#losses[0]!;
    const ended = this.#endedIndices();
    const ranked = ended.filter((index) => this.#hasResult(index)).sort((a, b) => losses[a]! - losses[b]! || a - b);
    return [...ranked, ...ended.filter((index) => !this.#hasResult(index))].slice(0, count).map((index) => this.#rowAt(index));
  }

  /** Takes in what happened. Records of trials that never began are none of the log's own, and are ignored. */
  apply(record: LogRecord): void {
    if (record.kind === 'begin') return;
    this.lastAtMs = record.atMs;
    if (record.kind === 'finish') return;
    if (record.kind === 'trial') return this.#begin(record);
    const row = this.#running.get(record.id);
    if (!row) return;
    switch (record.kind) {
      case 'report': return this.#report(row, record);
      case 'retry':
        row.attempt++;
        return;
      case 'end': return this.#end(row, record);
    }
  }

  /** The objectives' values; null where one is missing or not finite. */
  valuesOf(metrics: Metrics | null): readonly number[] | null {
    const values = this.#objectives.map(({ metric }) => metrics?.[metric]);
    return values.every((value) => typeof value === 'number' && Number.isFinite(value)) ? (values as number[]) : null;
  }

  /** Those whose results no other one beats in every objective, in the order in which they began. */
  paretoFront(): TrialRow[] {
    const done = this.#endedIndices().filter((index) => this.#hasResult(index)).map((index) => ({ index, losses: this.#losses.map((column) => column[index]!) }));
    // Whoever is beaten is beaten by one of the front, all of which come before it in this order: the front is found in one go, and compared with itself alone.
    const front: typeof done = [];
    for (const trial of done.sort((a, b) => byLosses(a.losses, b.losses) || a.index - b.index)) if (!front.some((other) => dominates(other.losses, trial.losses))) front.push(trial);
    return front.sort((a, b) => a.index - b.index).map(({ index }) => this.#rowAt(index));
  }

  #rowAt(index: number): TrialRow {
    return this.#endedRow(index) ?? this.#running.get(String(index + 1))!;
  }

  #endedRow(index: number): TrialRow | undefined {
    const text = this.#ended[index];
    return text === undefined || text === null ? undefined : rowOf(String(index + 1), text);
  }

  #hasResult(index: number): boolean {
    return !Number.isNaN(this.#losses[0]![index]);
  }

  #endedIndices(): number[] {
    return this.#ended.flatMap((text, index) => (text === null ? [] : [index]));
  }

  #begin({ id, config, reason, isInitial, atMs }: Extract<LogRecord, { kind: 'trial' }>): void {
    const row: TrialRow = {
      id, config, reason, isInitial, startedAtMs: atMs, status: 'running', endReason: '', endedAtMs: 0, attempt: 1, step: 0, metrics: null, checkpointStep: 0, lastDecision: null,
    };
    this.#running.set(id, row);
    this.#ended.push(null);
    for (const column of this.#losses) column.push(Number.NaN);
  }

  #report(row: TrialRow, { step, metrics, hasCheckpoint, decision }: ReportRecord): void {
    row.step = step;
    row.metrics = metrics;
    row.lastDecision = decision;
    if (hasCheckpoint) row.checkpointStep = step;
    this.#given.delete(row.id);
    if (decision.kind === 'exploit') {
      this.#given.set(row.id, row.config);
      row.config = decision.config;
      row.checkpointStep = step; // the other trial's checkpoint, under this one's name
    }
  }

  #end(row: TrialRow, { status, metrics, reason, atMs }: Extract<LogRecord, { kind: 'end' }>): void {
    const given = this.#given.get(row.id);
    this.#given.delete(row.id);
    // It had made its last step already: it has not trained with what it took over, whose checkpoint lies in the place of its own.
    if (given !== undefined && isDeepStrictEqual(metrics, row.metrics)) Object.assign(row, { config: given, checkpointStep: 0 });
    Object.assign(row, { status, metrics, endReason: reason, endedAtMs: atMs, lastDecision: null });
    if (status === 'failed') this.failed++;
    if (status === 'stopped') this.stopped++;
    const index = Number(row.id) - 1;
    const values = status === 'failed' ? null : this.valuesOf(metrics);
    values?.forEach((value, objective) => { this.#losses[objective]![index] = this.#objectives[objective]!.mode === 'max' ? -value : value; });
    if (this.#isBetter(index)) this.best = row;
    this.#running.delete(row.id);
    this.#ended[index] = textOf(row);
  }

  /** Of equals the first stays. A stopped trial may be the best: it was only not worth more. */
  #isBetter(index: number): boolean {
    const losses = this.#losses[0]!;
    return this.#hasResult(index) && (this.best === null || losses[index]! < losses[Number(this.best.id) - 1]!);
  }
}

function byLosses(a: readonly number[], b: readonly number[]): number {
  const first = a.findIndex((loss, objective) => loss !== b[objective]);
  return first < 0 ? 0 : a[first]! - b[first]!;
}

/** A list, and not an object with the same names again and again. */
type EndedTrial = [Json, string, boolean, number, TrialStatus, string, number, number, number, Metrics | null, number];

function textOf({ config, reason, isInitial, startedAtMs, status, endReason, endedAtMs, attempt, step, metrics, checkpointStep }: TrialRow): string {
  const fields: EndedTrial = [config, reason, isInitial, startedAtMs, status as TrialStatus, endReason, endedAtMs, attempt, step, metrics, checkpointStep];
  return Buffer.from(JSON.stringify(fields)).toString(); // flat: V8 keeps what JSON.stringify made as a rope of its pieces, twice as large
}

function rowOf(id: string, text: string): TrialRow {
  const [config, reason, isInitial, startedAtMs, status, endReason, endedAtMs, attempt, step, metrics, checkpointStep] = JSON.parse(text) as EndedTrial;
  return { id, config, reason, isInitial, startedAtMs, status, endReason, endedAtMs, attempt, step, metrics, checkpointStep, lastDecision: null };
}
