/** `kind = "actors"`: actors that one driver calls again and again. The ledger sees to the order of the calls and to the number of restarts. */
import { MusterError, type ErrorCode, type Random } from '@muster/base';
import type { ActorHandle, ActorOptions, CodeContext } from '../code-context.js';
import { Violation } from '../violation.js';
import type { Program } from '../program.js';
import { readDurations, type Distribution } from '../scenario-file/distribution.js';
import type { Fields } from '../scenario-file/fields.js';
import { runAll } from './arrivals.js';
import { newTally, type Load, type LoadPlan, type Stage } from './load.js';
import { readDemand } from './tasks.js';

const ACTORS_MAX = 100_000;
const CALLS_MAX = 1_000_000;
/** What befalls a call, or an actor without restarts, where there are faults. */
const INTERRUPTIONS: readonly ErrorCode[] = ['ACTOR_UNAVAILABLE', 'ACTOR_DIED'];

interface ActorPlan {
  readonly count: number;
  /** Of each actor. */
  readonly calls: number;
  readonly pauses: Distribution;
  readonly durations: Distribution;
  readonly options: ActorOptions;
  /** Of a call whose answer was lost with its actor's worker. */
  readonly retries: number;
}

/** Reads the workload. @throws MusterError INVALID_ARGUMENT */
export function readActors(fields: Fields): LoadPlan {
  const { retries = 0, ...resources } = readDemand(fields, 0);
  const plan: ActorPlan = {
    count: fields.integer('count', { min: 1, max: ACTORS_MAX }), calls: fields.integer('calls', { min: 0, max: CALLS_MAX }),
    pauses: readDurations(fields, 'pause'), durations: readDurations(fields, 'duration'), retries,
    options: { ...resources, maxRestarts: fields.integer('restarts', { min: -1, max: 1000 }, -1) },
  };
  return ({ name, random }) => actorLoad(name, plan, random);
}

function actorLoad(name: string, plan: ActorPlan, random: Random): Load {
  const tally = newTally(plan.count * plan.calls);
  let stage: Stage;

  /** Whether the failure is one that faults excuse. @throws what is not */
  function excuse(error: unknown): void {
    if (!stage.hasFaults || !(error instanceof MusterError) || !INTERRUPTIONS.includes(error.code)) throw error;
  }

  function* live(code: CodeContext): Program<void> {
    let handle: ActorHandle;
    try {
      handle = yield* code.create(name, [], plan.options);
    } catch (error) {
      excuse(error);
      tally.failed += plan.calls;
      return;
    }
    for (let call = 0; call < plan.calls; call++) {
      yield* code.sleep(plan.pauses.sample(random));
      yield* converse(code, handle, call);
    }
    yield* code.kill(handle);
  }

  function* converse(code: CodeContext, handle: ActorHandle, call: number): Program<void> {
    tally.submitted++;
    try {
      const ref = code.invoke(handle, 'echo', [call, plan.durations.sample(random)], { retries: plan.retries });
      const value = yield* code.get(ref);
      code.drop(ref);
      if (value !== call) throw new Violation(`${name}: call ${call} returned ${String(value)}`);
      tally.done++;
    } catch (error) {
      excuse(error);
      tally.failed++;
    }
  }

  const Class = {
    *construct() {
      return null;
    },
    methods: {
      *echo(code: CodeContext, _state: null, call: number, durationMs: number) {
        yield* code.work(durationMs + stage.costs.workerTaskMs);
        return call;
      },
    },
  };
  return {
    name, tally, lastArrivalMs: 0, library: { functions: {}, classes: { [name]: Class } },
    start: (its) => {
      stage = its;
      its.driver((code) => runAll(code, { count: plan.count, arrivals: null }, random, () => live(code)));
    },
    check: () => {
      if (tally.done + tally.failed !== tally.planned) throw new Violation(`${name}: of ${tally.planned} calls, ${tally.done} are done and ${tally.failed} failed`);
    },
  };
}
