/** The worker's side of a trial: runs the user's function, and carries its reports. */
import { makeError, MusterError } from '@muster/base';
import { put, type ActorHandle } from '@muster/core';
import { deserialize, serialize } from 'node:v8';
import { asJson, whatIsMissing } from '../machine/experiment.js';
import type { Metrics } from '../machine/records.js';
import { requireNames } from '../option-checks.js';
import type { Objective } from '../searcher.js';
import { TrialStopped, type ReportOptions, type Trainable, type TrainableResult, type Trial } from '../trial.js';
import type { Mailbox, TrialAnswer, TrialMessage } from './mailbox.js';

/** Larger checkpoints go through the object store, past the mailbox. */
const INLINE_CHECKPOINT_BYTES_MAX = 64 * 1024;
/** The mailbox starts again where it was lost; a report is made until it is answered. */
const REPORT_RETRIES = 100;

/** One start of a trial. */
export interface TrialLaunch {
  readonly trialId: string;
  readonly launch: number;
  readonly attempt: number;
  readonly config: unknown;
  readonly startEpoch: number;
  /** As {@link serialize} wrote it. */
  readonly checkpoint: Uint8Array | null;
  /** How many ranks run it: more than one in a gang. */
  readonly size: number;
  readonly objectives: readonly Objective[];
}

/** How the function ended: with metrics, or because it was asked to. */
export type TrialReturn = { readonly kind: 'completed'; readonly metrics: Metrics | null } | { readonly kind: 'ended' };

/** Where one start of a trial runs. */
export interface TrialPlace {
  readonly mailbox: ActorHandle<Mailbox>;
  /** Aborts when the trial shall end before its next report. */
  readonly signal: AbortSignal;
  /** In a gang; 0 elsewhere. */
  readonly rank: number;
}

/** Runs a trial to its end. @throws what the user's function throws */
export async function runTrial(trainable: Trainable<never>, launch: TrialLaunch, place: TrialPlace): Promise<TrialReturn> {
  const trial = new RunningTrial(launch, place);
  try {
    const result = await trainable(launch.config as never, trial);
    await trial.settled();
    if (place.rank > 0) return { kind: 'ended' };
    return trial.ended ? { kind: 'ended' } : { kind: 'completed', metrics: metricsOf(result, launch.objectives) };
  } catch (error) {
    if (trial.ended) return { kind: 'ended' };
    throw error;
  }
}

/** What a function returned, or a step. */
export function metricsOf(result: TrainableResult | null, objectives: readonly Objective[]): Metrics | null {
  if (result === undefined || result === null) return null;
  if (typeof result === 'number') return { [objectives[0]!.metric]: requireFinite(result, objectives) };
  if (typeof result !== 'object') throw makeError('INVALID_ARGUMENT', { what: `the trial's result ${String(result)}`, want: 'an object of metrics, a number, or nothing where it reports' });
  requireNumbers(result, objectives.filter(({ metric }) => metric in result));
  return asData(result);
}

function asData(metrics: Metrics): Metrics {
  try {
    return asJson(metrics) as Metrics;
  } catch (cause) {
    throw makeError('INVALID_ARGUMENT', { what: 'a trial\'s result', want: `what JSON can hold: ${(cause as Error).message.split('\n', 1)[0]}` }, { cause });
  }
}

function requireFinite(value: number, objectives: readonly Objective[]): number {
  requireNumbers({ [objectives[0]!.metric]: value }, objectives.slice(0, 1));
  return value;
}

/** Checked here and not by the driver, so that the error points to the line that reports. */
function requireNumbers(metrics: Metrics, objectives: readonly Objective[]): void {
  if (objectives.some(({ metric }) => !(typeof metrics[metric] === 'number' && Number.isFinite(metrics[metric])))) {
    throw makeError('INVALID_ARGUMENT', { what: 'a trial\'s result', want: `a finite number for each objective, but ${whatIsMissing(metrics, objectives)}` });
  }
}

class RunningTrial implements Trial {
  readonly id: string;
  readonly startEpoch: number;
  readonly checkpoint: unknown;
  readonly attempt: number;
  readonly signal: AbortSignal;
  readonly #launch: TrialLaunch;
  readonly #place: TrialPlace;
  #step: number;
  /** Why the function shall end; null: it may go on. */
  ended: TrialStopped | null = null;
  /** Ends reports that wait for their answers. */
  readonly #cutOff = new Set<(answer: TrialAnswer) => void>();
  readonly #reports = new Set<Promise<void>>();
  #hasReturned = false;

