/**
 * What really happened, as nobody in the cluster sees it: which code ran where and how often. The oracle of the simulation. A rule that is
 * broken ends it at once. Every step costs the same, however large the cluster and however long its history.
 */
import { addResources, fits, formatResources, MusterError, RESOURCE_SCALE, subtractResources, type Clock, type ResourceSet } from '@muster/base';
import type { BundleRef, GangMember } from '@muster/protocol';
import { BundleLedger, keyOf } from './bundle-ledger.js';
import type { UserError } from './program.js';
import { TaskBook } from './task-book.js';
import { Usage } from './usage.js';
import { Violation } from './violation.js';

interface ActorRecord {
  readonly maxRestarts: number;
  constructions: number;
}

/** One execution that is going on. */
export interface Execution {
  /** Of the process that submitted the task, and the task's number there. */
  readonly ownerKey: string;
  readonly sequence: number;
  readonly workerId: string;
  readonly nodeId: string;
  readonly leaseId: string;
}

/** What a lease was given, and how much of it is in use. */
interface LeaseRecord {
  readonly resources: ResourceSet;
  /** Whose share it is a part of; null: the node's own. */
  readonly bundle: BundleRef | null;
  gpuIds: readonly number[];
  runningCount: number;
  /** Its tasks have waited for others: its cpus were lent out, and others may have them still. */
  isLent: boolean;
}

/** What runs on a node, but for cpus that were lent out. */
interface NodeRecord {
  readonly total: ResourceSet;
  /** Beside bundles. */
  used: ResourceSet;
  readonly usedOfBundle: Map<string, ResourceSet>;
  /** In units of a GPU, by its number. */
  readonly usedOfGpu: Map<number, number>;
  readonly leases: Map<string, LeaseRecord>;
}

/** The record of one simulation. */
export class Ledger {
  readonly tasks = new TaskBook();
  readonly actors = new Map<string, ActorRecord>();
  readonly #preempted = new Set<string>();
  readonly bundles = new BundleLedger();
  /** By number. */
  readonly running = new Map<number, Execution>();
  /** What all nodes have that live. */
  readonly capacity: Usage;
  /** What runs, with the whole of its leases. */
  readonly usage: Usage;
  readonly #nodes = new Map<string, NodeRecord>();
  /** What each reference's value was found to be. */
  readonly #observations = new Map<string, string>();
  /** The last call of each caller on each incarnation of an actor. */
  readonly #begunCalls = new Map<string, { last: number; readonly sequences: Set<number> }>();
  /** Gang, incarnation and rank of members that have begun. */
  readonly #begunMembers = new Set<string>();
  readonly #restartsAlone = new Set<string>();
  #executionCount = 0;

  constructor(clock: Clock) {
    this.capacity = new Usage(clock);
    this.usage = new Usage(clock);
  }

  // ---------------------------------------------------------------- nodes and leases

  nodeAdded(nodeId: string, total: ResourceSet): void {
    this.#nodes.set(nodeId, { total, used: {}, usedOfBundle: new Map(), usedOfGpu: new Map(), leases: new Map() });
    this.capacity.add(total, 1);
  }

  /** The node and all that ran on it are gone. */
  nodeGone(nodeId: string): void {
    const node = this.#nodes.get(nodeId);
    if (node) this.capacity.add(node.total, -1);
  }

  /** A node is told to start a lease. */
  leaseStarting(leaseId: string, nodeId: string, { resources, bundle }: Pick<LeaseRecord, 'resources' | 'bundle'>): void {
    const { leases } = this.#nodes.get(nodeId)!;
    if (!leases.has(leaseId)) leases.set(leaseId, { resources, bundle, gpuIds: [], runningCount: 0, isLent: false });
  }

  /** A worker is told which GPUs are its lease's. */
  leaseCommanded(leaseId: string, nodeId: string, gpuIds: readonly number[]): void {
    const lease = this.#nodes.get(nodeId)!.leases.get(leaseId)!;
    if (gpuIds.length !== Math.ceil((lease.resources['gpu'] ?? 0) / RESOURCE_SCALE)) throw new Violation(`${leaseId} of ${formatResources(lease.resources)} has the GPUs ${gpuIds.join(', ')}`);
    lease.gpuIds = gpuIds;
  }

  /** The lease's worker has another one, or none, or is dead: nothing begins for this one any more. */
  leaseOver(leaseId: string, nodeId: string): void {
    const leases = this.#nodes.get(nodeId)?.leases;
    if (leases?.get(leaseId)?.runningCount === 0) leases.delete(leaseId);
  }

  // ---------------------------------------------------------------- tasks

  submitted(ownerKey: string, sequence: number, options: { readonly name: string; readonly retries: number }): void {
    this.tasks.add(ownerKey, sequence, options);
  }

