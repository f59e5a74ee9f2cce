/** What owners ask for their tasks and what they are told: demands, grants, returns and losses of leases. */
import { describeDeath, type DeathCause } from '@muster/base';
import { deathToMessage, type LeaseDemand, type LeaseReturn } from '@muster/protocol';
import type { Demand, Demands, DemandStatus } from './demands.js';
import type { Job } from './jobs.js';
import type { Lease, Leases } from './leases.js';
import { DEMANDS_PER_PROCESS_MAX, PREFERRED_NODES_MAX } from './limits.js';
import type { Process, Processes } from './processes.js';
import type { Pool } from './pool.js';
import { readDemand, readName, refusal } from './requests.js';

/** The owners' side of leases. */
export class Tasks {
  readonly #processes: Processes;
  readonly #demands: Demands;
  readonly #leases: Leases;
  readonly #poolOf: (groupId: string) => Pool;

  /** @param parts `poolOf`: where leases in a placement group are placed; of the empty id, on the nodes */
  constructor(parts: { readonly processes: Processes; readonly demands: Demands; readonly leases: Leases; readonly poolOf: (groupId: string) => Pool }) {
    this.#processes = parts.processes;
    this.#demands = parts.demands;
    this.#leases = parts.leases;
    this.#poolOf = parts.poolOf;
  }

  /** @throws MusterError PROTOCOL for a demand that is none. */
  demand(owner: Process, { queue, priority }: Job, message: LeaseDemand): void {
    if (!Number.isSafeInteger(message.count) || message.count < 0) throw refusal(`a demand for ${message.count} leases`);
    const { request, isSpread, waitsForNodes, groupId, capturesChildren, expectedDurationMs } = readDemand(message.demand);
    const preferredNodeIds = [...message.preferredNodeIds.slice(0, PREFERRED_NODES_MAX), owner.nodeId];
    let demand = owner.demands?.get(message.demandId);
    if (demand === undefined) {
      if (message.count === 0) return;
      owner.demands ??= new Map();
      if (owner.demands.size >= DEMANDS_PER_PROCESS_MAX) throw refusal(`${owner.id} has more than ${DEMANDS_PER_PROCESS_MAX} demands`);
      demand = this.#demands.create({
        demandId: message.demandId, actorId: '', ownerId: owner.id, jobId: owner.jobId, queue, priority, preferredNodeIds, waitsForNodes,
        pool: this.#poolOf(groupId), request, capturesChildren, expectedDurationMs, leasesByNode: isSpread ? new Map() : null, name: readName(message.name),
      });
      owner.demands.set(message.demandId, demand);
    } else if (message.count > 0) { // a withdrawal need not repeat the request
      if (message.name !== '') demand.name = readName(message.name); // empty: none waits at this moment, and those that run have the last one
      demand.preferredNodeIds = preferredNodeIds;
      this.#demands.change(demand, { pool: this.#poolOf(groupId), request, capturesChildren, isSpread, waitsForNodes });
    }
    this.#demands.want(demand, message.count);
    this.#endSurplus(demand);
    this.#forgetIfDone(owner, demand);
  }

  /** @throws MusterError PROTOCOL when the lease is another owner's. */
  return(owner: Process, message: LeaseReturn): void {
    const lease = this.#leases.byId.get(message.leaseId);
    if (lease === undefined) return; // it was lost while this message was on its way
    if (lease.demand.ownerId !== owner.id || lease.demand.actorId !== '') throw refusal(`${owner.id} returned ${lease.id}, which it does not hold`);
    this.#leases.end(lease, { kill: message.killWorker, reason: message.reason, tell: false });
    this.#forgetIfDone(owner, lease.demand);
  }

  /** The owner has said goodbye: it is given nothing more. */
  withdraw(owner: Process): void {
    for (const demand of owner.demands?.values() ?? []) this.#demands.want(demand, 0);
  }

  /** The owner is gone: all that it had asked for ends. */
  drop(owner: Process, reason: string): void {
    for (const demand of owner.demands?.values() ?? []) {
      this.#demands.want(demand, 0);
      for (const lease of [...demand.leases]) this.#leases.end(lease, { kill: true, reason, tell: false });
    }
    owner.demands = null;
  }

  leaseStarted(lease: Lease): void {
    const owner = this.#processes.byId.get(lease.demand.ownerId);
    if (owner === undefined) return;
    lease.isGranted = true;
    this.#processes.send(owner, {
      type: 'leaseGranted', leaseId: lease.id, demandId: lease.demand.demandId, workerId: lease.workerId, endpoint: lease.endpoint,
      pid: lease.pid,
    });
  }

  leaseLost(lease: Lease, cause: DeathCause): void {
    const { demand } = lease;
    const owner = this.#processes.byId.get(demand.ownerId);
    if (owner === undefined) return;
    if (lease.isGranted) this.#processes.send(owner, { type: 'leaseLost', leaseId: lease.id, workerId: lease.workerId, cause: deathToMessage(cause) });
    else if (cause.kind !== 'node-lost') this.#demands.startFailed(demand, `a worker on ${lease.node.id} ${describeDeath(cause)}`);
    this.#forgetIfDone(owner, demand);
  }

  status(demand: Demand, status: DemandStatus): void {
    const owner = this.#processes.byId.get(demand.ownerId);
    if (owner === undefined) return;
    this.#processes.send(owner, { type: 'demandStatus', demandId: demand.demandId, infeasible: status.isInfeasible, reasons: status.reasons });
  }

  askBack(lease: Lease): void {
    const owner = this.#processes.byId.get(lease.demand.ownerId);
    if (owner !== undefined) this.#processes.send(owner, { type: 'leaseReclaim', leaseId: lease.id });
  }

  /** Workers that are not there yet are not waited for when the owner wants fewer. Those it has it returns itself. */
  #endSurplus(demand: Demand): void {
    if (demand.leases.size <= demand.count) return;
    for (const lease of [...demand.leases].reverse()) {
      if (demand.leases.size <= demand.count) return;
      if (lease.state === 'starting') this.#leases.end(lease, { kill: false, reason: 'its owner wants fewer', tell: false });
    }
  }

  #forgetIfDone(owner: Process, demand: Demand): void {
    if (demand.count === 0 && demand.leases.size === 0) owner.demands?.delete(demand.demandId);
  }
}
