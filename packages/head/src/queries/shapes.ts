/**
 * What Head.Query answers: for each `what`, the arguments it takes and the JSON in its reply. Amounts of resources are in whole
 * units, ages and durations in milliseconds. A text is empty and a number null where there is nothing to say.
 *
 * | what     | arguments                               | json in               | json out        |
 * |----------|-----------------------------------------|-----------------------|-----------------|
 * | status   |                                         |                       | StatusAnswer    |
 * | summary  |                                         |                       | SummaryAnswer   |
 * | list     | kind, filter? (`k=v,k=v`), limit?       |                       | ListAnswer      |
 * | explain  | id (also the name of an actor)          |                       | ExplainAnswer   |
 * | logs     | id (of a worker, an actor or a job)     | LogOffsets, or none   | LogsAnswer      |
 * | snapshot |                                         |                       | SnapshotAnswer  |
 * | drain    | id (of a node), undo? (`true`)          |                       | DrainAnswer     |
 * | submit   |                                         | JobSpec               | SubmitAnswer    |
 * | stop-job | id                                      |                       | StopJobAnswer   |
 * | stop     | reason?                                 |                       | StopAnswer      |
 *
 * Fails with INVALID_ARGUMENT for an unknown `what`, kind or id, and with BACKPRESSURE while too many queries wait.
 */
import type { LogPart } from '@muster/protocol';
import type { NodeSnapshot, WantedGroups, WantedTasks } from '@muster/scheduler';

/** Amounts by resource name, in whole units (`memory` in bytes). */
export type Amounts = Readonly<Record<string, number>>;

/** The cluster at a glance. */
export interface StatusAnswer {
  readonly clusterId: string;
  readonly address: string;
  readonly uptimeMs: number;
  readonly nodes: { readonly alive: number; readonly draining: number; readonly unreachable: number; readonly dead: number };
  readonly total: Amounts;
  readonly available: Amounts;
  /** What placement groups hold and nothing in them uses. Total less this and less what is available is in use. */
  readonly reserved: Amounts;
  readonly objectStore: { readonly totalBytes: number; readonly usedBytes: number; readonly spilledBytes: number; readonly objects: number };
  readonly jobs: { readonly running: number; readonly finished: number };
  readonly drivers: number;
  readonly workers: number;
  readonly leases: { readonly starting: number; readonly running: number; readonly ending: number };
  /** Live actors by state. */
  readonly actors: Readonly<Record<string, number>>;
  /** Live placement groups by state. */
  readonly groups: Readonly<Record<string, number>>;
  readonly queues: readonly QueueRow[];
  /** The longest waiting first, and how many there are beyond them. */
  readonly waiting: readonly WaitingRow[];
  readonly waitingMore: { readonly requests: number; readonly demands: number };
}

/** A queue, and what its jobs have and want. */
export interface QueueRow {
  readonly name: string;
  readonly weight: number;
  /** The most it may hold; a resource that is absent is not limited. */
  readonly quota: Amounts;
  readonly held: Amounts;
  /** The largest share that it holds of any of the cluster's resources, divided by its weight. */
  readonly share: number;
  /** Those that run. */
  readonly jobs: number;
  /** Demands that wait. */
  readonly waiting: number;
}

/** What waits for the same thing, and why. */
export interface WaitingRow {
  readonly kind: 'leases' | 'group';
  /** For people: `2 cpu, 1 gpu`. */
  readonly request: string;
  readonly queue: string;
  readonly priority: number;
  /** Owners and actors that wait for it, or placement groups. */
  readonly demands: number;
  /** How many leases they want, together, beside those that they have; of groups, how many bundles. */
  readonly leases: number;
  /** How long the first of them has waited, for its next lease or since the group was asked for. */
  readonly waitingMs: number;
  /** No node could ever hold it, and it does not wait for one. */
  readonly isInfeasible: boolean;
  readonly reasons: string;
}

/** The cluster as a planner sees it. Amounts are in units of 1/10000. */
export interface SnapshotAnswer {
  readonly nodes: readonly NodeSnapshot[];
  /** What waits for nodes, or for room on them. */
  readonly waiting: { readonly tasks: readonly WaitingTasks[]; readonly groups: readonly WaitingGroups[] };
}

