/** Strangers, liars and noise on every port and socket of a cluster: what they get, and that the processes live on and leak nothing. */
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { join } from 'node:path';
import { credentials, Client, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { actor, init, remote, shutdown } from '@muster/core';
import type { ClientToHead, MessageStream, NodeToHead, StoreRequest, BorrowerToOwner } from '@muster/protocol';
import { Channel, MESSAGE_MAX_BYTES, PROTOCOL_VERSION } from '@muster/protocol/rpc';
import { descriptorsOf, isRunning, listeningOf, procFile, TestCluster } from '../support/cluster.js';
import { until } from '../support/until.js';

/** How long a server may keep a connection whose other side has sent nonsense and ended. */
const SHOUT_TIMEOUT_MS = 60_000;

const cluster = await TestCluster.start({ nodes: [{ cpus: 1 }] });
t.teardown(() => cluster.stop());
await cluster.connect();
const [node] = cluster.nodes;
const { token } = cluster;

/** One actor and one task, so that a worker of each kind is at work. */
class Echo {
  echo(text: string): string { return text; }
}
const echo = await actor(Echo, { placement: { node: node!.nodeId } }).create();
const addOne = remote((x: number) => x + 1);
t.equal(await addOne(1), 2);

const worker = cluster.workersOf(node!)[0]!;
const workerSocket = readdirSync(node!.folder).find((name) => name.startsWith('worker-'))!;
const driverSocket = readdirSync(cluster.head.home).find((name) => name.startsWith('driver-'))!;

interface Door {
  readonly name: string;
  readonly target: string;
  readonly pid: number;
  /** Methods that are served behind it. */
  readonly methods: readonly string[];
}

const tcp = (pid: number, exclude: string[] = []): string => listeningOf(pid).find((address) => !exclude.includes(address))!;
const doors: readonly Door[] = [
  { name: 'the head', target: cluster.address, pid: cluster.head.pid, methods: ['Head/Node', 'Head/Client', 'Head/Query'] },
  { name: "a daemon's port", target: tcp(node!.pid), pid: node!.pid, methods: ['Daemon/Store', 'Daemon/Pull', 'Daemon/Free'] },
  { name: "a daemon's socket", target: `unix:${node!.ready.daemonUnixPath}`, pid: node!.pid, methods: ['Daemon/Store', 'Daemon/Pull', 'Daemon/Free'] },
  { name: "the head node's daemon", target: tcp(cluster.head.pid, [cluster.address]), pid: cluster.head.pid, methods: ['Daemon/Store', 'Daemon/Pull', 'Daemon/Free'] },
  { name: "a worker's port", target: tcp(worker), pid: worker, methods: ['Peer/Tasks', 'Peer/Objects'] },
  { name: "a worker's socket", target: `unix:${join(node!.folder, workerSocket)}`, pid: 0, methods: ['Peer/Tasks', 'Peer/Objects'] },
  { name: "the driver's port", target: tcp(process.pid), pid: process.pid, methods: ['Peer/Objects'] },
  { name: "the driver's socket", target: `unix:${join(cluster.head.home, driverSocket)}`, pid: process.pid, methods: ['Peer/Objects'] },
];

/** A frame in its protobuf shell. */
const frameOf = (payload: readonly number[]): Uint8Array => Buffer.from([0x0a, payload.length, ...payload]);

/** Methods whose empty request means something. */
const UNARY = new Set(['Head/Query', 'Daemon/Free']);
/** Frames are read only once their sender has a lease, or names the actor that lives behind the door: a test of its own. */
const FRAMES = 'Peer/Tasks';

/** Everything that must be alive after each attack. */
const everybody = [cluster.head.pid, node!.pid, ...cluster.workersOf(node!)];

async function stillWorks(t: Test): Promise<void> {
  t.equal(await addOne(41), 42, 'tasks run');
  t.equal(await echo.echo('here'), 'here', 'the actor answers');
  t.ok(everybody.every(isRunning), 'every process lives');
}

/** Calls a method with these bytes and this metadata; resolves with the status that the server ends it with. */
function call(door: Door, method: string, metadata: Record<string, string>, messages: readonly Buffer[] = [Buffer.alloc(0)]): Promise<ServiceError | { readonly code: number; readonly details: string }> {
  const client = new Client(door.target, credentials.createInsecure(), { 'grpc.default_authority': 'muster', 'grpc.use_local_subchannel_pool': 1, 'grpc.max_send_message_length': -1 });
  const sent = new Metadata();
  for (const [key, value] of Object.entries(metadata)) sent.set(key, value);
  const stream = client.makeBidiStreamRequest(`/muster.v1.${method}`, (bytes: Buffer) => bytes, (bytes) => bytes, sent, { deadline: Date.now() + 10_000 });
  return new Promise<ServiceError | { readonly code: number; readonly details: string }>((resolve) => {
    stream.on('data', () => {});
    stream.on('error', (error: ServiceError) => resolve(error));
    stream.on('status', (state) => resolve(state));
    for (const message of messages) stream.write(message);
    stream.end();
  }).finally(() => client.close());
}

const good = { authorization: `Bearer ${token}`, 'muster-protocol': String(PROTOCOL_VERSION) };

/** Writes bytes to a raw connection; resolves when the other side has closed it. */
function shout(door: Door, bytes: Buffer): Promise<void> {
  const [host, port] = door.target.split(/:(?=\d+$)/) as [string, string];
  const socket = door.target.startsWith('unix:') ? connect(door.target.slice(5)) : connect(Number(port), host);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`${door.name} keeps the connection`));
    }, SHOUT_TIMEOUT_MS);
    socket.on('error', () => {}).on('data', () => {}).on('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.end(bytes);
  });
}

