/**
 * Hands out runs of pages. It prefers warm memory, which the operating system has given to the arena already: fresh memory is ten times
 * slower to write to, and the system gives it only in whole segments.
 *
 * Pages below the `#mark` are warm, apart from the `#holes`, segments whose commit failed. Those from the mark on were never used. Free
 * ranges below the mark are maximal: two never touch.
 *
 *     0                                         #mark                 total
 *     | used | free | used | hole | used | free | never used: cold    |
 */
import { assert } from '@muster/base';
import { FreeRangeTree, type FreeRange } from './free-range-tree.js';
import type { PageRange } from './pages.js';

/** Pages that were handed out. */
export interface Allocation extends PageRange {
  /**
   * Segments that must be committed before somebody writes to the pages. They may end after the allocation; then the rest
   * is the caller's too, to be freed once it is committed.
   */
  readonly cold: PageRange | null;
}

/** The free pages of an arena. */
export class PageAllocator {
  readonly totalPages: number;
  readonly segmentPages: number;
  /** While true, nothing is handed out that would need a commit. */
  warmOnly = false;
  readonly #tree = new FreeRangeTree();
  readonly #byStart = new Map<number, FreeRange>();
  readonly #byEnd = new Map<number, FreeRange>();
  #holes: PageRange[] = [];
  #mark = 0;
  #warmFreePages = 0;
  #freeCount = 0;

  /** Of as many whole segments as fit into that many pages. */
  constructor(pages: number, segmentPages: number) {
    this.segmentPages = segmentPages;
    this.totalPages = pages - (pages % segmentPages);
    assert(Number.isSafeInteger(this.totalPages) && this.totalPages > 0, `an arena of ${pages} pages in segments of ${segmentPages}`);
  }

  get freePages(): number {
    return this.#warmFreePages + this.coldPages + this.holePages;
  }

  /** Free pages that need no commit. */
  get warmFreePages(): number {
    return this.#warmFreePages;
  }

  /** Pages that were never used. */
  get coldPages(): number {
    return this.totalPages - this.#mark;
  }

  /** Pages that cannot be had before {@link takeHoles}. */
  get holePages(): number {
    return this.#holes.reduce((sum, hole) => sum + hole.pages, 0);
  }

  /** The longest run that can be had. */
  get largestFreePages(): number {
    const lastFree = this.#byEnd.get(this.#mark)?.pages ?? 0;
    return Math.max(this.#tree.largest()?.pages ?? 0, this.warmOnly ? 0 : lastFree + this.coldPages);
  }

  /** A run of pages, or null where no free run is long enough. */
  allocate(pages: number): Allocation | null {
    const range = this.#tree.smallestOf(pages);
    if (!range) return this.warmOnly ? null : this.#takeLast(pages);
    this.#remove(range);
    if (range.pages > pages) this.#insert(range.start + pages, range.pages - pages, range.freedAt);
    return { start: range.start, pages, cold: null };
  }

  /** Segments that were never used, at least that many pages, so that they can be committed before they are needed. */
  takeCold(pages: number): PageRange | null {
    const wholePages = this.#wholeSegments(pages);
    if (this.warmOnly || wholePages > this.coldPages) return null;
    const start = this.#mark;
    this.#mark += wholePages;
    return { start, pages: wholePages };
  }

  /** All segments whose commit failed, to be tried again. */
  takeHoles(): PageRange[] {
    return this.#holes.splice(0);
  }

  /** Takes back any part of what was allocated. */
  free(range: PageRange): void {
    const end = range.start + range.pages;
    assert(range.start >= 0 && range.pages > 0 && end <= this.#mark, `freeing pages ${range.start} to ${end} of ${this.#mark}`);
    const before = this.#byEnd.get(range.start);
    const after = this.#byStart.get(end);
    if (before) this.#remove(before);
    if (after) this.#remove(after);
    const first = before?.start ?? range.start;
    this.#insert(first, (after ? after.start + after.pages : end) - first, this.#freeCount++);
  }

  /** Takes back segments whose commit failed. */
  freeUncommitted(segments: PageRange): void {
    this.#holes.push(segments);
    const isLast = (hole: PageRange): boolean => hole.start + hole.pages === this.#mark;
    for (let last = this.#holes.find(isLast); last; last = this.#holes.find(isLast)) {
      this.#mark = last.start;
      this.#holes.splice(this.#holes.indexOf(last), 1);
    }
  }

  /** The free range that starts at this page. */
  freeFrom(page: number): PageRange | null {
    if (page === this.#mark && this.coldPages > 0 && !this.warmOnly) return { start: page, pages: this.coldPages };
    return this.#byStart.get(page) ?? null;
  }

  /** The free range that ends before this page. */
  freeUntil(page: number): PageRange | null {
    return this.#byEnd.get(page) ?? null;
  }

  /** The last free pages below the mark and as many beyond it as are missing. */
  #takeLast(pages: number): Allocation | null {
    const lastFree = this.#byEnd.get(this.#mark);
    const cold = this.takeCold(pages - (lastFree?.pages ?? 0));
    if (!cold) return null;
    if (lastFree) this.#remove(lastFree);
    return { start: lastFree?.start ?? cold.start, pages, cold };
  }

  #wholeSegments(pages: number): number {
    return Math.ceil(pages / this.segmentPages) * this.segmentPages;
  }

  #insert(start: number, pages: number, freedAt: number): void {
    const range = this.#tree.insert(start, pages, freedAt);
    this.#byStart.set(start, range);
    this.#byEnd.set(start + pages, range);
    this.#warmFreePages += pages;
  }

  #remove(range: FreeRange): void {
    this.#tree.remove(range);
    this.#byStart.delete(range.start);
    this.#byEnd.delete(range.start + range.pages);
    this.#warmFreePages -= range.pages;
  }
}
