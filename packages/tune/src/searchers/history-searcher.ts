/** What searchers have in common: they keep a history, and propose from it and from a stream of random numbers for each proposal. */
import { makeError, seededRandom, type Random } from '@muster/base';
import { SEED_MAX, type Json, type Searcher, type SearcherContext, type SearcherDefinition, type SeedOption, type Suggestion, type TrialEnd, type TrialReport } from '../searcher.js';
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

  constructor(context: SearcherContext, keepsStep?: (step: number) => boolean) {
    this.space = context.space;
    this.context = context;
    this.history = new History(context.objectives, keepsStep);
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

/** A definition of a searcher that keeps a history. @throws InvalidArgumentError for a seed that is none */
export function defineSearcher(name: string, { seed }: SeedOption, make: (context: SearcherContext) => HistorySearcher): SearcherDefinition {
  if (seed !== undefined && !(Number.isInteger(seed) && seed >= 0 && seed <= SEED_MAX)) {
    throw makeError('INVALID_ARGUMENT', { what: `the option seed of ${name}()`, want: `a whole number from 0 to ${SEED_MAX}, not ${String(seed)}` });
  }
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

/** A whole number of at least 1, or an error that names what is to be one. */
export function requireCount(what: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) throw makeError('INVALID_ARGUMENT', { what, want: `a whole number of at least 1, not ${value}` });
  return value;
}
