/** A plan in the making: which bundle lies where, and what is left of the nodes that have one. */
import type { TopologyTerm } from '@muster/base';
import type { Cluster, NodeRow } from '../cluster.js';
import { DomainLimits, type BundleClass, type Placed } from './bundles.js';
import { Room } from './room.js';

export class Draft {
  readonly limits: DomainLimits;
  /** By the bundle's place in the group; null: not placed yet. */
  readonly placed: (Placed | null)[];
  readonly #cluster: Cluster;
  readonly #rooms = new Map<NodeRow, Room>();
  /** How many bundles of the group lie on a node. */
  readonly #counts = new Map<NodeRow, number>();
  /** The bundles of each class that are not placed yet, the last first. */
  readonly #left: Map<BundleClass, number[]>;
  #leftCount = 0;
  readonly #steps: { readonly node: NodeRow; readonly bundleClass: BundleClass; readonly member: number }[] = [];

  /** `fixed`: bundles that lie somewhere already, and are held in the cluster. */
  constructor(cluster: Cluster, classes: readonly BundleClass[], topology: readonly TopologyTerm[], fixed: readonly (Placed | null)[]) {
    this.#cluster = cluster;
    this.limits = new DomainLimits(topology);
    this.placed = [...fixed];
    for (const placed of fixed) {
      const node = placed === null ? undefined : cluster.rowOf(placed.nodeId);
      if (node !== undefined) this.#count(node, 1);
    }
    this.#left = new Map(classes.map((each) => [each, each.members.filter((member) => (fixed[member] ?? null) === null).reverse()]));
    for (const members of this.#left.values()) this.#leftCount += members.length;
  }

  get isComplete(): boolean {
    return this.#leftCount === 0;
  }

  get leftCount(): number {
    return this.#leftCount;
  }

  leftOf(each: BundleClass): number {
    return this.#left.get(each)!.length;
  }

  /** How many of the class the node could take now, but no more than `max`. */
  capacity(node: NodeRow, each: BundleClass, max: number): number {
    const room = this.#rooms.get(node);
    const most = Math.min(max, this.limits.left(node));
    if (room === undefined) return each.shape.capacity(node, most);
    return each.shape.fits(node) ? room.capacity(each.shape, most) : 0;
  }

  countOn(node: NodeRow): number {
    return this.#counts.get(node) ?? 0;
  }

  /** Puts the class's next bundle on the node, which has room for it. */
  put(node: NodeRow, each: BundleClass): void {
    this.#record(node, each, this.room(node).take(each.shape));
  }

  /** Puts the class's next bundle on exactly these GPUs of the node. */
  putAt(node: NodeRow, each: BundleClass, gpuIds: readonly number[]): void {
    this.room(node).takeAt(each.shape, gpuIds);
    this.#record(node, each, gpuIds);
  }

  /** Undoes the last {@link put}. */
  takeBack(): void {
    const { node, bundleClass, member } = this.#steps.pop()!;
    this.room(node).giveBack(bundleClass.shape, this.placed[member]!.gpuIds);
    this.placed[member] = null;
    this.#left.get(bundleClass)!.push(member);
    this.#leftCount++;
    this.#count(node, -1);
  }

  room(node: NodeRow): Room {
    let room = this.#rooms.get(node);
    if (room === undefined) this.#rooms.set(node, (room = Room.of(this.#cluster, node)));
    return room;
  }

  #record(node: NodeRow, bundleClass: BundleClass, gpuIds: readonly number[]): void {
    const member = this.#left.get(bundleClass)!.pop()!;
    this.placed[member] = { nodeId: node.nodeId, gpuIds };
    this.#steps.push({ node, bundleClass, member });
    this.#leftCount--;
    this.#count(node, 1);
  }

  #count(node: NodeRow, change: 1 | -1): void {
    this.#counts.set(node, this.countOn(node) + change);
    this.limits.shift(node, change);
  }
}
