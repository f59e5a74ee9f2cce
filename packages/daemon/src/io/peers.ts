/**
 * Other nodes' daemons, as this one calls them: to copy objects from them, and to tell them that objects are free. A node that has left the
 * cluster never returns under its id: what is under way with it ends at once.
 */
import { formatDurationMs, makeError, type Logger } from '@muster/base';
import { targetOf, type Endpoint, type PeerNode } from '@muster/protocol';
import { Channel } from '@muster/protocol/rpc';
import type { Pull, StoreLocation } from '@muster/store';

/** A peer that sends no byte for that long is passed over. */
export const PULL_IDLE_TIMEOUT_MS = 10_000;
const FREE_TIMEOUT_MS = 10_000;
/** How long after a failure a peer is told again. */
export const FREE_RETRY_MS = 1000;
/** Nodes that have left are remembered, because owners name them until they have heard of it themselves. */
const GONE_NODES_MAX = 1000;

/** Who calls. */
export interface PeersOptions {
  readonly nodeId: string;
  readonly token: string;
  readonly logger: Logger;
}

/** What a node has not yet confirmed to know. */
interface PendingFrees {
  readonly endpoint: Endpoint;
  readonly objectIds: Set<string>;
  retry: NodeJS.Timeout | undefined;
  isCalling: boolean;
}

/** A connection, and where it leads. */
interface PeerChannel {
  readonly target: string;
  readonly channel: Channel;
}

/** What the head says of the nodes: all of them, or what has changed. */
export interface PeersUpdate {
  readonly nodes: readonly PeerNode[];
  readonly goneNodeIds: readonly string[];
  readonly isComplete: boolean;
}

/** The other nodes, with a connection to each that was needed. */
export class Peers {
  readonly #options: PeersOptions;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #channels = new Map<string, PeerChannel>();
  readonly #pulls = new Map<AbortController, string>();
  readonly #frees = new Map<string, PendingFrees>();
  readonly #gone = new Set<string>();

  constructor(options: PeersOptions) {
    this.#options = options;
  }

  /** The connections of nodes that have left are closed, and what waits for them ends. */
  update({ nodes, goneNodeIds, isComplete }: PeersUpdate): void {
    for (const nodeId of goneNodeIds) this.#leave(nodeId);
    if (isComplete) {
      const alive = new Set(nodes.map(({ nodeId }) => nodeId));
      for (const nodeId of this.#endpoints.keys()) if (!alive.has(nodeId)) this.#leave(nodeId);
    }
    for (const { nodeId, endpoint } of nodes) {
      if (!endpoint) continue;
      this.#endpoints.set(nodeId, endpoint);
      if (this.#channels.get(nodeId)?.target !== targetOf(endpoint, this.#options.nodeId)) this.#disconnect(nodeId);
    }
  }

  /** Hands an object's bytes to `write`, from the first to the last. @throws MusterError when the peer does not have it, cannot be reached or leaves */
  async pull({ objectId, location, signal }: Pull, write: (bytes: Uint8Array) => void): Promise<void> {
    const { nodeId } = location;
    if (this.#gone.has(nodeId)) throw hasLeft(nodeId);
    const target = targetOf(location, this.#options.nodeId);
    const controller = new AbortController();
    this.#pulls.set(controller, nodeId);
    const request = { objectId, requesterNodeId: this.#options.nodeId };
    const chunks = this.#channel(target, nodeId).download('Daemon.Pull', request, AbortSignal.any([signal, controller.signal]));
    const late = setTimeout(() => {
      this.#channels.delete(nodeId); // the next call gets a connection of its own
      controller.abort(makeError('CONNECTION', { what: target, cause: `it sent nothing for ${formatDurationMs(PULL_IDLE_TIMEOUT_MS)}` }));
    }, PULL_IDLE_TIMEOUT_MS);
    try {
      for await (const { data } of chunks) {
        late.refresh();
        write(data);
      }
    } finally {
      clearTimeout(late);
      this.#pulls.delete(controller);
    }
  }

  /** Tells a node that objects are free, again and again until it has confirmed it or has left: nobody else would free a primary there. */
  free(nodeId: string, location: StoreLocation | null, objectIds: readonly string[]): void {
    const endpoint = location ?? this.#endpoints.get(nodeId);
    if (!endpoint || this.#gone.has(nodeId)) return;
    let frees = this.#frees.get(nodeId);
    if (!frees) this.#frees.set(nodeId, (frees = { endpoint, objectIds: new Set(), retry: undefined, isCalling: false }));
    for (const objectId of objectIds) frees.objectIds.add(objectId);
    if (!frees.retry && !frees.isCalling) void this.#tellFree(nodeId, frees);
  }

  close(): void {
    for (const nodeId of [...this.#pulls.values(), ...this.#frees.keys()]) this.#leave(nodeId);
    for (const nodeId of this.#channels.keys()) this.#disconnect(nodeId);
  }

  async #tellFree(nodeId: string, frees: PendingFrees): Promise<void> {
    const objectIds = [...frees.objectIds];
    frees.isCalling = true;
    try {
      await this.#channel(targetOf(frees.endpoint, this.#options.nodeId), nodeId).request('Daemon.Free', { objectIds }, FREE_TIMEOUT_MS);
      for (const objectId of objectIds) frees.objectIds.delete(objectId);
    } catch (error) {
      this.#options.logger.info('free-not-forwarded', { peerNodeId: nodeId, objectCount: objectIds.length, cause: (error as Error).message });
      frees.retry = setTimeout(() => this.#tellAgain(nodeId, frees), FREE_RETRY_MS).unref();
    }
    frees.isCalling = false;
    if (this.#frees.get(nodeId) !== frees) return clearTimeout(frees.retry); // it has left meanwhile
    if (frees.objectIds.size === 0) this.#frees.delete(nodeId);
    else if (!frees.retry) void this.#tellFree(nodeId, frees);
  }

  /** A node that is not of the cluster, by the time at which this one would have heard of it, has nothing to free. */
  #tellAgain(nodeId: string, frees: PendingFrees): void {
    frees.retry = undefined;
    if (this.#endpoints.has(nodeId)) void this.#tellFree(nodeId, frees);
    else this.#frees.delete(nodeId);
  }

  #leave(nodeId: string): void {
    this.#endpoints.delete(nodeId);
    this.#disconnect(nodeId);
    this.#gone.add(nodeId);
    if (this.#gone.size > GONE_NODES_MAX) this.#gone.delete(this.#gone.values().next().value!);
    for (const [controller, peerNodeId] of this.#pulls) if (peerNodeId === nodeId) controller.abort(hasLeft(nodeId));
    clearTimeout(this.#frees.get(nodeId)?.retry);
    this.#frees.delete(nodeId);
  }

  #channel(target: string, nodeId: string): Channel {
    const known = this.#channels.get(nodeId);
    if (known?.target === target) return known.channel;
    this.#disconnect(nodeId);
    const channel = new Channel({ target, token: this.#options.token, peer: `${nodeId} at ${target}` });
    this.#channels.set(nodeId, { target, channel });
    return channel;
  }

  #disconnect(nodeId: string): void {
    this.#channels.get(nodeId)?.channel.close();
    this.#channels.delete(nodeId);
  }
}

const hasLeft = (nodeId: string): Error => makeError('CONNECTION', { what: nodeId, cause: 'it has left the cluster' });
