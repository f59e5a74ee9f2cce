/**
 * Which part of a flat array belongs to which rank, and what moves when the ranks become more or fewer.
 *
 * Every rank has an equal part, as reduce-scatter and all-gather want it: the array is padded at its end to a multiple of the ranks.
 */

/** Elements from `start` to before `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A part of a new shard that lies in an old one: `from` counts in the old shard, `to` in the new. */
export interface ShardPiece {
  readonly oldRank: number;
  readonly from: number;
  readonly to: number;
  readonly elementCount: number;
}

/** The elements of each rank's part, the padding with them. */
export function shardElements(elementCount: number, ranks: number): number {
  return Math.ceil(elementCount / ranks);
}

/** The part of a rank without the padding: at the last ranks it may be shorter, or empty. */
export function shardOf(elementCount: number, rank: number, ranks: number): Span {
  const each = shardElements(elementCount, ranks);
  return { start: Math.min(elementCount, rank * each), end: Math.min(elementCount, (rank + 1) * each) };
}

/** Where the elements of one new shard lay when there were `oldRanks`, in their order. */
export function reshard(elementCount: number, { rank, ranks, oldRanks }: { readonly rank: number; readonly ranks: number; readonly oldRanks: number }): ShardPiece[] {
  const { start, end } = shardOf(elementCount, rank, ranks);
  const oldEach = shardElements(elementCount, oldRanks);
  const pieces: ShardPiece[] = [];
  for (let at = start; at < end;) {
    const oldRank = Math.floor(at / oldEach);
    const until = Math.min(end, (oldRank + 1) * oldEach);
    pieces.push({ oldRank, from: at - oldRank * oldEach, to: at - start, elementCount: until - at });
    at = until;
  }
  return pieces;
}
