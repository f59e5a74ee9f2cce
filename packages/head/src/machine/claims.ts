/**
 * Room on nodes that is kept for demands until there is enough of it: what comes back piece by piece would else be taken piece by piece by smaller ones.
 *
 *   made ──the node has room──> served
 *     └──the demand waits no longer, the node is lost or drains, its time is over──> dropped
 *
 * A node with claims takes no other leases, except those that do not delay the claims: what is expected to have ended when the first of them starts, or what has
 * room beside them. Claims of lower priority count for nothing.
 */
import { Cluster, Shape } from '@muster/scheduler';
import type { HeadContext } from './context.js';
import type { Demand, Demands } from './demands.js';
import { isLeaving, type Lease } from './leases.js';
import { RESERVATION_PAUSE_MS } from './limits.js';
import type { Node, Nodes } from './nodes.js';

/** Room on one node for one lease of a demand. */
export interface Claim {
  readonly demand: Demand;
  readonly node: Node;
  /** When what stands in its way is expected to have ended. */
  readonly startsAtMs: number;
  /** It is given up then. */
  readonly untilMs: number;
  /** For a demand that holds nothing: over as soon as it holds something, wherever. */
  readonly isForFirst: boolean;
}

/** All claims, those of the highest priority first. */
export class Claims {
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #demands: Demands;
  #all: readonly Claim[] = [];

  constructor(context: HeadContext, nodes: Nodes, demands: Demands) {
    this.#context = context;
    this.#nodes = nodes;
    this.#demands = demands;
  }

  get all(): readonly Claim[] {
    return this.#all;
  }

  has(claim: Claim): boolean {
    return claim.node.claims.includes(claim);
  }

  of(demand: Demand): Claim[] {
    return this.#all.filter((claim) => claim.demand === demand);
  }

  add(claim: Claim): Claim {
    this.#all = [...this.#all, claim].sort((a, b) => b.demand.priority - a.demand.priority);
    this.#nodes.setClaims(claim.node, [...claim.node.claims, claim]);
    return claim;
  }

  drop(claim: Claim): void {
    this.#all = this.#all.filter((other) => other !== claim);
    this.#nodes.setClaims(claim.node, claim.node.claims.filter((other) => other !== claim));
  }

  /** Gives claimed room to its demands as soon as there is enough. To be called before anything else is scheduled. */
  serve(grant: (demand: Demand, nodeId: string) => void): void {
    for (const claim of this.#all) {
      const { demand, node } = claim;
      const isVoid = node.isDraining || demand.level === null || demand.pool !== this.#nodes || (claim.isForFirst && demand.level > 0);
      if (!isVoid && !this.#isRipe(claim)) continue;
      this.drop(claim);
      if (!isVoid) grant(demand, node.id);
    }
  }

  /** A claimed node that can take one more lease of the demand without making anybody wait who has claimed it, or null. */
  admit(demand: Demand, shape: Shape): string | null {
    for (const { node } of this.#all) {
      if (node.stream === null || node.isDraining || !shape.hasRoom(node.row)) continue;
      if (this.#hasRoomBeside(node.claims.filter((claim) => claim.demand.priority >= demand.priority), demand)) return node.id;
    }
    return null;
  }

  nodeLost(node: Node): void {
    for (const claim of node.claims) this.drop(claim);
  }

  tick(): void {
    const { nowMs } = this.#context;
    for (const claim of this.#all) {
      if (claim.untilMs <= nowMs) {
        claim.node.openUntilMs = nowMs + RESERVATION_PAUSE_MS;
        this.drop(claim);
      } else if (this.of(claim.demand).length > this.#demands.missing(claim.demand)) this.drop(claim);
    }
  }

  /** Whether there is room for it, and for those before it there will be. */
  #isRipe(claim: Claim): boolean {
    const { demand, node } = claim;
    if (node.stream === null || demand.queue.overQuota(demand.request.resources) !== null || !this.#shapeOf(demand).hasRoom(node.row)) return false;
    const earlier = this.#all.slice(0, this.#all.indexOf(claim));
    return this.#hasRoomBeside(earlier.filter((other) => other.node === node), demand);
  }

  /** Whether one more lease of the demand on their node leaves enough for these claims of others, when all has left that is about to. */
  #hasRoomBeside(claims: readonly Claim[], demand: Demand): boolean {
    const others = claims.filter((claim) => claim.demand !== demand);
    if (others.length === 0) return true;
    const { node } = others[0]!;
    const then = clusterOf(node);
    return [...others.map((claim) => claim.demand.request), demand.request].every((request) => {
      const hasRoom = new Shape(then, request).best() !== null;
      if (hasRoom) then.hold(node.id, request.resources);
      return hasRoom;
    });
  }

  #shapeOf({ request, requestKey }: Demand): Shape {
    return this.#nodes.shapes.of(request, requestKey);
  }
}

/** The node alone, when all that is about to leave has left. What is lent is counted: whoever lends it may go on. */
function clusterOf({ row, leases, shares }: Node): Cluster {
  const cluster = new Cluster();
  cluster.add(row);
  const stays = (lease: Lease): boolean => !isLeaving(lease);
  for (const lease of leases) if (lease.place.bundle === null && stays(lease)) cluster.holdAt(row.nodeId, { resources: lease.resources, gpuIds: lease.place.gpuIds });
  for (const { holdings } of shares.values()) for (const holding of holdings.values()) cluster.holdAt(row.nodeId, holding);
  return cluster;
}
