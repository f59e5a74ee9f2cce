/** `kind = "groups"`: gangs. Each waits for its bundles, all together or none, runs a task in every one of them, and gives them back. */
import { MusterError, type ErrorCode, type Random, type ResourceOptions } from '@muster/base';
import type { CodeContext } from '../code-context.js';
import type { Program } from '../program.js';
import { readDurations, type Distribution } from '../scenario-file/distribution.js';
import type { Fields } from '../scenario-file/fields.js';
import { Violation } from '../violation.js';
import { runAll, type Arrivals } from './arrivals.js';
import { newTally, type Load, type LoadPlan, type Stage } from './load.js';
import { readArrivals, readDemand } from './tasks.js';

const GROUPS_MAX = 100_000;
const BUNDLES_MAX = 1000;
const STRATEGIES = ['pack', 'spread', 'strict-pack', 'strict-spread'] as const;
/** What befalls a task without attempts left, where there are faults. */
const DEATHS: readonly ErrorCode[] = ['WORKER_DIED', 'NODE_DIED'];

interface GroupPlan extends Arrivals {
  readonly bundles: number;
  readonly strategy: (typeof STRATEGIES)[number];
  readonly durations: Distribution;
  readonly resources: ResourceOptions;
  readonly retries: number;
}

/** Reads the workload. @throws MusterError INVALID_ARGUMENT */
export function readGroupLoad(fields: Fields): LoadPlan {
  const { retries = 0, cpus, gpus, memory, resources } = readDemand(fields, 1);
  const plan: GroupPlan = {
    count: fields.integer('count', { min: 1, max: GROUPS_MAX }), bundles: fields.integer('bundles', { min: 1, max: BUNDLES_MAX }),
    strategy: fields.choice('strategy', STRATEGIES, 'pack'), arrivals: readArrivals(fields), durations: readDurations(fields, 'duration'),
    resources: { cpus, gpus, memory, resources }, retries,
  };
  return ({ name, random }) => groupLoad(name, plan, random);
}

function groupLoad(name: string, plan: GroupPlan, random: Random): Load {
  const tally = newTally(plan.count * plan.bundles);
  let stage: Stage;

  function* live(code: CodeContext): Program<void> {
    const askedMs = code.nowMs;
    const groupId = yield* code.placementGroup(Array.from({ length: plan.bundles }, () => plan.resources), plan.strategy);
    stage.waited(code.nowMs - askedMs);
    const refs = Array.from({ length: plan.bundles }, (_, bundle) => code.call(name, [bundle, plan.durations.sample(random)], { ...plan.resources, retries: plan.retries, group: { groupId, bundle } }));
    tally.submitted += refs.length;
    for (const [bundle, ref] of refs.entries()) {
      try {
        const value = yield* code.get(ref);
        if (value !== bundle) throw new Violation(`${name}: bundle ${bundle} returned ${String(value)}`);
        tally.done++;
      } catch (error) {
        if (!stage.hasFaults || !(error instanceof MusterError) || !DEATHS.includes(error.code)) throw error;
        tally.failed++;
      }
      code.drop(ref);
    }
    yield* code.removeGroup(groupId);
  }

  return {
    name, tally, lastArrivalMs: 0,
    library: {
      classes: {},
      functions: {
        *[name](code: CodeContext, bundle: number, durationMs: number) {
          yield* code.work(durationMs + stage.costs.workerTaskMs);
          return bundle;
        },
      },
    },
    start: (its) => {
      stage = its;
      its.driver((code) => runAll(code, plan, random, () => live(code)));
    },
    check: () => {
      if (tally.done + tally.failed !== tally.planned) throw new Violation(`${name}: of ${tally.planned} tasks, ${tally.done} are done and ${tally.failed} failed`);
    },
  };
}
