/**
 * What workers print, on its way to the head: gathered for a moment, and limited per job, because a loop that prints must not drown the
 * driver. The log files have everything.
 */
import type { LogLines } from '@muster/protocol';
import type { OutputSpan } from './line-splitter.js';

/** Output waits that long for more. People do not notice it. */
export const LOG_FLUSH_MS = 50;
/** That much is sent without waiting. */
export const LOG_FLUSH_BYTES = 64 * 1024;
/** More is not read by anybody. */
export const LOG_LINES_PER_SECOND = 1000;
/** What is kept for a head that cannot be reached. */
const LOG_BACKLOG_BYTES = 2 ** 20;
/** A batch's share of a line besides its text. */
const LINE_OVERHEAD_BYTES = 16;

/** Who prints. */
export interface LogSource {
  readonly jobId: string;
  readonly workerId: string;
  readonly pid: number;
  readonly isError: boolean;
}

interface Batch extends LogSource {
  readonly name: string;
  readonly lines: string[];
  readonly suppressedCount: number;
}

/** One job's use of the current second. */
interface Quota {
  secondStartMs: number;
  lineCount: number;
  /** Left out and not yet reported. */
  suppressedCount: number;
}

/** Output that waits to be sent, and each job's share. */
export class LogRelay {
  readonly #nodeId: string;
  readonly #send: (lines: LogLines) => void;
  readonly #quotas = new Map<string, Quota>();
  #batches: Batch[] = [];
  #sizeBytes = 0;
  #flushAtMs = Infinity;

  constructor(nodeId: string, send: (lines: LogLines) => void) {
    this.#nodeId = nodeId;
    this.#send = send;
  }

  add(source: LogSource, spans: readonly OutputSpan[], nowMs: number): void {
    for (const span of spans) for (const line of span.lines) this.#addLine(source, span.name, line, nowMs);
  }

  /** Whether there is so much that it should go at once. */
  get isFull(): boolean {
    return this.#sizeBytes >= LOG_FLUSH_BYTES;
  }

  get nextWakeMs(): number {
    return this.#flushAtMs;
  }

  /** Sends what there is. */
  flush(): void {
    for (const batch of this.#batches) this.#send({ nodeId: this.#nodeId, ...batch });
    this.#batches = [];
    this.#sizeBytes = 0;
    this.#flushAtMs = Infinity;
  }

  /** Sends what there is and what was left out of this job. The job prints no more. */
  endJob(jobId: string): void {
    this.flush();
    const suppressedCount = this.#quotas.get(jobId)?.suppressedCount ?? 0;
    this.#quotas.delete(jobId);
    if (suppressedCount > 0) this.#send({ nodeId: this.#nodeId, jobId, workerId: '', pid: 0, isError: false, name: '', lines: [], suppressedCount });
  }

  #addLine(source: LogSource, name: string, line: string, nowMs: number): void {
    const quota = this.#quota(source.jobId, nowMs);
    if (quota.lineCount >= LOG_LINES_PER_SECOND || this.#sizeBytes >= LOG_BACKLOG_BYTES) {
      quota.suppressedCount++;
      return;
    }
    quota.lineCount++;
    this.#sizeBytes += line.length + LINE_OVERHEAD_BYTES;
    this.#flushAtMs = Math.min(this.#flushAtMs, nowMs + LOG_FLUSH_MS);
    const last = this.#batches.at(-1);
    const isMore = last && last.workerId === source.workerId && last.isError === source.isError && last.name === name && last.jobId === source.jobId;
    if (isMore && quota.suppressedCount === 0) {
      last.lines.push(line);
    } else {
      const { jobId, workerId, pid, isError } = source;
      this.#batches.push({ jobId, workerId, pid, isError, name, lines: [line], suppressedCount: quota.suppressedCount });
      quota.suppressedCount = 0;
    }
  }

  #quota(jobId: string, nowMs: number): Quota {
    let quota = this.#quotas.get(jobId);
    if (!quota) this.#quotas.set(jobId, (quota = { secondStartMs: nowMs, lineCount: 0, suppressedCount: 0 }));
    if (nowMs - quota.secondStartMs >= 1000) {
      quota.secondStartMs = nowMs;
      quota.lineCount = 0;
    }
    return quota;
  }
}
