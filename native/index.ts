/**
 * What the native addon offers, in full: the only file that loads it. Offsets and sizes are bytes, integers from 0
 * to 2^53 - 1; offsets count from the arena's first byte of data. Whatever the arguments, a call either does what it
 * says or throws: it never faults.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Cuda, CudaArray } from './cuda.js';
import type { Kernels } from './kernels.js';
import type { TensorKernels } from './tensor-kernels.js';

export type * from './kernels.js';
export * from './tensor-kernels.js';

/**
 * The node's shared memory: one file under /dev/shm that the daemon creates, and that every process of the node opens.
 *
 * Memory stands behind a segment only while it is committed. Which bytes belong to whom is the callers' own agreement:
 * the arena allocates nothing. Keep the object for as long as anyone waits for its views' release.
 *
 * @example
 * const arena = Arena.create('/dev/shm/muster-node-1', 64 * SEGMENT_BYTES);   // the daemon
 * await arena.commitAsync(0, 4 * SEGMENT_BYTES);
 * Arena.open('/dev/shm/muster-node-1').write(128, bytes);                     // a process that puts
 * const floats = new Float32Array(Arena.open('/dev/shm/muster-node-1').view(128, bytes.length, 7)); // one that gets
 */
export interface Arena {
  readonly path: string;
  readonly sizeBytes: number;

  /**
   * Puts memory behind whole segments, as huge pages where the kernel can. Segments that have memory keep it as it is; new memory
   * reads as zeros. Concurrent commits and decommits must name disjoint ranges.
   * 100 MB take 7 to 12 ms where the machine has used the memory before, 100 to 300 ms where a hypervisor has to supply it.
   * @throws ArenaError ENOSPC when the file system is full; then nothing is committed that was not before.
   */
  commit(offset: number, sizeBytes: number): void;

  /** As {@link commit}, on a thread of libuv's pool. The arena may be closed meanwhile. */
  commitAsync(offset: number, sizeBytes: number): Promise<void>;

  /** Gives whole segments back to the machine. No view, reader or writer of them may be left in any process. */
  decommit(offset: number, sizeBytes: number): void;

  /** Copies `source` into the arena. @throws ArenaError ERR_ARENA_UNCOMMITTED unless the range is committed. */
  write(offset: number, source: Uint8Array): void;

  /** Fills `target` from the arena: a copy, faster than a view below about 16 KiB. @throws as {@link write} */
  read(offset: number, target: Uint8Array): void;

  /**
   * A range of the arena, read in place. Whoever writes to the buffer writes to private copies of its pages. Pages not written to
   * keep showing the arena, so the block may be reused only after the release of the view, which is when the buffer
   * was collected: from then on `token` is among {@link takeReleased}. The buffer stays valid after {@link close}.
   * The collector hurries for views only when they add up to more than an eighth of the arena, or 512 MiB. Where blocks run short
   * before that, make it.
   * @param sizeBytes 1 to VIEW_MAX_BYTES.
   * @throws as {@link write}, and ArenaError ERR_ARENA_VIEW_LIMIT when the process holds VIEW_LIMIT views: read a copy then.
   */
  view(offset: number, sizeBytes: number, token: number): ArrayBuffer;

  /**
   * The arena's own memory at a range, written and seen by every process at once: for counters, not for objects. The buffer stays valid
   * after {@link close}. @throws as {@link write}
   */
  share(offset: number, sizeBytes: number): ArrayBuffer;

  /** The tokens of all views that were collected since the last call, in no order. They queue up until they are taken. */
  takeReleased(): number[];

  /**
   * Has `listener` called, on this thread, when a first token is there to take, and not again before it was taken.
   * One collection releases many views: put off {@link takeReleased} with setImmediate, and one call takes them all.
   */
  setReleaseListener(listener: (() => void) | null): void;

  /** Unmaps the arena: calls that need its memory throw ERR_ARENA_CLOSED from now on. Views stay valid. Closing twice is fine. */
  close(): void;

  /** Removes the file's name. Processes that opened it keep it. A name that is gone already is fine. */
  unlink(): void;
}

/** How an {@link Arena} comes to be. */
export interface ArenaClass {
  /**
   * Makes the file, for this user alone. It costs no memory until it is committed.
   * @param sizeBytes a positive multiple of SEGMENT_BYTES.
   * @throws ArenaError EEXIST when the file exists, ENOSPC when its file system has less free than `sizeBytes`.
   */
  create(path: string, sizeBytes: number): Arena;

