/**
 * Branded identifiers. Every id is a string with a readable prefix, so that a log line or an
 * error message says what kind of thing it names. Random parts come from the `Random` port: the same
 * seed gives the same ids in the simulation.
 */
import type { Random } from './ports.js';

declare const brand: unique symbol;
type Id<Kind extends string> = string & { readonly [brand]: Kind };

/** A machine, as one daemon: `node-3f9a1c0b7d24`. */
export type NodeId = Id<'node'>;
/** One program's use of the cluster, from connect to disconnect: `job-…`. */
export type JobId = Id<'job'>;
/** A process that can own references: a driver (`driver-…`) or a worker (`worker-…`). */
export type ProcessId = Id<'process'>;
/** A worker process. Every worker id is also a process id. */
export type WorkerId = ProcessId;
/** One submitted task, named after its owner: `task-<owner>-<sequence>`. */
export type TaskId = Id<'task'>;
/** An actor, through all of its restarts: `actor-…`. */
export type ActorId = Id<'actor'>;
/** An immutable value, named after its owner: `obj-<owner>-<sequence>`. */
export type ObjectId = Id<'object'>;
/** The right of one owner to run on one worker: `lease-…`. */
export type LeaseId = Id<'lease'>;
/** Bundles that are placed together: `pg-…`. */
export type GroupId = Id<'group'>;

interface Prefixes {
  node: NodeId;
  job: JobId;
  driver: ProcessId;
  worker: ProcessId;
  actor: ActorId;
  lease: LeaseId;
  pg: GroupId;
}

const RANDOM_ID_DIGITS = 12; // 48 bits: 1e-4 chance of one collision among 240,000 ids of a kind

/** Makes a fresh random id such as `node-3f9a1c0b7d24`. */
export function newId<P extends keyof Prefixes>(prefix: P, random: Random): Prefixes[P] {
  return `${prefix}-${random.hex(RANDOM_ID_DIGITS)}` as Prefixes[P];
}

/** The random part of a process id, which names everything the process owns. */
export function ownerKey(process: ProcessId): string {
  return process.slice(process.indexOf('-') + 1);
}

/** The id of the object with this sequence number among those that `owner` creates. */
export function objectId(owner: string, sequence: number): ObjectId {
  return `obj-${owner}-${sequence}` as ObjectId;
}

/** The id of the task with this sequence number among those that `owner` submits. */
export function taskId(owner: string, sequence: number): TaskId {
  return `task-${owner}-${sequence}` as TaskId;
}

/** The owner's key inside an object or task id. */
export function ownerOf(id: ObjectId | TaskId): string {
  return id.split('-', 3)[1] ?? '';
}
