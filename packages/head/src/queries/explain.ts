/** Why pending, why dead, where it ran: sentences about one thing. */
import { describeDeath, formatDurationMs, formatResources } from '@muster/base';
import { formatGroup, formatTerm, type PlacementRequest } from '@muster/scheduler';
import type { Actor } from '../machine/actor.js';
import { isGroup, type Claimant, type Claims } from '../machine/claims.js';
import type { HeadContext } from '../machine/context.js';
import type { Demand, Demands } from '../machine/demands.js';
import type { Gang } from '../machine/gang.js';
import type { Gangs } from '../machine/gangs.js';
import { explainWaiting } from '../machine/group-line.js';
import type { Group, Share } from '../machine/group.js';
import type { Groups } from '../machine/groups.js';
import type { Job } from '../machine/jobs.js';
import type { Lease, Leases } from '../machine/leases.js';
import type { DeadNode, Node, Nodes, WorkerRecord } from '../machine/nodes.js';
import type { Pool } from '../machine/pool.js';
import type { DeadProcess, Process, Processes } from '../machine/processes.js';
import { describeHolders } from './holders.js';
import { nodeState } from './rows.js';
import type { ExplainAnswer } from './shapes.js';
import { explainSilence } from './silence.js';

/** An answer is read by a person: of more leases or waiting demands than these it tells how many there are. */
const LINES_OF_A_KIND_MAX = 20;

/** More bundles of one node than these are only counted. */
const BUNDLES_NAMED_MAX = 8;

/** More nodes than these are only counted. */
const NODES_NAMED_MAX = 4;

/** The tables that explanations draw on. */
export interface ExplainTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly demands: Demands;
  readonly groups: Groups;
  readonly claims: Claims;
  readonly leases: Leases;
  readonly processes: Processes;
  readonly gangs: Gangs;
}

/** For people: `2 cpu, 1 gpu where zone=a, preferably disk=ssd`, `1 cpu in bundle 0 of pg-1`. */
export function describeRequest({ resources, labels: all }: PlacementRequest, pool: Pool): string {
  const inGroup = pool.groupId !== '';
  const labels = inGroup ? [] : all; // what names a bundle is told of otherwise
  const terms = [...labels.filter((term) => term.weight === 0).map(formatTerm), ...labels.filter((term) => term.weight > 0).map((term) => `preferably ${formatTerm(term)}`)];
  const bundle = all.find((term) => term.operator === 'in')?.values[0];
  const where = inGroup ? `in ${bundle === undefined ? '' : `${bundle} of `}${pool.groupId}` : terms.length === 0 ? '' : `where ${terms.join(', ')}`;
  return [formatResources(resources), where].filter((part) => part !== '').join(' ');
}

/** What the scheduler says about a demand, and who holds what it waits for; nothing when it does not wait. */
export function explainDemand(demand: Demand, tables: ExplainTables): string[] {
  const status = tables.demands.waitsFor(demand);
  if (status === null) return [];
  const asks = `asks for ${describeRequest(demand.request, demand.pool)}`;
  if (status.isInfeasible) return [`${asks}, which no node could ever give: ${status.reasons}`];
  const { nearest } = demand.pool.explain(demand.request);
  const waits = demand.level === null ? 'waits' : `has waited ${formatDurationMs(tables.context.nowMs - demand.waitingSinceMs)}`;
  return [`${asks} and ${waits}: ${status.reasons}`, ...(nearest === null ? [] : [describeHolders(nearest, demand.pool, tables)]), ...explainClaims(demand, tables)];
}

/** The room that is kept for one that waits, and when all of it should be there. */
function explainClaims(holder: Claimant, { claims, context: { nowMs } }: ExplainTables): string[] {
  const own = claims.of(holder);
  if (own.length === 0) return [];
  const nodeIds = [...new Set(own.map(({ node }) => node.id))];
  const where = nodeIds.length > NODES_NAMED_MAX ? `${nodeIds.length} nodes` : nodeIds.join(', ');
  const startsAtMs = Math.max(...own.map((claim) => claim.startsAtMs));
  const when = startsAtMs > nowMs && startsAtMs < Infinity ? `; by what is known it is there in about ${formatDurationMs(startsAtMs - nowMs)}` : '';
  return [`room is kept for it on ${where}${when}`];
}

