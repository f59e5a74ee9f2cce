/**
 * The log of an experiment: a file to which lines are added, each a record with its checksum.
 *
 *     1c291ca3 {"kind":"trial","id":"1",...}
 *
 * A record is written (write(2)) before what it says takes effect, so the death of this process loses nothing that anybody acted on. The disk is
 * told to keep it (fdatasync) in the background, one call at a time, and at the end: a power cut may lose what the last such call had not reached,
 * but never leaves more than one broken line, the last.
 */
import { makeError, MusterError } from '@muster/base';
import { closeSync, existsSync, fdatasync, fdatasyncSync, openSync, readSync, truncateSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { LogRecord } from '../machine/records.js';

const CHECKSUM_DIGITS = 8;
const NEWLINE = 0x0a;
const BLANK = 0x20;
/** A power cut loses at most about as much. Each fdatasync costs the disk milliseconds, so it is not made for every record. */
const SYNC_INTERVAL_MS = 50;

/** Logs are read so much at a time: they may be longer than anybody's memory. */
const READ_BYTES = 2 ** 20;

/** How far a log goes, and what it holds so far in a number: a log that begins so is the same one. */
export interface LogExtent {
  readonly records: number;
  readonly bytes: number;
  readonly checksum: number;
}

/** A log as it lies on the disk. */
export interface CheckedLog {
  /** Of its whole lines. */
  readonly extent: LogExtent;
  /** Of a broken last line; 0: there is none. */
  readonly brokenBytes: number;
}

/**
 * Looks at every line of a log. A last line that is broken, as a power cut or a full disk leaves it, is none of it.
 * @throws EXPERIMENT_DAMAGED where any other line is
 */
export function checkLog(file: string): CheckedLog {
  let extent: LogExtent = { records: 0, bytes: 0, checksum: 0 };
  let brokenBytes = 0;
  for (const line of linesOf(file)) {
    if (brokenBytes > 0) throw makeError('EXPERIMENT_DAMAGED', { file, line: extent.records + 1, cause: 'its checksum does not fit' });
    if (isWhole(line)) extent = extendedBy(extent, line);
    else brokenBytes = line.length;
  }
  return { extent, brokenBytes };
}

/** The records of a log that was checked, one after another; what was added to it since is left out. Each time it is gone through it is read again. */
export function recordsOf(file: string, { bytes }: LogExtent): Iterable<LogRecord> {
  return { *[Symbol.iterator]() { for (const line of linesOf(file, bytes)) yield JSON.parse(textOf(line).toString('utf8')) as LogRecord; } };
}

/** Whether a log begins with all that an extent was taken of. */
export function beginsWith(file: string, { bytes, checksum }: LogExtent): boolean {
  let read = { bytes: 0, checksum: 0 };
  for (const line of linesOf(file, bytes)) read = { bytes: read.bytes + line.length, checksum: crc32(line, read.checksum) };
  return read.bytes === bytes && read.checksum === checksum;
}

/** The lines of a file with their ends, which the last one may lack. */
function* linesOf(file: string, mostBytes = Infinity): Generator<Buffer> {
  if (!existsSync(file)) return;
  const descriptor = openSync(file, 'r');
  try {
    let rest: Buffer = Buffer.alloc(0);
    for (let at = 0; at < mostBytes;) {
      const chunk = Buffer.allocUnsafe(Math.min(READ_BYTES, mostBytes - at));
      const count = readSync(descriptor, chunk, 0, chunk.length, at);
      if (count === 0) break;
      at += count;
      const bytes = Buffer.concat([rest, chunk.subarray(0, count)]);
      let start = 0;
      for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
        yield bytes.subarray(start, end + 1);
        start = end + 1;
      }
      rest = bytes.subarray(start);
    }
    if (rest.length > 0) yield rest;
  } finally {
    closeSync(descriptor);
  }
}

const textOf = (line: Buffer): Buffer => line.subarray(CHECKSUM_DIGITS + 1, -1);

function isWhole(line: Buffer): boolean {
  return line.at(-1) === NEWLINE && line[CHECKSUM_DIGITS] === BLANK && line.toString('latin1', 0, CHECKSUM_DIGITS) === checksumText(textOf(line));
}

const checksumText = (text: Buffer | string): string => crc32(text).toString(16).padStart(CHECKSUM_DIGITS, '0');

const extendedBy = ({ records, bytes, checksum }: LogExtent, line: Buffer): LogExtent => ({ records: records + 1, bytes: bytes + line.length, checksum: crc32(line, checksum) });

/** A line: anything that JSON holds, after its checksum. */
export function encodeLine(record: unknown): string {
  const text = JSON.stringify(record);
  return `${checksumText(text)} ${text}\n`;
}

/** What a line holds; null where it is broken. */
export function decodeLine<T>(line: Buffer): T | null {
  return isWhole(line) ? (JSON.parse(textOf(line).toString('utf8')) as T) : null;
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
  constructor(file: string, extent: LogExtent) {
    this.#file = file;
    this.#extent = extent;
    this.#descriptor = openSync(file, 'a');
    truncateSync(file, extent.bytes);
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
    this.#extent = extendedBy(this.#extent, line);
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

/** What went wrong with a file: as it is where that is known, and else what the disk refused. */
export function asStorageError(file: string, error: unknown): unknown {
  return error instanceof MusterError || !(error instanceof Error && 'syscall' in error) ? error : storageError(file, error);
}

/** What a disk refused, with what to do. */
export function storageError(file: string, cause: unknown): Error {
  return makeError('STORAGE', { file, cause: cause instanceof Error ? cause.message : String(cause) }, { cause });
}
