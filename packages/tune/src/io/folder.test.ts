import { spawn, spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { LogRecord } from '../machine/records.js';
import { openFolder, readExperiment } from './folder.js';
import { checkLog, encodeLine, recordsOf } from './log.js';

const root = mkdtempSync(join(tmpdir(), 'muster-tune-t-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const fresh = (): string => join(root, `f${++folders}`);

const BEGIN: LogRecord = { kind: 'begin', version: 1, name: 'test', space: [], objectives: [{ metric: 'loss', mode: 'min' }], seed: 0, searcher: 'random', searcherSeed: 0, scheduler: 'fixed', startedAt: 0 };
const trial = (id: number): LogRecord => ({ kind: 'trial', id: String(id), config: { x: `é\n${id}` }, reason: 'test', isInitial: false, atMs: id });
const RECORDS: readonly LogRecord[] = [BEGIN, trial(1), { kind: 'end', id: '1', status: 'completed', metrics: { loss: 1 }, reason: 'done', atMs: 2 }, trial(2)];
const quiet = { resume: true, warn: () => {} };

function written(records = RECORDS): string {
  const folder = fresh();
  const open = openFolder(folder, quiet);
  for (const record of records) open.append(record);
  open.close();
  return folder;
}

t.test('what was appended is read again, also by who only looks', (t) => {
  const folder = written();
  const open = openFolder(folder, quiet);
  t.same([...open.earlier], RECORDS);
  const seen = readExperiment(folder);
  t.same([...seen.table.rows()].map(({ id, status }) => [id, status]), [['1', 'completed'], ['2', 'running']]);
  t.equal(seen.finished, null);
  open.append(trial(3));
  t.same([...open.earlier], RECORDS, 'what happened before, and not since');
  t.same([...seen.records], RECORDS, 'what its table tells of, and no more');
  open.close();
  t.throws(() => openFolder(folder, { ...quiet, resume: false }), { code: 'EXPERIMENT_EXISTS', message: /with 3 trials/ });
  t.throws(() => readExperiment(fresh()), { code: 'INVALID_ARGUMENT', message: /that of an experiment: it has no experiment\.log/ });
  t.end();
});

t.test('a log that ends anywhere in its last line loses that line alone, with a warning, and goes on', (t) => {
  const text = RECORDS.map(encodeLine).join('');
  const bytes = Buffer.from(text);
  const lastStart = Buffer.byteLength(RECORDS.slice(0, -1).map(encodeLine).join(''));
  const folder = written();
  const file = join(folder, 'experiment.log');
  for (let length = lastStart; length < bytes.length; length++) {
    writeFileSync(file, bytes.subarray(0, length));
    const warnings: string[] = [];
    const open = openFolder(folder, { resume: true, warn: (warning) => warnings.push(warning) });
    open.append(trial(2));
    open.close();
    if ([...open.earlier].length !== 3 || warnings.length !== (length > lastStart ? 1 : 0) || !readFileSync(file).equals(bytes)) t.fail(`cut at byte ${length}`);
  }
  appendFileSync(file, 'rubbish without a line end');
  t.equal(checkLog(file).brokenBytes, 26);
  appendFileSync(file, '\n');
  t.equal(checkLog(file).brokenBytes, 27, 'a broken line with its end is broken, too');
  t.end();
});

t.test('a log that ends anywhere is read up to its last whole line', (t) => {
  const lines = RECORDS.map((record) => Buffer.byteLength(encodeLine(record)));
  const folder = written();
  const file = join(folder, 'experiment.log');
  const bytes = readFileSync(file);
  for (let length = 0; length <= bytes.length; length++) {
    let [whole, end] = [0, 0];
    while (whole < lines.length && end + lines[whole]! <= length) end += lines[whole++]!;
    writeFileSync(file, bytes.subarray(0, length));
    const { extent, brokenBytes } = checkLog(file);
    if (extent.records !== whole || extent.bytes !== end || brokenBytes !== length - end || [...recordsOf(file, extent)].length !== whole) t.fail(`cut at byte ${length}`);
  }
  t.end();
});

t.test('a snapshot is kept now and then, and taken for a log that begins as its own did', (t) => {
  const folder = fresh();
  let nowMs = 0;
  let asked = 0;
  const open = openFolder(folder, { ...quiet, nowMs: () => nowMs });
  for (const record of [BEGIN, ...Array.from({ length: 49 }, (_, index) => trial(index + 1))]) {
    open.append(record);
    open.keepState(() => {
      nowMs += ++asked === 1 ? 0 : 400; // the second one takes long
      return { searcher: asked, scheduler: null };
    });
    nowMs += 1000;
  }
  open.close();
  t.equal(asked, 3, 'every ten seconds, and less often when it takes long');
  const reopened = openFolder(folder, quiet);
  reopened.close();
  t.match(reopened.snapshot, { extent: { records: 41 }, state: { searcher: 3, scheduler: null } });
  const [log, snapshot] = [join(folder, 'experiment.log'), join(folder, 'experiment.snapshot')];
  const isTaken = (): boolean => {
    const open = openFolder(folder, quiet);
    open.close();
    return open.snapshot !== null;
  };
  const [logBytes, snapshotBytes] = [readFileSync(log), readFileSync(snapshot)];
  writeFileSync(log, logBytes.subarray(0, logBytes.length >> 1));
  t.notOk(isTaken(), 'the log is shorter: a power cut took what the snapshot knows');
  writeFileSync(log, Buffer.from(logBytes.toString('utf8').replace(encodeLine(trial(7)), encodeLine({ ...trial(7), reason: 'another' }))));
  t.notOk(isTaken(), 'the log is another one');
  writeFileSync(log, logBytes);
  t.ok(isTaken());
  for (const broken of [snapshotBytes.subarray(0, -5), Buffer.alloc(0), Buffer.from('rubbish\n')]) {
    writeFileSync(snapshot, broken);
    t.notOk(isTaken(), 'broken');
  }
  t.end();
});

t.test('a flipped bit anywhere before the last line is damage, with its line', (t) => {
  const folder = written();
  const file = join(folder, 'experiment.log');
  const bytes = readFileSync(file);
  const secondLine = bytes.indexOf(10) + 1;
  for (let at = secondLine; at < bytes.indexOf(10, secondLine); at++) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 1;
    if (damaged[at] === 10) continue; // then it is two broken lines
    writeFileSync(file, damaged);
    t.throws(() => checkLog(file), { code: 'EXPERIMENT_DAMAGED', details: { line: 2 } });
  }
  t.end();
});

t.test('two drivers on one folder: the second is told who holds it, and gets it when that one has died', async (t) => {
  const folder = fresh();
  const source = `import { openFolder } from ${JSON.stringify(new URL('./folder.js', import.meta.url).href)};
    openFolder(${JSON.stringify(folder)}, { resume: true, warn: () => {} }); console.log('open'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  t.throws(() => openFolder(folder, quiet), { code: 'EXPERIMENT_IN_USE', message: new RegExp(`run by process ${child.pid}`) });
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  const open = openFolder(folder, quiet);
  t.throws(() => openFolder(folder, quiet), { code: 'EXPERIMENT_IN_USE' }, 'also within one process');
  open.close();
  t.same(readdirSync(folder).sort(), ['checkpoints', 'experiment.log'], 'nothing is left of locks');
  // Another process has got the dead one's id: it was started at another time.
  writeFileSync(join(folder, 'lock'), JSON.stringify({ pid: process.pid, startTicks: '1', host: hostname() }));
  openFolder(folder, quiet).close();
  writeFileSync(join(folder, 'lock'), JSON.stringify({ pid: 1, startTicks: '1', host: 'elsewhere' }));
  t.throws(() => openFolder(folder, quiet), { code: 'EXPERIMENT_IN_USE', message: /process 1 on elsewhere/ });
});

t.test('a full disk is a clear error, and what was appended before it is kept', (t) => {
  const folder = fresh();
  const source = `import { openFolder } from ${JSON.stringify(new URL('./folder.js', import.meta.url).href)};
    const open = openFolder(${JSON.stringify(folder)}, { resume: true, warn: () => {} });
    const codes = []; let appended = 0;
    for (let n = 0; n < 200; n++) try {
      open.append(n === 0 ? ${JSON.stringify(BEGIN)} : { ...${JSON.stringify(trial(1))}, id: String(n) }); appended++;
    } catch (error) { codes.push(error.code); if (codes.length === 1) console.error(error.message); }
    console.log(JSON.stringify({ appended, codes: [...new Set(codes)] })); open.close();`;
  // The kernel refuses to make files longer than 8 KiB: what it says of a full disk, with another number.
  const { stdout, stderr } = spawnSync('bash', ['-c', `trap '' XFSZ; ulimit -f 8; exec "$0" --input-type=module -e "$1"`, process.execPath, source], { encoding: 'utf8' });
  const { appended, codes } = JSON.parse(stdout) as { appended: number; codes: string[] };
  t.same(codes, ['STORAGE']);
  t.match(stderr, /experiment\.log could not be written: EFBIG/);
  t.ok(appended > 10 && appended < 200);
  t.equal(statSync(join(folder, 'experiment.log')).size, 8192);
  t.equal([...openFolder(folder, quiet).earlier].length, appended, 'all that was acknowledged, and no more');
  t.end();
});

t.test('a snapshot that finds no room is left out, and the log goes on', (t) => {
  const folder = fresh();
  const source = `import { openFolder } from ${JSON.stringify(new URL('./folder.js', import.meta.url).href)};
    let nowMs = 0;
    const open = openFolder(${JSON.stringify(folder)}, { resume: true, warn: () => {}, nowMs: () => nowMs });
    open.append(${JSON.stringify(BEGIN)});
    for (const size of [100, 50_000, 100]) {
      nowMs += 60_000;
      open.append(${JSON.stringify(trial(1))});
      open.keepState(() => ({ searcher: 'x'.repeat(size), scheduler: size }));
      if (size > 1_000) open.append({ ...${JSON.stringify(trial(1))}, id: '2' });
      console.log(JSON.parse((await import('node:fs')).readFileSync(${JSON.stringify(join(folder, 'experiment.snapshot'))}, 'utf8').slice(9)).extent.records);
    }
    open.close();`;
  const { stdout, stderr } = spawnSync('bash', ['-c', `trap '' XFSZ; ulimit -f 8; exec "$0" --input-type=module -e "$1"`, process.execPath, source], { encoding: 'utf8' });
  t.equal(stderr, '');
  t.same(stdout.trim().split('\n'), ['2', '2', '5'], 'the earlier one stays until there is a later one');
  t.same(readdirSync(folder).sort(), ['checkpoints', 'experiment.log', 'experiment.snapshot'], 'no draft is left');
  t.equal([...openFolder(folder, quiet).earlier].length, 5);
  t.end();
});

t.test('a folder that cannot be made is refused at once, and what is missing above one is made', async (t) => {
  t.throws(() => openFolder('/proc/muster/runs', quiet), { code: 'STORAGE', message: /\/proc\/muster\/runs could not be written: ENOENT/ });
  const file = join(root, 'a-file');
  writeFileSync(file, '');
  t.throws(() => openFolder(file, quiet), { code: 'STORAGE', message: /a-file could not be written: it is no folder/ });
  t.throws(() => openFolder(join(file, 'below'), quiet), { code: 'STORAGE', message: /ENOTDIR/ });
  openFolder(join(root, 'not', 'yet', 'there'), quiet).close();
});

t.test('checkpoints: whole or not at all, and what a dead driver left is swept', async (t) => {
  const folder = written();
  const { checkpoints, close } = openFolder(folder, quiet);
  await checkpoints.write('1', 3, Buffer.from('three'));
  await checkpoints.write('1', 4, Buffer.from('four'));
  checkpoints.copy({ trialId: '1', step: 4 }, { trialId: '2', step: 9 });
  writeFileSync(join(folder, 'checkpoints', 'trial-1-step-5.bin.draft'), 'half of f');
  const names = (): string[] => readdirSync(join(folder, 'checkpoints')).sort();
  checkpoints.sweep(({ trialId, step }) => (trialId === '1' ? step === 3 : step === 9));
  t.same(names(), ['trial-1-step-3.bin', 'trial-2-step-9.bin']);
  t.equal(Buffer.from(checkpoints.read('2', 9)!).toString(), 'four');
  t.equal(checkpoints.read('2', 8), null, 'there is none');
  await checkpoints.write('1', 7, Buffer.from('seven'));
  checkpoints.sweep(() => true);
  checkpoints.supersede({ trialId: '2', step: 9 }, ({ step }) => step === 9);
  t.same(names(), ['trial-1-step-7.bin', 'trial-2-step-9.bin'], 'what a dead driver had kept of one trial goes when nobody needs it, and no trial loses its last');
  checkpoints.supersede({ trialId: '1', step: 7 }, () => false);
  t.same(names(), []);
  rmSync(join(folder, 'checkpoints'), { recursive: true });
  await t.rejects(checkpoints.write('1', 6, Buffer.from('six')), { code: 'STORAGE' });
  t.notOk(existsSync(join(folder, 'checkpoints')));
  close();
});
