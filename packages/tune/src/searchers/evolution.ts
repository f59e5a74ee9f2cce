/**
 * Regularised evolution: children of the best of a few, drawn from a population in which the oldest dies, however good it was.
 * Source: Real et al., 2019 (aging evolution); it needs no generations, so trials never wait for each other.
 */
import type { Random } from '@muster/base';
import { evenSequence, type Sequence } from '../numeric/sequences.js';
import type { SearcherContext, SearcherDefinition, SeedOption } from '../searcher.js';
import { defineSearcher, HistorySearcher, requireCount, requireOneObjective, type Proposal } from './history-searcher.js';
import type { Trial } from './history.js';
import { spread } from './quasi-random.js';
import { crossed, mutated, type VariationOptions } from './variation.js';

/** What {@link evolution} takes. */
export interface EvolutionOptions extends SeedOption {
  /** How many of the latest trials may have children. Default 30. */
  readonly populationSize?: number;
  /** How many of them are compared for each parent. Default 8. */
  readonly tournamentSize?: number;
}

const POPULATION_SIZE = 30;
const TOURNAMENT_SIZE = 8;
const CROSSOVER_INDEX = 5;
const MUTATION_INDEX = 10;
/** A choice among few parameters must change often enough to matter. */
const MUTATION_PROBABILITY_MIN = 0.1;

/** Searches by evolution. For large, odd spaces of choices, and for hundreds of trials at once: it never makes them wait. */
export function evolution(options: EvolutionOptions = {}): SearcherDefinition {
  return defineSearcher('evolution', options, (context) => new EvolutionSearcher(context, options));
}

class EvolutionSearcher extends HistorySearcher {
  readonly #populationSize: number;
  readonly #tournamentSize: number;
  readonly #startup: Sequence;
  readonly #variation: VariationOptions;

  constructor(context: SearcherContext, { populationSize = POPULATION_SIZE, tournamentSize = TOURNAMENT_SIZE }: EvolutionOptions) {
    requireOneObjective('evolution', context);
    super(context);
    this.#populationSize = requireCount('the option populationSize of evolution()', populationSize);
    this.#tournamentSize = requireCount('the option tournamentSize of evolution()', tournamentSize);
    const { length } = context.space.dimensions;
    this.#startup = evenSequence(length, context.seed);
    this.#variation = { crossoverIndex: CROSSOVER_INDEX, mutationIndex: MUTATION_INDEX, mutationProbability: Math.max(MUTATION_PROBABILITY_MIN, 1 / length) };
  }

  protected propose(random: Random): Proposal {
    const { dimensions } = this.space;
    const population = this.history.ended.slice(-this.#populationSize).filter(({ losses }) => losses !== null);
    if (this.history.proposed < this.#populationSize || population.length < 2) {
      const point = this.space.allowed(() => spread(dimensions, this.#startup.at(this.history.cursor++)));
      return { kind: 'point', point, reason: `evolution: ${Math.min(this.history.proposed + 1, this.#populationSize)} of the first population of ${this.#populationSize}` };
    }
    const [mother, father] = [this.#winner(population, random), this.#winner(population, random)];
    const point = this.space.allowed(() => mutated(dimensions, crossed(dimensions, [mother.point, father.point], this.#variation, random), this.#variation, random));
    return { kind: 'point', point, reason: `evolution: child of ${mother.id} and ${father.id}, the best of ${this.#tournamentSize} each among the latest ${population.length}` };
  }

  #winner(population: readonly Trial[], random: Random): Trial {
    const entrants = Array.from({ length: this.#tournamentSize }, () => population[Math.floor(random.next() * population.length)]!);
    return entrants.reduce((best, trial) => (trial.losses![0]! < best.losses![0]! ? trial : best));
  }
}