  /** A body begins. Returns its number. */
  began(execution: Execution): number {
    const { ownerKey, sequence, workerId } = execution;
    if (!this.tasks.has(ownerKey, sequence)) throw new Violation(`task-${ownerKey}-${sequence} runs on ${workerId}, but nobody submitted it`);
    const { name, retries } = this.tasks.optionsOf(ownerKey, sequence);
    const executions = this.tasks.began(ownerKey, sequence);
    if (executions > 1 + retries) throw new Violation(`task-${ownerKey}-${sequence} (${name}) runs for the ${executions}th time, with ${retries} retries`);
    if (this.#preempted.has(execution.leaseId)) this.tasks.forgive(ownerKey, sequence);
    this.running.set(++this.#executionCount, execution);
    this.#enter(execution);
    return this.#executionCount;
  }

  /** What begins to run has room on its node beside all that runs there and all that groups have there, but for cpus that were lent out. */
  #enter({ nodeId, leaseId }: Execution): void {
    const node = this.#nodes.get(nodeId)!;
    const lease = node.leases.get(leaseId);
    if (!lease || ++lease.runningCount > 1) return;
    this.usage.add(lease.resources, 1);
    if (lease.isLent) return;
    change(node, lease, 1);
    if (lease.bundle !== null) this.bundles.checkUse(nodeId, keyOf(lease.bundle), node.usedOfBundle.get(keyOf(lease.bundle))!);
    const used = addResources(node.used, this.bundles.heldOn(nodeId));
    if (!fits(node.total, used)) throw new Violation(`${nodeId} has ${formatResources(node.total)}, and runs ${running(node)} with ${formatResources(used)}`);
    for (const gpuId of lease.gpuIds) {
      const units = node.usedOfGpu.get(gpuId)!;
      if (units > RESOURCE_SCALE) throw new Violation(`${nodeId} runs ${running(node)} with ${units / RESOURCE_SCALE} of its GPU ${gpuId}`);
    }
  }

  /** The head has told a worker that its lease ends early. */
  preempted(leaseId: string): void {
    this.#preempted.add(leaseId);
    for (const execution of this.running.values()) if (execution.leaseId === leaseId) this.tasks.forgive(execution.ownerKey, execution.sequence);
  }

  /** A body has ended, or its process. */
  ended(number: number): void {
    const execution = this.running.get(number);
    if (!execution) return;
    this.running.delete(number);
    const node = this.#nodes.get(execution.nodeId)!;
    const lease = node.leases.get(execution.leaseId);
    if (!lease || --lease.runningCount > 0) return;
    this.usage.add(lease.resources, -1);
    if (!lease.isLent) change(node, lease, -1);
  }

  /** The task on a lease waits for others. */
  blocked(leaseId: string, nodeId: string): void {
    const node = this.#nodes.get(nodeId)!;
    const lease = node.leases.get(leaseId);
    if (!lease || lease.isLent) return;
    if (lease.runningCount > 0) change(node, lease, -1);
    lease.isLent = true;
  }

  // ---------------------------------------------------------------- actors

  actorCreated(actorId: string, options: { readonly maxRestarts: number }): void {
    this.actors.set(actorId, { ...options, constructions: 0 });
  }

  constructed(actorId: string): void {
    const actor = this.actors.get(actorId)!;
    actor.constructions++;
    if (actor.maxRestarts >= 0 && actor.constructions > 1 + actor.maxRestarts) {
      throw new Violation(`${actorId} is constructed for the ${actor.constructions}th time, with ${actor.maxRestarts} restarts`);
    }
  }

  /** A member of a gang begins. In one incarnation of a gang that restarts together, or not at all, each rank does so once. */
  memberBegan(actorId: string, { gangId, rank, incarnation }: GangMember): void {
    const key = `${gangId} ${incarnation} ${rank}`;
    if (this.#begunMembers.has(key) && !this.#restartsAlone.has(gangId)) throw new Violation(`rank ${rank} of ${gangId} begins again in incarnation ${incarnation}, as ${actorId}`);
    this.#begunMembers.add(key);
  }

  /** Members of this gang restart one by one. */
  restartsAlone(gangId: string): void {
    this.#restartsAlone.add(gangId);
  }

  /**
   * A call begins in an actor. Those of one caller begin in the order in which they were made; one that had begun, and whose answer was lost with the
   * connection, may begin again.
   */
  called(actorId: string, workerId: string, callerId: string, sequence: number): void {
    const key = `${actorId} ${workerId} ${callerId}`;
    const begun = this.#begunCalls.get(key) ?? { last: 0, sequences: new Set<number>() };
    if (sequence <= begun.last && !begun.sequences.has(sequence)) throw new Violation(`${actorId} runs call ${sequence} of ${callerId} after its call ${begun.last}`);
    this.#begunCalls.set(key, begun);
    begun.last = Math.max(begun.last, sequence);
    begun.sequences.add(sequence);
  }

  // ---------------------------------------------------------------- values

  /** A program found this as the reference's value. */
  observed(id: string, value: string): void {
    const known = this.#observations.get(id);
    if (known !== undefined && known !== value) throw new Violation(`${id} was ${known} and is ${value} now`);
    this.#observations.set(id, value);
  }

  /** A program found that the reference has failed. A value that was lost for good, or freed, may fail later. */
  failed(id: string, error: UserError | MusterError): void {
    const isLoss = error instanceof MusterError && ['OBJECT_LOST', 'OBJECT_FREED', 'OWNER_DIED', 'NOT_CONNECTED', 'NODE_DIED', 'WORKER_DIED'].includes(error.code);
    if (!isLoss) this.observed(id, `error ${error.message}`);
  }
}

/** A lease's share of its node is in use, or no longer. */
function change(node: NodeRecord, { resources, bundle, gpuIds }: LeaseRecord, sign: 1 | -1): void {
  const { usedOfBundle, usedOfGpu } = node;
  const add = sign === 1 ? addResources : subtractResources;
  if (bundle === null) node.used = add(node.used, resources);
  else usedOfBundle.set(keyOf(bundle), add(usedOfBundle.get(keyOf(bundle)) ?? {}, resources));
  for (const gpuId of gpuIds) usedOfGpu.set(gpuId, (usedOfGpu.get(gpuId) ?? 0) + sign * Math.min(resources['gpu']!, RESOURCE_SCALE));
}

const running = ({ leases }: NodeRecord): string => [...leases].filter(([, lease]) => lease.runningCount > 0 && !lease.isLent).map(([leaseId]) => leaseId).join(', ');