t.test('everything listens on 127.0.0.1 only', async (t) => {
  for (const pid of [...everybody, process.pid]) {
    const addresses = listeningOf(pid);
    t.ok(addresses.length > 0, `${pid} listens`);
    for (const address of addresses) t.match(address, /^127\.0\.0\.1:/);
  }
});

t.test('files are readable by their owner only', async (t) => {
  const mode = (path: string): string => (lstatSync(path).mode & 0o777).toString(8);
  for (const { home, folder, ready, arenaPath } of [cluster.head, node!]) {
    t.same([home, folder, join(home, 'nodes'), join(folder, 'logs'), join(folder, 'spill')].map(mode), Array(5).fill('700'));
    t.same([ready.tokenFile, ready.daemonUnixPath, ready.logFile, arenaPath, join(home, 'nodes', `${ready.nodeId}.json`)].map(mode), Array(5).fill('600'));
  }
  t.same([join(node!.folder, workerSocket), join(cluster.head.home, driverSocket)].map(mode), ['600', '600']);
  t.match(token, /^[\w-]{43}$/, '32 random bytes');
});

t.test('the token is in no argument, environment or log', async (t) => {
  await t.rejects(new Channel({ target: cluster.address, token: 'wrong', peer: 'the head' }).request('Head.Query', { what: 'status', arguments: {}, json: '' }, 5000), { code: 'AUTHENTICATION' });
  for (const pid of everybody) {
    for (const file of ['cmdline', 'environ']) t.notOk(procFile(pid, file).includes(token), `${file} of ${pid}`);
  }
  for (const { folder } of [cluster.head, node!]) {
    for (const name of readdirSync(join(folder, 'logs'))) t.notOk(readFileSync(join(folder, 'logs', name), 'utf8').includes(token), name);
  }
});

