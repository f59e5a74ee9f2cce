/**
 * A searcher by Parzen estimators: one density of the better trials, one of the others, and the next trial where their ratio is largest,
 * which is where the expected improvement is. Dimensions that exist together are modelled together. Knows no trials, only what is made of them.
 * Source: Bergstra et al., 2011; Falkner et al., 2018 (multivariate kernels); Song et al., 2022, and Watanabe, 2023 (trials weigh as they
 * improve, and what each part is for); Bergstra et al., 2013, "Hyperopt" (old trials among the worse ones are forgotten bit by bit).
 */
import type { Random } from '@muster/base';
import { evenSequence, type Sequence } from '../numeric/sequences.js';
import type { SearcherContext, SeedOption } from '../searcher.js';
import type { Dimension, Point } from '../space/dimensions.js';
import { HistorySearcher, requireCount, requireOneObjective, type Proposal } from './history-searcher.js';
import type { Trial } from './history.js';
import { ParzenMixture, type Observation } from './parzen.js';
import { spread } from './quasi-random.js';

/** What {@link tpe} takes. */
export interface TpeOptions extends SeedOption {
  /** Trials that fill the space evenly before the model is asked. Default 10. */
  readonly startupTrials?: number;
  /** Points drawn from the density of the better trials, of which the best is taken. Default 32. */
  readonly candidates?: number;
}

/** A trial as evidence. One that failed has no loss. */
export interface Result {
  readonly trial: Trial;
  readonly loss: number | null;
}

/** What the densities are made of. */
export interface Evidence {
  /** How many trials there are results of. */
  readonly count: number;
  /** The better ones, the best first. */
  readonly better: readonly Result[];
  /** The latest of the others, the oldest first. */
  readonly others: readonly Result[];
  /** The best loss among all others; null where they have none. */
  readonly split: number | null;
  /** Trials without a result yet. They count among the worse ones, so that the next trial goes elsewhere: the constant liar. */
  readonly pending: readonly Point[];
  /** Where the losses are from, for people; or nothing. */
  readonly about: string;
}

const STARTUP_TRIALS = 10;
const CANDIDATES = 32;
const BETTER_PART = 0.1;
const BETTER_MAX = 25;
/**
 * So many of the latest worse trials count fully, older ones the less the older they are: otherwise a branch that began badly would
 * hardly be tried again, because the better trials make it the more unlikely the more there are.
 */
const REMEMBERED = 25;
/** Of more of the worse trials than these, the oldest are forgotten: every one has a kernel, and a suggestion is not to cost the more the longer a search goes on. */
const OTHERS_MAX = 400;

/** Parts results: those that are better, which come first in `ranked`, and the latest of the others, which `byTime` ends with. Costs time for those parts alone. */
export function partsOf(ranked: readonly Result[], byTime: readonly Result[]): Pick<Evidence, 'count' | 'better' | 'others' | 'split'> {
  const count = Math.min(BETTER_MAX, Math.ceil(BETTER_PART * ranked.length));
  const better = ranked.slice(0, count);
  const chosen = new Set(better);
  const others: Result[] = [];
  for (let i = byTime.length - 1; i >= 0 && others.length < OTHERS_MAX; i--) if (!chosen.has(byTime[i]!)) others.push(byTime[i]!);
  return { count: ranked.length, better, others: others.reverse(), split: ranked[count]?.loss ?? null };
}

/** A point, as far as it is drawn, and the logarithm of the ratio of its densities in the last group. */
interface Candidate {
  readonly point: Point;
  readonly logRatio: number;
}

/** The densities of one group of dimensions. */
interface GroupModel {
  readonly better: ParzenMixture;
  readonly others: ParzenMixture;
}

export abstract class ParzenSearcher extends HistorySearcher {
  readonly #name: string;
  readonly #startupTrials: number;
  readonly #candidates: number;
  readonly #startup: Sequence;
  /** Dimensions under the same condition, outer ones first. */
  readonly #groups: readonly (readonly number[])[];

  constructor(context: SearcherContext, name: string, { startupTrials = STARTUP_TRIALS, candidates = CANDIDATES }: TpeOptions, keepsStep?: (step: number) => boolean) {
    requireOneObjective(name, context);
    super(context, keepsStep);
    this.#name = name;
    this.#startupTrials = requireCount(`the option startupTrials of ${name}`, startupTrials);
    this.#candidates = requireCount(`the option candidates of ${name}`, candidates);
    this.#startup = evenSequence(context.space.dimensions.length, context.seed);
    this.#groups = groupsOf(context.space.dimensions);
  }

  /** What is known. */
  protected abstract evidence(): Evidence;

