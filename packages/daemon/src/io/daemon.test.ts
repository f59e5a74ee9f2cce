/** Real daemons with real child processes, sockets and shared memory; only the head and the workers' work are fakes. */
import t, { type Test } from 'tap';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { connect as connectSocket, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makeError, systemRandom, type NodeFile } from '@muster/base';
import type { Endpoint, PeerNode } from '@muster/protocol';
import { Channel, RpcServer, type Handlers } from '@muster/protocol/rpc';
import { StoreSession } from '../test-support/store-session.js';
import { isAlive, TestCluster, TOKEN, untilDead } from '../test-support/test-cluster.js';
import { visibleGpuIds } from './daemon.js';
import { LOG_FILE_MAX_BYTES, LogFile } from './log-file.js';
import { readLogs } from './log-reader.js';
import { OomWatch } from './oom-watch.js';

const MIB = 2 ** 20;
const shmFiles = (nodeId: string): string[] => readdirSync('/dev/shm').filter((name) => name.includes(nodeId));
const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

t.test('a node appears with its files, and leaves none', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon({ prestart: 2, host: '127.0.0.1', labels: { zone: 'a' } });
  const registration = await cluster.head.next('registerNode');
  t.match(registration, { nodeId: daemon.nodeId, endpoint: daemon.endpoint, resources: { amounts: { cpu: 10_000 } }, labels: { zone: 'a' }, objectStoreBytes: 16 * MIB });
  t.ok(daemon.endpoint.port > 0);
  const file = JSON.parse(readFileSync(`${cluster.home}/nodes/${daemon.nodeId}.json`, 'utf8')) as NodeFile;
  t.match(file, { nodeId: daemon.nodeId, pid: process.pid, isHead: false, headAddress: cluster.head.target, daemonUnixPath: `${daemon.folder}/daemon.sock`, arenaPath: `/dev/shm/muster-${daemon.nodeId}` });
  t.equal(statSync(daemon.folder).mode & 0o777, 0o700);
  const workers = [await cluster.head.next('workerStarted'), await cluster.head.next('workerStarted')];
  t.ok(workers.every(({ pid }) => isAlive(pid)));
  await daemon.close('the test is over');
  t.equal(await daemon.closed, 'the test is over');
  t.notOk(workers.some(({ pid }) => isAlive(pid)), 'its workers are dead');
  t.same(shmFiles(daemon.nodeId), []);
  t.same(readdirSync(`${cluster.home}/nodes`), []);
  t.notOk(existsSync(daemon.folder));
  await cluster.head.until(() => cluster.head.lastEnd !== undefined);
  t.equal(cluster.head.lastEnd?.isOrderly, true, 'the head knows that it left');
});

t.test('a lease with an idle worker is answered in a moment, and the worker knows it', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon({ prestart: 1 });
  await cluster.head.next('workerStarted');
  const times: number[] = [];
  for (let round = 0; round < 200; round++) {
    const startedAt = performance.now();
    const lease = await cluster.lease(daemon, `lease-${round}`);
    times.push(performance.now() - startedAt);
    if (round === 0) t.match(await cluster.order(lease, { do: 'report-command' }), { leaseId: 'lease-0', jobId: 'job-1' });
    cluster.head.send(daemon.nodeId, { type: 'endLease', leaseId: `lease-${round}`, kill: false, reason: '' });
    await cluster.head.next('leaseEnded');
  }
  const median = times.sort((a, b) => a - b)[100]!;
  t.ok(median < 5, `${(median * 1000).toFixed(0)} us from startLease to leaseStarted over a socket`);
});

t.test('a worker that is killed from outside ends its lease with the signal, and what it started dies too', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const lease = await cluster.lease(daemon, 'lease-1');
  const childPid = (await cluster.order(lease, { do: 'start-child' })) as number;
  t.ok(isAlive(childPid));
  await cluster.order(lease, { do: 'begin-tasks', count: 3 });
  process.kill(lease.pid, 'SIGKILL');
  t.match(await cluster.head.next('leaseEnded'), { leaseId: 'lease-1', cause: { kind: 'signal', signal: 'SIGKILL', progress: 4 } }, 'with the number of tasks it had begun, and one');
  await untilDead(childPid);
  const next = await cluster.lease(daemon, 'lease-2');
  t.not(next.workerId, lease.workerId);
  await cluster.order(next, { do: 'exit', code: 42 });
  t.match(await cluster.head.next('workerExited', (message) => message.workerId === next.workerId), { cause: { kind: 'exit', code: 42, progress: 1 } }, 'the count starts anew');
});

