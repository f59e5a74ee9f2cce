/** Why pending, why dead, where it ran: sentences about one thing. */
import { describeDeath, formatDurationMs, formatResources } from '@muster/base';
import type { PlacementRequest } from '@muster/scheduler';
import type { Actor } from '../machine/actor.js';
import type { HeadContext } from '../machine/context.js';
import type { Demand, Demands } from '../machine/demands.js';
import type { Job } from '../machine/jobs.js';
import type { Lease, Leases } from '../machine/leases.js';
import type { DeadNode, Node } from '../machine/nodes.js';
import type { DeadProcess, Process, Processes } from '../machine/processes.js';
import type { ExplainAnswer } from './shapes.js';

/** The tables that explanations draw on. */
export interface ExplainTables {
  readonly context: HeadContext;
  readonly demands: Demands;
  readonly leases: Leases;
  readonly processes: Processes;
}

/** For people: `2 cpu, 1 gpu with label zone=a`. */
export function describeRequest(request: PlacementRequest): string {
  const labels = Object.entries(request.labels).map(([key, value]) => `${key}=${value}`);
  return [
    formatResources(request.resources), request.nodeId === '' ? '' : `on ${request.nodeId}`, labels.length === 0 ? '' : `with label ${labels.join(', ')}`,
  ].filter((part) => part !== '').join(' ');
}

/** What the scheduler says about a demand; nothing when it does not wait. */
export function explainDemand(demand: Demand, demands: Demands): string[] {
  const status = demands.waitsFor(demand);
  if (status === null) return [];
  const asks = `asks for ${describeRequest(demand.request)}`;
  return [status.isInfeasible ? `${asks}, which no node could ever give: ${status.reasons}` : `${asks} and waits: ${status.reasons}`];
}

export function explainActor(actor: Actor, tables: ExplainTables): ExplainAnswer {
  const { nowMs } = tables.context;
  const restarts = actor.maxRestarts === -1 ? 'any number of restarts' : `${actor.maxRestarts} restarts`;
  const lines = [
    `${actor.className}${actor.name === '' ? '' : ` named '${actor.name}'`}, created ${formatDurationMs(nowMs - actor.createdAtMs)} ago by ${actor.ownerId}`
      + `${actor.isDetached ? ', detached' : ''}; ${actor.restarts} of ${restarts} used`,
  ];
  if (actor.lease !== null) lines.push(`incarnation ${actor.incarnation} runs on ${actor.lease.node.id} in ${actor.lease.workerId} (pid ${actor.lease.pid})`);
  else for (const lease of actor.demand.leases) lines.push(`its worker is being started on ${lease.node.id}`);
  lines.push(...explainDemand(actor.demand, tables.demands));
  for (const past of actor.past) lines.push(`incarnation ${past.incarnation} ran on ${past.nodeId} in ${past.workerId} and ${describeDeath(past.cause)}`);
  if (actor.state === 'dead') lines.push(`it ${describeDeath(actor.cause!)} ${formatDurationMs(nowMs - actor.endedAtMs!)} ago`);
  return { id: actor.id, kind: 'actor', state: actor.state, lines };
}

export function explainNode(node: Node, tables: ExplainTables): ExplainAnswer {
  const { view } = node;
  const lines = [
    `${node.hostname}, pid ${node.pid}${node.isHeadNode ? ', with the head' : ''}; last heard of ${formatDurationMs(tables.context.nowMs - node.lastHeardMs)} ago`,
    `has ${formatResources(view.total)}, of which ${formatResources(view.available)} is free`,
  ];
  if (node.reservation !== null) lines.push(`free room is kept for ${nameOf(node.reservation.demand)}, which asks for ${describeRequest(node.reservation.demand.request)}`);
  for (const lease of node.leases) lines.push(describeLease(lease));
  return { id: node.id, kind: 'node', state: node.stream === null ? 'unreachable' : 'alive', lines };
}

export function explainDeadNode(node: DeadNode, tables: ExplainTables): ExplainAnswer {
  return { id: node.id, kind: 'node', state: 'dead', lines: [`${node.hostname} was declared dead ${formatDurationMs(tables.context.nowMs - node.diedAtMs)} ago: ${node.detail}`] };
}

export function explainProcess(process: Process, tables: ExplainTables): ExplainAnswer {
  const lease = tables.leases.ofWorker(process.id);
  const lines = [`pid ${process.pid}${process.nodeId === '' ? '' : ` on ${process.nodeId}`}${process.jobId === '' ? ', of no job yet' : `, of ${process.jobId}`}`];
  if (process.stream === null) lines.push('its connection to the head has ended');
  if (lease !== undefined) lines.push(describeLease(lease));
  for (const demand of process.demands.values()) lines.push(...explainDemand(demand, tables.demands).map((line) => `${nameOf(demand)} ${line}`));
  return { id: process.id, kind: process.kind, state: process.stream === null ? 'lost' : lease !== undefined ? 'leased' : 'connected', lines };
}

export function explainDeadProcess(process: DeadProcess, tables: ExplainTables): ExplainAnswer {
  const where = `${process.nodeId === '' ? '' : ` on ${process.nodeId}`}${process.jobId === '' ? '' : `, of ${process.jobId}`}`;
  const lines = [`ran${where}`, `it ${describeDeath(process.cause)}, ${formatDurationMs(tables.context.nowMs - process.diedAtMs)} ago`];
  return { id: process.id, kind: process.kind, state: 'dead', lines };
}

export function explainJob(job: Job, tables: ExplainTables): ExplainAnswer {
  const { nowMs } = tables.context;
  const lines = [`${job.kind} job${job.entrypoint === '' ? '' : `: ${job.entrypoint}`}; started ${formatDurationMs(nowMs - job.startedAtMs)} ago`];
  if (job.program !== null) lines.push(`its program runs on ${job.program.nodeId}`);
  if (job.parentJobId !== '') lines.push(`it is that of ${job.actorId}, which a process of ${job.parentJobId} created`);
  for (const process of job.processes) {
    lines.push(`${process.id} (pid ${process.pid})${process.nodeId === '' ? '' : ` on ${process.nodeId}`}`);
    for (const demand of process.demands.values()) lines.push(...explainDemand(demand, tables.demands).map((line) => `${nameOf(demand)} of ${process.id} ${line}`));
  }
  if (job.endedAtMs !== null) lines.push(`${job.state} after ${formatDurationMs(job.endedAtMs - job.startedAtMs)}${job.cause === null ? '' : `: it ${describeDeath(job.cause)}`}`);
  return { id: job.id, kind: 'job', state: job.state, lines };
}

const nameOf = (demand: Demand): string => (demand.actorId !== '' ? demand.actorId : `'${demand.name || `demand ${demand.demandId}`}'`);

function describeLease(lease: Lease): string {
  const holder = lease.demand.actorId !== '' ? lease.demand.actorId : `${lease.demand.ownerId} for ${nameOf(lease.demand)}`;
  const worker = lease.workerId === '' ? 'a worker that starts' : lease.workerId;
  return `${lease.id} of ${formatResources(lease.resources)} is ${lease.state}, held by ${holder}, on ${worker}${lease.isBlocked ? '; its task waits for others' : ''}`;
}
