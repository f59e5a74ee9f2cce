/**
 * Runs an experiment on the cluster: starts trials as tasks, takes their reports from the mailbox, and writes everything down through the log. What is
 * decided is the experiment's; what is shown is the loggers'.
 */
import { actor, cancel, get, kill, MusterError, remote, type ActorHandle, type ErrorCode, type ObjectRef, type RemoteFunction, type TaskOptions } from '@muster/core';
import type { Experiment } from '../machine/experiment.js';
import type { RecordedDecision } from '../machine/records.js';
import type { TrialRow } from '../machine/trial-table.js';
import type { Objective } from '../searcher.js';
import type { Trainable } from '../trial.js';
import type { Checkpoints } from './checkpoints.js';
import { keyOf, Mailbox, type TrialAnswer, type TrialMessage } from './mailbox.js';
import { runTrial, type TrialLaunch, type TrialReturn } from './trial-task.js';

/** What a driver is made of. */
export interface DriverOptions {
  readonly trainable: Trainable<never>;
  readonly experiment: Experiment;
  readonly checkpoints: Checkpoints;
  readonly objectives: readonly Objective[];
  readonly taskOptions: TaskOptions;
  readonly maxConcurrent: number;
  /** Milliseconds in which the experiment was run before. */
  readonly elapsedMs: number;
  readonly timeBudgetMs: number;
  readonly signal: AbortSignal | null;
}

/** A trial that runs. */
interface Run {
  readonly trialId: string;
  readonly launch: number;
  readonly ref: ObjectRef<TrialReturn>;
  /** What it was told, when it was told to end. */
  ending: RecordedDecision | null;
}

/** The trial broke off through no fault of its own. */
const BROKE_OFF: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['WORKER_DIED', 'NODE_DIED', 'OBJECT_LOST', 'OWNER_DIED', 'ACTOR_UNAVAILABLE', 'PREEMPTED']);
/** No trial could be run. */
const HOPELESS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UNSCHEDULABLE', 'CAPTURE', 'AUTHENTICATION', 'NOT_CONNECTED', 'VERSION_MISMATCH']);
/** A trial that was cancelled may save what it likes for so long; then its worker is ended. */
const STOP_GRACE_MS = 5_000;

/** One run of an experiment. */
export class Driver {
  readonly #options: DriverOptions;
  readonly #startedMs = performance.now();
  readonly #runs = new Map<string, Run>();
  readonly #answering = new Set<string>();
  readonly #task: RemoteFunction<[TrialLaunch, ActorHandle<Mailbox>], Promise<TrialReturn>>;
  #mailbox: ActorHandle<Mailbox> | null = null;
  #launches = 0;
  #over: { readonly reason: string } | null = null;
  #settle: { readonly resolve: (reason: string) => void; readonly reject: (error: unknown) => void } | null = null;

  constructor(options: DriverOptions) {
    this.#options = options;
    const { trainable } = options;
    this.#task = remote((launch: TrialLaunch, mailbox: ActorHandle<Mailbox>) => runTrial(trainable, launch, mailbox), options.taskOptions);
  }

