/**
 * Bundles on as few nodes as can be. The node that would take the most of what is left is filled first, and what then fits one
 * node goes to the one where the least is left over. Of equal bundles this is optimal; of different ones it is the
 * greedy rule of maximum coverage.
 */
import type { NodeRow } from '../cluster.js';
import type { BundleClass } from './bundles.js';
import type { Draft } from './draft.js';
import { Heap } from './heap.js';

/** Places all that is left of the draft on these nodes; false when it does not fit, or this way does not find how. */
export function pack(draft: Draft, classes: readonly BundleClass[], nodes: readonly NodeRow[]): boolean {
  const heap = new Heap();
  nodes.forEach((node, index) => {
    const gain = gainOf(draft, classes, node);
    if (gain > 0) heap.push(index, -gain);
  });
  while (!draft.isComplete) {
    const before = -heap.lowestKey;
    const index = heap.pop();
    if (index === undefined) return false;
    const node = nodes[index]!;
    const gain = gainOf(draft, classes, node);
    if (gain < before && heap.size > 0 && gain < -heap.lowestKey) { // what is left has changed since it was weighed
      if (gain > 0) heap.push(index, -gain);
      continue;
    }
    if (gain === 0) return false;
    fill(draft, classes, coversAll(draft, classes, node) ? tightest(draft, classes, nodes) : node);
  }
  return true;
}

/** Puts on the node what it can take, the heaviest first. */
export function fill(draft: Draft, classes: readonly BundleClass[], node: NodeRow): void {
  for (const each of classes) {
    for (let count = draft.capacity(node, each, draft.leftOf(each)); count > 0; count--) draft.put(node, each);
  }
}

/** The weight of what the node would take of what is left. */
function gainOf(draft: Draft, classes: readonly BundleClass[], node: NodeRow): number {
  if (classes.length === 1) return draft.capacity(node, classes[0]!, draft.leftOf(classes[0]!));
  let gain = 0;
  let room = null;
  let limit = draft.limits.left(node);
  for (const each of classes) {
    const left = Math.min(draft.leftOf(each), limit);
    if (left === 0) continue;
    const count = room === null ? draft.capacity(node, each, left) : each.shape.fits(node) ? room.capacity(each.shape, left) : 0;
    if (count === 0) continue;
    room ??= draft.room(node).copy();
    for (let i = 0; i < count; i++) room.take(each.shape);
    limit -= count;
    gain += count * each.weight;
  }
  return gain;
}

function coversAll(draft: Draft, classes: readonly BundleClass[], node: NodeRow): boolean {
  if (classes.length === 1) return draft.capacity(node, classes[0]!, draft.leftOf(classes[0]!)) === draft.leftOf(classes[0]!);
  const needed = classes.reduce((sum, each) => sum + draft.leftOf(each) * each.weight, 0);
  return gainOf(draft, classes, node) >= needed * (1 - 1e-9);
}

/** Of the nodes that take all that is left, the one that could take the least beyond it. One of them there is. */
function tightest(draft: Draft, classes: readonly BundleClass[], nodes: readonly NodeRow[]): NodeRow {
  const heaviest = classes.find((each) => draft.leftOf(each) > 0)!;
  let best: NodeRow | null = null;
  let least = Infinity;
  for (const node of nodes) {
    const spare = draft.capacity(node, heaviest, Infinity);
    if (spare >= least || !coversAll(draft, classes, node)) continue;
    best = node;
    least = spare;
  }
  return best!;
}
