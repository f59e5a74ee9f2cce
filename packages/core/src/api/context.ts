/** Where the code that runs now is: which job, task, actor and node. */
import type { ActorId, JobId, NodeId, TaskId } from '@muster/base';
import { requireSession } from './current.js';

export interface Context {
  readonly jobId: JobId;
  readonly nodeId: NodeId;
  /** Null in a driver. */
  readonly taskId: TaskId | null;
  /** Null outside of actors. */
  readonly actorId: ActorId | null;
  /** The GPUs of this task or actor, as indices on the node; also in CUDA_VISIBLE_DEVICES. */
  readonly gpuIds: readonly number[];
  /** The placement group in which this task or actor runs, and its bundle there; null: in none. */
  readonly placementGroup: { readonly id: string; readonly bundle: number } | null;
  /** Counts tries of this task, from 1. */
  readonly attempt: number;
  /** Aborts when the task is cancelled, out of time, or preempted: then its reason is a MusterError with the code PREEMPTED. */
  readonly signal: AbortSignal;
}

let provider: (() => Context) | null = null;

/** A worker's executor says what it runs. */
export function provideContext(provide: () => Context): void {
  provider = provide;
}

const neverAborted = new AbortController().signal;

/** The context of the task or actor that calls; in a driver, of the job. */
export function context(): Context {
  if (provider) return provider();
  const { jobId, nodeId } = requireSession();
  return { jobId, nodeId, taskId: null, actorId: null, gpuIds: [], placementGroup: null, attempt: 1, signal: neverAborted };
}
