/** A fake head and real daemons with fake workers, in a home of their own, cleaned up with the test. */
import type { Test } from 'tap';
import { mkdtempSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { newId, RESOURCE_SCALE, systemRandom, type Logger, type NodeId } from '@muster/base';
import type { Endpoint, LeaseStarted, LogPart, LogsQuestion } from '@muster/protocol';
import { Channel } from '@muster/protocol/rpc';
import { startDaemon, type DaemonOptions, type RunningDaemon } from '../io/daemon.js';
import { FakeHead, type FakeHeadOptions } from './fake-head.js';
import { StoreSession } from './store-session.js';
import type { Order } from './fake-worker.js';

export const TOKEN = 'the-token-of-this-test';
export const FAKE_WORKER = fileURLToPath(new URL('./fake-worker.js', import.meta.url));

/** One test's head and daemons. */
export class TestCluster {
  readonly home = mkdtempSync('/tmp/muster-test-');
  readonly head: FakeHead;
  /** What daemons logged. */
  readonly logged: { readonly event: string; readonly fields: Record<string, unknown> | undefined }[] = [];
  readonly #t: Test;
  #onLogged = (): void => {};

  constructor(t: Test, headOptions: Partial<FakeHeadOptions> = {}) {
    this.#t = t;
    this.head = new FakeHead({ socketPath: `${this.home}/head.sock`, token: TOKEN, ...headOptions });
    t.teardown(() => {
      this.head.close();
      rmSync(this.home, { recursive: true, force: true });
    });
  }

  static async start(t: Test, headOptions: Partial<FakeHeadOptions> = {}): Promise<TestCluster> {
    const cluster = new TestCluster(t, headOptions);
    await cluster.head.listen();
    return cluster;
  }

  daemonOptions(options: Partial<DaemonOptions> = {}): Omit<DaemonOptions, 'logger'> {
    return {
      headTarget: this.head.target, token: TOKEN, tokenFile: `${this.home}/token`, home: this.home, resources: { cpu: RESOURCE_SCALE }, objectStoreBytes: 16 * 2 ** 20,
      workerEntry: FAKE_WORKER, prestart: 0, ...options,
    };
  }

  async startDaemon(options: Partial<DaemonOptions> = {}): Promise<RunningDaemon> {
    const note = (event: string, fields?: Record<string, unknown>): void => {
      this.logged.push({ event, fields });
      this.#onLogged();
    };
    const logger: Logger = { debug: note, info: note, warn: note, error: note };
    const daemon = await startDaemon({ ...this.daemonOptions(options), logger });
    this.#t.teardown(() => daemon.close());
    return daemon;
  }

  /** Resolves when a daemon has logged this. */
  async untilLogged(event: string): Promise<void> {
    while (!this.logged.some((line) => line.event === event)) await new Promise<void>((resolve) => { this.#onLogged = resolve; });
  }

  /** Has the head start a lease, and waits for its worker. */
  lease(daemon: { readonly nodeId: NodeId }, leaseId: string, jobId = 'job-1'): Promise<LeaseStarted> {
    this.head.send(daemon.nodeId, { type: 'startLease', leaseId, jobId, resources: null, actorId: '', name: '', gpuIds: [], bundle: null });
    return this.head.next('leaseStarted', (message) => message.leaseId === leaseId);
  }

  async query(daemon: { readonly nodeId: NodeId }, what: string, argument = ''): Promise<unknown> {
    const requestId = Math.floor(systemRandom.next() * 1e9);
    this.head.send(daemon.nodeId, { type: 'nodeQuery', requestId, what, argument });
    return JSON.parse((await this.head.next('nodeReply', (reply) => reply.requestId === requestId)).json);
  }

  /** The end of what was printed, as one text. */
  async logs(daemon: { readonly nodeId: NodeId }, id: string): Promise<string> {
    const question: LogsQuestion = { id, from: null, sizeMaxBytes: 2 ** 20 };
    return ((await this.query(daemon, 'logs', JSON.stringify(question))) as LogPart[]).map(({ text }) => text).join('');
  }

  /** A connection to the object store as a driver has it. */
  async connect(daemon: { readonly endpoint: Endpoint }, onEnd?: (failure: unknown) => void): Promise<StoreSession> {
    const session = await StoreSession.connect({ target: `unix:${daemon.endpoint.unixPath}`, token: TOKEN, processId: newId('driver', systemRandom), onEnd });
    this.#t.teardown(() => session.close());
    return session;
  }

  /** Has a fake worker carry out an order; resolves with its answer, or undefined when it dies of it. */
  order(worker: { readonly endpoint: Endpoint | null }, order: Order): Promise<unknown> {
    const channel = new Channel({ target: `unix:${worker.endpoint!.unixPath}`, token: TOKEN, peer: 'the worker' });
    const stream = channel.open('Peer.Tasks');
    return new Promise((resolve) => {
      stream.onMessage = (bytes) => {
        resolve(JSON.parse(Buffer.from(bytes).toString()));
        channel.close();
        stream.end();
      };
      stream.onEnd = () => {
        resolve(undefined);
        channel.close();
      };
      stream.send(Buffer.from(JSON.stringify(order)));
    });
  }
}

/** Processes that are nobody's child here give no sign when they end: looks again and again. */
export async function untilDead(...pids: readonly number[]): Promise<void> {
  for (const pid of pids) while (isAlive(pid)) await sleep(5);
}

/** Whether a process exists. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
