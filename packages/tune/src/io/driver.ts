/**
 * Runs an experiment on the cluster: starts trials while there is room, takes their reports from the mailbox, and writes everything down through the log. What is
 * decided is the experiment's; what is shown is the loggers'.
 */
import { actor, get, kill, MusterError, type ActorHandle, type ErrorCode } from '@muster/core';
import { outcomeOf, type Experiment } from '../machine/experiment.js';
import type { RecordedDecision } from '../machine/records.js';
import type { TrialRow } from '../machine/trial-table.js';
import type { ResolvedOptions } from '../options.js';
import type { Trainable, TrainableClass } from '../trial.js';
import type { Checkpoints } from './checkpoints.js';
import { hostedRunner } from './hosted-runner.js';
import { keyOf, Mailbox, type TrialAnswer, type TrialMessage } from './mailbox.js';
import { RoomWatch } from './room.js';
import { taskRunner, type TrialProcess, type TrialRunner } from './trial-runner.js';
import type { TrialLaunch, TrialReturn } from './trial-task.js';

/** What a driver is made of. */
export interface DriverOptions {
  readonly trainable: Trainable<never> | TrainableClass<never>;
  readonly experiment: Experiment;
  readonly checkpoints: Checkpoints;
  readonly options: ResolvedOptions;
  /** Milliseconds in which the experiment was run before. */
  readonly elapsedMs: number;
  readonly warn: (text: string) => void;
}

/** A trial that runs. */
interface Run {
  readonly trialId: string;
  readonly launch: number;
  readonly process: TrialProcess;
  /** What it was told, when it was told to end. */
  ending: RecordedDecision | null;
  /** Ends it when it does not end by itself. */
  endTimer: NodeJS.Timeout | null;
}

/** What a trial may do yet that was told at its report to end, such as an evaluation; then it is told by its signal, too, and soon ended. */
const END_MS = 10_000;

/** The trial broke off through no fault of its own. */
const BROKE_OFF: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['WORKER_DIED', 'NODE_DIED', 'OBJECT_LOST', 'OWNER_DIED', 'ACTOR_DIED', 'GANG_DIED', 'ACTOR_UNAVAILABLE', 'PREEMPTED']);
/** No trial could be run. */
const HOPELESS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UNSCHEDULABLE', 'CAPTURE', 'AUTHENTICATION', 'NOT_CONNECTED', 'VERSION_MISMATCH']);

/** One run of an experiment. */
export class Driver {
  readonly #parts: DriverOptions;
  readonly #startedMs = performance.now();
  readonly #runs = new Map<string, Run>();
  readonly #answering = new Set<string>();
  /** What is given up while trials go on: kills on their way. */
  readonly #releases = new Set<Promise<void>>();
  #runner: TrialRunner | null = null;
  #mailbox: ActorHandle<Mailbox> | null = null;
  #room: number;
  #launches = 0;
  #over: { readonly reason: string } | null = null;
  #settle: { readonly resolve: (reason: string) => void; readonly reject: (error: unknown) => void } | null = null;

  constructor(parts: DriverOptions) {
    this.#parts = parts;
    this.#room = parts.options.maxConcurrent ?? 0;
  }