t.test('a worker whose heap is full is reported as out of memory', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon({ workerExecArgv: ['--max-old-space-size=24'] });
  const lease = await cluster.lease(daemon, 'lease-1');
  await cluster.order(lease, { do: 'fill-heap' });
  const { cause } = await cluster.head.next('leaseEnded');
  t.match(cause, { kind: 'out-of-memory', detail: /heap/ });
  t.match(cause?.stderrTail, /FATAL ERROR: .*heap out of memory$/, 'the last lines of stderr are kept, without the native stack');
});

t.test('killed leases, killed workers and ended jobs end processes', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const [first, second, third] = [await cluster.lease(daemon, 'lease-1'), await cluster.lease(daemon, 'lease-2'), await cluster.lease(daemon, 'lease-3')];
  cluster.head.send(daemon.nodeId, { type: 'endLease', leaseId: 'lease-1', kill: true, reason: 'cancelled' });
  t.match(await cluster.head.next('leaseEnded'), { leaseId: 'lease-1', cause: { kind: 'killed', detail: 'cancelled' } });
  cluster.head.send(daemon.nodeId, { type: 'killWorker', workerId: second.workerId, reason: 'it is not wanted' });
  t.match(await cluster.head.next('leaseEnded'), { leaseId: 'lease-2', cause: { kind: 'killed', detail: 'it is not wanted' } });
  cluster.head.send(daemon.nodeId, { type: 'endJobOnNode', jobId: 'job-1', ownerIds: [] });
  t.match(await cluster.head.next('leaseEnded'), { leaseId: 'lease-3', cause: { kind: 'killed', detail: 'its job ended' } });
  t.notOk([first, second, third].some(({ pid }) => isAlive(pid)));
});

t.test('workers that cannot start say why', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon({ workerExecArgv: ['--import', `data:text/javascript,${encodeURIComponent('process.stderr.write("the worker cannot start\\n"); process.exit(3)')}`] });
  cluster.head.send(daemon.nodeId, { type: 'startLease', leaseId: 'lease-1', jobId: 'job-1', resources: null, actorId: '', name: '', gpuIds: [], bundle: null });
  t.match(await cluster.head.next('leaseFailed'), { leaseId: 'lease-1', cause: { kind: 'start-failed', detail: /exited with code 3/, stderrTail: /the worker cannot start/ } });
});

t.test('output arrives in order, with the names of who printed it, and is in the log', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const lease = await cluster.lease(daemon, 'lease-1');
  const numbers = Array.from({ length: 300 }, (_, index) => `line ${index}\n`);
  await cluster.order(lease, { do: 'print', chunks: ['before', ' any name\n', '\u0001muster-name:f\n', ...numbers, '\u0001muster-name:g\nwithout end'] });
  await cluster.order(lease, { do: 'print', chunks: ['to stderr\n'], toStderr: true });
  cluster.head.send(daemon.nodeId, { type: 'flushLogs', jobId: 'job-1' });
  await cluster.head.next('logsFlushed');
  const batches = cluster.head.received.filter((message) => message.type === 'logLines');
  t.match(batches[0], { jobId: 'job-1', nodeId: daemon.nodeId, workerId: lease.workerId, pid: lease.pid });
  const printed = batches.filter((batch) => !batch.isError).flatMap((batch) => batch.lines.map((line) => `${batch.name}: ${line}`));
  t.same(printed, [': before any name', ...numbers.map((line) => `f: ${line.trimEnd()}`), 'g: without end']);
  t.same(batches.filter((batch) => batch.isError).flatMap((batch) => batch.lines), ['to stderr']);
  const logged = await cluster.logs(daemon, lease.workerId);
  t.equal(logged.replace('to stderr\n', ''), `before any name\n${numbers.join('')}without end\n`);
  t.match(logged, 'to stderr\n');
  process.kill(lease.pid, 'SIGKILL');
  await cluster.head.next('workerExited');
  t.equal(await cluster.logs(daemon, 'job-1'), logged, 'a job is asked for by its id');
  t.equal(await cluster.logs(daemon, '../../etc/passwd'), '');
});

