import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeHome, type Started } from './test-support/command-home.js';

const home = makeHome(t);
const head = await home.startHead();
const folder = join(home.path, 'programs');
mkdirSync(folder);

/** The id that a submit prints first. */
async function idOf(started: Started): Promise<string> {
  await started.printed(/job-\w+: /);
  return (await home.list('jobs', '--filter', 'state=running'))[0]!['jobId'] as string;
}

t.test('a submitted program prints here, and its exit code is the command\'s', async (t) => {
  const succeeded = await home.run(['submit', '--', 'node', '-e', 'console.log("one"); console.error("two")', '--', '--trials', '3']);
  t.equal(succeeded.code, 0);
  t.equal(succeeded.stdout, 'one\ntwo\n');
  t.match(succeeded.stderr, /^job-\w+: node -e .* --trials 3\n$/);
  const failed = await home.run(['submit', 'node', '-e', 'process.exit(7)']);
  t.equal(failed.code, 7);
  t.match(failed.stderr, /job-\w+ failed: it exited with code 7\n$/);
  const talkative = await home.run(['submit', '--', 'node', '-e', 'console.error("last words"); process.exitCode = 1']);
  t.match(talkative.stderr, /failed: it exited with code 1\n$/, 'what it said is not repeated');
  const killed = await home.run(['submit', '--', 'sh', '-c', 'kill -9 $$']);
  t.equal(killed.code, 1);
  t.match(killed.stderr, /failed: it was ended by SIGKILL/);
  const absent = await home.run(['submit', '--', './no-such-program']);
  t.equal(absent.code, 1);
  t.match(absent.stderr, /failed: it did not start: .*ENOENT/);
});

t.test('all of its output arrives, however much there is', async (t) => {
  const { code, stdout } = await home.run(['submit', '--', 'node', '-e', 'for (let i = 0; i < 200000; i++) console.log("line " + i)']);
  t.equal(code, 0);
  t.equal(stdout, Array.from({ length: 200_000 }, (_, i) => `line ${i}\n`).join(''));
});

t.test('it runs in the folder of the submit, and finds the cluster', async (t) => {
  const { stdout } = await home.run(['submit', '--', 'node', '-p', '[process.cwd(), process.env.MUSTER_ADDRESS, process.env.MUSTER_TOKEN_FILE].join()'], { cwd: folder });
  t.equal(stdout, `${folder},${head.address},${head.tokenFile}\n`);
});

t.test('a program in TypeScript runs on every version of Node', async (t) => {
  writeFileSync(join(folder, 'program.ts'), 'const answer: number = 42;\nconsole.log(answer satisfies number);\n');
  const { code, stdout } = await home.run(['submit', '--', 'node', 'program.ts'], { cwd: folder });
  t.equal(code, 0);
  t.equal(stdout, '42\n');
});

t.test('errors of a program in TypeScript name its own lines, also where a worker threw them', async (t) => {
  const core = JSON.stringify(import.meta.resolve('@muster/core'));
  writeFileSync(join(folder, 'throws.mts'), [
    `import { remote, shutdown } from ${core};`, 'interface Gone { long: string }', 'class Thrower {', '  static made = 0;',
    '  go(): never { throw new RangeError("deep"); }', '}', 'const call = remote(async function outer() {',
    '  new Thrower().go();', '});', 'await call().catch((error: Error) => console.log(error.stack));', 'await shutdown();', '',
  ].join('\n'));
  const node = await home.startNode('--address', head.address, '--cpus', '1');
  const { stdout } = await home.run(['submit', '--', 'node', 'throws.mts'], { cwd: folder });
  const at = (line: number): string => `\\(${join(folder, 'throws.mts')}:${line}:\\d+\\)`;
  t.match(stdout, new RegExp(`^RangeError: deep\n    at Thrower\\.go ${at(5)}\n    at outer ${at(8)}\n  --- called from ---\n    at .*${at(10)}\n`));
  t.notMatch(stdout, /executor|packages\/core/, 'and none of Muster\'s own');
  await home.run(['stop', node.nodeId]);
});

t.test('Ctrl-C stops the job, also one that does not want to', async (t) => {
  const started = home.start(['submit', '--', 'node', '-e', 'process.on("SIGTERM", () => { console.log("good bye"); process.exit(); }); console.log("up"); setInterval(() => {}, 1000)']);
  await started.printed(/up\n/);
  const jobId = await idOf(started);
  started.process.kill('SIGINT');
  const { code, stdout, stderr } = await started.finished;
  t.equal(code, 130);
  t.equal(stdout, 'up\ngood bye\n');
  t.match(stderr, new RegExp(`stopping ${jobId}.*\n${jobId} stopped`));
});

t.test('Ctrl-C twice leaves the job to itself', async (t) => {
  const started = home.start(['submit', '--', 'node', '-e', 'process.on("SIGTERM", () => {}); console.log("up"); setTimeout(() => {}, 60000)']);
  await started.printed(/up\n/);
  started.process.kill('SIGINT');
  await started.printed(/stopping/);
  started.process.kill('SIGINT');
  t.equal((await started.finished).code, 130);
});

