/**
 * Takes from those who have for those who have less. A round looks at the neediest waiting demands, finds the node where the
 * fewest leases have to come back for each, and asks their owners, who return a lease when it runs nothing.
 *
 * Within a queue those give who have more leases than the demand; between queues of one priority, those whose queue keeps at least the share that the demand's
 * has then; and lower priorities give to higher ones. A demand that waits for its queue's quota is given by its own queue.
 *
 * Asking alone would starve a demand that needs several leases' room: smaller ones would take each piece as it comes free. So
 * a demand that has held nothing for a while claims a node: freed room there is kept for it, for a limited time, after which the
 * node is open to all for a while.
 */
import type { Shape } from '@muster/scheduler';
import { NOBODY, type Claims } from './claims.js';
import type { HeadContext } from './context.js';
import type { Demand, Demands } from './demands.js';
import { taken, type Lease } from './leases.js';
import {
  FAIRNESS_DEMANDS_MAX, FAIRNESS_INTERVAL_MS, FAIRNESS_NODES_MAX, LEASE_QUANTUM_MS, RECLAIM_PATIENCE_MS, RECLAIM_RESEND_MS, RESERVATION_MS, RESERVE_AFTER_MS,
} from './limits.js';
import type { Node, Nodes } from './nodes.js';
import type { Queues } from './queues.js';
import { bestPlan, Ceded, reduce, RoundShares, shift } from './room-plan.js';
import { byDevice, freeOf, type Room } from './room.js';

/** A demand that waits, and whether it waits for its queue's quota. */
interface Needy {
  readonly demand: Demand;
  readonly isOverQuota: boolean;
}

/** The parts of the machine that fairness looks at. */
interface Parts {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
  readonly demands: Demands;
  readonly claims: Claims;
}

/** Rounds of asking back. */
export class Fairness {
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #queues: Queues;
  readonly #demands: Demands;
  readonly #claims: Claims;
  readonly #askBack: (lease: Lease) => void;
  /** Nodes on which more runs than they have, and since when. */
  #overused = new Map<Node, number>();
  /** What was asked for and may still come. */
  readonly #asked = new Set<Lease>();
  /** The row of the scheduler's cluster at which the next round's look begins. */
  #nextRow = 0;
  #nextRoundMs = 0;

  /** `askBack` asks the lease's owner to return it. */
  constructor({ context, nodes, queues, demands, claims }: Parts, askBack: (lease: Lease) => void) {
    this.#context = context;
    this.#nodes = nodes;
    this.#queues = queues;
    this.#demands = demands;
    this.#claims = claims;
    this.#askBack = askBack;
  }

