/** A node: the daemon's real machine and the object store's, with simulated processes for its workers. Wired as in @muster/daemon's io. */
import { RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import { NO_ENDPOINT, targetOf, type Endpoint, type HeadToNode, type MessageStream, type NodeToHead, type PrepareBundles, type StoreReply, type StoreRequest, type WorkerCommand } from '@muster/protocol';
import { DaemonMachine, type DaemonEffect, type DaemonEvent } from '@muster/daemon';
import type { Timer } from './clock.js';
import type { Range } from './network.js';
import { KILLED, SimProcess, type ProcessEnd } from './process.js';
import { SimStore } from './sim-store.js';
import { SimWorker } from './sim-worker.js';
import { record, type World } from './world.js';

/** What a node is. */
export interface NodeOptions {
  readonly nodeId: string;
  readonly host: string;
  readonly headAddress: string;
  readonly resources: ResourceSet;
  readonly labels: Readonly<Record<string, string>>;
  readonly objectStoreBytes: number;
  readonly prestartCount: number;
  /** What its clock shows beyond the true time. */
  readonly clockSkewMs: number;
  /** From its spawn until a worker opens its connections. */
  readonly workerStartMs: Range;
}

/** The machine's numbers of GPUs are not the head's. */
const GPU_ID_FIRST = 4;

const shareKey = ({ groupId, epoch }: { readonly groupId: string; readonly epoch: number }): string => `${groupId} ${epoch}`;

type PeerNews = DaemonEffect & { readonly type: 'peerNodes' };
type HeadStream = MessageStream<NodeToHead, HeadToNode>;
type StoreStream = MessageStream<StoreReply, StoreRequest>;

/** One node. */
export class SimNode {
  readonly process: SimProcess;
  readonly endpoint: Endpoint;
  readonly store: SimStore;
  readonly workers = new Map<string, SimWorker>();
  /** Children, also those that have not begun to run code. */
  readonly #children = new Map<string, SimProcess>();
  readonly #streams = new Map<string, StoreStream>();
  readonly #peers = new Map<string, Endpoint>();
  /** What the head has told of the other nodes since somebody asked for one. In a large cluster it tells much, and few ask. */
  readonly #peerNews: PeerNews[] = [];
  readonly #events: DaemonEvent[] = [];
  readonly #machine: DaemonMachine;
  #head: HeadStream | null = null;
  /** What it was asked to prepare. */
  readonly #prepares = new Map<string, PrepareBundles>();
  #timer: Timer | null = null;
  #isStepping = false;

  constructor(readonly world: World, readonly options: NodeOptions) {
    const { nodeId, host, resources, labels, objectStoreBytes, prestartCount } = options;
    this.process = new SimProcess(nodeId, host, world.clock);
    this.process.clockSkewMs = options.clockSkewMs;
    this.endpoint = { nodeId, unixPath: `/${nodeId}/daemon.sock`, host, port: world.network.newPort() };
    this.store = new SimStore(world, { nodeId, totalBytes: objectStoreBytes, process: this.process, endpointOf: (peer) => this.#endpointOf(peer) });
    this.#machine = new DaemonMachine({
      nodeId, instanceId: nodeId, endpoint: this.endpoint, hostname: host, pid: 1, resources, labels, objectStoreBytes, isHeadNode: false, prestartCount,
      gpuIds: Array.from({ length: (resources['gpu'] ?? 0) / RESOURCE_SCALE }, (_, index) => GPU_ID_FIRST + index),
      startingMax: Math.max(2, Math.ceil((resources['cpu'] ?? 0) / RESOURCE_SCALE)), random: world.workload,
      store: this.store.machine,
    });
    world.ledger.nodeAdded(nodeId, resources);
    this.process.onExit((end) => this.#exited(end));
    this.#listen();
    this.#dispatch({ type: 'start' });
  }

  #endpointOf(nodeId: string): Endpoint | undefined {
    for (const { isComplete, goneNodeIds, nodes } of this.#peerNews.splice(0)) {
      if (isComplete) this.#peers.clear();
      for (const gone of goneNodeIds) this.#peers.delete(gone);
      for (const { nodeId: id, endpoint } of nodes) if (endpoint) this.#peers.set(id, endpoint);
    }
    return this.#peers.get(nodeId);
  }

  get id(): string {
    return this.options.nodeId;
  }

  get daemonAddress(): string {
    return targetOf(this.endpoint, this.id);
  }

  /** The machine computes so many times slower than others; `1` again makes it one of them. */
  set slowness(slowness: number) {
    for (const process of [this.process, ...this.#children.values()]) process.slowness = slowness;
  }

  get isAlive(): boolean {
    return this.process.isAlive;
  }

  /** What the daemon says about its workers and their leases. */
  listWorkers(): readonly { readonly workerId: string; readonly state: string; readonly leaseId: string; readonly jobId: string; readonly actorId: string }[] {
    let rows: never[] = [];
    for (const effect of this.#machine.step({ type: 'headMessage', message: { type: 'nodeQuery', requestId: 0, what: 'workers', argument: '' } }, this.process.nowMs())) {
      if (effect.type === 'send' && effect.message.type === 'nodeReply') rows = JSON.parse(effect.message.json) as never[];
      else this.#perform(effect);
    }
    return rows;
  }

  #listen(): void {
    const handlers = {
      'Daemon.Store': (stream: StoreStream) => this.#serveStore(stream),
      'Daemon.Pull': (stream: Parameters<SimStore['servePull']>[0]) => this.store.servePull(stream),
      'Daemon.Free': (stream: MessageStream<object, { readonly objectIds: readonly string[] }>) => {
        stream.onMessage = ({ objectIds }) => this.store.step({ type: 'peerFreed', objectIds });
        stream.onEnd = () => {};
      },
    };
    this.world.network.listen(this.process, this.daemonAddress, handlers);
    this.world.network.listen(this.process, targetOf(this.endpoint, ''), handlers);
  }

  #serveStore(stream: StoreStream): void {
    stream.onEnd = () => {};
    stream.onMessage = (hello) => {
      if (hello.type !== 'storeHello') throw new Error('a store client did not say hello');
      const { processId } = hello;
      const connection = this.store.serveClient(processId, stream);
      this.#streams.set(processId, stream);
      stream.onMessage = (message) => {
        if (message.type === 'sync') stream.send({ type: 'synced', requestId: message.requestId });
        else if (message.type === 'ownerNeeded') this.#dispatch({ type: 'workerNeeded', workerId: processId, isNeeded: message.needed });
        else if (message.type !== 'storeHello') connection.request(message);
      };
      stream.onEnd = () => {
        connection.end();
        if (this.#streams.get(processId) !== stream) return;
        this.#streams.delete(processId);
        this.#dispatch({ type: 'workerDisconnected', workerId: processId });
      };
      stream.send({
        type: 'storeWelcome', nodeId: this.id, arenaPath: '', arenaBytes: this.options.objectStoreBytes, failure: null, endpoint: this.endpoint,
      });
      this.#dispatch({ type: 'workerReady', workerId: processId, endpoint: hello.endpoint ?? NO_ENDPOINT });
    };
  }

  #dispatch(event: DaemonEvent): void {
    this.#events.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    for (let next = this.#events.shift(); next; next = this.#events.shift()) {
      if (!this.isAlive) break;
      for (const effect of this.#machine.step(next, this.process.nowMs())) this.#perform(effect);
    }
    this.#isStepping = false;
  }

  #perform(effect: DaemonEffect): void {
    switch (effect.type) {
      case 'connectHead': return this.#connectHead();
      case 'disconnectHead': return this.#disconnectHead(effect.isGoodbye);
      case 'send': return this.#send(effect.message);
      case 'spawnWorker': return this.#spawn(effect.workerId);
      case 'killWorker': return this.#children.get(effect.workerId)?.exit(KILLED);
      case 'commandWorker': return this.#command(effect.workerId, effect.command);
      case 'drainOutput': return void this.process.after(0, () => this.#dispatch({ type: 'outputDrained', jobId: effect.jobId }));
      case 'freeOwners': return this.store.step({ type: 'ownersEnded', ownerKeys: effect.ownerKeys });
      case 'peerNodes':
        if (effect.isComplete) this.#peerNews.length = 0;
        this.#peerNews.push(effect);
        return;
      case 'wake': return this.#wake(effect.atMs);
      case 'log': return record(this.world, `${this.id}: ${effect.event} ${JSON.stringify(effect.fields)}`);
      case 'stop':
        record(this.world, `${this.id} stops: ${effect.reason}`);
        return this.process.exit({ code: 0, signal: null });
      case 'registered':
      case 'startJobProcess':
      case 'signalJobProcess':
      case 'readLogs': return;
    }
  }

  #send(message: NodeToHead): void {
    const { bundles } = this.world.ledger;
    if (message.type === 'bundlesPrepared' && message.failure === null) {
      const prepare = this.#prepares.get(shareKey(message))!;
      bundles.prepared(this.id, prepare);
      if (prepare.commit) bundles.committing(prepare.groupId);
    } else if (message.type === 'bundlesReturned') bundles.returned(this.id, message);
    this.#head?.send(message);
  }

  #command(workerId: string, command: WorkerCommand): void {
    if (command.leaseId) this.world.ledger.leaseCommanded(command.leaseId, this.id, command.gpuIds);
    this.#streams.get(workerId)?.send({ type: 'workerCommand', ...command });
  }

  #wake(atMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.process.after(Math.max(0, atMs - this.process.nowMs()), () => this.#dispatch({ type: 'tick' }));
  }

  // ---------------------------------------------------------------- the head

  #connectHead(): void {
    this.#disconnectHead(false);
    const stream = this.world.network.open(this.process, this.options.headAddress, 'Head.Node');
    stream.onMessage = (message) => { if (this.#head === stream) this.#takeHeadMessage(message); };
    stream.onEnd = (failure) => {
      if (this.#head !== stream) return;
      this.#head = null;
      this.#dispatch({ type: 'headEnded', failure: failure ?? null });
    };
    this.#head = stream;
  }

  #takeHeadMessage(message: HeadToNode): void {
    this.process.spend(this.world.costs.daemonMessageMs);
    const { ledger } = this.world;
    if (message.type === 'startLease') ledger.leaseStarting(message.leaseId, this.id, { resources: message.resources?.amounts ?? {}, bundle: message.bundle });
    else if (message.type === 'prepareBundles') this.#prepares.set(shareKey(message), message);
    else if (message.type === 'commitBundles') ledger.bundles.committing(message.groupId);
    this.#dispatch({ type: 'headMessage', message });
  }

  #disconnectHead(isGoodbye: boolean): void {
    const stream = this.#head;
    this.#head = null;
    if (isGoodbye) stream?.end();
    else stream?.destroy();
  }

  // ---------------------------------------------------------------- workers

  #spawn(workerId: string): void {
    const { network, clock } = this.world;
    const child = new SimProcess(workerId, this.options.host, clock);
    child.slowness = this.process.slowness;
    this.#children.set(workerId, child);
    this.#dispatch({ type: 'workerSpawned', workerId, pid: this.#children.size });
    record(this.world, `${this.id} spawns ${workerId}`);
    child.onExit((end) => this.#workerExited(workerId, end));
    child.after(network.between(this.options.workerStartMs), () => {
      this.workers.set(workerId, new SimWorker(this.world, child, {
        endpoint: { nodeId: this.id, unixPath: `/${this.id}/${workerId}.sock`, host: this.options.host, port: network.newPort() },
        daemonAddress: this.daemonAddress, headAddress: this.options.headAddress, arena: this.store.arena,
      }));
    });
  }

  #workerExited(workerId: string, { code, signal }: ProcessEnd): void {
    record(this.world, `${workerId} exits: ${signal ?? code}`);
    const [startedTasks = 0, severedTasks = 0] = this.workers.get(workerId)?.machine.executor.progress ?? [];
    this.#children.delete(workerId);
    this.workers.delete(workerId);
    const exit = { code, signal, stderrTail: '', fatalError: '', isOomKill: false, progress: { startedTasks, severedTasks }, spawnFailure: null };
    this.process.after(this.world.network.between([0.1, 2]), () => this.#dispatch({ type: 'workerExited', workerId, exit }));
  }

  /** Its workers die with it. */
  #exited({ code, signal }: ProcessEnd): void {
    record(this.world, `${this.id} exits: ${signal ?? code}`);
    this.world.ledger.nodeGone(this.id);
    for (const child of [...this.#children.values()]) child.exit(KILLED);
    this.world.ledger.bundles.nodeGone(this.id);
  }
}
