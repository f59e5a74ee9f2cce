/** Sizes and durations as people write them. */
import { MusterError } from './errors.js';

const SIZE_UNITS: Readonly<Record<string, number>> = {
  b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40,
};

/**
 * Reads a size in bytes: a number, or text such as `'2GiB'`, `'512 MB'`, `'1024'`.
 * @throws MusterError INVALID_ARGUMENT for anything else.
 */
export function parseSizeBytes(size: number | string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(String(size));
  const unit = match && (match[2] === '' ? 1 : SIZE_UNITS[match[2]!.toLowerCase()]);
  if (!match || !unit) {
    throw new MusterError('INVALID_ARGUMENT', { what: `the size '${size}'`, want: "a number of bytes or text such as '512MiB' or '2GiB'" });
  }
  return Math.floor(Number(match[1]) * unit);
}

/** Writes a size with at most one decimal: `formatSizeBytes(1536) === '1.5 KiB'`. */
export function formatSizeBytes(sizeBytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = sizeBytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}

/** Writes a duration as people say it: `250 ms`, `4.2 s`, `3 m 20 s`, `2 h 5 m`. */
export function formatDurationMs(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 60_000) return `${Number((durationMs / 1000).toFixed(1))} s`;
  const minutes = Math.floor(durationMs / 60_000);
  if (minutes < 60) return `${minutes} m ${Math.floor((durationMs % 60_000) / 1000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
}
