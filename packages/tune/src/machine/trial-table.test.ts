/** The table of trials against plain objects that are kept for ever, and what a trial that has ended costs. */
import { seededRandom } from '@muster/base';
import { isDeepStrictEqual } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { Json, Objective } from '../searcher.js';
import type { LogRecord, Metrics, ReportRecord } from './records.js';
import { TrialTable, type TrialRow } from './trial-table.js';

const OBJECTIVES: readonly Objective[] = [{ metric: 'loss', mode: 'min' }, { metric: 'speed', mode: 'max' }];

/** A log of trials side by side, of which some fail, some are stopped, and some end without a result. */
function randomLog(seed: number, trials: number): LogRecord[] {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random.next() * limit);
  const running: string[] = [];
  const steps = new Map<string, number>();
  const log: LogRecord[] = [];
  for (let begun = 0; begun < trials || running.length > 2;) {
    const atMs = log.length;
    if (begun < trials && running.length < 5 && random.next() < 0.5) {
      const id = String(++begun);
      running.push(id);
      log.push({ kind: 'trial', id, config: { x: random.next(), deep: { 'dotted.name': [1, 'é'] } }, reason: `draw ${id}`, isInitial: begun < 3, atMs });
      continue;
    }
    const place = below(running.length);
    const id = running[place];
    if (id === undefined) continue;
    const metrics: Metrics = { loss: below(20), speed: below(20) };
    const kind = below(8);
    if (kind === 0) log.push({ kind: 'retry', id, cause: 'a crash', atMs });
    else if (kind < 5) {
      steps.set(id, (steps.get(id) ?? 0) + 1);
      const decision = kind === 1 ? { kind: 'exploit', trialId: '1', checkpointStep: 1, config: { x: -1 }, reason: 'better' } as const : { kind: 'continue', reason: 'on' } as const;
      log.push({ kind: 'report', id, step: steps.get(id)!, metrics, hasCheckpoint: kind === 2, decision, atMs });
    } else {
      running.splice(place, 1);
      const status = (['completed', 'stopped', 'failed'] as const)[kind - 5]!;
      const last = log.findLast((record) => record.kind === 'report' && record.id === id) as ReportRecord | undefined;
      log.push({ kind: 'end', id, status, metrics: below(5) === 0 ? null : below(2) === 0 ? (last?.metrics ?? metrics) : metrics, reason: `as ${status}`, atMs });
    }
  }
  return log;
}

/** The rows as they would be if all were kept as they are. */
function plainRows(log: readonly LogRecord[]): TrialRow[] {
  const rows: TrialRow[] = [];
  /** What trials had been given before they took over from others, of those that have told nothing since. */
  const given = new Map<string, Json>();
  for (const record of log) {
    if (record.kind === 'trial') {
      const { id, config, reason, isInitial, atMs } = record;
      rows.push({ id, config, reason, isInitial, startedAtMs: atMs, status: 'running', endReason: '', endedAtMs: 0, attempt: 1, step: 0, metrics: null, checkpointStep: 0, lastDecision: null });
    }
    if (record.kind === 'begin' || record.kind === 'trial' || record.kind === 'finish') continue;
    const row = rows[Number(record.id) - 1]!;
    if (record.kind === 'retry') row.attempt++;
    if (record.kind === 'report') {
      const isExploit = record.decision.kind === 'exploit';
      given.delete(record.id);
      if (isExploit) given.set(record.id, row.config);
      Object.assign(row, { step: record.step, metrics: record.metrics, lastDecision: record.decision }, record.hasCheckpoint || isExploit ? { checkpointStep: record.step } : {}, isExploit ? { config: { x: -1 } } : {});
    }
    if (record.kind === 'end' && given.has(record.id) && isDeepStrictEqual(record.metrics, row.metrics)) Object.assign(row, { config: given.get(record.id), checkpointStep: 0 });
    if (record.kind === 'end') Object.assign(row, { status: record.status, metrics: record.metrics, endReason: record.reason, endedAtMs: record.atMs, lastDecision: null });
  }
  return rows;
}

t.test('a row says the same while its trial runs and after, and the best are those by definition', (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const log = randomLog(seed, 40);
    const table = new TrialTable(OBJECTIVES);
    for (const [index, record] of log.entries()) {
      table.apply(record);
      if (index % 37 !== 0 && index < log.length - 1) continue;
      const rows = plainRows(log.slice(0, index + 1));
      const lossOf = ({ status, metrics }: TrialRow): number => (status === 'failed' || metrics === null ? Infinity : (metrics['loss'] as number));
      const done = rows.filter((row) => row.status !== 'running');
      const best = done.toSorted((a, b) => (lossOf(a) === lossOf(b) ? 0 : lossOf(a) - lossOf(b)));
      const withResult = done.filter((row) => lossOf(row) < Infinity);
      const front = withResult.filter(({ metrics: a }) => !withResult.some(({ metrics: b }) => b!['loss']! <= a!['loss']! && b!['speed']! >= a!['speed']! && (b!['loss']! < a!['loss']! || b!['speed']! > a!['speed']!)));
      const seen = { rows: [...table.rows()], running: table.runningRows(), best: table.bestRows(7), front: table.paretoFront(), ended: table.ended, failed: table.failed };
      const known = { rows, running: rows.filter(({ status }) => status === 'running'), best: best.slice(0, 7), front, ended: done.length, failed: done.filter(({ status }) => status === 'failed').length };
      if (!isDeepStrictEqual(seen, known)) {
        t.strictSame(seen, known, `seed ${seed}, after record ${index}`);
        return t.end();
      }
      const firstBest = withResult.filter((row) => lossOf(row) === lossOf(best[0]!)).sort((a, b) => a.endedAtMs - b.endedAtMs)[0];
      if (table.best?.id !== firstBest?.id) t.equal(table.best?.id, firstBest?.id, `seed ${seed}, the best after record ${index}`);
    }
  }
  const table = new TrialTable(OBJECTIVES);
  for (const id of ['0', '1', '-1', '1.5', 'x', '']) t.equal(table.get(id), undefined, `there is no trial '${id}'`);
  t.end();
});

t.test('a trial that has ended is kept in some hundred bytes', (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const usedBytes = (): number => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const [trials, random] = [10_000, seededRandom(1)];
  const table = new TrialTable(OBJECTIVES);
  const before = usedBytes();
  for (let number = 1; number <= trials; number++) {
    const id = String(number);
    table.apply({ kind: 'trial', id, config: { x: random.next() }, reason: `random: draw ${id}`, isInitial: false, atMs: number });
    for (let step = 1; step <= 10; step++) table.apply({ kind: 'report', id, step, metrics: { loss: random.next(), speed: step }, hasCheckpoint: false, decision: { kind: 'continue', reason: `step ${step} of ${id}` }, atMs: number });
    table.apply({ kind: 'end', id, status: 'completed', metrics: { loss: random.next(), speed: 1 }, reason: 'it ran to its end', atMs: number });
  }
  const bytes = (usedBytes() - before) / trials;
  t.ok(bytes < 250, `${Math.round(bytes)} bytes a trial`);
  t.equal(table.ended, trials);
  t.end();
});
