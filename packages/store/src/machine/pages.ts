/** The arena's unit. Every block and object starts on a page and occupies whole pages. */

/** The size of a page. */
export const PAGE_BYTES = 4096;

/** A run of pages of the arena. */
export interface PageRange {
  /** Index of the first page. */
  readonly start: number;
  readonly pages: number;
}

/** Pages that hold this many bytes; one at least, so that every object has an address of its own. */
export const pagesOf = (sizeBytes: number): number => Math.max(1, Math.ceil(sizeBytes / PAGE_BYTES));
