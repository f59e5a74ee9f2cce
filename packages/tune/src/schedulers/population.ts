/**
 * Population-based training: every so many steps the worst trials take over the weights of one of the best, and go on with a
 * configuration explored from its own. How to explore is left to those who extend this.
 * Source: Jaderberg et al., 2017.
 *
 * Trials are compared at equal steps, with all that have come as far, so a population may also run a few at a time. Who takes over goes on from
 * the checkpoint that belongs to the compared result, with the configuration that had led to it, though the other trial may be far beyond. So of every
 * comparison the checkpoints of the best are kept: of a few more than the part that is taken over from, as others may yet come.
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
  /** At this step trials are complete, and nobody takes over any more. Default: where they end by themselves; what one takes over at its last step is then left aside. */
  readonly maxEpochs?: number;
  /** Trials are compared every so many steps. Default 5. */
  readonly intervalEpochs?: number;
  /** The part of the trials that gives up, and the part that it takes over from. Default 0.25, at most 0.5. */
  readonly quantile?: number;
}

const INTERVAL_EPOCHS = 5;
const QUANTILE = 0.25;
/** Trials that are over are remembered, to be compared with and taken over, up to so many: the latest. */
const FINISHED_MAX = 200;

/** How a trial did at a comparison, and what belongs to it. */
export interface Standing {
  /** Its loss, or that of the trial that it took over from. */
  readonly loss: number;
  /** What it had been training with. */
  readonly point: Point;
  /** The step of the last checkpoint that it had made by then; 0: there is none that others may go on from. */
  checkpointStep: number;
}

/** A trial of the population. */
export interface Member {
  readonly id: string;
  point: Point;
  /** At each comparison that it has been through; null where it skipped one. */
  readonly standings: (Standing | null)[];
}

/** A configuration to go on with, and how it was found, for people. */
export interface Exploration {
  readonly point: Point;
  readonly how: string;
}

export abstract class PopulationScheduler extends TrialScheduler<Member> {
  readonly #name: string;
  readonly #maxEpochs: number;
  readonly #intervalEpochs: number;
  readonly #quantile: number;
  #finished: Member[] = [];
  #exploited = 0;

  constructor(context: SchedulerContext, name: string, { maxEpochs, intervalEpochs = INTERVAL_EPOCHS, quantile = QUANTILE }: PopulationOptions) {
    super(context);
    this.#name = name;
    this.#maxEpochs = maxEpochs === undefined ? Infinity : requireNumber(`maxEpochs of ${name}`, maxEpochs, { least: 1 });
    this.#intervalEpochs = requireNumber(`intervalEpochs of ${name}`, intervalEpochs, { least: 1 });
    this.#quantile = requireNumber(`quantile of ${name}`, quantile, { above: 0, most: 0.5 });
  }

  /** A configuration to go on with, from one that did well up to this comparison. */
  protected abstract explore(point: Point, milestone: number, random: Random): Exploration;

  protected keep(id: string, config: unknown): Member {
    return { id, point: this.context.space.pointOf(config), standings: [] };
  }

