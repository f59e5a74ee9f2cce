/** Why a child process ended, from what the operating system and its last words tell. */
import type { DeathCause, WorkerProgress } from '@muster/base';

/** What is known about a process that has ended. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: string | null;
  /** The last lines of stderr. */
  readonly stderrTail: string;
  /** The line in which V8 or Node said that it gives up; empty when there was none. */
  readonly fatalError: string;
  /** The kernel killed something for lack of memory, and no other process accounts for it. */
  readonly isOomKill: boolean;
  /** Of a worker. */
  readonly progress?: WorkerProgress;
  /** Set when the process could not be started at all. */
  readonly spawnFailure: string | null;
}

/** How many of the last lines of stderr are kept. */
export const STDERR_TAIL_LINES = 20;

/** Lines that V8 prints before it aborts. */
export const FATAL_ERROR_PATTERN = /^(?:FATAL ERROR: |#?\s*Fatal (?:JavaScript|process) )/;

/** From here on an aborting process lists native frames, which tell a user nothing and would push what does out of the tail. */
export const NATIVE_STACK_PATTERN = /^-+ Native stack trace -+$/;

const HEAP_PATTERN = /heap out of memory|heap limit|invalid array length Allocation failed/i;

/** The cause of an exit. `killReason`: why this node killed the process; null when it did not. */
export function deathCause(exit: ProcessExit, killReason: string | null): DeathCause {
  const cause = bareCause(exit, killReason);
  return cause.kind === 'start-failed' ? cause : { ...cause, ...exit.progress };
}

/** What happens to a process on its own node, as the node sees it. */
type OwnCause = Exclude<DeathCause, { readonly kind: 'node-lost' | 'preempted' }>;

function bareCause(exit: ProcessExit, killReason: string | null): OwnCause {
  const { code, signal, fatalError, spawnFailure } = exit;
  const stderrTail = exit.stderrTail || undefined;
  if (spawnFailure !== null) return { kind: 'start-failed', detail: spawnFailure };
  if (killReason !== null && signal !== null) return { kind: 'killed', reason: killReason };
  if (code !== 0 && HEAP_PATTERN.test(fatalError)) return { kind: 'out-of-memory', detail: fatalError.replace(/^FATAL ERROR: /, ''), stderrTail };
  if (signal === 'SIGKILL' && exit.isOomKill) return { kind: 'out-of-memory', detail: 'the kernel killed it because the machine or its container had no memory left', stderrTail };
  if (signal !== null) return { kind: 'signal', signal, stderrTail };
  return { kind: 'exit', code: code ?? 0, stderrTail };
}