  constructor(launch: TrialLaunch, place: TrialPlace) {
    this.id = launch.trialId;
    this.startEpoch = launch.startEpoch;
    this.attempt = launch.attempt;
    this.checkpoint = launch.checkpoint && deserialize(launch.checkpoint);
    this.#launch = launch;
    this.#place = place;
    this.signal = place.signal;
    this.#step = launch.startEpoch;
    this.signal.addEventListener('abort', () => this.#aborted(), { once: true });
  }

  async report(metrics: Metrics, options: ReportOptions = {}): Promise<boolean> {
    let settle = (): void => {};
    const settled = new Promise<void>((resolve) => { settle = resolve; });
    this.#reports.add(settled);
    try {
      return await this.#report(metrics, options);
    } finally {
      this.#reports.delete(settled);
      settle();
    }
  }

  /** The function has returned. Reports that it has not waited for are waited for here: an experiment that ends first would leave them without an answer. */
  async settled(): Promise<void> {
    this.#hasReturned = true;
    await Promise.all(this.#reports);
  }

  async #report(metrics: Metrics, options: ReportOptions): Promise<boolean> {
    requireNames('report()', options, ['checkpoint', 'step', 'onStop']);
    const { checkpoint, step = this.#step + 1, onStop = 'throw' } = options;
    if (!this.ended) {
      if (!Number.isInteger(step) || step <= this.#step) throw makeError('INVALID_ARGUMENT', { what: `step: ${step}`, want: `a whole number above that of the last report, ${this.#step}` });
      if (typeof metrics !== 'object' || metrics === null) throw makeError('INVALID_ARGUMENT', { what: `report(${String(metrics)})`, want: 'given an object of metrics' });
      this.#step = step;
      const answer = await this.#unlessCutOff(this.#place.rank === 0 ? this.#tell(metrics, step, checkpoint) : this.#follow(step));
      if (answer.kind === 'end') this.ended = new TrialStopped(answer.reason);
    }
    if (this.ended && onStop === 'throw' && !this.#hasReturned) throw this.ended; // later nobody would catch it
    return this.ended === null;
  }

  async #tell(metrics: Metrics, step: number, checkpoint: unknown): Promise<TrialAnswer> {
    requireNumbers(metrics, this.#launch.objectives);
    const { trialId, launch, size } = this.#launch;
    const message: TrialMessage = { trialId, launch, step, size, metrics: asData(metrics), checkpoint: checkpoint === undefined ? null : await packed(checkpoint) };
    return this.#place.mailbox.report.options({ retries: REPORT_RETRIES })(message);
  }

  /** The answer, for which nobody waits in vain who has to end. */
  #unlessCutOff(answer: Promise<TrialAnswer>): Promise<TrialAnswer> {
    return new Promise((resolve, reject) => {
      this.#cutOff.add(resolve);
      answer.then(resolve, reject).finally(() => this.#cutOff.delete(resolve));
      if (this.signal.aborted) this.#aborted();
    });
  }

  /** Who is preempted still gets answers: it saves what it has. */
  #aborted(): void {
    const reason: unknown = this.signal.reason;
    if (reason instanceof MusterError && reason.code === 'PREEMPTED') return;
    for (const cutOff of this.#cutOff) cutOff({ kind: 'end', reason: reason instanceof Error ? reason.message : String(reason) });
  }

  #follow(step: number): Promise<TrialAnswer> {
    const { trialId, launch } = this.#launch;
    return this.#place.mailbox.follow.options({ retries: REPORT_RETRIES })({ trialId, launch, step });
  }
}

function cloned(checkpoint: unknown): Buffer {
  try {
    return serialize(checkpoint);
  } catch (cause) {
    throw makeError('INVALID_ARGUMENT', { what: 'the checkpoint', want: `what structured clone takes, such as plain objects and typed arrays: ${(cause as Error).message}` }, { cause });
  }
}

async function packed(checkpoint: unknown): Promise<TrialMessage['checkpoint']> {
  const bytes = cloned(checkpoint);
  return bytes.byteLength <= INLINE_CHECKPOINT_BYTES_MAX ? new Uint8Array(bytes) : { ref: await put<Uint8Array>(new Uint8Array(bytes)) };
}
