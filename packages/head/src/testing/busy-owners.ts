/**
 * Owners that always have more tasks than they get leases for, or want placement groups, on daemons that do as they are told. Everybody keeps the rules: a
 * lease that is asked back is returned when its task is over. For measuring who gets how much, and who waits how long.
 */
import { seededRandom, type ResourceSet } from '@muster/base';
import { resourcesToMessage, type ClientToHead, type Demand, type HeadToClient, type HeadToNode, type NodeToHead } from '@muster/protocol';
import { HeadMachine } from '../machine/head-machine.js';
import { TICK_MS, type HeadEvent } from '../machine/messages.js';
import { PLAIN_QUEUE } from '../machine/queues.js';

const HEARTBEAT_MS = 500;
const SETTINGS = { clusterId: 'cluster-1', heartbeatIntervalMs: HEARTBEAT_MS, nodeTimeoutMs: 5_000, lostNodeGraceMs: 30_000, address: '', tokenFile: '', queues: [{ ...PLAIN_QUEUE, name: 'default', gracePeriodMs: 1_000, isDefault: true }] };
/** How long a message takes. */
const DELAY_MS = 1;
const WORKER_START_MS = 20;
const GROUP_PAUSE_MS = 10;

/** What one owner does all the time. */
export interface OwnerSpec {
  readonly resources: ResourceSet;
  /** Infinity: it does not heed anything. */
  readonly taskMs: number;
  /** When it begins. */
  readonly fromMs: number;
  /** How many leases it wants; 100 unless told. */
  readonly count?: number;
  /** 0 unless told. */
  readonly priority?: number;
  /** It wants placement groups of so many bundles of these resources, one after the other. */
  readonly bundles?: number;
  /** It waits for so long, then for as long wants nothing, and begins anew. It always waits unless told. */
  readonly patienceMs?: number;
}

/** What it got. */
export interface OwnerRecord {
  /** How many leases or groups it holds. */
  held: number;
  tasks: number;
  /** The longest time without a lease, while it wanted some. */
  longestWaitMs: number;
  waitingSinceMs: number;
}

/** What an owner does and hears. */
interface Behaviour {
  readonly begin: () => void;
  readonly receive: (message: HeadToClient) => void;
}

/** Runs in virtual time, a millisecond a round. */
export class BusyOwners {
  readonly owners: OwnerRecord[] = [];
  readonly #machine = new HeadMachine(SETTINGS, seededRandom(1), 0);
  /** What happens when; in order of time, then of insertion. */
  readonly #agenda = new Map<number, (() => void)[]>();
  readonly #receivers = new Map<number, (message: HeadToNode | HeadToClient) => void>();
  #nowMs = 0;
  #streams = 0;
  #workers = 0;

