/** What a job or a process prints, as it comes: from its log file where that is on this machine, else from what the head tells. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import type { LogsAnswer } from '@muster/head';
import type { ClusterConnection } from '../cluster/connection.js';

/** Gives what has come since the last call. */
export interface OutputSource {
  read(): Promise<Uint8Array | string>;
  close(): void;
}

const READ_MAX_BYTES = 2 ** 20;

/** A log file from its beginning on. It may not exist yet, and when it is full another one takes its place. */
export class FileOutput implements OutputSource {
  readonly #path: string;
  #file: number | null = null;
  #offset = 0;

  constructor(path: string) {
    this.#path = path;
  }

  async read(): Promise<Uint8Array> {
    this.#file ??= this.#open();
    if (this.#file === null) return new Uint8Array();
    const bytes = this.#readMore(this.#file);
    if (bytes.length > 0 || !this.#isReplaced(this.#file)) return bytes;
    this.close();
    return this.read();
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
    this.#offset = 0;
  }

  #open(): number | null {
    try {
      return openSync(this.#path, 'r');
    } catch {
      return null;
    }
  }

  #readMore(file: number): Uint8Array {
    const bytes = Buffer.allocUnsafe(Math.min(READ_MAX_BYTES, Math.max(0, fstatSync(file).size - this.#offset)));
    const count = readSync(file, bytes, 0, bytes.length, this.#offset);
    this.#offset += count;
    return bytes.subarray(0, count);
  }

  #isReplaced(file: number): boolean {
    const current = statSync(this.#path, { throwIfNoEntry: false });
    return current !== undefined && current.ino !== fstatSync(file).ino;
  }
}

/** One process's part of the head's answer. */
interface Section {
  /** Empty when the answer does not say: it has one part only. */
  readonly logId: string;
  readonly text: string;
}

const HEADING = /^==> (\S+) <==$/;

/** Reads an answer in which each process's output stands under a heading, unless there is only one. */
export function readSections(text: string): Section[] {
  const sections: { logId: string; lines: string[] }[] = [];
  for (const line of text.split('\n')) {
    const logId = HEADING.exec(line)?.[1];
    if (logId !== undefined) sections.push({ logId, lines: [] });
    else (sections.at(-1) ?? sections[sections.push({ logId: '', lines: [] }) - 1]!).lines.push(line);
  }
  return sections.map(({ logId, lines }) => ({ logId, text: lines.join('\n') }));
}

/** How much of the end of what was seen is looked for in what is seen now. */
const OVERLAP_CHARS = 1000;

/** What `now` has beyond `before`. The head tells the last part of a log only, so the beginning may have moved. */
export function textAfter(before: string, now: string): string {
  if (now.startsWith(before)) return now.slice(before.length);
  const overlap = before.slice(-OVERLAP_CHARS);
  const at = now.lastIndexOf(overlap);
  return at >= 0 ? now.slice(at + overlap.length) : `… more was printed than could be followed\n${now}`;
}

/** The output of a worker, an actor or a job anywhere in the cluster. */
export class QueriedOutput implements OutputSource {
  readonly #connection: ClusterConnection;
  readonly #id: string;
  readonly #only: string | null;
  readonly #seen = new Map<string, string>();
  #lastLogId = '';

  /** @param only the one log to show of all that the answer has; null: all, each under its heading */
  constructor(connection: ClusterConnection, id: string, only: string | null) {
    this.#connection = connection;
    this.#id = id;
    this.#only = only;
  }

  async read(): Promise<string> {
    const { text } = await this.#connection.query<LogsAnswer>('logs', { id: this.#id });
    return readSections(text).filter(({ logId }) => this.#only === null || logId === '' || logId === this.#only).map((section) => this.#news(section)).join('');
  }

  close(): void {}

  #news({ logId, text }: Section): string {
    const key = logId || this.#id;
    const news = textAfter(this.#seen.get(key) ?? '', text);
    this.#seen.set(key, text);
    if (news === '') return '';
    const needsHeading = this.#only === null && logId !== '' && logId !== this.#lastLogId;
    this.#lastLogId = logId;
    return needsHeading ? `==> ${logId} <==\n${news}` : news;
  }
}