for (const door of doors) {
  t.test(`${door.name}: without the token, with a wrong one or another version nothing is served`, async (t) => {
    for (const method of door.methods) {
      t.match(await call(door, method, { 'muster-protocol': good['muster-protocol'] }), { code: status.UNAUTHENTICATED }, `${method} without a token`);
      t.match(await call(door, method, { ...good, authorization: `Bearer ${token.slice(1)}` }), { code: status.UNAUTHENTICATED }, `${method} with a wrong token`);
      t.match(await call(door, method, { ...good, authorization: token }), { code: status.UNAUTHENTICATED }, `${method} with a bare token`);
      t.match(await call(door, method, { ...good, 'muster-protocol': String(PROTOCOL_VERSION + 1) }), { code: status.FAILED_PRECONDITION }, `${method} with another version`);
      t.match(await call(door, method, { authorization: good.authorization }), { code: status.FAILED_PRECONDITION }, `${method} without a version`);
    }
    t.match(await call(door, 'Nobody/Knows', good), { code: status.UNIMPLEMENTED });
    await stillWorks(t);
  });

  t.test(`${door.name}: garbage, truncated and oversize messages end their own stream`, async (t) => {
    for (const method of door.methods.filter((name) => name !== FRAMES)) {
      t.not((await call(door, method, good, [Buffer.from('ff'.repeat(64), 'hex')])).code, status.OK, `${method}: garbage`);
      t.not((await call(door, method, good, [Buffer.from([0x0a, 0x7f, 0x01])])).code, status.OK, `${method}: a truncated message`);
      if (!UNARY.has(method)) t.not((await call(door, method, good, [Buffer.alloc(0)])).code, status.OK, `${method}: an empty message`);
    }
    const open = door.methods.find((name) => name !== FRAMES)!; // a task stream without a lease ends before its first message is read
    t.match(await call(door, open, good, [Buffer.alloc(MESSAGE_MAX_BYTES + 1)]), { code: status.RESOURCE_EXHAUSTED }, 'an oversize message');
    await stillWorks(t);
  });
}

t.test('bytes that are not even HTTP/2 get a closed connection', async (t) => {
  const random = Buffer.from(Uint32Array.from({ length: 4096 }, (_, i) => Math.imul(i + 1, 2_654_435_761)).buffer);
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const shouts = {
    'random bytes': random, 'HTTP/1': Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n'), 'half of the preface': preface.subarray(0, 10),
    'random bytes after the preface': Buffer.concat([preface, random]), 'a frame of 16 MiB': Buffer.concat([preface, Buffer.from([0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0])]),
  };
  // All at once: a server may take seconds to hang up.
  await Promise.all(doors.flatMap((door) => Object.entries(shouts).map(([name, bytes]) => t.resolves(shout(door, bytes), `${door.name}: ${name}`))));
  await stillWorks(t);
});

t.test('frames without a lease are refused, and none of their tasks is run', async (t) => {
  const door = doors.find(({ name }) => name === "a worker's socket")!;
  const channel = new Channel({ target: door.target, token, peer: door.name });
  const stream = channel.open('Peer.Tasks', { 'caller-id': 'driver-000000000000', 'lease-id': 'lease-000000000000' });
  const ended = new Promise<string>((resolve) => { stream.onEnd = (failure) => resolve(failure?.code ?? 'ended'); });
  stream.onMessage = () => t.fail('it answers');
  stream.send(frameOf([0xff, 0xff, 0xff, 0xff]));
  t.equal(await ended, 'PROTOCOL');
  channel.close();
  await stillWorks(t);
});

t.test('broken frames to an actor end their own stream', async (t) => {
  const sockets = readdirSync(node!.folder).filter((name) => name.startsWith('worker-'));
  const noise: readonly (readonly number[])[] = [[0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0], [1, 0, 0, 0, 0xee], [9, 0, 0, 0, 1, 2, 3], [0x40, 0, 0, 0, 2, 0, 0, 0, 0]];
  for (const name of sockets) {
    for (const bytes of noise) {
      const channel = new Channel({ target: `unix:${join(node!.folder, name)}`, token, peer: name });
      const stream = channel.open('Peer.Tasks', { 'caller-id': 'driver-000000000000', 'actor-id': echoId() });
      const ended = new Promise<void>((resolve) => { stream.onEnd = () => resolve(); });
      stream.onMessage = () => {};
      stream.send(frameOf(bytes));
      stream.end();
      await ended;
      channel.close();
    }
  }
  await stillWorks(t);
});

