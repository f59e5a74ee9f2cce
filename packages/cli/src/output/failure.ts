/** How a failed command ends: one line of what happened, one of what to do next, and an exit code that scripts can rely on. */
import { MusterError, type ErrorCode } from '@muster/base';

/** What the exit codes mean; part of every command's help, but for that of `cluster plan` and for what shells report of any program that Ctrl-C ended. */
export const EXIT = { success: 0, failure: 1, usage: 2, unreachable: 3, authentication: 4, incomplete: 5, interrupted: 130 } as const;

export const EXIT_CODES_HELP = 'Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no cluster found or not reachable, 4 token refused.';

const EXIT_OF: Readonly<Partial<Record<ErrorCode, number>>> = {
  CONNECTION: EXIT.unreachable, NOT_CONNECTED: EXIT.unreachable, VERSION_MISMATCH: EXIT.unreachable, AUTHENTICATION: EXIT.authentication,
};

export interface CommandFailureOptions {
  /** A clause without a full stop. */
  readonly what: string;
  /** A sentence. */
  readonly remedy: string;
  readonly exitCode?: number;
  readonly cause?: unknown;
}

/** A failure that only the command line knows. */
export class CommandFailure extends Error {
  readonly remedy: string;
  readonly exitCode: number;

  constructor({ what, remedy, exitCode = EXIT.failure, cause }: CommandFailureOptions) {
    super(what, { cause });
    this.remedy = remedy;
    this.exitCode = exitCode;
  }
}

/** A failure as another process hears of it. */
export interface FailureReport {
  readonly what: string;
  readonly remedy: string;
  readonly exitCode: number;
}

/** A command line that cannot be meant: arguments are read inside of `read`. */
export function asUsage<T>(command: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== 'INVALID_ARGUMENT') throw error;
    throw new CommandFailure({ what: reportOf(error).what, remedy: `\`cluster ${command} --help\` shows what it takes.`, exitCode: EXIT.usage, cause: error });
  }
}

export function reportOf(error: unknown): FailureReport {
  if (error instanceof CommandFailure) return { what: error.message, remedy: error.remedy, exitCode: error.exitCode };
  if (error instanceof MusterError) {
    const { what, want } = error.details;
    if (error.code === 'INVALID_ARGUMENT' && /^the (job )?id '/.test(String(what))) return { what: `${what} is not known`, remedy: `It must be ${want}; \`cluster list\` shows ids.`, exitCode: EXIT.failure };
    if (error.code === 'INVALID_ARGUMENT' && String(what).startsWith('the filter ')) return { what: `${what} is not valid`, remedy: `It must be ${want}.`, exitCode: EXIT.usage };
    return { what: error.message.slice(0, -error.remedy.length - 2), remedy: error.remedy, exitCode: EXIT_OF[error.code] ?? EXIT.failure };
  }
  const what = error instanceof Error ? error.message.split('\n', 1)[0]! : String(error);
  return { what, remedy: 'Run it again with MUSTER_DEBUG=1 for the whole story, and report it if Muster is at fault.', exitCode: EXIT.failure };
}

/** Prints a failure on stderr and returns the exit code. */
export function printFailure(error: unknown): number {
  const { what, remedy, exitCode } = reportOf(error);
  process.stderr.write(`cluster: ${what}\n  ${remedy}\n`);
  if (process.env['MUSTER_DEBUG'] === '1' && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
  return exitCode;
}
