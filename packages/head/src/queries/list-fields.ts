/** The fields by which a list can be filtered: those of its rows. The compiler holds them to the shapes. */
import { makeError } from '@muster/base';
import type { ActorRow, GroupRow, JobRow, ListKind, NodeRow, WorkerRow } from './shapes.js';

type FieldsOf<Row> = Readonly<Record<keyof Row, true>>;

const NODE: FieldsOf<NodeRow> = {
  nodeId: true, state: true, hostname: true, pid: true, address: true, isHeadNode: true, total: true, available: true, labels: true, leases: true,
  workers: true, objectStoreBytes: true, objectStoreUsedBytes: true, spilledBytes: true, objects: true, ageMs: true, detail: true,
};
const ACTOR: FieldsOf<ActorRow> = {
  actorId: true, name: true, className: true, state: true, jobId: true, ownerId: true, isDetached: true, incarnation: true, restarts: true,
  maxRestarts: true, nodeId: true, workerId: true, pid: true, resources: true, reasons: true, cause: true, ageMs: true,
};
const JOB: FieldsOf<JobRow> = {
  jobId: true, kind: true, name: true, queue: true, priority: true, state: true, entrypoint: true, nodeId: true, drivers: true, workers: true, exitCode: true, cause: true,
  ageMs: true, durationMs: true,
};
const WORKER: FieldsOf<WorkerRow> = {
  workerId: true, state: true, nodeId: true, pid: true, jobId: true, leaseId: true, ownerId: true, actorId: true, isBlocked: true, ageMs: true,
};
const GROUP: FieldsOf<GroupRow> = {
  groupId: true, name: true, state: true, jobId: true, ownerId: true, strategy: true, request: true, resources: true, nodes: true, reasons: true, cause: true,
  ageMs: true,
};
/** Owners tell of these; see the queries of @muster/core. */
const TASK = { taskId: true, name: true, state: true, attempt: true, workerId: true, ownerId: true } as const;
const OBJECT = { objectId: true, sequence: true, state: true, sizeBytes: true, nodes: true, borrowers: true, inFlight: true, ownerId: true } as const;

const FIELDS: Readonly<Record<ListKind, object>> = { nodes: NODE, tasks: TASK, actors: ACTOR, objects: OBJECT, jobs: JOB, workers: WORKER, groups: GROUP };

/** Reads `k=v,k=v`: a row matches when each of its fields, as text, is equal. @throws MusterError INVALID_ARGUMENT for a field that the kind has not */
export function rowFilter(kind: ListKind, filter: string): (row: object) => boolean {
  const wanted = filter.split(',').filter((part) => part !== '').map((part) => {
    const [key = '', ...value] = part.split('=');
    if (!Object.hasOwn(FIELDS[kind], key)) {
      throw makeError('INVALID_ARGUMENT', { what: `the filter '${part}'`, want: `by a field of ${kind}: ${Object.keys(FIELDS[kind]).join(', ')}` });
    }
    return [key, value.join('=')] as const;
  });
  return (row) => wanted.every(([key, value]) => String((row as Record<string, unknown>)[key] ?? '') === value);
}