t.test('submitted programs run in their folder, and end with all they started', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const start = (jobId: string, argv: string[], cwd = ''): void => cluster.head.send(daemon.nodeId, { type: 'startJobProcess', jobId, argv, cwd, env: { GREETING: 'hello' } });
  start('job-1', ['sh', '-c', 'echo $GREETING from $PWD; exit 5'], cluster.home);
  t.match(await cluster.head.next('jobProcessExited'), { jobId: 'job-1', cause: { kind: 'exit', code: 5 } });
  t.equal(await cluster.logs(daemon, 'job-1'), `hello from ${cluster.home}\n`);
  start('job-2', ['sh', '-c', 'sleep 1000 & echo $!; wait']);
  let pid = 0;
  while (!pid) pid = Number(await cluster.logs(daemon, 'job-2'));
  cluster.head.send(daemon.nodeId, { type: 'stopJobProcess', jobId: 'job-2' });
  t.match(await cluster.head.next('jobProcessExited'), { jobId: 'job-2', cause: { kind: 'killed', detail: 'the job was stopped' } });
  await untilDead(pid);
  start('job-3', ['no-such-program']);
  t.match(await cluster.head.next('jobProcessExited'), { jobId: 'job-3', cause: { kind: 'start-failed', detail: /no-such-program ENOENT/ } });
  start('job-4', ['sh'], '/no/such/folder');
  t.match(await cluster.head.next('jobProcessExited'), { jobId: 'job-4', cause: { kind: 'start-failed', detail: /the folder \/no\/such\/folder does not exist/ } });
  start('job-5', ['']);
  t.match(await cluster.head.next('jobProcessExited'), { jobId: 'job-5', cause: { kind: 'start-failed' } });
});

t.test('an object of 50 MB is pulled from another daemon, whole', async (t) => {
  const cluster = await TestCluster.start(t);
  const sizeBytes = 50_000_001;
  const [here, there] = await Promise.all([1, 2].map(() => cluster.startDaemon({ objectStoreBytes: 64 * MIB, host: '127.0.0.1' })));
  const [reader, writer] = [await cluster.connect(here!), await cluster.connect(there!)];
  const bytes = randomBytes(sizeBytes);
  await writer.put('obj-w-1', bytes);
  const startedAt = performance.now();
  const fetched = await reader.fetch('obj-w-1', sizeBytes, [there!.endpoint]);
  const seconds = (performance.now() - startedAt) / 1000;
  t.equal(fetched.sizeBytes, sizeBytes);
  t.equal(digest(await reader.read('obj-w-1', sizeBytes)), digest(bytes), `${(sizeBytes / 1e6 / seconds).toFixed(0)} MB/s over TCP`);

  const nodes = [here!, there!].map(({ nodeId, endpoint }) => ({ nodeId, endpoint }));
  for (const { nodeId } of nodes) cluster.head.send(nodeId, { type: 'peerNodes', nodes, goneNodeIds: [], version: 1, complete: true });
  t.match(await cluster.query(there!, 'objects'), [{ objectId: 'obj-w-1', isPrimary: true, pinCount: 0 }]);
  writer.send({ type: 'freeObjects', objectIds: ['obj-w-1'], locations: [] });
  reader.send({ type: 'release', objectId: 'obj-w-1' });
  for (const daemon of [there!, here!]) for (let objects = [1] as unknown[]; objects.length > 0;) objects = (await cluster.query(daemon, 'objects')) as unknown[];
  t.pass('the copy is freed with the original');
});

/** A node that the head speaks of, with nothing behind it but these handlers. */
async function fakePeer(t: Test, cluster: TestCluster, handlers: Handlers): Promise<PeerNode & { readonly endpoint: Endpoint }> {
  const unixPath = `${cluster.home}/peer-${systemRandom.hex(4)}.sock`;
  const server = new RpcServer({ token: TOKEN, self: 'the peer', handlers });
  await server.listenUnix(unixPath);
  t.teardown(() => server.close());
  return { nodeId: 'node-peer', endpoint: { nodeId: 'node-peer', unixPath, host: '', port: 0 } };
}

