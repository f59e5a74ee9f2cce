/** A real head on a unix socket and a TCP port, with a node and clients that speak to it over gRPC. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ERROR_TABLE, makeError, parseResources, systemRandom, type Clock, type Logger, type MusterError } from '@muster/base';
import { resourcesToMessage, type ClientToHead, type HeadToClient, type HeadToNode, type MessageStream, type NodeToHead, type QueryReply } from '@muster/protocol';
import { Channel, PROTOCOL_VERSION } from '@muster/protocol/rpc';
import { startHead, type RunningHead, type StatusAnswer } from '../index.js';
import { Streams } from './streams.js';

const TOKEN = 'correct-horse';
const TIMEOUT_MS = 60_000;

const clock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() };
const silent = (): void => {};
const logger: Logger = { debug: silent, info: silent, warn: silent, error: silent };

/** Waits for messages of a stream by their type, in order; remembers its end. */
class Inbox<Message extends { readonly type: string }> {
  readonly ended: Promise<MusterError | undefined>;
  readonly #messages: Message[] = [];
  #wake: (() => void) | null = null;

  constructor(stream: MessageStream<never, Message>) {
    stream.onMessage = (message) => { this.#messages.push(message); this.#wake?.(); };
    this.ended = new Promise((resolve) => { stream.onEnd = (failure) => { resolve(failure); this.#wake?.(); }; });
  }

  /** The next message of this type; those before it are dropped. */
  async next<Type extends Message['type']>(type: Type): Promise<Extract<Message, { type: Type }>> {
    for (const deadlineMs = clock.nowMs() + TIMEOUT_MS; clock.nowMs() < deadlineMs;) {
      const message = this.#messages.shift();
      if (message?.type === type) return message as Extract<Message, { type: Type }>;
      if (message === undefined) await new Promise<void>((resolve) => { this.#wake = resolve; setTimeout(resolve, TIMEOUT_MS).unref(); });
    }
    throw makeError('TIMEOUT', { what: `waiting for ${type}`, limit: `${TIMEOUT_MS} ms` });
  }
}

interface Peer<Out, In extends { readonly type: string }> {
  readonly stream: MessageStream<Out, In>;
  readonly inbox: Inbox<In>;
}

function openNode(channel: Channel): Peer<NodeToHead, HeadToNode> {
  const stream = channel.open('Head.Node');
  return { stream, inbox: new Inbox<HeadToNode>(stream as MessageStream<never, HeadToNode>) };
}

function openClient(channel: Channel): Peer<ClientToHead, HeadToClient> {
  const stream = channel.open('Head.Client');
  return { stream, inbox: new Inbox<HeadToClient>(stream as MessageStream<never, HeadToClient>) };
}

const registration = (nodeId: string): NodeToHead => ({
  type: 'registerNode', nodeId, instanceId: `run-of-${nodeId}`, endpoint: { nodeId, unixPath: '/somewhere/daemon.sock', host: '', port: 0 }, hostname: 'here', pid: 1,
  resources: resourcesToMessage(parseResources({ cpus: 2 })), labels: {}, objectStoreBytes: 0, isHeadNode: true,
});

const hello = (processId: string, isDriver: boolean): ClientToHead => ({
  type: 'clientHello', processId, jobId: '', isDriver, nodeId: 'node-1', pid: 1, endpoint: null, entrypoint: 'test', wantLogs: true, queue: '', priority: 0,
});

const read = <Answer>(reply: QueryReply): Answer => {
  t.equal(reply.failure, null);
  return JSON.parse(reply.json) as Answer;
};

const folder = mkdtempSync(join(tmpdir(), 'muster-head-'));
const socket = join(folder, 'head.sock');
const target = `unix:${socket}`;
let head: RunningHead;

t.before(async () => {
  head = await startHead({
    token: TOKEN, tokenFile: join(folder, 'token'), listenUnixPath: socket, listen: { host: '127.0.0.1', port: 0 },
    clock, random: systemRandom, logger, nodeTimeoutMs: 400,
  });
});
t.teardown(async () => {
  await head.close();
  rmSync(folder, { recursive: true });
});

t.test('a wrong token is refused before anything is read', async (t) => {
  for (const address of [target, `127.0.0.1:${head.port}`]) {
    const channel = new Channel({ target: address, token: 'wrong', peer: 'the head' });
    const { stream, inbox } = openClient(channel);
    stream.send(hello('driver-1', true));
    t.equal((await inbox.ended)?.code, 'AUTHENTICATION');
    await t.rejects(channel.request('Head.Query', { what: 'status', arguments: {}, json: '' }, TIMEOUT_MS), { code: 'AUTHENTICATION' });
    channel.close();
  }
});

t.test('garbage ends its own connection and nothing else', async (t) => {
  const raw = connect(socket);
  raw.on('error', silent).resume();
  const closed = new Promise<void>((resolve) => raw.once('close', () => resolve()));
  raw.end('this is no HTTP/2\r\n\r\n'.repeat(100));
  await closed;

  const session = connectHttp2('http://muster', { createConnection: () => connect(socket) }).on('error', silent);
  const status = await garbageCall(session);
  t.not(status, '0', `a message that is none ends its call: grpc-status ${status}`);
  session.destroy();

  const channel = new Channel({ target, token: TOKEN, peer: 'the head' });
  const { stream, inbox } = openNode(channel);
  stream.send({ type: 'logsFlushed', jobId: 'job-1' });
  const failure = await inbox.ended;
  t.equal(failure?.code, 'PROTOCOL');
  t.match(failure?.message, /logsFlushed before it registered/);
  const reply = await channel.request('Head.Query', { what: 'status', arguments: {}, json: '' }, TIMEOUT_MS);
  t.equal(read<StatusAnswer>(reply).nodes.alive, 0, 'the head goes on');
  channel.close();
});

/** One call of Head.Node whose message is no protobuf. Resolves with the grpc-status. */
function garbageCall(session: ClientHttp2Session): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = session.request({
      ':method': 'POST', ':path': '/muster.v1.Head/Node', 'content-type': 'application/grpc', te: 'trailers',
      authorization: `Bearer ${TOKEN}`, 'muster-protocol': String(PROTOCOL_VERSION),
    });
    const end = (headers: Record<string, unknown>): void => { if (headers['grpc-status'] !== undefined) resolve(String(headers['grpc-status'])); };
    call.on('response', end);
    call.on('trailers', end);
    call.on('error', reject);
    call.resume();
    const payload = Buffer.from('ffffffffffffffffffff', 'hex');
    const frame = Buffer.alloc(5);
    frame.writeUInt32BE(payload.length, 1);
    call.write(Buffer.concat([frame, payload]));
  });
}

t.test('a node and a driver meet: lease, logs, goodbye', async (t) => {
  const channel = new Channel({ target, token: TOKEN, peer: 'the head' });
  const node = openNode(channel);
  node.stream.send(registration('node-1'));
  const registered = await node.inbox.next('nodeRegistered');
  t.match(registered, { clusterId: head.clusterId, nodeTimeoutMs: 400, failure: null });
  const heartbeat = setInterval(() => node.stream.send(HEARTBEAT), 50);

  const driver = openClient(channel);
  driver.stream.send(hello('driver-1', true));
  const welcome = await driver.inbox.next('welcome');
  t.match(welcome, { nodeId: 'node-1', daemonUnixPath: '/somewhere/daemon.sock', failure: null });

  const oneCpu = { resources: resourcesToMessage(parseResources({ cpus: 1 })), placement: null, expectedDurationMs: 0, waitForNodes: false };
  driver.stream.send({ type: 'leaseDemand', demandId: 1, demand: oneCpu, count: 1, name: 'f', preferredNodeIds: [] });
  const start = await node.inbox.next('startLease');
  t.match(start, { jobId: welcome.jobId, resources: { amounts: { cpu: 10_000 } } });
  node.stream.send({ type: 'leaseStarted', leaseId: start.leaseId, workerId: 'worker-1', pid: 2, endpoint: null });
  t.match(await driver.inbox.next('leaseGranted'), { leaseId: start.leaseId, workerId: 'worker-1', demandId: 1 });

  const { jobId } = welcome;
  node.stream.send({ type: 'logLines', jobId, nodeId: 'node-1', workerId: 'worker-1', pid: 2, name: 'f', isError: false, lines: ['hello'], suppressedCount: 0 });
  t.match(await driver.inbox.next('logLines'), { lines: ['hello'] });

  driver.stream.send({ type: 'endJob', cause: null });
  node.stream.send({ type: 'logsFlushed', jobId: (await node.inbox.next('flushLogs')).jobId });
  await driver.inbox.next('jobEnded');
  t.equal(await driver.inbox.ended, undefined, 'its stream ends in order');
  t.match(await node.inbox.next('endLease'), { leaseId: start.leaseId, kill: true });
  t.match(await node.inbox.next('endJobOnNode'), { jobId: welcome.jobId, ownerIds: ['driver-1', 'worker-1'] });
  node.stream.send({ type: 'leaseEnded', leaseId: start.leaseId, cause: null });

  const second = openClient(channel);
  second.stream.send(hello('driver-2', true));
  await second.inbox.next('welcome');
  second.stream.send({ type: 'leaseDemand', demandId: 1, demand: { resources: { amounts: { cpu: -1 } }, placement: null, expectedDurationMs: 0, waitForNodes: false }, count: 1, name: '', preferredNodeIds: [] });
  t.equal((await second.inbox.ended)?.code, 'PROTOCOL', 'what breaks a rule ends its own stream, with the reason');

  const third = openClient(channel);
  third.stream.send(hello('driver-3', true));
  await third.inbox.next('welcome');
  node.stream.destroy();
  const returned = openNode(channel);
  returned.stream.send(registration('node-1'));
  t.match(await returned.inbox.next('nodeRegistered'), { failure: null }, 'a node comes back after its stream broke');
  clearInterval(heartbeat);
  t.match(await third.inbox.ended, { code: 'NOT_CONNECTED' }, 'and is dead after its timeout, with its driver');
  t.equal((await returned.inbox.ended)?.code, 'NODE_DIED');
  const late = openNode(channel);
  late.stream.send(registration('node-1'));
  t.equal((await late.inbox.next('nodeRegistered')).failure?.code, 'NODE_DIED', 'for good');
  t.equal(await late.inbox.ended, undefined);
  channel.close();
});

t.test('queries are answered, wrong ones with a failure of the table', async (t) => {
  const channel = new Channel({ target: `127.0.0.1:${head.port}`, token: TOKEN, peer: 'the head' });
  const reply = await channel.request('Head.Query', { what: 'explain', arguments: { id: 'node-1' }, json: '' }, TIMEOUT_MS);
  t.match(read(reply), { id: 'node-1', state: 'dead' });
  const refused = await channel.request('Head.Query', { what: 'nonsense', arguments: {}, json: '' }, TIMEOUT_MS);
  t.ok(refused.failure !== null && refused.failure.code in ERROR_TABLE);
  channel.close();
});

t.test('an address that is taken is a clear error', async (t) => {
  const options = { token: TOKEN, tokenFile: '', listen: { host: '127.0.0.1', port: head.port! }, clock, random: systemRandom, logger };
  await t.rejects(startHead(options), { code: 'CONNECTION' });
});

t.test('the cluster stops on demand', async (t) => {
  const channel = new Channel({ target, token: TOKEN, peer: 'the head' });
  const node = openNode(channel);
  node.stream.send(registration('node-2'));
  await node.inbox.next('nodeRegistered');
  const reply = await channel.request('Head.Query', { what: 'stop', arguments: { reason: 'the test is over' }, json: '' }, TIMEOUT_MS);
  t.same(read(reply), { nodes: 1 });
  t.match(await node.inbox.next('shutdown'), { reason: 'the test is over' });
  node.stream.end();
  t.equal(await head.stopped, 'the test is over');
  channel.close();
});

/** A stream whose peer reads when the test says so. */
function slowStream(): { stream: Parameters<Streams['add']>[0]; sent: HeadToClient[]; pause(): void; drain(): void; destroyed: MusterError[] } {
  const sent: HeadToClient[] = [];
  const destroyed: MusterError[] = [];
  let isFull = false;
  const stream = {
    send: (message: HeadToClient) => { sent.push(message); return !isFull; },
    end: () => {}, destroy: (failure: MusterError) => { destroyed.push(failure); }, onDrain: () => {},
  };
  return { stream: stream as never, sent, destroyed, pause: () => { isFull = true; }, drain: () => { isFull = false; stream.onDrain(); } };
}

const output = (count: number): HeadToClient => ({
  type: 'logLines', jobId: 'job-1', nodeId: '', workerId: '', pid: 1, name: '', isError: false, lines: Array<string>(count).fill('x'), suppressedCount: 0,
});
const died: HeadToClient = { type: 'nodeDied', nodeId: 'node-1', detail: '' };
const lineCounts = (sent: readonly HeadToClient[]): number[][] =>
  sent.flatMap((message) => (message.type === 'logLines' ? [[message.lines.length, message.suppressedCount]] : []));

t.test('output for a driver that does not read is held back, then counted', async (t) => {
  const streams = new Streams();
  const slow = slowStream();
  const id = streams.add(slow.stream);
  slow.pause();
  streams.send(id, died);
  for (let count = 0; count < 4; count++) streams.send(id, output(4_000));
  streams.send(id, died);
  t.same(slow.sent.map(({ type }) => type), ['nodeDied', 'nodeDied'], 'all else is sent at once');
  slow.drain();
  t.same(lineCounts(slow.sent), [[4_000, 0], [4_000, 0], [4_000, 0], [0, 4_000]]);

  slow.pause();
  streams.send(id, died);
  streams.send(id, output(7));
  streams.send(id, { type: 'jobEnded', reason: '' });
  t.same(slow.sent.slice(-2).map(({ type }) => type), ['logLines', 'jobEnded'], 'nothing comes after the end of the job');
});

t.test('a peer that never reads is given up', async (t) => {
  const streams = new Streams();
  const slow = slowStream();
  const id = streams.add(slow.stream);
  slow.pause();
  let count = 0;
  while (streams.send(id, died)) count++;
  t.equal(count, 99_999);
  t.match(slow.destroyed, [{ code: 'CONNECTION' }]);
  t.notOk(streams.remove(id), 'the machine is told once');
});

const HEARTBEAT: NodeToHead = { type: 'heartbeat', sequence: 0, objectStoreUsedBytes: 0, spilledBytes: 0, objectCount: 0, workerCount: 0 };
