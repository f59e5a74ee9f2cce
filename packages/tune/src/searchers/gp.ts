/**
 * Bayesian optimisation by a Gaussian process: the next trial is where the expected improvement on the best one is largest. Running
 * trials are imagined to end as expected, so that the next one goes elsewhere.
 *
 * A model that has settled in one valley has learned there which parameters matter, and is sure that there is nothing elsewhere. So while it
 * expects next to nothing more, every other trial belongs to another start: a search of its own, whose model knows only its own trials. What it
 * finds the model of all trials sees, too, and goes on with where it is better.
 * Source: Snoek et al., 2012; Ament et al., 2023 (the logarithm of the expected improvement); Ginsbourger et al., 2010 (imagined results);
 * Eriksson et al., 2019, "TuRBO" (starts anew with a model that has forgotten).
 */
import type { Random } from '@muster/base';
import { defaultHyperparameters, fitProcess, type GaussianProcess, type Observations } from '../numeric/gaussian-process.js';
import { evenSequence, type Sequence } from '../numeric/sequences.js';
import { requireCount } from '../option-checks.js';
import type { SearcherContext, SearcherDefinition } from '../searcher.js';
import type { Dimension } from '../space/dimensions.js';
import { maximizeImprovement } from './acquisition.js';
import { featureKinds, featuresOf } from './features.js';
import { defineSearcher, HistorySearcher, requireOneObjective, type Proposal, type SearcherOptions } from './history-searcher.js';
import type { Trial } from './history.js';
import { LossScale } from './loss-scale.js';
import { spread } from './quasi-random.js';

/** What {@link gp} takes. */
export interface GpOptions extends SearcherOptions {
  /** Trials that fill the space evenly before the model is asked. Default 5, and one more for each option of a choice, up to 10. */
  readonly startupTrials?: number;
}

/** A model of few trials knows how little it knows, so a few are enough of numbers; but of an option that was never tried it only knows what others are like. */
const STARTUP_TRIALS = 5;
const STARTUP_TRIALS_MAX = 10;
/** So many of the first trials say what a loss is that nobody chose, as good as it gets: fewer would by chance be all good or all bad. */
const TYPICAL_TRIALS = 10;
/** A model of more trials would cost a second a suggestion; of more, the best and the latest are taken. */
const TRIALS_MAX = 400;
/** How much a fit may cost: a step of it takes n³/2 multiplications. Of many trials a fit goes on with the next trial, from where it was. */
const FIT_MULTIPLICATIONS = 2.4e7;
const FIT_EVALUATIONS_MAX = 60;
const FIT_EVALUATIONS_MIN = 2;
/** Up to so many trials, hyperparameters are also fitted anew: the likelihood of few has several hills. */
const FEW_TRIALS = 60;

/** The logarithm of an improvement that is next to nothing: a thousandth of the losses' deviation. So many suggestions in a row that expect no more mean that the model has settled. */
const LOG_NOTHING = Math.log(1e-3);
const SETTLED_SUGGESTIONS = 3;
/** The first start, whose model is of all trials. */
const FIRST = 0;

/** Searches by a Gaussian process. The best use of few and costly trials, up to some hundreds, with up to some twenty parameters. */
export function gp(options: GpOptions = {}): SearcherDefinition {
  return defineSearcher('gp', { options, names: ['seed', 'startupTrials'] }, (context) => new GpSearcher(context, options));
}

class GpSearcher extends HistorySearcher {
  readonly #startupTrials: number;
  readonly #startup: Sequence;

  constructor(context: SearcherContext, { startupTrials = startupTrialsFor(context.space.dimensions) }: GpOptions) {
    requireOneObjective('gp', context);
    super(context);
    this.#startupTrials = requireCount('the option startupTrials of gp()', startupTrials);
    this.#startup = evenSequence(context.space.dimensions.length, context.seed);
  }