t.test('messages out of order, repeated or about things that are not there', async (t) => {
  const { head, daemon } = { head: doors[0]!, daemon: doors[2]! };
  /** Sends messages and resolves with how the stream ended, or null when it is still open and the last answer has come. */
  const talk = <Request, Reply>(channel: Channel, stream: MessageStream<Request, Reply>, messages: readonly Request[]): Promise<string> => new Promise<string>((resolve) => {
    stream.onMessage = (reply) => {
      const failure = (reply as { failure?: { code: string } | null }).failure;
      if (failure) resolve(failure.code);
    };
    stream.onEnd = (failure) => resolve(failure?.code ?? 'ended');
    for (const message of messages) stream.send(message);
    stream.end();
  }).finally(() => channel.close());
  const open = (door: Door): Channel => new Channel({ target: door.target, token, peer: door.name });
  const toHead = (...messages: ClientToHead[]): Promise<string> => {
    const channel = open(head);
    return talk(channel, channel.open('Head.Client'), messages);
  };
  const asNode = (...messages: NodeToHead[]): Promise<string> => {
    const channel = open(head);
    return talk(channel, channel.open('Head.Node'), messages);
  };
  const toStore = (...messages: StoreRequest[]): Promise<string> => {
    const channel = open(daemon);
    return talk(channel, channel.open('Daemon.Store'), messages);
  };
  const toOwner = (...messages: BorrowerToOwner[]): Promise<string> => {
    const channel = open(doors[7]!);
    return talk(channel, channel.open('Peer.Objects'), messages);
  };
  const hello: ClientToHead = {
    type: 'clientHello', processId: 'driver-000000000000', jobId: '', isDriver: true, nodeId: '', pid: 1, endpoint: null, entrypoint: 'stranger', wantLogs: false, queue: '', priority: 0,
  };
  const storeHello: StoreRequest = { type: 'storeHello', processId: 'driver-000000000001', jobId: '', pid: 1, endpoint: { nodeId: '', unixPath: '', host: '', port: 0 } };
  const demand: ClientToHead = { type: 'leaseDemand', demandId: 1, demand: { resources: { amounts: { cpu: NaN } }, placement: null, expectedDurationMs: 0, waitForNodes: false }, count: 4e9, name: '', preferredNodeIds: [] };

  t.equal(await toHead(demand), 'PROTOCOL', 'a demand before hello');
  t.equal(await toHead({ type: 'killActor', actorId: echoId(), noRestart: true, incarnation: 0, reason: 'a stranger' }), 'PROTOCOL', 'a command before hello');
  await toHead(hello, hello);
  await toHead(hello, demand, demand, { type: 'leaseReturn', leaseId: 'lease-none', killWorker: true, reason: '' }, { type: 'endJob', cause: null }, { type: 'endJob', cause: null });
  await toHead(hello, { type: 'createActor', requestId: 1, actorId: echoId(), name: '', className: 'X', detached: false, getIfExists: false, demand: null, maxRestarts: 0, maxConcurrency: 1, creation: new Uint8Array(0), maxPendingCalls: 0, interface: new Uint8Array(0) });
  await toHead(hello, { type: 'getActor', requestId: 1, name: 'nobody' }, { type: 'getActor', requestId: 1, name: 'nobody' }, { type: 'watchActor', actorId: 'actor-none' });
  t.equal(await asNode({ type: 'heartbeat', sequence: 1, objectStoreUsedBytes: 0, spilledBytes: 0, objectCount: 0, workerCount: 0 }), 'PROTOCOL', 'a heartbeat before the registration');
  t.equal(await toStore({ type: 'allocate', requestId: 1, sizeBytes: 100, timeoutMs: 10 }), 'PROTOCOL', 'an allocation before hello');
  t.equal(await toStore(storeHello, { type: 'returnBlock', offset: 4096 }), 'ended', 'a block that it has given back already, or never had');
  t.equal(await toStore(storeHello, { type: 'seal', objectId: 'obj-a-1', offset: 0, sizeBytes: 4096 }), 'PROTOCOL', 'sealing what it does not hold');
  t.equal(await toStore(storeHello, { type: 'release', objectId: 'obj-a-1' }), 'PROTOCOL', 'releasing what it has not fetched');
  t.equal(await toStore(storeHello, { type: 'fetch', requestId: 1, objectId: 'obj-a-1', sizeBytes: 10, locations: [] }), 'OBJECT_LOST', 'fetching what is nowhere');
  t.equal(await toStore(storeHello, { type: 'allocate', requestId: 1, sizeBytes: 2 ** 50, timeoutMs: 0 }), 'OBJECT_STORE_FULL', 'more than there is');
  await toOwner({ type: 'borrow', objectIds: ['obj-none-1'], requestId: 1 });
  await toOwner({ type: 'borrowerHello', processId: 'worker-000000000000', nodeId: '', connection: 1, objectIds: [], requestId: 1 }, { type: 'unborrow', objectIds: ['obj-none-1'] }, { type: 'unborrow', objectIds: ['obj-none-1'] });
  await stillWorks(t);
  await until('the stranger has left nothing', async () => {
    const state = await cluster.status();
    return state.jobs.running === 1 && state.drivers === 1 && state.waiting.length === 0;
  });
});

