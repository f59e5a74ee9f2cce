/**
 * Reads what processes have printed, in parts. A place in a log is counted in bytes since its process began, so that it stays the same when the
 * log's file is set aside.
 */
import { closeSync, existsSync, fstatSync, openSync, read } from 'node:fs';
import { promisify } from 'node:util';
import type { LogPart, LogsQuestion } from '@muster/protocol';
import { LINE_MAX_LENGTH } from '../machine/line-splitter.js';
import { asidePath, logPath, readSpan } from './log-file.js';

/** Of one log, at once. */
const PART_MAX_BYTES = 2 ** 20;
/** The longest line fits, whatever it is written in. */
const PART_MIN_BYTES = 4 * LINE_MAX_LENGTH + 1;
const NEWLINE = 0x0a;

const readAsync = promisify(read);

/** The next part of each log that has more, as far as the answer's size allows; what is left out comes when it is asked for again. */
export async function readLogs(folder: string, logIds: readonly string[], { from, sizeMaxBytes }: Omit<LogsQuestion, 'id'>): Promise<LogPart[]> {
  const paths = new Map(logIds.map((logId) => [logId, logPath(folder, logId)]));
  const present = [...paths].filter(([, path]) => existsSync(path) || existsSync(asidePath(path)));
  const shareBytes = Math.min(PART_MAX_BYTES, Math.max(PART_MIN_BYTES, Math.floor(sizeMaxBytes / present.length)));
  const parts: LogPart[] = [];
  let leftBytes = sizeMaxBytes;
  for (const [logId, path] of present) {
    if (leftBytes <= 0) break;
    const part = await readPart(path, from === null ? null : (from[logId] ?? 0), shareBytes);
    if (!part) continue;
    parts.push({ logId, ...part });
    leftBytes -= part.text.length;
  }
  return parts;
}

/** One of a log's files, and which part of the whole output it has. */
interface OpenLog {
  readonly file: number;
  readonly startOffset: number;
  readonly endOffset: number;
}

/** Without `from`: the end of the log. Null: nothing is there. */
async function readPart(path: string, from: number | null, sizeMaxBytes: number): Promise<Omit<LogPart, 'logId'> | null> {
  const log = openLog(path, from);
  if (!log) return null;
  try {
    const begin = from === null ? Math.max(log.startOffset, log.endOffset - sizeMaxBytes) : Math.max(log.startOffset, from);
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(sizeMaxBytes, log.endOffset - begin)));
    const { bytesRead } = await readAsync(log.file, bytes, 0, bytes.length, begin - log.startOffset);
    const isCut = from === null && begin > log.startOffset;
    const firstByte = isCut ? bytes.indexOf(NEWLINE) + 1 : 0;
    const lastByte = bytes.subarray(0, bytesRead).lastIndexOf(NEWLINE) + 1; // the rest of a line is on its way to the disk
    if (lastByte <= firstByte) return null;
    const missing = from !== null && begin > from ? `… ${begin - from} bytes were printed here that are not kept\n` : '';
    return { text: missing + bytes.toString('utf8', firstByte, lastByte), endOffset: begin + lastByte };
  } finally {
    closeSync(log.file);
  }
}

/** In one turn: the files change places in another one. */
function openLog(path: string, from: number | null): OpenLog | null {
  const { startOffset, asideBytes } = readSpan(path);
  const isAside = from === null ? !existsSync(path) : from < startOffset;
  try {
    const file = openSync(isAside ? asidePath(path) : path, 'r');
    const fileStart = isAside ? startOffset - asideBytes : startOffset;
    return { file, startOffset: fileStart, endOffset: fileStart + fstatSync(file).size };
  } catch {
    return null; // nothing has been printed
  }
}
