/**
 * Free ranges in the order in which an allocation wants them: the smallest first and, among equals, the most recently
 * freed. A treap: every operation takes O(log n) expected steps.
 *
 * Source: Seidel and Aragon, Randomized Search Trees (1996).
 */
import type { PageRange } from './pages.js';

/** One maximal free range; a node of the tree. Only the tree writes the last three fields. */
export interface FreeRange extends PageRange {
  /** Grows with each free: the larger, the more likely the pages are in a cache. */
  readonly freedAt: number;
  priority: number;
  left: FreeRange | null;
  right: FreeRange | null;
}

function precedes(a: FreeRange, b: FreeRange): boolean {
  if (a.pages !== b.pages) return a.pages < b.pages;
  if (a.freedAt !== b.freedAt) return a.freedAt > b.freedAt;
  return a.start < b.start;
}

/** Joins two trees of which every node of `low` precedes every node of `high`. */
function join(low: FreeRange | null, high: FreeRange | null): FreeRange | null {
  if (!low) return high;
  if (!high) return low;
  if (low.priority > high.priority) {
    low.right = join(low.right, high);
    return low;
  }
  high.left = join(low, high.left);
  return high;
}

/** Splits a tree into the nodes before and after `pivot`, which become the pivot's children. */
function splitAround(pivot: FreeRange, tree: FreeRange | null): void {
  if (!tree) {
    pivot.left = pivot.right = null;
  } else if (precedes(tree, pivot)) {
    splitAround(pivot, tree.right);
    tree.right = pivot.left;
    pivot.left = tree;
  } else {
    splitAround(pivot, tree.left);
    tree.left = pivot.right;
    pivot.right = tree;
  }
}

function insertInto(tree: FreeRange | null, range: FreeRange): FreeRange {
  if (!tree || range.priority > tree.priority) {
    splitAround(range, tree);
    return range;
  }
  if (precedes(range, tree)) tree.left = insertInto(tree.left, range);
  else tree.right = insertInto(tree.right, range);
  return tree;
}

function removeFrom(tree: FreeRange, range: FreeRange): FreeRange | null {
  if (tree === range) return join(tree.left, tree.right);
  if (precedes(range, tree)) tree.left = removeFrom(tree.left!, range);
  else tree.right = removeFrom(tree.right!, range);
  return tree;
}

/** An ordered set of free ranges. */
export class FreeRangeTree {
  #root: FreeRange | null = null;
  #noise = 0x9e3779b9;

  /** Adds a range and returns its node, which {@link remove} takes. */
  insert(start: number, pages: number, freedAt: number): FreeRange {
    const range: FreeRange = { start, pages, freedAt, priority: this.#nextPriority(), left: null, right: null };
    this.#root = insertInto(this.#root, range);
    return range;
  }

  remove(range: FreeRange): void {
    this.#root = removeFrom(this.#root!, range);
  }

  /** The smallest range of at least that many pages. */
  smallestOf(pages: number): FreeRange | null {
    return this.#first((range) => range.pages >= pages);
  }

  /** The range that follows in the tree's order. */
  after(previous: FreeRange): FreeRange | null {
    return this.#first((range) => precedes(previous, range));
  }

  largest(): FreeRange | null {
    let range = this.#root;
    while (range?.right) range = range.right;
    return range;
  }

  /** The first range that is far enough, where all after one that is are so too. */
  #first(isFarEnough: (range: FreeRange) => boolean): FreeRange | null {
    let best: FreeRange | null = null;
    for (let range = this.#root; range;) {
      if (isFarEnough(range)) {
        best = range;
        range = range.left;
      } else {
        range = range.right;
      }
    }
    return best;
  }

  /** Xorshift: heights need be spread, not unpredictable, and equal runs must stay equal. */
  #nextPriority(): number {
    let noise = this.#noise;
    noise ^= noise << 13;
    noise ^= noise >>> 17;
    noise ^= noise << 5;
    return (this.#noise = noise);
  }
}
