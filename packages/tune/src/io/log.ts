/**
 * The log of an experiment: a file to which lines are added, each a record with its checksum.
 *
 *     1c291ca3 {"kind":"trial","id":"1",...}
 *
 * A record is written (write(2)) before what it says takes effect, so the death of this process loses nothing that anybody acted on. The disk is
 * told to keep it (fdatasync) in the background, one call at a time, and at the end: a power cut may lose what the last such call had not reached,
 * but never leaves more than one broken line, the last.
 */
import { makeError } from '@muster/base';
import { closeSync, existsSync, fdatasync, fdatasyncSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { LogRecord } from '../machine/records.js';

const CHECKSUM_DIGITS = 8;
const NEWLINE = 0x0a;
const BLANK = 0x20;
/** A power cut loses at most about as much. Each fdatasync costs the disk milliseconds, so it is not made for every record. */
const SYNC_INTERVAL_MS = 50;

/** What a log held. */
export interface ReadLog {
  readonly records: readonly LogRecord[];
  /** How much of the file is whole, in bytes. */
  readonly validBytes: number;
  /** Of a broken last line; 0: there is none. */
  readonly brokenBytes: number;
  /** The whole file. */
  readonly bytes: Buffer;
}

/** How far a log goes, and what it holds so far in a number: a log that begins so is the same one. */
export interface LogExtent {
  readonly records: number;
  readonly bytes: number;
  readonly checksum: number;
}

/** Whether a log begins with all that an extent was taken of. */
export function beginsWith({ bytes, records }: ReadLog, extent: LogExtent): boolean {
  return records.length >= extent.records && bytes.length >= extent.bytes && crc32(bytes.subarray(0, extent.bytes)) === extent.checksum;
}

/**
 * Reads a log. A last line that is broken, as a power cut or a full disk leaves it, is left out.
 * @throws EXPERIMENT_DAMAGED where any other line is
 */
export function readLog(file: string): ReadLog {
  const records: LogRecord[] = [];
  const bytes = existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
  let start = 0;
  while (start < bytes.length) {
    const end = bytes.indexOf(NEWLINE, start);
    const record = end < 0 ? null : decodeLine(bytes.subarray(start, end));
    if (record === null) {
      if (end >= 0 && end + 1 < bytes.length) throw makeError('EXPERIMENT_DAMAGED', { file, line: records.length + 1, cause: 'its checksum does not fit' });
      break;
    }
    records.push(record);
    start = end + 1;
  }
  return { records, validBytes: start, brokenBytes: bytes.length - start, bytes };
}

/** A line: anything that JSON holds, after its checksum. */
export function encodeLine(record: unknown): string {
  const text = JSON.stringify(record);
  return `${crc32(text).toString(16).padStart(CHECKSUM_DIGITS, '0')} ${text}\n`;
}

/** What a line without its end holds; null where the line is broken. */
export function decodeLine<T = LogRecord>(line: Buffer): T | null {
  const text = line.subarray(CHECKSUM_DIGITS + 1);
  if (line[CHECKSUM_DIGITS] !== BLANK || line.toString('latin1', 0, CHECKSUM_DIGITS) !== crc32(text).toString(16).padStart(CHECKSUM_DIGITS, '0')) return null;
  return JSON.parse(text.toString('utf8')) as T;
}

/** Adds records to a log. Only the holder of the experiment's lock may. */
export class LogWriter {
  readonly #file: string;
  readonly #descriptor: number;
  /** Of all whole lines. */
  #extent: LogExtent;
  #timer: NodeJS.Timeout | null = null;
  #isSyncing = false;
  /** The first failure: from then on nothing is written any more. */
  #failure: Error | null = null;

  /** What follows the whole lines is cut off. */
  constructor(file: string, { records, validBytes, bytes }: ReadLog) {
    this.#file = file;
    this.#extent = { records: records.length, bytes: validBytes, checksum: crc32(bytes.subarray(0, validBytes)) };
    this.#descriptor = openSync(file, 'a');
    truncateSync(file, validBytes);
  }

  get extent(): LogExtent {
    return this.#extent;
  }

  /** @throws STORAGE where the disk is full or gone; then nothing of the record counts, nor any later one */
  append(record: LogRecord): void {
    if (this.#failure) throw this.#failure;
    const line = Buffer.from(encodeLine(record));
    try {
      for (let written = 0; written < line.length;) written += writeSync(this.#descriptor, line, written);
    } catch (cause) {
      throw (this.#failure = storageError(this.#file, cause));
    }
    const { records, bytes, checksum } = this.#extent;
    this.#extent = { records: records + 1, bytes: bytes + line.length, checksum: crc32(line, checksum) };
    this.#timer ??= setTimeout(() => this.#sync(), SYNC_INTERVAL_MS);
  }

  /** Makes the disk keep everything, and closes the file. */
  close(): void {
    if (this.#timer) clearTimeout(this.#timer);
    try {
      if (!this.#failure) fdatasyncSync(this.#descriptor);
    } catch (cause) {
      throw (this.#failure = storageError(this.#file, cause));
    } finally {
      closeSync(this.#descriptor);
    }
  }

  #sync(): void {
    this.#timer = null;
    if (this.#isSyncing) {
      this.#timer = setTimeout(() => this.#sync(), SYNC_INTERVAL_MS);
      return;
    }
    this.#isSyncing = true;
    fdatasync(this.#descriptor, (cause) => {
      this.#isSyncing = false;
      if (cause && cause.code !== 'EBADF') this.#failure ??= storageError(this.#file, cause); // EBADF: it was closed, and synced then
    });
  }
}

/** What a disk refused, with what to do. */
export function storageError(file: string, cause: unknown): Error {
  return makeError('STORAGE', { file, cause: cause instanceof Error ? cause.message : String(cause) }, { cause });
}
