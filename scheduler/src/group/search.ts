/**
 * The last resort for bundles of different sizes that a greedy rule could not fit: tries all ways, the heaviest bundle first, up to a limit
 * of steps. Nodes in equal states are tried once, and equal bundles in one order only.
 */
import type { NodeRow } from '../cluster.js';
import type { BundleClass } from './bundles.js';
import type { Draft } from './draft.js';

/** Some milliseconds. Groups of a dozen bundles are decided well within it; of larger ones a placement may be missed. */
const STEPS_MAX = 20_000;

/** Places all that is left of the draft on these nodes; false when that was not found. */
export function search(draft: Draft, classes: readonly BundleClass[], nodes: readonly NodeRow[]): boolean {
  let steps = 0;
  const open = classes.filter((each) => draft.leftOf(each) > 0);
  const place = (): boolean => {
    const each = open.find((one) => draft.leftOf(one) > 0);
    if (each === undefined) return true;
    const tried = new Set<string>();
    for (const node of nodes) {
      if (draft.capacity(node, each, 1) === 0) continue;
      const state = draft.room(node).state + draft.limits.domainsOf(node).map(({ key }) => key).join();
      if (tried.has(state)) continue;
      tried.add(state);
      if (++steps > STEPS_MAX) return false;
      draft.put(node, each);
      if (place()) return true;
      draft.takeBack();
    }
    return false;
  };
  return place();
}
