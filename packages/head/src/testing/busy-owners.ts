/**
 * Owners that always have more tasks than they get leases for, on daemons that do as they are told. Everybody keeps the rules: a
 * lease that is asked back is returned when its task is over. For measuring who gets how much, and who waits how long.
 */
import { seededRandom, type ResourceSet } from '@muster/base';
import { resourcesToMessage, type ClientToHead, type HeadToClient, type HeadToNode, type NodeToHead } from '@muster/protocol';
import { HeadMachine } from '../machine/head-machine.js';
import { TICK_MS, type HeadEvent } from '../machine/messages.js';
import { PLAIN_QUEUE } from '../machine/queues.js';

const HEARTBEAT_MS = 500;
const SETTINGS = { clusterId: 'cluster-1', heartbeatIntervalMs: HEARTBEAT_MS, nodeTimeoutMs: 5_000, lostNodeGraceMs: 30_000, address: '', tokenFile: '', queues: [{ ...PLAIN_QUEUE, name: 'default', gracePeriodMs: 1_000, isDefault: true }] };
/** How long a message takes. */
const DELAY_MS = 1;
const WORKER_START_MS = 20;

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
  /** It waits for so long, then for as long wants nothing, and begins anew. It always waits unless told. */
  readonly patienceMs?: number;
}

/** What it got. */
export interface OwnerRecord {
  /** How many leases it holds. */
  held: number;
  tasks: number;
  /** The longest time without a lease, while it wanted some. */
  longestWaitMs: number;
  waitingSinceMs: number;
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
    const reclaimed = new Set<string>();
    const lost = new Set<string>();
    const send = (message: ClientToHead): void => this.#after(DELAY_MS, () => this.#step({ type: 'clientMessage', stream, message }));
    const over = (): void => { if (--record.held === 0) record.waitingSinceMs = this.#nowMs; };
    const runTask = (leaseId: string): void => this.#after(spec.taskMs, () => {
      if (lost.delete(leaseId)) return;
      record.tasks++;
      if (!reclaimed.delete(leaseId)) return runTask(leaseId);
      over();
      send({ type: 'leaseReturn', leaseId, killWorker: false, reason: '' });
    });
    const stream = this.#open('client', (message: HeadToClient) => {
      if (message.type === 'leaseReclaim') reclaimed.add(message.leaseId);
      if (message.type === 'leaseLost') {
        lost.add(message.leaseId);
        over();
      }
      if (message.type !== 'leaseGranted') return;
      if (record.held++ === 0) record.longestWaitMs = Math.max(record.longestWaitMs, this.#nowMs - record.waitingSinceMs);
      runTask(message.leaseId);
    });
    send({ type: 'clientHello', processId: `driver-${index}`, jobId: '', isDriver: true, nodeId: '', pid: 1, endpoint: null, entrypoint: '', wantLogs: false, queue: '', priority: spec.priority ?? 0 });
    const demand = { resources: resourcesToMessage(spec.resources), placement: null, expectedDurationMs: 0, waitForNodes: false };
    const ask = (count: number): void => send({ type: 'leaseDemand', demandId: 1, demand, count, name: '', preferredNodeIds: [] });
    const begin = (): void => {
      ask(spec.count ?? 100);
      if (spec.patienceMs === undefined) return;
      this.#after(spec.patienceMs, () => ask(record.held));
      this.#after(2 * spec.patienceMs, begin);
    };
    begin();
  }
}
