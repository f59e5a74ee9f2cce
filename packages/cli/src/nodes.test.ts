import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { CommandHome, processEnd, type StartedNode } from './test-support/command-home.js';

/** A home for one test. */
function makeHome(t: { teardown(work: () => Promise<void>): void }): CommandHome {
  const home = new CommandHome();
  t.teardown(() => home.end());
  return home;
}

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
  });

  t.test('status, summary and explain answer for people and for programs', async (t) => {
    const { stdout } = await home.run(['status']);
    t.match(stdout, /^nodes +2 alive$/m);
    t.match(stdout, /^cpu +0 +2$/m);
    t.match(JSON.parse((await home.run(['status', '--json'])).stdout), { nodes: { alive: 2 }, total: { tpu: 2 } });
    t.match((await home.run(['summary'])).stdout, /TASKS: none/);
    t.match((await home.run(['explain', member.nodeId])).stdout, new RegExp(`^node ${member.nodeId}: alive\n  .*pid ${member.pid}`));
    t.match(JSON.parse((await home.run(['explain', member.nodeId, '--json'])).stdout), { kind: 'node', state: 'alive' });
    const unknown = await home.run(['explain', 'node-nobody']);
    t.equal(unknown.code, 1);
    t.match(unknown.stderr, /node-nobody/);
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
    t.equal((await elsewhere.run(['status', '--address', head.address])).code, 4, 'where no node runs no token is known');
    t.equal((await elsewhere.run(['status'], { env: { MUSTER_ADDRESS: head.address, MUSTER_TOKEN_FILE: head.tokenFile } })).code, 0);
    t.strictSame(readdirSync(join(home.path, 'nodes')).sort(), [`${head.nodeId}.json`, `${member.nodeId}.json`].sort(), 'a refused node leaves nothing');
  });

  t.test('a port that is in use is named', async (t) => {
    const { code, stderr } = await home.run(['start', '--head', '--port', head.address.split(':')[1]!]);
    t.equal(code, 1);
    t.match(stderr, new RegExp(`^cluster: cannot listen on ${head.address}: something listens there already\n  Choose another --port`));
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
    t.throws(() => process.kill(extra.pid, 0), { code: 'ESRCH' });
    t.notOk(existsSync(join(home.path, extra.nodeId)));
    t.match((await home.list('nodes', '--filter', `nodeId=${extra.nodeId}`))[0], { state: 'dead', detail: 'it left the cluster' });
    t.equal((await home.run(['stop', 'node-nobody'])).code, 1);
  });

  t.test('a stop of the cluster leaves no process and no file', async (t) => {
    const workerPids = (await home.list('workers')).map((worker) => worker['pid'] as number);
    const { code, stdout } = await home.run(['stop']);
    t.equal(code, 0);
    for (const { nodeId } of [head, member]) t.match(stdout, new RegExp(`^stopped ${nodeId}`, 'm'));
    for (const pid of [head.pid, member.pid, ...workerPids]) t.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    t.strictSame(readdirSync(home.path).filter((name) => name.startsWith('node-')), []);
    t.strictSame(readdirSync(join(home.path, 'nodes')), []);
    t.strictSame(readdirSync('/dev/shm').filter((name) => name.includes(head.nodeId) || name.includes(member.nodeId)), []);
  });
});

t.test('what a killed node has left is not taken for a node, and is removed', async (t) => {
  const home = makeHome(t);
  const head = await home.startHead('--cpus', '1');
  const [worker] = await waitForRows(() => home.list('workers', '--filter', 'state=idle'));
  process.kill(head.pid, 'SIGKILL');
  await processEnd(head.pid);
  await processEnd(worker!['pid'] as number);
  t.ok(existsSync(join(home.path, 'nodes', `${head.nodeId}.json`)));
  t.equal((await home.run(['status'])).code, 3);
  const next = await home.startHead();
  t.strictSame(readdirSync(join(home.path, 'nodes')), [`${next.nodeId}.json`]);
  t.notOk(existsSync(join(home.path, head.nodeId)));
  t.strictSame(readdirSync('/dev/shm').filter((name) => name.includes(head.nodeId)), []);
});

t.test('a process that happens to have the pid of a dead node is left alone', async (t) => {
  const home = makeHome(t);
  mkdirSync(join(home.path, 'nodes'), { mode: 0o700 });
  const stale = { nodeId: 'node-000000000000', pid: process.pid, isHead: true, headAddress: '127.0.0.1:1', daemonUnixPath: join(home.path, 'gone.sock'), arenaPath: '', tokenFile: '', startedAt: '' };
  writeFileSync(join(home.path, 'nodes', 'node-000000000000.json'), JSON.stringify(stale));
  t.equal((await home.run(['status'])).code, 3);
  t.match((await home.run(['stop', '--all'])).stdout, /no node runs/);
});

