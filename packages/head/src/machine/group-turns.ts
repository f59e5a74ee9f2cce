/**
 * Turns within placement groups: what Fairness does for nodes, for the bundles of each group. A demand that waits is given room by those of the same group
 * who have more; where workers that had waited go on, and more runs in a bundle than it has, the youngest leases come back. Nothing is reserved.
 */
import { fits, shortage } from '@muster/base';
import type { NodeRow } from '@muster/scheduler';
import type { HeadContext } from './context.js';
import type { Demand, Demands } from './demands.js';
import type { GroupPool } from './group-pool.js';
import type { Groups } from './groups.js';
import { taken, type Lease } from './leases.js';
import { FAIRNESS_INTERVAL_MS, LEASE_QUANTUM_MS, RECLAIM_PATIENCE_MS, RECLAIM_RESEND_MS } from './limits.js';
import { reduce, shift } from './room-plan.js';

/** A bundle, and who may leave it. */
interface BundleRoom {
  readonly row: NodeRow;
  /** What is free, or will be as soon as those who were asked have left. */
  readonly free: Record<string, number>;
  /** Leases that could be asked for, the oldest first. */
  readonly askable: Lease[];
  /** Those that were asked for, and have not left. */
  readonly asked: Lease[];
}

/** Rounds of asking back in all groups. */
export class GroupTurns {
  readonly #context: HeadContext;
  readonly #demands: Demands;
  readonly #groups: Groups;
  readonly #askBack: (lease: Lease) => void;
  #nextRoundMs = 0;

  /** `askBack` asks the lease's owner to return it. */
  constructor(context: HeadContext, demands: Demands, groups: Groups, askBack: (lease: Lease) => void) {
    this.#context = context;
    this.#demands = demands;
    this.#groups = groups;
    this.#askBack = askBack;
  }

  tick(): void {
    if (this.#context.nowMs < this.#nextRoundMs) return;
    this.#nextRoundMs = this.#context.nowMs + FAIRNESS_INTERVAL_MS;
    const waiting = new Map<string, Demand>();
    for (const { pool: { groupId }, isInfeasible, waiting: inLine } of this.#demands.groups.values()) {
      const demand = inLine.first()!;
      const other = waiting.get(groupId);
      if (groupId !== '' && !isInfeasible && (other === undefined || isNeedier(demand, other))) waiting.set(groupId, demand);
    }
    for (const group of this.#groups.live.values()) if (group.pool !== null && group.pool.leases.size > 0) this.#serve(group.pool, waiting.get(group.id) ?? null);
  }

  /** One demand a round: there are ten rounds a second. */
  #serve(pool: GroupPool, demand: Demand | null): void {
    const rooms = this.#roomsOf(pool);
    for (const room of rooms) this.#relieve(room);
    if (demand === null) return;
    const shape = pool.shapes.of(demand.request, demand.requestKey);
    const suitable = rooms.filter(({ row }) => row.condition === 'ready' && shape.suits(row));
    for (const { asked } of suitable) for (const lease of asked) if (this.#context.nowMs - lease.askedBackAtMs! >= RECLAIM_RESEND_MS) this.#ask(lease);
    if (suitable.some(({ free }) => fits(free, demand.request.resources))) return; // it is about to be served
    let fewest: readonly Lease[] | null = null;
    for (const room of suitable) {
      const leaving = leavers(demand, room);
      if (leaving !== null && (fewest === null || leaving.length < fewest.length)) fewest = leaving;
    }
    for (const lease of fewest ?? []) this.#ask(lease);
  }

  /** More runs in the bundle than it has. */
  #relieve({ free, askable }: BundleRoom): void {
    const missing: Record<string, number> = {};
    for (const name in free) if (free[name]! < 0) missing[name] = -free[name]!;
    for (let lease = askable.at(-1); lease !== undefined && Object.keys(missing).length > 0; lease = askable.at(-1)) {
      askable.pop();
      if (reduce(missing, lease.resources)) this.#ask(lease);
    }
  }

  #roomsOf(pool: GroupPool): BundleRoom[] {
    const { nowMs } = this.#context;
    const rooms = new Map<string, BundleRoom>();
    for (const row of pool.cluster.rows()) rooms.set(row.nodeId, { row, free: { ...pool.cluster.view(row).available }, askable: [], asked: [] });
    for (const lease of pool.leases) {
      const { free, askable, asked } = rooms.get(lease.place.row)!;
      if (lease.state === 'ending') shift(free, taken(lease), 1);
      if (lease.state !== 'running' || lease.demand.actorId !== '' || lease.isBlocked) continue;
      if (lease.askedBackAtMs === null) {
        if (nowMs - lease.runningSinceMs! >= LEASE_QUANTUM_MS) askable.push(lease);
        continue;
      }
      asked.push(lease);
      if (!lease.isLate && nowMs - lease.askedFirstAtMs! >= RECLAIM_PATIENCE_MS) { // it runs a long task
        lease.isLate = true;
        lease.demand.askedBack--;
      }
      if (!lease.isLate) shift(free, lease.resources, 1);
    }
    for (const { askable } of rooms.values()) askable.sort((a, b) => a.runningSinceMs! - b.runningSinceMs!);
    return [...rooms.values()];
  }

  #ask(lease: Lease): void {
    if (lease.askedBackAtMs === null) lease.demand.askedBack++;
    lease.askedBackAtMs = this.#context.nowMs;
    lease.askedFirstAtMs ??= lease.askedBackAtMs;
    this.#askBack(lease);
  }
}

const isNeedier = (a: Demand, b: Demand): boolean => a.level! < b.level! || (a.level === b.level && a.turn < b.turn);

/** The oldest leases that would make room, of holders that keep at least as much as the demand then has; null where no number of them would do. */
function leavers(demand: Demand, { free, askable }: BundleRoom): readonly Lease[] | null {
  const missing = { ...shortage(free, demand.request.resources) };
  const leaving: Lease[] = [];
  const leavingOf = new Map<Demand, number>();
  for (const lease of askable) {
    const holder = lease.demand;
    const kept = holder.leases.size - holder.askedBack - (leavingOf.get(holder) ?? 0);
    // Who holds nothing may take anybody's; else the exchange must leave the holder with no less than the taker.
    if (holder === demand || kept <= (demand.level === 0 ? 0 : demand.level! + 1) || !reduce(missing, lease.resources)) continue;
    leaving.push(lease);
    leavingOf.set(holder, (leavingOf.get(holder) ?? 0) + 1);
    if (Object.keys(missing).length === 0) return leaving;
  }
  return null;
}