/** Leases of tasks and actors that ask for the same. */
export interface WaitingTasks extends WantedTasks {
  /** Of one of them. */
  readonly name: string;
}

/** Placement groups that ask for the same; of one that has lost bundles, these. */
export interface WaitingGroups extends WantedGroups {
  /** Of the first of them. */
  readonly name: string;
}

/** Tasks and actors, counted. */
export interface SummaryAnswer {
  /** Counts by state, of the tasks of one name. */
  readonly tasks: readonly { readonly name: string; readonly states: Readonly<Record<string, number>> }[];
  /** Counts by state, of the actors of one class. */
  readonly actors: readonly { readonly className: string; readonly states: Readonly<Record<string, number>> }[];
  /** Owners that did not answer in time, because they were busy: their tasks are not counted. */
  readonly busy: readonly string[];
}

/** What can be listed. */
export const LIST_KINDS = ['nodes', 'tasks', 'actors', 'gangs', 'objects', 'jobs', 'workers', 'groups'] as const;
/** One of {@link LIST_KINDS}. */
export type ListKind = (typeof LIST_KINDS)[number];

/** Rows of the kind that was asked for. */
export interface ListAnswer {
  readonly rows: readonly (NodeRow | ActorRow | GangRow | JobRow | WorkerRow | GroupRow | OwnedRow)[];
  /** How many rows match, those beyond the limit included. */
  readonly matches: number;
  /** Owners that did not answer in time, because they were busy. Only tasks and objects have owners. */
  readonly busy: readonly string[];
}

/** A node, dead ones included. */
export interface NodeRow {
  readonly nodeId: string;
  /** A draining one is alive and takes no more leases. */
  readonly state: 'alive' | 'draining' | 'unreachable' | 'dead';
  readonly hostname: string;
  readonly pid: number | null;
  readonly address: string;
  readonly isHeadNode: boolean;
  readonly total: Amounts;
  readonly available: Amounts;
  readonly labels: Readonly<Record<string, string>>;
  readonly leases: number;
  readonly workers: number;
  readonly objectStoreBytes: number;
  readonly objectStoreUsedBytes: number;
  readonly spilledBytes: number;
  readonly objects: number;
  /** Since it registered, or, of a dead one, since its death. */
  readonly ageMs: number;
  /** Why it is dead. */
  readonly detail: string;
}

/** An actor, dead ones included. */
export interface ActorRow {
  readonly actorId: string;
  readonly name: string;
  readonly className: string;
  readonly state: string;
  readonly jobId: string;
  readonly ownerId: string;
  readonly isDetached: boolean;
  readonly incarnation: number;
  readonly restarts: number;
  /** -1: always. */
  readonly maxRestarts: number;
  /** Empty: it is in none. */
  readonly gangId: string;
  /** In its gang. */
  readonly rank: number;
  readonly nodeId: string;
  readonly workerId: string;
  readonly pid: number | null;
  readonly resources: Amounts;
  /** Why it waits. */
  readonly reasons: string;
  /** Why it, or its last incarnation, is dead. */
  readonly cause: string;
  readonly ageMs: number;
}

/** A gang, dead ones included. */
export interface GangRow {
  readonly gangId: string;
  readonly name: string;
  readonly className: string;
  readonly state: string;
  readonly jobId: string;
  readonly ownerId: string;
  /** Members, and how many of them are alive. */
  readonly size: number;
  readonly alive: number;
  /** Where members are. */
  readonly nodes: readonly string[];
  readonly groupId: string;
  readonly strategy: string;
  readonly onFailure: 'fail' | 'restart-all' | 'restart-member';
  readonly incarnation: number;
  readonly restarts: number;
  /** -1: always. */
  readonly maxRestarts: number;
  /** Why it waits. */
  readonly reasons: string;
  /** Why it, or its last incarnation, is dead. */
  readonly cause: string;
  readonly ageMs: number;
}

