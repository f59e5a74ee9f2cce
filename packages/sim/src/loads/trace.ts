/** `kind = "trace"`: the tasks of a published trace, with their arrivals, durations and demands; time may run faster than it did. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { CallOptions } from '../code-context.js';
import type { Fields } from '../scenario-file/fields.js';
import type { NodeGroup } from '../scenario-file/node-groups.js';
import type { LoadPlan } from './load.js';
import { taskLoad, type TaskPlan } from './task-load.js';
import { OWNERS_MAX, RETRIES_MAX, TASKS_MAX } from './tasks.js';
import { readTrace, TRACE_FORMS, type TraceRow } from './trace-file.js';

const MIB = 2 ** 20;
const TIME_SCALE_MAX = 1000;

/** Where the trace's file is looked for, and what there is to run it on. */
export interface TraceSurroundings {
  readonly folder: string;
  readonly groups: readonly NodeGroup[];
}

/** Reads the workload and its file. @throws MusterError INVALID_ARGUMENT */
export function readTraceLoad(fields: Fields, { folder, groups }: TraceSurroundings): LoadPlan {
  const form = fields.choice('form', TRACE_FORMS);
  const file = fields.text('file');
  const timeScale = fields.number('time-scale', { min: 1e-9, max: TIME_SCALE_MAX }, 1);
  const owners = fields.integer('owners', { min: 1, max: OWNERS_MAX }, 1);
  const retries = fields.integer('retries', { min: 0, max: RETRIES_MAX }, 3);
  const limit = fields.integer('limit', { min: 1, max: TASKS_MAX }, TASKS_MAX);
  let text: string;
  try {
    text = readFileSync(resolve(folder, file), 'utf8');
  } catch (error) {
    throw fields.error('file', `a file that can be read, beside the scenario (${(error as Error).message})`);
  }
  const { rows } = readTrace(file, text, form);
  if (rows.length === 0) throw fields.error('file', 'a trace with at least one row that ran');
  const oversized = rows.find((row) => !groups.some((group) => fitsGroup(row, group)));
  if (oversized) throw fields.error('file', `one whose tasks fit some node: one asks for ${oversized.cpus} cpus, ${oversized.gpus} gpus and ${Math.ceil(oversized.memoryMib)} MiB`);
  const plan = planOf(rows, { timeScale, owners, retries, limit });
  return ({ name }) => taskLoad(name, plan);
}

function fitsGroup(row: TraceRow, { spec }: NodeGroup): boolean {
  const { cpus, resources = {} } = spec(0);
  return row.cpus <= cpus && wholeGpus(row.gpus) <= (resources['gpu'] ?? 0) && row.memoryMib <= (resources['memory'] ?? Infinity);
}

/** Several GPUs are whole ones. */
const wholeGpus = (gpus: number): number => (gpus > 1 ? Math.ceil(gpus) : gpus);

interface PlanOptions {
  readonly timeScale: number;
  readonly owners: number;
  readonly retries: number;
  /** Tasks at most; the first ones. */
  readonly limit: number;
}

function planOf(rows: readonly TraceRow[], { timeScale, owners, retries, limit }: PlanOptions): TaskPlan {
  const count = Math.min(limit, rows.reduce((sum, row) => sum + row.instances, 0));
  const arrivalsMs = new Float64Array(count);
  const durationsMs = new Float64Array(count);
  const demandOf = new Uint16Array(count);
  const demands: CallOptions[] = [];
  const known = new Map<string, number>();
  const demandNumber = ({ cpus, gpus, memoryMib }: TraceRow): number => {
    const demand: CallOptions = { cpus, gpus: wholeGpus(gpus), memory: Math.ceil(memoryMib) * MIB, retries };
    const key = JSON.stringify(demand);
    let number = known.get(key);
    if (number === undefined) known.set(key, (number = demands.push(demand) - 1));
    return number;
  };
  const beginS = rows[0]!.arrivalS;
  let index = 0;
  for (const row of rows) {
    for (let instance = 0; instance < row.instances && index < count; instance++, index++) {
      arrivalsMs[index] = (row.arrivalS - beginS) * 1000 * timeScale;
      durationsMs[index] = row.durationS * 1000 * timeScale;
      demandOf[index] = demandNumber(row);
    }
  }
  return { count, arrivalsMs, durationsMs, demandOf, demands, owners };
}