  /** Opens an arena that another process made. @throws ArenaError ENOENT, ERR_NOT_AN_ARENA */
  open(path: string): Arena;
}

/** Why an arena's call failed. The names in capitals without `ERR_` are the system's. */
export type ArenaErrorCode =
  | 'ERR_OUT_OF_RANGE' | 'ERR_ARENA_UNCOMMITTED' | 'ERR_ARENA_VIEW_LIMIT' | 'ERR_ARENA_CLOSED' | 'ERR_NOT_AN_ARENA'
  | 'EACCES' | 'EEXIST' | 'EINVAL' | 'EISDIR' | 'EMFILE' | 'ENAMETOOLONG' | 'ENFILE' | 'ENODEV' | 'ENOENT' | 'ENOMEM' | 'ENOSPC'
  | 'ENOTDIR' | 'EOPNOTSUPP' | 'EPERM' | 'EROFS' | 'EUNKNOWN';

/** What the calls above throw; for ERR_OUT_OF_RANGE it is a RangeError. Arguments of a wrong type are a plain TypeError. */
export interface ArenaError extends Error {
  readonly code: ArenaErrorCode;
  /** As in Node's own errors, negative; only for the system's codes. */
  readonly errno?: number;
  /** The native source's file and line, where it failed there. */
  readonly place?: string;
}

/**
 * One rank's end of a communicator, over the shared memory of a node and the network between nodes: see include/muster/collective.h for what each call does, and
 * packages/collective for how it is used. Numbers for kinds, dtypes and reductions are that header's.
 *
 * A call's memory is used in place until its promise settles: it must be neither detached nor resized before.
 */
export interface Communicator {
  /**
   * Makes one call. A small one for which the other ranks are there already ends within the call, which may hold this thread for up
   * to 10 us; with a `holdMs` one of any size among ranks of one node may hold it that long until the others make it, too, and is then made on it.
   * @returns undefined when it is done, or a promise of its end.
   * @throws CommunicatorError at once, or through the promise.
   */
  call(...call: CommunicatorCall): Promise<void> | undefined;

  /** Collective calls one after another, then all sends and receives at the same time. @returns and @throws as {@link call} */
  group(calls: readonly CommunicatorCall[]): Promise<void> | undefined;

  /** Makes one call after all that were made before, and returns when it is done: this thread waits for the other ranks. @throws CommunicatorError */
  run(...call: CommunicatorCall): void;

  /** Ends the calls of all ranks with ERR_COMMUNICATOR_ABORTED and this reason. */
  abort(reason: string): void;

  /**
   * Ends the calls of all ranks with ERR_RANK_GONE, for a rank whose end somebody else has noticed.
   * @throws CommunicatorError ERR_OUT_OF_RANGE
   */
  blame(rank: number, reason: string): void;

  /**
   * Which way allReduce of GPU memory goes, and why it is no better one: see src/addon/device-collective.h. Undefined before the first that a group of GPUs could make.
   */
  deviceWay(): readonly [way: 'shared' | 'peer' | 'nccl' | 'staged', reason: string] | undefined;

  /**
   * Leaves. Promises that are pending are rejected with ERR_COMMUNICATOR_ABORTED, at all ranks. A rank whose GPU memory others look into stays, with its process, until they leave,
   * too, or its time is up. Closing twice is fine.
   */
  close(): void;
}

/** `shape`: the call's kind, its dtype times 256 and its reduction times 65,536. `count`: elements, or elements of a part. `site`: where users' code makes the call, for messages. `holdMs`: from 0 to 1000, of a single call alone. */
export type CommunicatorCall = readonly [
  shape: number, peer: number, source: CallMemory | null, target: CallMemory | null, count: number, site?: string | undefined, holdMs?: number | undefined,
];

/** A GPU's memory goes with a GPU's memory: of one call, and of one device and stream in a group. */
export type CallMemory = NodeJS.TypedArray | CudaArray;

/** How a {@link Communicator} comes to be. */
export interface CommunicatorClass {
  /**
   * Meets the other ranks; resolves when all are there.
   * @param id agreed on among the ranks, used once: letters, digits, dots, hyphens and underscores.
   * @throws CommunicatorError through the promise.
   */
  open(id: string, rank: number, size: number, timeoutMs: number): Promise<Communicator>;

