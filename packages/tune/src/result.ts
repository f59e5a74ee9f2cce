/** What `tune()` resolves with. */
import { makeError } from '@muster/base';
import type { Metrics } from './machine/records.js';
import type { TrialRow, TrialTable } from './machine/trial-table.js';
import type { TrialStatus } from './searcher.js';

/** One trial, done. */
export interface TrialResult<Config> {
  readonly id: string;
  readonly config: Config;
  readonly status: TrialStatus;
  /** The last that it reported or returned; empty where there was nothing. */
  readonly metrics: Metrics;
  /** How far it came; 0: it never reported. */
  readonly step: number;
  /** Why it was tried, and why it ended. */
  readonly reason: string;
  readonly endReason: string;
  readonly attempts: number;
  readonly durationMs: number;
}

/** A whole experiment. */
export interface TuneResult<Config> {
  /** The trial with the best value of the first objective, and its last checkpoint, where it made one. Stopped trials count. */
  readonly best: TrialResult<Config> & { readonly checkpoint: unknown };
  /** In the order in which they began. */
  readonly trials: readonly TrialResult<Config>[];
  /** Those that no other one beats in every objective. */
  readonly paretoFront: readonly TrialResult<Config>[];
  /** Why there are no more trials. */
  readonly reason: string;
  /** The experiment's folder; null: nothing was kept. */
  readonly storage: string | null;
}

/** @throws EXPERIMENT_FAILED where no trial has a result */
export function resultOf<Config>(table: TrialTable, { reason, storage, checkpointOf }: { readonly reason: string; readonly storage: string | null; readonly checkpointOf: (row: TrialRow) => unknown }): TuneResult<Config> {
  const { best } = table;
  if (!best) {
    const rows = [...table.rows()];
    const first = rows.find(({ status }) => status === 'failed') ?? rows[0];
    throw makeError('EXPERIMENT_FAILED', { what: `the experiment${storage ? ` in ${storage}` : ''}`, cause: first ? `of its ${rows.length} trials none has one; the first that ${first.status === 'failed' ? 'failed' : 'ended'}: ${first.endReason}` : reason });
  }
  const trials = Array.from(table.rows(), (row) => trialResult<Config>(row));
  const trialOf = ({ id }: TrialRow): TrialResult<Config> => trials[Number(id) - 1]!;
  return { best: { ...trialOf(best), checkpoint: checkpointOf(best) }, trials, paretoFront: table.paretoFront().map(trialOf), reason, storage };
}

function trialResult<Config>(row: TrialRow): TrialResult<Config> {
  return {
    id: row.id, config: row.config as Config, status: row.status as TrialStatus, metrics: row.metrics ?? {}, step: row.step, reason: row.reason, endReason: row.endReason, attempts: row.attempt,
    durationMs: row.endedAtMs - row.startedAtMs,
  };
}
