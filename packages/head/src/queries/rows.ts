/** The tables of the head as rows for people and programs. */
import { addResources, describeDeath, wholeAmount, type ResourceSet } from '@muster/base';
import { targetOf } from '@muster/protocol';
import { describeGroup } from '@muster/scheduler';
import type { Actor } from '../machine/actor.js';
import type { HeadContext } from '../machine/context.js';
import type { Gang } from '../machine/gang.js';
import type { Gangs } from '../machine/gangs.js';
import type { Group } from '../machine/group.js';
import type { Groups } from '../machine/groups.js';
import type { Job } from '../machine/jobs.js';
import type { Leases } from '../machine/leases.js';
import type { DeadNode, Node, Nodes, WorkerRecord } from '../machine/nodes.js';
import type { Processes } from '../machine/processes.js';
import type { ActorRow, Amounts, GangRow, GroupRow, JobRow, NodeRow, WorkerRow } from './shapes.js';
import { explainSilence } from './silence.js';

/** Fixed-point amounts in whole units. */
export function amounts(set: ResourceSet): Amounts {
  return Object.fromEntries(Object.entries(set).map(([name, fixed]) => [name, wholeAmount(name, fixed)]));
}

/** The tables in which a node appears. */
export interface NodeTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
}

/** A live node. */
export function nodeRow(node: Node, { context, nodes }: NodeTables): NodeRow {
  return {
    nodeId: node.id, state: nodeState(node), hostname: node.hostname, pid: node.pid,
    address: node.endpoint === null ? '' : targetOf(node.endpoint, ''), isHeadNode: node.isHeadNode,
    total: amounts(node.row.total), available: amounts(nodes.availableOf(node)), labels: node.row.labels,
    leases: node.leases.size, workers: node.workers.size,
    objectStoreBytes: node.objectStoreBytes, objectStoreUsedBytes: node.heartbeat?.objectStoreUsedBytes ?? 0,
    spilledBytes: node.heartbeat?.spilledBytes ?? 0, objects: node.heartbeat?.objectCount ?? 0,
    ageMs: context.nowMs - node.registeredAtMs, detail: '',
  };
}

export const nodeState = (node: Node): Exclude<NodeRow['state'], 'dead'> => (node.stream === null ? 'unreachable' : node.isDraining ? 'draining' : 'alive');

/** A node that is only remembered. */
export function deadNodeRow(node: DeadNode, context: HeadContext): NodeRow {
  return {
    nodeId: node.id, state: 'dead', hostname: node.hostname, pid: null, address: '', isHeadNode: false, total: {}, available: {}, labels: {},
    leases: 0, workers: 0, objectStoreBytes: 0, objectStoreUsedBytes: 0, spilledBytes: 0, objects: 0,
    ageMs: context.nowMs - node.diedAtMs, detail: node.detail,
  };
}

/** An actor, dead or alive. */
export function actorRow(actor: Actor, context: HeadContext): ActorRow {
  const { lease } = actor;
  return {
    actorId: actor.id, name: actor.name, className: actor.className, state: actor.state, jobId: actor.jobId, ownerId: actor.ownerId,
    isDetached: actor.isDetached, incarnation: actor.incarnation, restarts: actor.restarts, maxRestarts: actor.maxRestarts,
    gangId: actor.gangId, rank: actor.rank,
    nodeId: lease?.node.id ?? '', workerId: lease?.workerId ?? '', pid: lease?.pid ?? null, resources: amounts(actor.demand.request.resources),
    reasons: lease === null ? actor.reasons : explainSilence(lease.node, context).join(), cause: actor.cause === null ? '' : describeDeath(actor.cause), ageMs: context.nowMs - actor.createdAtMs,
  };
}

/** A gang, dead or alive. */
export function gangRow(gang: Gang, { context, gangs }: { readonly context: HeadContext; readonly gangs: Gangs }): GangRow {
  return {
    gangId: gang.id, name: gang.name, className: gang.className, state: gang.state, jobId: gang.jobId, ownerId: gang.ownerId,
    size: gang.members.length, alive: gang.members.filter((member) => member.state === 'alive').length, nodes: [...new Set(gang.nodeIds)], groupId: gang.group.id,
    strategy: gang.group.request.strategy, onFailure: gang.onFailure, incarnation: gang.incarnation, restarts: gang.restarts, maxRestarts: gang.maxRestarts,
    reasons: gangs.waitsFor(gang), cause: gang.cause === null ? '' : describeDeath(gang.cause), ageMs: context.nowMs - gang.createdAtMs,
  };
}

/** A job, running or finished. */
export function jobRow(job: Job, context: HeadContext): JobRow {
  const processes = [...job.processes];
  return {
    jobId: job.id, kind: job.kind, name: job.name, queue: job.queue.settings.name, priority: job.priority, state: job.state, entrypoint: job.entrypoint, nodeId: job.program?.nodeId ?? '',
    drivers: processes.filter((process) => process.kind === 'driver').map((process) => process.id),
    workers: processes.filter((process) => process.kind === 'worker').length,
    exitCode: job.cause?.kind === 'exit' ? job.cause.code : null, cause: job.cause === null ? '' : describeDeath(job.cause),
    ageMs: context.nowMs - job.startedAtMs, durationMs: (job.endedAtMs ?? context.nowMs) - job.startedAtMs,
  };
}

/** A placement group, live or removed. Of one that waits, why it does takes a look at every node. */
export function groupRow(group: Group, { context, groups }: { readonly context: HeadContext; readonly groups: Groups }): GroupRow {
  const { request, bundles, failure } = group;
  return {
    groupId: group.id, name: group.name, state: group.state, jobId: group.jobId, ownerId: group.ownerId, strategy: request.strategy,
    request: describeGroup(request), resources: amounts(request.bundles.reduce<ResourceSet>((sum, bundle) => addResources(sum, bundle.resources), {})),
    nodes: bundles.map((bundle) => bundle?.share.node.id ?? ''), reasons: group.state === 'removed' ? '' : (groups.waitsFor(group)?.reasons ?? ''),
    cause: failure?.message ?? '', ageMs: context.nowMs - group.createdAtMs,
  };
}

/** The tables in which a worker appears. */
export interface WorkerTables {
  readonly context: HeadContext;
  readonly processes: Processes;
  readonly leases: Leases;
}

/** A worker process of a live node. */
export function workerRow(worker: WorkerRecord, node: Node, tables: WorkerTables): WorkerRow {
  const lease = tables.leases.ofWorker(worker.workerId);
  const process = tables.processes.byId.get(worker.workerId);
  const isActor = lease !== undefined && lease.demand.actorId !== '';
  return {
    workerId: worker.workerId, state: isActor ? 'actor' : lease !== undefined ? 'leased' : process !== undefined ? 'idle' : 'starting',
    nodeId: node.id, pid: worker.pid, jobId: worker.jobId, leaseId: lease?.id ?? '',
    ownerId: lease?.demand.ownerId ?? '', actorId: lease?.demand.actorId ?? '', isBlocked: lease?.isBlocked ?? false,
    ageMs: tables.context.nowMs - worker.startedAtMs,
  };
}
