/** Other nodes' daemons, as this one calls them: to copy objects from them, and to tell them that objects are free. */
import { formatDurationMs, makeError, type Logger } from '@muster/base';
import { Channel, targetOf, type Endpoint, type PeerNode } from '@muster/protocol';
import type { Pull, StoreLocation } from '@muster/store';

/** A peer that sends no byte for that long is passed over. */
const PULL_IDLE_TIMEOUT_MS = 10_000;
const FREE_TIMEOUT_MS = 10_000;

/** Who calls. */
export interface PeersOptions {
  readonly nodeId: string;
  readonly token: string;
  readonly logger: Logger;
}

/** The other nodes, with a connection to each that was needed. */
export class Peers {
  readonly #options: PeersOptions;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #channels = new Map<string, Channel>();

  constructor(options: PeersOptions) {
    this.#options = options;
  }

  /** The nodes that are alive now. Connections to others are closed. */
  update(nodes: readonly PeerNode[]): void {
    this.#endpoints.clear();
    for (const { nodeId, endpoint } of nodes) if (endpoint) this.#endpoints.set(nodeId, endpoint);
    const targets = new Set([...this.#endpoints.values()].map((endpoint) => targetOf(endpoint, this.#options.nodeId)));
    for (const [target, channel] of this.#channels) {
      if (targets.has(target)) continue;
      channel.close();
      this.#channels.delete(target);
    }
  }

  /** Hands an object's bytes to `write`, from the first to the last. @throws MusterError when the peer does not have it or cannot be reached */
  async pull({ objectId, location, signal }: Pull, write: (bytes: Uint8Array) => void): Promise<void> {
    const target = targetOf(location, this.#options.nodeId);
    const chunks = this.#channel(target, location.nodeId).download('Daemon.Pull', { objectId, requesterNodeId: this.#options.nodeId });
    try {
      for (;;) {
        const next = await this.#inTime(chunks.next(), target);
        signal.throwIfAborted();
        if (next.done) return;
        write(next.value.data);
      }
    } finally {
      chunks.return(undefined).catch(() => {}); // a peer that hangs would not let it end: nobody waits for it
    }
  }

  /** Tells a node that objects are free. A node that does not hear it drops them when it needs the room. */
  free(nodeId: string, location: StoreLocation | null, objectIds: readonly string[]): void {
    const endpoint = location ?? this.#endpoints.get(nodeId);
    if (!endpoint) return;
    this.#channel(targetOf(endpoint, this.#options.nodeId), nodeId).request('Daemon.Free', { objectIds }, FREE_TIMEOUT_MS).catch((error: Error) => {
      this.#options.logger.info('free-not-forwarded', { peerNodeId: nodeId, objectCount: objectIds.length, cause: error.message });
    });
  }

  close(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }

  #channel(target: string, nodeId: string): Channel {
    let channel = this.#channels.get(target);
    if (!channel) this.#channels.set(target, (channel = new Channel({ target, token: this.#options.token, peer: `${nodeId} at ${target}` })));
    return channel;
  }

  async #inTime<T>(next: Promise<T>, target: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.#channels.delete(target); // the next call gets a connection of its own
        reject(makeError('CONNECTION', { what: target, cause: `it sent nothing for ${formatDurationMs(PULL_IDLE_TIMEOUT_MS)}` }));
      }, PULL_IDLE_TIMEOUT_MS);
    });
    try {
      return await Promise.race([next, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
