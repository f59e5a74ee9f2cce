/**
 * Who gets which pages, and when. Owns the pages of the arena, the line of requests that wait for them, and the commits. It
 * knows objects only as victims: pages that may leave at once (clean) or after they were written to disk (dirty).
 *
 *     request ──> waiting ──> [committing] ──> granted
 *                    │              │ failed: waits again
 *                    └──> refused at its deadline, or cancelled
 *
 * Requests are placed in the order of their arrival, but one that cannot be placed does not hold up those behind it: what it waits
 * for, such as a reader's release, may depend on them.
 *
 * A disk that takes nothing. While writes to it fail, dirty victims cannot leave, and room comes about only when somebody frees, releases or returns
 * something, or when the disk is given room. So a request has two limits: how long it waits in all, and a shorter one for how long it waits while the
 * disk fails. The write is tried again all the time, and one that succeeds ends the shorter limit. Two objects never change places, one from the
 * disk and one to it: with both full, one of them would have neither place for a while, and another program may take the room on the disk.
 */
import { PageAllocator } from './page-allocator.js';
import { PAGE_BYTES, type PageRange } from './pages.js';
import { chooseVictims } from './room-plan.js';

/** How long nothing cold is handed out after the kernel refused to commit. Others may give memory back meanwhile. */
export const COMMIT_RETRY_MS = 1000;
/** How long nothing is spilled after a write failed, so that a full disk is not hammered. */
export const SPILL_RETRY_MS = 1000;
/** At most this much is committed before anybody asks: about a tenth of a second of a processor's time. */
const COMMIT_AHEAD_MAX_PAGES = (128 * 2 ** 20) / PAGE_BYTES;

/** How long a request waits. */
export interface Patience {
  /** Until then at most. */
  readonly deadlineMs: number;
  /** And that long at most while the disk fails. */
  readonly diskFailureMs: number;
}

/** A place in the line. */
export interface RoomRequest<Purpose> extends Patience {
  readonly pages: number;
  readonly sinceMs: number;
  readonly purpose: Purpose;
  isCancelled: boolean;
}

/** What a victim costs to remove: nothing, a write that is under way, or a write. */
export type VictimKind = 'clean' | 'writing' | 'dirty';

/** Told what happens to requests and victims; answers within the call. */
export interface RoomHost<Purpose, Victim> {
  granted(purpose: Purpose, start: number): void;
  refused(purpose: Purpose): void;
  /** Removes a clean victim: gives its pages back with {@link Room.free}. */
  evict(victim: Victim): void;
  /** Starts to write a dirty victim to disk, which makes it a clean one later. */
  spill(victim: Victim): void;
  commit(commitId: number, range: PageRange): void;
}

interface Commit<Purpose> {
  readonly segments: PageRange;
  /** The request it is for, and its pages; null: it is for none in particular. */
  readonly request: RoomRequest<Purpose> | null;
  readonly granted: PageRange | null;
}

/** The pages of the arena and the line of those who want some. */
export class Room<Purpose, Victim extends PageRange> {
  readonly #allocator: PageAllocator;
  readonly #host: RoomHost<Purpose, Victim>;
  /** Each in the order of last use. */
  readonly #victims: Readonly<Record<VictimKind, Set<Victim>>> = { clean: new Set(), writing: new Set(), dirty: new Set() };
  readonly #commits = new Map<number, Commit<Purpose>>();
  /** Pages that are kept, and whether they would be free otherwise. */
  readonly #kept = new Map<number, boolean>();
  #waiting: RoomRequest<Purpose>[] = [];
  #commitCount = 0;
  #committingPages = 0;
  #aheadPages = 0;
  #victimPages = 0;
  /** Whether a request that could not be placed before might be now. */
  #hasChanged = false;
  #commitRetryAtMs = -Infinity;
  #spillRetryAtMs = -Infinity;
  /** Since when no write has succeeded; Infinity: the last one has. */
  #diskFailsSinceMs = Infinity;
  #commitFailure = '';
  #spillFailure = '';

  constructor(pages: number, segmentPages: number, host: RoomHost<Purpose, Victim>) {
    this.#allocator = new PageAllocator(pages, segmentPages);
    this.#host = host;
  }