  /** Listens on a free port of this machine's numeric address `host`, until it is used or forgotten. @throws CommunicatorError */
  listen(host: string): Listener;

  /**
   * The same among ranks of several nodes. Uses up the listener.
   * @param key 32 bytes that all ranks know and nobody else does; it is never sent.
   * @param ranks by rank; nodes are counted from 0, and the ranks of one follow each other.
   * @param usesTls whether connections are encrypted: all ranks or none.
   */
  connect(
    id: string, rank: number, size: number, timeoutMs: number, listener: Listener, key: Uint8Array, ranks: readonly RankPlace[], usesTls: boolean,
  ): Promise<Communicator>;
}

/** Where ranks of other nodes connect. */
export interface Listener {
  readonly port: number;
}

/** Where a rank listens, by a numeric address, and on which node it is. */
export type RankPlace = readonly [host: string, port: number, node: number];

/** Why a communicator's call failed. Beside those of the system, of which ENOSPC says that /dev/shm is full. */
export type CommunicatorErrorCode =
  | 'ERR_OUT_OF_RANGE' | 'ERR_RANK_GONE' | 'ERR_RANK_TIMED_OUT' | 'ERR_CALL_MISMATCH' | 'ERR_COMMUNICATOR_ABORTED' | 'ERR_COMMUNICATOR_BUSY' | 'ERR_COMMUNICATOR_CLOSED'
  | 'ERR_DEVICE_UNAVAILABLE' | ArenaErrorCode;

/** What the calls above throw; for ERR_OUT_OF_RANGE it is a RangeError. Arguments of a wrong type are a plain TypeError. */
export interface CommunicatorError extends Error {
  readonly code: CommunicatorErrorCode;
  /** The rank that died, came late, made another call or aborted. */
  readonly rank?: number;
}

interface Addon {
  readonly Arena: ArenaClass;
  readonly Communicator: CommunicatorClass;
  readonly kernels: Kernels;
  readonly tensorKernels: TensorKernels;
  openCuda(path: string, isEmulated?: boolean): Cuda;
  readonly SEGMENT_BYTES: number;
  readonly VIEW_LIMIT: number;
  readonly VIEW_MAX_BYTES: number;
  viewCount(): number;
  dieWithParent(parentPid: number): void;
  memcpy(target: Uint8Array, source: Uint8Array): void;
}

function loadAddon(): Addon {
  const path = fileURLToPath(new URL('../build/Release/muster.node', import.meta.url));
  try {
    return createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause);
    throw new Error(`the native addon ${path} cannot be loaded: ${reason}. Build it with \`npm run build\`.`, { cause });
  }
}

const addon = loadAddon();

export const Arena: ArenaClass = addon.Arena;

export const Communicator: CommunicatorClass = addon.Communicator;
/** The arithmetic of mixed-precision training on the CPU. */
export const kernels: Kernels = addon.kernels;

/** What tensors are computed with. */
export const tensorKernels: TensorKernels = addon.tensorKernels;

/** The unit of commit and decommit, and of an arena's size: a huge page. */
export const SEGMENT_BYTES: number = addon.SEGMENT_BYTES;

/** How many views a process may hold, of all arenas together: half of the mappings that the kernel allows it. */
export const VIEW_LIMIT: number = addon.VIEW_LIMIT;

/** The largest view. */
export const VIEW_MAX_BYTES: number = addon.VIEW_MAX_BYTES;

/** How many views this process holds, of all arenas and threads. */
export const viewCount: () => number = addon.viewCount;

/**
 * Has the kernel kill this process with SIGKILL when its parent dies, and kills it at once if `parentPid` is not its
 * parent any more: a parent may die while its child starts. The parent must have spawned it on a thread that lives as long
 * as itself. Does nothing on systems other than Linux.
 */
export const dieWithParent: (parentPid: number) => void = addon.dieWithParent;

/**
 * Copies `source` to the start of `target` with the C library's memcpy, on this thread: what the benchmarks compare with.
 * @throws RangeError when `target` is shorter.
 */
export const memcpy: (target: Uint8Array, source: Uint8Array) => void = addon.memcpy;

/**
 * Loads libmuster_cuda.so from a path: cuda.ts alone knows it. The first one that is there is the process's.
 * @param isEmulated the library is that of cuda/emulator, whose device is the host: for tests.
 */
export const openCudaLibrary: (path: string, isEmulated?: boolean) => Cuda = addon.openCuda;
