/**
 * A ladder of rungs: steps at which trials are compared with all that came so far, and only the best part goes on.
 * Source: Li et al., 2020, "A system for massively parallel hyperparameter tuning" (the asynchronous rule, stopping instead of pausing).
 */
import type { Json } from '../searcher.js';

/** What ladders are made of. */
export interface LadderOptions {
  /** The first rung. */
  readonly graceEpochs: number;
  /** At this step every trial has run to its end. */
  readonly maxEpochs: number;
  /** One of so many goes on from a rung, and a rung is so many times higher than the last. */
  readonly reductionFactor: number;
}

/** How a trial stands at a rung. */
export interface Standing {
  readonly rung: number;
  /** From 1 on. */
  readonly place: number;
  readonly of: number;
  /** How many of those may go on. */
  readonly places: number;
  readonly goesOn: boolean;
}

/** The rungs of one bracket. */
export class Ladder {
  readonly rungs: readonly number[];
  readonly #reductionFactor: number;
  /** By rung: the losses of the trials that reached it, ascending. */
  readonly #losses: number[][];

  constructor({ graceEpochs, maxEpochs, reductionFactor }: LadderOptions) {
    const rungs: number[] = [];
    for (let rung = graceEpochs; rung < maxEpochs; rung *= reductionFactor) rungs.push(Math.ceil(rung));
    this.rungs = [...new Set(rungs)];
    this.#reductionFactor = reductionFactor;
    this.#losses = this.rungs.map(() => []);
  }

  /** The index of the highest rung at or below a step; -1 below the first. */
  reached(step: number): number {
    return this.rungs.findLastIndex((rung) => rung <= step);
  }

  /** Enters a loss at a rung. The best so far always goes on. */
  enter(index: number, loss: number): Standing {
    const losses = this.#losses[index]!;
    const better = lowerBound(losses, loss);
    losses.splice(better, 0, loss);
    const places = Math.max(1, Math.floor(losses.length / this.#reductionFactor));
    return { rung: this.rungs[index]!, place: better + 1, of: losses.length, places, goesOn: better < places };
  }

  state(): Json {
    return this.#losses.map((losses) => [...losses]);
  }

  restore(state: Json): void {
    (state as number[][]).forEach((losses, index) => this.#losses[index]!.push(...losses));
  }
}

/** How many of an ascending list are below a value. */
function lowerBound(list: readonly number[], value: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
