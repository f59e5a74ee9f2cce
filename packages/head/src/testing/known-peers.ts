/** What a daemon knows of the other nodes, by the messages that have reached it. */
import type { HeadToNode } from '@muster/protocol';

/** Of one daemon. */
export class KnownPeers {
  readonly nodeIds = new Set<string>();
  /** Null: it waits for all. */
  #version: number | null = null;

  /** Returns false when something has not reached it before: it must ask for all. */
  take({ nodes, goneNodeIds, version, complete }: Extract<HeadToNode, { type: 'peerNodes' }>): boolean {
    if (complete) this.nodeIds.clear();
    else if (this.#version === null || version <= this.#version) return true;
    else if (version > this.#version + 1) {
      this.#version = null;
      return false;
    }
    this.#version = version;
    for (const nodeId of goneNodeIds) this.nodeIds.delete(nodeId);
    for (const { nodeId } of nodes) this.nodeIds.add(nodeId);
    return true;
  }
}
