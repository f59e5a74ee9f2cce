/**
 * A head among daemons, drivers and workers that do everything they may, at random: work, die, break off and come back, repeat
 * themselves and answer late. Each stream keeps its order, a break loses what is under way. One seed gives one history.
 */
import { NODE_LABEL, RESOURCE_SCALE, seededRandom, type Random } from '@muster/base';
import { deathToMessage, NO_PLACEMENT, type BundleRef, type ClientToHead, type Demand, type LabelTerm, type HeadToClient, type HeadToNode, type NodeToHead } from '@muster/protocol';
import { HeadMachine } from '../machine/head-machine.js';
import type { HeadEffect, HeadEvent } from '../machine/messages.js';
import { KnownPeers } from './known-peers.js';
import { PLAIN_QUEUE } from '../machine/queues.js';

const NO_BYTES = new Uint8Array(0);
const CRASH = deathToMessage({ kind: 'signal', signal: 'SIGKILL' });
const STEP_MS = 50;
const HEARTBEAT_MS = 500;
const QUEUES = [{ ...PLAIN_QUEUE, name: 'default', gracePeriodMs: 300, isDefault: true }, { ...PLAIN_QUEUE, name: 'small', weight: 2, quota: { cpu: 3 * RESOURCE_SCALE }, gracePeriodMs: 100 }];
const SETTINGS = { clusterId: 'cluster-1', heartbeatIntervalMs: HEARTBEAT_MS, nodeTimeoutMs: 5_000, lostNodeGraceMs: 30_000, address: '', tokenFile: '', queues: QUEUES };
const MESSAGES_PER_ACT = 9; // enough to keep up with what acts bring about, in the mean

type NodeMessage<Type extends HeadToNode['type']> = Extract<HeadToNode, { type: Type }>;
type ClientMessage<Type extends HeadToClient['type']> = Extract<HeadToClient, { type: Type }>;

/** Messages of one stream, in both directions. */
interface Link<In, Out> {
  readonly stream: number;
  readonly toHead: In[];
  readonly fromHead: Out[];
}

interface Daemon {
  readonly id: string;
  readonly registration: NodeToHead;
  link: Link<NodeToHead, HeadToNode> | null;
  readonly leases: Map<string, { readonly jobId: string; readonly actorId: string; readonly bundle: BundleRef | null; worker: Client | null }>;
  /** Bundles that it keeps, by group and epoch: whether they are committed. */
  readonly bundles: Map<string, boolean>;
  readonly workers: Set<Client>;
  readonly peers: KnownPeers;
}

interface Client {
  readonly id: string;
  readonly daemon: Daemon;
  readonly isDriver: boolean;
  link: Link<ClientToHead, HeadToClient> | null;
  jobId: string;
  readonly leases: Set<string>;
  isBlocked: boolean;
}

/** Finds out what must never happen; see random.test.ts. */
export interface Observer {
  after(event: HeadEvent, effects: readonly HeadEffect[]): void;
  /** A client has been sent this. */
  sent(clientId: string, message: HeadToClient): void;
  /** A client has sent this. */
  told(clientId: string, message: ClientToHead): void;
}

/** One history, which `act` prolongs. */
export class RandomCluster {
  readonly machine: HeadMachine;
  readonly daemons: Daemon[] = [];
  readonly drivers: Client[] = [];
  nowMs = 0;
  readonly #random: Random;
  readonly #observer: Observer;
  readonly #daemonOf = new Map<number, Daemon>();
  readonly #clientOf = new Map<number, Client>();
  #streams = 0;
  #names = 0;
  #actors: string[] = [];
  #groups: string[] = [];
  /** No more mischief: everybody answers and nobody dies. */
  #isCalm = false;

