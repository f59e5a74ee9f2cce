/** Who gives back what, so that a waiting demand has room on some node: the arithmetic of a round of fairness. */
import { fits, shortage, type ResourceSet } from '@muster/base';
import type { Demand } from './demands.js';
import type { Lease } from './leases.js';
import type { Queue, Queues } from './queues.js';
import { byDevice, needsOf, type Room } from './room.js';

/** Where room can be made, and by whose leaving. */
export interface Plan {
  readonly room: Room;
  /** In the names of {@link Room.free}. */
  readonly needs: ResourceSet;
  readonly leases: readonly Lease[];
}

/** What the queues will hold when all that was asked for in this round and before has come back. */
export class RoundShares {
  readonly #capacity: ResourceSet;
  readonly #queues: ReadonlyMap<Queue, Queue>;

  /** `coming`: what was asked for and will come back soon. */
  constructor(queues: Queues, capacity: ResourceSet, coming: Iterable<Lease>) {
    this.#capacity = capacity;
    this.#queues = new Map(Array.from(queues.byName.values(), (queue) => [queue, queue.fork()]));
    for (const lease of coming) this.#queues.get(lease.demand.queue)!.subtract(lease.resources);
  }

  /** The queue's share, when it holds so much more. */
  of(queue: Queue, change: ResourceSet): number {
    return this.#queues.get(queue)!.dominantShare(this.#capacity, change);
  }

  /** The demand is promised the room of these leases. */
  exchange(demand: Demand, leases: readonly Lease[]): void {
    this.#queues.get(demand.queue)!.add(demand.request.resources);
    for (const lease of leases) this.#queues.get(lease.demand.queue)!.subtract(lease.resources);
  }
}

/** Who gives how much up for one demand. */
export class Ceded {
  readonly #demand: Demand;
  readonly #shares: RoundShares;
  readonly #leavingOf = new Map<Demand, number>();
  readonly #changeOf = new Map<Queue, Record<string, number>>();

  constructor(demand: Demand, shares: RoundShares) {
    this.#demand = demand;
    this.#shares = shares;
  }

  /** Whether the holder of a lease owes it to the demand. */
  mayTake({ demand: holder, resources }: Lease): boolean {
    const demand = this.#demand;
    if (holder === demand) return false;
    if (holder.priority !== demand.priority) return holder.priority < demand.priority;
    if (holder.queue === demand.queue) {
      const kept = holder.leases.size - holder.askedBack - (this.#leavingOf.get(holder) ?? 0);
      // Who holds nothing may take anybody's; else the exchange must leave the holder with no less than the taker.
      return kept > (demand.level === 0 ? 0 : demand.level! + 1);
    }
    if (this.#shares.of(demand.queue, {}) === 0) return true; // the same between queues
    const left: Record<string, number> = { ...this.#changeOf.get(holder.queue) };
    shift(left, resources, -1);
    return this.#shares.of(holder.queue, left) >= this.#shares.of(demand.queue, demand.request.resources);
  }

  take({ demand: holder, resources }: Lease): void {
    this.#leavingOf.set(holder, (this.#leavingOf.get(holder) ?? 0) + 1);
    const change = this.#changeOf.get(holder.queue) ?? {};
    this.#changeOf.set(holder.queue, change);
    shift(change, resources, -1);
  }
}

/** The node where the fewest leases must come back, or null where no number of them would do. */
export function bestPlan(demand: Demand, rooms: readonly Room[], shares: RoundShares): Plan | null {
  for (const room of rooms) {
    const needs = needsOf(demand.request, room);
    if (needs !== null && fits(room.free, needs)) return { room, needs, leases: [] };
  }
  return planWith(demand, rooms, { shares, countsLate: false }) ?? planWith(demand, rooms, { shares, countsLate: true });
}

interface PlanOptions {
  readonly shares: RoundShares;
  readonly countsLate: boolean;
}

function planWith(demand: Demand, rooms: readonly Room[], { shares, countsLate }: PlanOptions): Plan | null {
  let best: Plan | null = null;
  for (const room of rooms) {
    const needs = needsOf(demand.request, room);
    if (needs === null) continue;
    const leases = leavers(new Ceded(demand, shares), room, needs, { limit: best?.leases.length ?? Infinity, late: countsLate ? room.late : [] });
    if (leases !== null) best = { room, needs, leases };
    if (best !== null && best.leases.length <= 1) break;
  }
  return best;
}

/** Fewer than `limit` leases, the oldest first, that would make room, all of holders who owe them. The `late` ones will come, too. */
function leavers(ceded: Ceded, room: Room, needs: ResourceSet, { limit, late }: { readonly limit: number; readonly late: readonly Lease[] }): Lease[] | null {
  if (!room.isSorted) room.askable.sort((a, b) => a.runningSinceMs! - b.runningSinceMs!);
  room.isSorted = true;
  const leaving: Lease[] = [];
  const missing = { ...shortage(room.free, needs) };
  for (const lease of late) reduce(missing, byDevice(lease.resources, lease));
  if (Object.keys(missing).length === 0) return leaving;
  for (const lease of room.askable) {
    if (!ceded.mayTake(lease) || !reduce(missing, byDevice(lease.resources, lease))) continue;
    leaving.push(lease);
    if (leaving.length >= limit) return null;
    ceded.take(lease);
    if (Object.keys(missing).length === 0) return leaving;
  }
  return null;
}

/** Takes what the lease holds from what is missing; false when it holds nothing of that. */
export function reduce(missing: Record<string, number>, resources: ResourceSet): boolean {
  let isOfUse = false;
  for (const name in missing) {
    const amount = resources[name] ?? 0;
    if (amount === 0) continue;
    isOfUse = true;
    missing[name]! -= amount;
    if (missing[name]! <= 0) delete missing[name];
  }
  return isOfUse;
}

/** Adds (`1`) or takes away (`-1`) in place. */
export function shift(amounts: Record<string, number>, resources: ResourceSet, sign: 1 | -1): void {
  for (const name in resources) amounts[name] = (amounts[name] ?? 0) + sign * resources[name]!;
}
