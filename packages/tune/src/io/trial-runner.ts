/** How trials are put on the cluster: what all ways of it have in common, and the simplest one, a task for each start of a trial. */
import { cancel, context, get, remote, type ActorHandle, type TaskOptions } from '@muster/core';
import type { Trainable } from '../trial.js';
import type { Mailbox } from './mailbox.js';
import { runTrial, type TrialLaunch, type TrialReturn } from './trial-task.js';

/** A trial that is to stop may save what it likes for so long; then its processes are ended. */
export const STOP_GRACE_MS = 5_000;

/** One start of a trial, from its wait for room to its end. While it waits it holds nothing. */
export interface TrialProcess {
  /** How the user's code ended. @throws what it threw, what its processes died of, why they cannot be placed */
  readonly done: Promise<TrialReturn>;
  /** Tells it to end by its signal, and ends its processes where it does not in time. `done` settles soon. */
  stop(reason: string): void;
  /** After `done`: goes on where it is, in the same processes if it has some of its own. */
  goOn(launch: TrialLaunch): TrialProcess;
  /** After `done`: gives up what it has. Resolves when that is free. */
  release(): Promise<void>;
}

/** Starts trials. */
export interface TrialRunner {
  start(launch: TrialLaunch): TrialProcess;
}

/** Every start of a trial is a task: processes are shared by trials one after another, so that a start costs less than a millisecond. */
export function taskRunner(trainable: Trainable<never>, options: TaskOptions, mailbox: ActorHandle<Mailbox>): TrialRunner {
  const task = remote((launch: TrialLaunch, mailbox: ActorHandle<Mailbox>) => runTrial(trainable, launch, { mailbox, signal: context().signal, rank: 0 }), options);
  const start = (launch: TrialLaunch): TrialProcess => {
    const ref = task.remote(launch, mailbox as never);
    return { done: get(ref), stop: () => cancel(ref, { graceMs: STOP_GRACE_MS }), goOn: start, release: async () => {} };
  };
  return { start };
}
