/**
 * Successive halving and Hyperband without waiting: trials climb ladders of rungs, and whoever is not among the best part of those that
 * reached a rung so far stops there. Hyperband hedges with several ladders that begin at different heights.
 * Source: Li et al., 2020 (ASHA); Li et al., 2018 (Hyperband).
 */
import { requireNames, requireNumber } from '../option-checks.js';
import type { Decision, SchedulerContext, SchedulerDefinition } from '../scheduler.js';
import type { Json } from '../searcher.js';
import { Ladder, type LadderOptions } from './rungs.js';
import { defineScheduler, TrialScheduler } from './trial-scheduler.js';

/** What {@link asha} takes. */
export interface AshaOptions {
  /** At this step trials are complete. */
  readonly maxEpochs: number;
  /** No trial is stopped before this step. Default 1. */
  readonly graceEpochs?: number;
  /** One of so many trials goes on from each rung; rungs are so many times apart. Default 3. */
  readonly reductionFactor?: number;
}

/** What {@link hyperband} takes. */
export interface HyperbandOptions {
  /** At this step trials are complete. */
  readonly maxEpochs: number;
  /** One of so many trials goes on from each rung. Default 3. */
  readonly reductionFactor?: number;
}

const REDUCTION_FACTOR = 3;

/**
 * Stops trials early that are worse than others were at the same step, asynchronously.
 * @throws InvalidArgumentError where an option is out of bounds
 */
export function asha(options: AshaOptions): SchedulerDefinition {
  requireNames('asha()', options, ['maxEpochs', 'graceEpochs', 'reductionFactor']);
  const { maxEpochs, graceEpochs = 1, reductionFactor = REDUCTION_FACTOR } = options;
  requireNumber('graceEpochs of asha()', graceEpochs, { above: 0 });
  requireNumber('maxEpochs of asha()', maxEpochs, { least: graceEpochs });
  requireNumber('reductionFactor of asha()', reductionFactor, { above: 1 });
  return defineScheduler('asha', (context) => new LadderScheduler(context, 'ASHA', [{ weight: 1, options: { graceEpochs, maxEpochs, reductionFactor } }]));
}

/**
 * Several ladders at once, from one that stops nearly all trials early to one that stops none: for when it is not known how soon bad
 * trials can be told from good ones.
 * @throws InvalidArgumentError where an option is out of bounds
 */
export function hyperband(options: HyperbandOptions): SchedulerDefinition {
  requireNames('hyperband()', options, ['maxEpochs', 'reductionFactor']);
  const { maxEpochs, reductionFactor = REDUCTION_FACTOR } = options;
  requireNumber('maxEpochs of hyperband()', maxEpochs, { least: 1 });
  requireNumber('reductionFactor of hyperband()', reductionFactor, { above: 1 });
  return defineScheduler('hyperband', (context) => new LadderScheduler(context, 'Hyperband', hyperbandBrackets(maxEpochs, reductionFactor)));
}

/** A ladder, and its share of the trials. */
interface Bracket {
  readonly weight: number;
  readonly options: LadderOptions;
}

/** Hyperband's brackets, the one that stops most first. */
export function hyperbandBrackets(maxEpochs: number, reductionFactor: number): Bracket[] {
  const last = Math.floor(Math.log(maxEpochs) / Math.log(reductionFactor) + 1e-9);
  return Array.from({ length: last + 1 }, (_, index) => {
    const halvings = last - index;
    return {
      weight: Math.ceil(((last + 1) / (halvings + 1)) * reductionFactor ** halvings),
      options: { graceEpochs: maxEpochs / reductionFactor ** halvings, maxEpochs, reductionFactor },
    };
  });
}

/** Which ladder a trial climbs, and the index of the highest rung that it has passed. */
interface Climber {
  readonly bracket: number;
  rung: number;
}

class LadderScheduler extends TrialScheduler<Climber> {
  readonly #name: string;
  readonly #brackets: readonly { readonly weight: number; readonly maxEpochs: number; readonly ladder: Ladder; assigned: number }[];

  constructor(context: SchedulerContext, name: string, brackets: readonly Bracket[]) {
    super(context);
    this.#name = name;
    this.#brackets = brackets.map(({ weight, options }) => ({ weight, maxEpochs: options.maxEpochs, ladder: new Ladder(options), assigned: 0 }));
  }

  /** A trial goes to the bracket that has least of its share. */
  protected keep(): Climber {
    const filled = this.#brackets.map(({ assigned, weight }) => (assigned + 1) / weight);
    const bracket = filled.indexOf(Math.min(...filled));
    this.#brackets[bracket]!.assigned++;
    return { bracket, rung: -1 };
  }

  protected decide({ kept }: { readonly kept: Climber }, step: number, loss: number): Decision {
    const { ladder, maxEpochs } = this.#brackets[kept.bracket]!;
    const name = this.#brackets.length === 1 ? this.#name : `${this.#name}, bracket ${kept.bracket + 1} of ${this.#brackets.length}`;
    if (step >= maxEpochs) return { kind: 'complete', reason: `${name}: has reached the last epoch, ${maxEpochs}` };
    const reached = ladder.reached(step);
    if (reached <= kept.rung) return { kind: 'continue', reason: `${name}: is between rungs at epoch ${step}` };
    kept.rung = reached;
    const { rung, place, of, places, goesOn } = ladder.enter(reached, loss);
    return { kind: goesOn ? 'continue' : 'stop', reason: `${name}: ${this.shown(loss)} is number ${place} of ${of} at rung ${rung}, and the best ${places} go on` };
  }

  state(): Json {
    return {
      brackets: this.#brackets.map(({ ladder, assigned }) => [assigned, ladder.state()]),
      running: [...this.running].map(([id, { step, kept }]) => [id, step, kept.bracket, kept.rung]),
    };
  }

  restore(state: Json): void {
    const { brackets, running } = state as { brackets: [number, Json][]; running: [string, number, number, number][] };
    brackets.forEach(([assigned, ladder], index) => {
      this.#brackets[index]!.assigned = assigned;
      this.#brackets[index]!.ladder.restore(ladder);
    });
    for (const [id, step, bracket, rung] of running) this.running.set(id, { step, kept: { bracket, rung } });
  }
}
