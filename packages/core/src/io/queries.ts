/** What this process tells the head when a person asks: its unfinished tasks, its objects, and how one of them stands. */
import { formatSizeBytes, objectId, taskId } from '@muster/base';
import type { ClientQuery } from '@muster/protocol';
import type { TaskQueue } from '../machine/dispatcher.js';
import type { Owner } from '../machine/owner.js';
import { RefState } from '../machine/reference.js';
import { SlotState } from '../machine/slots.js';

/** Rows told at most; more are only counted. */
const LIST_MAX = 1000;

interface TaskRow {
  readonly taskId: string;
  readonly name: string;
  readonly state: string;
  /** Tries so far, this one included. */
  readonly attempt: number;
  readonly workerId: string;
}

const STATE_NAMES: Readonly<Record<number, string>> = {
  [SlotState.waiting]: 'waiting for arguments', [SlotState.queued]: 'queued', [SlotState.sent]: 'sent to a worker', [SlotState.delayed]: 'waiting for its next attempt',
};

/** The answer to a query, as JSON-able data; the shapes are the head's (`OwnerExplanation`, rows). */
export function answerQuery(owner: Owner, query: ClientQuery): unknown {
  switch (query.what) {
    case 'tasks': return listTasks(owner);
    case 'objects': return owner.objects.list(LIST_MAX).map((row) => ({ ...row, objectId: objectId(owner.key, row.sequence) }));
    case 'explain': return query.argument.startsWith('task-') ? explainTask(owner, query.argument) : explainObject(owner, query.argument);
    default: return { error: `unknown query '${query.what}'` };
  }
}

function* unfinished(owner: Owner): Generator<{ slot: number; row: TaskRow }> {
  const { slots } = owner;
  for (let slot = 0; slot < slots.length; slot++) {
    const state = STATE_NAMES[slots.states[slot]!];
    const ref = slots.refs[slot];
    if (!state || !ref || ref.state !== RefState.pending) continue;
    const line = slots.states[slot] === SlotState.sent ? owner.lines.of(slot) : undefined;
    yield { slot, row: { taskId: taskId(owner.key, ref.sequence), name: slots.specs[slot]!.options.name, state, attempt: slots.attempts[slot]! + 1, workerId: line?.target.workerId ?? '' } };
  }
}

function listTasks(owner: Owner): TaskRow[] {
  const rows: TaskRow[] = [];
  for (const { row } of unfinished(owner)) {
    rows.push(row);
    if (rows.length === LIST_MAX) break;
  }
  return rows;
}

function explainTask(owner: Owner, id: string): { state: string; lines: string[]; workerId?: string; demandId?: number } {
  for (const { slot, row } of unfinished(owner)) {
    if (row.taskId !== id) continue;
    const lines = [`${row.name}, attempt ${row.attempt}`];
    if (row.workerId) return { state: row.state, lines, workerId: row.workerId };
    const spec = owner.slots.specs[slot]!;
    if (slotIs(owner, slot, SlotState.queued) && spec.fn) return { state: row.state, lines, demandId: (spec.queue as TaskQueue).id };
    return { state: row.state, lines };
  }
  const sequence = Number(id.slice(id.lastIndexOf('-') + 1));
  const failed = owner.failures.find(sequence);
  if (failed) return { state: 'failed', lines: [`${failed.name}, attempt ${failed.attempt}`, failed.why] };
  if (!wasMade(owner, sequence)) return { state: 'unknown', lines: ['its owner has submitted no task with this id'] };
  return { state: 'finished', lines: ['it is done; only unfinished and failed tasks are remembered'] };
}

const wasMade = (owner: Owner, sequence: number): boolean => sequence >= 1 && sequence <= owner.objects.madeCount;

const slotIs = (owner: Owner, slot: number, state: number): boolean => owner.slots.states[slot] === state;

function explainObject(owner: Owner, id: string): { state: string; lines: string[] } {
  const sequence = Number(id.slice(id.lastIndexOf('-') + 1));
  const row = owner.objects.list(Infinity).find((each) => each.sequence === sequence);
  if (!row && [...unfinished(owner)].some((each) => each.row.taskId === taskId(owner.key, sequence))) return explainTask(owner, taskId(owner.key, sequence));
  if (!row && !wasMade(owner, sequence)) return { state: 'unknown', lines: ['its owner has made no object with this id'] };
  if (!row) return { state: 'inline or gone', lines: ['small values lie with their owner and are not tracked one by one'] };
  return { state: row.state, lines: [`${formatSizeBytes(row.sizeBytes)} on ${row.nodes.join(', ') || 'no node'}`, `borrowed by ${row.borrowers.join(', ') || 'nobody'}`] };
}
