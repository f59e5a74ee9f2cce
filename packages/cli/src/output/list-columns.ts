/** What the tables of `cluster list` show of each kind of thing; the JSON has all fields. */
import { formatDurationMs, formatSizeBytes } from '@muster/base';
import type { ActorRow, GroupRow, JobRow, ListKind, NodeRow, OwnedRow, WorkerRow } from '@muster/head';
import { formatUse } from './amounts.js';
import type { Column } from './table.js';

export type Kind = ListKind;
type Rows = { nodes: NodeRow; tasks: OwnedRow; actors: ActorRow; objects: OwnedRow; jobs: JobRow; workers: WorkerRow; groups: GroupRow };

const text = (row: OwnedRow, field: string): string => {
  const value = row[field];
  return value === undefined || value === null ? '' : Array.isArray(value) ? value.join(' ') : String(value);
};
/** Empty where nobody knows it: small values are not measured. */
const size = (row: OwnedRow, field: string): string => (typeof row[field] === 'number' && row[field] > 0 ? formatSizeBytes(row[field]) : '');
const age = { title: 'AGE', value: (row: { readonly ageMs: number }) => formatDurationMs(row.ageMs), align: 'right' } as const;

export const LIST_COLUMNS: { readonly [K in Kind]: readonly Column<Rows[K]>[] } = {
  nodes: [
    { title: 'NODE', value: (row) => row.nodeId },
    { title: 'STATE', value: (row) => row.state },
    { title: 'HOST', value: (row) => `${row.hostname}${row.isHeadNode ? ' (head)' : ''}`, shrinksTo: 12 },
    { title: 'CPUS', value: (row) => formatUse('cpu', row.total, row.available), align: 'right' },
    { title: 'GPUS', value: (row) => formatUse('gpu', row.total, row.available), align: 'right' },
    { title: 'OBJECTS', value: (row) => (row.objectStoreBytes > 0 ? `${formatSizeBytes(row.objectStoreUsedBytes)}/${formatSizeBytes(row.objectStoreBytes)}` : ''), align: 'right' },
    { title: 'WORKERS', value: (row) => (row.state === 'dead' ? '' : row.workers), align: 'right' },
    age,
    { title: 'WHY', value: (row) => row.detail, shrinksTo: 12 },
  ],
  tasks: [
    { title: 'TASK', value: (row) => text(row, 'taskId') },
    { title: 'NAME', value: (row) => text(row, 'name'), shrinksTo: 10 },
    { title: 'STATE', value: (row) => text(row, 'state') },
    { title: 'ATTEMPT', value: (row) => text(row, 'attempt'), align: 'right' },
    { title: 'WORKER', value: (row) => text(row, 'workerId') },
  ],
  actors: [
    { title: 'ACTOR', value: (row) => row.actorId },
    { title: 'CLASS', value: (row) => row.className, shrinksTo: 8 },
    { title: 'NAME', value: (row) => row.name, shrinksTo: 8 },
    { title: 'STATE', value: (row) => row.state },
    { title: 'NODE', value: (row) => row.nodeId },
    { title: 'RESTARTS', value: (row) => (row.restarts > 0 ? row.restarts : ''), align: 'right' },
    age,
    { title: 'WHY', value: (row) => row.reasons || row.cause, shrinksTo: 12 },
  ],
  objects: [
    { title: 'OBJECT', value: (row) => text(row, 'objectId') },
    { title: 'STATE', value: (row) => text(row, 'state') },
    { title: 'SIZE', value: (row) => size(row, 'sizeBytes'), align: 'right' },
    { title: 'NODES', value: (row) => text(row, 'nodes'), shrinksTo: 17 },
    { title: 'BORROWERS', value: (row) => text(row, 'borrowers'), shrinksTo: 9 },
  ],
  jobs: [
    { title: 'JOB', value: (row) => row.jobId },
    { title: 'NAME', value: (row) => row.name, shrinksTo: 8 },
    { title: 'KIND', value: (row) => row.kind },
    { title: 'QUEUE', value: (row) => row.queue, shrinksTo: 8 },
    { title: 'PRIORITY', value: (row) => (row.priority === 0 ? '' : row.priority), align: 'right' },
    { title: 'STATE', value: (row) => row.state },
    { title: 'PROGRAM', value: (row) => row.entrypoint, shrinksTo: 16 },
    { title: 'WORKERS', value: (row) => (row.state === 'running' ? row.workers : ''), align: 'right' },
    { title: 'TIME', value: (row) => formatDurationMs(row.durationMs), align: 'right' },
    { title: 'WHY', value: (row) => (row.state === 'succeeded' ? '' : row.cause), shrinksTo: 12 },
  ],
  workers: [
    { title: 'WORKER', value: (row) => row.workerId },
    { title: 'STATE', value: (row) => `${row.state}${row.isBlocked ? ' (waits for tasks)' : ''}` },
    { title: 'NODE', value: (row) => row.nodeId },
    { title: 'PID', value: (row) => row.pid, align: 'right' },
    { title: 'JOB', value: (row) => row.jobId },
    age,
  ],
  groups: [
    { title: 'GROUP', value: (row) => row.groupId },
    { title: 'NAME', value: (row) => row.name, shrinksTo: 8 },
    { title: 'STATE', value: (row) => row.state },
    { title: 'BUNDLES', value: (row) => row.nodes.length, align: 'right' },
    { title: 'STRATEGY', value: (row) => row.strategy },
    { title: 'NODES', value: (row) => [...new Set(row.nodes.filter((nodeId) => nodeId !== ''))].join(' '), shrinksTo: 17 },
    age,
    { title: 'WHY', value: (row) => row.reasons || row.cause, shrinksTo: 12 },
  ],
};

export const LIST_KINDS = Object.keys(LIST_COLUMNS) as readonly Kind[];