t.test('a detached job runs on, and is followed, listed and stopped by its id', async (t) => {
  const { stdout } = await home.run(['submit', '--detach', '--', 'node', '-e', 'console.log("up"); setInterval(() => console.log("tick"), 100)']);
  const jobId = stdout.trim();
  t.match(jobId, /^job-\w+$/);
  const follower = home.start(['logs', jobId, '--follow']);
  await follower.printed(/up\ntick\ntick\ntick\n/);
  t.match((await home.list('jobs', '--filter', `jobId=${jobId}`))[0], { state: 'running', kind: 'submitted' });
  t.match((await home.run(['jobs', '--filter', 'state=running'])).stdout, new RegExp(`^${jobId} +submitted +running`, 'm'));
  const stopped = await home.run(['stop-job', jobId]);
  t.equal(stopped.code, 0);
  t.equal(stopped.stdout, `${jobId} stopped\n`);
  t.equal((await follower.finished).code, 0, 'the follower ends with the job');
  t.match((await home.run(['logs', jobId])).stdout, /^up\ntick\n/);
  t.equal((await home.run(['stop-job', jobId])).stdout, `${jobId} is over already: stopped\n`);
  t.match((await home.run(['explain', jobId])).stdout, new RegExp(`^job ${jobId}: stopped\n`));
});

t.test('a job may have a name, and is a thing that can be stopped', async (t) => {
  const { stdout } = await home.run(['submit', '--name', 'nightly', '--detach', '--', 'sleep', '60']);
  const jobId = stdout.trim();
  t.match(await home.list('jobs', '--filter', 'name=nightly'), [{ jobId, name: 'nightly', entrypoint: 'sleep 60' }]);
  t.match((await home.run(['jobs'])).stdout, new RegExp(`^${jobId} +nightly +submitted +running +sleep 60`, 'm'));
  t.match((await home.run(['explain', jobId])).stdout, /submitted job 'nightly': sleep 60/);
  t.equal((await home.run(['stop', jobId])).stdout, `${jobId} stopped\n`);
});

t.test('unknown jobs are named', async (t) => {
  for (const args of [['stop-job', 'job-nobody'], ['logs', 'job-nobody'], ['logs', 'job-nobody', '--follow']]) {
    const { code, stderr } = await home.run(args);
    t.equal(code, 1, args.join(' '));
    t.match(stderr, /^cluster: .*job-nobody.*\n  .*\n$/);
  }
});

t.test('a job is submitted and followed from a machine without a node', async (t) => {
  const elsewhere = makeHome(t);
  const env = { MUSTER_ADDRESS: head.address, MUSTER_TOKEN_FILE: head.tokenFile };
  const { code, stdout } = await elsewhere.run(['submit', '--', 'node', '-e', 'console.log("one"); setTimeout(() => { console.log("two"); process.exitCode = 5; }, 600)'], { env });
  t.equal(code, 5);
  t.equal(stdout, 'one\ntwo\n');
});

t.test('a submitted program uses the cluster, and the command line sees what it does', async (t) => {
  await home.startNode('--address', head.address, '--cpus', '1');
  const core = JSON.stringify(import.meta.resolve('@muster/core'));
  writeFileSync(join(folder, 'uses.mjs'), `
    import { actor, remote, shutdown } from ${core};
    class Counter { n = 0; add(k) { console.log('adding ' + k); return (this.n += k); } }
    const counter = await actor(Counter, { name: 'hits' }).create();
    console.log(await counter.add(2));
    const hungry = remote(function hungry() {}).options({ cpus: 1 });
    const waits = remote(function waits() { return new Promise(() => {}); }).options({ cpus: 1 });
    waits.remote();
    hungry.remote();
    console.log('ready');
    process.stdin.resume();
    setInterval(() => {}, 1000);
  `);
  const started = home.start(['submit', '--', 'node', 'uses.mjs'], { cwd: folder });
  await started.printed(/ready/);
  const jobId = await idOf(started);
  const [row] = await home.list('actors', '--filter', 'state=alive');
  t.match(row, { className: 'Counter', name: 'hits', jobId });
  t.match((await home.run(['list', 'actors'])).stdout, /^ACTOR +CLASS +NAME +STATE/);
  t.match((await home.run(['explain', row!['actorId'] as string])).stdout, /Counter named 'hits'/);
  t.match((await home.run(['logs', row!['actorId'] as string])).stdout, /adding 2\n/);
  const tasks = await home.list('tasks');
  t.ok(tasks.some((task) => task['name'] === 'hungry' && task['state'] === 'queued'));
  const hungry = tasks.find((task) => task['name'] === 'hungry')!;
  t.match((await home.run(['explain', hungry['taskId'] as string])).stdout, /asks for 1 cpu and has waited/);
  t.match((await home.run(['summary'])).stdout, /TASKS[^]*hungry[^]*ACTORS[^]*Counter/);
  t.match((await home.run(['list', 'workers'])).stdout, /actor/);
  t.equal((await home.run(['list', 'objects'])).code, 0);
  started.process.kill('SIGINT');
  const { stdout } = await started.finished;
  t.match(stdout, /^\(.*\) adding 2$/m);
  t.match(stdout, /^2\nready$/m);
});

t.test('the token is in no log', async (t) => {
  const token = readFileSync(head.tokenFile, 'utf8').trim();
  const { stdout } = await home.run(['logs']);
  t.match(stdout, /job-submitted/);
  t.notOk(stdout.includes(token));
});