/** A job, finished ones included. */
export interface JobRow {
  readonly jobId: string;
  readonly kind: 'driver' | 'submitted' | 'actor';
  /** What its submitter calls it. */
  readonly name: string;
  readonly queue: string;
  readonly priority: number;
  readonly state: 'running' | 'succeeded' | 'failed' | 'stopped';
  readonly entrypoint: string;
  /** Where a submitted job's program runs. */
  readonly nodeId: string;
  readonly drivers: readonly string[];
  readonly workers: number;
  readonly exitCode: number | null;
  readonly cause: string;
  readonly ageMs: number;
  readonly durationMs: number;
}

/** A worker process of a live node. */
export interface WorkerRow {
  readonly workerId: string;
  readonly state: 'starting' | 'idle' | 'leased' | 'actor';
  readonly nodeId: string;
  readonly pid: number;
  readonly jobId: string;
  readonly leaseId: string;
  /** Who holds its lease. */
  readonly ownerId: string;
  readonly actorId: string;
  /** Its task waits for others, and its cpus are lent out. */
  readonly isBlocked: boolean;
  readonly ageMs: number;
}

/** A placement group, removed ones included. */
export interface GroupRow {
  readonly groupId: string;
  readonly name: string;
  readonly state: 'pending' | 'preparing' | 'created' | 'repairing' | 'removed';
  readonly jobId: string;
  readonly ownerId: string;
  readonly strategy: string;
  /** For people: `8 bundles on a node each, all in one rack`. */
  readonly request: string;
  /** Of all bundles together. */
  readonly resources: Amounts;
  /** By bundle; empty where one has no place. */
  readonly nodes: readonly string[];
  /** Why it waits. */
  readonly reasons: string;
  /** Why it was removed, if nobody asked for that. */
  readonly cause: string;
  readonly ageMs: number;
}

/** A task or an object, as its owner tells of it. */
export interface OwnedRow extends Readonly<Record<string, unknown>> {
  readonly ownerId: string;
}

/** Why something is as it is. */
export interface ExplainAnswer {
  readonly id: string;
  readonly kind: 'node' | 'actor' | 'gang' | 'job' | 'worker' | 'driver' | 'task' | 'object' | 'group' | 'lease';
  readonly state: string;
  /** For people, one sentence each: where it is or was, what it waits for, why it is dead. */
  readonly lines: readonly string[];
}

/**
 * What an owner answers to clientQuery `explain` about a task or an object of its own. `demandId` is set while a task waits for a
 * lease: the head adds what the scheduler says. Clients answer `tasks` and `objects` with an array of rows, which the head passes on; a
 * task's row has `name` and `state`.
 */
export interface OwnerExplanation {
  readonly state: string;
  readonly lines: readonly string[];
  /** Where the task is. */
  readonly workerId?: string;
  /** What it waits for. */
  readonly demandId?: number;
}

/**
 * What was printed, as far as the nodes keep it. Without offsets in the question it is the last part of each log; with them, the next part of each
 * log from its offset on (of one without an offset, from its beginning): `endOffset` is where to go on. Logs without anything more are left out.
 */
export interface LogsAnswer {
  readonly id: string;
  readonly parts: readonly (LogPart & { readonly nodeId: string })[];
  /** Nodes that did not answer, or are dead: their part is missing. */
  readonly missing: readonly string[];
}

/** A program to run on the head's node. */
export interface JobSpec {
  readonly argv: readonly string[];
  /** For people; need not be unique. Empty: none. */
  readonly name: string;
  /** Empty: the default one. */
  readonly queue: string;
  readonly priority: number;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

/** What is left on the node. */
export interface DrainAnswer {
  readonly nodeId: string;
  readonly isDraining: boolean;
  /** Workers that tasks' owners hold. */
  readonly tasks: number;
  readonly actors: number;
}

/** The job that has been made. */
export interface SubmitAnswer {
  readonly jobId: string;
}

/** How the job stands now. */
export interface StopJobAnswer {
  readonly jobId: string;
  /** `running`: it has been told to stop. */
  readonly state: JobRow['state'];
}

/** How many nodes have been told to stop. */
export interface StopAnswer {
  readonly nodes: number;
}