  get totalPages(): number { return this.#allocator.totalPages; }
  get freePages(): number { return this.#allocator.freePages; }
  get largestFreePages(): number { return this.#allocator.largestFreePages; }
  /** Pages that belong to no one until their segments are committed. */
  get committingPages(): number { return this.#committingPages; }
  /** Freed pages that are kept. */
  get keptPages(): number { return [...this.#kept.values()].filter(Boolean).length; }
  /** Pages that could be made free. */
  get victimPages(): number { return this.#victimPages; }
  get waitingCount(): number { return this.#waiting.length; }

  /** What keeps the room from growing, for people; empty when nothing does. */
  trouble(nowMs: number): string {
    const troubles = [];
    if (this.#diskFailsSinceMs < Infinity) troubles.push(`spilling to disk failed: ${this.#spillFailure}`);
    if (nowMs < this.#commitRetryAtMs) troubles.push(`the operating system gave no memory: ${this.#commitFailure}`);
    return troubles.join('; ');
  }

  /** Puts a request in line. {@link serve} places it. */
  request(purpose: Purpose & { readonly pages: number }, patience: Patience, nowMs: number): RoomRequest<Purpose> {
    const request: RoomRequest<Purpose> = { ...patience, pages: purpose.pages, sinceMs: nowMs, purpose, isCancelled: false };
    this.#waiting.push(request);
    this.#hasChanged = true;
    return request;
  }

  cancel(request: RoomRequest<Purpose>): void {
    request.isCancelled = true;
    const index = this.#waiting.indexOf(request);
    if (index >= 0) this.#waiting.splice(index, 1);
  }

  /** Takes back any part of what was granted. */
  free(range: PageRange): void {
    const isKept = this.#kept.has(range.start);
    if (isKept) this.#kept.set(range.start, true);
    const start = isKept ? range.start + 1 : range.start;
    const pages = range.start + range.pages - start;
    if (pages > 0) this.#allocator.free({ start, pages });
    this.#hasChanged = true;
  }

  /** From now on no grant starts at this page, even if it is freed; and what lies there is no victim. */
  keep(page: number): void {
    this.#kept.set(page, false);
  }

  /** Ends {@link keep}. */
  unkeep(page: number): void {
    const isFreed = this.#kept.get(page);
    this.#kept.delete(page);
    this.#hasChanged = true;
    if (isFreed) this.free({ start: page, pages: 1 });
  }

  /** Counts a victim as the most recently used of its kind. */
  offer(victim: Victim, kind: VictimKind): void {
    this.#victims[kind].add(victim);
    this.#victimPages += victim.pages;
    this.#hasChanged = true;
  }

  /** The victim may not leave any more. No-op for what is none. */
  withdraw(victim: Victim): void {
    const { clean, writing, dirty } = this.#victims;
    if (clean.delete(victim) || writing.delete(victim) || dirty.delete(victim)) this.#victimPages -= victim.pages;
  }

  committed(commitId: number, failure: string | null, nowMs: number): void {
    const commit = this.#commits.get(commitId);
    if (!commit) return;
    this.#commits.delete(commitId);
    this.#hasChanged = true;
    const { request, granted, segments } = commit;
    this.#committingPages -= pagesOfCommit(segments, granted);
    if (!request) this.#aheadPages -= segments.pages;
    if (failure !== null) {
      this.#allocator.freeUncommitted(segments);
      if (granted && granted.start < segments.start) this.#allocator.free({ start: granted.start, pages: segments.start - granted.start });
      this.#commitFailure = failure;
      this.#commitRetryAtMs = nowMs + COMMIT_RETRY_MS;
      if (request && !request.isCancelled) this.#waiting.unshift(request);
      return;
    }
    const wantedPages = granted && !request!.isCancelled ? granted.pages : 0;
    const start = granted?.start ?? segments.start;
    const restPages = segments.start + segments.pages - start - wantedPages;
    if (restPages > 0) this.#allocator.free({ start: start + wantedPages, pages: restPages });
    if (wantedPages > 0) this.#host.granted(request!.purpose, start);
  }

  spillFailed(failure: string, nowMs: number): void {
    this.#spillFailure = failure;
    this.#spillRetryAtMs = nowMs + SPILL_RETRY_MS;
    this.#diskFailsSinceMs = Math.min(this.#diskFailsSinceMs, nowMs);
  }

  spillSucceeded(): void {
    this.#diskFailsSinceMs = Infinity;
  }

  /** Time has passed: what was postponed may be tried again. */
  tick(): void {
    this.#hasChanged = true;
  }

  /** Places what can be placed and refuses what waited too long. Called after every change. */
  serve(nowMs: number): void {
    if (this.#waiting.length === 0) return;
    if (this.#hasChanged) {
      this.#allocator.warmOnly = nowMs < this.#commitRetryAtMs;
      if (!this.#allocator.warmOnly) for (const hole of this.#allocator.takeHoles()) this.#commit(hole, null, null);
      this.#placeAll(nowMs);
      this.#hasChanged = false;
    }
    const late = this.#waiting.filter((request) => this.#endOf(request) <= nowMs);
    if (late.length === 0) return;
    this.#waiting = this.#waiting.filter((request) => !late.includes(request));
    for (const request of late) this.#host.refused(request.purpose);
  }

  /** When to send a tick; Infinity when nobody waits. */
  nextWakeMs(nowMs: number): number {
    let atMs = Infinity;
    for (const request of this.#waiting) atMs = Math.min(atMs, this.#endOf(request));
    if (atMs === Infinity) return atMs;
    for (const retryAtMs of [this.#commitRetryAtMs, this.#spillRetryAtMs]) if (retryAtMs > nowMs) atMs = Math.min(atMs, retryAtMs);
    return atMs;
  }

  /** When its patience ends. */
  #endOf({ deadlineMs, diskFailureMs, sinceMs }: RoomRequest<Purpose>): number {
    return Math.min(deadlineMs, Math.max(sinceMs, this.#diskFailsSinceMs) + diskFailureMs);
  }

  #placeAll(nowMs: number): void {
    const claimed = new Set<Victim>();
    let hopelessPages = Infinity;
    for (const request of [...this.#waiting]) {
      if (request.pages >= hopelessPages) continue;
      if (!this.#place(request, claimed, nowMs)) hopelessPages = request.pages;
    }
  }

  /** False when no run of this length can come about now. `claimed`: victims that leave for requests further ahead. */
  #place(request: RoomRequest<Purpose>, claimed: Set<Victim>, nowMs: number): boolean {
    const { pages } = request;
    const allocation = this.#allocator.allocate(pages) ?? (this.#evictFor(pages, claimed) ? this.#allocator.allocate(pages) : null);
    if (!allocation) return this.#spillFor(pages, claimed, nowMs);
    this.#waiting.splice(this.#waiting.indexOf(request), 1);
    if (allocation.cold) {
      this.#commit(allocation.cold, request, allocation);
      this.#commitAhead();
    } else {
      this.#host.granted(request.purpose, allocation.start);
    }
    return true;
  }

  #evictFor(pages: number, claimed: ReadonlySet<Victim>): boolean {
    if (this.#allocator.freePages + this.#victimPages < pages) return false;
    const chosen = chooseVictims(pages, this.#available([this.#victims.clean], claimed), this.#allocator);
    for (const victim of chosen ?? []) this.#host.evict(victim);
    return chosen !== null;
  }

  #spillFor(pages: number, claimed: Set<Victim>, nowMs: number): boolean {
    if (nowMs < this.#spillRetryAtMs || this.#allocator.freePages + this.#victimPages < pages) return false;
    const { clean, writing, dirty } = this.#victims;
    const chosen = chooseVictims(pages, this.#available([clean, writing, dirty], claimed), this.#allocator);
    if (!chosen) return false;
    for (const victim of chosen) {
      claimed.add(victim);
      if (dirty.has(victim)) this.#host.spill(victim);
    }
    return true;
  }

  *#available(kinds: readonly Iterable<Victim>[], claimed: ReadonlySet<Victim>): Iterable<Victim> {
    for (const kind of kinds) for (const victim of kind) if (!claimed.has(victim) && !this.#kept.has(victim.start)) yield victim;
  }

  #commit(segments: PageRange, request: RoomRequest<Purpose> | null, granted: PageRange | null): void {
    const commitId = ++this.#commitCount;
    this.#commits.set(commitId, { segments, request, granted });
    this.#committingPages += pagesOfCommit(segments, granted);
    if (!request) this.#aheadPages += segments.pages;
    this.#host.commit(commitId, segments);
  }

  /**
   * A store that grows will grow on: makes as much warm as is in use, so that the next requests need not wait. Nothing in a store that
   * is half full, where the pages will be wanted for other things.
   */
  #commitAhead(): void {
    const { totalPages, segmentPages, freePages, warmFreePages } = this.#allocator;
    const usedPages = totalPages - freePages;
    const pages = Math.min(usedPages, COMMIT_AHEAD_MAX_PAGES, totalPages >> 3) - warmFreePages - this.#aheadPages;
    if (pages < segmentPages || usedPages * 2 > totalPages) return;
    const segments = this.#allocator.takeCold(pages);
    if (segments) this.#commit(segments, null, null);
  }
}

/** The segments and the warm pages before them that are granted together with them. */
function pagesOfCommit(segments: PageRange, granted: PageRange | null): number {
  return segments.start + segments.pages - (granted?.start ?? segments.start);
}
