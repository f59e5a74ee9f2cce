/** An experiment in words and in a table, for terminals. */
import type { Json } from '../searcher.js';
import type { BeginRecord } from '../machine/records.js';
import type { TrialRow, TrialTable } from '../machine/trial-table.js';

/** Wider values are cut. */
const CELL_WIDTH_MAX = 24;

/** What is done in less is not said to take "about 0 s". */
const SOON_MS = 500;

/** What a summary is made from. */
export interface SummaryOptions {
  readonly begin: BeginRecord;
  readonly table: TrialTable;
  /** How many trials there will be; Infinity: nobody knows. */
  readonly trials: number;
  /** How long the experiment has run. */
  readonly elapsedMs: number;
  readonly rowsMax: number;
  readonly columnsMax: number;
}

/** One line: how far the experiment is, the best so far, and when it will be done. */
export function statusLine({ begin, table, trials, elapsedMs }: Pick<SummaryOptions, 'begin' | 'table' | 'trials' | 'elapsedMs'>): string {
  const { metric } = begin.objectives[0]!;
  const parts = [
    `${begin.name}: ${table.ended}${Number.isFinite(trials) ? ` of ${trials}` : ''} trials`,
    ...(table.running > 0 ? [`${table.running} running`] : []), ...(table.stopped > 0 ? [`${table.stopped} stopped`] : []), ...(table.failed > 0 ? [`${table.failed} failed`] : []),
    ...(table.best ? [`best ${metric} ${shortText(table.best.metrics![metric]!)} in trial ${table.best.id}`] : []), shortTime(elapsedMs),
  ];
  const left = etaMs(table, trials, elapsedMs);
  return [...parts, ...(left === null || left < SOON_MS ? [] : [`about ${shortTime(left)} left`])].join(', ');
}

/** From the rate at which trials have ended so far; null where that says nothing. */
export function etaMs(table: TrialTable, trials: number, elapsedMs: number): number | null {
  return table.ended === 0 || !Number.isFinite(trials) || table.ended >= trials ? null : (elapsedMs / table.ended) * (trials - table.ended);
}

/** The best trials and those that run, a line each, best first. */
export function trialLines(options: SummaryOptions): string[] {
  const { begin, columnsMax } = options;
  const shown = chosenRows(options);
  const paths = pathsOf(shown, ({ config }) => config);
  const cells = [
    ['trial', 'state', 'step', ...begin.objectives.map(({ metric }) => metric), ...paths],
    ...shown.map((row) => [
      row.id, row.attempt > 1 && row.status === 'running' ? `attempt ${row.attempt}` : row.status, row.step === 0 ? '' : String(row.step),
      ...begin.objectives.map(({ metric }) => shortText(row.metrics?.[metric] ?? '')), ...paths.map((path) => shortText(valueAt(row.config, path) ?? '')),
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)));
  return cells.map((line) => line.map((cell, column) => cell.padEnd(widths[column]!)).join('  ').trimEnd().slice(0, columnsMax));
}

function chosenRows({ table, rowsMax }: SummaryOptions): TrialRow[] {
  const best = table.bestRows(Math.max(Math.ceil(rowsMax / 2), rowsMax - table.running));
  return [...best, ...table.runningRows().slice(0, rowsMax - best.length)];
}

/** The leaves of what rows hold, by path, in the order in which they first come. */
export function pathsOf(rows: Iterable<TrialRow>, partOf: (row: TrialRow) => Json): string[] {
  const paths = new Set<string>();
  const visit = (value: Json, path: string): void => {
    if (typeof value === 'object' && value !== null) for (const [key, child] of Object.entries(value)) visit(child as Json, path === '' ? key : `${path}.${key}`);
    else paths.add(path);
  };
  for (const row of rows) visit(partOf(row), '');
  return [...paths];
}

/** The leaf at a path; undefined where there is none. Names may hold dots themselves. */
export function valueAt(value: Json, path: string): Json | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const parts = value as Readonly<Record<string, Json>>;
  const leaf = Object.hasOwn(parts, path) ? parts[path] : undefined;
  if (leaf !== undefined && (typeof leaf !== 'object' || leaf === null)) return leaf;
  for (let dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', dot + 1)) {
    const found = Object.hasOwn(parts, path.slice(0, dot)) ? valueAt(parts[path.slice(0, dot)]!, path.slice(dot + 1)) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A value in a few characters. */
export function shortText(value: Json): string {
  if (typeof value === 'number') return Number.isInteger(value) && Math.abs(value) < 1e9 ? String(value) : String(Number(value.toPrecision(4)));
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > CELL_WIDTH_MAX ? `${text.slice(0, CELL_WIDTH_MAX - 1)}…` : text;
}

export function shortTime(ms: number): string {
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  return s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