  protected propose(random: Random): Proposal {
    const start = this.#nextStart();
    const ended = start === FIRST ? this.history.ended : this.history.ended.filter((trial) => startOf(trial) === start);
    const results = ended.filter(({ losses }) => losses !== null);
    if (ended.length < this.#startupTrials || results.length < 2) {
      const point = this.space.allowed(() => spread(this.space.dimensions, this.#startup.at(this.history.cursor++)));
      const why = start === FIRST ? 'before the model is asked' : 'for another start, because the model expects next to nothing more';
      return { kind: 'point', point, note: [start], reason: `GP: ${ended.length} of ${this.#startupTrials} trials that fill the space ${why}` };
    }
    const known = this.#informative(ended);
    const leaders = [...known].sort((a, b) => lossOf(a) - lossOf(b)).map(({ point }) => point);
    const { observations, scale } = this.#observe(known, ended.slice(0, Math.max(TYPICAL_TRIALS, this.#startupTrials)));
    const model = this.#fit(observations, start);
    const best = model.leastMean();
    const imagining = model.imagining(this.history.running().map(({ point }) => featuresOf(this.space.dimensions, point)));
    const { point, logImprovement, posterior } = maximizeImprovement({ space: this.space, model: imagining, best, known: leaders, random });
    const deviation = Math.sqrt(posterior.variance);
    const sign = this.context.objectives[0]!.mode === 'max' ? -1 : 1;
    const shown = (scaled: number): string => String(Number((sign * scale.lossOf(scaled)).toPrecision(4)));
    const reason = `GP: of ${known.length} trials${start === FIRST ? '' : ` of start ${start + 1}`}; expects ${shown(posterior.mean)} (${shown(posterior.mean - deviation)} to ${shown(posterior.mean + deviation)}), best so far ${shown(best)}; log expected improvement ${logImprovement.toPrecision(3)}`;
    return { kind: 'point', point, note: [start, logImprovement, ...model.hyperparameters], reason };
  }

  /** Which start the next trial is of: the first, or while its model has settled every other time the latest one that has not. */
  #nextStart(): number {
    if (this.history.proposed % 2 === 1 || !this.#hasSettled(FIRST)) return FIRST;
    const latest = this.#trials().reduce((most, trial) => Math.max(most, startOf(trial)), FIRST + 1);
    return this.#hasSettled(latest) ? latest + 1 : latest;
  }

  #hasSettled(start: number): boolean {
    const latest = this.#trials().filter((trial) => trial.note.length > 1 && startOf(trial) === start).slice(-SETTLED_SUGGESTIONS);
    return latest.length === SETTLED_SUGGESTIONS && latest.every(({ note }) => note[1]! < LOG_NOTHING);
  }

  #trials(): readonly Trial[] {
    return [...this.history.ended, ...this.history.running()];
  }

  /** All trials, or of too many the better half and the latest. */
  #informative(ended: readonly Trial[]): readonly Trial[] {
    if (ended.length <= TRIALS_MAX) return ended;
    const better = new Set([...ended].sort((a, b) => lossOf(a) - lossOf(b)).slice(0, TRIALS_MAX / 2));
    return [...better, ...ended.filter((trial) => !better.has(trial)).slice(-TRIALS_MAX / 2)];
  }

  /** What the model is made of; a failure is as bad as the worst. */
  #observe(trials: readonly Trial[], typical: readonly Trial[]): { readonly observations: Observations; readonly scale: LossScale } {
    const worst = Math.max(...trials.flatMap(({ losses }) => losses?.[0] ?? []));
    const lossesOf = (of: readonly Trial[]): number[] => of.map((trial) => trial.losses?.[0] ?? worst);
    const losses = lossesOf(trials);
    const scale = new LossScale(losses, lossesOf(typical));
    const observations: Observations = {
      kinds: featureKinds(this.space.dimensions),
      inputs: trials.map(({ point }) => featuresOf(this.space.dimensions, point)),
      targets: Float64Array.from(losses, (loss) => scale.scaled(loss)),
    };
    return { observations, scale };
  }

  /** Begins where the start's last fit ended, which the last trial's note tells; while trials are few, also anew. */
  #fit(observations: Observations, start: number): GaussianProcess {
    const { kinds, targets } = observations;
    const last = [...this.#trials()].reverse().find((trial) => trial.note.length > 1 && startOf(trial) === start);
    const fresh = defaultHyperparameters(kinds.length);
    const evaluations = Math.round(Math.min(FIT_EVALUATIONS_MAX, Math.max(FIT_EVALUATIONS_MIN, FIT_MULTIPLICATIONS / targets.length ** 3)));
    const from = last === undefined ? [] : [Float64Array.from(last.note.slice(2))];
    const starts = last === undefined || targets.length <= FEW_TRIALS ? [...from, fresh] : from;
    return fitProcess(observations, starts, evaluations);
  }
}

function startupTrialsFor(dimensions: readonly Dimension[]): number {
  const options = dimensions.reduce((sum, dimension) => sum + (dimension.kind === 'categorical' ? dimension.options.length : 0), 0);
  return Math.min(STARTUP_TRIALS_MAX, STARTUP_TRIALS + options);
}

/** A trial's note: the start that it is of, and where a model made it the logarithm of the improvement that was expected, and the hyperparameters. */
const startOf = ({ note }: Trial): number => note[0] ?? FIRST;
const lossOf = ({ losses }: Trial): number => losses?.[0] ?? Infinity;