/** What these demands wait for, each line with the demand's name in front of it. */
function explainDemands(demands: Iterable<Demand>, tables: ExplainTables, ofWhom = ''): string[] {
  const waiting = [...demands].filter((demand) => tables.demands.missing(demand) > 0);
  const lines = waiting.slice(0, LINES_OF_A_KIND_MAX).flatMap((demand) => explainDemand(demand, tables).map((line, index) => (index === 0 ? `${nameOf(demand)}${ofWhom} ${line}` : line)));
  return [...lines, ...andMore(waiting.length, 'demands that wait')];
}

const andMore = (count: number, noun: string): string[] => (count > LINES_OF_A_KIND_MAX ? [`… and ${count - LINES_OF_A_KIND_MAX} more ${noun}`] : []);

/** Where it ran, what it waits for, why it died. */
export function explainActor(actor: Actor, tables: ExplainTables): ExplainAnswer {
  const { nowMs } = tables.context;
  const restarts = actor.maxRestarts === -1 ? 'any number of restarts' : `${actor.maxRestarts} restarts`;
  const lines = [
    `${actor.className}${actor.name === '' ? '' : ` named '${actor.name}'`}, created ${formatDurationMs(nowMs - actor.createdAtMs)} ago by ${actor.ownerId}`
      + `${actor.isDetached ? ', detached' : ''}; ${actor.restarts} of ${restarts} used${actor.preemptions > 0 ? `; preempted ${actor.preemptions === 1 ? 'once' : `${actor.preemptions} times`}` : ''}`,
  ];
  if (actor.gangId !== '') lines.push(`it is rank ${actor.rank} of ${actor.gangId}`);
  if (actor.lease !== null) lines.push(`incarnation ${actor.incarnation} runs on ${actor.lease.node.id} in ${actor.lease.workerId} (pid ${actor.lease.pid})`, ...explainSilence(actor.lease.node, tables.context));
  else for (const lease of actor.demand.leases) lines.push(`its worker is being started on ${lease.node.id}`);
  lines.push(...explainDemand(actor.demand, tables));
  for (const past of actor.past) lines.push(`incarnation ${past.incarnation} ran on ${past.nodeId} in ${past.workerId} and ${describeDeath(past.cause)}`);
  if (actor.state === 'dead') lines.push(`${formatDurationMs(nowMs - actor.endedAtMs!)} ago it ${describeDeath(actor.cause!)}`);
  return { id: actor.id, kind: 'actor', state: actor.state, lines };
}

/** How many members live, where they are, what it waits for, why it died. */
export function explainGang(gang: Gang, { context, nodes, gangs }: ExplainTables): ExplainAnswer {
  const { nowMs } = context;
  const { members, group } = gang;
  const alive = members.filter((member) => member.state === 'alive').length;
  const nodeIds = [...new Set(gang.nodeIds)];
  const restarts = gang.onFailure === 'fail' ? 'it ends with the first member that dies' : `${gang.onFailure}, ${gang.maxRestarts === -1 ? 'any number of times' : `at most ${gang.maxRestarts} times`}`;
  const lines = [
    `${members.length} × ${gang.className}${gang.name === '' ? '' : ` named '${gang.name}'`} in ${group.id}, ${group.request.strategy}, created ${formatDurationMs(nowMs - gang.createdAtMs)} ago by ${gang.ownerId}; ${restarts}`,
  ];
  if (gang.state !== 'dead') lines.push(`${alive} of ${members.length} members are alive${nodeIds.length === 0 ? '' : ` on ${nodeIds.length} node${nodeIds.length === 1 ? '' : 's'}: ${nodeIds.join(', ')}`}`);
  lines.push(...nodeIds.flatMap((nodeId) => (nodes.byId.has(nodeId) ? explainSilence(nodes.byId.get(nodeId)!, context) : [])));
  const reasons = gangs.waitsFor(gang);
  if (reasons !== '') lines.push(`waits: ${reasons}`);
  if (gang.restarts > 0) lines.push(`incarnation ${gang.incarnation}: it has started anew ${gang.restarts} times`);
  if (gang.state === 'restarting') lines.push(`its last incarnation ${describeDeath(gang.cause!)}`);
  if (gang.state === 'dead') lines.push(`${formatDurationMs(nowMs - gang.endedAtMs!)} ago it ${describeDeath(gang.cause!)}`);
  return { id: gang.id, kind: 'gang', state: gang.state, lines };
}