t.test('a pull from a node that leaves the cluster ends at once, and the next one does not begin', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  let onAsked!: () => void;
  const asked = new Promise<void>((resolve) => { onAsked = resolve; });
  const peer = await fakePeer(t, cluster, {
    'Daemon.Pull': async function* () { // never says anything
      onAsked();
      await new Promise(() => {});
    },
  });
  const self: PeerNode = { nodeId: daemon.nodeId, endpoint: daemon.endpoint };
  cluster.head.send(daemon.nodeId, { type: 'peerNodes', nodes: [self], goneNodeIds: [], version: 1, complete: true });
  cluster.head.send(daemon.nodeId, { type: 'peerNodes', nodes: [peer], goneNodeIds: [], version: 2, complete: false });
  const session = await cluster.connect(daemon);
  const fetching = session.fetch('obj-x-1', 1000, [peer.endpoint]);
  await asked;
  cluster.head.send(daemon.nodeId, { type: 'peerNodes', nodes: [], goneNodeIds: [peer.nodeId], version: 3, complete: false });
  await t.rejects(fetching, { code: 'OBJECT_LOST', message: /node-peer: it has left the cluster/ });
  await t.rejects(session.fetch('obj-x-2', 1000, [peer.endpoint]), { code: 'OBJECT_LOST', message: /it has left the cluster/ });
});

t.test('a free is told again until its node has heard it', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const heard: (readonly string[])[] = [];
  let onHeard!: () => void;
  const done = new Promise<void>((resolve) => { onHeard = resolve; });
  const peer = await fakePeer(t, cluster, {
    'Daemon.Free': async ({ objectIds }) => {
      heard.push([...objectIds].sort());
      if (heard.length === 1) throw makeError('CONNECTION', { what: 'the peer', cause: 'it stumbled' });
      onHeard();
      return {};
    },
  });
  cluster.head.send(daemon.nodeId, { type: 'peerNodes', nodes: [{ nodeId: daemon.nodeId, endpoint: daemon.endpoint }, peer], goneNodeIds: [], version: 1, complete: true });
  const session = await cluster.connect(daemon);
  session.send({ type: 'freeObjects', objectIds: ['obj-x-1'], locations: [peer.endpoint] });
  await cluster.untilLogged('free-not-forwarded');
  session.send({ type: 'freeObjects', objectIds: ['obj-x-2'], locations: [peer.endpoint] });
  await done;
  t.same(heard, [['obj-x-1'], ['obj-x-1', 'obj-x-2']]);
});

t.test('the objects of dead owners are freed: a local one\'s at once, another one\'s when the head says so', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const lease = await cluster.lease(daemon, 'lease-1');
  const session = await cluster.connect(daemon);
  await session.put(`obj-${lease.workerId.slice('worker-'.length)}-1`, Buffer.alloc(200_000));
  await session.put('obj-elsewhere-1', Buffer.alloc(200_000));
  process.kill(lease.pid, 'SIGKILL');
  await cluster.head.next('workerExited');
  const stored = async (): Promise<string[]> => ((await cluster.query(daemon, 'objects')) as { objectId: string }[]).map(({ objectId }) => objectId);
  t.same(await stored(), ['obj-elsewhere-1']);
  t.same((await cluster.head.next('storedOwners', ({ ownerKeys }) => ownerKeys.length === 1)).ownerKeys, ['elsewhere']);
  cluster.head.send(daemon.nodeId, { type: 'ownersEnded', ownerKeys: ['elsewhere'] });
  t.same(await stored(), []);
});

t.test('many readers on two nodes share pulls, and a dead location is passed over', async (t) => {
  const cluster = await TestCluster.start(t);
  const [here, there] = await Promise.all([1, 2].map(() => cluster.startDaemon()));
  const writer = await cluster.connect(there!);
  const readers = await Promise.all([1, 2, 3].map(() => cluster.connect(here!)));
  const bytes = randomBytes(3 * MIB);
  await writer.put('obj-w-1', bytes);
  const nowhere = { nodeId: 'node-nowhere', unixPath: `${cluster.home}/nowhere.sock`, host: '', port: 0 };
  const read = await Promise.all(readers.map((reader) => reader.read('obj-w-1', bytes.length, [nowhere, there!.endpoint])));
  for (const copy of read) t.equal(digest(copy), digest(bytes));
  await t.rejects(readers[0]!.fetch('obj-w-2', 100, [nowhere, there!.endpoint]), { code: 'OBJECT_LOST', message: /node-nowhere: .*; node-\w+: node-\w+ does not have it/ });
});

