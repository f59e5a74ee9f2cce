/** An experiment as one HTML page that needs no network: what was found, what mattered, and how each trial went. */
import type { ReadExperiment } from '../io/folder.js';
import type { TrialRow } from '../machine/trial-table.js';
import type { Json } from '../searcher.js';
import { pathsOf, shortText, shortTime, valueAt } from '../view/summary.js';
import { axisOf, labelOf, type Axis } from './axes.js';
import { bars, escapeText, heat, parallelCoordinates, scatter, thinOut, type Dot } from './charts.js';
import { curvesOf } from './curves.js';
import { importances } from './forest.js';
import { STYLE } from './style.js';

/** Parameters with charts of their own: the most important ones. */
const SLICES_MAX = 8;
const TABLE_ROWS_MAX = 200;
const CURVES_MAX = 300;
const HEAT_CELLS = 24;

/** What all charts are drawn from. */
interface Findings {
  readonly experiment: ReadExperiment;
  readonly metric: string;
  /** All trials, in the order in which they began. */
  readonly rows: readonly TrialRow[];
  /** Trials with a result, in the order in which they ended. */
  readonly done: readonly { readonly row: TrialRow; readonly value: number; readonly shade: number }[];
  /** Paths of the parameters that vary, the most important one first. */
  readonly paths: readonly string[];
  readonly shares: ReadonlyMap<string, number>;
}

/** The page. */
export function htmlReport(experiment: ReadExperiment): string {
  const findings = find(experiment);
  const { name } = experiment.begin;
  const sections = [
    section('Trials over time', history(findings), experiment.table.stopped > 0 ? 'Rings were stopped by the scheduler or a budget.' : ''),
    section('Which parameters matter', importance(findings), 'How much worse a random forest predicts the result when the parameter is shuffled.'),
    section('All parameters together', parallel(findings)),
    section('One parameter at a time', slices(findings)),
    section('The two numbers that matter most', contour(findings), 'Cells show the mean of the trials near them.'),
    section('Learning curves', curves(findings)),
    ...(experiment.begin.objectives.length > 1 ? [section('Pareto front', pareto(findings))] : []),
    section('Trials', trialTable(findings)),
  ];
  return `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${escapeText(name)}</title><style>${STYLE}</style></head>`
    + `<body><header><h1>${escapeText(name)}</h1>${overview(findings)}</header><main>${sections.join('\n')}</main></body></html>\n`;
}

function find(experiment: ReadExperiment): Findings {
  const { begin, table } = experiment;
  const { metric, mode } = begin.objectives[0]!;
  const rows = [...table.rows()];
  const ended = rows.filter(({ status }) => status === 'completed' || status === 'stopped').flatMap((row) => {
    const value = table.valuesOf(row.metrics)?.[0];
    return value === undefined ? [] : [{ row, value }];
  }).sort((a, b) => a.row.endedAtMs - b.row.endedAtMs);
  const order = ended.map(({ value }) => (mode === 'max' ? value : -value)).sort((a, b) => a - b);
  const rank = new Map(order.map((value, index) => [value, order.length === 1 ? 1 : index / (order.length - 1)]));
  const done = ended.map(({ row, value }) => ({ row, value, shade: rank.get(mode === 'max' ? value : -value)! }));
  const varying = pathsOf(done.map(({ row }) => row), ({ config }) => config).filter((path) => new Set(done.map(({ row }) => JSON.stringify(valueAt(row.config, path)))).size > 1);
  const axes = varying.map((path) => axisOf(path, done.map(({ row }) => valueAt(row.config, path))));
  // Ranks, and not values: one diverged trial must not be all that the forest explains. What does not exist in a trial is left of all that does.
  const found = importances({ inputs: done.map(({ row }) => axes.map((axis, index) => axis.place(valueAt(row.config, varying[index]!)) ?? -0.5)), results: done.map(({ shade }) => shade) });
  const shares = new Map(varying.map((path, index) => [path, found[index] ?? 0]));
  return { experiment, metric, rows, done, shares, paths: [...varying].sort((a, b) => shares.get(b)! - shares.get(a)!) };
}

const section = (title: string, body: string, note = ''): string => `<section><h2>${title}</h2>${note ? `<p class="note">${note}</p>` : ''}<div class="wide">${body || '<p class="note">Nothing to show yet.</p>'}</div></section>`;

