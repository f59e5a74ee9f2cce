/** The actor that lives in a worker. */
import type { ActorId } from '@muster/base';

/** What an actor's executor calls. */
export interface ActorTarget {
  readonly id: ActorId;
  readonly name: string;
  readonly methods: readonly { readonly name: string; readonly streaming: boolean }[];
  readonly instance: Record<string, (...args: unknown[]) => unknown>;
  readonly maxConcurrency: number;
}
