/** What workloads expect of references. */
import { MusterError, type ErrorCode } from '@muster/base';
import type { ObjectRef } from '@muster/core/internal';
import type { CodeContext } from '../code-context.js';
import { Violation } from '../violation.js';
import type { Program } from '../program.js';
import type { Scene } from '../scenario.js';
import { print } from '../values.js';

/** More attempts than a run has faults. */
export const PLENTY = 100;

/** What befalls a task that may not be tried again, when something goes wrong. */
export const DEATHS: readonly ErrorCode[] = ['WORKER_DIED', 'NODE_DIED'];

/** Gets a value and compares it. Failures of the system with these codes are allowed where there are faults. True when the value was there. */
export function* expectValue(scene: Scene, code: CodeContext, ref: ObjectRef, value: unknown, allowed: readonly ErrorCode[] = []): Program<boolean> {
  let found: unknown;
  try {
    found = yield* code.get(ref);
  } catch (error) {
    if (scene.hasFaults && error instanceof MusterError && allowed.includes(error.code)) return false;
    throw error;
  }
  if (print(found) !== print(value)) throw new Violation(`${ref.id} is ${print(found)}, and should be ${print(value)}`);
  return true;
}

/** Waits until a reference has come to one of these failures. */
export function* expectFailure(code: CodeContext, ref: ObjectRef, codes: readonly ErrorCode[]): Program<void> {
  try {
    const value = yield* code.get(ref);
    throw new Violation(`${ref.id} is ${print(value)}, and should have failed with ${codes.join(' or ')}`);
  } catch (error) {
    if (!(error instanceof MusterError) || !codes.includes(error.code)) throw error;
  }
}
