/**
 * Room on nodes that is kept for demands and groups until there is enough of it: what comes back piece by piece would else be taken piece by piece by smaller ones.
 *
 *   made ──there is room──> served
 *     └──its holder waits no longer, the node is lost or drains, its time is over──> dropped
 *
 * A node with claims takes no other leases, except those that do not delay the claims: what is expected to have ended when the first of them starts, or what has
 * room beside them. Claims of lower priority count for nothing. A group is served when there is room for all of its claims.
 */
import { haveRoom, type Holding, type PlacementRequest, type Shape } from '@muster/scheduler';
import type { HeadContext } from './context.js';
import type { Demand, Demands } from './demands.js';
import type { Group } from './group.js';
import { endsAtMs, isLeaving, type Lease } from './leases.js';
import { RESERVATION_PAUSE_MS } from './limits.js';
import type { Node, Nodes } from './nodes.js';
import { nodesOf } from './tenants.js';

/** Who may have claims. */
export type Claimant = Demand | Group;

/** Room on one node for one lease of a demand, or for one bundle of a group. */
export interface Claim {
  readonly holder: Claimant;
  readonly request: PlacementRequest;
  readonly node: Node;
  /** When what stands in its way is expected to have ended. */
  readonly startsAtMs: number;
  /** It is given up then. */
  readonly untilMs: number;
  /** What stands in its way and is expected to end, as far as it is on the node. What leaves for it is known to do so. */
  readonly awaited: ReadonlySet<Lease | Group>;
  /**
   * `fairness` and `reservation`: in the hope that enough comes back; of a demand, over as soon as it holds something, wherever. `preemption`: somebody has to leave
   * for it.
   */
  readonly origin: 'fairness' | 'reservation' | 'preemption';
}

/** Nobody in particular is awaited. */
export const NOBODY: ReadonlySet<Lease | Group> = new Set();

/** What serves claims whose room is there. */
export interface ClaimServer {
  grant(demand: Demand, nodeId: string): void;
  /** Whether the group waits for its place. */
  isWaiting(group: Group): boolean;
  /** Places it before all others. */
  place(group: Group): void;
}

/** Whether it is a group that waits, not a demand. */
export const isGroup = (holder: Claimant): holder is Group => 'bundles' in holder;

/** All claims, those of the highest priority first. */
export class Claims {
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #demands: Demands;
  #all: readonly Claim[] = [];
  #servedRevision = -1;

  constructor(context: HeadContext, nodes: Nodes, demands: Demands) {
    this.#context = context;
    this.#nodes = nodes;
    this.#demands = demands;
  }

  get all(): readonly Claim[] {
    return this.#all;
  }

  of(holder: Claimant): Claim[] {
    return this.#all.filter((claim) => claim.holder === holder);
  }

  add(...claims: readonly Claim[]): void {
    this.#all = [...this.#all, ...claims].sort((a, b) => b.holder.priority - a.holder.priority);
    for (const claim of claims) this.#nodes.setClaims(claim.node, [...claim.node.claims, claim]);
    this.#servedRevision = -1;
  }

  drop(...claims: readonly Claim[]): void {
    const dropped = new Set(claims);
    this.#all = this.#all.filter((other) => !dropped.has(other));
    for (const node of new Set(claims.map((claim) => claim.node))) this.#nodes.setClaims(node, node.claims.filter((other) => !dropped.has(other)));
  }

