/** What this process tells the head when a person asks: its unfinished tasks, its objects, and why one of its tasks waits. */
import { taskId } from '@muster/base';
import type { ClientQuery } from '@muster/protocol';
import type { TaskQueue } from '../machine/dispatcher.js';
import type { Owner } from '../machine/owner.js';
import { RefState, StoredObject } from '../machine/reference.js';
import { SlotState } from '../machine/slots.js';

/** Tasks listed at most; more are only counted. */
const LIST_MAX = 1000;

export interface TaskRow {
  readonly id: string;
  readonly name: string;
  readonly state: 'waiting for arguments' | 'queued' | 'running' | 'waiting for a retry';
  readonly attempt: number;
  readonly workerId: string;
  /** Why it is queued, in the scheduler's words. */
  readonly reasons: string;
}

const STATE_NAMES: Readonly<Record<number, TaskRow['state']>> = {
  [SlotState.waiting]: 'waiting for arguments', [SlotState.queued]: 'queued', [SlotState.sent]: 'running', [SlotState.delayed]: 'waiting for a retry',
};

/** The answer to a query, as JSON-able data. */
export function answerQuery(owner: Owner, query: ClientQuery): unknown {
  switch (query.what) {
    case 'tasks': return { tasks: listTasks(owner, LIST_MAX), total: owner.slots.usedCount };
    case 'objects': return { exported: owner.objects.exportedCount };
    case 'explain': return { task: listTasks(owner, Infinity).find((task) => task.id === query.argument) ?? null };
    default: return { error: `unknown query '${query.what}'` };
  }
}

function listTasks(owner: Owner, limit: number): TaskRow[] {
  const { slots } = owner;
  const rows: TaskRow[] = [];
  for (let slot = 0; slot < slots.length && rows.length < limit; slot++) {
    const state = STATE_NAMES[slots.states[slot]!];
    const spec = slots.specs[slot];
    const ref = slots.refs[slot];
    if (!state || !spec || !ref || ref.state !== RefState.pending || ref.value instanceof StoredObject) continue;
    const line = state === 'running' ? owner.line(slots.lines[slot]!) : undefined;
    const reasons = state === 'queued' && spec.fn ? (spec.queue as TaskQueue).waitReasons : '';
    rows.push({ id: taskId(owner.key, ref.sequence), name: spec.options.name, state, attempt: slots.attempts[slot]! + 1, workerId: line?.target.workerId ?? '', reasons });
  }
  return rows;
}