  protected propose(random: Random): Proposal {
    const evidence = this.evidence();
    if (evidence.count >= this.#startupTrials) return this.#fromModel(evidence, random);
    const point = this.space.allowed(() => spread(this.space.dimensions, this.#startup.at(this.history.cursor++)));
    return { kind: 'point', point, reason: `${this.#name}: ${evidence.count} of ${this.#startupTrials} trials that fill the space before the model is asked` };
  }

  /**
   * Group after group, a branch's parameters after its choice, the best of some candidates. A branch is not weighed together with its
   * parameters: of a branch that is well known the best ones promise more, and it would be taken again and again.
   */
  #fromModel(evidence: Evidence, random: Random): Proposal {
    const models: GroupModel[] = [];
    const modelOf = (group: number): GroupModel => (models[group] ??= this.#model(this.#groups[group]!, evidence));
    let logRatio = 0;
    const point = this.space.allowed(() => {
      let best: Candidate = { point: this.space.dimensions.map(() => null), logRatio: 0 };
      logRatio = 0;
      for (const group of this.#groups.keys()) {
        if (!this.#isActive(best.point, group)) continue;
        best = this.#bestOf(modelOf(group), best.point, group, random);
        logRatio += best.logRatio;
      }
      return best.point;
    });
    return { kind: 'point', point, reason: this.#reason(evidence, logRatio) };
  }

  /** The candidate with the largest ratio; where it makes the point whole, of those that the constraints allow, if there are any. */
  #bestOf(model: GroupModel, base: Point, group: number, random: Random): Candidate {
    const candidates = Array.from({ length: this.#candidates }, () => {
      const point = [...base];
      model.better.draw(point, random);
      return { point, logRatio: model.better.logDensity(point) - model.others.logDensity(point) };
    }).sort((a, b) => b.logRatio - a.logRatio);
    const isWhole = ({ point }: Candidate): boolean => !this.#groups.some((_, later) => later > group && this.#isActive(point, later));
    return candidates.find((candidate) => !isWhole(candidate) || this.space.allows(candidate.point)) ?? candidates[0]!;
  }

  #isActive(point: Point, group: number): boolean {
    return this.space.isActive(point, this.#groups[group]![0]!);
  }

  #reason({ count, better, split, about }: Evidence, logRatio: number): string {
    const border = split ?? better.at(-1)!.loss;
    const sign = this.context.objectives[0]!.mode === 'max' ? -1 : 1;
    const side = sign > 0 ? ['below', 'above'] : ['above', 'below'];
    const at = border === null ? 'failure' : Number((sign * border).toPrecision(4));
    return `${this.#name}: ${better.length} ${side[0]} / ${count - better.length} ${side[1]} the split at ${at}${about}; best of ${this.#candidates} candidates by l/g = ${Math.exp(logRatio).toPrecision(3)}`;
  }

  /** The two densities of a group, from the trials that have its dimensions. What is better is so among all trials: a branch without any is explored. */
  #model(group: readonly number[], { better, others, split, pending }: Evidence): GroupModel {
    const has = ({ point }: Observation): boolean => this.space.isActive(point, group[0]!);
    const liars = pending.map((point) => ({ point, weight: 1 }));
    const mixture = (of: readonly Observation[]): ParzenMixture => new ParzenMixture(this.space.dimensions, group, of.filter(has));
    return { better: mixture(weighedByImprovement(better, split)), others: mixture([...weighedByAge(others), ...liars]) };
  }
}

/** Trials that weigh as much as they improve on the best of the worse ones: 1 on average, so that the prior weighs as much as one of them. */
function weighedByImprovement(better: readonly Result[], split: number | null): Observation[] {
  const improvements = better.map(({ loss }) => (loss === null || split === null ? 0 : Math.max(0, split - loss)));
  const mean = improvements.reduce((sum, improvement) => sum + improvement, 0) / better.length;
  return better.map(({ trial: { point } }, i) => ({ point, weight: mean > 0 && mean < Infinity ? improvements[i]! / mean : 1 }));
}

/** Trials that weigh from 1 down to next to nothing, the older the less. */
function weighedByAge(others: readonly Result[]): Observation[] {
  const old = others.length - REMEMBERED;
  return others.map(({ trial: { point } }, i) => ({ point, weight: i >= old ? 1 : (i + 1) / (old + 1) }));
}

function groupsOf(dimensions: readonly Dimension[]): number[][] {
  const groups = new Map<string, number[]>();
  dimensions.forEach(({ condition }, index) => {
    const key = condition === null ? '' : `${condition.dimension}=${condition.option}`;
    groups.set(key, [...(groups.get(key) ?? []), index]);
  });
  return [...groups.values()];
}
