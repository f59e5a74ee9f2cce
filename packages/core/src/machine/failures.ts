/** The last tasks that failed, for `cluster explain`: the reference may be gone when somebody asks. */
import { MusterError } from '@muster/base';
import type { EncodedValue } from './reference.js';

/** Failed tasks remembered in one process. */
const REMEMBERED_MAX = 1000;

export interface FailedTask {
  readonly name: string;
  readonly attempt: number;
  readonly why: string;
}

export class FailureHistory {
  readonly #bySequence = new Map<number, FailedTask>();

  add(sequence: number, name: string, attempt: number, error: MusterError | EncodedValue): void {
    this.#bySequence.set(sequence, { name, attempt, why: error instanceof MusterError ? error.message : 'its function threw an error' });
    if (this.#bySequence.size > REMEMBERED_MAX) this.#bySequence.delete(this.#bySequence.keys().next().value!);
  }

  find(sequence: number): FailedTask | undefined {
    return this.#bySequence.get(sequence);
  }
}
