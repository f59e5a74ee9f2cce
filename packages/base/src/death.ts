/** Why a process ended: exact, from the kernel where it knows, and in words. */

/** What a worker's death tells of the tasks that it held. */
export interface WorkerProgress {
  /** Those it had begun on its lease, in the order in which they were sent; absent: not known. The others have not run. */
  readonly startedTasks?: number;
  /** Those of them whose caller's line broke before the worker died: their answers are lost, whatever became of them. */
  readonly severedTasks?: number;
}

/** The cause of a worker's, actor's or node's end. */
export type DeathCause =
  | ({ readonly kind: 'exit'; readonly code: number; readonly stderrTail?: string } & WorkerProgress)
  | ({ readonly kind: 'signal'; readonly signal: string; readonly stderrTail?: string } & WorkerProgress)
  | ({ readonly kind: 'out-of-memory'; readonly detail: string; readonly stderrTail?: string } & WorkerProgress)
  | { readonly kind: 'node-lost'; readonly nodeId: string; readonly detail: string }
  | ({ readonly kind: 'killed'; readonly reason: string } & WorkerProgress)
  | ({ readonly kind: 'preempted'; readonly reason: string } & WorkerProgress)
  | { readonly kind: 'start-failed'; readonly detail: string; readonly stderrTail?: string };

/** What a death tells of tasks, if anything. */
export function progressOf(cause: DeathCause | null): WorkerProgress {
  if (cause === null || !('startedTasks' in cause)) return {};
  const { startedTasks, severedTasks } = cause;
  return { startedTasks, severedTasks };
}

/** One sentence, such as `was ended by SIGKILL`; it follows the name of the thing that died. */
export function describeDeath(cause: DeathCause): string {
  switch (cause.kind) {
    case 'exit': return `exited with code ${cause.code}${tail(cause.stderrTail)}`;
    case 'signal': return `was ended by ${cause.signal}${tail(cause.stderrTail)}`;
    case 'out-of-memory': return `ran out of memory (${cause.detail})${tail(cause.stderrTail)}`;
    case 'node-lost': return `was on ${cause.nodeId}, which was lost (${cause.detail})`;
    case 'killed': return `was killed: ${cause.reason}`;
    case 'preempted': return `was preempted: ${cause.reason}`;
    case 'start-failed': return `did not start: ${cause.detail}${tail(cause.stderrTail)}`;
  }
}

function tail(stderrTail: string | undefined): string {
  const text = stderrTail?.trim();
  return text ? `; its last lines of stderr:\n    ${text.replaceAll('\n', '\n    ')}` : '';
}
