/**
 * What nodes are told of each other: who has registered hears of all nodes, and all hear who has come and who has gone since. News wait for the next tick,
 * so that of many nodes that come at once each of the others hears in one message.
 *
 * A version numbers the changes. A stream keeps its order, so a node misses one only by a fault; it notices by the number and asks for all.
 */
import type { PeerNode } from '@muster/protocol';
import type { Node, Nodes } from './nodes.js';

/** One per machine. */
export class PeerNews {
  readonly #nodes: Nodes;
  #version = 0;
  /** Since the last version. An id never returns, so none is in both. */
  readonly #come = new Map<string, Node>();
  readonly #gone = new Set<string>();
  /** Those that hear of all nodes. */
  readonly #uninformed = new Set<Node>();

  constructor(nodes: Nodes) {
    this.#nodes = nodes;
  }

  /** The node has registered, for the first time or again, and perhaps elsewhere. */
  registered(node: Node): void {
    this.#come.set(node.id, node);
    this.#uninformed.add(node);
  }

  /** A version has not reached the node. */
  missed(node: Node): void {
    this.#uninformed.add(node);
  }

  left(node: Node): void {
    this.#come.delete(node.id);
    this.#gone.add(node.id);
    this.#uninformed.delete(node);
  }

  /** Tells everybody. One message serves all who hear the same. */
  tick(): void {
    const hasNews = this.#come.size + this.#gone.size > 0;
    if (!hasNews && this.#uninformed.size === 0) return;
    if (hasNews) this.#version++;
    const { byId } = this.#nodes;
    const all = this.#uninformed.size === 0 ? null : this.#message(byId.values(), [], true);
    const news = hasNews ? this.#message(this.#come.values(), [...this.#gone], false) : null;
    for (const node of byId.values()) {
      const message = this.#uninformed.has(node) ? all : news;
      if (message !== null) this.#nodes.send(node, message);
    }
    this.#come.clear();
    this.#gone.clear();
    this.#uninformed.clear();
  }

  #message(nodes: Iterable<Node>, goneNodeIds: readonly string[], complete: boolean): Parameters<Nodes['send']>[1] {
    return { type: 'peerNodes', nodes: Array.from(nodes, peerOf), goneNodeIds, version: this.#version, complete };
  }
}

const peerOf = ({ id, endpoint }: Node): PeerNode => ({ nodeId: id, endpoint });
