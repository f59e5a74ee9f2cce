/** What schedulers have in common: losses instead of metrics, each report heard once, and options that are checked. */
import type { Decision, ScheduledReport, Scheduler, SchedulerContext, SchedulerDefinition } from '../scheduler.js';
import type { Json, TrialEnd, TrialStatus } from '../searcher.js';

/** A scheduler that keeps something of its own for each running trial. */
export abstract class TrialScheduler<T> implements Scheduler {
  protected readonly context: SchedulerContext;
  /** Those that run, by id, in the order in which they began: the last step that each reported, and what the scheduler keeps. */
  protected readonly running = new Map<string, { step: number; kept: T }>();

  constructor(context: SchedulerContext) {
    this.context = context;
  }

  /** What is kept of a trial that begins. */
  protected abstract keep(trialId: string, config: unknown): T;

  /** What becomes of a trial with this loss at a step that it had not reached. */
  protected abstract decide(trial: { readonly id: string; readonly kept: T; readonly checkpointStep: number }, step: number, loss: number): Decision;

  /** A trial is over. */
  protected forget(_trial: { readonly id: string; readonly kept: T; readonly step: number }, _status: TrialStatus): void {}

  abstract state(): Json;

  start(trialId: string, config: unknown): void {
    if (!this.running.has(trialId)) this.running.set(trialId, { step: 0, kept: this.keep(trialId, config) });
  }

  report({ trialId, step, values, checkpointStep = 0 }: ScheduledReport): Decision {
    const trial = this.running.get(trialId);
    if (!trial) return { kind: 'continue', reason: `${trialId} is not among the running trials` };
    if (!(step > trial.step)) return { kind: 'continue', reason: `step ${step} was reported before` };
    trial.step = step;
    const value = values[0];
    if (value === undefined || !Number.isFinite(value)) return { kind: 'continue', reason: `there is no value to go by at step ${step}` };
    return this.decide({ id: trialId, kept: trial.kept, checkpointStep }, step, this.sign * value);
  }

  end({ trialId, status }: TrialEnd): void {
    const trial = this.running.get(trialId);
    if (!trial) return;
    this.running.delete(trialId);
    this.forget({ id: trialId, ...trial }, status);
  }

  /** 1 where values are losses, -1 where they are to be large. */
  protected get sign(): 1 | -1 {
    return this.context.objectives[0]!.mode === 'max' ? -1 : 1;
  }

  /** A loss as users know it. */
  protected shown(loss: number): string {
    return String(Number((this.sign * loss).toPrecision(4)));
  }
}

/** A scheduler that can take its state up again. */
export interface Restorable extends Scheduler {
  restore(state: Json): void;
}

/** A definition of a scheduler, whose options were checked already. */
export function defineScheduler(name: string, make: (context: SchedulerContext) => Restorable): SchedulerDefinition {
  return {
    name,
    create: (context, state) => {
      const scheduler = make(context);
      if (state !== undefined) scheduler.restore(state);
      return scheduler;
    },
  };
}
