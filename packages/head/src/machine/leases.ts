/**
 * The leases: each is a share of one node, held for one owner's tasks or for one actor, with a worker behind it.
 *
 *   starting ──leaseStarted──> running ──endLease sent──> ending ──leaseEnded──> gone
 *      └──leaseFailed──> gone     └──leaseEnded, node died──> gone
 *
 * A node's share is taken from the start until the lease is gone. Both requests to a daemon are repeated until they are
 * answered, and all of them when a node returns: the daemon answers again for what it holds. A daemon that had lost the
 * worker meanwhile answers with another one, which is how its loss is found.
 */
import { newId, progressOf, type DeathCause, type LeaseId, type ResourceSet } from '@muster/base';
import { deathFromMessage, resourcesToMessage, type Death, type Endpoint, type LeaseStarted } from '@muster/protocol';
import type { HeadContext } from './context.js';
import type { Demand, Demands } from './demands.js';
import type { Group } from './group.js';
import { LEASE_RESEND_MS } from './limits.js';
import type { Node, Nodes } from './nodes.js';
import type { Place, Pool } from './pool.js';
import type { Queues } from './queues.js';

/** How a lease is brought to its end by the head. */
export interface LeaseEnd {
  /** End the worker's process too. */
  readonly kill: boolean;
  readonly reason: string;
  /** Whether its holder still counts on it, and must hear when it is gone. */
  readonly tell: boolean;
}

/** The right to run on one worker. */
export interface Lease {
  readonly id: LeaseId;
  readonly demand: Demand;
  /** Where it is placed, and what it holds there. Its demand may have gone on to another. */
  readonly pool: Pool;
  readonly place: Place;
  /** What is made on it runs in its placement group, too. */
  readonly capturesChildren: boolean;
  readonly node: Node;
  readonly resources: ResourceSet;
  state: 'starting' | 'running' | 'ending';
  readonly requestedAtMs: number;
  /** When its worker was there; null: not yet. */
  runningSinceMs: number | null;
  /** Whether its owner has been told of it. */
  isGranted: boolean;
  workerId: string;
  pid: number;
  endpoint: Endpoint | null;
  /** Its worker's task waits for other tasks: its cpus are lent out. */
  isBlocked: boolean;
  /** When its owner was last asked to give it back. */
  askedBackAtMs: number | null;
  /** When it was asked for the first time. */
  askedFirstAtMs: number | null;
  /** It was asked for long ago and has not come: its task is a long one, and nobody counts on it any more. */
  isLate: boolean;
  /** Set: its worker was told that others need its room, and why. Whatever ends it now, it was preempted. */
  preemption: string | null;
  end: LeaseEnd | null;
  /** When the daemon was last asked to start or end it. */
  sentAtMs: number;
}

/** Hears what becomes of leases. */
export interface LeaseListener {
  leaseStarted(lease: Lease): void;
  /** The lease is gone, and nobody who holds it wanted that. */
  leaseLost(lease: Lease, cause: DeathCause): void;
}

/** The tables that leases stand in. */
interface LeaseTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
  readonly demands: Demands;
}

/** All leases, from the request to the daemon until they are gone. */
export class Leases {
  readonly byId = new Map<string, Lease>();
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #queues: Queues;
  readonly #demands: Demands;
  readonly #listener: LeaseListener;
  readonly #byWorker = new Map<string, Lease>();
  /** Those that wait for a daemon's answer. */
  readonly #unsettled = new Set<Lease>();

  constructor({ context, nodes, queues, demands }: LeaseTables, listener: LeaseListener) {
    this.#context = context;
    this.#nodes = nodes;
    this.#queues = queues;
    this.#demands = demands;
    this.#listener = listener;
  }

  /** The lease whose worker this is. */
  ofWorker(workerId: string): Lease | undefined {
    return this.#byWorker.get(workerId);
  }

