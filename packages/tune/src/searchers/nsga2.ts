/**
 * NSGA-II in its steady form: parents come from a population that keeps the better half of itself and of what has ended, by Pareto rank
 * and then by the room around each. There are no generations to wait for.
 * Source: Deb et al., 2002; Durillo et al., 2009 (steady state).
 */
import type { Random } from '@muster/base';
import { evenSequence, type Sequence } from '../numeric/sequences.js';
import type { SearcherContext, SearcherDefinition, SeedOption } from '../searcher.js';
import type { Point } from '../space/dimensions.js';
import { defineSearcher, HistorySearcher, requireCount, type Proposal } from './history-searcher.js';
import type { Trial } from './history.js';
import { crowdingDistances, paretoRanks, type Losses } from './pareto.js';
import { spread } from './quasi-random.js';
import { crossed, mutated, type VariationOptions } from './variation.js';

/** What {@link nsga2} takes. */
export interface Nsga2Options extends SeedOption {
  /** How many trials are kept as parents. Default 50. */
  readonly populationSize?: number;
}

const POPULATION_SIZE = 50;
const CROSSOVER_INDEX = 15;
const MUTATION_INDEX = 20;

/** Searches for the trade-offs between several objectives: a front of trials that nothing dominates. For some hundreds of trials and more. */
export function nsga2(options: Nsga2Options = {}): SearcherDefinition {
  return defineSearcher('nsga2', options, (context) => new Nsga2Searcher(context, options));
}

/** A trial that may be a parent, and how it stands in the population. */
interface Parent {
  readonly point: Point;
  readonly losses: Losses;
  readonly rank: number;
  readonly crowding: number;
}

class Nsga2Searcher extends HistorySearcher {
  readonly #populationSize: number;
  readonly #startup: Sequence;
  readonly #variation: VariationOptions;
  #parents: readonly Parent[] = [];

  constructor(context: SearcherContext, { populationSize = POPULATION_SIZE }: Nsga2Options) {
    super(context);
    this.#populationSize = requireCount('the option populationSize of nsga2()', populationSize);
    const { length } = context.space.dimensions;
    this.#startup = evenSequence(length, context.seed);
    this.#variation = { crossoverIndex: CROSSOVER_INDEX, mutationIndex: MUTATION_INDEX, mutationProbability: 1 / length };
  }

  protected propose(random: Random): Proposal {
    const { dimensions } = this.space;
    if (this.history.proposed < this.#populationSize || this.#parents.length < 2) {
      const point = this.space.allowed(() => spread(dimensions, this.#startup.at(this.history.cursor++)));
      return { kind: 'point', point, reason: `NSGA-II: ${Math.min(this.history.proposed + 1, this.#populationSize)} of the first population of ${this.#populationSize}` };
    }
    const [mother, father] = [this.#chosen(random), this.#chosen(random)];
    const point = this.space.allowed(() => mutated(dimensions, crossed(dimensions, [mother.point, father.point], this.#variation, random), this.#variation, random));
    const front = this.#parents.filter(({ rank }) => rank === 0).length;
    return { kind: 'point', point, reason: `NSGA-II: child of parents of rank ${mother.rank} and ${father.rank}; ${front} of ${this.#parents.length} parents are on the front` };
  }

  /** A failed trial is no parent. */
  protected override learn({ point, losses }: Trial): void {
    if (losses === null) return;
    const parents = ranked([...this.#parents, { point, losses }]);
    const worst = parents.length > this.#populationSize ? parents.reduce((a, b) => (isBetter(a, b) ? b : a)) : null;
    this.#parents = parents.filter((parent) => parent !== worst);
  }

  /** The better of two. */
  #chosen(random: Random): Parent {
    const [a, b] = [this.#parents[Math.floor(random.next() * this.#parents.length)]!, this.#parents[Math.floor(random.next() * this.#parents.length)]!];
    return isBetter(a, b) ? a : b;
  }
}

const isBetter = (a: Parent, b: Parent): boolean => a.rank < b.rank || (a.rank === b.rank && a.crowding > b.crowding);

function ranked(members: readonly { readonly point: Point; readonly losses: Losses }[]): Parent[] {
  const losses = members.map((member) => member.losses);
  const ranks = paretoRanks(losses);
  const crowding = crowdingDistances(losses, ranks);
  return members.map(({ point, losses: own }, i) => ({ point, losses: own, rank: ranks[i]!, crowding: crowding[i]! }));
}
