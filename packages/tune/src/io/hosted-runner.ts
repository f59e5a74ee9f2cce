/**
 * Trials with processes of their own: an actor for each, or a gang. They are made anew for every attempt, because what a dead process leaves behind in others, such
 * as half of a collective operation, is nothing to go on with; a trial that takes over from another one stays where it is.
 */
import { formatDurationMs, makeError } from '@muster/base';
import { actor, gang, kill, MusterError, type ActorHandle, type ActorOptions, type ErrorCode, type GangOptions } from '@muster/core';
import { setTimeout as sleep } from 'node:timers/promises';
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
  const start = (launch: TrialLaunch): TrialProcess => new HostedTrial({ launch, start, options, hosts: makeHosts() });
  return { start };
}

interface HostedTrialParts {
  readonly launch: TrialLaunch;
  readonly start: (launch: TrialLaunch) => TrialProcess;
  readonly options: HostedOptions;
  readonly hosts: Promise<Hosts>;
}

class HostedTrial implements TrialProcess {
  readonly done: Promise<TrialReturn>;
  readonly #parts: HostedTrialParts;
  /** The ranks, when there are all of them. */
  #hosts: Hosts | null = null;
  #giveUp: (error: Error) => void = () => {};
  #stopTimer: NodeJS.Timeout | undefined;
  /** A rank did not end with rank 0: its host is of no use any more. */
  #isStuck = false;

  constructor(parts: HostedTrialParts) {
    this.#parts = parts;
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
    const { start, options, hosts } = this.#parts;
    if (!this.#isStuck) return new HostedTrial({ launch, start, options, hosts });
    void this.release();
    return start(launch);
  }

  /** Those that are not there yet are ended when they are. */
  async release(): Promise<void> {
    const killed = this.#parts.hosts.then(({ handle }) => kill(handle)).catch(() => {}); // never there, or gone with the cluster
    if (this.#hosts !== null) await killed;
  }

  get #name(): string {
    return `trial ${this.#parts.launch.trialId}`;
  }

  async #run(): Promise<TrialReturn> {
    const { launch, hosts, options: { mailbox, timeoutMs } } = this.#parts;
    this.#hosts = await hosts;
    const timer = timeoutMs === null ? undefined : setTimeout(() => this.#giveUp(makeError('TIMEOUT', { what: this.#name, limit: formatDurationMs(timeoutMs) })), timeoutMs);
    try {
      return await this.#endOf(this.#hosts.ranks.map((rank) => rank.run(launch as never, mailbox as never)));
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
      if (others.length > 0) await this.#letEnd(others);
      return result;
    } catch (error) {
      if (others.length > 0 && !isDeath(error)) await Promise.race([Promise.allSettled(ranks), sleep(DEATH_WAIT_MS, null, { ref: false })]);
      throw errors.find(isDeath) ?? error;
    }
  }

  async #letEnd(others: readonly Promise<TrialReturn>[]): Promise<void> {
    const ended = Promise.allSettled(others).then(() => true);
    if (await Promise.race([ended, sleep(FOLLOW_MS, false, { ref: false })])) return;
    this.#tellToStop('rank 0 has ended');
    this.#isStuck = !(await Promise.race([ended, sleep(STOP_GRACE_MS, false, { ref: false })]));
  }

  #tellToStop(reason: string): void {
    for (const rank of this.#hosts!.ranks) rank.stop(reason).catch(() => {}); // it is dead, then
  }
}

const DEATHS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['ACTOR_DIED', 'GANG_DIED', 'NODE_DIED', 'WORKER_DIED']);
const isDeath = (error: unknown): boolean => error instanceof MusterError && DEATHS.has(error.code);
