/**
 * What would be placed: demands tried out on a copy of a cluster, by the same choices that the head makes, with as many nodes more as one likes. Groups come
 * before tasks, and each in its order. What is placed stays in the copy, so that all of it together fits.
 */
import type { ResourceSet } from '@muster/base';
import { Cluster, type NodeSpec } from './cluster.js';
import { explain } from './explain.js';
import { explainGroup } from './group/explain-group.js';
import { GroupShape } from './group/plan-group.js';
import { place } from './place.js';
import type { GroupRequest, PlacementRequest } from './request.js';
import { Shape } from './shape.js';

/** A suggestion beyond this is a slip of the pen, and takes minutes to work out. */
export const SUGGESTED_NODES_MAX = 4096;

/** A first look finds almost all; the next ones are for what a plan with more nodes places less densely. */
const SUGGESTION_ROUNDS_MAX = 16;

/** Leases of one kind. */
export interface WantedTasks {
  readonly request: PlacementRequest;
  readonly count: number;
}

/** Groups of one kind. */
export interface WantedGroups {
  readonly request: GroupRequest;
  readonly count: number;
}

/** All that is asked for. */
export interface Wanted {
  readonly groups: readonly WantedGroups[];
  readonly tasks: readonly WantedTasks[];
}

/** What nodes of one type have. */
export interface NodeType {
  readonly name: string;
  readonly total: ResourceSet;
  readonly labels: Readonly<Record<string, string>>;
}

/** How much of one kind is placed, and why the rest is not. */
export interface Outcome {
  readonly placed: number;
  /** Where, in the order in which they were placed: of tasks a node each, of groups the nodes of their bundles. */
  readonly nodeIds: readonly (readonly string[])[];
  /** Whether what is left could be placed if nothing else ran. */
  readonly isFeasible: boolean;
  /** Empty when all is placed. */
  readonly reasons: string;
}

/** How it came out, in the order in which it was asked for. */
export interface Plan {
  readonly groups: readonly Outcome[];
  readonly tasks: readonly Outcome[];
}

/** Nodes that would do for what is not placed. */
export interface Suggestion {
  readonly nodes: ReadonlyMap<NodeType, number>;
  /** With them everything would be placed. Else some of it fits no type, or needs more than {@link SUGGESTED_NODES_MAX} of one. */
  readonly isComplete: boolean;
}

/** A copy of a cluster in which things are tried out. */
export class WhatIf {
  /** The copy, with what was placed and added so far. */
  readonly cluster: Cluster;
  readonly #joined = new Map<NodeType, number>();

  /** The cluster itself is left alone. */
  constructor(cluster: Cluster) {
    this.cluster = cluster.fork();
  }