function overview({ experiment: { begin, table, finished }, metric }: Findings): string {
  const { best } = table;
  const cards: [string, string][] = [
    ['trials', `${table.ended} of ${table.begun} ended`], ['stopped', String(table.stopped)], ['failed', String(table.failed)], ['time', shortTime(table.lastAtMs)],
    ['searcher', begin.searcher], ['scheduler', begin.scheduler], ['state', finished === null ? 'not finished' : finished],
  ];
  const bestCard = best ? `<div class="best"><span>best ${escapeText(metric)}, trial ${best.id}</span><strong>${escapeText(shortText(best.metrics![metric]!))}</strong><code>${escapeText(JSON.stringify(best.config))}</code></div>` : '';
  return `${bestCard}<dl>${cards.map(([name, text]) => `<div><dt>${name}</dt><dd>${escapeText(text)}</dd></div>`).join('')}</dl>`;
}

const titleOf = (row: TrialRow, metric: string): string => `trial ${row.id}: ${metric} ${shortText(row.metrics?.[metric] ?? '')}\n${JSON.stringify(row.config)}`;

function history({ experiment: { begin }, metric, done }: Findings): string {
  if (done.length === 0) return '';
  const x = axisOf('trial, in the order of their ends', [1, done.length], { isCount: true });
  const y = axisOf(metric, done.map(({ value }) => value));
  const sign = begin.objectives[0]!.mode === 'max' ? -1 : 1;
  const bestSoFar: [number, number][] = [];
  let best = Infinity;
  done.forEach(({ value }, index) => {
    if (sign * value >= best && index < done.length - 1) return;
    const at = x.place(index + 1)!;
    if (best !== Infinity) bestSoFar.push([at, y.place(sign * best)!]);
    best = Math.min(best, sign * value);
    bestSoFar.push([at, y.place(sign * best)!]);
  });
  const dots = done.map(({ row, value, shade }, index): Dot => ({ x: x.place(index + 1)!, y: y.place(value)!, shade, title: titleOf(row, metric), isHollow: row.status === 'stopped' }));
  return scatter({ x, y, width: 960 }, dots, [{ points: bestSoFar, className: 'best-line', title: 'the best so far' }]);
}

const importance = ({ paths, shares, done }: Findings): string => (done.length < 8 ? '' : bars(paths.map((name) => ({ name, share: shares.get(name)! }))));

function parallel({ metric, done, paths }: Findings): string {
  if (done.length === 0) return '';
  const columns = [...paths.slice(0, SLICES_MAX).map((path) => ({ name: path, of: (row: TrialRow) => valueAt(row.config, path) })), { name: metric, of: (row: TrialRow) => row.metrics?.[metric] }];
  const axes = columns.map(({ name, of }) => axisOf(name, done.map(({ row }) => of(row))));
  return parallelCoordinates(axes, done.map(({ row, shade }) => ({ shade, title: titleOf(row, metric), places: axes.map((axis, index) => axis.place(columns[index]!.of(row))) })));
}

function slices(findings: Findings): string {
  const { metric, done, paths } = findings;
  const y = axisOf(metric, done.map(({ value }) => value));
  return paths.slice(0, SLICES_MAX).map((path) => {
    const x = axisOf(path, done.map(({ row }) => valueAt(row.config, path)));
    return scatter({ x, y, width: 400, height: 260 }, dotsOn(findings, x, y, path));
  }).join('');
}

function dotsOn({ metric, done }: Findings, x: Axis, y: Axis, path: string): Dot[] {
  return done.flatMap(({ row, value, shade }) => {
    const at = x.place(valueAt(row.config, path));
    return at === null ? [] : [{ x: at, y: y.place(value)!, shade, title: titleOf(row, metric) }];
  });
}

/** Cells by a kernel over the trials: the nearer one is, the more it says. Source: Nadaraya and Watson, 1964. */
function contour({ metric, done, paths }: Findings): string {
  const isNumber = (path: string): boolean => done.every(({ row }) => ['number', 'undefined'].includes(typeof valueAt(row.config, path)));
  const [first, second] = paths.filter(isNumber); // there is nothing between categories
  if (first === undefined || second === undefined) return '';
  const axisFor = (path: string): Axis => axisOf(path, done.map(({ row }) => valueAt(row.config, path)));
  const [x, y] = [axisFor(first), axisFor(second)];
  const dots = done.flatMap(({ row, shade }): Dot[] => {
    const [atX, atY] = [x.place(valueAt(row.config, first)), y.place(valueAt(row.config, second))];
    return atX === null || atY === null ? [] : [{ x: atX, y: atY, shade, title: titleOf(row, metric) }];
  });
  const width = 0.2 * Math.max(2, dots.length) ** (-1 / 6);
  const sample = thinOut(dots, 500);
  const cells = Array.from({ length: HEAT_CELLS }, (_, row) => Array.from({ length: HEAT_CELLS }, (_, column) => {
    let [weight, sum] = [0, 0];
    for (const dot of sample) {
      const near = Math.exp(-(((dot.x - (column + 0.5) / HEAT_CELLS) ** 2 + (dot.y - (row + 0.5) / HEAT_CELLS) ** 2) / (2 * width ** 2)));
      weight += near;
      sum += near * dot.shade!;
    }
    return weight < 0.02 ? null : sum / weight;
  }));
  return heat({ x, y }, cells, dots);
}

