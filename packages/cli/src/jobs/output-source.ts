/** What a job or a process prints, as it comes: from its log file where that is on this machine, else from what the head tells. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import type { LogsAnswer } from '@muster/head';
import type { LogOffsets, LogPart } from '@muster/protocol';
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

/** What is wanted of a {@link QueriedOutput}. */
export interface QueriedOutputOptions {
  /** The one log to show of all that the answer has; null: all, each under its heading unless there is only one. */
  readonly only: string | null;
  /** Begins with the last part of each log instead of their beginnings. */
  readonly fromTail: boolean;
}

/** The output of a worker, an actor or a job anywhere in the cluster. Each call asks for what comes after what was shown. */
export class QueriedOutput implements OutputSource {
  /** Nodes whose part was missing in the last answer. */
  missing: readonly string[] = [];
  readonly #connection: Pick<ClusterConnection, 'query'>;
  readonly #id: string;
  readonly #only: string | null;
  #offsets: LogOffsets | null;
  #lastLogId = '';

  constructor(connection: Pick<ClusterConnection, 'query'>, id: string, { only, fromTail }: QueriedOutputOptions) {
    this.#connection = connection;
    this.#id = id;
    this.#only = only;
    this.#offsets = fromTail ? null : {};
  }

  async read(): Promise<string> {
    const { parts, missing } = await this.#connection.query<LogsAnswer>('logs', { id: this.#id }, this.#offsets === null ? '' : JSON.stringify(this.#offsets));
    this.missing = missing;
    this.#offsets = { ...this.#offsets, ...Object.fromEntries(parts.map(({ logId, endOffset }) => [logId, endOffset])) };
    if (this.#lastLogId === '' && parts.length === 1) this.#lastLogId = parts[0]!.logId; // perhaps the only one
    return parts.filter(({ logId }) => this.#only === null || logId === this.#only).map((part) => this.#show(part)).join('');
  }

  close(): void {}

  #show({ logId, text }: LogPart): string {
    const needsHeading = this.#only === null && logId !== this.#lastLogId;
    this.#lastLogId = logId;
    return needsHeading ? `==> ${logId} <==\n${text}` : text;
  }
}