/** What it has, and who holds it. */
export function explainNode(node: Node, tables: ExplainTables): ExplainAnswer {
  const { row, claims } = node;
  const heardOf = formatDurationMs(tables.context.nowMs - node.lastHeardMs);
  const lines = [
    `${node.hostname}, pid ${node.pid}${node.isHeadNode ? ', with the head' : ''}; last heard of ${heardOf} ago`,
    `has ${formatResources(row.total)}, of which ${formatResources(tables.nodes.availableOf(node))} is free`,
  ];
  if (node.isDraining) lines.push('it is draining: it takes no more tasks and actors, and those that are there go on');
  for (const { holder, request } of claims) lines.push(`free room is kept for ${isGroup(holder) ? holder.id : nameOf(holder)}, which asks for ${describeRequest(request, tables.nodes)}`);
  const shares = [...node.shares.values()];
  lines.push(...shares.slice(0, LINES_OF_A_KIND_MAX).map(describeShare), ...andMore(shares.length, 'shares of placement groups'));
  lines.push(...[...node.leases].slice(0, LINES_OF_A_KIND_MAX).map(describeLease), ...andMore(node.leases.size, 'leases'));
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
  const node = tables.nodes.byId.get(process.nodeId);
  if (node !== undefined) lines.push(...explainSilence(node, tables.context));
  if (lease !== undefined) lines.push(describeLease(lease));
  lines.push(...explainDemands(process.demands?.values() ?? [], tables));
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
  const lines = [
    `${job.kind} job${job.name === '' ? '' : ` '${job.name}'`}${job.entrypoint === '' ? '' : `: ${job.entrypoint}`}; started ${formatDurationMs(nowMs - job.startedAtMs)} ago`,
    `in the queue ${job.queue.settings.name}, of priority ${job.priority}`,
  ];
  if (job.program !== null) lines.push(`its program runs on ${job.program.nodeId}`);
  if (job.parentJobId !== '') lines.push(`it is that of ${job.actorId}, which a process of ${job.parentJobId} created`);
  lines.push(...[...job.processes].slice(0, LINES_OF_A_KIND_MAX).flatMap((process) =>
    [`${process.id} (pid ${process.pid})${placeOf(process)}`, ...explainDemands(process.demands?.values() ?? [], tables, ` of ${process.id}`)]), ...andMore(job.processes.size, 'processes'));
  if (job.endedAtMs !== null) {
    const cause = job.cause === null ? '' : `: it ${describeDeath(job.cause)}`;
    lines.push(`${job.state} after ${formatDurationMs(job.endedAtMs - job.startedAtMs)}${cause}`);
  }
  return { id: job.id, kind: 'job', state: job.state, lines };
}

/** Who holds it, where. */
export function explainLease(lease: Lease, { context }: ExplainTables): ExplainAnswer {
  const ago = formatDurationMs(context.nowMs - lease.requestedAtMs);
  return { id: lease.id, kind: 'lease', state: lease.state, lines: [`on ${lease.node.id}, asked for ${ago} ago`, describeLease(lease), ...explainSilence(lease.node, context)] };
}

/** Where a task runs: its worker is known to its owner, the worker's node to the head. */
export function explainWorkerOf(workerId: string, { context, leases, processes }: ExplainTables): string[] {
  const lease = leases.ofWorker(workerId);
  if (lease !== undefined) return [`on ${workerId} of ${lease.node.id}`, ...explainSilence(lease.node, context)];
  const dead = processes.dead.get(workerId);
  return [`on ${workerId}${dead === undefined ? '' : `, which ${describeDeath(dead.cause)}`}`];
}

