import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { isRunning } from '@muster/base';
import { makeHome } from './test-support/command-home.js';

t.test('a head and a member', async (t) => {
  const home = makeHome(t);
  const head = await home.startHead();
  const member = await home.startNode('--address', head.address, '--cpus', '2', '--labels', 'zone=a,disk=fast', '--resources', 'tpu=2', '--resources', 'license=1');

  t.test('the start says what it started', async (t) => {
    t.match(head, { isHead: true, address: /^127\.0\.0\.1:\d+$/ });
    t.match(member, { isHead: false, address: head.address });
    t.match(readFileSync(head.tokenFile, 'utf8'), /^[\w-]{43}\n$/, '32 bytes');
    t.equal(statSync(head.tokenFile).mode & 0o777, 0o600);
    t.notOk((await home.run(['list', 'nodes', '--json'])).stdout.includes(readFileSync(head.tokenFile, 'utf8').trim()));
  });

  t.test('the cluster knows what each node offers', async (t) => {
    const nodes = await home.list('nodes');
    t.match(nodes.find((node) => node['nodeId'] === head.nodeId), { state: 'alive', isHeadNode: true, total: {} });
    t.match(nodes.find((node) => node['nodeId'] === member.nodeId), { state: 'alive', isHeadNode: false, total: { cpu: 2, tpu: 2, license: 1 }, labels: { zone: 'a', disk: 'fast' } });
  });

  t.test('lists are filtered, as tables and as JSON', async (t) => {
    t.strictSame((await home.list('nodes', '--filter', 'isHeadNode=false', '--filter', 'state=alive')).map((node) => node['nodeId']), [member.nodeId]);
    const { stdout } = await home.run(['list', 'nodes']);
    t.match(stdout, /^NODE +STATE +HOST/);
    t.match(stdout, new RegExp(`^${head.nodeId} +alive .*\\(head\\)`, 'm'));
    t.equal((await home.run(['list', 'actors'])).stdout, 'no actors\n');
    t.equal((await home.run(['list', 'actors', '--filter', 'state=alive'])).stdout, 'no actors with state=alive\n');
    const unknown = await home.run(['list', 'workers', '--filter', 'colour=red']);
    t.equal(unknown.code, 2);
    t.match(unknown.stderr, /^cluster: the filter 'colour=red' is not valid\n  It must be by a field of workers: workerId, state, .*ageMs\.\n$/);
  });

  t.test('status, summary and explain answer for people and for programs', async (t) => {
    const { stdout } = await home.run(['status']);
    t.match(stdout, /^nodes +2 alive$/m);
    t.match(stdout, /^cpu +0 +2 +2$/m);
    t.match(JSON.parse((await home.run(['status', '--json'])).stdout), { nodes: { alive: 2 }, total: { tpu: 2 } });
    t.match((await home.run(['summary'])).stdout, /TASKS: none/);
    t.match((await home.run(['explain', member.nodeId])).stdout, new RegExp(`^node ${member.nodeId}: alive\n  .*pid ${member.pid}`));
    t.match(JSON.parse((await home.run(['explain', member.nodeId, '--json'])).stdout), { kind: 'node', state: 'alive' });
    const unknown = await home.run(['explain', 'node-nobody']);
    t.equal(unknown.code, 1);
    t.match(unknown.stderr, /^cluster: the id 'node-nobody' is not known\n  It must be that of a node, .*\n$/);
  });

  t.test('a node drains, and takes tasks again', async (t) => {
    t.equal((await home.run(['drain', member.nodeId])).stdout, `${member.nodeId} is draining: nothing runs there\n`);
    t.equal((await home.list('nodes')).find((node) => node['nodeId'] === member.nodeId)!['state'], 'draining');
    t.match((await home.run(['status'])).stdout, /^nodes +1 alive, 1 draining$/m);
    t.match((await home.run(['explain', member.nodeId])).stdout, /it is draining: /);
    t.equal((await home.run(['drain', member.nodeId, '--undo'])).stdout, `${member.nodeId} takes tasks and actors again\n`);
    t.match((await home.run(['status'])).stdout, /^nodes +2 alive$/m);
    const unknown = await home.run(['drain', 'node-nobody']);
    t.equal(unknown.code, 1);
    t.match(unknown.stderr, /^cluster: the node id 'node-nobody' is not/);
  });

  t.test('the token\'s path is printed, and its absence or a wrong one ends with code 4', async (t) => {
    t.match((await home.run(['token'])).stdout, /^\/.*\/token\n$/);
    const wrong = join(home.path, 'wrong-token');
    writeFileSync(wrong, 'wrong\n');
    for (const args of [['status', '--token-file', wrong], ['status', '--token-file', '/does/not/exist'], ['start', '--address', head.address, '--token-file', wrong]]) {
      const { code, stderr } = await home.run(args);
      t.equal(code, 4, args.join(' '));
      t.match(stderr, /^cluster: .*\n  Set MUSTER_TOKEN_FILE/);
    }
    const elsewhere = makeHome(t);
    const unknown = await elsewhere.run(['status', '--address', head.address]);
    t.equal(unknown.code, 4, 'where no node runs no token is known');
    t.match(unknown.stderr, new RegExp(`^cluster: no token for the cluster at ${head.address} is known here\n  .*--token-file`));
    t.equal((await elsewhere.run(['status'], { env: { MUSTER_ADDRESS: head.address, MUSTER_TOKEN_FILE: head.tokenFile } })).code, 0);
    t.strictSame(readdirSync(join(home.path, 'nodes')).sort(), [`${head.nodeId}.json`, `${member.nodeId}.json`].sort(), 'a refused node leaves nothing');
  });

  t.test('a port that is in use is named', async (t) => {
    const { code, stderr } = await home.run(['start', '--head', '--port', head.address.split(':')[1]!]);
    t.equal(code, 1);
    t.match(stderr, new RegExp(`^cluster: cannot listen on ${head.address}: something listens there already\n  Choose another --port`));
  });

  t.test('a head that nobody hears is named, with the system\'s reason', async (t) => {
    const { code, stderr } = await home.run(['status', '--address', '127.0.0.1:1', '--token-file', head.tokenFile]);
    t.equal(code, 3);
    t.match(stderr, /^cluster: cannot reach the head at 127\.0\.0\.1:1: connect ECONNREFUSED 127\.0\.0\.1:1\n  Check the address/);
    const { stderr: foreign } = await home.run(['start', '--head', '--host', '192.0.2.1']);
    t.match(foreign, /^cluster: cannot listen on 192\.0\.2\.1:6380: this machine has no such address\n/);
  });

  t.test('a start that is interrupted starts nothing', async (t) => {
    const before = await home.list('nodes');
    const starting = home.start(['start', '--address', head.address, '--cpus', '0']);
    while (readdirSync(home.path).filter((name) => name.startsWith('node-')).length < 3) await new Promise((resolve) => setTimeout(resolve, 5)); // its folder is there
    starting.process.kill('SIGINT');
    const { code, stderr } = await starting.finished;
    t.equal(code, 130);
    t.match(stderr, /^cluster: interrupted before the node was ready\n/);
    t.equal((await home.list('nodes')).length, before.length);
    t.equal(readdirSync(home.path).filter((name) => name.startsWith('node-')).length, 2);
  });

  t.test('the nodes\' own logs are JSON lines without the token', async (t) => {
    const { stdout } = await home.run(['logs']);
    t.match(stdout, new RegExp(`^==> ${head.nodeId} <==\n`));
    const entries = stdout.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as { msg: string; level: string });
    t.ok(entries.some(({ msg, level }) => msg === 'node-started' && level === 'info'));
    t.notOk(stdout.includes(readFileSync(head.tokenFile, 'utf8').trim()));
  });

  t.test('a second cluster makes it unclear which one is meant', async (t) => {
    const second = await home.startHead();
    const { code, stderr } = await home.run(['status']);
    t.equal(code, 3);
    t.match(stderr, /2 clusters run on this machine: .*\n  Say which one with --address/);
    t.equal((await home.run(['status', '--address', second.address])).code, 0);
    t.equal((await home.run(['status'], { env: { MUSTER_ADDRESS: second.address } })).code, 0);
    const stop = await home.run(['stop']);
    t.equal(stop.code, 2);
    t.match(stop.stderr, /nodes of 2 clusters/);
    t.match((await home.run(['stop', second.nodeId])).stdout, new RegExp(`^stopped ${second.nodeId} \\(head of the cluster at ${second.address}\\)\n$`));
    t.equal((await home.run(['status'])).code, 0);
  });

  t.test('a node is stopped by the beginning of its id, and is gone when the command returns', async (t) => {
    const extra = await home.startNode('--address', head.address, '--cpus', '0');
    t.match((await home.run(['stop', extra.nodeId.slice(0, 12)])).stdout, new RegExp(`^stopped ${extra.nodeId}`));
    t.notOk(isRunning(extra.pid));
    t.notOk(existsSync(join(home.path, extra.nodeId)));
    t.match((await home.list('nodes', '--filter', `nodeId=${extra.nodeId}`))[0], { state: 'dead', detail: 'it left the cluster' });
    t.equal((await home.run(['stop', 'node-nobody'])).code, 1);
  });

  t.test('a stop of the cluster leaves no process and no file', async (t) => {
    const workerPids = (await home.list('workers')).map((worker) => worker['pid'] as number);
    const { code, stdout } = await home.run(['stop']);
    t.equal(code, 0);
    for (const { nodeId } of [head, member]) t.match(stdout, new RegExp(`^stopped ${nodeId}`, 'm'));
    t.strictSame([head.pid, member.pid, ...workerPids].filter(isRunning), []);
    t.strictSame(readdirSync(home.path).filter((name) => name.startsWith('node-')), []);
    t.strictSame(readdirSync(join(home.path, 'nodes')), []);
    t.strictSame(readdirSync('/dev/shm').filter((name) => name.includes(head.nodeId) || name.includes(member.nodeId)), []);
  });
});
