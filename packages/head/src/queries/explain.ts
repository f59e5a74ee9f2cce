/** Why pending, why dead, where it ran: sentences about one thing. */
import { describeDeath, formatDurationMs, formatResources } from '@muster/base';
import { formatTerm, type PlacementRequest } from '@muster/scheduler';
import type { Actor } from '../machine/actor.js';
import type { HeadContext } from '../machine/context.js';
import type { Demand, Demands } from '../machine/demands.js';
import type { Job } from '../machine/jobs.js';
import type { Lease, Leases } from '../machine/leases.js';
import type { DeadNode, Node, Nodes } from '../machine/nodes.js';
import type { DeadProcess, Process, Processes } from '../machine/processes.js';
import { nodeState } from './rows.js';
import type { ExplainAnswer } from './shapes.js';

/** The tables that explanations draw on. */
export interface ExplainTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly demands: Demands;
  readonly leases: Leases;
  readonly processes: Processes;
}

/** For people: `2 cpu, 1 gpu where zone=a, preferably disk=ssd`. */
export function describeRequest({ resources, labels }: PlacementRequest): string {
  const terms = [...labels.filter((term) => term.weight === 0).map(formatTerm), ...labels.filter((term) => term.weight > 0).map((term) => `preferably ${formatTerm(term)}`)];
  return [formatResources(resources), terms.length === 0 ? '' : `where ${terms.join(', ')}`].filter((part) => part !== '').join(' ');
}

/** What the scheduler says about a demand; nothing when it does not wait. */
export function explainDemand(demand: Demand, demands: Demands): string[] {
  const status = demands.waitsFor(demand);
  if (status === null) return [];
  const asks = `asks for ${describeRequest(demand.request)}`;
  return [status.isInfeasible ? `${asks}, which no node could ever give: ${status.reasons}` : `${asks} and waits: ${status.reasons}`];
}

/** Where it ran, what it waits for, why it died. */
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
  if (actor.state === 'dead') lines.push(`${formatDurationMs(nowMs - actor.endedAtMs!)} ago it ${describeDeath(actor.cause!)}`);
  return { id: actor.id, kind: 'actor', state: actor.state, lines };
}

/** What it has, and who holds it. */
export function explainNode(node: Node, tables: ExplainTables): ExplainAnswer {
  const { row, reservation } = node;
  const heardOf = formatDurationMs(tables.context.nowMs - node.lastHeardMs);
  const lines = [
    `${node.hostname}, pid ${node.pid}${node.isHeadNode ? ', with the head' : ''}; last heard of ${heardOf} ago`,
    `has ${formatResources(row.total)}, of which ${formatResources(tables.nodes.availableOf(node))} is free`,
  ];
  if (node.isDraining) lines.push('it is draining: it takes no more tasks and actors, and those that are there go on');
  if (reservation !== null) lines.push(`free room is kept for ${nameOf(reservation.demand)}, which asks for ${describeRequest(reservation.demand.request)}`);
  for (const lease of node.leases) lines.push(describeLease(lease));
  return { id: node.id, kind: 'node', state: nodeState(node), lines };
}

/** Why it is dead. */
export function explainDeadNode(node: DeadNode, tables: ExplainTables): ExplainAnswer {
  const ago = formatDurationMs(tables.context.nowMs - node.diedAtMs);
  return { id: node.id, kind: 'node', state: 'dead', lines: [`${node.hostname} was declared dead ${ago} ago: ${node.detail}`] };
}

/** Where it is, what it holds and what it waits for. */
export function explainProcess(process: Process, tables: ExplainTables): ExplainAnswer {
  const lease = tables.leases.ofWorker(process.id);
  const lines = [`pid ${process.pid}${placeOf(process)}, of ${process.jobId || 'no job yet'}`];
  if (process.stream === null) lines.push('its connection to the head has ended');
  if (lease !== undefined) lines.push(describeLease(lease));
  for (const demand of process.demands?.values() ?? []) lines.push(...explainDemand(demand, tables.demands).map((line) => `${nameOf(demand)} ${line}`));
  return { id: process.id, kind: process.kind, state: process.stream === null ? 'lost' : lease !== undefined ? 'leased' : 'connected', lines };
}

/** Where it ran and why it died. */
export function explainDeadProcess(process: DeadProcess, tables: ExplainTables): ExplainAnswer {
  const ago = formatDurationMs(tables.context.nowMs - process.diedAtMs);
  const lines = [`ran${placeOf(process)}, of ${process.jobId || 'no job'}`, `${ago} ago it ${describeDeath(process.cause)}`];
  return { id: process.id, kind: process.kind, state: 'dead', lines };
}

/** Who runs for it, what they wait for, and how it ended. */
export function explainJob(job: Job, tables: ExplainTables): ExplainAnswer {
  const { nowMs } = tables.context;
  const lines = [`${job.kind} job${job.name === '' ? '' : ` '${job.name}'`}${job.entrypoint === '' ? '' : `: ${job.entrypoint}`}; started ${formatDurationMs(nowMs - job.startedAtMs)} ago`];
  if (job.program !== null) lines.push(`its program runs on ${job.program.nodeId}`);
  if (job.parentJobId !== '') lines.push(`it is that of ${job.actorId}, which a process of ${job.parentJobId} created`);
  for (const process of job.processes) {
    lines.push(`${process.id} (pid ${process.pid})${placeOf(process)}`);
    for (const demand of process.demands?.values() ?? []) {
      lines.push(...explainDemand(demand, tables.demands).map((line) => `${nameOf(demand)} of ${process.id} ${line}`));
    }
  }
  if (job.endedAtMs !== null) {
    const cause = job.cause === null ? '' : `: it ${describeDeath(job.cause)}`;
    lines.push(`${job.state} after ${formatDurationMs(job.endedAtMs - job.startedAtMs)}${cause}`);
  }
  return { id: job.id, kind: 'job', state: job.state, lines };
}

/** Where a process is, to follow its name: ` on node-…`, or nothing. */
export const placeOf = ({ nodeId }: { readonly nodeId: string }): string => (nodeId === '' ? '' : ` on ${nodeId}`);

const nameOf = (demand: Demand): string => (demand.actorId !== '' ? demand.actorId : `'${demand.name || `demand ${demand.demandId}`}'`);

function describeLease(lease: Lease): string {
  const holder = lease.demand.actorId !== '' ? lease.demand.actorId : `${lease.demand.ownerId} for ${nameOf(lease.demand)}`;
  const worker = lease.workerId === '' ? 'a worker that starts' : lease.workerId;
  const blocked = lease.isBlocked ? '; its task waits for others' : '';
  return `${lease.id} of ${formatResources(lease.resources)} is ${lease.state}, held by ${holder}, on ${worker}${blocked}`;
}
