import { chmodSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { COMMANDS } from './commands/index.js';
import { makeHome } from './test-support/command-home.js';

const home = makeHome(t);

t.test('every command has a help with an example and the exit codes', async (t) => {
  for (const { name } of COMMANDS) {
    const { code, stdout } = await home.run([name, '--help']);
    t.equal(code, 0, name);
    t.match(stdout, new RegExp(`^Usage: cluster ${name}\\b`));
    t.match(stdout, new RegExp(`Examples:\\n  .*cluster ${name}`));
    t.match(stdout, /Exit codes: 0 done/);
    t.notOk(stdout.split('\n').some((line) => line.length > 100), `${name} fits into 100 columns`);
  }
  t.notMatch((await home.run(['start', '--help'])).stdout, /ephemeral|background/);
});

t.test('the program itself lists its commands, with and without being asked', async (t) => {
  for (const args of [[], ['--help'], ['help']]) {
    const { code, stdout } = await home.run(args);
    t.equal(code, 0);
    for (const { name } of COMMANDS) t.match(stdout, new RegExp(`^  ${name} `, 'm'));
  }
  t.match((await home.run(['help', 'submit'])).stdout, /^Usage: cluster submit/);
  t.match(await home.run(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ });
});

t.test('wrong usage ends with code 2, says what is wrong and where help is', async (t) => {
  const wrong: [args: string[], complaint: RegExp][] = [
    [['foo'], /unknown command 'foo'/],
    [['help', 'foo'], /unknown command 'foo'/],
    [['status', '--foo'], /unknown option '--foo'/],
    [['status', '--adress', 'a:1'], /unknown option '--adress'; did you mean --address\?\n/],
    [['list'], /missing required argument 'KIND'/],
    [['list', 'foo'], /KIND 'foo' is none of nodes, tasks, actors, gangs, objects, jobs, workers/],
    [['list', 'nodes', '--filter', 'state'], /--filter state .*name=value/],
    [['start'], /either --head or --address/],
    [['start', '--head', '--address', 'a:1'], /either --head or --address/],
    [['start', '--head', '--cpus', 'many'], /--cpus many/],
    [['start', '--head', '--gpus', '0.5'], /--gpus 0.5 .*whole number/],
    [['start', '--head', '--port', '70000'], /--port 70000/],
    [['start', '--head', '--memory', '1 lot'], /1 lot/],
    [['start', '--head', '--object-store', 'big'], /big/],
    [['start', '--head', '--resources', 'tpu'], /--resources tpu .*name=value/],
    [['start', '--head', '--resources', 'cpu=3'], /'cpu'/],
    [['start', '--head', '--node-timeout', '5'], /--node-timeout 5/],
    [['start', '--address', 'nowhere'], /'nowhere' .*HOST:PORT/],
    [['start', '--address', 'a:1', '--port', '1'], /--port .*--head/],
    [['submit'], /missing required argument 'COMMAND'/],
  ];
  for (const [args, complaint] of wrong) {
    const { code, stdout, stderr } = await home.run(args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, complaint);
    t.match(stderr, /^cluster: .*\n  `cluster .*--help` .*\n$/, 'one line of what happened, one of what to do');
    t.equal(stdout, '');
  }
});

t.test('an address that is none is wrong usage, wherever it comes from', async (t) => {
  for (const { code, stderr } of [await home.run(['status', '--address', 'foo']), await home.run(['jobs'], { env: { MUSTER_ADDRESS: 'foo' } })]) {
    t.equal(code, 2);
    t.equal(stderr, 'cluster: the address \'foo\' is not valid: it must be HOST:PORT, such as 10.0.0.5:6380\n  Correct --address or MUSTER_ADDRESS.\n');
  }
});

t.test('without a cluster, commands that need one end with code 3 and say how to get one', async (t) => {
  for (const args of [['status'], ['summary'], ['list', 'nodes'], ['explain', 'node-1'], ['logs', 'job-1'], ['submit', '--', 'true'], ['jobs'], ['stop-job', 'job-1'], ['drain', 'node-1'], ['token']]) {
    const { code, stderr } = await home.run(args);
    t.equal(code, 3, args.join(' '));
    t.equal(stderr, 'cluster: no cluster runs on this machine\n  Start one with `cluster start --head`, or name one elsewhere with --address HOST:PORT.\n');
  }
  const { code, stdout } = await home.run(['stop']);
  t.equal(code, 0, 'there is nothing to stop, which is what was wanted');
  t.match(stdout, /no node runs/);
});

t.test('a stack is shown only when it is asked for', async (t) => {
  t.notMatch((await home.run(['status'])).stderr, /at .*\.js/);
  t.match((await home.run(['status'], { env: { MUSTER_DEBUG: '1' } })).stderr, /at .*\.js/);
});

t.test('a home too deep for sockets is refused', async (t) => {
  for (const [folder, want] of [['/etc/passwd/home', /can be made here \(ENOTDIR\); set MUSTER_HOME/], [`/tmp/${'ü'.repeat(40)}`, /at most 60 bytes/]] as const) {
    t.match((await home.run(['status'], { env: { MUSTER_HOME: folder } })).stderr, want);
  }
  const { code, stderr } = await home.run(['status'], { env: { MUSTER_HOME: `/tmp/${'x'.repeat(80)}` } });
  t.equal(code, 1);
  t.match(stderr, /home \/tmp\/x+ is not valid: it must be a path of at most 60 bytes/);
});

t.test('a home that lets others in is refused, and left as it is', async (t) => {
  const open = join(home.path, 'open');
  mkdirSync(open);
  chmodSync(open, 0o755);
  const { code, stderr } = await home.run(['status'], { env: { MUSTER_HOME: open } });
  t.equal(code, 1);
  t.match(stderr, `Muster's home ${open} is not valid: it must be open to you alone, and its mode 755 lets others in; run \`chmod 700 ${open}\``);
  t.equal(statSync(open).mode & 0o777, 0o755);
  const link = join(home.path, 'link');
  symlinkSync(open, link);
  t.match((await home.run(['status'], { env: { MUSTER_HOME: link } })).stderr, `${link} is not valid: it must be a folder`);
});

t.test('a scenario runs, one that breaks a rule exits with 1 and says how to run it again, and a mistake in one is wrong usage', async (t) => {
  const folder = t.testdir();
  const scenario = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const cluster = '[[nodes]]\ncount = 3\ncpus = 2\n';
  const work = '[[workload]]\nkind = "tasks"\ncount = 40\nduration = "20ms"\n';
  const kept = await home.run(['sim', scenario('small.toml', cluster + work), '--seeds', '2', '--json']);
  t.equal(kept.code, 0, kept.stderr);
  const reports = kept.stdout.trim().split('\n').map((line) => JSON.parse(line) as { seed: number; failure: string | null; tasks: { done: number } });
  t.same(reports.map(({ seed, failure, tasks }) => [seed, failure, tasks.done]), [[1, null, 40], [2, null, 40]]);

  const path = scenario('late.toml', `finish-within = "1ms"\n${cluster}${work}`);
  const broken = await home.run(['sim', path, '--seed', '5', '--trace', `${path}.trace`]);
  t.equal(broken.code, 1);
  t.ok(broken.stdout.includes(`replay     npx cluster sim ${path} --seed 5`));
  t.ok(statSync(`${path}.trace`).size > 1000, 'the trace is written');

  const wrong = await home.run(['sim', scenario('wrong.toml', `${cluster}gpus = "many"\n${work}`)]);
  t.equal(wrong.code, 2);
  t.match(wrong.stderr, /wrong\.toml, line 4: gpus = "many" is not valid: it must be a number/);
  t.equal((await home.run(['sim', 'nowhere.toml'])).code, 2);
  t.equal((await home.run(['sim', path, '--seed', 'x'])).code, 2);
});