  /** Gives claimed room to those who wait for it as soon as there is enough. To be called before anything else is scheduled. */
  serve(server: ClaimServer): void {
    if (this.#all.length === 0 || this.#servedRevision === this.#nodes.revision) return;
    const groups = new Set<Group>();
    for (const claim of this.#all) {
      const { holder } = claim;
      if (isGroup(holder)) {
        if (!groups.has(holder)) this.#serveGroup(holder, server);
        groups.add(holder);
      } else if (this.#isVoid(claim, holder)) this.drop(claim);
      else if (this.#isRipe([claim])) {
        this.drop(claim);
        server.grant(holder, claim.node.id);
      }
    }
    this.#servedRevision = this.#nodes.revision;
  }

  /** A claimed node that can take one more lease of the demand without making anybody wait who has claimed it, or null. */
  admit(demand: Demand, shape: Shape): string | null {
    for (const node of new Set(this.#all.map((claim) => claim.node))) {
      if (node.stream === null || node.isDraining || !shape.hasRoom(node.row)) continue;
      const claims = node.claims.filter(({ holder }) => holder !== demand && holder.priority >= demand.priority);
      if (this.#endsBefore(claims, demand) || this.#fit(node, claims, [demand.request])) return node.id;
    }
    return null;
  }

  /** Whether these claims will have room when all has left that they count on. */
  willHaveRoom(claims: readonly Claim[]): boolean {
    return [...new Set(claims.map((claim) => claim.node))].every((node) => this.#fit(node, claims.filter((claim) => claim.node === node), []));
  }

  /** Whether somebody of a higher priority, for whom others leave, counts on the room of this one, which may not be he for whom it was told to leave. */
  countOn(who: Lease | Group, { priority }: { readonly priority: number }): boolean {
    return nodesOf(who).some((node) => !this.#fit(node, node.claims.filter(({ origin, holder }) => origin === 'preemption' && holder.priority > priority), [], who));
  }

  nodeLost(node: Node): void {
    this.drop(...node.claims);
  }

  tick(): void {
    const { nowMs } = this.#context;
    for (const claim of this.#all) {
      const { holder, node } = claim;
      if (claim.untilMs <= nowMs) {
        node.openUntilMs = nowMs + RESERVATION_PAUSE_MS;
        this.drop(claim);
      } else if (!isGroup(holder) && this.of(holder).length > this.#demands.missing(holder)) this.drop(claim);
    }
  }

  #serveGroup(group: Group, server: ClaimServer): void {
    const claims = this.of(group);
    const isVoid = !server.isWaiting(group) || claims.some(({ node }) => node.isDraining) || group.queue.overQuota(group.total) !== null;
    if (!isVoid && !this.#isRipe(claims)) return;
    this.drop(...claims);
    if (isVoid) return;
    const kept = [...new Set(claims.map(({ node }) => node))].map((node) => [node, node.claims] as const);
    for (const [node] of kept) this.#nodes.setClaims(node, []); // what others have claimed there is not in its way: those who go first have been thought of
    server.place(group);
    for (const [node, others] of kept) this.#nodes.setClaims(node, others);
  }

  /** Also when the demand asks for something else by now. Room that its queue may not have is not kept from others. */
  #isVoid({ node, request, origin }: Claim, demand: Demand): boolean {
    if (demand.request !== request) return true;
    if (node.isDraining || demand.level === null || demand.pool !== this.#nodes || (origin !== 'preemption' && demand.level > 0)) return true;
    return demand.queue.overQuota(demand.request.resources) !== null;
  }

  /** Whether there is room now for all of these claims of one holder, and for those before them there will be. */
  #isRipe(claims: readonly Claim[]): boolean {
    const first = this.#all.indexOf(claims[0]!);
    return [...new Set(claims.map((claim) => claim.node))].every((node) => {
      const requests = claims.filter((claim) => claim.node === node).map((claim) => claim.request);
      if (node.stream === null || !requests.every((request) => this.#nodes.shapes.of(request).hasRoom(node.row))) return false;
      const earlier = node.claims.filter((other) => other.holder !== claims[0]!.holder && this.#all.indexOf(other) < first);
      return (requests.length === 1 || haveRoom(node.row, heldOf(node, () => true), requests)) && this.#fit(node, earlier, requests);
    });
  }

  /** Whether the requests leave enough for these claims of others, when all has left that is about to, but for one that stays. */
  #fit(node: Node, claims: readonly Claim[], requests: readonly PlacementRequest[], stays: Lease | Group | null = null): boolean {
    if (claims.length === 0) return true;
    const startsAtMs = Math.min(...claims.map((claim) => claim.startsAtMs));
    const { nowMs } = this.#context;
    const leaves = (tenant: Lease | Group): boolean => tenant !== stays && (
      isLeaving(tenant) || claims.some((claim) => claim.awaited.has(tenant)) || endsAtMs(tenant, nowMs) <= startsAtMs);
    return haveRoom(node.row, heldOf(node, (tenant, isReturning) => !isReturning && !leaves(tenant)), [...claims.map((claim) => claim.request), ...requests]);
  }

  #endsBefore(claims: readonly Claim[], { expectedDurationMs }: Demand): boolean {
    const untilMs = this.#context.nowMs + (expectedDurationMs ?? Infinity);
    return claims.every((claim) => untilMs <= claim.startsAtMs);
  }
}

/** What some of those on the node hold; they are asked of, and whether they give it back at this moment. What is lent is counted: whoever lends it may go on. */
function* heldOf({ leases, shares }: Node, counts: (tenant: Lease | Group, isReturning: boolean) => boolean): Generator<Holding> {
  for (const lease of leases) if (lease.place.bundle === null && counts(lease, lease.state === 'ending')) yield { resources: lease.resources, gpuIds: lease.place.gpuIds };
  for (const { group, state, holdings } of shares.values()) if (counts(group, state === 'returning')) yield* holdings.values();
}