t.test('in the foreground a node stays until Ctrl-C', async (t) => {
  const home = makeHome(t);
  const started = home.start(['start', '--head', '--port', '0', '--cpus', '0', '--object-store', '64MiB', '--foreground']);
  await started.printed(/stop +Ctrl-C/);
  t.equal((await home.run(['status'])).code, 0);
  started.process.kill('SIGINT');
  const { code, stdout } = await started.finished;
  t.equal(code, 0);
  t.match(stdout, /^Started a cluster at 127\.0\.0\.1:\d+\.\n/);
  t.match(stdout, /node-\w+ has stopped: it received SIGINT\.\n$/);
  t.strictSame(readdirSync(join(home.path, 'nodes')), []);
});

t.test('the members of a cluster end with its head', async (t) => {
  const [here, there] = [makeHome(t), makeHome(t)];
  const head = await here.startHead();
  const member = await there.startNode('--address', head.address, '--token-file', head.tokenFile, '--cpus', '0');
  t.equal((await here.run(['stop'])).code, 0);
  await processEnd(member.pid);
  t.strictSame(readdirSync(join(there.path, 'nodes')), []);
});

t.test('a head that does not answer, and one that is not there, end a start with code 3', async (t) => {
  const home = makeHome(t);
  const token = join(home.path, 'token');
  writeFileSync(token, 'some\n');
  const { code, stderr } = await home.run(['start', '--address', '127.0.0.1:1', '--token-file', token]);
  t.equal(code, 3);
  t.match(stderr, /^cluster: cannot reach the head at 127\.0\.0\.1:1: .*ECONNREFUSED.*\n  Check the address/);
  const stranger = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1');
  t.teardown(() => stranger.close());
  const { port } = stranger.address() as AddressInfo;
  t.equal((await home.run(['status', '--address', `127.0.0.1:${port}`, '--token-file', token])).code, 3);
});

t.test('a program\'s own cluster', async (t) => {
  const home = makeHome(t);
  const start = async (): Promise<{ started: ReturnType<CommandHome['start']>; node: StartedNode }> => {
    const started = home.start(['start', '--head', '--ephemeral', '--cpus', '1', '--object-store', '64MiB']);
    started.process.stdin.write('{}\n');
    await started.printed(/\n/);
    let line = '';
    started.process.stdout.on('data', (text: string) => { line += text; });
    return { started, node: (await home.list('nodes'))[0] as unknown as StartedNode };
  };

  t.test('listens on unix sockets only, and is found by the command line', async (t) => {
    const { started } = await start();
    const [node] = await home.list('nodes');
    t.match(node, { address: /^unix:/, isHeadNode: true });
    const listening = readFileSync(`/proc/${started.process.pid}/net/tcp`, 'utf8').split('\n').slice(1).filter((line) => line.includes(' 0A ')).map((line) => line.trim().split(/\s+/)[9]);
    const own = readdirSync(`/proc/${started.process.pid}/fd`).flatMap((fd) => readSocket(started.process.pid!, fd));
    t.strictSame(own.filter((inode) => listening.includes(inode)), []);
    t.match((await home.run(['stop'])).stdout, /^$/, 'is left alone by a stop without --all');
    started.process.stdin.end();
    t.equal((await started.finished).code, 0);
    t.strictSame(readdirSync(join(home.path, 'nodes')), []);
  });

  t.test('prints one line, for its program to read', async (t) => {
    const { started } = await start();
    started.process.stdin.end();
    const { stdout, stderr } = await started.finished;
    t.match(JSON.parse(stdout), { headTarget: /^unix:\/.*\/head\.sock$/, daemonUnixPath: /daemon\.sock$/, tokenFile: /token$/ });
    t.equal(stderr, '');
  });

  t.test('ends with its program\'s pipe, with all of its workers', async (t) => {
    const { started } = await start();
    const [worker] = await waitForRows(() => home.list('workers', '--filter', 'state=idle'));
    started.process.stdin.destroy();
    await started.finished;
    t.throws(() => process.kill(worker!['pid'] as number, 0), { code: 'ESRCH' });
    t.strictSame(readdirSync(home.path).filter((name) => name.startsWith('node-')), []);
  });

  t.test('complains on stderr when it cannot start', async (t) => {
    const started = home.start(['start', '--head', '--ephemeral', '--cpus', 'x']);
    const { code, stdout, stderr } = await started.finished;
    t.equal(code, 2);
    t.equal(stdout, '');
    t.match(stderr, /--cpus x/);
  });
});

/** Asks until there are rows: workers start after their node. */
async function waitForRows(list: () => Promise<Record<string, unknown>[]>): Promise<Record<string, unknown>[]> {
  for (;;) {
    const rows = await list();
    if (rows.length > 0) return rows;
  }
}

function readSocket(pid: number, fd: string): string[] {
  try {
    return /socket:\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.slice(1, 2) ?? [];
  } catch {
    return [];
  }
}
