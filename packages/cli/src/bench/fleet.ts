/**
 * A head's machine among made-up daemons, drivers and actors' workers that do at once what they are told. Only the machine's steps are measured by whoever
 * uses it; what the others do is a few lines. Messages may pass through the codec, so that the head keeps what it would keep of real ones.
 */
import { errorFromWire, seededRandom } from '@muster/base';
import { HeadMachine, type HeadEffect } from '@muster/head';
import { codec, resourcesToMessage, type ClientToHead, type Endpoint, type HeadToClient, type HeadToNode, type NodeToHead, type StartLease } from '@muster/protocol';
import { madeUpNode } from './made-up-cluster.js';

const SETTINGS = { clusterId: 'cluster-1', heartbeatIntervalMs: 500, nodeTimeoutMs: 5_000, lostNodeGraceMs: 30_000, address: '', tokenFile: '', queues: [] };
/** Of an actor's class and arguments, and of its methods' names. */
const CREATION_BYTES = 200;
const INTERFACE_BYTES = 50;

/** What the head says to one driver. */
type OnMessage = (message: HeadToClient) => void;

/** One head and those who speak with it. */
export class Fleet {
  readonly machine = new HeadMachine(SETTINGS, seededRandom(1), 0);
  nowMs = 0;
  /** By node. */
  readonly nodeStreams: number[] = [];
  readonly #nodeOf = new Map<number, number>();
  readonly #drivers = new Map<number, OnMessage>();
  /** What daemons and workers have to say next. */
  readonly #replies: (() => void)[] = [];
  readonly #isDecoded: boolean;
  /** By the stream of their node: workers without a lease. */
  readonly #idle = new Map<number, string[]>();
  /** By lease, of those for tasks. */
  readonly #workerOf = new Map<string, string>();
  #streams = 0;
  #workers = 0;

  /** `isDecoded`: every message passes through the codec. */
  constructor({ isDecoded }: { readonly isDecoded: boolean }) {
    this.#isDecoded = isDecoded;
  }

  register(i: number): void {
    const { nodeId, total, labels } = madeUpNode(i);
    const stream = ++this.#streams;
    this.nodeStreams[i] = stream;
    this.#nodeOf.set(stream, i);
    this.#perform(this.machine.step({ type: 'nodeOpened', stream }, this.nowMs));
    this.fromNode(stream, {
      type: 'registerNode', nodeId, endpoint: endpointOf(nodeId, 'daemon'), hostname: `host-${i}.cluster.internal`, pid: 1000 + i, resources: resourcesToMessage(total), labels,
      objectStoreBytes: 2 ** 36, isHeadNode: i === 0, instanceId: `instance-${i}`,
    });
  }

  heartbeat(i: number): void {
    const stream = this.nodeStreams[i]!;
    this.fromNode(stream, { type: 'heartbeat', sequence: this.nowMs, objectStoreUsedBytes: 2 ** 30, spilledBytes: 0, objectCount: 100, workerCount: 64 });
  }

  tick(afterMs: number): void {
    this.nowMs += afterMs;
    this.#perform(this.machine.step({ type: 'tick' }, this.nowMs));
  }

  /** The stream of a new driver, which hears what the head says to it. */
  connectDriver(name: string, onMessage: OnMessage): number {
    const stream = ++this.#streams;
    this.#drivers.set(stream, onMessage);
    this.#hello(stream, `driver-${name}`, true, '');
    return stream;
  }

  createActor(driver: number, index: number): void {
    this.fromClient(driver, {
      type: 'createActor', requestId: index, actorId: `actor-${index.toString(16).padStart(24, '0')}`, name: '', className: 'Counter', detached: false, getIfExists: false,
      demand: { resources: { amounts: { cpu: 10_000 } }, placement: null, expectedDurationMs: 0, waitForNodes: false }, maxRestarts: 0, maxConcurrency: 1, creation: new Uint8Array(CREATION_BYTES), maxPendingCalls: 0,
      interface: new Uint8Array(INTERFACE_BYTES),
    });
  }

