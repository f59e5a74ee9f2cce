/** Amounts of resources over time: how many there are now, and what that adds up to. */
import { RESOURCE_SCALE, type Clock, type ResourceSet } from '@muster/base';

interface Level {
  amount: number;
  sinceMs: number;
  /** Amount times milliseconds, up to `sinceMs`. */
  sum: number;
}

/** The amounts of each resource. */
export class Usage {
  readonly #clock: Clock;
  readonly #levels = new Map<string, Level>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** More of these (`1`), or fewer (`-1`), from now on. */
  add(resources: ResourceSet, sign: 1 | -1): void {
    for (const name in resources) {
      const level = this.#upToNow(name);
      level.amount += sign * resources[name]!;
    }
  }

  /** Whole units times seconds since the beginning. */
  unitSeconds(name: string): number {
    return this.#upToNow(name).sum / RESOURCE_SCALE / 1000;
  }

  #upToNow(name: string): Level {
    const nowMs = this.#clock.nowMs();
    let level = this.#levels.get(name);
    if (!level) this.#levels.set(name, (level = { amount: 0, sinceMs: nowMs, sum: 0 }));
    level.sum += level.amount * (nowMs - level.sinceMs);
    level.sinceMs = nowMs;
    return level;
  }
}
