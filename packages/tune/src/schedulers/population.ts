/**
 * Population-based training: every so many steps the worst trials take over the weights of one of the best, and go on with a
 * configuration explored from its own. How to explore is left to those who extend this.
 * Source: Jaderberg et al., 2017.
 *
 * Trials are compared at equal steps, with all that have come as far, so a population may also run a few at a time.
 */
import { seededRandom, type Random } from '@muster/base';
import { mixedSeed } from '../numeric/seed.js';
import { requireNumber } from '../option-checks.js';
import type { Decision, SchedulerContext } from '../scheduler.js';
import type { Json, TrialStatus } from '../searcher.js';
import type { Point } from '../space/dimensions.js';
import { TrialScheduler } from './trial-scheduler.js';

/** What the schedulers of populations take. */
export interface PopulationOptions {
  /** Trials are compared every so many steps. Default 5. */
  readonly intervalEpochs?: number;
  /** The part of the trials that gives up, and the part that it takes over from. Default 0.25, at most 0.5. */
  readonly quantile?: number;
}

const INTERVAL_EPOCHS = 5;
const QUANTILE = 0.25;
/** Trials that are over are remembered, to be compared with and taken over, up to so many: the latest. */
const FINISHED_MAX = 200;

/** A trial of the population. */
export interface Member {
  readonly id: string;
  point: Point;
  /** How many comparisons it has been through. */
  milestone: number;
  /** Its loss at each of them, or that of the trial that it took over from; null where it skipped one. */
  losses: (number | null)[];
}

/** A configuration to go on with, and how it was found, for people. */
export interface Exploration {
  readonly point: Point;
  readonly how: string;
}

export abstract class PopulationScheduler extends TrialScheduler<Member> {
  readonly #name: string;
  readonly #intervalEpochs: number;
  readonly #quantile: number;
  #finished: Member[] = [];
  #exploited = 0;

  constructor(context: SchedulerContext, name: string, { intervalEpochs = INTERVAL_EPOCHS, quantile = QUANTILE }: PopulationOptions) {
    super(context);
    this.#name = name;
    this.#intervalEpochs = requireNumber(`intervalEpochs of ${name}`, intervalEpochs, { least: 1 });
    this.#quantile = requireNumber(`quantile of ${name}`, quantile, { above: 0, most: 0.5 });
  }

  /** A configuration to go on with after taking over from this member. */
  protected abstract explore(source: Member, random: Random): Exploration;

  protected keep(id: string, config: unknown): Member {
    return { id, point: this.context.space.pointOf(config), milestone: 0, losses: [] };
  }

  protected decide({ kept: member }: { readonly kept: Member }, step: number, loss: number): Decision {
    const milestone = Math.floor(step / this.#intervalEpochs);
    if (milestone <= member.milestone) return { kind: 'continue', reason: `${this.#name}: is compared next at epoch ${(member.milestone + 1) * this.#intervalEpochs}` };
    while (member.losses.length < milestone - 1) member.losses.push(null);
    member.losses[milestone - 1] = loss;
    member.milestone = milestone;
    this.compared(member);
    const peers = this.#membersAt(milestone).sort((a, b) => lossAt(a, milestone) - lossAt(b, milestone));
    const givingUp = Math.floor(peers.length * this.#quantile);
    const place = peers.indexOf(member);
    const standing = `${this.shown(loss)} is number ${place + 1} of ${peers.length} at epoch ${step}`;
    if (place < peers.length - givingUp) return { kind: 'continue', reason: `${this.#name}: ${standing}` };
    const random = seededRandom(mixedSeed(this.context.seed, this.#exploited++));
    const source = peers[Math.floor(random.next() * givingUp)]!;
    const { point, how } = this.explore(source, random);
    member.point = point;
    member.losses[milestone - 1] = lossAt(source, milestone);
    return { kind: 'exploit', trialId: source.id, config: this.context.space.configOf(point), reason: `${this.#name}: ${standing}; takes over from ${source.id} with ${this.shown(lossAt(source, milestone))}, ${how}` };
  }

  /** A member has a loss at a new milestone: for those who learn from it. */
  protected compared(_member: Member): void {}

  protected override forget({ kept }: { readonly kept: Member }, status: TrialStatus): void {
    if (status === 'completed') this.#finished = [...this.#finished, kept].slice(-FINISHED_MAX);
  }

  #membersAt(milestone: number): Member[] {
    const running = Array.from(this.running.values(), ({ kept }) => kept);
    return [...this.#finished, ...running].filter(({ losses }) => (losses[milestone - 1] ?? null) !== null);
  }

  state(): Json {
    const row = ({ id, point, milestone, losses }: Member): Json => [id, point, milestone, [...losses]];
    return { exploited: this.#exploited, finished: this.#finished.map(row), running: [...this.running.values()].map(({ step, kept }) => [step, row(kept)]) };
  }

  restore(state: Json): void {
    const member = ([id, point, milestone, losses]: MemberRow): Member => ({ id, point, milestone, losses: [...losses] });
    const { exploited, finished, running } = state as { exploited: number; finished: MemberRow[]; running: [number, MemberRow][] };
    this.#exploited = exploited;
    this.#finished = finished.map(member);
    for (const [step, row] of running) this.running.set(row[0], { step, kept: member(row) });
  }
}

type MemberRow = [id: string, point: Point, milestone: number, losses: (number | null)[]];

function lossAt({ losses }: Member, milestone: number): number {
  return losses[milestone - 1]!;
}
