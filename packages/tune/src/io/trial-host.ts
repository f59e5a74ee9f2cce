/**
 * The worker's side of a trial that has a process of its own, or several: an actor, one for each rank. An instance of the user's class lives as long as the
 * actor, so that a trial which takes over from another one goes on in place.
 */
import { makeError } from '@muster/base';
import { context, type ActorHandle } from '@muster/core';
import { isTrainableClass, type SteppedTrial, type Trainable, type TrainableClass, type Trial } from '../trial.js';
import type { Mailbox } from './mailbox.js';
import { metricsOf, runTrial, type TrialLaunch, type TrialReturn } from './trial-task.js';

/** The actor's class. */
export class TrialHost {
  readonly #trainable: Trainable<never> | TrainableClass<never>;
  #instance: SteppedTrial<never> | null = null;
  #stop = new AbortController();

  constructor(trainable: Trainable<never> | TrainableClass<never>) {
    this.#trainable = trainable;
  }

  /** Runs the trial, or goes on with it, until it ends or shall end. @throws what the user's code throws */
  async run(launch: TrialLaunch, mailbox: ActorHandle<Mailbox>): Promise<TrialReturn> {
    this.#stop = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, context().signal]);
    const rank = context().gang?.rank ?? 0;
    const trainable = this.#trainable;
    const run: Trainable<never> = isTrainableClass(trainable) ? (config, trial) => this.#makeSteps(trainable, config, { trial, rank, launch }) : trainable;
    return runTrial(run, launch, { mailbox, signal, rank });
  }

  /** Aborts the trial's signal. */
  stop(reason: string): void {
    this.#stop.abort(new DOMException(reason, 'AbortError'));
  }

  async #makeSteps(Class: TrainableClass<never>, config: never, { trial, rank, launch }: { readonly trial: Trial; readonly rank: number; readonly launch: TrialLaunch }): Promise<void> {
    const { id, attempt, signal, checkpoint, startEpoch } = trial;
    const instance = (this.#instance ??= new Class(config));
    if (checkpoint !== null) {
      if (!instance.load) throw makeError('INVALID_ARGUMENT', { what: `the class ${Class.name}, which has save()`, want: 'one that has load(checkpoint, config), too' });
      await instance.load(checkpoint as never, config);
    }
    for (let step = startEpoch + 1; ; step++) {
      const metrics = metricsOf(await instance.step({ id, attempt, signal, step }), launch.objectives);
      if (metrics === null) return;
      const state = rank === 0 ? await instance.save?.() : undefined;
      await trial.report(metrics, state === undefined || state === null ? { step } : { step, checkpoint: state });
    }
  }
}
