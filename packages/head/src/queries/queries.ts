/** Answers the command line. The shapes of its questions and answers are in shapes.ts. */
import { makeError, MusterError, ownerOf, type TaskId } from '@muster/base';
import { failureToMessage, type LogOffsets, type LogPart, type LogsQuestion, type QueryRequest } from '@muster/protocol';
import type { Actor } from '../machine/actor.js';
import type { HeadMachine } from '../machine/head-machine.js';
import type { Job } from '../machine/jobs.js';
import { LIST_ROWS_MAX, LOGS_ANSWER_MAX_BYTES } from '../machine/limits.js';
import {
  explainActor, explainDeadNode, explainDeadProcess, explainDemand, explainGang, explainJob, explainLease, explainNode, explainOrphan, explainPlacementGroup, explainProcess, explainWorkerOf, explainWorkerRecord, placeOf,
} from './explain.js';
import { FanOut, type Answer, type Answers, type Asked } from './fan-out.js';
import { unknownId } from './known-ids.js';
import { rowFilter } from './list-fields.js';
import { actorRow, deadNodeRow, gangRow, groupRow, jobRow, nodeRow, workerRow } from './rows.js';
import {
  LIST_KINDS, type DrainAnswer, type ExplainAnswer, type ListAnswer, type ListKind, type LogsAnswer, type OwnedRow, type OwnerExplanation, type StopAnswer, type StopJobAnswer,
  type SubmitAnswer, type SummaryAnswer,
} from './shapes.js';
import { clusterSnapshot } from './snapshot.js';
import { clusterStatus, countStates } from './status.js';
import { submitJob } from './submit.js';

/** The tables that answers are drawn from. */
export type QueryTables = Pick<HeadMachine, 'context' | 'nodes' | 'queues' | 'processes' | 'jobs' | 'demands' | 'leases' | 'actors' | 'gangs' | 'groups' | 'claims'>;

/** What queries may bring about. */
export interface QueryActions {
  stopJob(job: Job): void;
  stopCluster(reason: string): void;
}

type Reply = (answer: object) => void;

/** Answers at once from the tables, or when those who know have answered. */
export class Queries {
  readonly #tables: QueryTables;
  readonly #actions: QueryActions;
  readonly #fanOut: FanOut;

  constructor(tables: QueryTables, actions: QueryActions) {
    this.#tables = tables;
    this.#actions = actions;
    this.#fanOut = new FanOut(tables.context);
  }

