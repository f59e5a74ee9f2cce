/** Requests to a head whose connection ends before it has answered. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { ClientToHead, HeadToClient, MessageStream } from '@muster/protocol';
import { RpcServer } from '@muster/protocol/rpc';
import { HeadClient } from './head-client.js';

const folder = mkdtempSync(join(tmpdir(), 'muster-head-client-'));
const path = join(folder, 'head.sock');
let head!: MessageStream<HeadToClient, ClientToHead>;
let onRequest = (): void => {};
const server = new RpcServer({
  token: 'token', self: 'the head',
  handlers: {
    'Head.Client': (stream) => {
      head = stream;
      stream.onEnd = () => {};
      stream.onMessage = (message) => {
        if (message.type === 'clientHello') stream.send({ type: 'welcome', clusterId: 'cluster-1', jobId: 'job-1', failure: null, daemonUnixPath: '', nodeId: '', nodeTimeoutMs: 5000 });
        else onRequest();
      };
    },
  },
});
await server.listenUnix(path);
t.teardown(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

async function connect(): Promise<HeadClient> {
  const client = new HeadClient({ target: `unix:${path}`, token: 'token', unref: false, onMessage: () => {}, onClosed: () => {} });
  await client.hello({ processId: 'driver-1', jobId: '', isDriver: true, nodeId: '', pid: 1, endpoint: null, entrypoint: '', wantLogs: false, queue: '', priority: 0 });
  return client;
}
const ask = (client: HeadClient): Promise<unknown> => client.request((requestId) => ({ type: 'getActor', requestId, name: 'x' }));

t.test('a request that is open when the connection ends fails', async (t) => {
  const client = await connect();
  onRequest = () => head.destroy();
  await t.rejects(ask(client), { code: 'CONNECTION' });
  await t.rejects(ask(client), { code: 'NOT_CONNECTED' }, 'so does one that is made later');
  client.close();
});

t.test('a request that is open when this side closes fails', async (t) => {
  const client = await connect();
  onRequest = () => client.close();
  await t.rejects(ask(client), { code: 'NOT_CONNECTED' });
});
