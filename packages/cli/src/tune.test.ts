/** `cluster tune`: a module's experiment is run, resumed, shown and reported. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const PROGRAM = fileURLToPath(new URL('../bin/cluster.mjs', import.meta.url));

const root = mkdtempSync(join(tmpdir(), 'muster-tune-c-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));

const { MUSTER_ADDRESS: _, ...env } = process.env;
const clusterWith = (more: NodeJS.ProcessEnv, ...args: readonly string[]) => spawnSync(process.execPath, [PROGRAM, 'tune', ...args], { encoding: 'utf8', env: { ...env, MUSTER_HOME: join(root, 'home'), ...more } });
const cluster = (...args: readonly string[]) => clusterWith({}, ...args);

t.test('an experiment in TypeScript is run, resumed with more trials, shown and reported', (t) => {
  const [sweep, storage] = [join(root, 'sweep.mts'), join(root, 'run')];
  writeFileSync(sweep, `import { uniform, type Trial } from ${JSON.stringify(import.meta.resolve('@muster/tune'))};
    export const trainable = async ({ x }: { x: number }, trial: Trial) => { await trial.report({ loss: (x - 3) ** 2 }); };
    export const options = { space: { x: uniform(0, 10) }, metric: 'loss', trials: 3 };`);
  const first = cluster('run', sweep, '--storage', storage);
  t.equal(first.status, 0, first.stderr);
  t.match(first.stdout, /all 3 trials have begun\nbest: trial \d\n/);
  const again = cluster('run', sweep, '--storage', storage);
  t.equal(again.status, 1);
  t.match(again.stderr, /holds an experiment already, with 3 trials\n {2}Set resume: true/);
  const more = ['run', sweep, '--storage', storage, '--resume', '--trials', '5'];
  const resumed = cluster(...more);
  t.equal(resumed.status, 0, resumed.stderr);
  const log = readFileSync(join(storage, 'experiment.log'));
  const finished = clusterWith({ MUSTER_ADDRESS: 'unix:/nowhere', MUSTER_TOKEN_FILE: '/nowhere' }, ...more);
  t.same([finished.status, finished.stdout], [0, resumed.stdout], 'what is done is told from its log, and needs no cluster');
  t.match(finished.stderr, /^run: 5 of 5 trials, best loss .* \(resumed\)\n$/, 'in one line');
  t.ok(log.equals(readFileSync(join(storage, 'experiment.log'))));

  const shown = cluster('show', storage);
  t.match(shown.stdout, /^run: 5 of 5 trials, best loss .*\nfinished: all 5 trials have begun\n\ntrial +state +step +loss +x\n/);
  const data = JSON.parse(cluster('show', storage, '--json').stdout) as { trials: { metrics: { loss: number } }[]; best: { metrics: { loss: number } } };
  t.equal(data.trials.length, 5);
  t.equal(data.best.metrics.loss, Math.min(...data.trials.map(({ metrics }) => metrics.loss)));
  t.equal(cluster('show', storage, '--csv').stdout.trim().split('\r\n').length, 6);
  const page = join(root, 'report.html');
  t.equal(cluster('report', storage, '-o', page).status, 0);
  t.match(cluster('report', storage, '-o', join(root, 'missing', 'page.html')), { status: 1, stderr: /missing\/page\.html could not be written: ENOENT/ });
  t.match(readFileSync(page, 'utf8'), /^<!doctype html>[^]*<\/html>\n$/);
  t.end();
});

t.test('Ctrl-C ends the trials and says how to go on, and what had ended stays', async (t) => {
  const [sweep, storage] = [join(root, 'endless.mts'), join(root, 'interrupted')];
  writeFileSync(sweep, `import { choice, type Trial } from ${JSON.stringify(import.meta.resolve('@muster/tune'))};
    export const trainable = async ({ x }: { x: number }, trial: Trial) => {
      while (x === 2 && trial.attempt === 1 && process.env['MUSTER_T_ENDLESS'] === '1') await trial.report({ loss: x });
      return x;
    };
    export const options = { space: { x: choice([1, 2]) }, metric: 'loss', trials: 2, maxConcurrent: 1, initialPoints: [{ x: 1 }, { x: 2 }] };`);
  const child = spawn(process.execPath, [PROGRAM, 'tune', 'run', sweep, '--storage', storage], { env: { ...env, MUSTER_HOME: join(root, 'home'), MUSTER_T_ENDLESS: '1' }, stdio: ['ignore', 'inherit', 'pipe'], detached: true });
  let heard = '';
  let pressed = false;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    heard += text;
    if (!pressed && /best loss 1 in trial 1/.test(heard)) process.kill(-child.pid!, 'SIGINT'); // as a terminal does, to all processes of the group
    pressed ||= /best loss 1 in trial 1/.test(heard);
  });
  t.equal(await new Promise((resolve) => child.once('close', resolve)), 130, heard);
  t.match(heard, new RegExp(`ending the trials; once more to end at once[^]*cluster: the experiment was broken off\\n  Go on with it: cluster tune run ${sweep} --storage ${storage} --resume\\n$`));
  t.match(cluster('show', storage).stdout, /^interrupted: 1 trials, 1 running, best loss 1 .*\nnot finished/);
  const resumed = cluster('run', sweep, '--storage', storage, '--resume');
  t.equal(resumed.status, 0, resumed.stderr);
  t.match(resumed.stdout, /all 2 trials have begun\nbest: trial 1\n/);
});

t.test('what cannot be run or shown is one line of what, and one of what to do', (t) => {
  const empty = join(root, 'empty.mjs');
  writeFileSync(empty, 'export const options = {};');
  t.match(cluster('run', empty), { status: 1, stderr: /empty\.mjs is not valid.*`trainable`/ });
  t.match(cluster('run', join(root, 'missing.ts')), { status: 1, stderr: /the program .*missing\.ts is not valid: it must be the path of a module, and there is none/ });
  t.match(cluster('run', empty, '--trials', 'many'), { status: 2, stderr: /--trials many/ });
  t.match(cluster('show', join(root, 'nothing')), { status: 1, stderr: /it has no experiment\.log/ });
  t.end();
});
