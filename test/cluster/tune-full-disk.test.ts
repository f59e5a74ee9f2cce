/** Whole experiments on a disk that becomes full: what is refused, what is kept, and how they go on when there is room. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { csv, jsonLines, pbt, random, readExperiment, tune, uniform, type ReadExperiment, type Trial } from '@muster/tune';
import t, { type Test } from 'tap';
import { TestCluster } from '../support/cluster.js';
import { smallDisk } from '../support/small-disk.js';

const cluster = await TestCluster.start({ nodes: [{ cpus: 2 }] });
await cluster.connect();
t.teardown(() => cluster.stop());

const SIZE_KIB = 2048;
const disk = smallDisk(t, SIZE_KIB);
const skip = disk === null && 'no small file system can be mounted here';

/** A folder for an experiment on the small disk, of which so much is free until `free()`. */
function tightFolder(t: Test, freeKib: number): { readonly storage: string; readonly free: () => void } {
  const folder = mkdtempSync(join(disk!, 'run-'));
  const ballast = join(disk!, 'ballast');
  writeFileSync(ballast, Buffer.alloc((SIZE_KIB - freeKib) * 1024));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
    rmSync(ballast, { force: true });
  });
  return { storage: join(folder, 'sweep'), free: () => rmSync(ballast) };
}

/** What must not change of trials that have ended. */
const endsOf = ({ table }: ReadExperiment): Map<string, unknown> => new Map([...table.rows()].filter(({ status }) => status !== 'running').map((row) => [row.id, row]));

/** Every report and every end is in the log once. */
function requireEachOnce(t: Test, { records }: ReadExperiment): void {
  const keys = [...records].flatMap((record) => (record.kind === 'report' ? [`${record.id} step ${record.step}`] : record.kind === 'end' ? [`${record.id} end`] : []));
  t.equal(new Set(keys).size, keys.length, 'nothing was decided twice');
}

const OPTIONS = { space: { x: uniform(0, 1) }, metric: 'loss', searcher: random(), resources: { cpus: 0.5 }, maxConcurrent: 4, loggers: [], resume: true } as const;

t.test('a log that finds no room ends the experiment with the folder\'s name, and what had ended stays', { skip }, async (t) => {
  const { storage, free } = tightFolder(t, 160);
  const run = () => tune(({ x }) => ({ loss: x, notes: 'n'.repeat(6000) }), { ...OPTIONS, trials: 60, storage });
  const full = { code: 'STORAGE', message: new RegExp(`${storage}/\\S+ could not be written: ENOSPC`), remedy: /Free space there, .* and run it again\. What was written before is kept/ };
  await t.rejects(run(), full);
  const before = endsOf(readExperiment(storage));
  t.ok(before.size > 5 && before.size < 60, `${before.size} had ended`);
  t.same(readdirSync(storage).sort(), ['checkpoints', 'experiment.log'], 'no lock and no draft is left');
  await t.rejects(run(), full, 'there is no more room than before');
  t.strictSame(endsOf(readExperiment(storage)), before);
  free();
  const { trials } = await run();
  t.equal(trials.length, 60);
  const after = readExperiment(storage);
  const ends = endsOf(after);
  for (const [id, was] of before) t.strictSame(ends.get(id), was, `trial ${id}`);
  requireEachOnce(t, after);
});

t.test('a checkpoint that finds no room ends the experiment, and trials go on from the ones they have', { skip }, async (t) => {
  const { storage, free } = tightFolder(t, 400);
  const run = () => tune(async ({ x }, trial: Trial) => {
    const { sum: from } = (trial.checkpoint as { sum: number } | null) ?? { sum: 0 };
    let sum = from;
    for (let epoch = trial.startEpoch; epoch < 4; epoch++) {
      sum += x;
      await trial.report({ loss: sum }, { checkpoint: { sum, weights: new Uint8Array(40_000) } });
    }
  }, { ...OPTIONS, trials: 20, storage });
  await t.rejects(run(), { code: 'STORAGE', message: /(checkpoints\/trial-\d+-step-\d+\.bin|experiment\.log) could not be written: ENOSPC/ }); // the log, while a checkpoint's draft has the last room
  const broken = readExperiment(storage);
  const expected = [...broken.table.rows()].filter(({ checkpointStep }) => checkpointStep > 0).map(({ id, checkpointStep }) => `trial-${id}-step-${checkpointStep}.bin`);
  t.ok(expected.every((name) => readdirSync(join(storage, 'checkpoints')).includes(name)), 'all that the log knows of are there');
  free();
  const { trials, best } = await run();
  t.ok(trials.every(({ status, step, config, metrics }) => status === 'completed' && step === 4 && Math.abs((metrics['loss'] as number) - 4 * config.x) < 1e-9), 'no epoch was lost or made twice');
  t.equal((best.checkpoint as { sum: number }).sum, best.metrics['loss']);
  const after = readExperiment(storage);
  for (const [id, was] of endsOf(broken)) t.strictSame(endsOf(after).get(id), was, `trial ${id}`);
  requireEachOnce(t, after);
});

t.test('a population that finds no room goes on from where it was', { skip }, async (t) => {
  const { storage, free } = tightFolder(t, 260);
  const run = () => tune(async ({ x }, trial: Trial) => {
    let height = (trial.checkpoint as { height: number } | null)?.height ?? 0;
    for (let epoch = trial.startEpoch; epoch < 8; epoch++) {
      height += x;
      await trial.report({ loss: -height }, { checkpoint: { height, weights: new Uint8Array(8_000 * (epoch + 1)) } });
    }
  }, { ...OPTIONS, trials: 4, resources: { cpus: 0.25 }, scheduler: pbt({ intervalEpochs: 2, quantile: 0.5 }), storage });
  await t.rejects(run(), { code: 'STORAGE', message: /could not be written: ENOSPC/ });
  t.notOk(readdirSync(join(storage, 'checkpoints')).some((name) => name.endsWith('.draft')), 'no draft is left');
  free();
  t.same((await run()).trials.map(({ status, step }) => [status, step]), Array.from({ length: 4 }, () => ['completed', 8]));
  requireEachOnce(t, readExperiment(storage));
});

t.test('loggers that find no room are left out, and end nothing', { skip }, async (t) => {
  const { storage } = tightFolder(t, 8);
  const elsewhere = mkdtempSync(join(tmpdir(), 'muster-t-full-'));
  t.teardown(() => rmSync(elsewhere, { recursive: true }));
  const loggers = [jsonLines(`${storage}.jsonl`), csv(`${storage}.csv`)];
  const { trials } = await tune(({ x }) => ({ loss: x, notes: 'n'.repeat(2000) }), { ...OPTIONS, trials: 10, storage: join(elsewhere, 'sweep'), loggers });
  t.equal(trials.length, 10);
});
