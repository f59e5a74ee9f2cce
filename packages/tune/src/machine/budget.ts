/** When an experiment has had enough. */
import type { Objective } from '../searcher.js';
import type { TrialTable } from './trial-table.js';

/** What may be used up. Infinity: no limit. */
export interface Budget {
  readonly trials: number;
  readonly timeMs: number;
  /** A metric that trials report as what they have cost so far, summed over trials. */
  readonly cost: { readonly metric: string; readonly most: number } | null;
  /** So many trials have ended since the best result became better by more than this. */
  readonly plateau: { readonly trials: number; readonly least: number } | null;
}

/** Where trials have no limit, and so many have failed and none has a result: whoever waits for one would wait for ever. */
const FAILURES_MAX = 100;

/** Watches a budget, record by record. */
export class BudgetWatch {
  readonly #budget: Budget;
  readonly #objective: Objective;
  /** Of each running trial, by its last word. */
  readonly #costs = new Map<string, number>();
  #cost = 0;
  #plateauBest: number | null = null;
  #endedSinceBetter = 0;

  constructor(budget: Budget, objective: Objective) {
    this.#budget = budget;
    this.#objective = objective;
  }

  /** What a trial has cost in all, by its last word. */
  spend(trialId: string, cost: unknown): void {
    if (typeof cost !== 'number' || !Number.isFinite(cost)) return;
    this.#cost += cost - (this.#costs.get(trialId) ?? 0);
    this.#costs.set(trialId, cost);
  }

  /** A trial has ended with this first objective; null: it failed. What it has cost was said before. */
  ended(trialId: string, value: number | null): void {
    this.#costs.delete(trialId);
    const least = this.#budget.plateau?.least ?? 0;
    const loss = value === null ? null : this.#objective.mode === 'max' ? -value : value;
    if (loss !== null && (this.#plateauBest === null || loss < this.#plateauBest - least)) {
      this.#plateauBest = loss;
      this.#endedSinceBetter = 0;
    } else this.#endedSinceBetter++;
  }

  /** Why no trial begins any more; null: more may. */
  whyNoMore(table: TrialTable, nowMs: number): string | null {
    if (table.begun >= this.#budget.trials) return `all ${this.#budget.trials} trials have begun`;
    if (this.#budget.trials === Infinity && table.failed >= FAILURES_MAX && table.failed === table.ended) return `the first ${table.failed} trials have all failed`;
    return this.whyStop(nowMs);
  }

  /** Why even running trials are to stop; null: they may go on. */
  whyStop(nowMs: number): string | null {
    const { timeMs, cost, plateau } = this.#budget;
    if (nowMs >= timeMs) return `the time budget of ${timeMs} ms is used up`;
    if (cost && this.#cost >= cost.most) return `the cost budget is used up: ${cost.metric} comes to ${this.#cost}, and its limit is ${cost.most}`;
    if (plateau && this.#endedSinceBetter >= plateau.trials) return `${this.#endedSinceBetter} trials have ended since the best became better by more than ${plateau.least}`;
    return null;
  }
}
