/** The worker's side of a trial: runs the user's function, and carries its reports. */
import { makeError } from '@muster/base';
import { context, put, type ActorHandle } from '@muster/core';
import { deserialize, serialize } from 'node:v8';
import { asJson, whatIsMissing } from '../machine/experiment.js';
import type { Metrics } from '../machine/records.js';
import type { Objective } from '../searcher.js';
import { TrialStopped, type ReportOptions, type Trainable, type TrainableResult, type Trial } from '../trial.js';
import type { Mailbox, TrialMessage } from './mailbox.js';

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
  readonly objectives: readonly Objective[];
}

/** How the function ended: with metrics, or because it was asked to. */
export type TrialReturn = { readonly kind: 'completed'; readonly metrics: Metrics | null } | { readonly kind: 'ended' };

/** Runs a trial to its end. @throws what the user's function throws */
export async function runTrial(trainable: Trainable<never>, launch: TrialLaunch, mailbox: ActorHandle<Mailbox>): Promise<TrialReturn> {
  const trial = new RunningTrial(launch, mailbox);
  try {
    const result = await trainable(launch.config as never, trial);
    return trial.ended ? { kind: 'ended' } : { kind: 'completed', metrics: metricsOf(result, launch.objectives) };
  } catch (error) {
    if (trial.ended) return { kind: 'ended' };
    throw error;
  }
}

function metricsOf(result: TrainableResult, objectives: readonly Objective[]): Metrics | null {
  if (result === undefined || result === null) return null;
  if (typeof result === 'number') return { [objectives[0]!.metric]: requireFinite(result, objectives) };
  if (typeof result !== 'object') throw makeError('INVALID_ARGUMENT', { what: `the trial's result ${String(result)}`, want: 'an object of metrics, a number, or nothing where it reports' });
  requireNumbers(result, objectives.filter(({ metric }) => metric in result));
  return asJson(result) as Metrics;
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
  readonly signal = context().signal;
  readonly #launch: TrialLaunch;
  readonly #mailbox: ActorHandle<Mailbox>;
  #step: number;
  /** Why the function shall end; null: it may go on. */
  ended: TrialStopped | null = null;

  constructor(launch: TrialLaunch, mailbox: ActorHandle<Mailbox>) {
    this.id = launch.trialId;
    this.startEpoch = launch.startEpoch;
    this.attempt = launch.attempt;
    this.checkpoint = launch.checkpoint && deserialize(launch.checkpoint);
    this.#launch = launch;
    this.#mailbox = mailbox;
    this.#step = launch.startEpoch;
  }

  async report(metrics: Metrics, { checkpoint, step = this.#step + 1, onStop = 'throw' }: ReportOptions = {}): Promise<boolean> {
    if (!this.ended) {
      if (!Number.isInteger(step) || step <= this.#step) throw makeError('INVALID_ARGUMENT', { what: `step: ${step}`, want: `a whole number above that of the last report, ${this.#step}` });
      if (typeof metrics !== 'object' || metrics === null) throw makeError('INVALID_ARGUMENT', { what: `report(${String(metrics)})`, want: 'given an object of metrics' });
      requireNumbers(metrics, this.#launch.objectives);
      this.#step = step;
      const { trialId, launch } = this.#launch;
      const message: TrialMessage = { trialId, launch, step, metrics: asJson(metrics) as Metrics, checkpoint: checkpoint === undefined ? null : await packed(checkpoint) };
      const answer = await this.#mailbox.report.options({ retries: REPORT_RETRIES })(message);
      if (answer.kind === 'end') this.ended = new TrialStopped(answer.reason);
    }
    if (this.ended && onStop === 'throw') throw this.ended;
    return this.ended === null;
  }
}

async function packed(checkpoint: unknown): Promise<TrialMessage['checkpoint']> {
  const bytes = serialize(checkpoint);
  return bytes.byteLength <= INLINE_CHECKPOINT_BYTES_MAX ? new Uint8Array(bytes) : { ref: await put<Uint8Array>(new Uint8Array(bytes)) };
}
