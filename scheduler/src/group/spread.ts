/** Bundles on as many nodes as can be: each goes to the node with the fewest of the group, and among those to the best by its shape's score. */
import type { NodeRow } from '../cluster.js';
import type { BundleClass } from './bundles.js';
import type { Draft } from './draft.js';
import { Heap } from './heap.js';

/** Scores are far below it; see Shape. */
const KEY_PER_BUNDLE = 1e6;

/** Places all that is left of the draft on these nodes; false when it does not fit, or this way does not find how. */
export function spread(draft: Draft, classes: readonly BundleClass[], nodes: readonly NodeRow[]): boolean {
  for (const each of classes) {
    const heap = new Heap();
    const scores = nodes.map((node) => each.shape.score(node));
    const offer = (index: number): void => {
      const node = nodes[index]!;
      if (scores[index] !== Infinity && draft.capacity(node, each, 1) > 0) heap.push(index, draft.countOn(node) * KEY_PER_BUNDLE + scores[index]!);
    };
    nodes.forEach((_, index) => offer(index));
    while (draft.leftOf(each) > 0) {
      const index = heap.pop();
      if (index === undefined) return false;
      if (draft.capacity(nodes[index]!, each, 1) === 0) continue; // a limit of its domain was reached since
      draft.put(nodes[index]!, each);
      offer(index);
    }
  }
  return true;
}
