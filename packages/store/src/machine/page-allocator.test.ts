import t from 'tap';
import { seededRandom } from '@muster/base';
import { PageAllocator } from './page-allocator.js';

type PageState = 'cold' | 'free' | 'hole' | 'used';
interface Range { readonly start: number; readonly pages: number }

/** The same by brute force: one state a page. */
class Oracle {
  readonly pages: PageState[];

  constructor(totalPages: number) {
    this.pages = new Array<PageState>(totalPages).fill('cold');
  }

  set(range: Range, state: PageState): void {
    this.pages.fill(state, range.start, range.start + range.pages);
  }

  has(range: Range, state: PageState): boolean {
    return this.pages.slice(range.start, range.start + range.pages).every((page) => page === state);
  }

  count(...states: PageState[]): number {
    return this.pages.filter((state) => states.includes(state)).length;
  }

  /** Lengths of the runs of pages in these states. */
  runs(...states: PageState[]): number[] {
    const lengths = [0];
    for (const page of this.pages) {
      if (states.includes(page)) lengths[lengths.length - 1]!++;
      else lengths.push(0);
    }
    return lengths;
  }

  /** The length of the run of free pages that this page is in. */
  runAt(page: number): number {
    let start = page;
    let end = page;
    while (this.pages[start - 1] === 'free') start--;
    while (this.pages[end] === 'free') end++;
    return end - start;
  }
}

