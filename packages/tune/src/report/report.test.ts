import { seededRandom } from '@muster/base';
import t from 'tap';
import type { ReadExperiment } from '../io/folder.js';
import { csvLines } from '../loggers/csv.js';
import type { BeginRecord, LogRecord } from '../machine/records.js';
import { TrialTable, type TrialRow } from '../machine/trial-table.js';
import { pathsOf, statusLine, trialLines, valueAt } from '../view/summary.js';
import { axisOf } from './axes.js';
import { importances } from './forest.js';
import { htmlReport } from './html.js';

const OBJECTIVES = [{ metric: 'loss', mode: 'min' }, { metric: 'speed', mode: 'max' }] as const;
const BEGIN: BeginRecord = { kind: 'begin', version: 1, name: '<b>sweep</b> & co', space: [], objectives: OBJECTIVES, seed: 0, searcher: 'random', searcherSeed: 0, scheduler: 'fixed', startedAt: 0 };

/** An experiment with trials of all kinds; the loss follows from `lr` alone. */
function experiment(trials: number): ReadExperiment {
  const random = seededRandom(1);
  const records: LogRecord[] = [BEGIN];
  for (let number = 1; number <= trials; number++) {
    const id = String(number);
    const lr = 10 ** (-4 * random.next());
    const atMs = number * 1000;
    const metrics = { loss: Math.abs(Math.log10(lr) + 2), speed: random.next() };
    records.push({ kind: 'trial', id, config: { lr, noise: random.next(), kind: number % 2 ? 'a"b,c' : '</svg><script>' }, reason: 'draw', isInitial: false, atMs });
    for (let step = 1; step <= 3; step++) records.push({ kind: 'report', id, step, metrics: { ...metrics, loss: metrics.loss + 1 / step }, hasCheckpoint: false, decision: { kind: 'continue', reason: '' }, atMs });
    if (number === 2) records.push({ kind: 'end', id, status: 'failed', metrics: null, reason: 'RangeError: <img>', atMs });
    else if (number !== 3) records.push({ kind: 'end', id, status: 'completed', metrics, reason: 'done', atMs: atMs + 500 });
  }
  const table = new TrialTable(OBJECTIVES);
  for (const record of records) table.apply(record);
  return { begin: BEGIN, table, records, finished: null };
}

t.test('a report is one page without a network, with every chart, and nothing of the user\'s is taken for HTML', (t) => {
  const page = htmlReport(experiment(60));
  for (const title of ['Trials over time', 'Which parameters matter', 'All parameters together', 'One parameter at a time', 'The two numbers that matter most', 'Learning curves', 'Pareto front', 'Trials']) {
    const body = page.split(`<h2>${title}</h2>`)[1]?.split('</section>')[0] ?? '';
    t.match(body, title === 'Trials' ? /<table>/ : /<svg /, title);
  }
  t.notMatch(page, /https?:|<script|<img|<link|@import|url\(/);
  t.notMatch(page, /NaN|undefined|Infinity/);
  t.equal(page.match(/<svg /g)!.length, page.match(/<\/svg>/g)!.length);
  t.match(page, '&#60;b&#62;sweep&#60;/b&#62; &#38; co');
  t.match(page, /prefers-color-scheme:dark/);
  t.end();
});

t.test('a report of an experiment that has just begun, or has one result, says so', (t) => {
  for (const trials of [0, 1, 2, 5]) t.notMatch(htmlReport(experiment(trials)), /NaN|undefined|Infinity/, `${trials} trials`);
  t.match(htmlReport(experiment(0)), /Nothing to show yet/);
  t.end();
});

t.test('importance goes to what the result follows from', (t) => {
  const random = seededRandom(2);
  const inputs = Array.from({ length: 200 }, () => [random.next(), random.next(), random.next()]);
  const shares = importances({ inputs, results: inputs.map(([a, b]) => 10 * (a! - 0.5) ** 2 + 0.5 * b!) });
  t.ok(shares[0]! > shares[1]! && shares[1]! > shares[2]!, shares.join(' '));
  t.ok(shares[0]! > 0.6 && shares[2]! < 0.1, shares.join(' '));
  t.ok(Math.abs(shares.reduce((sum, share) => sum + share) - 1) < 1e-9);
  t.same(importances({ inputs: [[1], [2]], results: [3, 3] }), [0], 'nothing can be told');
  t.end();
});

t.test('axes: linear, logarithmic over orders of magnitude, and of categories', (t) => {
  const linear = axisOf('x', [0, 10]);
  t.same([linear.place(0), linear.place(5), linear.place('a')], [0, 0.5, null]);
  t.same(axisOf('x', [0.1246, 0.979]).ticks.map(({ label }) => label), ['0.2', '0.4', '0.6', '0.8']);
  const log = axisOf('x', [1e-4, 1]);
  t.equal(log.name, 'x (log)');
  t.ok(Math.abs(log.place(1e-2)! - 0.5) < 1e-9);
  t.same(log.ticks.map(({ label }) => label), ['1e-4', '0.001', '0.01', '0.1', '1']);
  const kinds = axisOf('kind', ['a', true, undefined]);
  t.same([kinds.place('a'), kinds.place(true), kinds.place('b'), kinds.place(undefined)], [0, 1, null, null]);
  t.equal(axisOf('one', [7, 7]).place(7), 0);
  t.end();
});

t.test('leaves are found by their paths, also below names with dots, and where another trial has a branch', (t) => {
  const rows = [{ config: { 'a.b': 1, kind: 'plain', deep: { 'c.d': { e: 2 } } } }, { config: { kind: { rate: 3 } } }] as unknown as TrialRow[];
  t.strictSame(pathsOf(rows, ({ config }) => config), ['a.b', 'kind', 'deep.c.d.e', 'kind.rate']);
  t.strictSame(['a.b', 'kind', 'deep.c.d.e', 'kind.rate', 'deep', 'deep.c', 'x'].map((path) => valueAt(rows[0]!.config, path)), [1, 'plain', 2, undefined, undefined, undefined, undefined]);
  t.strictSame(['kind', 'kind.rate'].map((path) => valueAt(rows[1]!.config, path)), [undefined, 3]);
  t.end();
});

t.test('tables and lines: the best first, what runs below, and cells that CSV must quote', (t) => {
  const { table } = experiment(20);
  const view = { begin: BEGIN, table, trials: 40, elapsedMs: 19_000 };
  t.match(statusLine(view), /: 19 of 40 trials, 1 running, 1 failed, best loss .* in trial \d+, 19 s, about 21 s left$/);
  t.match(statusLine({ ...view, trials: 20, elapsedMs: 4000 }), / 4 s$/, 'no more than a moment is left');
  const lines = trialLines({ ...view, rowsMax: 6, columnsMax: 60 });
  t.equal(lines.length, 7);
  t.equal(lines[1]!.split(/\s+/)[0], table.best!.id);
  t.match(lines[6], /^3 +running/);
  t.ok(lines.every((line) => line.length <= 60));
  const [heading, first] = [...csvLines(table)];
  t.equal(heading, 'trial,status,step,attempts,durationMs,reason,endReason,config.lr,config.noise,config.kind,metrics.loss,metrics.speed\r\n');
  t.match(first, /,"a""b,c",/);
  t.end();
});