  constructor(seed: number, makeObserver: (machine: HeadMachine) => Observer) {
    this.#random = seededRandom(seed);
    this.machine = new HeadMachine(SETTINGS, this.#random, 0);
    this.#observer = makeObserver(this.machine);
  }

  /** One thing happens somewhere, and a few messages arrive. */
  act(): void {
    this.#mischief();
    for (let count = Math.floor(this.#random.next() * MESSAGES_PER_ACT); count > 0; count--) this.#deliver();
  }

  #mischief(): void {
    const alive = this.daemons.filter((daemon) => daemon.link !== null);
    const roll = this.#random.next();
    if (alive.length < 2 || (roll < 0.01 && alive.length < 5)) return this.#addDaemon();
    if (this.drivers.length < 1 || (roll < 0.03 && this.drivers.length < 6)) return void this.#connectDriver(this.#oneOf(alive));
    if (roll < 0.035) return this.#drain(this.#oneOf(alive));
    if (roll < 0.10) return this.#elapse();
    if (roll < 0.60) return this.#actAsClient(this.#oneOf(this.#clients()));
    if (roll < 0.99) return this.#actAsDaemon(this.#oneOf(alive));
    if (roll < 0.997) return this.#breakOff(this.#oneOf(alive));
    return this.#crash(this.#oneOf(alive));
  }

  #drain(daemon: Daemon): void {
    this.#step({ type: 'query', queryId: 1, request: { what: 'drain', arguments: { id: daemon.id, undo: String(this.#random.next() < 0.7) }, json: '' } });
  }

  /** Everybody leaves, detached actors are killed, and the cluster is given time to settle. */
  calmDown(): void {
    this.#isCalm = true;
    for (const driver of [...this.drivers]) this.#disconnect(driver);
    this.#settle();
    this.#addDaemon();
    this.#settle();
    const undertaker = this.#connectDriver(this.daemons.at(-1)!);
    for (const { id, isDetached } of this.machine.actors.live.values()) {
      if (isDetached) this.#say(undertaker, { type: 'killActor', actorId: id, noRestart: true, incarnation: 0, reason: '' });
    }
    this.#settle();
    this.#disconnect(undertaker);
    for (let round = 0; round < 100; round++) {
      this.#settle();
      this.#elapse();
    }
  }

  #settle(): void {
    const pending = (): boolean => this.#clients().some(({ link }) => link !== null && link.toHead.length + link.fromHead.length > 0)
      || this.daemons.some(({ link }) => link !== null && link.toHead.length + link.fromHead.length > 0);
    while (pending()) this.#deliver();
    for (const daemon of this.daemons) if (daemon.link !== null) this.#startWaiting(daemon);
  }

  #step(event: HeadEvent): void {
    const effects = this.machine.step(event, this.nowMs);
    const consequences = effects.map((effect) => this.#receive(effect));
    this.#observer.after(event, effects);
    for (const consequence of consequences) consequence?.();
  }