  protected decide({ kept: member, checkpointStep }: { readonly kept: Member; readonly checkpointStep: number }, step: number, loss: number): Decision {
    const milestone = Math.floor(step / this.#intervalEpochs);
    const isLast = step >= this.#maxEpochs;
    const isCompared = milestone > member.standings.length;
    if (isCompared) {
      while (member.standings.length < milestone - 1) member.standings.push(null);
      member.standings.push({ loss, point: member.point, checkpointStep: isLast ? 0 : checkpointStep });
      this.compared(member);
    }
    if (isLast) return { kind: 'complete', reason: `${this.#name}: has come to epoch ${this.#maxEpochs}` };
    if (!isCompared) return { kind: 'continue', reason: `${this.#name}: is compared next at epoch ${(member.standings.length + 1) * this.#intervalEpochs}` };
    return this.#amongPeers(member, { milestone, step, loss });
  }

  #amongPeers(member: Member, { milestone, step, loss }: { readonly milestone: number; readonly step: number; readonly loss: number }): Decision {
    const peers = this.#membersAt(milestone).sort((a, b) => at(a, milestone).loss - at(b, milestone).loss);
    for (const peer of withCheckpoints(peers, milestone).slice(Math.ceil(peers.length * this.#quantile) + 1)) at(peer, milestone).checkpointStep = 0;
    const givingUp = Math.floor(peers.length * this.#quantile);
    const place = peers.indexOf(member);
    const standing = `${this.shown(loss)} is number ${place + 1} of ${peers.length} at epoch ${step}`;
    if (place < peers.length - givingUp) return { kind: 'continue', reason: `${this.#name}: ${standing}` };
    return this.#takeOver(member, { milestone, sources: sourcesOf(peers, milestone, givingUp), standing });
  }

  /** The trial goes on as the other was when they were compared, wherever that one is now. */
  #takeOver(member: Member, { milestone, sources, standing }: { readonly milestone: number; readonly sources: readonly Member[]; readonly standing: string }): Decision {
    const random = seededRandom(mixedSeed(this.context.seed, this.#exploited++));
    const source = sources[Math.floor(random.next() * sources.length)]!;
    const taken = at(source, milestone);
    const { point, how } = this.explore(taken.point, milestone, random);
    member.point = point;
    member.standings[milestone - 1] = { ...taken, checkpointStep: 0 }; // whoever would go on from here goes on from the source
    return {
      kind: 'exploit', trialId: source.id, checkpointStep: taken.checkpointStep, config: this.context.space.configOf(point),
      reason: `${this.#name}: ${standing}; takes over from ${source.id} with ${this.shown(taken.loss)}, ${how}`,
    };
  }

  /** A member has a loss at a new milestone: for those who learn from it. */
  protected compared(_member: Member): void {}

  protected override forget({ kept }: { readonly kept: Member }, status: TrialStatus): void {
    if (status === 'completed') this.#finished = [...this.#finished, kept].slice(-FINISHED_MAX);
  }

  keeps(trialId: string, checkpointStep: number): boolean {
    const member = this.running.get(trialId)?.kept ?? this.#finished.find(({ id }) => id === trialId);
    return member?.standings.some((standing) => standing?.checkpointStep === checkpointStep) ?? false;
  }

  #membersAt(milestone: number): Member[] {
    const running = Array.from(this.running.values(), ({ kept }) => kept);
    return [...this.#finished, ...running].filter(({ standings }) => (standings[milestone - 1] ?? null) !== null);
  }

  state(): Json {
    const row = ({ id, point, standings }: Member): Json => [id, point, standings.map((standing) => standing && [standing.loss, standing.point, standing.checkpointStep])];
    return { exploited: this.#exploited, finished: this.#finished.map(row), running: [...this.running.values()].map(({ step, kept }) => [step, row(kept)]) };
  }

  restore(state: Json): void {
    const member = ([id, point, standings]: MemberRow): Member => ({ id, point, standings: standings.map((row) => row && { loss: row[0], point: row[1], checkpointStep: row[2] }) });
    const { exploited, finished, running } = state as { exploited: number; finished: MemberRow[]; running: [number, MemberRow][] };
    this.#exploited = exploited;
    this.#finished = finished.map(member);
    for (const [step, row] of running) this.running.set(row[0], { step, kept: member(row) });
  }
}

type MemberRow = [id: string, point: Point, standings: ([loss: number, point: Point, checkpointStep: number] | null)[]];

/** How a member stood at a comparison that it has been through. */
function at({ standings }: Member, milestone: number): Standing {
  return standings[milestone - 1]!;
}

function withCheckpoints(peers: readonly Member[], milestone: number): readonly Member[] {
  return peers.filter((peer) => at(peer, milestone).checkpointStep > 0);
}

/** The best whose checkpoints are there, as many as give up; where there are none at all, the best, of whom it is asked to make some. */
function sourcesOf(peers: readonly Member[], milestone: number, count: number): readonly Member[] {
  const sources = withCheckpoints(peers.slice(0, -count), milestone).slice(0, count);
  return sources.length > 0 ? sources : peers.slice(0, count);
}
