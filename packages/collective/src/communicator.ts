/** What users call: one rank's end of a communicator. */
import type { Communicator as NativeCommunicator, CommunicatorCall } from '@muster/native';
import { callSite } from './call-site.js';
import { nativeCall, type CallOptions, type CallRequest, type Kind, type RankPlace, type ReduceOptions } from './calls.js';
import { invalid, type CallArray } from './elements.js';
import { userError } from './failure.js';

/** One for all: most small calls have ended when they return. */
const DONE = Promise.resolve();

/** The calls of a communicator, of which a group takes several at once. `R`: what one call returns. */
abstract class Calls<R> {
  abstract readonly rank: number;
  abstract readonly size: number;
  /** Whether each call is told with its place in users' code. */
  abstract readonly debug: boolean;

  /** @throws MusterError INVALID_ARGUMENT */
  protected abstract make(request: CallRequest): R;

  /** The call for the native core; made right below the public method. @throws MusterError INVALID_ARGUMENT */
  protected nativeCall(request: CallRequest): CommunicatorCall {
    return nativeCall(this.debug ? { ...request, site: callSite(this[request.kind]) } : request, this);
  }

  /** Reduces each element over all ranks. In place, or into `target`, of the same length. */
  allReduce(source: CallArray, options: ReduceOptions & { readonly target?: CallArray } = {}): R {
    return this.make({ kind: 'allReduce', source, target: options.target ?? source, options, peer: 0 });
  }

  /** As {@link allReduce}, for the rank `root` alone; others' targets are not touched. */
  reduce(source: CallArray, options: ReduceOptions & { readonly root?: number; readonly target?: CallArray } = {}): R {
    return this.make({ kind: 'reduce', source, target: options.target ?? source, options, peer: options.root ?? 0 });
  }

  /** `source` has a part for each rank; `target` gets the reduction of this rank's part, which may lie in the source itself. */
  reduceScatter(source: CallArray, target: CallArray, options: ReduceOptions = {}): R {
    return this.make({ kind: 'reduceScatter', source, target, options, peer: 0 });
  }

  /** `target` gets every rank's source, in the order of ranks. The source may be this rank's part of the target. */
  allGather(source: CallArray, target: CallArray, options: CallOptions = {}): R {
    return this.make({ kind: 'allGather', source, target, options, peer: 0 });
  }

  /** Every rank's array gets the contents of the root's. */
  broadcast(array: CallArray, options: CallOptions & { readonly root?: number } = {}): R {
    return this.make({ kind: 'broadcast', source: array, target: array, options, peer: options.root ?? 0 });
  }

  /** Part r of `source` becomes, at rank r, part `rank` of its `target`. The two may be the same. */
  allToAll(source: CallArray, target: CallArray, options: CallOptions = {}): R {
    return this.make({ kind: 'allToAll', source, target, options, peer: 0 });
  }

  /** Ends when every rank has begun it. */
  barrier(): R {
    return this.make({ kind: 'barrier', source: null, target: null, options: {}, peer: 0 });
  }

  /** To the rank `to`, which receives. A small message does not wait for that. */
  send(source: CallArray, options: CallOptions & { readonly to: number }): R {
    return this.make({ kind: 'send', source, target: null, options, peer: options.to });
  }

  /** From the rank `from`, in the order of its sends: of as many elements as the target has. */
  recv(target: CallArray, options: CallOptions & { readonly from: number }): R {
    return this.make({ kind: 'recv', source: null, target, options, peer: options.from });
  }
}

/** What a group may hold: the calls of a communicator, which say nothing of their end. */
export type Group = Pick<Calls<void>, Kind>;

class CollectedGroup extends Calls<void> {
  readonly #calls: CommunicatorCall[] = [];
  #isTaken = false;
  readonly rank: number;
  readonly size: number;
  readonly debug: boolean;

  constructor({ rank, size, debug }: RankPlace & { readonly debug: boolean }) {
    super();
    this.rank = rank;
    this.size = size;
    this.debug = debug;
  }

  /** What was collected; no call can follow. */
  take(): readonly CommunicatorCall[] {
    this.#isTaken = true;
    return this.#calls;
  }

  protected override make(request: CallRequest): void {
    if (this.#isTaken) throw invalid(`${request.kind} of a group that was made`, 'called before the function that collects the group returns');
    this.#calls.push(this.nativeCall(request));
  }
}

/** Calls that return when they are done, and throw what their promises would be rejected with. */
export type BlockingCalls = Pick<Calls<void>, Kind>;

class BlockingOnThread extends Calls<void> {
  readonly #native: NativeCommunicator;
  readonly #id: string;
  readonly rank: number;
  readonly size: number;
  readonly debug: boolean;