  /**
   * Resolves with why the experiment is over, when no trial runs any more.
   * @throws STORAGE, UNSCHEDULABLE, CAPTURE; the signal's reason; what a searcher, a scheduler or a constraint throws. No trial runs any more then, either
   */
  async run(): Promise<string> {
    const { experiment, options: { signal, budget, maxConcurrent, demand, size } } = this.#parts;
    signal?.throwIfAborted();
    const interrupted = experiment.interrupted(this.#nowMs());
    // Of an experiment that was run before and has no trial to go on with, the log may be the whole answer: then no cluster is needed, or started.
    const first = interrupted.length === 0 && experiment.table.begun > 0 ? experiment.next(this.#nowMs()) : null;
    if (first?.kind === 'finished') {
      experiment.finish(first.reason, this.#nowMs());
      return first.reason;
    }
    this.#mailbox = await actor(Mailbox, { cpus: 0, maxRestarts: -1, maxConcurrency: 100_000 }).create();
    this.#runner = this.#makeRunner(this.#mailbox);
    const roomWatch = maxConcurrent === null ? new RoomWatch({ demand, size, changed: (room) => this.#guard(() => this.#roomIs(room)) }) : null;
    const aborted = (): void => this.#fail(signal!.reason);
    signal?.addEventListener('abort', aborted, { once: true });
    const leftMs = budget.timeMs - this.#nowMs();
    const budgetTimer = Number.isFinite(leftMs) ? setTimeout(() => this.#guard(() => this.#timeIsUp()), Math.max(0, leftMs)) : null;
    try {
      return await new Promise<string>((resolve, reject) => {
        this.#settle = { resolve, reject };
        void this.#takeReports();
        this.#guard(() => {
          for (const row of interrupted) this.#start(row);
          if (first?.kind === 'start') this.#start(first.trial);
          if (roomWatch === null) this.#pump();
        });
        roomWatch?.begin().catch(reject);
      });
    } finally {
      this.#settle = null;
      roomWatch?.close();
      signal?.removeEventListener('abort', aborted);
      if (budgetTimer) clearTimeout(budgetTimer);
      await this.#endAll();
      await kill(this.#mailbox).catch(() => {}); // it may have died with the cluster
    }
  }

  #makeRunner(mailbox: ActorHandle<Mailbox>): TrialRunner {
    const { trainable, options: { place, trialTimeoutMs: timeoutMs } } = this.#parts;
    return 'task' in place ? taskRunner(trainable as Trainable<never>, place.task, mailbox) : hostedRunner({ trainable, mailbox, place, timeoutMs });
  }

  #nowMs(): number {
    return Math.round(this.#parts.elapsedMs + performance.now() - this.#startedMs);
  }

  /** Trials that run go on, also when there is less room. */
  #roomIs(room: number): void {
    this.#room = room;
    this.#pump();
  }

  /** Starts trials while there is room. */
  #pump(): void {
    const { experiment } = this.#parts;
    while (!this.#over && this.#runs.size < this.#room) {
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

  /** `from`: the process of the same trial that is to go on. */
  #start(row: TrialRow, from: TrialProcess | null = null): void {
    const { checkpoints, experiment, options: { objectives, size }, warn } = this.#parts;
    const checkpoint = row.checkpointStep === 0 ? null : checkpoints.read(row.id, row.checkpointStep);
    if (row.checkpointStep > 0 && checkpoint === null) warn(`the checkpoint of trial ${row.id} at step ${row.checkpointStep} is missing: the trial starts from its beginning, and its first steps are not decided again`);
    const startEpoch = checkpoint === null ? 0 : row.checkpointStep;
    const launch: TrialLaunch = {
      trialId: row.id, launch: ++this.#launches, attempt: row.attempt, config: experiment.configOf(row.id), startEpoch, objectives, size, checkpoint,
    };
    const run: Run = { trialId: row.id, launch: launch.launch, process: from ? from.goOn(launch) : this.#runner!.start(launch), ending: null, endTimer: null };
    this.#runs.set(row.id, run);
    run.process.done.then((result) => this.#guard(() => this.#returned(run, result)), (error: unknown) => this.#guard(() => this.#threw(run, error)));
  }

  #returned(run: Run, result: TrialReturn): void {
    if (this.#runs.get(run.trialId) !== run) return;
    clearTimeout(run.endTimer ?? undefined);
    const { experiment } = this.#parts;
    if (run.ending?.kind === 'exploit') return this.#start(experiment.table.get(run.trialId)!, run.process);
    this.#release(run);
    if (run.ending) experiment.end(run.trialId, outcomeOf(run.ending), this.#nowMs());
    else experiment.end(run.trialId, { status: 'completed', metrics: result.kind === 'completed' ? result.metrics : null }, this.#nowMs());
    this.#pump();
  }

  #threw(run: Run, error: unknown): void {
    if (this.#runs.get(run.trialId) !== run) return;
    clearTimeout(run.endTimer ?? undefined);
    const code = error instanceof MusterError ? error.code : null;
    if (code && HOPELESS.has(code)) return this.#fail(error);
    if (run.ending && run.ending.kind !== 'exploit') return this.#returned(run, { kind: 'ended' });
    this.#release(run);
    const { experiment } = this.#parts;
    const cause = error instanceof Error ? `${error.name}: ${error.message}` : `it threw ${String(error)}`;
    if (!code || !BROKE_OFF.has(code)) experiment.end(run.trialId, { status: 'failed', reason: cause }, this.#nowMs());
    else if (experiment.brokeOff(run.trialId, cause, this.#nowMs())) this.#start(experiment.table.get(run.trialId)!);
    this.#pump();
  }

  #release({ trialId, process }: Run): void {
    this.#runs.delete(trialId);
    const released = process.release();
    this.#releases.add(released);
    void released.finally(() => this.#releases.delete(released));
    if (this.#parts.options.size > 1) void get(this.#mailbox!.forget.remote(trialId)).catch(() => {}); // it has forgotten, then
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
      void get(this.#mailbox!.answer.remote({ trialId: message.trialId, launch: message.launch, step: message.step }, answer)).catch(() => {}); // where it was lost with the mailbox, the trial reports again
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#answering.delete(key);
    }
  }

  /** The answer to a report, written down. */
  async #decide({ trialId, launch, step, metrics, checkpoint }: TrialMessage): Promise<RecordedDecision> {
    const { checkpoints, experiment } = this.#parts;
    const run = this.#runs.get(trialId);
    const ofAnEarlierStart: RecordedDecision = { kind: 'stop', reason: 'the trial was started again elsewhere' };
    if (run?.launch !== launch) return ofAnEarlierStart;
    if (run.ending) return run.ending;
    const row = experiment.table.get(trialId)!;
    const isNew = step > row.step;
    const hasCheckpoint = isNew && checkpoint !== null;
    if (hasCheckpoint) {
      const bytes = checkpoint instanceof Uint8Array ? checkpoint : await get(checkpoint.ref);
      if (this.#runs.get(trialId) !== run) return ofAnEarlierStart;
      await checkpoints.write(trialId, step, bytes);
      if (this.#runs.get(trialId) !== run) return ofAnEarlierStart;
    }
    const earlier = row.checkpointStep;
    const decision = experiment.report({ trialId, step, metrics, hasCheckpoint }, this.#nowMs());
    if (earlier > 0 && row.checkpointStep !== earlier) checkpoints.supersede({ trialId, step: earlier }, ({ trialId, step }) => experiment.needsCheckpoint(trialId, step));
    if (decision.kind !== 'continue') {
      run.ending = decision;
      run.endTimer = setTimeout(() => run.process.stop(`it was told to end ${END_MS / 1000} s ago`), END_MS).unref();
    }
    return decision;
  }

  #timeIsUp(): void {
    const reason = this.#parts.experiment.whyStop(this.#nowMs()) ?? 'the time budget is used up';
    this.#over ??= { reason };
    for (const run of this.#runs.values()) {
      run.ending ??= { kind: 'stop', reason };
      run.process.stop(reason);
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
    const processes = Array.from(this.#runs.values(), ({ process }) => process);
    for (const { endTimer } of this.#runs.values()) clearTimeout(endTimer ?? undefined);
    this.#runs.clear();
    for (const process of processes) process.stop('the experiment was broken off');
    await Promise.allSettled(processes.map(({ done }) => done));
    await Promise.allSettled([...this.#releases, ...processes.map((process) => process.release())]);
  }
}
