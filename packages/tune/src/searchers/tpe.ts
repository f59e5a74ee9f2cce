/**
 * The tree-structured Parzen estimator over all trials that have ended, by how they did.
 * Source: Bergstra et al., 2011.
 */
import type { SearcherContext, SearcherDefinition } from '../searcher.js';
import { defineSearcher } from './history-searcher.js';
import type { Trial } from './history.js';
import { ParzenSearcher, partsOf, ResultList, type Evidence, type TpeOptions } from './parzen-searcher.js';

/** Searches by the tree-structured Parzen estimator. Cheap, and at home in every space, also in conditional ones; for tens to thousands of trials. */
export function tpe(options: TpeOptions = {}): SearcherDefinition {
  return defineSearcher('tpe', { options, names: ['seed', 'startupTrials', 'candidates'] }, (context) => new TpeSearcher(context, options));
}

class TpeSearcher extends ParzenSearcher {
  readonly #results = new ResultList((a, b) => byMerit(a.trial, b.trial));

  constructor(context: SearcherContext, options: TpeOptions) {
    super(context, 'TPE', options);
  }

  protected override learn(trial: Trial): void {
    this.#results.add({ trial, loss: trial.losses?.[0] ?? null });
  }

  protected override evidence(): Evidence {
    return { ...partsOf(this.#results), pending: this.history.running().map(({ point }) => point), about: '' };
  }
}

/** Completed trials by their loss; then stopped ones, those that came further first; then those that failed. */
function byMerit(a: Trial, b: Trial): number {
  const byStep = a.status === 'stopped' && b.status === 'stopped' ? b.step - a.step : 0;
  return MERIT[a.status] - MERIT[b.status] || byStep || (a.losses?.[0] ?? 0) - (b.losses?.[0] ?? 0);
}

const MERIT = { completed: 0, stopped: 1, failed: 2, running: 3 } as const;
