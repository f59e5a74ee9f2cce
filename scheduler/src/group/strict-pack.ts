/**
 * All bundles on one node, the one where the least is left over. Amounts add up; parts of GPUs must also be laid onto devices, which is a search: of few
 * parts and few devices, so it is made whole.
 */
import { RESOURCE_SCALE } from '@muster/base';
import type { NodeRow } from '../cluster.js';
import type { BundleClass } from './bundles.js';
import type { Draft } from './draft.js';
import type { Room } from './room.js';

/** Places all that is left of the draft on one of these nodes; false when no node has room for all. */
export function strictPack(draft: Draft, classes: readonly BundleClass[], nodes: readonly NodeRow[]): boolean {
  const open = classes.filter((each) => draft.leftOf(each) > 0);
  const occupied = nodes.filter((node) => draft.countOn(node) > 0);
  const candidates = draft.placed.some((placed) => placed !== null) ? occupied : nodes;
  let best: { node: NodeRow; gpus: readonly (readonly number[])[] } | null = null;
  let least = Infinity;
  for (const node of candidates) {
    if (draft.limits.left(node) < draft.leftCount || open.some((each) => draft.capacity(node, each, draft.leftOf(each)) < draft.leftOf(each))) continue;
    const spare = open.reduce((sum, each) => sum + draft.capacity(node, each, Infinity) / draft.leftOf(each), 0);
    if (spare >= least) continue;
    const gpus = layOut(draft.room(node).copy(), open, draft);
    if (gpus === null) continue;
    best = { node, gpus };
    least = spare;
  }
  if (best === null) return false;
  let next = 0;
  for (const each of open) for (let count = draft.leftOf(each); count > 0; count--) draft.putAt(best.node, each, best.gpus[next++]!);
  return true;
}

/** The GPUs of each bundle, class by class, or null when they do not all fit the room. */
function layOut(room: Room, classes: readonly BundleClass[], draft: Draft): (readonly number[])[] | null {
  const bundles = classes.flatMap((each) => new Array<BundleClass>(draft.leftOf(each)).fill(each));
  const gpus = new Array<readonly number[]>(bundles.length).fill([]);
  const inOrder = bundles.map((_, index) => index).sort((a, b) => bundles[b]!.shape.gpu - bundles[a]!.shape.gpu || a - b);
  const lay = (at: number): boolean => {
    if (at === inOrder.length) return true;
    const index = inOrder[at]!;
    const { shape } = bundles[index]!;
    if (room.capacity(shape, 1) === 0) return false;
    const isPart = shape.gpu > 0 && shape.gpu < RESOURCE_SCALE;
    if (!isPart) { // whole GPUs are alike, and come first
      gpus[index] = room.take(shape);
      return lay(at + 1);
    }
    const tried = new Set<number>();
    for (const { id, free } of room.freeGpus()) {
      if (free < shape.gpu || tried.has(free)) continue;
      tried.add(free);
      gpus[index] = [id];
      room.takeAt(shape, [id]);
      if (lay(at + 1)) return true;
      room.giveBack(shape, [id]);
    }
    return false;
  };
  return lay(0) ? gpus : null;
}