  /**
   * Resolves with why the experiment is over, when no trial runs any more.
   * @throws STORAGE, UNSCHEDULABLE, CAPTURE; the signal's reason; what a searcher, a scheduler or a constraint throws. No trial runs any more then, either
   */
  async run(): Promise<string> {
    const { experiment, signal, timeBudgetMs } = this.#options;
    signal?.throwIfAborted();
    this.#mailbox = await actor(Mailbox, { cpus: 0, maxRestarts: -1, maxConcurrency: 100_000 }).create();
    const aborted = (): void => this.#fail(signal!.reason);
    signal?.addEventListener('abort', aborted, { once: true });
    const leftMs = timeBudgetMs - this.#nowMs();
    const budgetTimer = Number.isFinite(leftMs) ? setTimeout(() => this.#guard(() => this.#timeIsUp()), Math.max(0, leftMs)) : null;
    try {
      return await new Promise<string>((resolve, reject) => {
        this.#settle = { resolve, reject };
        void this.#takeReports();
        this.#guard(() => {
          for (const row of experiment.interrupted(this.#nowMs())) this.#start(row);
          this.#pump();
        });
      });
    } finally {
      this.#settle = null;
      signal?.removeEventListener('abort', aborted);
      if (budgetTimer) clearTimeout(budgetTimer);
      await this.#endAll();
      await kill(this.#mailbox).catch(() => {}); // it may have died with the cluster
    }
  }

  #nowMs(): number {
    return Math.round(this.#options.elapsedMs + performance.now() - this.#startedMs);
  }

  /** Starts trials while there is room. */
  #pump(): void {
    const { experiment, maxConcurrent } = this.#options;
    while (!this.#over && this.#runs.size < maxConcurrent) {
      const next = experiment.next(this.#nowMs());
      if (next.kind === 'finished') this.#over = { reason: next.reason };
      else if (next.kind === 'start') this.#start(next.trial);
      else if (this.#runs.size > 0) return;
      else this.#over = { reason: `the searcher waits for trials, and none runs: ${next.reason}` };
    }
    if (!this.#over || this.#runs.size > 0) return;
    experiment.finish(this.#over.reason, this.#nowMs());
    this.#settle?.resolve(this.#over.reason);
  }

  #start(row: TrialRow): void {
    const { checkpoints, experiment, objectives } = this.#options;
    const startEpoch = row.checkpointStep;
    const launch: TrialLaunch = {
      trialId: row.id, launch: ++this.#launches, attempt: row.attempt, config: experiment.configOf(row.id), startEpoch, objectives,
      checkpoint: startEpoch === 0 ? null : checkpoints.read(row.id, startEpoch),
    };
    const run: Run = { trialId: row.id, launch: launch.launch, ref: this.#task.remote(launch, this.#mailbox! as never), ending: null };
    this.#runs.set(row.id, run);
    get(run.ref).then((result) => this.#guard(() => this.#returned(run, result)), (error: unknown) => this.#guard(() => this.#threw(run, error)));
  }

  #returned(run: Run, result: TrialReturn): void {
    if (this.#runs.get(run.trialId) !== run) return;
    this.#runs.delete(run.trialId);
    const { experiment } = this.#options;
    if (run.ending?.kind === 'exploit') this.#start(experiment.table.get(run.trialId)!);
    else if (run.ending) experiment.end(run.trialId, { status: 'stopped', reason: run.ending.reason }, this.#nowMs());
    else experiment.end(run.trialId, { status: 'completed', metrics: result.kind === 'completed' ? result.metrics : null }, this.#nowMs());
    this.#pump();
  }

  #threw(run: Run, error: unknown): void {
    if (this.#runs.get(run.trialId) !== run) return;
    const code = error instanceof MusterError ? error.code : null;
    if (code && HOPELESS.has(code)) return this.#fail(error);
    if (run.ending) return this.#returned(run, { kind: 'ended' });
    this.#runs.delete(run.trialId);
    const { experiment } = this.#options;
    const cause = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    if (!code || !BROKE_OFF.has(code)) experiment.end(run.trialId, { status: 'failed', reason: cause }, this.#nowMs());
    else if (experiment.brokeOff(run.trialId, cause, this.#nowMs())) this.#start(experiment.table.get(run.trialId)!);
    this.#pump();
  }

  /** One call waits at the mailbox as long as the experiment runs. */
  async #takeReports(): Promise<void> {
    let again = false;
    while (this.#settle) {
      try {
        for (const message of await this.#mailbox!.take(again)) void this.#answer(message);
        again = false;
      } catch (error) {
        if (!(error instanceof MusterError && error.code === 'ACTOR_UNAVAILABLE')) return this.#fail(error);
        again = true; // it starts anew; trials report again
      }
    }
  }

  async #answer(message: TrialMessage): Promise<void> {
    const key = keyOf(message);
    if (this.#answering.has(key)) return;
    this.#answering.add(key);
    try {
      const decision = await this.#decide(message);
      const answer: TrialAnswer = { kind: decision.kind === 'continue' ? 'continue' : 'end', reason: decision.reason };
      void get(this.#mailbox!.answer.remote(key, answer)).catch(() => {}); // where it was lost with the mailbox, the trial reports again
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#answering.delete(key);
    }
  }

  /** The answer to a report, written down. */
  async #decide({ trialId, launch, step, metrics, checkpoint }: TrialMessage): Promise<RecordedDecision> {
    const { checkpoints, experiment } = this.#options;
    const run = this.#runs.get(trialId);
    const ofAnEarlierStart: RecordedDecision = { kind: 'stop', reason: 'the trial was started again elsewhere' };
    if (run?.launch !== launch) return ofAnEarlierStart;
    if (run.ending) return run.ending;
    const row = experiment.table.get(trialId)!;
    const isNew = step > row.step;
    const hasCheckpoint = isNew && checkpoint !== null;
    if (hasCheckpoint) {
      await checkpoints.write(trialId, step, checkpoint instanceof Uint8Array ? checkpoint : await get(checkpoint.ref));
      if (this.#runs.get(trialId) !== run) return ofAnEarlierStart;
    }
    const earlier = row.checkpointStep;
    const decision = experiment.report({ trialId, step, metrics, hasCheckpoint }, this.#nowMs());
    if (earlier > 0 && row.checkpointStep !== earlier) checkpoints.drop(trialId, earlier);
    if (decision.kind !== 'continue') run.ending = decision;
    return decision;
  }

  #timeIsUp(): void {
    const reason = this.#options.experiment.whyStop(this.#nowMs()) ?? 'the time budget is used up';
    this.#over ??= { reason };
    for (const run of this.#runs.values()) {
      run.ending ??= { kind: 'stop', reason };
      cancelWithGrace(run.ref);
    }
    this.#pump();
  }

  /** What goes wrong here ends the experiment, and not the program. */
  #guard(act: () => void): void {
    if (!this.#settle) return;
    try {
      act();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#settle?.reject(error);
  }

  /** After a failure trials may run still. Their fate is not written down: they go on when the experiment is resumed. */
  async #endAll(): Promise<void> {
    const refs = [...this.#runs.values()].map(({ ref }) => ref);
    this.#runs.clear();
    for (const ref of refs) cancelWithGrace(ref);
    await Promise.allSettled(refs.map((ref) => get(ref)));
  }
}

/** Asks a task to end by its signal, and ends its worker where it does not. */
function cancelWithGrace(ref: ObjectRef): void {
  cancel(ref, { force: false });
  const timer = setTimeout(() => cancel(ref, { force: true }), STOP_GRACE_MS);
  const settled = (): void => clearTimeout(timer);
  get(ref).then(settled, settled);
}
