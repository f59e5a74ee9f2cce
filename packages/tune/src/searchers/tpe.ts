/**
 * The tree-structured Parzen estimator over all trials that have ended, by how they did. They are kept in their order as they end, so that
 * a suggestion costs the same after ten thousand trials as after some hundred.
 * Source: Bergstra et al., 2011.
 */
import type { SearcherContext, SearcherDefinition } from '../searcher.js';
import { defineSearcher } from './history-searcher.js';
import type { Trial } from './history.js';
import { ParzenSearcher, partsOf, type Evidence, type Result, type TpeOptions } from './parzen-searcher.js';

/** Searches by the tree-structured Parzen estimator. Cheap, and at home in every space, also in conditional ones; for tens to thousands of trials. */
export function tpe(options: TpeOptions = {}): SearcherDefinition {
  return defineSearcher('tpe', options, (context) => new TpeSearcher(context, options));
}

class TpeSearcher extends ParzenSearcher {
  readonly #byTime: Result[] = [];
  /** The best first, of equal ones the older. */
  readonly #ranked: Result[] = [];

  constructor(context: SearcherContext, options: TpeOptions) {
    super(context, 'TPE', options);
  }

  protected override learn(trial: Trial): void {
    const result = { trial, loss: trial.losses?.[0] ?? null };
    this.#byTime.push(result);
    let [low, high] = [0, this.#ranked.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (byMerit(trial, this.#ranked[middle]!.trial) < 0) high = middle;
      else low = middle + 1;
    }
    this.#ranked.splice(low, 0, result);
  }

  protected override evidence(): Evidence {
    return { ...partsOf(this.#ranked, this.#byTime), pending: this.history.running().map(({ point }) => point), about: '' };
  }
}

/** Completed trials by their loss; then stopped ones, those that came further first; then those that failed. */
function byMerit(a: Trial, b: Trial): number {
  const byStep = a.status === 'stopped' && b.status === 'stopped' ? stepOf(b) - stepOf(a) : 0;
  return MERIT[a.status] - MERIT[b.status] || byStep || (a.losses?.[0] ?? 0) - (b.losses?.[0] ?? 0);
}

const MERIT = { completed: 0, stopped: 1, failed: 2, running: 3 } as const;

function stepOf({ curve }: Trial): number {
  return curve.at(-1)?.[0] ?? 0;
}
