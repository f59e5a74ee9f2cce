/** Follows what the head says of the other nodes: all of them once, and then each change, in the order of their versions. */
import type { HeadToNode } from '@muster/protocol';
import type { Emit } from './messages.js';

type PeerNodes = HeadToNode & { readonly type: 'peerNodes' };

/** Knows which version it has. */
export class PeerNews {
  readonly #emit: Emit;
  /** Null: it waits for all. */
  #version: number | null = null;

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  take({ nodes, goneNodeIds, version, complete }: PeerNodes): void {
    if (!complete) {
      if (this.#version === null || version <= this.#version) return;
      if (version > this.#version + 1) return this.#askForAll();
    }
    this.#version = version;
    this.#emit({ type: 'peerNodes', nodes, goneNodeIds, isComplete: complete });
  }

  #askForAll(): void {
    this.#version = null;
    this.#emit({ type: 'send', message: { type: 'peersMissed' } });
  }
}
