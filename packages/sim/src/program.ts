/**
 * Users' code in the simulation: generators, which yield wherever real code would await or compute. They run one step at a time and
 * never inside the machine that wakes them, as continuations of promises do.
 */
import { MusterError } from '@muster/base';
import type { SimProcess } from './process.js';

/** What a program waits for. `resume` or `fail` is called once. */
export interface Operation {
  readonly start: (resume: (value?: unknown) => void, fail: (error: unknown) => void) => void;
  /** Computing: the process does nothing else meanwhile. */
  readonly isWork: boolean;
}

/** A piece of users' code. */
export type Program<Result = unknown> = Generator<Operation, Result, unknown>;

/** An error that users' code throws. */
export class UserError extends Error {}

/** How a program ended. */
export type Ending<Result> = { readonly value: Result } | { readonly error: UserError | MusterError };

/** Runs a program until it ends. `onSuspend` is called once, when it first waits for something other than its own computing. */
export function runProgram<Result>(process: SimProcess, program: Program<Result>, onEnd: (ending: Ending<Result>) => void, onSuspend: () => void = () => {}): void {
  let isSuspended = false;
  const advance = (step: () => IteratorResult<Operation, Result>): void => {
    let result: IteratorResult<Operation, Result>;
    try {
      result = step();
    } catch (error) {
      if (!(error instanceof UserError) && !(error instanceof MusterError)) throw error;
      return onEnd({ error });
    }
    if (result.done) return onEnd({ value: result.value });
    const operation = result.value;
    if (operation.isWork) return operation.start((value) => advance(() => program.next(value)), () => {});
    if (!isSuspended) {
      isSuspended = true;
      onSuspend();
    }
    operation.start(
      (value) => process.defer(() => advance(() => program.next(value))),
      (error) => process.defer(() => advance(() => program.throw(error))),
    );
  };
  advance(() => program.next());
}

/** Waits for a callback. */
export function* until<Value>(start: (resume: (value: Value) => void, fail: (error: unknown) => void) => void): Program<Value> {
  return (yield { start: start as Operation['start'], isWork: false }) as Value;
}