t.test('hundreds of connections that come, shout and go leave no file descriptor behind', async (t) => {
  const targets = doors.filter((door) => [cluster.head.pid, node!.pid].includes(door.pid));
  const count = (pid: number): number => descriptorsOf(pid).length;
  const before = new Map([cluster.head.pid, node!.pid].map((pid) => [pid, count(pid)]));
  for (let round = 0; round < 10; round++) {
    await Promise.all(targets.flatMap((door) => [
      shout(door, Buffer.from('nonsense'.repeat(100))), shoutFrame(door), call(door, door.methods[0]!, {}), call(door, door.methods[0]!, good, [Buffer.from('ff'.repeat(64), 'hex')]),
      new Promise<void>((resolve) => { // a peer that vanishes in the middle of a request
        const session = connectHttp2('http://muster', { createConnection: () => (door.target.startsWith('unix:') ? connect(door.target.slice(5)) : connect(Number(door.target.split(':')[1]), '127.0.0.1')) });
        session.on('error', () => {}).on('close', resolve);
        const request = session.request({ ':method': 'POST', ':path': `/muster.v1.${door.methods[0]!}`, 'content-type': 'application/grpc', te: 'trailers', ...good });
        request.on('error', () => {});
        request.write(Buffer.from([0, 0, 0, 1, 0, 1, 2, 3]), () => session.destroy());
      }),
    ]));
  }
  for (const [pid, descriptors] of before) {
    await until(`${pid} has closed them`, () => count(pid) <= descriptors + 8);
  }
});

t.test('a driver with a wrong token is told so', async (t) => {
  await shutdown();
  await t.rejects(init({ address: cluster.address, token: 'wrong' }), { name: 'AuthenticationError', code: 'AUTHENTICATION', message: /token/ });
  await init({ address: cluster.address, token, logs: false });
  t.equal(await addOne(1), 2, 'and is served with the right one');
});

/** A frame that is too large: the server says goodbye, and must hang up as well. */
function shoutFrame(door: Door): Promise<void> {
  return shout(door, Buffer.from('505249202a20485454502f322e300d0a0d0a534d0d0a0d0affffff040000000000', 'hex')).catch(() => {});
}

function echoId(): string {
  return (echo as unknown as { readonly actorId: string }).actorId;
}
