/** Connections: who is let in, what a wrong peer sees, and that no bytes bring a server down. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { makeError, MusterError, seededRandom } from '@muster/base';
import { Channel, type MessageStream } from './client.js';
import { RpcServer } from './server.js';
import { MESSAGE_MAX_BYTES } from './wire.js';

const folder = mkdtempSync(join(tmpdir(), 'muster-rpc-'));
const path = join(folder, 'server.sock');
const ended: (MusterError | undefined)[] = [];
const server = new RpcServer({
  token: 'right', self: 'the server',
  handlers: {
    'Head.Query': async (request) => {
      if (request.what === 'fail') throw makeError('OBJECT_LOST', { what: 'obj-1', cause: 'it was on node-x' });
      return { failure: null, json: request.json };
    },
    'Peer.Tasks': (stream) => {
      stream.onMessage = (message) => stream.send(message);
      stream.onEnd = (failure) => ended.push(failure);
    },
    'Daemon.Store': (stream) => {
      stream.onMessage = () => { throw makeError('INVALID_ARGUMENT', { what: 'the first message', want: 'a hello' }); };
      stream.onEnd = () => {};
    },
    'Daemon.Pull': async function* (request) {
      if (request.objectId === 'silence') await new Promise(() => {});
      for (let offset = 0; ; offset++) yield { objectSizeBytes: 0, offset, data: Buffer.from(request.objectId) };
    },
  },
});
await server.listenUnix(path);
const port = await server.listenTcp('127.0.0.1', 0);
const target = `127.0.0.1:${port}`;
const open = (token = 'right', to = target): Channel => new Channel({ target: to, token, peer: 'the server' });
const ask = (channel: Channel, json = '{}', what = 'echo'): Promise<{ json: string }> => channel.request('Head.Query', { what, arguments: { a: 'b' }, json }, 5000);

function outcome(stream: MessageStream<never, unknown>): Promise<MusterError | undefined> {
  return new Promise((resolve) => {
    stream.onMessage = () => {};
    stream.onEnd = resolve;
  });
}

t.teardown(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

t.test('a request is answered over TCP and a unix socket', async (t) => {
  for (const to of [target, `unix:${path}`]) {
    const channel = open('right', to);
    t.equal((await ask(channel, '{"x":1}')).json, '{"x":1}');
    channel.close();
  }
});

t.test('a wrong token, no token and another version are refused before any handler runs', async (t) => {
  const channel = open('wrong');
  await t.rejects(ask(channel), { code: 'AUTHENTICATION' });
  t.match(await outcome(channel.open('Peer.Tasks') as never), { code: 'AUTHENTICATION' });
  await t.rejects(async () => { for await (const _ of channel.download('Daemon.Pull', { objectId: 'x', requesterNodeId: '' })) break; }, { code: 'AUTHENTICATION' });
  channel.close();
  const session = connectHttp2(`http://${target}`);
  const status = await new Promise((resolve) => {
    const request = session.request({ ':method': 'POST', ':path': '/muster.v1.Peer/Tasks', 'content-type': 'application/grpc', 'te': 'trailers', authorization: 'Bearer right', 'muster-protocol': '999' });
    request.on('response', (headers) => { if (headers['grpc-status']) resolve(headers['grpc-status']); });
    request.on('trailers', (headers) => resolve(headers['grpc-status']));
    request.resume();
  });
  session.destroy();
  t.equal(status, '9', 'FAILED_PRECONDITION for another version');
  t.equal(ended.length, 0, 'no handler saw them');
});

t.test('a failure keeps its code, details and class', async (t) => {
  const channel = open();
  await t.rejects(ask(channel, '', 'fail'), { name: 'ObjectLostError', code: 'OBJECT_LOST', details: { what: 'obj-1' } });
  channel.close();
});

t.test('a message that breaks a rule ends its own stream with the reason', async (t) => {
  const channel = open();
  const stream = channel.open('Daemon.Store');
  const end = outcome(stream as never);
  stream.send({ type: 'release', objectId: 'x' });
  t.match(await end, { code: 'INVALID_ARGUMENT' });
  t.equal((await ask(channel)).json, '{}', 'the connection serves on');
  channel.close();
});

t.test('an oversize message is an error of its sender; the server lives', async (t) => {
  const channel = open();
  await t.rejects(ask(channel, 'x'.repeat(MESSAGE_MAX_BYTES + 1)), { code: 'PROTOCOL' });
  t.equal((await ask(channel)).json, '{}');
  channel.close();
});

t.test('an endless download stops when its reader leaves', async (t) => {
  const channel = open();
  let seen = 0;
  for await (const chunk of channel.download('Daemon.Pull', { objectId: 'abc', requesterNodeId: 'n' })) {
    t.equal(Buffer.from(chunk.data).toString(), 'abc');
    if (++seen === 3) break;
  }
  t.equal(seen, 3);
  channel.close();
});

t.test('a download that is aborted ends with the reason, also while it waits for its first reply', async (t) => {
  const channel = open();
  const controller = new AbortController();
  const download = channel.download('Daemon.Pull', { objectId: 'silence', requesterNodeId: 'n' }, controller.signal);
  const next = download.next();
  controller.abort(makeError('NODE_DIED', { what: 'the pull', cause: 'node-b is gone' }));
  await t.rejects(next, { code: 'NODE_DIED', message: /node-b is gone/ });
  await t.rejects(channel.download('Daemon.Pull', { objectId: 'abc', requesterNodeId: 'n' }, controller.signal).next(), { code: 'NODE_DIED' });
  channel.close();
});

t.test('garbage and truncated frames on every port close the connection, and the server lives', async (t) => {
  const random = seededRandom(7);
  const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
  const attacks = [
    ...Array.from({ length: 20 }, () => Buffer.from(random.hex(2 * Math.floor(1 + random.next() * 2000)), 'hex')),
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), Buffer.from(preface), Buffer.from(`${preface}\u0000\u0000\u00ff\u0000`), Buffer.alloc(0),
  ];
  for (const to of [{ port, host: '127.0.0.1' }, { path }]) {
    await Promise.all(attacks.map((bytes) => new Promise<void>((resolve) => {
      const socket = connect(to as never, () => socket.end(bytes));
      socket.on('error', () => {}).on('close', () => resolve()).resume();
    })));
  }
  const channel = open();
  t.equal((await ask(channel)).json, '{}');
  channel.close();
});

t.test('a client that vanishes ends its stream on the server', async (t) => {
  const before = ended.length;
  const channel = open();
  const stream = channel.open('Peer.Tasks');
  await new Promise<void>((resolve) => {
    stream.onMessage = () => resolve();
    stream.onEnd = () => {};
    stream.send(Buffer.from([0x0a, 1, 5]));
  });
  stream.destroy();
  while (ended.length === before) await new Promise((resolve) => setImmediate(resolve));
  t.match(ended.at(-1), { code: 'CONNECTION' });
  channel.close();
});

t.test('an address that is taken says so', async (t) => {
  const second = new RpcServer({ token: 'x', self: 'x', handlers: {} });
  await t.rejects(second.listenTcp('127.0.0.1', port), { code: 'CONNECTION' });
  second.close();
});