/** A worker process that has not said hello yet. */
export function explainWorkerRecord(worker: WorkerRecord, node: Node, { context }: ExplainTables): ExplainAnswer {
  const ago = formatDurationMs(context.nowMs - worker.startedAtMs);
  return { id: worker.workerId, kind: 'worker', state: 'starting', lines: [`pid ${worker.pid} on ${node.id}, started ${ago} ago; it has not connected to the head yet`] };
}

/** What was known to an owner that is dead. */
export function explainOrphan(id: string, kind: 'task' | 'object', owner: DeadProcess, { context }: ExplainTables): ExplainAnswer {
  const ago = formatDurationMs(context.nowMs - owner.diedAtMs);
  return { id, kind, state: 'gone', lines: [`its owner ${owner.id}${placeOf(owner)} ${describeDeath(owner.cause)} ${ago} ago, and all that it owned has gone with it`] };
}

/** Where its bundles are, what it waits for, and how it ended. */
export function explainPlacementGroup(group: Group, tables: ExplainTables): ExplainAnswer {
  const { nowMs } = tables.context;
  const lines = [`${formatGroup(group.request)}${group.name === '' ? '' : `, named '${group.name}'`}; asked for ${formatDurationMs(nowMs - group.createdAtMs)} ago by ${group.ownerId} of ${group.jobId}`];
  if (group.state === 'removed') {
    const why = group.failure === null ? 'it was removed' : group.failure.message;
    return { id: group.id, kind: 'group', state: group.state, lines: [...lines, `${formatDurationMs(nowMs - group.endedAtMs!)} ago: ${why}`] };
  }
  if (group.reasons !== '') lines.push(group.reasons);
  const status = tables.groups.waitsFor(group);
  if (status !== null) {
    const { nearest } = explainWaiting(group, tables.nodes.cluster);
    lines.push(`it waits: ${status.reasons}`, ...(nearest === null ? [] : [describeHolders(nearest, tables.nodes, tables)]), ...explainClaims(group, tables));
  }
  const shares = [...group.shares];
  lines.push(...shares.slice(0, LINES_OF_A_KIND_MAX).map((share) => `${bundlesOf(share)} ${share.state} on ${share.node.id}`), ...andMore(shares.length, 'shares of nodes'));
  return { id: group.id, kind: 'group', state: group.state, lines };
}

function bundlesOf({ holdings: { size }, holdings }: Share): string {
  if (size > BUNDLES_NAMED_MAX) return `${size} bundles are`;
  return `bundle${size === 1 ? '' : 's'} ${[...holdings.keys()].join(', ')} ${size === 1 ? 'is' : 'are'}`;
}

function describeShare(share: Share): string {
  return `${bundlesOf(share)} ${share.state} here, of ${share.group.id}${share.group.name === '' ? '' : ` '${share.group.name}'`}`;
}

/** Where a process is, to follow its name: ` on node-…`, or nothing. */
export const placeOf = ({ nodeId }: { readonly nodeId: string }): string => (nodeId === '' ? '' : ` on ${nodeId}`);

const nameOf = (demand: Demand): string => (demand.actorId !== '' ? demand.actorId : `'${demand.name || `demand ${demand.demandId}`}'`);

function describeLease(lease: Lease): string {
  const holder = lease.demand.actorId !== '' ? lease.demand.actorId : `${lease.demand.ownerId} for ${nameOf(lease.demand)}`;
  const worker = lease.workerId === '' ? 'a worker that starts' : lease.workerId;
  const bundle = lease.place.bundle === null ? '' : ` in ${lease.place.row} of ${lease.place.bundle.groupId}`;
  const blocked = lease.isBlocked ? '; its task waits for others' : '';
  const preempted = lease.preemption === null ? '' : `; it is preempted: ${lease.preemption}`;
  return `${lease.id} of ${formatResources(lease.resources)}${bundle} is ${lease.state}, held by ${holder}, on ${worker}${blocked}${preempted}`;
}
