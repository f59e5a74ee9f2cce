/** Trials as comma-separated values: a line for each. Source: RFC 4180. */
import { open, writeFile } from 'node:fs/promises';
import type { ExperimentLogger, ExperimentView } from '../logger.js';
import type { TrialTable } from '../machine/trial-table.js';
import type { Json } from '../searcher.js';
import { pathsOf, valueAt } from '../view/summary.js';

/** Writes the file when the experiment is over: only then all columns are known. Whether it can be written is seen at the beginning. */
export function csv(file: string): ExperimentLogger {
  let view: ExperimentView | null = null;
  return {
    name: 'csv',
    begin: async (of) => {
      view = of;
      await (await open(file, 'a')).close();
    },
    record: () => {},
    close: () => writeFile(file, csvLines(view!.table)),
  };
}

/** The lines, the heading first: what is known of each trial, then its configuration as `config.PATH` and its metrics as `metrics.NAME`. */
export function* csvLines(table: TrialTable): Generator<string> {
  const configPaths = pathsOf(table.rows(), ({ config }) => config);
  const metricPaths = pathsOf(table.rows(), ({ metrics }) => metrics ?? {});
  yield lineOf(['trial', 'status', 'step', 'attempts', 'durationMs', 'reason', 'endReason', ...configPaths.map((path) => `config.${path}`), ...metricPaths.map((path) => `metrics.${path}`)]);
  for (const row of table.rows()) {
    yield lineOf([
      row.id, row.status, row.step, row.attempt, row.status === 'running' ? '' : row.endedAtMs - row.startedAtMs, row.reason, row.endReason,
      ...configPaths.map((path) => valueAt(row.config, path)), ...metricPaths.map((path) => valueAt(row.metrics ?? {}, path)),
    ]);
  }
}

const lineOf = (cells: readonly (Json | undefined)[]): string => `${cells.map(cellOf).join(',')}\r\n`;

function cellOf(value: Json | undefined): string {
  const text = value === undefined || value === null ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