t.test('objects that do not fit into memory go to disk and come back, also for other nodes', async (t) => {
  const cluster = await TestCluster.start(t);
  const [here, there] = await Promise.all([1, 2].map(() => cluster.startDaemon({ objectStoreBytes: 8 * MIB })));
  const [writer, reader] = [await cluster.connect(here!), await cluster.connect(there!)];
  const objects = Array.from({ length: 6 }, () => randomBytes(2.5 * MIB));
  for (const [index, bytes] of objects.entries()) await writer.put(`obj-w-${index}`, bytes);
  t.ok(readdirSync(`${here!.folder}/spill`).length >= 3);
  for (const [index, bytes] of objects.entries()) {
    t.equal(digest(await writer.read(`obj-w-${index}`, bytes.length)), digest(bytes));
    t.equal(digest(await reader.read(`obj-w-${index}`, bytes.length, [here!.endpoint])), digest(bytes));
  }
  await cluster.head.next('heartbeat', (beat) => beat.spilledBytes > 0 && beat.objectCount === 6);
  cluster.head.send(here!.nodeId, { type: 'endJobOnNode', jobId: 'job-1', ownerIds: ['driver-w'] });
  t.same(await cluster.query(here!, 'objects'), [], 'the owner is gone and so are its objects');
});

t.test('a process that dies releases what it held', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const lease = await cluster.lease(daemon, 'lease-1');
  const session = await cluster.connect(daemon);
  await cluster.order(lease, { do: 'hold', objectId: 'obj-w-1', sizeBytes: 6 * MIB });
  t.match(await cluster.query(daemon, 'objects'), [{ objectId: 'obj-w-1', pinCount: 1 }]);
  await t.rejects(session.allocate(12 * MIB, 0), { code: 'OBJECT_STORE_FULL', message: new RegExp(`being read hold 6 MiB.*most: ${lease.workerId} with 6 MiB`) });
  const waiting = session.allocate(16 * MIB);
  process.kill(lease.pid, 'SIGKILL');
  t.equal((await waiting).sizeBytes, 16 * MIB, 'the whole store, after its object went to disk');
});

t.test('what breaks the rules is refused with a clear error, and nothing else is harmed', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon({ host: '127.0.0.1' });
  const { unixPath, port } = daemon.endpoint;
  const session = await cluster.connect(daemon);
  await session.put('obj-w-1', Buffer.from('content'));

  await t.rejects(StoreSession.connect({ target: `unix:${unixPath}`, token: 'wrong', processId: 'driver-x' }), { code: 'AUTHENTICATION', message: /daemon of node-/ });
  const stranger = new Channel({ target: `127.0.0.1:${port}`, token: 'wrong', peer: 'the daemon' });
  await t.rejects(stranger.request('Daemon.Free', { objectIds: ['obj-w-1'] }, 1000), { code: 'AUTHENTICATION' });
  await t.rejects(async () => { for await (const _ of stranger.download('Daemon.Pull', { objectId: 'obj-w-1', requesterNodeId: 'node-x' })); }, { code: 'AUTHENTICATION' });
  stranger.close();

  for (const address of [{ path: unixPath }, { port, host: '127.0.0.1' }]) {
    const socket = connectSocket(address).on('error', () => {}).resume();
    socket.write(randomBytes(100_000));
    await once(socket, 'close');
  }

  await t.rejects(session.allocate(17 * MIB), { code: 'OBJECT_STORE_FULL', message: /no room for 17 MiB/ });
  await t.rejects(session.allocate(2 ** 60), { code: 'OBJECT_STORE_FULL' });
  const dropped = new Promise((resolve) => void cluster.connect(daemon, resolve).then((other) => other.send({ type: 'seal', objectId: 'obj-x-1', offset: 4096, sizeBytes: 1 })));
  t.match(await dropped, { code: 'PROTOCOL', message: /driver-\w+ could not be read: it sealed 1 bytes at 4096/ });

  const silent = new Channel({ target: `unix:${unixPath}`, token: TOKEN, peer: 'the daemon' });
  const stream = silent.open('Daemon.Store');
  const ended = new Promise((resolve) => { stream.onEnd = resolve; });
  stream.onMessage = () => {};
  stream.send({ type: 'release', objectId: 'obj-w-1' });
  t.match(await ended, { code: 'PROTOCOL', message: /sent release before storeHello/ });
  silent.close();

  t.equal(String(await session.read('obj-w-1', 7)), 'content', 'all is well for others');
});

