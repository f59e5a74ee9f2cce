/** What the daemon answers: the object store for processes of this node, and objects for other nodes. */
import { rmSync } from 'node:fs';
import { basename } from 'node:path';
import { makeError, type MusterError } from '@muster/base';
import { NO_ENDPOINT, type Endpoint, type MessageStream, type StoreHello, type StoreReply, type StoreRequest, type WorkerCommand } from '@muster/protocol';
import type { Handlers } from '@muster/protocol/rpc';
import type { ObjectStore, StoreConnection } from '@muster/store';

type StoreStream = MessageStream<StoreReply, StoreRequest>;

/** The store behind the service, and who hears of its clients. */
export interface StoreServiceOptions {
  readonly nodeId: string;
  readonly arenaPath: string;
  readonly arenaBytes: number;
  /** Of this daemon; known once it listens. */
  readonly endpoint: () => Endpoint;
  readonly store: ObjectStore;
  readonly onConnected: (processId: string, endpoint: Endpoint) => void;
  readonly onDisconnected: (processId: string) => void;
  /** Whether others would lose something if the process ended while it is idle. */
  readonly onNeeded: (processId: string, isNeeded: boolean) => void;
}

/** The handlers of the daemon's gRPC service. */
export class StoreService {
  readonly #options: StoreServiceOptions;
  /** The newest stream of each process. */
  readonly #streams = new Map<string, StoreStream>();

  constructor(options: StoreServiceOptions) {
    this.#options = options;
  }

  handlers(): Handlers {
    const { store } = this.#options;
    return {
      'Daemon.Store': (stream) => this.#serve(stream),
      'Daemon.Pull': ({ objectId, requesterNodeId }) => store.serve(objectId, requesterNodeId),
      'Daemon.Free': ({ objectIds }) => {
        store.peerFreed(objectIds);
        return Promise.resolve({});
      },
    };
  }

  /** Tells a worker what it is leased for. One that is not connected is about to die. */
  command(workerId: string, command: WorkerCommand): void {
    this.#streams.get(workerId)?.send({ type: 'workerCommand', ...command });
  }

  /** Asks all clients to let go of objects that only their garbage holds. */
  collectGarbage(): void {
    for (const stream of this.#streams.values()) stream.send({ type: 'collectGarbage' });
  }

  #serve(stream: StoreStream): void {
    stream.onEnd = () => {};
    stream.onMessage = (message) => {
      if (message.type !== 'storeHello') return stream.destroy(brokenRule('a store client', `it sent ${message.type} before storeHello`));
      if (!message.processId) return stream.destroy(brokenRule('a store client', 'its storeHello names no process'));
      this.#welcome(stream, message);
    };
  }

  #welcome(stream: StoreStream, hello: StoreHello): void {
    const { nodeId, arenaPath, arenaBytes, endpoint, store, onConnected, onDisconnected, onNeeded } = this.#options;
    const { processId } = hello;
    const connection: StoreConnection = store.connect(processId, {
      onReply: (reply) => { stream.send(reply); },
      onDrop: (failure) => stream.destroy(failure),
    });
    this.#streams.set(processId, stream);
    stream.onMessage = (message) => {
      if (message.type === 'storeHello') stream.destroy(brokenRule(processId, 'it sent storeHello twice'));
      else if (message.type === 'sync') stream.send({ type: 'synced', requestId: message.requestId }); // requests are carried out as they come
      else if (message.type === 'ownerNeeded') onNeeded(processId, message.needed);
      else connection.request(message);
    };
    stream.onEnd = () => {
      connection.end();
      if (this.#streams.get(processId) !== stream) return; // it has connected anew
      this.#streams.delete(processId);
      removeSocket(processId, hello.endpoint);
      onDisconnected(processId);
    };
    stream.send({ type: 'storeWelcome', nodeId, arenaPath, arenaBytes, failure: null, endpoint: endpoint() });
    onConnected(processId, hello.endpoint ?? NO_ENDPOINT);
  }
}

/** A process that was killed has left the file of the socket on which it listened. */
function removeSocket(processId: string, endpoint: Endpoint | null): void {
  if (endpoint && basename(endpoint.unixPath) === `${processId}.sock`) rmSync(endpoint.unixPath, { force: true });
}

function brokenRule(what: string, cause: string): MusterError {
  return makeError('PROTOCOL', { what, cause });
}
