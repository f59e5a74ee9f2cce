/**
 * Trials on actors or gangs. A trial that takes over from another one stays where it is; one that ends leaves its processes to the next that begins at once, because
 * to start them costs more than many a trial. What failed or was cut off takes its processes with it: nobody knows in what state they are.
 */
import { formatDurationMs, makeError } from '@muster/base';
import { actor, gang, kill, MusterError, type ActorHandle, type ActorOptions, type ErrorCode, type GangOptions } from '@muster/core';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Trainable, TrainableClass } from '../trial.js';
import type { Mailbox } from './mailbox.js';
import { TrialHost } from './trial-host.js';
import { STOP_GRACE_MS, type TrialProcess, type TrialRunner } from './trial-runner.js';
import type { TrialLaunch, TrialReturn } from './trial-task.js';

/** A rank whose peer has died often complains before the death itself is known: so long its word is not the last. */
const DEATH_WAIT_MS = 2_000;

/** Ranks end within so long of rank 0, or are told to. */
const FOLLOW_MS = 500;

/** What runs a trial's ranks. */
interface Hosts {
  readonly ranks: readonly ActorHandle<TrialHost>[];
  readonly handle: Parameters<typeof kill>[0];
}

/** How trials are hosted. */
export interface HostedOptions {
  readonly trainable: Trainable<never> | TrainableClass<never>;
  readonly mailbox: ActorHandle<Mailbox>;
  /** A gang for each trial, or an actor. */
  readonly place: { readonly gang: GangOptions } | { readonly actor: ActorOptions };
  /** Of one attempt, from when all of its ranks are there; null: no limit. */
  readonly timeoutMs: number | null;
}

/** Two calls at once: the run, and the word to stop it. */
const HOST_CALLS = 2;

/** Starts trials as actors or gangs. */
export function hostedRunner(options: HostedOptions): TrialRunner {
  const { trainable, place } = options;
  const makeHosts = 'gang' in place
    ? async (): Promise<Hosts> => {
        const handle = await gang(TrialHost, { ...place.gang, maxConcurrency: HOST_CALLS }).create(trainable);
        return { handle, ranks: handle.members };
      }
    : async (): Promise<Hosts> => {
        const handle = await actor(TrialHost, { ...place.actor, maxConcurrency: HOST_CALLS }).create(trainable);
        return { handle, ranks: [handle] };
      };
  return new HostedRunner(options, makeHosts);
}

class HostedRunner implements TrialRunner {
  readonly options: HostedOptions;
  readonly #makeHosts: () => Promise<Hosts>;
  /** What a trial has left within this turn. */
  readonly #idle: Promise<Hosts>[] = [];

  constructor(options: HostedOptions, makeHosts: () => Promise<Hosts>) {
    this.options = options;
    this.#makeHosts = makeHosts;
  }

  start(launch: TrialLaunch): TrialProcess {
    return new HostedTrial(this, launch, this.#idle.pop() ?? this.#makeHosts());
  }

  /** Keeps hosts for a trial that begins in the same turn. Resolves when there is one, or they are ended: nothing is held for a trial that may come. */
  async giveBack(hosts: Promise<Hosts>): Promise<void> {
    this.#idle.push(hosts);
    await nextTurn();
    const place = this.#idle.indexOf(hosts);
    if (place < 0) return;
    this.#idle.splice(place, 1);
    await end(hosts);
  }
}

/** Those that are not there yet are ended when they are. */
async function end(hosts: Promise<Hosts>): Promise<void> {
  await hosts.then(({ handle }) => kill(handle)).catch(() => {}); // never there, or gone with the cluster
}

class HostedTrial implements TrialProcess {
  readonly done: Promise<TrialReturn>;
  readonly #runner: HostedRunner;
  readonly #launch: TrialLaunch;
  readonly #coming: Promise<Hosts>;
  /** The ranks, when there are all of them. */
  #hosts: Hosts | null = null;
  #giveUp: (error: Error) => void = () => {};
  #stopTimer: NodeJS.Timeout | undefined;
  /** All ranks have ended by themselves. */
  #isReusable = false;

  constructor(runner: HostedRunner, launch: TrialLaunch, hosts: Promise<Hosts>) {
    this.#runner = runner;
    this.#launch = launch;
    this.#coming = hosts;
    const gaveUp = new Promise<never>((_, reject) => { this.#giveUp = reject; });
    this.done = Promise.race([this.#run(), gaveUp]).finally(() => clearTimeout(this.#stopTimer));
    this.done.catch(() => {});
  }

  stop(reason: string): void {
    const cancelled = makeError('TASK_CANCELLED', { what: this.#name, why: ` (${reason})` });
    if (this.#hosts === null) return this.#giveUp(cancelled);
    this.#tellToStop(reason);
    this.#stopTimer ??= setTimeout(() => this.#giveUp(cancelled), STOP_GRACE_MS);
  }

  goOn(launch: TrialLaunch): TrialProcess {
    if (this.#isReusable) return new HostedTrial(this.#runner, launch, this.#coming);
    void this.release();
    return this.#runner.start(launch);
  }

  async release(): Promise<void> {
    if (this.#isReusable) return this.#runner.giveBack(this.#coming);
    const ended = end(this.#coming);
    if (this.#hosts !== null) await ended;
  }

  get #name(): string {
    return `trial ${this.#launch.trialId}`;
  }

  async #run(): Promise<TrialReturn> {
    const { mailbox, timeoutMs } = this.#runner.options;
    this.#hosts = await this.#coming;
    const timer = timeoutMs === null ? undefined : setTimeout(() => this.#giveUp(makeError('TIMEOUT', { what: this.#name, limit: formatDurationMs(timeoutMs) })), timeoutMs);
    try {
      return await this.#endOf(this.#hosts.ranks.map((rank) => rank.run(this.#launch as never, mailbox as never)));
    } finally {
      clearTimeout(timer);
    }
  }

  /** The trial ends with rank 0; it fails with any rank that fails before. */
  async #endOf(ranks: readonly Promise<TrialReturn>[]): Promise<TrialReturn> {
    const [first, ...others] = ranks;
    const errors: unknown[] = [];
    for (const rank of ranks) rank.catch((error: unknown) => errors.push(error));
    const othersEnd = Promise.all(others);
    try {
      const result = await Promise.race([first!, othersEnd.then(() => first!)]);
      this.#isReusable = others.length === 0 || (await this.#letEnd(others));
      return result;
    } catch (error) {
      if (others.length > 0 && !isDeath(error)) await Promise.race([Promise.allSettled(ranks), sleep(DEATH_WAIT_MS, null, { ref: false })]);
      throw errors.find(isDeath) ?? error;
    }
  }

  /** Whether they did, without an error. */
  async #letEnd(others: readonly Promise<TrialReturn>[]): Promise<boolean> {
    const ended = Promise.all(others).then(() => true, () => false);
    const soon = await Promise.race([ended, sleep(FOLLOW_MS, null, { ref: false })]);
    if (soon !== null) return soon;
    this.#tellToStop('rank 0 has ended');
    return Promise.race([ended, sleep(STOP_GRACE_MS, false, { ref: false })]);
  }

  #tellToStop(reason: string): void {
    for (const rank of this.#hosts!.ranks) rank.stop(reason).catch(() => {}); // it is dead, then
  }
}

const DEATHS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['ACTOR_DIED', 'GANG_DIED', 'NODE_DIED', 'WORKER_DIED']);
const isDeath = (error: unknown): boolean => error instanceof MusterError && DEATHS.has(error.code);
