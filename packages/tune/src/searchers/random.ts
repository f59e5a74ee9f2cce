/** Random search: every trial drawn from the parameters' own distributions. Source: Bergstra and Bengio, 2012. */
import type { Random } from '@muster/base';
import type { SearcherDefinition, SeedOption } from '../searcher.js';
import { defineSearcher, HistorySearcher, type Proposal } from './history-searcher.js';

/** Draws every trial from the parameters' own distributions. The baseline that others have to beat; works for any number of objectives. */
export function random(options: SeedOption = {}): SearcherDefinition {
  return defineSearcher('random', options, (context) => new RandomSearcher(context));
}

class RandomSearcher extends HistorySearcher {
  protected propose(random: Random): Proposal {
    return { kind: 'point', point: this.space.sample(random), reason: `random: draw ${this.history.proposed + 1}` };
  }
}
