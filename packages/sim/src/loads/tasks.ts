/** `kind = "tasks"`: independent tasks with an arrival process and durations that are drawn. */
import type { Random, ResourceOptions } from '@muster/base';
import type { CallOptions } from '../code-context.js';
import { readDurations, type Distribution } from '../scenario-file/distribution.js';
import type { Fields } from '../scenario-file/fields.js';
import type { LoadPlan } from './load.js';
import { taskLoad, type TaskPlan } from './task-load.js';

/** What a simulation on one machine can keep. */
export const TASKS_MAX = 20_000_000;
/** A head has as many drivers as it has jobs; a thousand is plenty. */
export const OWNERS_MAX = 1000;
export const RETRIES_MAX = 1000;

/** Reads the workload. @throws MusterError INVALID_ARGUMENT */
export function readTasks(fields: Fields): LoadPlan {
  const isPerNode = fields.has('count-per-node');
  const count = fields.integer(isPerNode ? 'count-per-node' : 'count', { min: 1, max: TASKS_MAX });
  const arrivals = readArrivals(fields);
  const durations = readDurations(fields, 'duration');
  const owners = fields.integer('owners', { min: 1, max: OWNERS_MAX }, 1);
  const demand = readDemand(fields, 1);
  return ({ name, random, nodeCount }) => taskLoad(name, drawTasks({ count: isPerNode ? count * nodeCount : count, arrivals, durations, owners, demand, random }));
}

/** What tasks and actors ask for. */
export function readDemand(fields: Fields, cpus: number): CallOptions {
  const resources: ResourceOptions = {
    cpus: fields.number('cpus', { min: 0 }, cpus), gpus: fields.number('gpus', { min: 0 }, 0), memory: fields.sizeBytes('memory', '0'), resources: fields.amounts('resources'),
  };
  return { ...resources, retries: fields.integer('retries', { min: 0, max: RETRIES_MAX }, 3) };
}

/** Draws the times between arrivals; null: all at once. */
export function readArrivals(fields: Fields): Distribution | null {
  const inner = fields.optionalTable('arrival');
  if (inner === null) return null;
  const process = inner.choice('process', ['burst', 'uniform', 'poisson']);
  if (process === 'burst') {
    inner.end();
    return null;
  }
  const meanMs = 1000 / inner.number('per-second', { min: 1e-6, max: 1e6 });
  inner.end();
  return { sample: process === 'uniform' ? () => meanMs : (random) => -meanMs * Math.log(1 - random.next()) };
}

interface Drawn {
  readonly count: number;
  readonly arrivals: Distribution | null;
  readonly durations: Distribution;
  readonly owners: number;
  readonly demand: CallOptions;
  readonly random: Random;
}

function drawTasks({ count, arrivals, durations, owners, demand, random }: Drawn): TaskPlan {
  const arrivalsMs = new Float64Array(count);
  const durationsMs = new Float64Array(count);
  for (let index = 0, atMs = 0; index < count; index++) {
    if (arrivals) arrivalsMs[index] = atMs += arrivals.sample(random);
    durationsMs[index] = durations.sample(random);
  }
  return { count, arrivalsMs, durationsMs, demandOf: new Uint16Array(count), demands: [demand], owners };
}
