/** A daemon in this process: the machine between its processes, sockets and files. */
import { availableParallelism, hostname } from 'node:os';
import {
  makeError, MusterError, newId, RESOURCE_SCALE, sweepDeadDrivers, systemRandom, type Clock, type Logger, type NodeId, type ProcessId, type Random, type ResourceSet,
} from '@muster/base';
import { SEGMENT_BYTES, type Arena } from '@muster/native';
import { failureToMessage, type Endpoint } from '@muster/protocol';
import { RpcServer } from '@muster/protocol/rpc';
import { ObjectStore, SpillFolder } from '@muster/store';
import { DaemonMachine } from '../machine/daemon-machine.js';
import type { DaemonEffect, DaemonEvent } from '../machine/messages.js';
import { createArena, defaultObjectStoreBytes } from './arena-size.js';
import { HeadConnection } from './head-connection.js';
import { readLogs } from './log-reader.js';
import { NodeFolder, sweepDeadNodes } from './node-folder.js';
import { Peers } from './peers.js';
import { Processes } from './processes.js';
import { ProgressBoard } from './progress-board.js';
import type { SpareWorker } from './spare-worker.js';
import { StoreService } from './store-service.js';

/** What a node is, and where it belongs. */
export interface DaemonOptions {
  /** Made up when absent. */
  readonly nodeId?: NodeId;
  /** Where the daemon and its workers reach the head: `unix:/path` or `host:port`. */
  readonly headTarget: string;
  /** How others on this machine would reach it; `headTarget` when absent. */
  readonly headAddress?: string;
  /** Whether the head is in this process. */
  readonly isHead?: boolean;
  /** The cluster's. */
  readonly token: string;
  /** Where programs on this machine find the token. */
  readonly tokenFile: string;
  /** The folder of this machine's nodes: musterHome(). */
  readonly home: string;
  /** The address for TCP, for this daemon and its workers; unix sockets only when absent. */
  readonly host?: string;
  /** Of TCP; any free one when absent or 0. */
  readonly port?: number;
  /** What the node offers. Whole GPUs only. */
  readonly resources: ResourceSet;
  readonly labels?: Readonly<Record<string, string>>;
  /** Rounded up to whole segments; a third of the memory when absent. */
  readonly objectStoreBytes?: number;
  /** The main module of @muster/worker. */
  readonly workerEntry: string;
  /** Node's own arguments for workers, such as those of a TypeScript loader. */
  readonly workerExecArgv?: readonly string[];
  /** A process of `workerEntry` that runs already; it becomes the first worker. */
  readonly spareWorker?: SpareWorker | undefined;
  /** Workers kept ready; as many as the node has cpus when absent. */
  readonly prestart?: number;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** A node that its head has accepted. */
export interface RunningDaemon {
  readonly nodeId: NodeId;
  readonly endpoint: Endpoint;
  /** The node's folder, with `daemon.sock`. */
  readonly folder: string;
  /** Resolves with the reason once the node is down: all its processes are dead and its files removed. */
  readonly closed: Promise<string>;
  /** Takes the node down; resolves as `closed` does. */
  close(reason?: string): Promise<void>;
}

const INSTANCE_ID_DIGITS = 16;
/** How often clients collect garbage at most, while the store is full. */
const PRESSURE_INTERVAL_MS = 250;

const systemClock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() };

/**
 * Starts a node of a cluster and resolves when the head has accepted it. Its first workers are starting then.
 * @throws MusterError CONNECTION when the head cannot be reached, AUTHENTICATION when the token is not its, INVALID_ARGUMENT for a
 *   folder or a size of the object store that cannot be
 */
export async function startDaemon(options: DaemonOptions): Promise<RunningDaemon> {
  const daemon = new Daemon(options);
  try {
    await daemon.start();
    return daemon;
  } catch (error) {
    await daemon.close('it could not start');
    throw error;
  }
}