  handle(queryId: number, request: QueryRequest): void {
    const { context } = this.#tables;
    const attempt = (work: () => void): void => {
      try {
        work();
      } catch (error) {
        if (!(error instanceof MusterError)) throw error;
        context.answer(queryId, { failure: failureToMessage(error), json: '' });
      }
    };
    attempt(() => this.#answer(request, (answer) => context.answer(queryId, { failure: null, json: JSON.stringify(answer) }), attempt));
  }

  answered(askedId: string, requestId: number, answer: Answer): void {
    this.#fanOut.answered(askedId, requestId, answer);
  }

  tick(): void {
    this.#fanOut.tick();
  }

  /** `attempt` turns failures of later work into this query's. */
  #answer(request: QueryRequest, reply: Reply, attempt: (work: () => void) => void): void {
    const argument = (name: string): string => request.arguments[name] ?? '';
    switch (request.what) {
      case 'status': return reply(clusterStatus(this.#tables));
      case 'summary': return this.#summary(reply);
      case 'list': return this.#list(argument('kind'), request.arguments, reply);
      case 'explain': return this.#explain(argument('id'), reply, attempt);
      case 'logs': return this.#logs(argument('id'), readOffsets(request.json), reply);
      case 'snapshot': return reply(clusterSnapshot(this.#tables));
      case 'drain': return reply(this.#drain(argument('id'), argument('undo') !== 'true'));
      case 'submit': return reply({ jobId: submitJob(request.json, this.#tables) } satisfies SubmitAnswer);
      case 'stop-job': return reply(this.#stopJob(argument('id')));
      case 'stop':
        reply({ nodes: this.#tables.nodes.byId.size } satisfies StopAnswer);
        return this.#actions.stopCluster(argument('reason') || 'the cluster was stopped');
      default: throw invalid(`the query '${request.what}'`, 'status, summary, list, explain, logs, snapshot, drain, submit, stop-job or stop');
    }
  }

  #list(kind: string, options: Readonly<Record<string, string>>, reply: Reply): void {
    if (!isListKind(kind)) throw invalid(`the list '${kind}'`, LIST_KINDS.join(', '));
    const matches = rowFilter(kind, options['filter'] ?? '');
    const limit = Math.min(LIST_ROWS_MAX, Number(options['limit'] || LIST_ROWS_MAX));
    if (!(limit >= 0)) throw invalid(`limit '${options['limit']}'`, 'a number');
    const send = (all: readonly object[], busy: readonly string[]): void => {
      const rows = all.filter(matches) as ListAnswer['rows'][number][];
      reply({ rows: rows.slice(0, limit), matches: rows.length, busy } satisfies ListAnswer);
    };
    if (kind === 'tasks' || kind === 'objects') this.#askOwners(kind, send);
    else send(this.#ownRows(kind), []);
  }

  #ownRows(kind: Exclude<ListKind, 'tasks' | 'objects'>): object[] {
    const { context, nodes, jobs, actors, gangs, groups } = this.#tables;
    const live = [...nodes.byId.values()];
    switch (kind) {
      case 'nodes': return [...live.map((node) => nodeRow(node, this.#tables)), ...[...nodes.dead.values()].map((node) => deadNodeRow(node, context))];
      case 'actors': return [...actors.live.values(), ...actors.dead.values()].map((actor) => actorRow(actor, context));
      case 'gangs': return [...gangs.live.values(), ...gangs.dead.values()].map((gang) => gangRow(gang, this.#tables));
      case 'jobs': return [...jobs.finished.values(), ...jobs.running.values()].map((job) => jobRow(job, context));
      case 'groups': return [...groups.removed.values(), ...groups.live.values()].map((group) => groupRow(group, this.#tables));
      case 'workers': return live.flatMap((node) => [...node.workers.values()].map((worker) => workerRow(worker, node, this.#tables)));
    }
  }

  #askOwners(what: 'tasks' | 'objects', finish: (rows: OwnedRow[], busy: readonly string[]) => void): void {
    const { processes } = this.#tables;
    const asked = [...processes.byId.values()].filter((process) => process.stream !== null && process.jobId !== '').map((process): Asked => ({
      id: process.id, send: (requestId) => processes.send(process, { type: 'clientQuery', requestId, what, argument: '' }),
    }));
    this.#fanOut.ask(asked, ({ byId, silent }) => {
      const rows = [...byId].flatMap(([ownerId, answer]) => readRows(answer).map((row) => ({ ...row, ownerId })));
      finish(rows, silent);
    });
  }

  #summary(reply: Reply): void {
    const { actors } = this.#tables;
    this.#askOwners('tasks', (rows, busy) => reply({
      tasks: countStates(rows, 'name').map(([name, states]) => ({ name, states })),
      actors: countStates([...actors.live.values(), ...actors.dead.values()], 'className').map(([className, states]) => ({ className, states })),
      busy,
    } satisfies SummaryAnswer));
  }

  #explain(id: string, reply: Reply, attempt: (work: () => void) => void): void {
    const answer = this.#explainOwn(id);
    if (answer !== null) reply(answer);
    else this.#explainOwned(id, reply, attempt);
  }

  /** What the head itself knows. */
  #explainOwn(id: string): ExplainAnswer | null {
    const tables = this.#tables;
    const { nodes, processes, jobs, leases, actors, gangs, groups } = tables;
    const node = nodes.byId.get(id);
    if (node !== undefined) return explainNode(node, tables);
    const deadNode = nodes.dead.get(id);
    if (deadNode !== undefined) return explainDeadNode(deadNode, tables);
    const actor = actors.find(id) ?? actors.named(id);
    if (actor !== undefined) return explainActor(actor, tables);
    const gang = gangs.find(id);
    if (gang !== undefined) return explainGang(gang, tables);
    const job = jobs.find(id);
    if (job !== undefined) return explainJob(job, tables);
    const process = processes.byId.get(id);
    if (process !== undefined) return explainProcess(process, tables);
    const deadProcess = processes.dead.get(id);
    if (deadProcess !== undefined) return explainDeadProcess(deadProcess, tables);
    const group = groups.find(id);
    if (group !== undefined) return explainPlacementGroup(group, tables);
    const lease = leases.byId.get(id);
    if (lease !== undefined) return explainLease(lease, tables);
    for (const each of nodes.byId.values()) {
      const worker = each.workers.get(id);
      if (worker !== undefined) return explainWorkerRecord(worker, each, tables);
    }
    return null;
  }

  /** A task or an object: its owner is asked, and the scheduler's word is added while it waits for a lease. */
  #explainOwned(id: string, reply: Reply, attempt: (work: () => void) => void): void {
    const { processes } = this.#tables;
    const kind = id.startsWith('task-') ? 'task' : id.startsWith('obj-') ? 'object' : null;
    if (kind === null) throw unknownId(id, this.#tables);
    const owner = processes.ofOwnerKey(ownerOf(id as TaskId));
    const dead = processes.deadOfOwnerKey(ownerOf(id as TaskId));
    if (dead !== undefined) return reply(explainOrphan(id, kind, dead, this.#tables));
    if (owner === undefined || owner.stream === null) throw unknownId(id, this.#tables);
    const ask: Asked = { id: owner.id, send: (requestId) => processes.send(owner, { type: 'clientQuery', requestId, what: 'explain', argument: id }) };
    this.#fanOut.ask([ask], ({ byId }) => attempt(() => {
      const answer = byId.get(owner.id);
      if (answer === undefined) {
        return reply({ id, kind, state: 'unknown', lines: [`its owner ${owner.id} is busy and did not answer`] } satisfies ExplainAnswer);
      }
      const told = readExplanation(answer, owner.id);
      const demand = told.demandId === undefined ? undefined : owner.demands?.get(told.demandId);
      const reasons = demand === undefined ? [] : explainDemand(demand, this.#tables);
      const place = told.workerId === undefined ? [] : explainWorkerOf(told.workerId, this.#tables);
      reply({ id, kind, state: told.state, lines: [`owned by ${owner.id}${placeOf(owner)}`, ...told.lines, ...place, ...reasons] } satisfies ExplainAnswer);
    }));
  }

  #logs(id: string, from: LogOffsets | null, reply: Reply): void {
    const { nodes } = this.#tables;
    const nodeIds = [...new Set(this.#nodesOf(id))];
    const argument = JSON.stringify({ id, from, sizeMaxBytes: Math.floor(LOGS_ANSWER_MAX_BYTES / nodeIds.length) } satisfies LogsQuestion);
    const asked = nodeIds.flatMap((nodeId): Asked[] => {
      const node = nodes.byId.get(nodeId);
      return node === undefined ? [] : [{ id: nodeId, send: (requestId) => nodes.send(node, { type: 'nodeQuery', requestId, what: 'logs', argument }) }];
    });
    this.#fanOut.ask(asked, (answers) => {
      const missing = nodeIds.filter((nodeId) => answers.byId.get(nodeId)?.failure !== null);
      reply({ id, parts: joinParts(nodeIds, answers), missing } satisfies LogsAnswer);
    });
  }

  /** Where the output of this worker, actor or job is. */
  #nodesOf(id: string): string[] {
    const { nodes, processes, jobs, actors } = this.#tables;
    const actor = actors.find(id);
    if (actor !== undefined) return placesOf(actor);
    if (jobs.find(id) !== undefined) return [...nodes.byId.keys()];
    const process = processes.byId.get(id) ?? processes.dead.get(id);
    if (process?.kind === 'worker') return [process.nodeId];
    for (const node of nodes.byId.values()) if (node.workers.has(id)) return [node.id];
    throw invalid(`the id '${id}'`, 'that of a worker, an actor or a job');
  }

  #drain(nodeId: string, isDraining: boolean): DrainAnswer {
    const { nodes } = this.#tables;
    const node = nodes.byId.get(nodeId);
    if (node === undefined) throw invalid(`the node id '${nodeId}'`, 'that of a node that `cluster list nodes` shows, and is not dead');
    nodes.drain(node, isDraining);
    const actors = [...node.leases].filter((lease) => lease.demand.actorId !== '').length;
    return { nodeId, isDraining, tasks: node.leases.size - actors, actors };
  }

  #stopJob(jobId: string): StopJobAnswer {
    const job = this.#tables.jobs.find(jobId);
    if (job === undefined) throw invalid(`the job id '${jobId}'`, 'one that `cluster list jobs` shows');
    if (job.state === 'running') this.#actions.stopJob(job);
    return { jobId, state: job.state };
  }
}

const isListKind = (kind: string): kind is ListKind => (LIST_KINDS as readonly string[]).includes(kind);

function placesOf(actor: Actor): string[] {
  return [...actor.past.map((past) => past.nodeId), ...(actor.lease === null ? [] : [actor.lease.node.id])];
}

function readRows(answer: Answer): Record<string, unknown>[] {
  const rows = parse(answer.json);
  return Array.isArray(rows) ? rows.filter((row): row is Record<string, unknown> => typeof row === 'object' && row !== null) : [];
}

/** @throws MusterError PROTOCOL for an answer that is none */
function readExplanation(answer: Answer, ownerId: string): OwnerExplanation {
  const told = parse(answer.json) as Partial<OwnerExplanation> | null;
  if (typeof told?.state === 'string' && Array.isArray(told.lines)) return told as OwnerExplanation;
  throw makeError('PROTOCOL', { what: ownerId, cause: 'an explanation without state and lines' });
}

/** The nodes' parts in order. One that failed has none. */
function joinParts(nodeIds: readonly string[], { byId }: Answers): LogsAnswer['parts'] {
  return nodeIds.flatMap((nodeId) => {
    const parts = parse(byId.get(nodeId)?.json ?? '');
    return Array.isArray(parts) ? (parts as LogPart[]).map((part) => ({ nodeId, ...part })) : [];
  });
}

/** @throws MusterError INVALID_ARGUMENT */
function readOffsets(json: string): LogOffsets | null {
  if (json === '') return null;
  const offsets = parse(json);
  const isValid = typeof offsets === 'object' && offsets !== null && Object.values(offsets).every((offset) => Number.isSafeInteger(offset) && offset >= 0);
  if (!isValid) throw invalid('the offsets of logs', 'an object of whole numbers by the ids of logs');
  return offsets as LogOffsets;
}

const invalid = (what: string, want: string): MusterError => makeError('INVALID_ARGUMENT', { what, want });

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}