function curves({ experiment: { records, table }, metric, rows, done }: Findings): string {
  const shades = new Map(done.map(({ row, shade }) => [row, shade]));
  const known = curvesOf(records, table);
  const shown = thinOut(rows.flatMap((row) => ((known.get(row.id)?.length ?? 0) > 1 ? [{ row, curve: known.get(row.id)! }] : [])), CURVES_MAX);
  if (shown.length === 0) return '';
  const x = axisOf('step', shown.flatMap(({ curve }) => [curve[0]![0], curve.at(-1)![0]]), { isCount: true });
  const y = axisOf(metric, shown.flatMap(({ curve }) => curve.map(([, value]) => value)));
  const lines = shown.map(({ row, curve }) => ({ points: curve.map(([step, value]) => [x.place(step)!, y.place(value)!] as const), className: (shades.get(row) ?? 0) > 0.9 ? 'curve good' : 'curve', title: titleOf(row, metric) }));
  return scatter({ x, y, width: 960, height: 360 }, [], lines);
}

function pareto({ experiment: { begin, table }, done }: Findings): string {
  const [first, second] = begin.objectives;
  const of = (row: TrialRow, metric: string): Json | undefined => row.metrics?.[metric];
  const x = axisOf(`${first!.metric} (${first!.mode})`, done.map(({ row }) => of(row, first!.metric)));
  const y = axisOf(`${second!.metric} (${second!.mode})`, done.map(({ row }) => of(row, second!.metric)));
  const ids = new Set(table.paretoFront().map(({ id }) => id));
  const front = done.flatMap(({ row }) => (ids.has(row.id) ? [row] : []));
  const dotOf = (row: TrialRow, shade: number | null): Dot => ({ x: x.place(of(row, first!.metric))!, y: y.place(of(row, second!.metric))!, shade, title: titleOf(row, first!.metric) });
  const dots = [...done.filter(({ row }) => !ids.has(row.id)).map(({ row }) => dotOf(row, null)), ...front.map((row) => dotOf(row, 1))];
  const line = front.map((row) => dotOf(row, 1)).sort((a, b) => a.x - b.x || b.y - a.y).map(({ x, y }) => [x, y] as const);
  return scatter({ x, y, width: 720, height: 420 }, dots, [{ points: line, className: 'best-line' }]);
}

function trialTable({ experiment: { begin }, rows: all, done }: Findings): string {
  const shades = new Map(done.map(({ row, shade }) => [row, shade]));
  const rows = [...all].sort((a, b) => (shades.get(b) ?? -1) - (shades.get(a) ?? -1)).slice(0, TABLE_ROWS_MAX);
  const paths = pathsOf(rows, ({ config }) => config);
  const metrics = begin.objectives.map(({ metric }) => metric);
  const head = ['trial', 'state', 'step', ...metrics, ...paths, 'why it was tried', 'why it ended'];
  const cellsOf = (row: TrialRow): Json[] => [row.id, row.status, row.step, ...metrics.map((metric) => row.metrics?.[metric] ?? ''), ...paths.map((path) => valueAt(row.config, path) ?? ''), row.reason, row.endReason];
  const cell = (value: Json): string => `<td>${escapeText(typeof value === 'number' ? labelOf(value) : typeof value === 'string' ? value : JSON.stringify(value))}</td>`;
  const more = all.length > rows.length ? `<p class="note">The best ${rows.length} of ${all.length}.</p>` : '';
  return `${more}<table><thead><tr>${head.map((name) => `<th>${escapeText(name)}</th>`).join('')}</tr></thead><tbody>${rows.map((row) => `<tr class="${row.status}">${cellsOf(row).map(cell).join('')}</tr>`).join('\n')}</tbody></table>`;
}
