/**
 * BOHB: Hyperband decides how long trials run, and TPE what is tried, from the losses at the furthest rung that enough trials have reached.
 * Source: Falkner et al., 2018.
 */
import type { Random } from '@muster/base';
import { requireNumber } from '../option-checks.js';
import { hyperband, hyperbandBrackets, type HyperbandOptions } from '../schedulers/asha.js';
import { Ladder } from '../schedulers/rungs.js';
import type { SchedulerDefinition } from '../scheduler.js';
import type { Json, SearcherContext, SearcherDefinition, TrialReport } from '../searcher.js';
import { defineSearcher, type Proposal, type SearcherOptions } from './history-searcher.js';
import type { Trial } from './history.js';
import { ParzenSearcher, partsOf, ResultList, type Evidence, type Result } from './parzen-searcher.js';

/** What {@link bohb} takes. */
export interface BohbOptions extends HyperbandOptions, SearcherOptions {
  /** The part of the trials that is drawn at random, whatever the model says. Default 1/3. */
  readonly randomPart?: number;
}

const RANDOM_PART = 1 / 3;
const REDUCTION_FACTOR = 3;

/** A searcher and a scheduler that belong together: `tune(train, { ...bohb({ maxEpochs: 81 }), space, ... })`. */
export function bohb(options: BohbOptions): { readonly searcher: SearcherDefinition; readonly scheduler: SchedulerDefinition } {
  const searcher = defineSearcher('bohb', { options, names: ['seed', 'maxEpochs', 'reductionFactor', 'randomPart'] }, (context) => new BohbSearcher(context, rungs, randomPart));
  const { maxEpochs, reductionFactor = REDUCTION_FACTOR, randomPart = RANDOM_PART } = options;
  requireNumber('randomPart of bohb()', randomPart, { least: 0, most: 1 });
  const scheduler = hyperband({ maxEpochs, reductionFactor });
  const rungs = rungsOf(maxEpochs, reductionFactor);
  return { scheduler, searcher };
}

/** All steps at which some bracket compares trials, and the last, ascending. */
function rungsOf(maxEpochs: number, reductionFactor: number): number[] {
  const rungs = hyperbandBrackets(maxEpochs, reductionFactor).flatMap(({ options }) => new Ladder(options).rungs);
  return [...new Set([...rungs, maxEpochs])].sort((a, b) => a - b);
}

/** What is known at a rung: the loss of each trial as it came there. */
interface Rung {
  readonly step: number;
  readonly results: ResultList;
  readonly known: Set<string>;
}

class BohbSearcher extends ParzenSearcher {
  readonly #rungs: readonly Rung[];
  readonly #randomPart: number;
  /** So many losses make a model. */
  readonly #needed: number;

  constructor(context: SearcherContext, rungs: readonly number[], randomPart: number) {
    const needed = context.space.dimensions.length + 2;
    super(context, 'BOHB', { startupTrials: needed });
    this.#rungs = rungs.map((step) => ({ step, results: new ResultList(byLoss), known: new Set() }));
    this.#randomPart = randomPart;
    this.#needed = needed;
  }

  protected override propose(random: Random): Proposal {
    if (random.next() < this.#randomPart) return { kind: 'point', point: this.space.sample(random), reason: 'BOHB: drawn at random, as a part of the trials is' };
    return super.propose(random);
  }

  override report(report: TrialReport): void {
    const loss = this.history.report(report);
    if (loss !== null) this.#reached(this.history.get(report.trialId)!, report.step, loss);
  }

  /** Who has run to its end has no more to show further on; who failed before the first report is worse than all. */
  protected override learn(trial: Trial): void {
    if (trial.status === 'completed') this.#reached(trial, Infinity, trial.losses![0]!);
    if (trial.status === 'failed' && trial.step === 0) this.#reached(trial, Infinity, null);
  }

  #reached(trial: Trial, step: number, loss: number | null): void {
    for (const rung of this.#rungs) if (rung.step <= step && !rung.known.has(trial.id)) enter(rung, trial, loss);
  }

  /** The furthest rung that as many trials have reached as a model needs; before that, the first. */
  protected override evidence(): Evidence {
    const { step, results, known } = this.#rungs.findLast((rung) => rung.results.ranked[this.#needed - 1]?.loss != null) ?? this.#rungs[0]!;
    const pending = this.history.running().filter(({ id }) => !known.has(id)).map(({ point }) => point);
    return { ...partsOf(results), pending, about: ` at epoch ${step}` };
  }

  override state(): Json {
    return { history: super.state(), rungs: this.#rungs.map(({ results }) => results.byTime.map(({ trial, loss }): Json => [trial.id, loss])) };
  }

  override restore(state: Json): void {
    const { history, rungs } = state as { history: Json; rungs: [string, number | null][][] };
    this.history.restore(history);
    rungs.forEach((results, index) => results.forEach(([id, loss]) => enter(this.#rungs[index]!, this.history.get(id)!, loss)));
  }
}

function enter({ results, known }: Rung, trial: Trial, loss: number | null): void {
  results.add({ trial, loss });
  known.add(trial.id);
}

/** The smallest first, and what failed last. */
function byLoss(a: Result, b: Result): number {
  return a.loss === null || b.loss === null ? Number(a.loss === null) - Number(b.loss === null) : a.loss - b.loss;
}