  /** Starts a lease on a row of the demand's pool, which has room for it. */
  start(demand: Demand, row: string): Lease {
    const { pool, request: { resources }, capturesChildren } = demand;
    const place = pool.hold(row, resources);
    const { node } = place;
    const lease: Lease = {
      id: newId('lease', this.#context.random), demand, pool, place, capturesChildren, node, resources, state: 'starting',
      requestedAtMs: this.#context.nowMs, runningSinceMs: null, isGranted: false, workerId: '', pid: 0, endpoint: null,
      isBlocked: false, askedBackAtMs: null, askedFirstAtMs: null, isLate: false, preemption: null, end: null, sentAtMs: 0,
    };
    this.byId.set(lease.id, lease);
    node.leases.add(lease);
    pool.leases.add(lease);
    if (place.bundle === null) this.#queues.hold(demand, resources); // else its placement group holds it
    this.#demands.hold(demand, lease);
    this.#request(lease);
    return lease;
  }

  /**
   * Brings a lease to its end. It counts for its demand no longer, unless its holder still counts on it. Its share of the node
   * is free when the daemon has answered.
   */
  end(lease: Lease, end: LeaseEnd): void {
    const tell = end.tell && (lease.end?.tell ?? true);
    const isKnown = lease.end !== null && (lease.end.kill || !end.kill);
    lease.end = isKnown ? { ...lease.end!, tell } : { ...end, tell };
    lease.state = 'ending';
    if (!tell) this.#demands.release(lease.demand, lease);
    if (!isKnown) this.#request(lease);
  }

  /** A daemon says that the lease has a worker. */
  started(node: Node, message: LeaseStarted): void {
    const lease = this.#ofNode(node, message.leaseId);
    if (lease === null) return this.#nodes.send(node, { type: 'endLease', leaseId: message.leaseId, kill: true, reason: 'the head does not know this lease' });
    if (lease.state === 'ending' || lease.workerId === message.workerId) return;
    if (lease.state === 'running') { // repeated after a break, with another worker: the first one is gone
      return this.end(lease, { kill: true, reason: `its worker ${lease.workerId} ended while ${node.id} was cut off`, tell: true });
    }
    const previous = this.#byWorker.get(message.workerId);
    if (previous !== undefined) this.#lose(previous, { kind: 'killed', reason: 'its worker was given to another lease while its node was cut off' });
    Object.assign(lease, {
      state: 'running', runningSinceMs: this.#context.nowMs, workerId: message.workerId, pid: message.pid, endpoint: message.endpoint,
    } satisfies Partial<Lease>);
    this.#byWorker.set(lease.workerId, lease);
    this.#unsettled.delete(lease);
    this.#demands.startSucceeded(lease.demand);
    this.#listener.leaseStarted(lease);
  }

  /** A daemon says that the lease is over, or never began. */
  ended(node: Node, leaseId: string, cause: Death | null): void {
    const lease = this.#ofNode(node, leaseId);
    if (lease !== null) this.#lose(lease, cause === null ? null : deathFromMessage(cause));
  }

  /** A daemon says that this process has ended. */
  workerExited(workerId: string, cause: DeathCause): void {
    const lease = this.#byWorker.get(workerId);
    if (lease !== undefined) this.#lose(lease, cause);
  }

  nodeLost(node: Node, cause: DeathCause): void {
    for (const lease of [...node.leases]) this.#lose(lease, cause);
  }

  /** Says everything to a node again that it may have missed. */
  repeat(node: Node): void {
    for (const lease of node.leases) this.#request(lease);
  }

  /** The worker's task waits for others, or goes on: its cpus are lent out meanwhile. */
  setBlocked(workerId: string, isBlocked: boolean): void {
    const lease = this.#byWorker.get(workerId);
    if (lease === undefined || lease.state !== 'running' || lease.isBlocked === isBlocked) return;
    lease.isBlocked = isBlocked;
    const cpu = lease.resources['cpu'];
    if (cpu === undefined) return;
    if (lease.place.bundle === null) this.#queues.lend(lease.demand, { cpu }, isBlocked ? 1 : -1);
    lease.pool.lend(lease.place, { cpu }, isBlocked ? 1 : -1);
  }

  /** Repeats what has not been answered for long. */
  tick(): void {
    for (const lease of this.#unsettled) if (this.#context.nowMs - lease.sentAtMs >= LEASE_RESEND_MS) this.#request(lease);
  }

  #ofNode(node: Node, leaseId: string): Lease | null {
    const lease = this.byId.get(leaseId);
    return lease?.node === node ? lease : null;
  }

  #request(lease: Lease): void {
    lease.sentAtMs = this.#context.nowMs;
    if (lease.state !== 'running') this.#unsettled.add(lease);
    const { end, demand, place: { gpuIds, bundle }, capturesChildren } = lease;
    this.#nodes.send(lease.node, end !== null
      ? { type: 'endLease', leaseId: lease.id, kill: end.kill, reason: end.reason }
      : {
        type: 'startLease', leaseId: lease.id, jobId: demand.jobId, resources: resourcesToMessage(lease.resources),
        actorId: demand.actorId, name: demand.actorId === '' ? '' : demand.name, gpuIds,
        bundle: bundle && { ...bundle, capturesChildren },
      });
  }

  #lose(lease: Lease, cause: DeathCause | null): void {
    this.byId.delete(lease.id);
    this.#unsettled.delete(lease);
    if (this.#byWorker.get(lease.workerId) === lease) this.#byWorker.delete(lease.workerId);
    lease.node.leases.delete(lease);
    lease.pool.leases.delete(lease);
    if (lease.place.bundle === null) this.#queues.release(lease.demand, taken(lease));
    lease.pool.release(lease.place, taken(lease));
    this.#demands.release(lease.demand, lease);
    if (lease.end !== null && !lease.end.tell) return;
    const isPreempted = lease.preemption !== null && cause?.kind !== 'node-lost';
    const known = isPreempted ? { ...progressOf(cause), kind: 'preempted', reason: lease.preemption! } as const : cause;
    this.#listener.leaseLost(lease, known ?? { kind: 'killed', reason: lease.end?.reason ?? `${lease.node.id} took it back` });
  }
}

/** Whether it will be gone soon, whatever happens: it ends, or it was told that it will be ended. */
export const isLeaving = ({ state, preemption }: Lease | Group): boolean => state === 'ending' || preemption !== null;

/** When its room would be expected back if its owner were asked for it now, by what users have said; Infinity: nobody knows. */
export function endsAtMs(who: Lease | Group, nowMs: number): number {
  if (!('place' in who)) return who.createdAtMs + (who.expectedDurationMs ?? Infinity);
  const { demand, askedFirstAtMs, runningSinceMs } = who;
  const sinceMs = demand.actorId !== '' ? (runningSinceMs ?? nowMs) : (askedFirstAtMs ?? nowMs);
  return sinceMs + (demand.expectedDurationMs ?? Infinity);
}

/** What a lease holds of its node at this moment. */
export function taken(lease: Lease): ResourceSet {
  if (!lease.isBlocked) return lease.resources;
  const { cpu: _lent, ...rest } = lease.resources;
  return rest;
}
