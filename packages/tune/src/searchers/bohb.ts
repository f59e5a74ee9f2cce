/**
 * BOHB: Hyperband decides how long trials run, and TPE what is tried, from the losses at the furthest rung that enough trials have reached.
 * Source: Falkner et al., 2018.
 */
import type { Random } from '@muster/base';
import { hyperband, hyperbandBrackets, type HyperbandOptions } from '../schedulers/asha.js';
import { Ladder } from '../schedulers/rungs.js';
import type { SchedulerDefinition } from '../scheduler.js';
import type { SearcherContext, SearcherDefinition, SeedOption } from '../searcher.js';
import { defineSearcher, type Proposal } from './history-searcher.js';
import type { Trial } from './history.js';
import { ParzenSearcher, partsOf, type Evidence, type Result } from './parzen-searcher.js';

/** What {@link bohb} takes. */
export interface BohbOptions extends HyperbandOptions, SeedOption {
  /** The part of the trials that is drawn at random, whatever the model says. Default 1/3. */
  readonly randomPart?: number;
}

const RANDOM_PART = 1 / 3;
const REDUCTION_FACTOR = 3;

/** A searcher and a scheduler that belong together: `tune(train, { ...bohb({ maxEpochs: 81 }), space, ... })`. */
export function bohb(options: BohbOptions): { readonly searcher: SearcherDefinition; readonly scheduler: SchedulerDefinition } {
  const { maxEpochs, reductionFactor = REDUCTION_FACTOR, randomPart = RANDOM_PART } = options;
  const scheduler = hyperband({ maxEpochs, reductionFactor });
  const rungs = rungsOf(maxEpochs, reductionFactor);
  return { scheduler, searcher: defineSearcher('bohb', options, (context) => new BohbSearcher(context, rungs, randomPart)) };
}

/** All steps at which some bracket compares trials, and the last, ascending. */
function rungsOf(maxEpochs: number, reductionFactor: number): number[] {
  const rungs = hyperbandBrackets(maxEpochs, reductionFactor).flatMap(({ options }) => new Ladder(options).rungs);
  return [...new Set([...rungs, maxEpochs])].sort((a, b) => a - b);
}

class BohbSearcher extends ParzenSearcher {
  readonly #rungs: readonly number[];
  readonly #randomPart: number;

  constructor(context: SearcherContext, rungs: readonly number[], randomPart: number) {
    super(context, 'BOHB', { startupTrials: context.space.dimensions.length + 2 }, (step) => rungs.includes(step));
    this.#rungs = rungs;
    this.#randomPart = randomPart;
  }

  protected override propose(random: Random): Proposal {
    if (random.next() < this.#randomPart) return { kind: 'point', point: this.space.sample(random), reason: 'BOHB: drawn at random, as a part of the trials is' };
    return super.propose(random);
  }

  /** The furthest rung that as many trials have reached as a model needs; before that, the first. */
  protected override evidence(): Evidence {
    const trials = [...this.history.ended, ...this.history.running()];
    const needed = this.space.dimensions.length + 2;
    let reached: { rung: number; losses: Map<Trial, number> } | null = null;
    for (const rung of [...this.#rungs].reverse()) {
      reached = { rung, losses: new Map(trials.flatMap((trial) => { const loss = lossAt(trial, rung); return loss === null ? [] : [[trial, loss] as const]; })) };
      if (reached.losses.size >= needed) break;
    }
    const { rung, losses } = reached!;
    const results: Result[] = trials.map((trial) => ({ trial, loss: losses.get(trial) ?? null }));
    const isFailed = ({ trial, loss }: Result): boolean => loss === null && trial.status === 'failed' && trial.curve.length === 0;
    const known = results.filter((result) => result.loss !== null || isFailed(result));
    const ranked = [...known].sort((a, b) => (a.loss === null || b.loss === null ? Number(a.loss === null) - Number(b.loss === null) : a.loss - b.loss));
    const pending = this.history.running().filter((trial) => !losses.has(trial)).map(({ point }) => point);
    return { ...partsOf(ranked, known), pending, about: ` at epoch ${rung}` };
  }
}

/** A trial's loss at a rung: the first that it reported there or after it. */
function lossAt({ curve }: Trial, rung: number): number | null {
  return curve.find(([step]) => step >= rung)?.[1] ?? null;
}
