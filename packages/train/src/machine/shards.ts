/**
 * Which part of a flat array belongs to which rank.
 *
 * Every rank has an equal part, as reduce-scatter and all-gather want it: the array is padded at its end to a multiple of the ranks.
 */
import type { BucketSlot } from './bucket-plan.js';

/** Elements from `start` to before `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** The elements of each rank's part, the padding with them. */
export function shardElements(elementCount: number, ranks: number): number {
  return Math.ceil(elementCount / ranks);
}

/** The elements of one bucket's slot that lie in a rank's part of the bucket, counted in the slot: none at most ranks, and at some the whole slot. */
export function slotShard({ offset, elementCount }: BucketSlot, bucketElements: number, { rank, ranks }: { readonly rank: number; readonly ranks: number }): Span {
  const each = shardElements(bucketElements, ranks);
  const start = Math.min(elementCount, Math.max(0, rank * each - offset));
  return { start, end: Math.max(start, Math.min(elementCount, (rank + 1) * each - offset)) };
}
