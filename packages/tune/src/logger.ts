/** The port between an experiment and what shows or exports it. */
import type { BeginRecord, LogRecord } from './machine/records.js';
import type { TrialTable } from './machine/trial-table.js';

/** What a logger is told of an experiment. */
export interface ExperimentView {
  readonly begin: BeginRecord;
  /** Kept up to date; not the logger's to change. */
  readonly table: TrialTable;
  /** How many trials there will be; Infinity: nobody knows. */
  readonly trials: number;
  /** The experiment's folder; null: it is kept nowhere. */
  readonly folder: string | null;
}

/** Shows or exports an experiment while it runs. What it throws is printed once, and it is left out from then on: a logger never ends an experiment. */
export interface ExperimentLogger {
  readonly name: string;
  /** The experiment starts, or goes on: the table holds what happened before. */
  begin(view: ExperimentView): void | Promise<void>;
  /** Something has happened; the table has taken it in. */
  record(record: LogRecord): void;
  /** The experiment is over or broken off; resolves when everything is out. */
  close(): Promise<void>;
}
