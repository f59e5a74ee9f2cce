/**
 * What goes into the daemon's machine and what comes out of it. Messages of the head are those of head.proto as they are.
 */
import type { MusterError } from '@muster/base';
import type { Endpoint, HeadToNode, LogsQuestion, NodeToHead, PeerNode, WorkerCommand } from '@muster/protocol';
import type { ProcessExit } from './death-cause.js';
import type { OutputSpan } from './line-splitter.js';

/** What has happened. */
export type DaemonEvent =
  | { readonly type: 'start' }
  | { readonly type: 'headMessage'; readonly message: HeadToNode }
  /** The stream to the head is over, or could not be opened. */
  | { readonly type: 'headEnded'; readonly failure: MusterError | null }
  | { readonly type: 'workerSpawned'; readonly workerId: string; readonly pid: number }
  /** The worker has opened its store stream and listens on the endpoint. */
  | { readonly type: 'workerReady'; readonly workerId: string; readonly endpoint: Endpoint }
  /** The worker's store stream is over. Its process ends too, or hangs. */
  | { readonly type: 'workerDisconnected'; readonly workerId: string }
  /** Others would lose something, or would not any more, if the worker ended while it is idle. */
  | { readonly type: 'workerNeeded'; readonly workerId: string; readonly isNeeded: boolean }
  | { readonly type: 'workerExited'; readonly workerId: string; readonly exit: ProcessExit }
  | { readonly type: 'output'; readonly workerId: string; readonly isError: boolean; readonly spans: readonly OutputSpan[] }
  /** Everything that the job's workers had printed before `drainOutput` has come in. */
  | { readonly type: 'outputDrained'; readonly jobId: string }
  | { readonly type: 'jobProcessExited'; readonly jobId: string; readonly exit: ProcessExit }
  | { readonly type: 'shutdown'; readonly reason: string }
  | { readonly type: 'tick' };

/** What is to be done. */
export type DaemonEffect =
  /** Open a new stream to the head; an older one is given up. Answered by `headMessage`s or `headEnded`. */
  | { readonly type: 'connectHead' }
  /** `isGoodbye`: the node leaves the cluster, after all that was sent before. */
  | { readonly type: 'disconnectHead'; readonly isGoodbye: boolean }
  /** Over the newest stream. */
  | { readonly type: 'send'; readonly message: NodeToHead }
  /** The head has accepted the node, for the first time. */
  | { readonly type: 'registered' }
  | { readonly type: 'spawnWorker'; readonly workerId: string }
  /** SIGKILL for the worker and all processes it started; answered by `workerExited`. */
  | { readonly type: 'killWorker'; readonly workerId: string }
  | { readonly type: 'commandWorker'; readonly workerId: string; readonly command: WorkerCommand }
  | { readonly type: 'startJobProcess'; readonly jobId: string; readonly argv: readonly string[]; readonly cwd: string; readonly env: Readonly<Record<string, string>> }
  | { readonly type: 'signalJobProcess'; readonly jobId: string; readonly signal: 'SIGTERM' | 'SIGKILL' }
  | { readonly type: 'drainOutput'; readonly jobId: string; readonly workerIds: readonly string[] }
  /** The objects of the processes with these keys are free. */
  | { readonly type: 'freeOwners'; readonly ownerKeys: readonly string[] }
  /** `isComplete`: those are all nodes. Otherwise they have come or moved, and the others are gone for good. */
  | { readonly type: 'peerNodes'; readonly nodes: readonly PeerNode[]; readonly goneNodeIds: readonly string[]; readonly isComplete: boolean }
  /** Answer the question about logs with what these files have. */
  | { readonly type: 'readLogs'; readonly requestId: number; readonly question: LogsQuestion; readonly logIds: readonly string[] }
  /** Send a `tick` at this time. */
  | { readonly type: 'wake'; readonly atMs: number }
  | { readonly type: 'log'; readonly level: 'info' | 'warn'; readonly event: string; readonly fields: Readonly<Record<string, unknown>> }
  /** The last effect: no process of the node runs any more. `failure` is set unless the end was asked for. */
  | { readonly type: 'stop'; readonly reason: string; readonly failure: MusterError | null };

/** Where a part of the machine puts its effects. */
export type Emit = (effect: DaemonEffect) => void;