  constructor(nodes: readonly ResourceSet[], owners: readonly OwnerSpec[]) {
    nodes.forEach((resources, index) => this.#addNode(`node-${index}`, resources));
    owners.forEach((spec, index) => this.#at(spec.fromMs, () => this.#addOwner(index, spec)));
  }

  runUntil(untilMs: number): void {
    for (; this.#nowMs < untilMs; this.#nowMs++) {
      if (this.#nowMs % TICK_MS === 0) this.#step({ type: 'tick' });
      for (const action of this.#agenda.get(this.#nowMs) ?? []) action();
      this.#agenda.delete(this.#nowMs);
    }
    for (const owner of this.owners) if (owner.held === 0) owner.longestWaitMs = Math.max(owner.longestWaitMs, this.#nowMs - owner.waitingSinceMs);
  }

  #at(timeMs: number, action: () => void): void {
    const actions = this.#agenda.get(timeMs);
    if (actions === undefined) this.#agenda.set(timeMs, [action]);
    else actions.push(action);
  }

  #after(delayMs: number, action: () => void): void {
    this.#at(this.#nowMs + delayMs, action);
  }

  #step(event: HeadEvent): void {
    for (const effect of this.#machine.step(event, this.#nowMs)) {
      if (effect.type === 'sendToNode' || effect.type === 'sendToClient') this.#after(DELAY_MS, () => this.#receivers.get(effect.stream)!(effect.message));
    }
  }

  #open(kind: 'node' | 'client', receive: (message: never) => void): number {
    const stream = ++this.#streams;
    this.#receivers.set(stream, receive as (message: HeadToNode | HeadToClient) => void);
    this.#step({ type: kind === 'node' ? 'nodeOpened' : 'clientOpened', stream });
    return stream;
  }

  #addNode(nodeId: string, resources: ResourceSet): void {
    const send = (message: NodeToHead): void => this.#after(DELAY_MS, () => this.#step({ type: 'nodeMessage', stream, message }));
    const stream = this.#open('node', (message: HeadToNode) => {
      if (message.type === 'startLease') {
        const workerId = `worker-${++this.#workers}`;
        this.#after(WORKER_START_MS, () => send({ type: 'leaseStarted', leaseId: message.leaseId, workerId, pid: 1, endpoint: null }));
      }
      if (message.type === 'endLease') send({ type: 'leaseEnded', leaseId: message.leaseId, cause: null });
      if (message.type === 'prepareBundles') send({ type: 'bundlesPrepared', groupId: message.groupId, epoch: message.epoch, failure: null });
      if (message.type === 'returnBundles') send({ type: 'bundlesReturned', groupId: message.groupId, epoch: message.epoch });
    });
    send({
      type: 'registerNode', nodeId, instanceId: nodeId, endpoint: null, hostname: nodeId, pid: 1, resources: resourcesToMessage(resources), labels: {},
      objectStoreBytes: 0, isHeadNode: false,
    });
    const beat = (): void => {
      send({ type: 'heartbeat', sequence: 0, objectStoreUsedBytes: 0, spilledBytes: 0, objectCount: 0, workerCount: 0 });
      this.#after(HEARTBEAT_MS, beat);
    };
    this.#after(DELAY_MS + 1, beat);
  }

  #addOwner(index: number, spec: OwnerSpec): void {
    const record: OwnerRecord = { held: 0, tasks: 0, longestWaitMs: 0, waitingSinceMs: this.#nowMs };
    this.owners.push(record);
    const send = (message: ClientToHead): void => this.#after(DELAY_MS, () => this.#step({ type: 'clientMessage', stream, message }));
    const { begin, receive } = spec.bundles === undefined ? this.#wantsLeases(spec, record, send) : this.#wantsGroups(`pg-${index}`, spec, record, send);
    const stream = this.#open('client', receive);
    send({ type: 'clientHello', processId: `driver-${index}`, jobId: '', isDriver: true, nodeId: '', pid: 1, endpoint: null, entrypoint: '', wantLogs: false, queue: '', priority: spec.priority ?? 0 });
    begin();
  }

  #got(record: OwnerRecord): void {
    if (record.held++ === 0) record.longestWaitMs = Math.max(record.longestWaitMs, this.#nowMs - record.waitingSinceMs);
  }

  #hasLost(record: OwnerRecord): void {
    if (--record.held === 0) record.waitingSinceMs = this.#nowMs;
  }

  #wantsLeases(spec: OwnerSpec, record: OwnerRecord, send: (message: ClientToHead) => void): Behaviour {
    const reclaimed = new Set<string>();
    const lost = new Set<string>();
    const runTask = (leaseId: string): void => this.#after(spec.taskMs, () => {
      if (lost.delete(leaseId)) return;
      record.tasks++;
      if (!reclaimed.delete(leaseId)) return runTask(leaseId);
      this.#hasLost(record);
      send({ type: 'leaseReturn', leaseId, killWorker: false, reason: '' });
    });
    const demand = demandOf(spec);
    const ask = (count: number): void => send({ type: 'leaseDemand', demandId: 1, demand, count, name: '', preferredNodeIds: [] });
    const begin = (): void => {
      ask(spec.count ?? 100);
      if (spec.patienceMs === undefined) return;
      this.#after(spec.patienceMs, () => ask(record.held));
      this.#after(2 * spec.patienceMs, begin);
    };
    return { begin, receive: (message) => {
      if (message.type === 'leaseReclaim') reclaimed.add(message.leaseId);
      if (message.type === 'leaseLost') {
        lost.add(message.leaseId);
        this.#hasLost(record);
      }
      if (message.type !== 'leaseGranted') return;
      this.#got(record);
      runTask(message.leaseId);
    } };
  }

  /** One group after the other, each for the time of a task. */
  #wantsGroups(prefix: string, spec: OwnerSpec, record: OwnerRecord, send: (message: ClientToHead) => void): Behaviour {
    const bundles = Array.from({ length: spec.bundles! }, () => demandOf(spec));
    let count = 0;
    const idOf = (number: number): string => `${prefix}-${number}`;
    const endOf = (number: number, pauseMs: number): void => {
      send({ type: 'removeGroup', groupId: idOf(number) });
      this.#after(pauseMs, begin);
    };
    const begin = (): void => {
      const number = ++count;
      if (record.held === 0) record.waitingSinceMs = this.#nowMs;
      send({ type: 'createGroup', groupId: idOf(number), name: '', bundles, strategy: 'pack', topology: [], waitForNodes: false });
      if (spec.patienceMs !== undefined) this.#after(spec.patienceMs, () => { if (count === number && record.held === 0) endOf(number, spec.patienceMs!); });
    };
    return { begin, receive: (message) => {
      if (message.type !== 'groupState' || message.groupId !== idOf(count)) return;
      const isThere = message.state === 'created';
      if (isThere === (record.held > 0)) return;
      if (!isThere) return this.#hasLost(record); // it waits for another place
      this.#got(record);
      const number = count;
      this.#after(spec.taskMs, () => {
        if (count !== number || record.held === 0) return;
        record.tasks++;
        this.#hasLost(record);
        endOf(number, GROUP_PAUSE_MS);
      });
    } };
  }
}

const demandOf = ({ resources }: OwnerSpec): Demand => ({ resources: resourcesToMessage(resources), placement: null, expectedDurationMs: 0, waitForNodes: false });
