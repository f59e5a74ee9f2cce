/**
 * What really happened, as nobody in the cluster sees it: which code ran where and how often. The oracle of the simulation. A rule that is
 * broken ends it at once.
 */
import { addResources, fits, formatResources, MusterError, RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import type { BundleRef } from '@muster/protocol';
import { BundleLedger, keyOf } from './bundle-ledger.js';
import type { UserError } from './program.js';
import { Violation } from './violation.js';

/** What is known of a submitted task. */
export interface TaskRecord {
  readonly name: string;
  readonly retries: number;
  /** How often its body began. */
  executions: number;
  /** How often its result was lost, so that it had to run again. */
  rebuilds: number;
  /** How often it ran on a lease that was preempted. */
  preemptions: number;
}

interface ActorRecord {
  readonly maxRestarts: number;
  constructions: number;
}

/** One execution that is going on. */
export interface Execution {
  readonly taskId: string;
  readonly workerId: string;
  readonly nodeId: string;
  readonly leaseId: string;
}

/** The record of one simulation. */
export class Ledger {
  readonly tasks = new Map<string, TaskRecord>();
  readonly actors = new Map<string, ActorRecord>();
  /** What each node has. */
  readonly nodes = new Map<string, ResourceSet>();
  /** Leases whose tasks have waited for others: their cpus were lent out, and others may have them still. */
  readonly #lent = new Set<string>();
  readonly #preempted = new Set<string>();
  /** What each lease was given. */
  readonly leases = new Map<string, { readonly nodeId: string; readonly resources: ResourceSet; readonly bundle: BundleRef | null; gpuIds: readonly number[] }>();
  readonly bundles = new BundleLedger();
  /** By number. */
  readonly running = new Map<number, Execution>();
  /** What each reference's value was found to be. */
  readonly #observations = new Map<string, string>();
  /** The last call of each caller on each incarnation of an actor. */
  readonly #begunCalls = new Map<string, { last: number; readonly sequences: Set<number> }>();
  #executionCount = 0;

  /** A node is told to start a lease. */
  leaseStarting(leaseId: string, nodeId: string, { resources, bundle }: { readonly resources: ResourceSet; readonly bundle: BundleRef | null }): void {
    if (!this.leases.has(leaseId)) this.leases.set(leaseId, { nodeId, resources, bundle, gpuIds: [] });
  }

  /** A worker is told which GPUs are its lease's. */
  leaseCommanded(leaseId: string, gpuIds: readonly number[]): void {
    const lease = this.leases.get(leaseId)!;
    if (gpuIds.length !== Math.ceil((lease.resources['gpu'] ?? 0) / RESOURCE_SCALE)) throw new Violation(`${leaseId} of ${formatResources(lease.resources)} has the GPUs ${gpuIds.join(', ')}`);
    lease.gpuIds = gpuIds;
  }

  submitted(taskId: string, options: { readonly name: string; readonly retries: number }): void {
    this.tasks.set(taskId, { ...options, executions: 0, rebuilds: 0, preemptions: 0 });
  }

  /** A body begins. Returns its number. */
  began(execution: Execution): number {
    const task = this.tasks.get(execution.taskId);
    if (!task) throw new Violation(`${execution.taskId} runs on ${execution.workerId}, but nobody submitted it`);
    task.executions++;
    if (task.executions > 1 + task.retries + task.preemptions) {
      throw new Violation(`${execution.taskId} (${task.name}) runs for the ${task.executions}th time, with ${task.retries} retries, and was preempted ${task.preemptions} times`);
    }
    if (this.#preempted.has(execution.leaseId)) task.preemptions++;
    this.running.set(++this.#executionCount, execution);
    this.#checkRoom(execution);
    return this.#executionCount;
  }

  /** What begins to run has room on its node beside all that runs there and all that groups have there, but for cpus that were lent out. */
  #checkRoom({ nodeId, leaseId }: Execution): void {
    const total = this.nodes.get(nodeId)!;
    const leaseIds = new Set<string>();
    for (const other of this.running.values()) if (other.nodeId === nodeId && !this.#lent.has(other.leaseId)) leaseIds.add(other.leaseId);
    if (!leaseIds.has(leaseId)) return;
    let used = this.bundles.heldOn(nodeId);
    const usedOfBundle = new Map<string, ResourceSet>();
    for (const id of leaseIds) {
      const { resources = {}, bundle = null } = this.leases.get(id) ?? {};
      if (bundle === null) used = addResources(used, resources);
      else usedOfBundle.set(keyOf(bundle), addResources(usedOfBundle.get(keyOf(bundle)) ?? {}, resources));
    }
    for (const [key, inUse] of usedOfBundle) this.bundles.checkUse(nodeId, key, inUse);
    if (!fits(total, used)) throw new Violation(`${nodeId} has ${formatResources(total)}, and runs ${[...leaseIds].join(', ')} with ${formatResources(used)}`);
    const usedOfGpu = new Map<number, number>();
    for (const id of leaseIds) {
      const lease = this.leases.get(id);
      for (const gpuId of lease?.gpuIds ?? []) usedOfGpu.set(gpuId, (usedOfGpu.get(gpuId) ?? 0) + Math.min(lease!.resources['gpu']!, RESOURCE_SCALE));
    }
    for (const [gpuId, units] of usedOfGpu) if (units > RESOURCE_SCALE) throw new Violation(`${nodeId} runs ${[...leaseIds].join(', ')} with ${units / RESOURCE_SCALE} of its GPU ${gpuId}`);
  }

  /** The head has told a worker that its lease ends early. */
  preempted(leaseId: string): void {
    this.#preempted.add(leaseId);
    for (const execution of this.running.values()) if (execution.leaseId === leaseId) this.tasks.get(execution.taskId)!.preemptions++;
  }

  ended(execution: number): void {
    this.running.delete(execution);
  }

  /** A process is dead, and with it all that ran in it. */
  died(workerId: string): void {
    for (const [number, execution] of this.running) if (execution.workerId === workerId) this.running.delete(number);
  }

  /** The task on a lease waits for others. */
  blocked(leaseId: string): void {
    this.#lent.add(leaseId);
  }

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

