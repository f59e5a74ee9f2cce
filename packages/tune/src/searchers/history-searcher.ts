/** What searchers have in common: they keep a history, and propose from it and from a stream of random numbers for each proposal. */
import { makeError, seededRandom, type Random } from '@muster/base';
import { requireNames, requireSeed } from '../option-checks.js';
import type { Json, Searcher, SearcherContext, SearcherDefinition, Suggestion, TrialEnd, TrialReport } from '../searcher.js';
import { mixedSeed } from '../numeric/seed.js';
import type { Point } from '../space/dimensions.js';
import type { SearchSpace } from '../space/search-space.js';
import { History, type Trial } from './history.js';

/** What a searcher has come up with. */
export type Proposal =
  | { readonly kind: 'point'; readonly point: Point; readonly reason: string; readonly note?: readonly number[] }
  | { readonly kind: 'wait' | 'finished'; readonly reason: string };

/** A searcher whose state is its history. */
export abstract class HistorySearcher implements Searcher {
  protected readonly space: SearchSpace;
  protected readonly context: SearcherContext;
  protected readonly history: History;

  constructor(context: SearcherContext) {
    this.space = context.space;
    this.context = context;
    this.history = new History(context.objectives);
  }

  /** The next point. Randomness is for this proposal alone, so that states need not hold a generator's. */
  protected abstract propose(random: Random): Proposal;

  /** A trial has ended: for what is learned step by step. Runs again, in the same order, when a state is restored. */
  protected learn(_trial: Trial): void {}

  suggest(trialId: string): Suggestion {
    const known = this.history.get(trialId);
    if (known) return { kind: 'trial', config: this.space.configOf(known.point), reason: 'suggested before under this id' };
    const proposal = this.propose(seededRandom(mixedSeed(this.context.seed, this.history.proposed)));
    if (proposal.kind !== 'point') return { kind: proposal.kind, reason: proposal.reason };
    this.history.begin(trialId, proposal.point, proposal.note ?? []);
    this.history.proposed++;
    return { kind: 'trial', config: this.space.configOf(proposal.point), reason: proposal.reason };
  }

  adopt(trialId: string, config: unknown): void {
    this.history.begin(trialId, this.space.pointOf(config), []);
  }

  report(report: TrialReport): void {
    this.history.report(report);
  }

  end(end: TrialEnd): void {
    const trial = this.history.end(end);
    if (trial) this.learn(trial);
  }

  state(): Json {
    return this.history.state();
  }

  restore(state: Json): void {
    this.history.restore(state);
    this.history.ended.forEach((trial) => this.learn(trial));
  }
}

/** What every searcher takes that draws anything. */
export interface SearcherOptions {
  /** Everything random in it follows from this. Default: the experiment's seed. */
  readonly seed?: number;
}

/** What a searcher was asked for with. */
export interface GivenOptions<Options> {
  readonly options: Options;
  /** Those that there are. */
  readonly names: readonly (keyof Options & string)[];
}

/**
 * A definition of a searcher that keeps a history.
 * @throws INVALID_ARGUMENT for an option that it does not take, and for the seed; the searcher checks the others
 */
export function defineSearcher<Options extends object>(name: string, { options, names }: GivenOptions<Options>, make: (context: SearcherContext) => HistorySearcher): SearcherDefinition {
  requireNames(`${name}()`, options, names);
  const { seed } = options as SearcherOptions;
  if (seed !== undefined) requireSeed(`the option seed of ${name}()`, seed);
  return {
    name, ...(seed === undefined ? {} : { seed }),
    create: (context, state) => {
      const searcher = make(seed === undefined ? context : { ...context, seed });
      if (state !== undefined) searcher.restore(state);
      return searcher;
    },
  };
}

/** Refuses more than one objective, for a searcher that can only work for one. */
export function requireOneObjective(name: string, { objectives }: SearcherContext): void {
  if (objectives.length !== 1) throw makeError('INVALID_ARGUMENT', { what: `${name}() for ${objectives.length} objectives`, want: 'used for one; nsga2() and random() work for several' });
}
