/** What a second rank on a second core brings, from turns that a single rank and two ranks took. */
import { median } from './measure.js';

/** Of what a whole core makes: less is a part of a core. */
const WHOLE_CORE = 0.9;
/** Which of the speeds is that of a whole core: the most but for a few lucky ones. */
const WHOLE_CORE_QUANTILE = 0.9;
/** A figure is made of no fewer turns. */
const COUNTED_MIN = 8;

/**
 * What a turn makes: steps of one rank alone while the other has nothing to do; of both apart, each a training of its own, that wait for each other after every step; of both together, a training; and the
 * peer's.
 */
export type Kind = 'alone' | 'apart' | 'together' | 'theirAlone' | 'theirTogether';

/** A turn, as one rank saw it. */
export interface Turn {
  readonly kind: Kind;
  /** Of a step. */
  readonly ms: number;
  /** What its core made right before and right after, the lesser of both; see core-probe.ts. */
  readonly speed: number;
}

/** From which speed on a rank had a whole core. */
export function wholeSpeed(turns: readonly Turn[]): number {
  const speeds = turns.map(({ speed }) => speed).sort((a, b) => a - b);
  return WHOLE_CORE * (speeds[Math.floor(WHOLE_CORE_QUANTILE * speeds.length)] ?? 0);
}

/**
 * Efficiency: what a step takes of one rank alone to what it takes of two. The two are compared in turns in which each rank had a whole core, before and after: that a core is not there is nothing that a
 * training could be efficient with.
 */
export class Scaling {
  /** Null where too few turns had whole cores. */
  readonly efficiency: number | null;
  /** Over all turns: of a round's mean alone to the slower rank's together. */
  readonly anyEfficiency: number;
  readonly togetherMs: number;
  /** Of the turns together. */
  readonly wholeShare: number;

  constructor(ranks: readonly (readonly Turn[])[], alone: Kind, together: Kind) {
    const whole = wholeSpeed(ranks.flat());
    // A turn of all ranks, at the same place of each one's list.
    const turnsOf = (kind: Kind): { readonly ms: readonly number[]; readonly isWhole: boolean }[] => ranks[0]!.flatMap((turn, place) => {
      if (turn.kind !== kind) return [];
      const all = ranks.map((turns) => turns[place]!);
      return [{ ms: all.map(({ ms }) => ms).filter((ms) => !Number.isNaN(ms)), isWhole: all.every(({ speed }) => speed >= whole) }];
    });
    const [ones, twos] = [turnsOf(alone), turnsOf(together)];
    const isWhole = ({ isWhole }: { readonly isWhole: boolean }): boolean => isWhole;
    const slowest = twos.filter(isWhole).map(({ ms }) => Math.max(...ms));
    const single = ones.filter(isWhole).flatMap(({ ms }) => ms);
    this.wholeShare = slowest.length / twos.length;
    this.togetherMs = slowest.length === 0 ? NaN : median(slowest);
    this.efficiency = Math.min(slowest.length, single.length) < COUNTED_MIN ? null : median(single) / this.togetherMs;
    const turnsOfARound = ones.length / twos.length;
    const meanAlone = (round: number): number => {
      const all = ones.slice(round * turnsOfARound, (round + 1) * turnsOfARound).flatMap(({ ms }) => ms);
      return all.reduce((sum, ms) => sum + ms, 0) / all.length;
    };
    this.anyEfficiency = median(twos.map(({ ms }, round) => meanAlone(round) / Math.max(...ms)));
  }
}
