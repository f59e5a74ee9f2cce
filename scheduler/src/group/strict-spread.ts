/**
 * Each bundle on a node of its own: a matching of bundles to nodes, found by augmenting paths. With limits for domains it is a flow from
 * bundles over nodes to domains; as long as the limited levels lie inside each other (racks in zones) a path is found whenever there is
 * one.
 */
import type { NodeRow } from '../cluster.js';
import type { BundleClass, DomainLimit } from './bundles.js';
import type { Draft } from './draft.js';

/** A bundle, the nodes that it may lie on, and the one it lies on in this matching. */
interface Seat {
  readonly bundleClass: BundleClass;
  /** The best first. */
  readonly nodes: readonly NodeRow[];
  node: NodeRow | null;
}

/** Places all that is left of the draft on these nodes; false when no placement exists. */
export function strictSpread(draft: Draft, classes: readonly BundleClass[], nodes: readonly NodeRow[]): boolean {
  const free = nodes.filter((node) => draft.countOn(node) === 0);
  const matching = new Matching(draft);
  for (const each of classes) {
    const count = draft.leftOf(each);
    if (count === 0) continue;
    const candidates = bestFirst(each, free);
    // A bundle that could lie on as many nodes as there are bundles always finds one; limits of domains may take the first ones away.
    const enough = draft.limits.isNone ? candidates.slice(0, draft.leftCount) : candidates;
    for (let i = 0; i < count; i++) if (!matching.add({ bundleClass: each, nodes: enough, node: null })) return false;
  }
  for (const seat of matching.seats) draft.put(seat.node!, seat.bundleClass);
  return true;
}

function bestFirst(each: BundleClass, nodes: readonly NodeRow[]): NodeRow[] {
  const scores = new Map<NodeRow, number>();
  for (const node of nodes) {
    const score = each.shape.score(node);
    if (score !== Infinity) scores.set(node, score);
  }
  return [...scores.keys()].sort((a, b) => scores.get(a)! - scores.get(b)! || a.row - b.row);
}

class Matching {
  readonly seats: Seat[] = [];
  readonly #draft: Draft;
  readonly #taken = new Map<NodeRow, Seat>();
  /** The seats in each limited domain. */
  readonly #domains = new Map<string, Set<Seat>>();
  /** Places in domains that are kept for those who make others move. */
  readonly #kept = new Map<string, number>();
  #seenNodes = new Set<NodeRow>();
  #seenDomains = new Set<string>();

  constructor(draft: Draft) {
    this.#draft = draft;
  }

  /** Finds a node for one more, moving others where it must; false when that is impossible. */
  add(seat: Seat): boolean {
    this.seats.push(seat);
    this.#seenNodes = new Set();
    this.#seenDomains = new Set();
    return this.#seek(seat);
  }

  #seek(seat: Seat): boolean {
    for (const node of seat.nodes) { // the usual case first: nobody has to move
      if (!this.#taken.has(node) && !this.#seenNodes.has(node) && this.#fullDomain(node) === null) return this.#sit(seat, node);
    }
    for (const node of seat.nodes) {
      if (this.#seenNodes.has(node)) continue;
      this.#seenNodes.add(node);
      const sitter = this.#taken.get(node);
      if (sitter !== undefined) {
        if (this.#moveAway(sitter, node)) return this.#sit(seat, node);
      } else if (this.#makeRoomIn(node)) return this.#sit(seat, node);
    }
    return false;
  }

  /** A limited domain of the node that is full, or null. */
  #fullDomain(node: NodeRow): DomainLimit | null {
    return this.#draft.limits.domainsOf(node).find((domain) => this.#seatsIn(domain.key).size + (this.#kept.get(domain.key) ?? 0) >= domain.left) ?? null;
  }

  #seatsIn(key: string): Set<Seat> {
    let seats = this.#domains.get(key);
    if (seats === undefined) this.#domains.set(key, (seats = new Set()));
    return seats;
  }

  #makeRoomIn(node: NodeRow): boolean {
    for (let domain = this.#fullDomain(node); domain !== null; domain = this.#fullDomain(node)) {
      if (this.#seenDomains.has(domain.key)) return false;
      this.#seenDomains.add(domain.key);
      if (![...this.#seatsIn(domain.key)].some((sitter) => this.#moveAway(sitter, node))) return false;
    }
    return true;
  }

  /** Finds the seat another node, for somebody who wants `target`: the room that this makes in their domains is kept meanwhile. */
  #moveAway(sitter: Seat, target: NodeRow): boolean {
    const from = sitter.node!;
    this.#stand(sitter);
    this.#keep(target, 1);
    this.#seenNodes.add(from);
    const hasMoved = this.#seek(sitter);
    this.#keep(target, -1);
    return hasMoved || !this.#sit(sitter, from);
  }

  #keep(node: NodeRow, change: 1 | -1): void {
    for (const { key } of this.#draft.limits.domainsOf(node)) this.#kept.set(key, (this.#kept.get(key) ?? 0) + change);
  }

  #sit(seat: Seat, node: NodeRow): true {
    seat.node = node;
    this.#taken.set(node, seat);
    for (const { key } of this.#draft.limits.domainsOf(node)) this.#seatsIn(key).add(seat);
    return true;
  }

  #stand(seat: Seat): void {
    this.#taken.delete(seat.node!);
    for (const { key } of this.#draft.limits.domainsOf(seat.node!)) this.#seatsIn(key).delete(seat);
    seat.node = null;
  }
}
