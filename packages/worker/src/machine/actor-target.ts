/** The actor that lives in a worker. */
import type { ActorId } from '@muster/base';

/** A method that callers name by its number. */
export interface ActorMethod {
  /** In the class. */
  readonly key: string;
  /** As people see it: `Counter.add`. */
  readonly name: string;
}

/** What an executor needs to know of an actor. */
export interface ActorTarget {
  readonly id: ActorId;
  readonly name: string;
  readonly methods: readonly ActorMethod[];
  /** Calls that may run at once. */
  readonly maxConcurrency: number;
}

/** The methods of an actor, in the order of their numbers. */
export const methodsOf = (actorName: string, keys: readonly string[]): ActorMethod[] => keys.map((key) => ({ key, name: `${actorName}.${key}` }));