t.test('a daemon that is killed takes its workers with it, and the next one sweeps what it left', async (t) => {
  const cluster = await TestCluster.start(t);
  const program = spawn(process.execPath, [fileURLToPath(new URL('../test-support/daemon-program.js', import.meta.url))], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => program.kill('SIGKILL'));
  program.stdin.write(`${JSON.stringify(cluster.daemonOptions())}\n`);
  const [line] = (await once(createInterface({ input: program.stdout }), 'line')) as [string];
  const { nodeId, folder } = JSON.parse(line) as { nodeId: never; folder: string };
  const leases = [await cluster.lease({ nodeId }, 'lease-1'), await cluster.lease({ nodeId }, 'lease-2')];
  program.kill('SIGKILL');
  await untilDead(...leases.map(({ pid }) => pid));
  t.ok(existsSync(folder));
  t.equal(shmFiles(nodeId).length, 1);

  const unmarked = `${cluster.home}/node-unmarked`;
  mkdirSync(unmarked);
  const young = `${cluster.home}/node-young`;
  mkdirSync(young);
  utimesSync(unmarked, 0, 0);
  const daemon = await cluster.startDaemon();
  t.notOk(existsSync(folder));
  t.same(shmFiles(nodeId), []);
  t.same(readdirSync(`${cluster.home}/nodes`), [`${daemon.nodeId}.json`]);
  t.match(cluster.logged.find(({ event }) => event === 'dead-nodes-swept')?.fields, { nodeIds: [nodeId, 'node-unmarked'].sort() });
  t.ok(existsSync(young), 'a node that is just starting is left alone');
  const second = await cluster.startDaemon();
  t.ok(existsSync(daemon.folder), 'and so is one that lives');
  t.not(second.nodeId, daemon.nodeId);
});

t.test('the socket of a killed driver goes with the next daemon that ends; that of a living one stays', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const [dead, living] = [`${cluster.home}/driver-dead.sock`, `${cluster.home}/driver-living.sock`];
  const server = createServer().listen(living);
  const killed = createServer().listen(`${cluster.home}/killed`);
  await Promise.all([once(server, 'listening'), once(killed, 'listening')]);
  t.teardown(() => server.close());
  linkSync(`${cluster.home}/killed`, dead); // closing removes only the other name
  killed.close();
  await daemon.close();
  t.same(readdirSync(cluster.home).filter((name) => name.startsWith('driver-')), ['driver-living.sock']);
});

t.test('a daemon finds its head again and reports what happened meanwhile', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const lease = await cluster.lease(daemon, 'lease-1');
  const lost = await cluster.lease(daemon, 'lease-2');
  cluster.head.close();
  process.kill(lost.pid, 'SIGKILL');
  await untilDead(lost.pid);
  cluster.head.received.length = 0;
  await cluster.head.listen();
  t.match(await cluster.head.next('registerNode'), { nodeId: daemon.nodeId });
  t.match(await cluster.head.next('leaseStarted'), { leaseId: 'lease-1', workerId: lease.workerId });
  t.match(await cluster.head.next('leaseEnded'), { leaseId: 'lease-2', cause: { kind: 'signal', signal: 'SIGKILL' } });
});

