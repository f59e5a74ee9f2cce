/** Peers that fall silent without closing, behind a real TCP proxy that stops forwarding; and peers and processes that are only busy. */
import { EventEmitter, once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { MusterError } from '@muster/base';
import { Channel, type MessageStream } from './client.js';
import { SILENCE_MAX_MS, watchSilence } from './liveness.js';
import { RpcServer } from './server.js';

/** Forwards TCP until it is told to be silent; then it keeps its connections and reads nothing more from them. */
class Proxy {
  readonly #sockets: Socket[] = [];
  readonly #server = createServer((inner) => {
    const outer = connect(this.targetPort, '127.0.0.1');
    for (const [from, to] of [[inner, outer], [outer, inner]] as const) {
      this.#sockets.push(from);
      from.on('data', (bytes) => to.write(bytes)).on('error', () => {}).on('close', () => to.destroy());
    }
  });

  constructor(readonly targetPort: number) {}

  async listen(): Promise<string> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  fallSilent(): void {
    for (const socket of this.#sockets) socket.removeAllListeners('data').pause();
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

const ends = new Map<string, Promise<MusterError | undefined>>();
function serve(name: string, stream: MessageStream<never, unknown>): void {
  stream.onMessage = () => {};
  ends.set(name, new Promise((resolve) => { stream.onEnd = resolve; }));
}
const server = new RpcServer({
  token: 'token', self: 'the server',
  handlers: {
    'Head.Node': (stream) => serve('Head.Node', stream as never), 'Head.Client': (stream) => serve('Head.Client', stream as never),
    'Peer.Tasks': (stream) => serve('Peer.Tasks', stream as never),
  },
});
const port = await server.listenTcp('127.0.0.1', 0);
t.teardown(() => server.close());

/** Opens a stream; resolves when the server has it, with what it comes to. */
async function open(target: string, name: 'Head.Node' | 'Head.Client' | 'Peer.Tasks'): Promise<{ end: Promise<MusterError | undefined>; close: () => void }> {
  const channel = new Channel({ target, token: 'token', peer: 'the peer' });
  const stream = channel.open(name) as MessageStream<never, unknown>;
  const end = new Promise<MusterError | undefined>((resolve) => { stream.onEnd = resolve; });
  stream.onMessage = () => {};
  ends.delete(name);
  while (!ends.has(name)) await new Promise((resolve) => setImmediate(resolve));
  return { end, close: () => channel.close() };
}

t.test('a silent connection ends with a clear error, at both ends where both must look', async (t) => {
  const proxy = new Proxy(port);
  const target = await proxy.listen();
  const startMs = performance.now();
  const asNode = await open(target, 'Head.Node');
  const asClient = await open(target, 'Head.Client');
  const asOwner = await open(target, 'Peer.Tasks');
  let ownersEnd: unknown = null;
  void asOwner.end.then((failure) => { ownersEnd = failure; });
  let clientsEnd: unknown = null;
  void ends.get('Head.Client')!.then((failure) => { clientsEnd = failure; });
  proxy.fallSilent();
  const failure = await asNode.end;
  t.match(failure, { code: 'CONNECTION', details: { what: 'the peer', cause: 'it has answered nothing for 10 s' } });
  t.ok(performance.now() - startMs >= SILENCE_MAX_MS, 'not before its time');
  t.match(await asClient.end, { code: 'CONNECTION', details: { cause: 'it has answered nothing for 10 s' } }, 'a driver or worker hears that the head is gone');
  t.match(await ends.get('Head.Node'), { code: 'CONNECTION' }, 'so does the head of a daemon');
  t.equal(ownersEnd, null, 'a worker may be busy: its silence means nothing to those who send it tasks');
  t.equal(clientsEnd, null, 'nor does a driver\'s to the head');
  proxy.close();
  for (const { close } of [asNode, asClient, asOwner]) close();
});

t.test('the kernel watches connections to processes that run users\' code', async (t) => {
  const { close } = await open(`127.0.0.1:${port}`, 'Peer.Tasks');
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0');
  const KEEPALIVE_TIMER = '02';
  const watchedEnds = (): number => readFileSync('/proc/net/tcp', 'utf8').split('\n').filter((row) => {
    const [, local, remote, state, , timer] = row.trim().split(/\s+/);
    return state === '01' && (local?.endsWith(`:${hexPort}`) || remote?.endsWith(`:${hexPort}`)) && timer?.startsWith(`${KEEPALIVE_TIMER}:`);
  }).length;
  while (watchedEnds() < 2) await new Promise((resolve) => setImmediate(resolve)); // what was sent is to be acknowledged first
  t.pass('both ends');
  close();
});

t.test('a process that was busy itself reads the answer before it judges', async (t) => {
  let isSilent = false;
  let pingCount = 0;
  const session = Object.assign(new EventEmitter(), {
    destroyed: false,
    ping: (answer: (error: Error | null) => void) => { pingCount++; return setImmediate(() => answer(null)) !== null; },
  });
  const patience = { intervalMs: 5, silenceMaxMs: 20 };
  watchSilence(session, () => { isSilent = true; }, patience);
  for (let pause = 0; pause < 10; pause++) {
    const seen = pingCount;
    while (pingCount === seen) await new Promise((resolve) => setImmediate(resolve));
    const untilMs = performance.now() + 3 * patience.silenceMaxMs;
    while (performance.now() < untilMs); // users' code, which begins when a ping is under way
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.notOk(isSilent);
  session.emit('close');
});