class Comparison {
  readonly #random;
  readonly #allocator: PageAllocator;
  readonly #oracle: Oracle;
  readonly #used: Range[] = [];
  /** Segments that were handed out to be committed. */
  readonly #committing: { readonly segments: Range; readonly granted: Range | null }[] = [];

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    const segmentPages = 1 + this.#below(6);
    this.#allocator = new PageAllocator(20 + this.#below(200), segmentPages);
    this.#oracle = new Oracle(this.#allocator.totalPages);
  }

  run(rounds: number): void {
    for (let round = 0; round < rounds; round++) {
      const dice = this.#below(100);
      if (dice < 45) this.#allocate(1 + Math.floor(this.#random.next() ** 3 * this.#allocator.totalPages * 0.5));
      else if (dice < 75) this.#free();
      else if (dice < 92) this.#endCommit();
      else if (dice < 95) this.#takeCold(1 + this.#below(10));
      else for (const segments of this.#allocator.takeHoles()) this.#startCommit(segments, null);
      this.#check();
    }
    while (this.#committing.length > 0) this.#endCommit(false);
    for (const segments of this.#allocator.takeHoles()) this.#startCommit(segments, null);
    while (this.#committing.length > 0) this.#endCommit(false);
    for (const range of this.#used) this.#allocator.free(range);
    this.#expect(this.#allocator.largestFreePages === this.#allocator.totalPages, 'freed pages did not coalesce');
  }

  #allocate(pages: number): void {
    const bestFit = Math.min(...this.#oracle.runs('free').filter((length) => length >= pages));
    const isPossible = Math.max(...this.#oracle.runs('free', 'cold')) >= pages;
    const got = this.#allocator.allocate(pages);
    this.#expect((got !== null) === isPossible, `allocate(${pages}) gave ${got?.start}, possible: ${isPossible}`);
    if (!got) return;
    this.#expect((got.cold === null) === (bestFit < Infinity), 'cold memory is used only when warm memory does not do');
    if (!got.cold) {
      this.#expect(this.#oracle.runAt(got.start) === bestFit, 'it was not the best fit');
      this.#expect(this.#oracle.has(got, 'free'), 'it is not free');
      this.#oracle.set(got, 'used');
      this.#used.push(got);
      return;
    }
    this.#startCommit(got.cold, got);
  }

  #takeCold(pages: number): void {
    const segments = this.#allocator.takeCold(pages);
    if (segments) this.#startCommit(segments, null);
  }

  #startCommit(segments: Range, granted: Range | null): void {
    const { segmentPages } = this.#allocator;
    this.#expect(segments.start % segmentPages === 0 && segments.pages % segmentPages === 0, 'not whole segments');
    this.#expect(this.#oracle.has(segments, 'cold') || this.#oracle.has(segments, 'hole'), 'segments that are committed already');
    this.#oracle.set(segments, 'used');
    if (granted) {
      this.#expect(this.#oracle.has({ start: granted.start, pages: segments.start - granted.start }, 'free'), 'the warm part is not free');
      this.#oracle.set(granted, 'used');
    }
    this.#committing.push({ segments, granted });
  }

  #endCommit(mayFail = true): void {
    const [commit] = this.#committing.splice(this.#below(this.#committing.length), 1);
    if (!commit) return;
    const { segments, granted } = commit;
    const end = segments.start + segments.pages;
    if (mayFail && this.#below(3) === 0) {
      this.#allocator.freeUncommitted(segments);
      this.#oracle.set(segments, 'hole');
      for (let page = this.#oracle.pages.length - 1; ['hole', 'cold'].includes(this.#oracle.pages[page]!); page--) this.#oracle.pages[page] = 'cold';
      if (granted && granted.start < segments.start) this.#giveBack({ start: granted.start, pages: segments.start - granted.start });
      return;
    }
    const usedEnd = granted ? granted.start + granted.pages : segments.start;
    if (granted) this.#used.push(granted);
    if (usedEnd < end) this.#giveBack({ start: usedEnd, pages: end - usedEnd });
  }

  #free(): void {
    const [range] = this.#used.splice(this.#below(this.#used.length), 1);
    if (!range) return;
    if (range.pages < 3 || this.#below(2) === 0) return this.#giveBack(range);
    this.#used.push({ start: range.start, pages: 1 }); // an object that was cut out of a block
    this.#giveBack({ start: range.start + 1, pages: range.pages - 1 });
  }

  #giveBack(range: Range): void {
    this.#allocator.free(range);
    this.#oracle.set(range, 'free');
  }

  #check(): void {
    const { freePages, warmFreePages, coldPages, largestFreePages } = this.#allocator;
    this.#expect(freePages === this.#oracle.count('free', 'hole', 'cold'), 'freePages');
    this.#expect(warmFreePages === this.#oracle.count('free'), 'warmFreePages');
    this.#expect(coldPages === this.#oracle.count('cold'), 'coldPages');
    this.#expect(largestFreePages === Math.max(...this.#oracle.runs('free', 'cold')), 'largestFreePages');
  }

  #below(count: number): number {
    return Math.floor(this.#random.next() * count);
  }

  #expect(condition: unknown, what: string): void {
    if (!condition) throw new Error(what);
  }
}

t.test('allocates and frees like a page by page oracle', async (t) => {
  for (let seed = 1; seed <= 500; seed++) {
    try {
      new Comparison(seed).run(300);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
  t.pass('500 seeds of 300 operations');
});

t.test('prefers the most recently freed of equal ranges', async (t) => {
  const allocator = new PageAllocator(100, 1);
  const blocks = Array.from({ length: 10 }, () => allocator.allocate(10)!);
  for (const index of [2, 6, 4]) allocator.free(blocks[index]!);
  t.same([0, 1, 2].map(() => allocator.allocate(10)!.start), [40, 60, 20]);
});

t.test('hands out only warm memory while committing does not work', async (t) => {
  const allocator = new PageAllocator(64, 8);
  const [first, second] = [allocator.allocate(8)!, allocator.allocate(8)!];
  allocator.allocate(8);
  allocator.freeUncommitted(first.cold!);
  allocator.free(second);
  allocator.warmOnly = true;
  t.equal(allocator.largestFreePages, 8);
  t.equal(allocator.allocate(9), null);
  t.equal(allocator.takeCold(1), null);
  t.match(allocator.allocate(8), { start: 8, cold: null });
  allocator.warmOnly = false;
  t.same(allocator.takeHoles(), [first.cold]);
});
