/** `kind = "objects"`: large results that other tasks read, on whatever nodes they run: objects are stored, copied between nodes, spilled and freed. */
import { MusterError, type ErrorCode, type Random } from '@muster/base';
import type { CallOptions, CodeContext } from '../code-context.js';
import { Violation } from '../violation.js';
import type { Program } from '../program.js';
import { readDurations, type Distribution } from '../scenario-file/distribution.js';
import type { Fields } from '../scenario-file/fields.js';
import { Large } from '../values.js';
import { runAll, type Arrivals } from './arrivals.js';
import { newTally, type Load, type LoadPlan, type Stage } from './load.js';
import { readArrivals, readDemand } from './tasks.js';

const OBJECTS_MAX = 1_000_000;
const READERS_MAX = 1000;
/** What befalls objects and tasks without attempts left, where there are faults. */
const LOSSES: readonly ErrorCode[] = ['WORKER_DIED', 'NODE_DIED', 'OBJECT_LOST'];

interface ObjectPlan extends Arrivals {
  readonly sizeBytes: number;
  /** Tasks that read each. */
  readonly readers: number;
  readonly durations: Distribution;
  readonly demand: CallOptions;
}

/** Reads the workload. @throws MusterError INVALID_ARGUMENT */
export function readObjects(fields: Fields): LoadPlan {
  const plan: ObjectPlan = {
    count: fields.integer('count', { min: 1, max: OBJECTS_MAX }), sizeBytes: fields.sizeBytes('size'), readers: fields.integer('readers', { min: 1, max: READERS_MAX }, 1),
    arrivals: readArrivals(fields), durations: readDurations(fields, 'duration'), demand: readDemand(fields, 1),
  };
  return ({ name, random }) => objectLoad(name, plan, random);
}

function objectLoad(name: string, plan: ObjectPlan, random: Random): Load {
  const tally = newTally(plan.count * (1 + plan.readers));
  let stage: Stage;

  /** One object and those that read it. */
  function* share(code: CodeContext, index: number): Program<void> {
    const made = code.call(`${name}-make`, [index, plan.durations.sample(random)], plan.demand);
    const read = Array.from({ length: plan.readers }, () => code.call(`${name}-read`, [made, plan.durations.sample(random)], plan.demand));
    tally.submitted += 1 + plan.readers;
    code.drop(made);
    tally.done++; // if it is not made, nobody reads it
    for (const ref of read) {
      try {
        const value = yield* code.get(ref);
        if (value !== index) throw new Violation(`${name}: object ${index} was read as ${String(value)}`);
        tally.done++;
      } catch (error) {
        if (!stage.hasFaults || !(error instanceof MusterError) || !LOSSES.includes(error.code)) throw error;
        tally.failed++;
      }
      code.drop(ref);
    }
  }

  return {
    name, tally, lastArrivalMs: 0,
    library: {
      classes: {},
      functions: {
        *[`${name}-make`](code: CodeContext, index: number, durationMs: number) {
          yield* code.work(durationMs + stage.costs.workerTaskMs);
          return new Large(index, plan.sizeBytes);
        },
        *[`${name}-read`](code: CodeContext, index: number, durationMs: number) {
          yield* code.work(durationMs + stage.costs.workerTaskMs);
          return index;
        },
      },
    },
    start: (its) => {
      stage = its;
      its.driver((code) => runAll(code, plan, random, (index) => share(code, index)));
    },
    check: () => {
      if (tally.done + tally.failed !== tally.planned) throw new Violation(`${name}: of ${tally.planned} tasks, ${tally.done} are done and ${tally.failed} failed`);
    },
  };
}
