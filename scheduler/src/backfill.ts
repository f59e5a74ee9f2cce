/**
 * Reservations for what is too large for the room that is free now, and what may run before it: EASY backfilling. Who is first in line is promised the earliest
 * moment at which it fits if what runs ends when it is expected to. Anything else may start on its nodes if it ends before that moment, or if there is room for
 * both then.
 *
 * Source: Lifka, "The ANL/IBM SP scheduling system", 1995; Mu'alem and Feitelson, 2001.
 */
import { Cluster, type Holding, type NodeSpec } from './cluster.js';
import type { Placed } from './group/bundles.js';
import { GroupShape } from './group/plan-group.js';
import type { GroupRequest, PlacementRequest } from './request.js';
import { Shape } from './shape.js';

/** Of a node that is looked at for a moment. */
const CHANGES_KEPT = 1;

/** Something that runs, and when it is expected to end. */
export interface Ending extends Holding {
  readonly nodeId: string;
  /** Infinity: nobody knows. */
  readonly endsAtMs: number;
}

/** A promise. */
export interface Reservation<Each extends Ending = Ending> {
  /** -Infinity: it fits now. */
  readonly startsAtMs: number;
  readonly placed: readonly Placed[];
  /** What must have ended by then, on the nodes where the bundles will lie. */
  readonly awaited: readonly Each[];
}

/**
 * The earliest promise that can be made, or null when the group does not fit even after all expected ends. The cluster must be a fork of its own: it is left as it
 * will be then.
 */
export function reserve<Each extends Ending>(cluster: Cluster, request: GroupRequest, endings: readonly Each[]): Reservation<Each> | null {
  const inOrder = endings.filter(({ endsAtMs }) => endsAtMs < Infinity).sort((a, b) => a.endsAtMs - b.endsAtMs);
  const shape = new GroupShape(cluster, request);
  let gone = 0;
  const planAfter = (count: number): readonly Placed[] | null => {
    for (; gone < count; gone++) cluster.release(inOrder[gone]!.nodeId, inOrder[gone]!);
    while (gone > count) cluster.holdAt(inOrder[--gone]!.nodeId, inOrder[gone]!);
    return shape.plan();
  };
  if (planAfter(inOrder.length) === null) return null;
  let tooFew = -1;
  let enough = inOrder.length;
  while (enough - tooFew > 1) {
    const middle = (tooFew + enough) >> 1;
    if (planAfter(middle) === null) tooFew = middle;
    else enough = middle;
  }
  const placed = planAfter(enough)!;
  const nodeIds = new Set(placed.map(({ nodeId }) => nodeId));
  return {
    startsAtMs: enough === 0 ? -Infinity : inOrder[enough - 1]!.endsAtMs, placed, awaited: inOrder.slice(0, enough).filter(({ nodeId }) => nodeIds.has(nodeId)),
  };
}

/** Whether all of these requests have room on the node beside what it holds. */
export function haveRoom(node: NodeSpec, held: Iterable<Holding>, requests: readonly PlacementRequest[]): boolean {
  const cluster = new Cluster(CHANGES_KEPT);
  cluster.add(node);
  for (const holding of held) cluster.holdAt(node.nodeId, holding);
  return requests.every((request) => {
    const hasRoom = new Shape(cluster, request).best() !== null;
    if (hasRoom) cluster.hold(node.nodeId, request.resources);
    return hasRoom;
  });
}
