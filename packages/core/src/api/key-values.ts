/** What the processes of a job tell each other by the head's key-value store, and what they need to connect to each other by themselves and to hear of each other's ends. */
import { formatDurationMs, makeError } from '@muster/base';
import { requireSession } from './current.js';

/** Keys of one namespace of this job. They end with the job. */
export interface KeyValues {
  /**
   * Writes a key. Keys are written once, so that all who read one read the same: the same value may be repeated.
   * @param value at most 64 KiB
   * @throws MusterError INVALID_ARGUMENT when the key has another value, or there are too many
   */
  put(key: string, value: string | Uint8Array): Promise<void>;
  /** The key's value, a copy of one's own; undefined: nobody has written it. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** The same once it is written. @throws TimeoutError when nobody has within `timeoutMs`, which is at most an hour */
  wait(key: string, options: { readonly timeoutMs: number }): Promise<Uint8Array>;
  /** Forgets all keys of the namespace, which may be written anew. */
  clear(): Promise<void>;
}

/**
 * The job's key-value store: for meeting and agreeing, not for data, which `put` and references are for. Each namespace is for one purpose.
 *
 * @example
 * const addresses = keyValues('addresses');
 * await addresses.put('server', '10.0.0.1:4000');
 * new TextDecoder().decode(await addresses.wait('server', { timeoutMs: 5000 })); // '10.0.0.1:4000'
 */
export function keyValues(namespace: string): KeyValues {
  const session = requireSession();
  const read = async (key: string, waitMs: number): Promise<Uint8Array | undefined> => {
    const { found, value } = await session.request((requestId) => ({ type: 'getKey', requestId, namespace, key, waitMs }));
    return found ? new Uint8Array(value) : undefined;
  };
  return {
    async put(key, value) {
      const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : new Uint8Array(value);
      await session.request((requestId) => ({ type: 'putKey', requestId, namespace, key, value: bytes }));
    },
    get: (key) => read(key, 0),
    async wait(key, { timeoutMs }) {
      const value = await session.waiting(read(key, Math.max(1, Math.ceil(timeoutMs))));
      if (value === undefined) throw makeError('TIMEOUT', { what: `the key '${key}' of '${namespace}'`, limit: formatDurationMs(timeoutMs) });
      return value;
    },
    async clear() {
      await session.ready;
      session.head.send({ type: 'clearKeys', namespace });
    },
  };
}

/** What two processes of a cluster need to connect to each other by themselves. */
export interface Peering {
  /** This process's own, by which others may {@link watchProcess} it. */
  readonly processId: string;
  /** By which this node is reached from others, as its daemon was told; empty: from nowhere. */
  readonly host: string;
  /** 32 bytes that every process of the cluster has, and nobody else. Made from the cluster's token, which does not follow from them. */
  readonly key: Uint8Array;
}

/** @param purpose of the connections: others have other keys. */
export async function peering(purpose: string): Promise<Peering> {
  const session = requireSession();
  await session.ready;
  const { createHmac } = await import('node:crypto');
  const { processId, endpoint } = session.owner.self;
  return { processId, host: endpoint.host, key: createHmac('sha256', session.token).update(purpose).digest() };
}

/**
 * Has the head say when another process of the cluster is dead, and why, which it knows also where no connection breaks: of a machine that has lost its
 * power, say. At once for one that is dead already; never once this process has lost its own connection to the cluster.
 * @param onDeath gets the cause, to follow the process's name: `was ended by SIGKILL`
 * @returns stops it
 */
export function watchProcess(processId: string, onDeath: (cause: string) => void): () => void {
  return requireSession().owner.deaths.watch(processId, onDeath);
}
