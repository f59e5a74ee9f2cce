/**
 * Takes from those who have for those who have less. A round looks at the neediest waiting demands, finds the node where the
 * fewest leases have to come back for each, and asks their owners, who return a lease when it runs nothing.
 *
 * Asking alone would starve a demand that needs several leases' room: smaller ones would take each piece as it comes free. So
 * a demand that has held nothing for a while gets a reservation: freed room on one node is kept for it, for a limited time,
 * after which the node is open to all for a while.
 */
import { fits, shortage, type ResourceSet } from '@muster/base';
import type { Shape } from '@muster/scheduler';
import type { HeadContext } from './context.js';
import type { Demand, Demands } from './demands.js';
import { taken, type Lease } from './leases.js';
import {
  FAIRNESS_DEMANDS_MAX, FAIRNESS_INTERVAL_MS, LEASE_QUANTUM_MS, RECLAIM_PATIENCE_MS, RECLAIM_RESEND_MS, RESERVATION_MS, RESERVATION_PAUSE_MS, RESERVE_AFTER_MS,
} from './limits.js';
import type { Node, Nodes } from './nodes.js';
import { byDevice, freeOf, needsOf, type Room } from './room.js';

/** Where room can be made, and by whose leaving. */
interface Plan {
  readonly room: Room;
  /** In the names of {@link Room.free}. */
  readonly needs: ResourceSet;
  readonly leases: readonly Lease[];
}

/** Rounds of asking back, and the nodes that are reserved meanwhile. */
export class Fairness {
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #demands: Demands;
  readonly #askBack: (lease: Lease) => void;
  readonly #reserved = new Set<Node>();
  /** Nodes on which more runs than they have, and since when. */
  #overused = new Map<Node, number>();
  #nextRoundMs = 0;

  /** `askBack` asks the lease's owner to return it. */
  constructor(context: HeadContext, nodes: Nodes, demands: Demands, askBack: (lease: Lease) => void) {
    this.#context = context;
    this.#nodes = nodes;
    this.#demands = demands;
    this.#askBack = askBack;
  }