  tick(): void {
    const { nowMs } = this.#context;
    if (nowMs < this.#nextRoundMs) return;
    this.#nextRoundMs = nowMs + FAIRNESS_INTERVAL_MS;
    this.#reviewAsked();
    this.#relieve();
    for (const node of this.#nodes.byId.values()) if (node.isDraining) this.#empty(node);
    const needy = this.#neediest();
    if (needy.length === 0) return;
    const rooms = Array.from(this.#nodesFor(needy), (node) => this.#roomOf(node));
    const shares = new RoundShares(this.#queues, this.#nodes.totals, [...this.#asked].filter(isComing));
    for (const { demand, isOverQuota } of needy) {
      if (isOverQuota) this.#makeQuotaRoom(demand, rooms, shares);
      else this.#makeRoom(demand, rooms, shares);
    }
  }

  /** Those that have not come for long run long tasks. */
  #reviewAsked(): void {
    for (const lease of this.#asked) {
      if (lease.state !== 'running' || !lease.place.node.leases.has(lease)) this.#asked.delete(lease);
      else if (!lease.isLate && this.#context.nowMs - lease.askedFirstAtMs! >= RECLAIM_PATIENCE_MS) {
        lease.isLate = true;
        lease.demand.askedBack--;
      }
    }
  }

  /** Some in turn, and those that were claimed. A quota is a matter of all nodes. */
  #nodesFor(needy: readonly Needy[]): Iterable<Node> {
    const { byId, cluster } = this.#nodes;
    if (byId.size <= FAIRNESS_NODES_MAX || needy.some(({ isOverQuota }) => isOverQuota)) return byId.values();
    const nodes = new Set(needy.flatMap(({ demand }) => this.#claims.of(demand).map((claim) => claim.node)));
    for (let looked = 0; looked < FAIRNESS_NODES_MAX; looked++) {
      const row = cluster.at(this.#nextRow++ % cluster.rowCount);
      if (row !== null) nodes.add(byId.get(row.nodeId)!);
    }
    return nodes;
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
        if (reduce(missing, lease.resources)) this.ask(lease);
      }
      for (const lease of asked) this.#askAgain(lease);
    }
  }

  /** Owners of tasks' leases on a draining node give them back after their present tasks. */
  #empty(node: Node): void {
    const { askable, asked } = this.#roomOf(node);
    for (const lease of askable) this.ask(lease);
    for (const lease of asked) this.#askAgain(lease);
  }

  #neediest(): Needy[] {
    const needy: Needy[] = [];
    for (const { isInfeasible, isOverQuota, pool, waiting } of this.#demands.groups.values()) {
      if (isInfeasible || pool !== this.#nodes) continue;
      let looked = 0;
      for (const demand of waiting) {
        if (looked++ === FAIRNESS_DEMANDS_MAX) break;
        needy.push({ demand, isOverQuota });
      }
    }
    const inTurn = (a: Demand, b: Demand): number => this.#queues.compare(a, b) || a.level! - b.level! || a.turn - b.turn;
    return needy.sort((a, b) => inTurn(a.demand, b.demand)).slice(0, FAIRNESS_DEMANDS_MAX);
  }

  #roomOf(node: Node): Room {
    const room: Room = { node, free: freeOf(node, this.#nodes.availableOf(node)), askable: [], isSorted: false, asked: [], late: [] };
    for (const lease of node.leases) {
      if (lease.pool !== this.#nodes) continue; // what it gives back stays its placement group's
      if (lease.state === 'ending' || lease.preemption !== null) {
        shift(room.free, byDevice(taken(lease), lease), 1);
        continue;
      }
      if (lease.state !== 'running' || lease.demand.actorId !== '' || lease.isBlocked) continue;
      if (lease.askedBackAtMs === null) {
        room.askable.push(lease);
        continue;
      }
      room.asked.push(lease);
      if (lease.isLate) room.late.push(lease);
      else shift(room.free, byDevice(lease.resources, lease), 1);
    }
    return room;
  }

  #makeRoom(demand: Demand, rooms: readonly Room[], shares: RoundShares): void {
    const { nowMs } = this.#context;
    const shape = this.#shapeOf(demand);
    const claimed = rooms.filter((room) => room.node.claims.some((claim) => claim.holder === demand));
    const plan = bestPlan(demand, claimed.length > 0 ? claimed : rooms.filter(({ node }) => this.#isOpenTo(demand, node) && shape.suits(node.row)), shares);
    if (plan === null) return;
    const { room } = plan;
    shift(room.free, plan.needs, -1);
    shares.exchange(demand, plan.leases);
    for (const lease of plan.leases) {
      shift(room.free, byDevice(lease.resources, lease), 1);
      if (nowMs - lease.runningSinceMs! >= LEASE_QUANTUM_MS) this.ask(lease);
    }
    if (plan.leases.length > 0) room.askable = room.askable.filter((lease) => lease.askedBackAtMs === null);
    for (const lease of room.asked) if (lease.demand !== demand) this.#askAgain(lease);
    this.#reserveFor(demand, room.node);
  }

  /** The queue holds all that it may: those of its own who have more give. */
  #makeQuotaRoom(demand: Demand, rooms: readonly Room[], shares: RoundShares): void {
    const { queue } = demand;
    const missing = { ...queue.quotaShortage(demand.request.resources) };
    const isOfIt = (lease: Lease): boolean => lease.demand.queue === queue;
    for (const lease of rooms.flatMap((room) => room.asked.filter(isOfIt))) {
      if (!lease.isLate) reduce(missing, lease.resources);
      this.#askAgain(lease);
    }
    const ceded = new Ceded(demand, shares);
    const leaving: Lease[] = [];
    for (const lease of rooms.flatMap((room) => room.askable.filter(isOfIt)).sort((a, b) => a.runningSinceMs! - b.runningSinceMs!)) {
      if (Object.keys(missing).length === 0) break;
      if (!ceded.mayTake(lease) || !reduce(missing, lease.resources)) continue;
      ceded.take(lease);
      leaving.push(lease);
    }
    if (Object.keys(missing).length > 0) return;
    for (const lease of leaving) if (this.#context.nowMs - lease.runningSinceMs! >= LEASE_QUANTUM_MS) this.ask(lease);
    for (const room of rooms) room.askable = room.askable.filter((lease) => lease.askedBackAtMs === null);
  }

  #askAgain(lease: Lease): void {
    if (this.#context.nowMs - lease.askedBackAtMs! >= RECLAIM_RESEND_MS) this.ask(lease);
  }

  #shapeOf({ request, requestKey }: Demand): Shape {
    return this.#nodes.shapes.of(request, requestKey);
  }

  /** Whether the node takes leases, and nobody has claimed it who goes first. */
  #isOpenTo({ priority }: Demand, { row, claims }: Node): boolean {
    return row.condition === 'ready' || (row.condition === 'reserved' && claims.every((claim) => claim.holder.priority < priority));
  }

  #reserveFor(demand: Demand, node: Node): void {
    const { nowMs } = this.#context;
    if (demand.level !== 0 || nowMs - demand.waitingSinceMs < RESERVE_AFTER_MS) return;
    if (!this.#isOpenTo(demand, node) || node.openUntilMs > nowMs) return;
    this.#claims.add({ holder: demand, request: demand.request, node, startsAtMs: nowMs, untilMs: nowMs + RESERVATION_MS, awaited: NOBODY, origin: 'fairness' });
  }

  /** Asks for a lease, for the first time or once more. */
  ask(lease: Lease): void {
    if (lease.askedBackAtMs === null) lease.demand.askedBack++;
    lease.askedBackAtMs = this.#context.nowMs;
    lease.askedFirstAtMs ??= lease.askedBackAtMs;
    this.#asked.add(lease);
    this.#askBack(lease);
  }
}

/** Whether its room can be counted on. */
const isComing = (lease: Lease): boolean => !lease.isLate && !lease.isBlocked && lease.preemption === null && lease.demand.actorId === '';