class Daemon implements RunningDaemon {
  readonly nodeId: NodeId;
  readonly closed: Promise<string>;
  readonly #options: DaemonOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #folder: NodeFolder;
  readonly #arena: Arena;
  readonly #storeBytes: number;
  readonly #board: ProgressBoard;
  readonly #store: ObjectStore;
  readonly #service: StoreService;
  readonly #server: RpcServer;
  readonly #peers: Peers;
  readonly #processes: Processes;
  readonly #head: HeadConnection;
  readonly #events: DaemonEvent[] = [];
  #machine: DaemonMachine | null = null;
  #endpoint: Endpoint;
  #isStepping = false;
  #timer: NodeJS.Timeout | undefined;
  /** While somebody waits for room in the store, clients are asked to drop what only their garbage holds. */
  #pressure: NodeJS.Timeout | undefined;
  #isDown = false;
  #resolveClosed!: (reason: string) => void;
  #onRegistered: () => void = () => {};
  #onRefused: (failure: MusterError) => void = () => {};

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.nodeId = options.nodeId ?? newId('node', options.random ?? systemRandom);
    this.closed = new Promise((resolve) => { this.#resolveClosed = resolve; });
    this.#clock = options.clock ?? systemClock;
    const sweptNodeIds = sweepDeadNodes(options.home);
    this.#folder = new NodeFolder(options.home, this.nodeId);
    this.#endpoint = { nodeId: this.nodeId, unixPath: this.#folder.daemonSocketPath, host: '', port: 0 };
    this.#logger = options.logger;
    if (sweptNodeIds.length > 0) this.#logger.info('dead-nodes-swept', { nodeIds: sweptNodeIds });
    try {
      this.#arena = createArena(this.#folder.arenaPath, options.objectStoreBytes ?? defaultObjectStoreBytes());
      this.#storeBytes = this.#arena.sizeBytes - SEGMENT_BYTES;
      this.#board = new ProgressBoard(this.#arena, this.#storeBytes);
    } catch (error) {
      this.#folder.remove();
      throw error;
    }
    this.#peers = new Peers({ nodeId: this.nodeId, token: options.token, logger: this.#logger });
    this.#store = this.#makeStore();
    this.#service = this.#makeService();
    this.#server = new RpcServer({ token: options.token, self: `the daemon of ${this.nodeId}`, handlers: this.#service.handlers() });
    this.#processes = this.#makeProcesses();
    this.#head = new HeadConnection({
      target: options.headTarget, token: options.token,
      onMessage: (message) => this.#dispatch({ type: 'headMessage', message }),
      onEnd: (failure) => this.#dispatch({ type: 'headEnded', failure }),
    });
  }

  get endpoint(): Endpoint {
    return this.#endpoint;
  }

  get folder(): string {
    return this.#folder.path;
  }

  async start(): Promise<void> {
    const { host, port } = this.#options;
    await this.#server.listenUnix(this.#folder.daemonSocketPath);
    if (host !== undefined) this.#endpoint = { ...this.#endpoint, host, port: await this.#server.listenTcp(host, port ?? 0) };
    await this.#board.ready;
    this.#machine = this.#makeMachine();
    const registered = new Promise<void>((resolve, reject) => {
      this.#onRegistered = resolve;
      this.#onRefused = reject;
    });
    this.#dispatch({ type: 'start' });
    await registered;
    this.#publish();
    this.#pressure = setInterval(() => { if (this.#store.stats().waitingCount > 0) this.#service.collectGarbage(); }, PRESSURE_INTERVAL_MS).unref();
    this.#logger.info('node-started', { nodeId: this.nodeId, endpoint: this.#endpoint, objectStoreBytes: this.#storeBytes });
  }

  async close(reason = 'the daemon was told to stop'): Promise<void> {
    if (this.#machine) this.#dispatch({ type: 'shutdown', reason });
    else await this.#takeDown(reason);
    await this.closed;
  }

  /** Events that come up while effects are carried out wait for their turn, so that effects keep their order. */
  #dispatch(event: DaemonEvent): void {
    this.#events.push(event);
    if (this.#isStepping || !this.#machine) return;
    this.#isStepping = true;
    try {
      for (let next = this.#events.shift(); next; next = this.#events.shift()) {
        for (const effect of this.#machine.step(next, this.#clock.nowMs())) this.#carryOut(effect);
      }
    } finally {
      this.#isStepping = false;
    }
  }

  #carryOut(effect: DaemonEffect): void {
    switch (effect.type) {
      case 'connectHead': return this.#head.connect();
      case 'disconnectHead': return effect.isGoodbye ? this.#head.sayGoodbye() : this.#head.disconnect();
      case 'send': return this.#head.send(effect.message);
      case 'registered': return this.#onRegistered();
      case 'spawnWorker': return this.#processes.startWorker(effect.workerId);
      case 'killWorker': return this.#processes.signal(effect.workerId, 'SIGKILL');
      case 'commandWorker': return this.#service.command(effect.workerId, effect.command);
      case 'startJobProcess': return this.#processes.startJob(effect);
      case 'signalJobProcess': return this.#processes.signal(effect.jobId, effect.signal);
      case 'drainOutput':
        void this.#processes.drained(effect.workerIds).then(() => this.#dispatch({ type: 'outputDrained', jobId: effect.jobId }));
        return;
      case 'freeOwners': return this.#store.ownersEnded(effect.ownerKeys);
      case 'peerNodes': return this.#peers.update(effect);
      case 'readLogs': return void this.#answerWithLogs(effect);
      case 'wake': return this.#wake(effect.atMs);
      case 'log': return this.#logger[effect.level](effect.event, { nodeId: this.nodeId, ...effect.fields });
      case 'stop':
        if (effect.failure) this.#onRefused(effect.failure);
        else this.#onRefused(makeError('CONNECTION', { what: `the node ${this.nodeId}`, cause: effect.reason }));
        return void this.#takeDown(effect.failure ? `${effect.reason}: ${effect.failure.message}` : effect.reason);
    }
  }

  #wake(atMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#dispatch({ type: 'tick' }), Math.max(0, atMs - this.#clock.nowMs()));
  }

  async #answerWithLogs({ requestId, question, logIds }: DaemonEffect & { type: 'readLogs' }): Promise<void> {
    try {
      await this.#processes.written(logIds);
      const json = JSON.stringify(await readLogs(this.#folder.logPath, logIds, question));
      this.#head.send({ type: 'nodeReply', requestId, failure: null, json });
    } catch (error) {
      this.#head.send({ type: 'nodeReply', requestId, failure: failureToMessage(error), json: '' });
    }
  }

  /** All processes are dead: closes the rest and removes the files. */
  async #takeDown(reason: string): Promise<void> {
    if (this.#isDown) return;
    this.#isDown = true;
    clearInterval(this.#pressure);
    clearTimeout(this.#timer);
    try {
      await this.#head.close();
      this.#server.close();
      this.#peers.close();
      await this.#store.close();
      this.#processes.close();
      this.#arena.close();
      this.#folder.remove();
      await sweepDeadDrivers(this.#options.home); // a cluster that ends because its driver was killed leaves nothing of it
      this.#logger.info('node-stopped', { nodeId: this.nodeId, reason });
    } catch (error) {
      this.#logger.error('node-left-files', { nodeId: this.nodeId, cause: (error as Error).message }); // the next node sweeps them
    } finally {
      this.#resolveClosed(reason);
    }
  }

  #publish(): void {
    const { headTarget, headAddress, isHead, tokenFile } = this.#options;
    this.#folder.publish({
      nodeId: this.nodeId, pid: process.pid, isHead: isHead ?? false, headAddress: headAddress ?? headTarget, daemonUnixPath: this.#folder.daemonSocketPath,
      arenaPath: this.#folder.arenaPath, tokenFile, startedAt: new Date(this.#clock.wallMs()).toISOString(),
    });
  }

  #makeMachine(): DaemonMachine {
    const { resources, labels, isHead, prestart, random } = this.#options;
    const cpus = Math.ceil((resources['cpu'] ?? 0) / RESOURCE_SCALE);
    const parallelism = availableParallelism();
    return new DaemonMachine({
      nodeId: this.nodeId, instanceId: (random ?? systemRandom).hex(INSTANCE_ID_DIGITS), endpoint: this.#endpoint, hostname: hostname(), pid: process.pid, resources, labels: labels ?? {},
      objectStoreBytes: this.#storeBytes, isHeadNode: isHead ?? false, gpuIds: visibleGpuIds(Math.floor((resources['gpu'] ?? 0) / RESOURCE_SCALE)),
      prestartCount: prestart ?? Math.min(cpus, parallelism), startingMax: Math.max(2, parallelism),
      random: random ?? systemRandom, store: this.#store,
    });
  }

  #makeStore(): ObjectStore {
    return new ObjectStore({
      nodeId: this.nodeId, totalBytes: this.#storeBytes, segmentBytes: SEGMENT_BYTES, memory: this.#arena, files: new SpillFolder(this.#folder.spillPath),
      surroundings: {
        clock: this.#clock,
        pull: (pull, write) => this.#peers.pull(pull, write),
        forwardFree: (nodeId, location, objectIds) => this.#peers.free(nodeId, location, objectIds),
        log: (level, event, fields) => this.#logger[level](event, fields),
      },
    });
  }

  #makeService(): StoreService {
    return new StoreService({
      nodeId: this.nodeId, arenaPath: this.#folder.arenaPath, arenaBytes: this.#storeBytes, endpoint: () => this.#endpoint, store: this.#store,
      onConnected: (processId, endpoint) => this.#dispatch({ type: 'workerReady', workerId: processId, endpoint: { ...endpoint, nodeId: this.nodeId } }),
      onDisconnected: (processId) => this.#dispatch({ type: 'workerDisconnected', workerId: processId }),
      onNeeded: (processId, isNeeded) => this.#dispatch({ type: 'workerNeeded', workerId: processId, isNeeded }),
    });
  }

  #makeProcesses(): Processes {
    const { token, headTarget, host, workerEntry, workerExecArgv, spareWorker } = this.#options;
    return new Processes({
      logFolder: this.#folder.logPath, workerEntry, workerExecArgv: workerExecArgv ?? [], spareWorker: spareWorker ?? null, logger: this.#logger,
      workerLine: (workerId) => ({
        workerId: workerId as ProcessId, nodeId: this.nodeId, token, daemonUnixPath: this.#folder.daemonSocketPath, headTarget, nodeFolder: this.#folder.path, host: host ?? '',
        arenaPath: this.#folder.arenaPath, progressOffset: this.#board.take(workerId),
      }),
      progressOf: (workerId) => (this.#isDown ? undefined : this.#board.end(workerId)), // one that outlived the daemon's patience
      onEvent: (event) => this.#dispatch(event),
    });
  }
}

/** The ids of this node's GPUs: those that CUDA_VISIBLE_DEVICES leaves to this process, if it names enough of them by number. */
export function visibleGpuIds(count: number, visibleDevices = process.env['CUDA_VISIBLE_DEVICES']): number[] {
  const named = (visibleDevices ?? '').split(',').map((id) => id.trim()).filter((id) => /^\d+$/.test(id)).map(Number);
  return named.length >= count ? named.slice(0, count) : Array.from({ length: count }, (_, index) => index);
}