  /** Gives reserved nodes to their demands as soon as these fit. To be called before anything else is scheduled. */
  serve(grant: (demand: Demand, nodeId: string) => void): void {
    for (const node of [...this.#reserved]) {
      const { demand } = node.reservation!;
      const isVoid = node.isDraining || demand.level === null || demand.level > 0;
      if (!isVoid && (node.stream === null || !this.#shapeOf(demand).hasRoom(node.row))) continue;
      this.#release(node);
      if (!isVoid) grant(demand, node.id);
    }
  }

  nodeLost(node: Node): void {
    this.#reserved.delete(node);
  }

  tick(): void {
    const { nowMs } = this.#context;
    for (const node of [...this.#reserved]) {
      if (node.reservation!.untilMs > nowMs) continue;
      node.openUntilMs = nowMs + RESERVATION_PAUSE_MS;
      this.#release(node);
    }
    if (nowMs < this.#nextRoundMs) return;
    this.#nextRoundMs = nowMs + FAIRNESS_INTERVAL_MS;
    this.#relieve();
    for (const node of this.#nodes.byId.values()) if (node.isDraining) this.#empty(node);
    const needy = this.#neediest();
    if (needy.length === 0) return;
    const rooms = Array.from(this.#nodes.byId.values(), (node) => this.#roomOf(node));
    for (const demand of needy) this.#makeRoom(demand, rooms);
  }

  /**
   * A worker that waited goes on at once, though its cpus were lent out meanwhile. Where that leaves more running than a node has, the youngest leases
   * come back after their present tasks; but not before it has lasted, as who waits in a loop lends its cpu again in a moment.
   */
  #relieve(): void {
    const { nowMs } = this.#context;
    const before = this.#overused;
    this.#overused = new Map();
    for (const node of this.#nodes.byId.values()) {
      if (!this.#nodes.isOverused(node)) continue;
      const sinceMs = before.get(node) ?? nowMs;
      this.#overused.set(node, sinceMs);
      if (nowMs - sinceMs < LEASE_QUANTUM_MS) continue;
      const { free, askable, asked, late } = this.#roomOf(node);
      const missing: Record<string, number> = {};
      for (const name in free) if (free[name]! < 0) missing[name] = -free[name]!;
      for (const lease of late) reduce(missing, lease.resources);
      for (const lease of askable.sort((a, b) => b.runningSinceMs! - a.runningSinceMs!)) {
        if (Object.keys(missing).length === 0) break;
        if (reduce(missing, lease.resources)) this.#ask(lease);
      }
      for (const lease of asked) if (nowMs - lease.askedBackAtMs! >= RECLAIM_RESEND_MS) this.#ask(lease);
    }
  }

  /** Owners of tasks' leases on a draining node give them back after their present tasks. */
  #empty(node: Node): void {
    const { askable, asked } = this.#roomOf(node);
    for (const lease of askable) this.#ask(lease);
    for (const lease of asked) if (this.#context.nowMs - lease.askedBackAtMs! >= RECLAIM_RESEND_MS) this.#ask(lease);
  }

  #neediest(): Demand[] {
    const needy: Demand[] = [];
    for (const group of this.#demands.groups.values()) {
      if (group.isInfeasible || group.pool !== this.#nodes) continue;
      let looked = 0;
      for (const demand of group.queue) {
        if (looked++ === FAIRNESS_DEMANDS_MAX) break;
        needy.push(demand);
      }
    }
    return needy.sort((a, b) => a.level! - b.level! || a.turn - b.turn).slice(0, FAIRNESS_DEMANDS_MAX);
  }

  #roomOf(node: Node): Room {
    const room: Room = { node, free: freeOf(node, this.#nodes.availableOf(node)), askable: [], isSorted: false, asked: [], late: [] };
    for (const lease of node.leases) {
      if (lease.pool !== this.#nodes) continue; // what it gives back stays its placement group's
      if (lease.state === 'ending') shift(room.free, byDevice(taken(lease), lease), 1);
      if (lease.state !== 'running' || lease.demand.actorId !== '' || lease.isBlocked) continue;
      if (lease.askedBackAtMs === null) {
        room.askable.push(lease);
        continue;
      }
      room.asked.push(lease);
      if (!lease.isLate && this.#context.nowMs - lease.askedFirstAtMs! >= RECLAIM_PATIENCE_MS) {
        lease.isLate = true;
        lease.demand.askedBack--;
      }
      if (lease.isLate) room.late.push(lease);
      else shift(room.free, byDevice(lease.resources, lease), 1);
    }
    return room;
  }

  #makeRoom(demand: Demand, rooms: readonly Room[]): void {
    const { nowMs } = this.#context;
    const shape = this.#shapeOf(demand);
    const reserved = rooms.filter((room) => room.node.reservation?.demand === demand);
    const plan = bestPlan(demand, reserved.length > 0 ? reserved : rooms.filter(({ node: { row } }) => row.condition === 'ready' && shape.suits(row)));
    if (plan === null) return;
    const { room } = plan;
    shift(room.free, plan.needs, -1);
    for (const lease of plan.leases) {
      shift(room.free, byDevice(lease.resources, lease), 1);
      if (nowMs - lease.runningSinceMs! >= LEASE_QUANTUM_MS) this.#ask(lease);
    }
    if (plan.leases.length > 0) room.askable = room.askable.filter((lease) => lease.askedBackAtMs === null);
    for (const lease of room.asked) if (lease.demand !== demand && nowMs - lease.askedBackAtMs! >= RECLAIM_RESEND_MS) this.#ask(lease);
    this.#reserveFor(demand, room.node);
  }

  #shapeOf({ request, requestKey }: Demand): Shape {
    return this.#nodes.shapes.of(request, requestKey);
  }

  #reserveFor(demand: Demand, node: Node): void {
    const { nowMs } = this.#context;
    if (demand.level !== 0 || nowMs - demand.waitingSinceMs < RESERVE_AFTER_MS) return;
    if (node.reservation !== null || node.openUntilMs > nowMs) return;
    this.#reserved.add(node);
    this.#nodes.reserve(node, { demand, untilMs: nowMs + RESERVATION_MS });
  }

  #release(node: Node): void {
    this.#reserved.delete(node);
    this.#nodes.reserve(node, null);
  }

  #ask(lease: Lease): void {
    if (lease.askedBackAtMs === null) lease.demand.askedBack++;
    lease.askedBackAtMs = this.#context.nowMs;
    lease.askedFirstAtMs ??= lease.askedBackAtMs;
    this.#askBack(lease);
  }
}

/** The node where the fewest leases must come back, or null where no number of them would do. */
function bestPlan(demand: Demand, rooms: readonly Room[]): Plan | null {
  for (const room of rooms) {
    const needs = needsOf(demand.request, room);
    if (needs !== null && fits(room.free, needs)) return { room, needs, leases: [] };
  }
  return planWith(demand, rooms, { countsLate: false }) ?? planWith(demand, rooms, { countsLate: true });
}

function planWith(demand: Demand, rooms: readonly Room[], { countsLate }: { readonly countsLate: boolean }): Plan | null {
  let best: Plan | null = null;
  for (const room of rooms) {
    const needs = needsOf(demand.request, room);
    if (needs === null) continue;
    const leases = leavers(demand, room, needs, { limit: best?.leases.length ?? Infinity, late: countsLate ? room.late : [] });
    if (leases !== null) best = { room, needs, leases };
    if (best !== null && best.leases.length <= 1) break;
  }
  return best;
}

/**
 * Fewer than `limit` leases, the oldest first, that would make room, all of holders that keep at least as much as the demand then has. The `late` ones
 * will come, too.
 */
function leavers(demand: Demand, room: Room, needs: ResourceSet, { limit, late }: { readonly limit: number; readonly late: readonly Lease[] }): Lease[] | null {
  if (!room.isSorted) room.askable.sort((a, b) => a.runningSinceMs! - b.runningSinceMs!);
  room.isSorted = true;
  const leaving: Lease[] = [];
  const leavingOf = new Map<Demand, number>();
  const missing = { ...shortage(room.free, needs) };
  for (const lease of late) reduce(missing, byDevice(lease.resources, lease));
  if (Object.keys(missing).length === 0) return leaving;
  for (const lease of room.askable) {
    const holder = lease.demand;
    const kept = holder.leases.size - holder.askedBack - (leavingOf.get(holder) ?? 0);
    // Who holds nothing may take anybody's; else the exchange must leave the holder with no less than the taker.
    if (holder === demand || kept <= (demand.level === 0 ? 0 : demand.level! + 1)) continue;
    if (!reduce(missing, byDevice(lease.resources, lease))) continue;
    leaving.push(lease);
    if (leaving.length >= limit) return null;
    leavingOf.set(holder, (leavingOf.get(holder) ?? 0) + 1);
    if (Object.keys(missing).length === 0) return leaving;
  }
  return null;
}

/** Takes what the lease holds from what is missing; false when it holds nothing of that. */
function reduce(missing: Record<string, number>, resources: ResourceSet): boolean {
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

function shift(amounts: Record<string, number>, resources: ResourceSet, sign: 1 | -1): void {
  for (const name in resources) amounts[name] = (amounts[name] ?? 0) + sign * resources[name]!;
}
