/** How learning rates change over a run: pure functions of the number of steps, with torch.optim.lr_scheduler's names. */
import { invalid } from '../failure.js';
import { checkOption, type Optimizer } from './optimizer.js';

/** The factor of the first learning rate at a step; the first step is 0. */
export type Schedule = (step: number) => number;

/** A schedule over a number of steps. @throws MusterError INVALID_ARGUMENT for one that is not above 0 */
function over(steps: number, schedule: Schedule): Schedule {
  checkOption('number of steps', steps, steps > 0, 'above 0');
  return schedule;
}

/** Times `gamma` after every `stepSize` steps. */
export const stepLR = (stepSize: number, gamma = 0.1): Schedule => over(stepSize, (step) => gamma ** Math.floor(step / stepSize));

/** Times `gamma` at each milestone. */
export const multiStepLR = (milestones: readonly number[], gamma = 0.1): Schedule => (step) => gamma ** milestones.filter((milestone) => milestone <= step).length;

/** Times `gamma` after every step. */
export const exponentialLR = (gamma: number): Schedule => (step) => gamma ** step;

/** From one factor to another along a line of `steps`. */
export const linearLR = (steps: number, { start = 1 / 3, end = 1 }: { readonly start?: number; readonly end?: number } = {}): Schedule =>
  over(steps, (step) => start + (end - start) * Math.min(1, step / steps));

/** Half a cosine from 1 to `least`, over `steps`; then up again, and down, as PyTorch's. Source: Loshchilov and Hutter 2017, without restarts. */
export const cosineAnnealingLR = (steps: number, least = 0): Schedule => over(steps, (step) => least + ((1 - least) * (1 + Math.cos((Math.PI * step) / steps))) / 2);

/** One factor for a number of steps, then 1. */
export const constantLR = (steps = 5, factor = 1 / 3): Schedule => (step) => (step < steps ? factor : 1);

/** From 1 to 0 over `steps`, along a power of what is left. */
export const polynomialLR = (steps = 5, power = 1): Schedule => over(steps, (step) => (1 - Math.min(step, steps) / steps) ** power);

/** {@link cosineAnnealingLR} again and again, each time over `multiplier` times as many steps. Source: Loshchilov and Hutter 2017. */
export function cosineAnnealingWarmRestarts(steps: number, { multiplier = 1, least = 0 }: { readonly multiplier?: number; readonly least?: number } = {}): Schedule {
  if (!(steps >= 1) || !(multiplier >= 1)) throw invalid(`restarts after ${steps} steps, and each time after ${multiplier} times as many`, '1 or more of both');
  return (step) => {
    let [since, length] = [step, steps];
    while (since >= length) [since, length] = [since - length, length * multiplier];
    return cosineAnnealingLR(length, least)(since);
  };
}

/**
 * Up along half a cosine from 1 / `start` of the largest rate to it, in the share `rising` of all steps, then down to a `end`-th of where it began. The optimizer's
 * learning rate is the largest. Source: Smith and Topin 2018, with torch.optim.lr_scheduler.OneCycleLR's defaults.
 */
export function oneCycleLR(steps: number, { rising = 0.3, start = 25, end = 1e4 }: { readonly rising?: number; readonly start?: number; readonly end?: number } = {}): Schedule {
  const top = rising * steps - 1;
  checkOption('share of rising steps', rising, rising >= 0 && rising <= 1, 'from 0 to 1');
  const between = (from: number, to: number, share: number): number => to + ((from - to) * (1 + Math.cos(Math.PI * share))) / 2;
  return over(steps, (step) => (step < top ? between(1 / start, 1, step / top) : step === top ? 1 : between(1, 1 / start / end, Math.min(1, (step - top) / (steps - 1 - top)))));
}

/** One schedule after another; each begins to count anew at its milestone. */
export function sequentialLR(schedules: readonly Schedule[], milestones: readonly number[]): Schedule {
  if (milestones.length !== schedules.length - 1) throw invalid(`${schedules.length} schedules with ${milestones.length} milestones`, 'one milestone between each two');
  return (step) => {
    const index = milestones.filter((milestone) => milestone <= step).length;
    return schedules[index]!(step - (milestones[index - 1] ?? 0));
  };
}

/**
 * Sets an optimizer's learning rates by a schedule.
 * @example
 * const schedule = new LRScheduler(optimizer, sequentialLR([linearLR(100, { start: 0.01 }), cosineAnnealingLR(900)], [100]));
 * optimizer.step(); schedule.step();
 */
export class LRScheduler {
  readonly #optimizer: Optimizer;
  readonly #schedule: Schedule;
  readonly #first: readonly number[];
  /** How many steps it has gone. Setting it sets the learning rates: after a checkpoint. */
  #steps = 0;

  constructor(optimizer: Optimizer, schedule: Schedule) {
    this.#optimizer = optimizer;
    this.#schedule = schedule;
    this.#first = optimizer.groups.map(({ options }) => options.learningRate);
    this.steps = 0;
  }

  get steps(): number {
    return this.#steps;
  }

  set steps(steps: number) {
    const factor = this.#schedule(steps);
    if (!(factor >= 0 && factor < Infinity)) throw invalid(`a schedule whose factor is ${factor} at step ${steps}`, 'of numbers from 0 on');
    this.#steps = steps;
    this.#optimizer.groups.forEach(({ options }, index) => { options.learningRate = this.#first[index]! * factor; });
  }

  /** After each step of the optimizer. */
  step(): void {
    this.steps++;
  }
}