  constructor(native: NativeCommunicator, { id, rank, size, debug }: RankPlace & { readonly id: string; readonly debug: boolean }) {
    super();
    this.#native = native;
    this.#id = id;
    this.rank = rank;
    this.size = size;
    this.debug = debug;
  }

  protected override make(request: CallRequest): void {
    try {
      this.#native.run(...this.nativeCall(request));
    } catch (error) {
      throw userError(error, this.#id);
    }
  }
}

/** Which way allReduce of GPU memory goes. */
export interface DeviceWay {
  /**
   * 'shared': the ranks are on one GPU, one kernel reads all their numbers. 'peer': their GPUs read each other's memory. 'nccl': by that library. 'staged': through host memory,
   * as all other calls go.
   */
  readonly way: 'shared' | 'peer' | 'nccl' | 'staged';
  /** Why it is staged; null where it is not. */
  readonly reason: string | null;
}

/**
 * Every rank makes the same calls in the same order, and may make the next before the last has ended. Arrays belong to the call until its
 * promise settles: they must be neither changed, nor read if they are its target, nor transferred before.
 *
 * Memory on a GPU goes as arrays do: a call comes after what its stream has, and what is put into the stream after the promise has settled comes behind the result.
 *
 * Whatever ends a call wrongly, a rank that died, came late, made another call or aborted, ends every rank's calls with a CollectiveError
 * that says which, and every call after it: close the communicator then and make a new one.
 *
 * @example
 * const communicator = await collective(context().gang);
 * await communicator.allReduce(gradients, { op: 'average' });
 */
export class Communicator extends Calls<Promise<void>> {
  readonly #native: NativeCommunicator;
  readonly #onClose: () => void;
  readonly id: string;
  readonly rank: number;
  readonly size: number;
  readonly debug: boolean;
  /** The same calls for code that cannot wait for promises: they hold the thread until they are done, after those that were made before. */
  readonly blocking: BlockingCalls;

  /** Use createCommunicator or collective. */
  constructor(native: NativeCommunicator, { id, rank, size, debug }: RankPlace & { readonly id: string; readonly debug: boolean }, onClose = (): void => {}) {
    super();
    this.blocking = new BlockingOnThread(native, { id, rank, size, debug });
    this.#native = native;
    this.#onClose = onClose;
    this.id = id;
    this.rank = rank;
    this.size = size;
    this.debug = debug;
  }

  protected override make(request: CallRequest): Promise<void> {
    try {
      return this.#ended(this.#native.call(...this.nativeCall(request)));
    } catch (error) {
      return Promise.reject(this.#userError(error));
    }
  }

  /**
   * Several calls in one: the collective ones in their order, and then all sends and receives at the same time, so that ranks may send to each other.
   * `collect` makes them on the group before it returns.
   * @throws as each of the calls
   * @example
   * await communicator.group((group) => {
   *   group.send(mine, { to: next });
   *   group.recv(theirs, { from: previous });
   * });
   */
  async group(collect: (group: Group) => void): Promise<void> {
    const group = new CollectedGroup(this);
    const returned: unknown = collect(group);
    if (returned instanceof Promise) {
      returned.catch(() => {}); // of calls that come too late, which this one's error tells of
      group.take();
      throw invalid('the function that collects a group', 'one that makes all its calls before it returns, and no promise');
    }
    try {
      await this.#native.group(group.take());
    } catch (error) {
      throw this.#userError(error);
    }
  }

  /** Ends the calls of all ranks, which are told the reason. */
  abort(reason: string): void {
    this.#native.abort(reason);
  }

  /**
   * Which way allReduce of GPU memory goes, for messages and logs. It is chosen by all ranks with the first such call, of f32, f16 or bf16 and no product; null before.
   */
  get deviceWay(): DeviceWay | null {
    const [way, reason = ''] = this.#native.deviceWay() ?? [];
    return way === undefined ? null : { way, reason: reason === '' ? null : reason };
  }

  /** Leaves: the last call of every rank. What is pending fails at all ranks. Closing twice is fine. A process whose GPU memory others look into lives until they have closed, too, or time is up. */
  close(): void {
    this.#onClose();
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #ended(promise: Promise<void> | undefined): Promise<void> {
    return promise === undefined ? DONE : promise.catch((error: unknown) => Promise.reject(this.#userError(error)));
  }

  #userError(error: unknown): Error {
    return userError(error, this.id);
  }
}
