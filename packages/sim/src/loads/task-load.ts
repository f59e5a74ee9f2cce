/**
 * Tasks that arrive over time, each with its own duration and demand: a workload that is made up, or one from a trace. What they look like lies in
 * columns, so that a million of them are some megabytes.
 */
import { MusterError, type ErrorCode } from '@muster/base';
import { RefState, type ObjectRef } from '@muster/core/internal';
import type { CallOptions, CodeContext } from '../code-context.js';
import { Violation } from '../violation.js';
import { until, type Program } from '../program.js';
import { decodeError } from '../values.js';
import { onSettled } from '../waiting.js';
import { newTally, type Load, type Stage } from './load.js';

/** All tasks of a workload, by their numbers, in the order of their arrival. */
export interface TaskPlan {
  readonly count: number;
  /** After the beginning. */
  readonly arrivalsMs: Float64Array;
  readonly durationsMs: Float64Array;
  /** Which of the `demands` each has. */
  readonly demandOf: Uint16Array;
  readonly demands: readonly CallOptions[];
  /** Drivers that submit them in turn. */
  readonly owners: number;
}

/** What befalls a task that has no attempt left. */
const DEATHS: readonly ErrorCode[] = ['WORKER_DIED', 'NODE_DIED'];
/** Tasks whose submission is one piece of work of their driver, where that takes time. */
const SUBMITTED_AT_ONCE = 64;

/** Makes the load of a plan. */
export function taskLoad(name: string, plan: TaskPlan): Load {
  const tally = newTally(plan.count);
  const began = new Uint8Array(plan.count);
  let startMs = 0;
  let stage: Stage;

  function* run(code: CodeContext, index: number): Program<number> {
    if (began[index] === 0) stage.waited(code.nowMs - startMs - plan.arrivalsMs[index]!);
    began[index] = 1;
    yield* code.work(plan.durationsMs[index]! + stage.costs.workerTaskMs);
    return index;
  }

  /** Throws what the simulation must not let pass; counts what it may. */
  function settle(ref: ObjectRef, index: number): void {
    if (ref.state === RefState.value && ref.value === index) {
      tally.done++;
      return;
    }
    if (ref.state !== RefState.failed) throw new Violation(`${name}: task ${index} returned ${String(ref.value)}`);
    const error = decodeError(ref.value as MusterError);
    if (!stage.hasFaults || !(error instanceof MusterError) || !DEATHS.includes(error.code)) throw new Violation(`${name}: task ${index} failed: ${error.message}`);
    tally.failed++;
  }

  /** Submits every so many-th task when its time has come, and waits for all of them. */
  function* submitAll(code: CodeContext, first: number): Program<void> {
    const calls = plan.demands.map((demand) => code.prepare(name, demand));
    const { ownerSubmitMs } = stage.costs;
    let openCount = 0;
    let atOnce = 0;
    let wake: (() => void) | null = null;
    for (let index = first; index < plan.count; index += plan.owners) {
      const dueMs = startMs + plan.arrivalsMs[index]!;
      if (dueMs > code.nowMs) yield* code.sleep(dueMs - code.nowMs);
      if (ownerSubmitMs > 0 && atOnce++ % SUBMITTED_AT_ONCE === 0) {
        code.session.process.spend(ownerSubmitMs * SUBMITTED_AT_ONCE);
        yield* code.sleep(0);
      }
      const ref = code.submit(calls[plan.demandOf[index]!]!, [index]);
      tally.submitted++;
      openCount++;
      onSettled(ref, () => {
        settle(ref, index);
        if (--openCount === 0) wake?.();
      });
    }
    while (openCount > 0) yield* until<void>((resume) => { wake = resume; });
  }

  return {
    name, tally, lastArrivalMs: plan.arrivalsMs[plan.count - 1]!, library: { functions: { [name]: run }, classes: {} },
    start: (its) => {
      stage = its;
      startMs = its.cluster.nowMs;
      for (let owner = 0; owner < Math.min(plan.owners, plan.count); owner++) its.driver((code) => submitAll(code, owner));
    },
    check: () => {
      if (tally.done + tally.failed !== plan.count) throw new Violation(`${name}: of ${plan.count} tasks, ${tally.done} are done and ${tally.failed} failed`);
    },
  };
}
