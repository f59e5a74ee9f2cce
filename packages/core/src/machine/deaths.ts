/** Processes that libraries watch: each watcher is told once, when the head says that its process is dead. */
import { describeDeath } from '@muster/base';
import { deathFromMessage, type Death } from '@muster/protocol';
import type { Owner } from './owner.js';

/** Gets the cause, to follow the process's name. */
export type OnDeath = (cause: string) => void;

export class Deaths {
  /** By the process that is watched. */
  readonly #watchers = new Map<string, Set<OnDeath>>();

  constructor(readonly owner: Owner) {}

  /** @returns stops it */
  watch(processId: string, onDeath: OnDeath): () => void {
    const watcher: OnDeath = (cause) => onDeath(cause); // one of its own, though the same function may watch twice
    const watchers = this.#watchers.get(processId);
    if (watchers === undefined) this.#watchers.set(processId, new Set([watcher]));
    else watchers.add(watcher);
    this.owner.ports.toHead({ type: 'watchProcess', processId }); // again for one that is watched: it may have died meanwhile
    return () => {
      const left = this.#watchers.get(processId);
      if (left?.delete(watcher) && left.size === 0) this.#watchers.delete(processId);
    };
  }

  processDied(processId: string, death: Death | null): void {
    const watchers = this.#watchers.get(processId);
    this.#watchers.delete(processId);
    const cause = death === null ? 'ended' : describeDeath(deathFromMessage(death));
    for (const onDeath of watchers ?? []) onDeath(cause);
  }
}
