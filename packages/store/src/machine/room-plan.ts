/**
 * Chooses which objects must leave the arena so that a long enough run of free pages comes about. Victims are considered from
 * the least recently used one on; of those considered, only the ones inside the run leave, because nothing else would help.
 */
import type { PageAllocator } from './page-allocator.js';
import type { PageRange } from './pages.js';

/** Runs of pages that would be free if all victims considered so far left. Looked up by either end. */
class FutureRuns {
  readonly #allocator: PageAllocator;
  readonly #endByStart = new Map<number, number>();
  readonly #startByEnd = new Map<number, number>();

  constructor(allocator: PageAllocator) {
    this.#allocator = allocator;
  }

  /** Adds a victim and returns the run it is part of now. Ends inside of a grown run go stale, but no victim touches them again. */
  add(victim: PageRange): PageRange {
    let start = victim.start;
    for (let before = this.#startBefore(start); before !== undefined; before = this.#startBefore(start)) start = before;
    let end = victim.start + victim.pages;
    for (let after = this.#endAfter(end); after !== undefined; after = this.#endAfter(end)) end = after;
    this.#endByStart.set(start, end);
    this.#startByEnd.set(end, start);
    return { start, pages: end - start };
  }

  #startBefore(page: number): number | undefined {
    return this.#startByEnd.get(page) ?? this.#allocator.freeUntil(page)?.start;
  }

  #endAfter(page: number): number | undefined {
    const free = this.#allocator.freeFrom(page);
    return this.#endByStart.get(page) ?? (free ? free.start + free.pages : undefined);
  }
}

/**
 * The victims that must leave for a run of `pages`, or null when even all of them leaving would not do.
 * @param victims ranges that may leave, in the order of preference
 */
export function chooseVictims<Victim extends PageRange>(pages: number, victims: Iterable<Victim>, allocator: PageAllocator): Victim[] | null {
  const runs = new FutureRuns(allocator);
  const byStart = new Map<number, Victim>();
  for (const victim of victims) {
    byStart.set(victim.start, victim);
    const run = runs.add(victim);
    if (run.pages >= pages) return cheapestPart(pages, run, byStart, allocator);
  }
  return null;
}

/** Of the windows of `pages` in a run, the victims of the one that loses the fewest pages. */
function cheapestPart<Victim extends PageRange>(
  pages: number, run: PageRange, byStart: ReadonlyMap<number, Victim>, allocator: PageAllocator,
): Victim[] {
  const window: { readonly pages: number; readonly victim: Victim | undefined }[] = [];
  let windowPages = 0;
  let lostPages = 0;
  let best: Victim[] = [];
  let leastLost = Infinity;
  for (let page = run.start; page < run.start + run.pages;) {
    const victim = byStart.get(page);
    const part = { pages: (victim ?? allocator.freeFrom(page)!).pages, victim };
    page += part.pages;
    window.push(part);
    windowPages += part.pages;
    if (victim) lostPages += part.pages;
    while (windowPages - window[0]!.pages >= pages) {
      const dropped = window.shift()!;
      windowPages -= dropped.pages;
      if (dropped.victim) lostPages -= dropped.pages;
    }
    if (windowPages >= pages && lostPages < leastLost) {
      leastLost = lostPages;
      best = window.flatMap((kept) => kept.victim ?? []);
    }
  }
  return best;
}