  fromNode(stream: number, message: NodeToHead): void {
    this.#perform(this.machine.step({ type: 'nodeMessage', stream, message: this.#received('NodeToHead', message) }, this.nowMs));
  }

  fromClient(stream: number, message: ClientToHead): void {
    this.#perform(this.machine.step({ type: 'clientMessage', stream, message: this.#received('ClientToHead', message) }, this.nowMs));
  }

  /** The answer, in milliseconds of work. */
  queryMs(what: string): number {
    const startMs = performance.now();
    this.machine.step({ type: 'query', queryId: 1, request: { what, arguments: {}, json: '' } }, this.nowMs);
    return performance.now() - startMs;
  }

  /** Daemons and workers answer until nobody has anything to say. */
  settle(): void {
    for (let next = this.#replies.pop(); next !== undefined; next = this.#replies.pop()) next();
  }

  #received<Name extends 'NodeToHead' | 'ClientToHead'>(name: Name, message: Name extends 'NodeToHead' ? NodeToHead : ClientToHead): typeof message {
    if (!this.#isDecoded) return message;
    const { encode, decode } = codec(name);
    return decode(encode(message as never)) as typeof message;
  }

  #hello(stream: number, processId: string, isDriver: boolean, nodeId: string): void {
    this.#perform(this.machine.step({ type: 'clientOpened', stream }, this.nowMs));
    this.fromClient(stream, {
      type: 'clientHello', processId, jobId: '', isDriver, nodeId, pid: 1, endpoint: endpointOf(nodeId, processId), entrypoint: isDriver ? 'bench.ts' : '', wantLogs: false, queue: '',
      priority: 0,
    });
  }

  #perform(effects: readonly HeadEffect[]): void {
    for (const effect of effects) {
      if (effect.type === 'sendToNode') this.#tellNode(effect.stream, effect.message);
      else if (effect.type === 'sendToClient') this.#tellClient(effect.stream, effect.message);
    }
  }

  #tellNode(stream: number, message: HeadToNode): void {
    if (message.type === 'startLease') this.#replies.push(() => this.#startLease(stream, message));
    else if (message.type === 'endLease') this.#replies.push(() => this.#endLease(stream, message.leaseId));
  }

  #startLease(stream: number, { leaseId, actorId }: StartLease): void {
    const nodeId = `node-${this.#nodeOf.get(stream)}`;
    const workerId = (actorId === '' ? this.#idle.get(stream)?.pop() : undefined) ?? `worker-${(++this.#workers).toString(16).padStart(24, '0')}`;
    if (actorId === '') this.#workerOf.set(leaseId, workerId);
    else {
      this.fromNode(stream, { type: 'workerStarted', workerId, pid: 1 });
      this.#hello(++this.#streams, workerId, false, nodeId);
    }
    this.fromNode(stream, { type: 'leaseStarted', leaseId, workerId, pid: 1, endpoint: endpointOf(nodeId, workerId) });
  }

  #endLease(stream: number, leaseId: string): void {
    const idle = this.#idle.get(stream);
    if (idle === undefined) this.#idle.set(stream, [this.#workerOf.get(leaseId)!]);
    else idle.push(this.#workerOf.get(leaseId)!);
    this.#workerOf.delete(leaseId);
    this.fromNode(stream, { type: 'leaseEnded', leaseId, cause: null });
  }

  #tellClient(stream: number, message: HeadToClient): void {
    if (message.type === 'welcome' && message.failure !== null) throw errorFromWire(message.failure);
    if (message.type === 'startActor') this.#replies.push(() => this.fromClient(stream, { type: 'actorStarted', actorId: message.actorId, incarnation: message.incarnation }));
    else this.#drivers.get(stream)?.(message);
  }
}

const endpointOf = (nodeId: string, name: string): Endpoint => ({ nodeId, unixPath: `/run/user/1000/muster/${nodeId}/${name}.sock`, host: '10.0.0.1', port: 30_000 });