  /** Returns what it brings about, which is a step of its own. */
  #receive(effect: HeadEffect): (() => void) | undefined {
    switch (effect.type) {
      case 'sendToNode': this.#daemonOf.get(effect.stream)?.link?.fromHead.push(effect.message); return;
      case 'sendToClient': {
        const client = this.#clientOf.get(effect.stream);
        if (client?.link == null) throw new Error(`${effect.message.type} was sent to a closed stream`);
        this.#observer.sent(client.id, effect.message);
        client.link.fromHead.push(effect.message);
        return;
      }
      case 'closeNode': {
        const daemon = this.#daemonOf.get(effect.stream);
        this.#daemonOf.delete(effect.stream);
        return daemon?.link?.stream === effect.stream ? () => this.#die(daemon) : undefined;
      }
      case 'closeClient': {
        const client = this.#clientOf.get(effect.stream);
        this.#clientOf.delete(effect.stream);
        return client === undefined ? undefined : () => this.#gone(client);
      }
      default: return;
    }
  }

  #elapse(): void {
    const before = this.nowMs;
    this.nowMs += STEP_MS * (1 + Math.floor(this.#random.next() * 6));
    for (const { link } of this.daemons) {
      if (link === null || Math.floor(before / HEARTBEAT_MS) === Math.floor(this.nowMs / HEARTBEAT_MS)) continue;
      link.toHead.push({ type: 'heartbeat', sequence: 0, objectStoreUsedBytes: 0, spilledBytes: 0, objectCount: 0, workerCount: 0 });
    }
    this.#step({ type: 'tick' });
  }

  /** The next message of some stream arrives, perhaps twice. */
  #deliver(): void {
    const links: (() => void)[] = [];
    for (const daemon of this.daemons) {
      if (daemon.link === null) continue;
      const { stream, toHead, fromHead } = daemon.link;
      if (toHead.length > 0) links.push(() => this.#repeatedly(toHead.shift()!, (message) => this.#step({ type: 'nodeMessage', stream, message })));
      if (fromHead.length > 0) links.push(() => this.#repeatedly(fromHead.shift()!, (message) => this.#daemonReceives(daemon, message)));
    }
    for (const client of this.#clients()) {
      const { link } = client;
      if (link !== null && link.toHead.length > 0) links.push(() => {
        const message = link.toHead.shift()!;
        this.#observer.told(client.id, message);
        this.#repeatedly(message, () => this.#step({ type: 'clientMessage', stream: link.stream, message }));
      });
      if (link !== null && link.fromHead.length > 0) links.push(() => this.#clientReceives(client, link.fromHead.shift()!));
    }
    if (links.length > 0) this.#oneOf(links)();
  }

  #repeatedly<Message>(message: Message, deliver: (message: Message) => void): void {
    deliver(message);
    if (this.#random.next() < 0.1) deliver(message);
  }

  // ------------------------------------------------------------------ daemons

  #addDaemon(): void {
    const id = `node-${++this.#names}`;
    const cpus = 1 + Math.floor(this.#random.next() * 4);
    const registration: NodeToHead = {
      type: 'registerNode', nodeId: id, instanceId: id, endpoint: null, hostname: id, pid: 1, resources: { amounts: { cpu: cpus * RESOURCE_SCALE, gpu: 2 * RESOURCE_SCALE } },
      labels: this.#random.next() < 0.5 ? { zone: 'a' } : {}, objectStoreBytes: 0, isHeadNode: this.daemons.length === 0,
    };
    const daemon: Daemon = { id, registration, link: null, leases: new Map(), bundles: new Map(), workers: new Set(), peers: new KnownPeers() };
    this.daemons.push(daemon);
    this.#register(daemon);
  }

  #register(daemon: Daemon): void {
    const stream = ++this.#streams;
    daemon.link = { stream, toHead: [daemon.registration], fromHead: [] };
    this.#daemonOf.set(stream, daemon);
    this.#step({ type: 'nodeOpened', stream });
  }

  /** The stream breaks and all that was under way is lost; the daemon comes back at once. Sometimes the head does not notice. */
  #breakOff(daemon: Daemon): void {
    const { stream } = daemon.link!;
    this.#daemonOf.delete(stream);
    daemon.link = null;
    if (this.#random.next() < 0.5) this.#step({ type: 'nodeClosed', stream, orderly: false });
    this.#register(daemon);
  }

  #crash(daemon: Daemon): void {
    const { stream } = daemon.link!;
    this.#daemonOf.delete(stream);
    this.#die(daemon);
    const how = this.#random.next();
    if (how < 0.7) this.#step({ type: 'nodeClosed', stream, orderly: how < 0.3 });
  }

  /** With its machine. */
  #die(daemon: Daemon): void {
    if (!this.daemons.includes(daemon)) return;
    daemon.link = null;
    this.daemons.splice(this.daemons.indexOf(daemon), 1);
    for (const client of this.#clients()) if (client.daemon === daemon) this.#disconnect(client);
  }

  #daemonReceives(daemon: Daemon, message: HeadToNode): void {
    switch (message.type) {
      case 'nodeRegistered': if (message.failure !== null) this.#die(daemon); return;
      case 'startLease': return this.#startLease(daemon, message);
      case 'endLease': return this.#endLease(daemon, message);
      case 'peerNodes':
        if (!message.complete && !this.#isCalm && this.#random.next() < 0.1) return; // it never arrives, which the next one shows
        if (!daemon.peers.take(message)) this.#report(daemon, { type: 'peersMissed' });
        return;
      case 'prepareBundles': return this.#prepareBundles(daemon, message);
      case 'commitBundles': {
        if (!daemon.bundles.has(keyOf(message))) throw new Error(`${daemon.id} was told to commit bundles of ${message.groupId} that it does not keep`);
        daemon.bundles.set(keyOf(message), true);
        return;
      }
      case 'returnBundles': return this.#returnBundles(daemon, message);
      case 'killWorker': for (const worker of daemon.workers) if (worker.id === message.workerId) this.#killWorker(worker); return;
      case 'flushLogs': if (this.#isCalm || this.#random.next() < 0.8) this.#report(daemon, { type: 'logsFlushed', jobId: message.jobId }); return;
      case 'endJobOnNode': for (const worker of [...daemon.workers]) if (worker.jobId === message.jobId) this.#killWorker(worker); return;
      default:
    }
  }

  #startLease(daemon: Daemon, message: NodeMessage<'startLease'>): void {
    const known = daemon.leases.get(message.leaseId);
    const { jobId, actorId, bundle } = message;
    if (bundle !== null && daemon.bundles.get(keyOf(bundle)) !== true) throw new Error(`${message.leaseId} is in a bundle of ${bundle.groupId} that ${daemon.id} has not committed`);
    if (known === undefined) daemon.leases.set(message.leaseId, { jobId, actorId, bundle, worker: null });
    else if (known.worker !== null) this.#reportStarted(daemon, message.leaseId, known.worker);
  }

  #prepareBundles(daemon: Daemon, message: NodeMessage<'prepareBundles'>): void {
    const { groupId, epoch } = message;
    const isRefused = !this.#isCalm && !daemon.bundles.has(keyOf(message)) && this.#random.next() < 0.1;
    if (!isRefused && !daemon.bundles.has(keyOf(message))) daemon.bundles.set(keyOf(message), message.commit);
    this.#report(daemon, { type: 'bundlesPrepared', groupId, epoch, failure: isRefused ? { code: 'UNSCHEDULABLE', details: { reasons: 'no luck' } } : null });
  }

  #returnBundles(daemon: Daemon, message: NodeMessage<'returnBundles'>): void {
    const { groupId, epoch } = message;
    for (const [leaseId, { bundle }] of daemon.leases) {
      if (bundle !== null && keyOf(bundle) === keyOf(message)) this.#endLease(daemon, { type: 'endLease', leaseId, kill: true, reason: '' });
    }
    daemon.bundles.delete(keyOf(message));
    this.#report(daemon, { type: 'bundlesReturned', groupId, epoch });
  }

  #endLease(daemon: Daemon, message: NodeMessage<'endLease'>): void {
    const worker = daemon.leases.get(message.leaseId)?.worker ?? null;
    daemon.leases.delete(message.leaseId);
    this.#report(daemon, { type: 'leaseEnded', leaseId: message.leaseId, cause: null });
    if (worker !== null && message.kill) this.#killWorker(worker);
  }

  #actAsDaemon(daemon: Daemon): void {
    if (this.#random.next() < 0.98) return this.#startWaiting(daemon);
    const worker = [...daemon.workers][Math.floor(this.#random.next() * daemon.workers.size)];
    if (worker !== undefined) this.#killWorker(worker);
  }

  /** Gives workers to the leases that wait for one. */
  #startWaiting(daemon: Daemon): void {
    for (const [leaseId, lease] of daemon.leases) {
      if (lease.worker !== null) continue;
      if (!this.#isCalm && this.#random.next() < 0.1) {
        daemon.leases.delete(leaseId);
        this.#report(daemon, { type: 'leaseFailed', leaseId, cause: deathToMessage({ kind: 'start-failed', detail: 'no luck' }) });
        continue;
      }
      const busy = new Set([...daemon.leases.values()].map(({ worker }) => worker));
      const idle = lease.actorId !== '' ? undefined : [...daemon.workers].find((worker) => worker.jobId === lease.jobId && !busy.has(worker));
      lease.worker = idle ?? this.#spawn(daemon, lease.jobId);
      this.#reportStarted(daemon, leaseId, lease.worker);
    }
  }

  #spawn(daemon: Daemon, jobId: string): Client {
    const worker = this.#makeClient('worker', daemon, jobId);
    daemon.workers.add(worker);
    this.#report(daemon, { type: 'workerStarted', workerId: worker.id, pid: 1 });
    this.#connect(worker);
    return worker;
  }

  #killWorker(worker: Client): void {
    const { daemon } = worker;
    if (!daemon.workers.delete(worker)) return;
    for (const [leaseId, lease] of daemon.leases) {
      if (lease.worker !== worker) continue;
      daemon.leases.delete(leaseId);
      this.#report(daemon, { type: 'leaseEnded', leaseId, cause: CRASH });
    }
    if (this.#random.next() < 0.9) this.#report(daemon, { type: 'workerExited', workerId: worker.id, cause: CRASH });
    this.#disconnect(worker);
  }

  #reportStarted(daemon: Daemon, leaseId: string, worker: Client): void {
    this.#report(daemon, { type: 'leaseStarted', leaseId, workerId: worker.id, pid: 1, endpoint: null });
  }

  #report(daemon: Daemon, message: NodeToHead): void {
    daemon.link?.toHead.push(message);
  }

  // ------------------------------------------------------------------ clients

  #clients(): Client[] {
    return [...this.drivers, ...this.daemons.flatMap((daemon) => [...daemon.workers])];
  }

  #connectDriver(daemon: Daemon): Client {
    const driver = this.#makeClient('driver', daemon, '');
    this.drivers.push(driver);
    this.#connect(driver);
    return driver;
  }

  #makeClient(kind: 'driver' | 'worker', daemon: Daemon, jobId: string): Client {
    return { id: `${kind}-${++this.#names}`, daemon, isDriver: kind === 'driver', link: null, jobId, leases: new Set(), isBlocked: false };
  }

  #connect(client: Client): void {
    const stream = ++this.#streams;
    client.link = { stream, toHead: [], fromHead: [] };
    this.#clientOf.set(stream, client);
    this.#step({ type: 'clientOpened', stream });
    this.#say(client, {
      type: 'clientHello', processId: client.id, jobId: '', isDriver: client.isDriver, nodeId: client.daemon.id, pid: 1, endpoint: null,
      entrypoint: '', wantLogs: true, queue: client.isDriver ? this.#oneOf(['', 'small']) : '', priority: client.isDriver ? this.#oneOf([0, 0, 1, 2]) : 0,
    });
  }

  #disconnect(client: Client): void {
    if (client.link === null) return;
    const { stream } = client.link;
    this.#clientOf.delete(stream);
    this.#gone(client);
    this.#step({ type: 'clientClosed', stream });
  }

  #gone(client: Client): void {
    if (client.link === null) return;
    client.link = null;
    if (client.isDriver) this.drivers.splice(this.drivers.indexOf(client), 1);
    else if (client.daemon.link !== null) this.#killWorker(client);
  }

  #say(client: Client, message: ClientToHead): void {
    client.link?.toHead.push(message);
  }

  #clientReceives(client: Client, message: HeadToClient): void {
    switch (message.type) {
      case 'welcome': if (message.failure === null) client.jobId ||= message.jobId; else this.#disconnect(client); return;
      case 'leaseGranted': client.leases.add(message.leaseId); return;
      case 'leaseLost': client.leases.delete(message.leaseId); return;
      case 'leaseReclaim': return this.#return(client, message.leaseId);
      case 'startActor': return this.#construct(client, message);
      default:
    }
  }

  #return(client: Client, leaseId: string): void {
    if (client.leases.delete(leaseId)) this.#say(client, { type: 'leaseReturn', leaseId, killWorker: this.#random.next() < 0.1, reason: '' });
  }

  #construct(worker: Client, { actorId, incarnation }: ClientMessage<'startActor'>): void {
    if (this.#isCalm || this.#random.next() < 0.8) this.#say(worker, { type: 'actorStarted', actorId, incarnation });
    else this.#say(worker, { type: 'actorStartFailed', actorId, incarnation, error: NO_BYTES });
  }

  #actAsClient(client: Client): void {
    if (client.jobId === '') return;
    const roll = this.#random.next();
    const actorId = this.#oneOf([...this.#actors, 'actor-none']);
    const lease = [...client.leases][Math.floor(this.#random.next() * client.leases.size)];
    if (roll < 0.32) return this.#demand(client);
    if (roll < 0.5) return lease === undefined ? undefined : this.#return(client, lease);
    if (roll < 0.57) return this.#createActor(client);
    if (roll < 0.71) return this.#actOnGroups(client);
    if (roll < 0.75) return this.#say(client, { type: 'killActor', actorId, noRestart: this.#random.next() < 0.5, incarnation: 0, reason: '' });
    if (roll < 0.78) return this.#say(client, { type: 'getActor', requestId: 1, name: this.#name() });
    if (roll < 0.81) return this.#say(client, { type: 'watchActor', actorId });
    if (roll < 0.84) return this.#say(client, { type: 'watchProcess', processId: this.#oneOf(this.#clients()).id });
    if (roll < 0.95) {
      client.isBlocked = !client.isBlocked;
      return this.#say(client, { type: 'workerBlocked', blocked: client.isBlocked });
    }
    if (!client.isDriver) return;
    if (roll < 0.965) this.#say(client, { type: 'endJob', cause: null });
    else if (roll < 0.98) this.#disconnect(client);
  }

  #demand(client: Client): void {
    const demandId = Math.floor(this.#random.next() * 3);
    const count = Math.floor(this.#random.next() * 5);
    this.#say(client, { type: 'leaseDemand', demandId, demand: this.#randomDemand(), count, name: '', preferredNodeIds: this.#random.next() < 0.2 ? [this.#oneOf(this.daemons).id] : [] });
  }

  #createActor(client: Client): void {
    const repeated = this.#random.next() < 0.1 && this.#actors.length > 0;
    const actorId = repeated ? this.#oneOf(this.#actors) : `actor-${++this.#names}`;
    this.#actors = [...this.#actors, actorId].slice(-20);
    this.#say(client, {
      type: 'createActor', requestId: 1, actorId, name: this.#random.next() < 0.5 ? this.#name() : '', className: 'Counter',
      detached: this.#random.next() < 0.2, getIfExists: this.#random.next() < 0.3, demand: this.#randomDemand(),
      maxRestarts: this.#oneOf([-1, 0, 0, 1, 3]), maxConcurrency: 1, creation: NO_BYTES, maxPendingCalls: 0, interface: NO_BYTES,
    });
  }

  #actOnGroups(client: Client): void {
    const roll = this.#random.next();
    const groupId = this.#oneOf([...this.#groups, 'pg-none']);
    if (roll < 0.15) return this.#say(client, { type: 'removeGroup', groupId });
    if (roll < 0.2) return this.#say(client, { type: 'watchGroup', groupId });
    const newId = roll < 0.3 ? groupId : `pg-${++this.#names}`;
    this.#groups = [...this.#groups, newId].slice(-5);
    const bundles = Array.from({ length: 1 + Math.floor(this.#random.next() * 3) }, (): Demand => ({
      resources: { amounts: { cpu: this.#oneOf([2_500, 5_000, 10_000]), ...(this.#random.next() < 0.3 ? { gpu: this.#oneOf([2_500, 10_000]) } : {}) } },
      placement: NO_PLACEMENT, waitForNodes: false, expectedDurationMs: 0,
    }));
    this.#say(client, {
      type: 'createGroup', groupId: newId, name: '', bundles, strategy: this.#oneOf(['pack', 'spread', 'strict-pack', 'strict-spread']),
      topology: this.#random.next() < 0.1 ? [{ level: 'zone', rule: 'same', max: 0 }] : [], waitForNodes: this.#random.next() < 0.5,
    });
  }

  #name(): string {
    return this.#oneOf(['alpha', 'beta', 'gamma']);
  }

  #randomDemand(): Demand {
    const amounts: Record<string, number> = { cpu: this.#oneOf([0, 2_500, 5_000, 10_000, 20_000, 40_000]) };
    if (this.#random.next() < 0.2) amounts['gpu'] = this.#oneOf([2_500, 6_000, 10_000, 20_000]);
    if (this.#groups.length > 0 && this.#random.next() < 0.3) {
      const placement = { ...NO_PLACEMENT, groupId: this.#oneOf(this.#groups), bundle: Math.floor(this.#random.next() * 3) };
      return { resources: { amounts }, placement, waitForNodes: false, expectedDurationMs: 0 };
    }
    const labels: LabelTerm[] = [];
    const weight = this.#oneOf([0, 0, 10]);
    if (this.#random.next() < 0.1) labels.push({ key: 'zone', operator: this.#oneOf(['in', 'not-in']), values: ['a'], weight });
    if (this.#random.next() < 0.05) labels.push({ key: NODE_LABEL, operator: 'in', values: [this.#oneOf(this.daemons).id], weight });
    const placement = { ...NO_PLACEMENT, spread: this.#random.next() < 0.2, labels };
    return { resources: { amounts }, placement, waitForNodes: this.#random.next() < 0.2, expectedDurationMs: this.#oneOf([0, 0, 500, 5_000]) };
  }

  #oneOf<T>(items: readonly T[]): T {
    return items[Math.floor(this.#random.next() * items.length)]!;
  }
}

const keyOf = ({ groupId, epoch }: { readonly groupId: string; readonly epoch: number }): string => `${groupId} ${epoch}`;