  /** Nodes that join, under names of their own. Returns these. */
  add(type: NodeType, count: number): string[] {
    return Array.from({ length: count }, () => {
      const node: NodeSpec = { nodeId: this.#freshName(type), total: type.total, labels: type.labels };
      this.cluster.add(node);
      return node.nodeId;
    });
  }

  /** Places as much as fits. */
  plan({ groups, tasks }: Wanted): Plan {
    const placedGroups = groups.map((wanted) => this.#placeGroups(wanted));
    const placedTasks = tasks.map((wanted) => this.#placeTasks(wanted));
    const idle = this.cluster.emptied();
    return {
      groups: groups.map(({ request, count }, index): Outcome => {
        const nodeIds = placedGroups[index]!;
        if (nodeIds.length === count) return { placed: count, nodeIds, isFeasible: true, reasons: '' };
        return { placed: nodeIds.length, nodeIds, isFeasible: new GroupShape(idle, request).plan() !== null, reasons: explainGroup(this.cluster, request).reasons };
      }),
      tasks: tasks.map(({ request, count }, index): Outcome => {
        const nodeIds = placedTasks[index]!;
        if (nodeIds.length === count) return { placed: count, nodeIds, isFeasible: true, reasons: '' };
        const { isFeasible, reasons } = explain(this.cluster, request);
        return { placed: nodeIds.length, nodeIds, isFeasible, reasons };
      }),
    };
  }

  /**
   * Nodes of these types for what a plan has left, which are added: for each kind in turn the type of which the fewest are needed, the first of equal ones.
   * `isComplete`: there is such a type for each kind.
   */
  addFor({ groups, tasks }: Wanted, types: readonly NodeType[]): Suggestion {
    const nodes = new Map<NodeType, number>();
    let isComplete = true;
    const add = (choice: Choice | null): void => {
      if (choice === null) return void (isComplete = false);
      this.add(choice.type, choice.count);
      nodes.set(choice.type, (nodes.get(choice.type) ?? 0) + choice.count);
    };
    for (const wanted of groups) {
      const left = wanted.count - this.#placeGroups(wanted).length; // nodes for those before may do for these, too
      if (left === 0) continue;
      add(fewest(types, (type) => this.#nodesForGroups({ ...wanted, count: left }, type)));
      this.#placeGroups({ ...wanted, count: left });
    }
    for (const wanted of tasks) {
      const left = wanted.count - this.#placeTasks(wanted).length;
      if (left === 0) continue;
      add(fewest(types, (type) => nodesForTasks({ ...wanted, count: left }, type)));
      this.#placeTasks({ ...wanted, count: left });
    }
    return { nodes, isComplete };
  }

  #placeTasks({ request, count }: WantedTasks): string[][] {
    const shape = new Shape(this.cluster, request);
    const placed: string[][] = [];
    while (placed.length < count) {
      const nodeId = place(this.cluster, shape, { preferredNodeIds: [], leasesByNode: null });
      if (nodeId === null) break;
      this.cluster.hold(nodeId, request.resources);
      placed.push([nodeId]);
    }
    return placed;
  }

  #placeGroups({ request, count }: WantedGroups): string[][] {
    const shape = new GroupShape(this.cluster, request);
    const placed: string[][] = [];
    while (placed.length < count) {
      const plan = shape.plan();
      if (plan === null) break;
      plan.forEach(({ nodeId, gpuIds }, index) => this.cluster.holdAt(nodeId, { resources: request.bundles[index]!.resources, gpuIds }));
      placed.push(plan.map(({ nodeId }) => nodeId));
    }
    return placed;
  }

  /** The fewest nodes of the type with which all of these groups fit; null: no number of them would do. More nodes never do harm. */
  #nodesForGroups(wanted: WantedGroups, type: NodeType): number | null {
    const { classes } = new GroupShape(this.cluster, wanted.request);
    const useful = [...this.cluster.snapshot()].filter(({ nodeId }) => classes.some(({ shape }) => shape.fits(this.cluster.rowOf(nodeId)!)));
    const withRoom = Cluster.restore(useful); // few of the nodes, where little has found room
    const isEnough = (count: number): boolean => {
      const trial = new WhatIf(withRoom);
      trial.add(type, count);
      return trial.#placeGroups(wanted).length === wanted.count;
    };
    let tooFew = 0;
    let enough = 1;
    while (!isEnough(enough)) {
      if (enough >= SUGGESTED_NODES_MAX || enough > wanted.count * wanted.request.bundles.length) return null;
      tooFew = enough;
      enough *= 2;
    }
    while (enough - tooFew > 1) {
      const middle = (tooFew + enough) >> 1;
      if (isEnough(middle)) enough = middle;
      else tooFew = middle;
    }
    return enough;
  }

  #freshName(type: NodeType): string {
    for (;;) {
      const number = (this.#joined.get(type) ?? 0) + 1;
      this.#joined.set(type, number);
      const nodeId = `new-${type.name}-${number}`;
      if (!this.cluster.has(nodeId)) return nodeId;
    }
  }
}

/**
 * Few nodes of these types with which all of it would be placed: fewer of any one of the types would not do. Greedy, and so not always the fewest that there
 * could be: nodes are added for each kind in turn, of one type; what is left when all of it is planned anew gets more; and what is not needed goes again.
 */
export function suggestNodes(cluster: Cluster, wanted: Wanted, types: readonly NodeType[]): Suggestion {
  const nodes = new Map<NodeType, number>();
  for (let round = 0; round < SUGGESTION_ROUNDS_MAX; round++) {
    const { trial, left } = tryWith(cluster, nodes, wanted);
    if (isNothing(left)) {
      for (const type of nodes.keys()) dropNeedless(cluster, nodes, type, wanted);
      return { nodes, isComplete: true };
    }
    const more = trial.addFor(left, types);
    if (more.nodes.size === 0) break;
    for (const [type, count] of more.nodes) nodes.set(type, (nodes.get(type) ?? 0) + count);
  }
  return { nodes, isComplete: false };
}

function dropNeedless(cluster: Cluster, nodes: Map<NodeType, number>, type: NodeType, wanted: Wanted): void {
  for (let count = nodes.get(type)! - 1; count >= 0; count--) {
    if (!isNothing(tryWith(cluster, new Map([...nodes, [type, count]]), wanted).left)) return;
    nodes.set(type, count);
  }
  nodes.delete(type);
}

/** A plan with these nodes more, and what it has not placed. */
function tryWith(cluster: Cluster, nodes: ReadonlyMap<NodeType, number>, wanted: Wanted): { trial: WhatIf; left: Wanted } {
  const trial = new WhatIf(cluster);
  for (const [type, count] of nodes) trial.add(type, count);
  return { trial, left: leftOf(wanted, trial.plan(wanted)) };
}

const isNothing = ({ groups, tasks }: Wanted): boolean => groups.length === 0 && tasks.length === 0;

function leftOf(wanted: Wanted, plan: Plan): Wanted {
  const left = <Kind extends { readonly count: number }>(kinds: readonly Kind[], outcomes: readonly Outcome[]): Kind[] =>
    kinds.map((kind, index) => ({ ...kind, count: kind.count - outcomes[index]!.placed })).filter(({ count }) => count > 0);
  return { groups: left(wanted.groups, plan.groups), tasks: left(wanted.tasks, plan.tasks) };
}

interface Choice {
  readonly type: NodeType;
  readonly count: number;
}

function fewest(types: readonly NodeType[], nodesOf: (type: NodeType) => number | null): Choice | null {
  let best: Choice | null = null;
  for (const type of types) {
    const count = nodesOf(type);
    if (count !== null && count <= SUGGESTED_NODES_MAX && (best === null || count < best.count)) best = { type, count };
  }
  return best;
}

/** How many nodes of the type hold these tasks, which fit no node that is there; null: it holds none of them. */
function nodesForTasks({ request, count }: WantedTasks, type: NodeType): number | null {
  const one = new Cluster();
  one.add({ nodeId: type.name, total: type.total, labels: type.labels });
  const perNode = new Shape(one, request).capacity(one.rowOf(type.name)!, count);
  return perNode === 0 ? null : Math.ceil(count / perNode);
}
