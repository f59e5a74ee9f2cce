import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { isRunning } from '@muster/base';
import { makeHome, processEnd, type Started } from './test-support/command-home.js';

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

t.test('of the nodes here a program takes that of the head, whatever name its address has, and none that is dead', async (t) => {
  const home = makeHome(t);
  const head = await home.startHead();
  await home.startNode('--address', head.address, '--cpus', '0');
  const stale = { nodeId: 'node-000000000000', pid: process.pid, isHead: true, headAddress: head.address, daemonUnixPath: join(home.path, 'gone.sock'), arenaPath: '', tokenFile: '', startedAt: '' };
  writeFileSync(join(home.path, 'nodes', 'node-000000000000.json'), JSON.stringify(stale));
  for (const address of [head.address, head.address.replace('127.0.0.1', 'localhost')]) {
    const program = `import { init, shutdown } from '@muster/core'; console.log((await init({ address: '${address}' })).nodeId); await shutdown();`;
    const { code, stdout, stderr } = await home.run(['submit', '--address', address, '--', 'node', '--input-type=module', '-e', program]);
    t.strictSame([code, stdout.trim()], [0, head.nodeId], stderr);
  }
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
  await once(stranger, 'listening');
  t.teardown(() => stranger.close());
  const { port } = stranger.address() as AddressInfo;
  t.equal((await home.run(['status', '--address', `127.0.0.1:${port}`, '--token-file', token])).code, 3);
});

t.test('a program\'s own cluster', async (t) => {
  const home = makeHome(t);
  const start = async (): Promise<Started> => {
    const started = home.start(['start', '--head', '--ephemeral', '--cpus', '1', '--object-store', '64MiB']);
    started.process.stdin.write('{}\n');
    await started.printed(/\n/);
    return started;
  };

  t.test('listens on unix sockets only, and is found by the command line', async (t) => {
    const started = await start();
    const [node] = await home.list('nodes');
    t.match(node, { address: /^unix:/, isHeadNode: true });
    const listening = readFileSync(`/proc/${started.process.pid}/net/tcp`, 'utf8').split('\n').slice(1).filter((line) => line.includes(' 0A ')).map((line) => line.trim().split(/\s+/)[9]);
    const own = readdirSync(`/proc/${started.process.pid}/fd`).flatMap((fd) => readSocket(started.process.pid!, fd));
    t.strictSame(own.filter((inode) => listening.includes(inode)), []);
    t.match((await home.run(['stop'])).stdout, /^only programs' own clusters run/, 'is left alone by a stop without --all');
    started.process.stdin.end();
    t.equal((await started.finished).code, 0);
    t.strictSame(readdirSync(join(home.path, 'nodes')), []);
  });

  t.test('prints one line, for its program to read', async (t) => {
    const started = await start();
    started.process.stdin.end();
    const { stdout, stderr } = await started.finished;
    t.match(JSON.parse(stdout), { headTarget: /^unix:\/.*\/head\.sock$/, daemonUnixPath: /daemon\.sock$/, tokenFile: /token$/ });
    t.equal(stderr, '');
  });

  t.test('ends with its program\'s pipe, with all of its workers', async (t) => {
    const started = await start();
    const [worker] = await waitForRows(() => home.list('workers', '--filter', 'state=idle'));
    started.process.stdin.destroy();
    await started.finished;
    t.notOk(isRunning(worker!['pid'] as number));
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