t.test('a daemon that is not wanted, or finds no head, fails with the reason and leaves nothing', async (t) => {
  const refusing = await TestCluster.start(t, { refusal: makeError('NODE_DIED', { what: 'the registration', cause: 'it was declared dead' }) });
  await t.rejects(refusing.startDaemon(), { code: 'NODE_DIED', message: /declared dead/ });
  await t.rejects(refusing.startDaemon({ token: 'wrong' }), { code: 'AUTHENTICATION', message: /the head refused the connection: the token is not this cluster's/ });
  await t.rejects(refusing.startDaemon({ objectStoreBytes: 2 ** 50 }), { code: 'INVALID_ARGUMENT', message: /an object store of 1024 TiB.*\/dev\/shm has/ });
  await t.rejects(refusing.startDaemon({ home: `${refusing.home}/${'x'.repeat(80)}` }), { code: 'INVALID_ARGUMENT', message: /because unix sockets lie in it/ });
  t.same(readdirSync(refusing.home).filter((name) => name.startsWith('node-')), []);
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as { port: number };
  await t.rejects(refusing.startDaemon({ host: '127.0.0.1', port }), { code: 'CONNECTION', message: /EADDRINUSE|already in use|No address added/ });

  const cluster = await TestCluster.start(t, { nodeTimeoutMs: 100 });
  const daemon = await cluster.startDaemon();
  cluster.head.close();
  t.match(await daemon.closed, /the head could not be reached for 200 ms: cannot reach the head/);
  t.notOk(existsSync(daemon.folder));
});

t.test('a shutdown from the head ends the node', async (t) => {
  const cluster = await TestCluster.start(t);
  const daemon = await cluster.startDaemon();
  const { pid } = await cluster.lease(daemon, 'lease-1');
  cluster.head.send(daemon.nodeId, { type: 'shutdown', reason: 'the cluster was stopped' });
  t.equal(await daemon.closed, 'the cluster was stopped');
  t.notOk(isAlive(pid));
});

t.test('the kernel\'s kills for lack of memory are counted, each for one death', async (t) => {
  const cluster = new TestCluster(t);
  const counter = `${cluster.home}/memory.events`;
  const count = (kills: number): void => writeFileSync(counter, `low 0\nmax 12\noom 9\noom_kill ${kills}\noom_group_kill 0\n`);
  count(4);
  const watch = new OomWatch([`${cluster.home}/absent`, counter]);
  t.equal(watch.takeKill(), false, 'what was before does not count');
  count(6);
  t.same([watch.takeKill(), watch.takeKill(), watch.takeKill()], [true, true, false]);
  t.equal(new OomWatch([]).takeKill(), false, 'a system that does not count');
  t.equal(new OomWatch().takeKill(), false, 'this system');
});

t.test('a full log file is set aside, and nothing is lost at the change', async (t) => {
  const cluster = new TestCluster(t);
  const path = `${cluster.home}/worker-1.log`;
  const failures: Error[] = [];
  let onDrain = (): void => {};
  const log = new LogFile(path, { onDrain: () => onDrain(), onFailure: (error) => failures.push(error) });
  const lines = 80_000;
  const fileLines = Math.ceil(LOG_FILE_MAX_BYTES / 1000);
  for (let index = 0; index < lines; index++) {
    const keepsUp = log.append(`${String(index).padStart(999)}\n`);
    if (!keepsUp) await new Promise<void>((resolve) => { onDrain = resolve; });
  }
  log.close();
  const sizeOf = (file: string): number => (existsSync(file) ? statSync(file).size : 0);
  while (sizeOf(path) + sizeOf(`${path}.1`) < (lines - fileLines) * 1000) await nextTurn();
  t.equal(sizeOf(`${path}.1`), fileLines * 1000);
  const sizeMaxBytes = 4 * MIB;
  const [tail] = await readLogs(cluster.home, ['worker-1', 'worker-2'], { from: null, sizeMaxBytes });
  t.match(tail, { logId: 'worker-1', text: new RegExp(`${lines - 1}\\n$`), endOffset: lines * 1000 });
  t.equal(tail!.text.length % 1000, 0, 'it begins with a whole line');
  let line = lines / 2;
  let offset = line * 1000;
  for (let [part] = await readLogs(cluster.home, ['worker-1'], { from: { 'worker-1': offset }, sizeMaxBytes }); part; [part] = await readLogs(cluster.home, ['worker-1'], { from: { 'worker-1': offset }, sizeMaxBytes })) {
    for (const each of part.text.trimEnd().split('\n')) if (Number(each) !== line++) return t.fail(`line ${line - 1} is ${each}`);
    offset = part.endOffset;
  }
  t.equal(line, lines, 'a reader goes on from the file that was set aside to the new one');
  const [oldest] = await readLogs(cluster.home, ['worker-1'], { from: { 'worker-1': 0 }, sizeMaxBytes });
  t.ok(oldest!.text.startsWith(`… ${fileLines * 1000} bytes were printed here that are not kept\n`));
  const broken = new LogFile(`${cluster.home}/no/folder.log`, { onDrain: () => {}, onFailure: (error) => failures.push(error) });
  t.equal(broken.append('text'), true, 'a log that cannot be written holds up nobody');
  t.match(failures, [{ code: 'ENOENT' }]);
});

t.test('GPU ids are those that the environment leaves', async (t) => {
  t.same(visibleGpuIds(2, undefined), [0, 1]);
  t.same(visibleGpuIds(2, '3, 5,7'), [3, 5]);
  t.same(visibleGpuIds(2, 'GPU-8932f937'), [0, 1]);
  t.same(visibleGpuIds(0, ''), []);
});
