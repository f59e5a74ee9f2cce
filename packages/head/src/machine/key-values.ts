/**
 * What the processes of a job tell each other: values under keys, in namespaces, until the job ends. A key is written once, so that whoever
 * reads it, whenever, reads the same; who comes before it can wait for it. A namespace is cleared as a whole when what it was for is over.
 */
import { formatSizeBytes, makeError, MusterError } from '@muster/base';
import { failureToMessage, type GetKey, type PutKey } from '@muster/protocol';
import { NO_VALUE } from './actor.js';
import type { HeadContext } from './context.js';
import type { Job, Jobs } from './jobs.js';
import { KEY_MAX_CHARS, KEY_VALUE_MAX_BYTES, KEY_VALUES_PER_JOB_MAX_BYTES, KEY_WAIT_MAX_MS, KEY_WAITS_MAX, KEYS_PER_JOB_MAX } from './limits.js';
import type { Process, Processes } from './processes.js';

interface JobKeys {
  readonly namespaces: Map<string, Map<string, Uint8Array>>;
  keyCount: number;
  sizeBytes: number;
}

/** A request for a key that is not there. */
interface Wait {
  readonly process: Process;
  readonly jobId: string;
  readonly request: GetKey;
  readonly untilMs: number;
}

/** The parts of the machine that this one asks and tells. */
interface Parts {
  readonly context: HeadContext;
  readonly jobs: Jobs;
  readonly processes: Processes;
}

/** The keys of all jobs that run. */
export class KeyValues {
  readonly #parts: Parts;
  readonly #ofJob = new Map<string, JobKeys>();
  readonly #waits = new Set<Wait>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  put(process: Process, message: PutKey): void {
    try {
      this.#write(this.#jobOf(process), message);
    } catch (error) {
      return this.#refuse(process, message.requestId, error);
    }
    this.#reply(process, message.requestId, NO_VALUE);
    for (const wait of this.#waits) {
      const { namespace, key } = wait.request;
      if (wait.jobId === process.jobId && namespace === message.namespace && key === message.key) this.#answer(wait, message.value);
    }
  }

  get(process: Process, message: GetKey): void {
    try {
      const { id: jobId } = this.#jobOf(process);
      const untilMs = this.#parts.context.nowMs + Math.min(message.waitMs, KEY_WAIT_MAX_MS);
      const wait: Wait = { process, jobId, request: message, untilMs };
      const value = this.#ofJob.get(jobId)?.namespaces.get(message.namespace)?.get(message.key);
      if (value !== undefined || message.waitMs === 0) return this.#answer(wait, value);
      if (this.#waits.size >= KEY_WAITS_MAX) throw makeError('INVALID_ARGUMENT', { what: `the wait for the key '${message.key.slice(0, 64)}'`, want: `one of at most ${KEY_WAITS_MAX}` });
      this.#waits.add(wait);
    } catch (error) {
      this.#refuse(process, message.requestId, error);
    }
  }

  clear(process: Process, namespace: string): void {
    const keys = this.#ofJob.get(process.jobId);
    const cleared = keys?.namespaces.get(namespace);
    if (keys === undefined || cleared === undefined) return;
    keys.namespaces.delete(namespace);
    for (const [key, value] of cleared) {
      keys.keyCount--;
      keys.sizeBytes -= sizeOf(key, value);
    }
  }

  jobOver(job: Job): void {
    this.#ofJob.delete(job.id);
    for (const wait of this.#waits) if (wait.jobId === job.id) this.#answer(wait, undefined);
  }

  processGone(process: Process): void {
    for (const wait of this.#waits) if (wait.process === process) this.#waits.delete(wait);
  }

  /** Answers those who have waited long enough. */
  tick(): void {
    for (const wait of this.#waits) if (wait.untilMs <= this.#parts.context.nowMs) this.#answer(wait, undefined);
  }

  /** Nothing is left of any job. */
  get isEmpty(): boolean {
    return this.#ofJob.size === 0 && this.#waits.size === 0;
  }

  /** A worker may ask in the moment in which its job ends. @throws MusterError NOT_CONNECTED */
  #jobOf(process: Process): Job {
    const job = this.#parts.jobs.running.get(process.jobId);
    if (job === undefined) throw makeError('NOT_CONNECTED', { cause: `of ${process.id} has no job, whose keys it could use` });
    return job;
  }

  /** @throws MusterError INVALID_ARGUMENT */
  #write(job: Job, { namespace, key, value }: PutKey): void {
    const what = `the key '${key.slice(0, 64)}'`;
    if (key === '' || key.length > KEY_MAX_CHARS || namespace.length > KEY_MAX_CHARS) throw makeError('INVALID_ARGUMENT', { what, want: `of 1 to ${KEY_MAX_CHARS} characters, and its namespace no longer` });
    if (value.length > KEY_VALUE_MAX_BYTES) throw makeError('INVALID_ARGUMENT', { what: `the value of ${what}`, want: `of at most ${formatSizeBytes(KEY_VALUE_MAX_BYTES)}: put() larger ones` });
    let keys = this.#ofJob.get(job.id);
    const known = keys?.namespaces.get(namespace)?.get(key);
    if (known !== undefined) {
      if (Buffer.compare(known, value) === 0) return;
      throw makeError('INVALID_ARGUMENT', { what: `${what} of '${namespace}'`, want: 'new: it has another value, and keys are written once' });
    }
    const sizeBytes = (keys?.sizeBytes ?? 0) + sizeOf(key, value);
    if ((keys?.keyCount ?? 0) >= KEYS_PER_JOB_MAX || sizeBytes > KEY_VALUES_PER_JOB_MAX_BYTES) {
      throw makeError('INVALID_ARGUMENT', { what, want: `one of at most ${KEYS_PER_JOB_MAX} of its job, with ${formatSizeBytes(KEY_VALUES_PER_JOB_MAX_BYTES)} in all: clear namespaces that are done with` });
    }
    if (keys === undefined) this.#ofJob.set(job.id, (keys = { namespaces: new Map(), keyCount: 0, sizeBytes: 0 }));
    let values = keys.namespaces.get(namespace);
    if (values === undefined) keys.namespaces.set(namespace, (values = new Map()));
    values.set(key, value);
    keys.keyCount++;
    keys.sizeBytes = sizeBytes;
  }

  #answer(wait: Wait, value: Uint8Array | undefined): void {
    this.#waits.delete(wait);
    this.#reply(wait.process, wait.request.requestId, value === undefined ? NO_VALUE : { found: true, value });
  }

  #reply(process: Process, requestId: number, answer: { readonly found: boolean; readonly value: Uint8Array }): void {
    this.#parts.processes.send(process, { type: 'requestReply', requestId, failure: null, actorId: '', ...answer });
  }

  #refuse(process: Process, requestId: number, error: unknown): void {
    if (!(error instanceof MusterError)) throw error;
    this.#parts.processes.send(process, { type: 'requestReply', requestId, failure: failureToMessage(error), actorId: '', ...NO_VALUE });
  }
}

const sizeOf = (key: string, value: Uint8Array): number => key.length + value.length;
