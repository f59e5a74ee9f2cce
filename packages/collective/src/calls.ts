/** From what users write to the native call: kinds, roots, lengths. Knows nothing of promises. */
import type { CommunicatorCall } from '@muster/native';
import { checkMemory, dtypeOf, DTYPES, invalid, isOnDevice, type CallArray, type Dtype } from './elements.js';

export type Reduction = 'sum' | 'product' | 'min' | 'max' | 'average';

export interface CallOptions {
  /** What the elements are, where the array does not say: 'f16' or 'bf16' of a Uint16Array, 'f8e4m3' or 'f8e5m2' of a Uint8Array. */
  readonly dtype?: Dtype;
  /**
   * How long, at most a second, the call may hold this thread until the other ranks make it, too. Then it is made on this thread, and done when it returns; otherwise on a
   * thread of its own, as calls without it are unless they are small. For code that has nothing to do meanwhile: the way to another thread and back costs
   * more than a megabyte. Means nothing among ranks on several nodes, and in a group.
   */
  readonly holdMs?: number;
}

export interface ReduceOptions extends CallOptions {
  /** 'sum' unless told otherwise. Floats of 16 and 8 bits are summed in f32; an average of integers is rounded towards zero. */
  readonly op?: Reduction;
}

/** The numbers of native's muster_call_kind. */
export const KINDS = { allReduce: 1, reduceScatter: 2, allGather: 3, broadcast: 4, reduce: 5, barrier: 6, allToAll: 7, send: 8, recv: 9 } as const;
export type Kind = keyof typeof KINDS;

/** The numbers of native's muster_reduction. */
const REDUCTIONS: Readonly<Record<Reduction, number>> = { sum: 0, product: 1, min: 2, max: 3, average: 4 };

export interface CallRequest {
  readonly kind: Kind;
  readonly source: CallArray | null;
  readonly target: CallArray | null;
  readonly options: ReduceOptions;
  /** The root, the receiver or the sender; 0 where the kind has none. */
  readonly peer: number;
  /** Where users' code makes it, if that is told. */
  readonly site?: string | undefined;
}

/** What native takes, too. */
const HOLD_MAX_MS = 1000;

/** Which rank makes the call. */
export interface RankPlace {
  readonly rank: number;
  readonly size: number;
}

/** @throws MusterError INVALID_ARGUMENT */
export function nativeCall({ kind, source, target, options, peer, site }: CallRequest, { rank, size }: RankPlace): CommunicatorCall {
  if (kind === 'barrier') return [KINDS.barrier, 0, null, null, 0, site];
  const dtype = kind === 'recv' ? dtypeOf(target, options.dtype, 'the target of recv') : dtypeOf(source, options.dtype, `the source of ${kind}`);
  if (kind !== 'recv') checkMemory(source!, `the source of ${kind}`);
  if (kind !== 'send' && target !== source) {
    if (kind !== 'recv' && isOnDevice(source) !== isOnDevice(target)) throw invalid(`the target of ${kind}`, `${isOnDevice(source) ? 'on the GPU' : 'a typed array'}, as its source is`);
    dtypeOf(target, dtype, `the target of ${kind}`);
    checkMemory(target!, `the target of ${kind}`);
  }
  const { holdMs = 0 } = options;
  if (!(holdMs >= 0 && holdMs <= HOLD_MAX_MS)) throw invalid(`holdMs: ${String(holdMs)}`, `from 0 to ${HOLD_MAX_MS}`);
  const reduction = options.op ?? 'sum';
  if (!Object.hasOwn(REDUCTIONS, reduction)) throw invalid(`the op '${String(reduction)}'`, `one of ${Object.keys(REDUCTIONS).join(', ')}`);
  if (!Number.isInteger(peer) || peer < 0 || peer >= size) throw invalid(`the rank ${String(peer)} that ${kind} names`, `from 0 to ${size - 1}`);
  if (peer === rank && (kind === 'send' || kind === 'recv')) throw invalid(`the rank ${peer} that ${kind} names`, 'another than its own');
  return [KINDS[kind] + DTYPES[dtype] * 256 + REDUCTIONS[reduction] * 65_536, peer, source, target, elementCount(kind, source, target, size), site, options.holdMs];
}

/** Elements of the call, or of each rank's part, from the arrays' lengths, which must agree. */
function elementCount(kind: Kind, source: CallArray | null, target: CallArray | null, size: number): number {
  const sourceParts = kind === 'reduceScatter' || kind === 'allToAll' ? size : 1;
  const targetParts = kind === 'allGather' || kind === 'allToAll' ? size : 1;
  const count = source === null ? target!.length / targetParts : source.length / sourceParts;
  if (!Number.isInteger(count)) throw invalid(`the source of ${kind}, of ${source!.length} elements`, `divisible among ${size} ranks`);
  if (source !== null && target !== null && target.length !== count * targetParts) {
    throw invalid(`the target of ${kind}, of ${target.length} elements`, `of ${count * targetParts}, for a source of ${source.length} and ${size} ranks`);
  }
  return count;
}
