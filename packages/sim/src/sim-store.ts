/** A node's object store: the real machine, over an arena and files that only remember what lies in them. */
import { errorFromWire, type MusterError } from '@muster/base';
import { targetOf, type Chunk, type Endpoint, type MessageStream, type PullRequest, type StoreReply, type StoreRequest } from '@muster/protocol';
import { FREE_RETRY_MS, PULL_IDLE_TIMEOUT_MS } from '@muster/daemon';
import { StoreMachine, type ClientReply, type ClientRequest, type StoreEffect, type StoreEvent, type StoreLocation } from '@muster/store';
import { Arena, type StoredBytes } from './arena.js';
import type { SimProcess } from './process.js';
import type { World } from './world.js';

/** Bytes that go over the network, or to a disk, in a millisecond. */
const BYTES_PER_MS = 500 * 2 ** 10;
/** The unit in which the real arena grows. */
const SEGMENT_BYTES = 2 ** 20;

interface Listener {
  readonly onReply: (reply: ClientReply) => void;
  readonly onDrop: (failure: MusterError) => void;
  readonly onFile: (fileId: number, sizeBytes: number) => void;
}

/** Which node's store it is. */
export interface SimStoreOptions {
  readonly nodeId: string;
  readonly totalBytes: number;
  /** Of the daemon. */
  readonly process: SimProcess;
  /** Where a node's daemon listens, by its id. */
  readonly endpointOf: (nodeId: string) => Endpoint | undefined;
}

/** The object store of one node. */
export class SimStore {
  readonly machine: StoreMachine;
  readonly arena = new Arena();
  readonly #files = new Map<number, StoredBytes>();
  readonly #listeners = new Map<string, Listener>();
  readonly #pulls = new Map<number, () => void>();
  readonly #events: StoreEvent[] = [];
  /** Nothing more can be written to the node's disk. */
  isDiskFull = false;
  #isStepping = false;
  #clientCount = 0;

  constructor(readonly world: World, readonly options: SimStoreOptions) {
    this.machine = new StoreMachine({ nodeId: options.nodeId, totalBytes: options.totalBytes, segmentBytes: SEGMENT_BYTES });
  }

  connect(processId: string, peerNodeId: string | null, listener: Listener): { readonly request: (request: ClientRequest) => void; readonly end: () => void } {
    const clientId = `client-${++this.#clientCount}`;
    this.#listeners.set(clientId, listener);
    this.step({ type: 'clientStarted', clientId, processId, peerNodeId });
    return {
      request: (request) => this.step({ type: 'request', clientId, request }),
      end: () => {
        this.#listeners.delete(clientId);
        this.step({ type: 'clientEnded', clientId });
      },
    };
  }

  /** Serves a process of this node, whose hello has been read. */
  serveClient(processId: string, stream: MessageStream<StoreReply, StoreRequest>): { readonly request: (request: ClientRequest) => void; readonly end: () => void } {
    return this.connect(processId, null, {
      onReply: (reply) => { stream.send(reply); },
      onDrop: (failure) => {
        this.world.network.protocolErrors.push(`the store of ${this.options.nodeId} dropped ${processId}: ${failure.message}`);
        stream.destroy(failure);
      },
      onFile: () => {},
    });
  }

  /** Sends an object to another node. */
  servePull(stream: MessageStream<Chunk, PullRequest>): void {
    stream.onEnd = () => {};
    stream.onMessage = ({ objectId, requesterNodeId }) => {
      let isOver = false;
      const send = (bytes: StoredBytes, sizeBytes: number): void => {
        this.options.process.after(sizeBytes / BYTES_PER_MS, () => {
          if (isOver) return;
          stream.send({ objectSizeBytes: sizeBytes, offset: bytes.value.tag, data: bytes.value.bytes });
          stream.end();
          connection.end();
        });
      };
      const connection = this.connect(`the peer ${requesterNodeId}`, requesterNodeId, {
        onReply: (reply) => {
          if (reply.failure) stream.destroy(errorFromWire(reply.failure));
          else send(this.arena.read(reply.offset, objectId), reply.sizeBytes);
        },
        onFile: (fileId, sizeBytes) => send(this.#files.get(fileId)!, sizeBytes),
        onDrop: (failure) => stream.destroy(failure),
      });
      stream.onEnd = () => {
        isOver = true;
        connection.end();
      };
      connection.request({ type: 'fetch', requestId: 1, objectId, sizeBytes: 0, locations: [] });
    };
  }

  step(event: StoreEvent): void {
    this.#events.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    for (let next = this.#events.shift(); next; next = this.#events.shift()) {
      for (const effect of this.machine.step(next, this.world.clock.nowMs())) this.#perform(effect);
    }
    this.#isStepping = false;
  }

  #perform(effect: StoreEffect): void {
    const { process } = this.options;
    switch (effect.type) {
      case 'reply': return this.#listeners.get(effect.clientId)?.onReply(effect.reply);
      case 'serveFile': return this.#listeners.get(effect.clientId)?.onFile(effect.fileId, effect.sizeBytes);
      case 'dropClient': return this.#listeners.get(effect.clientId)?.onDrop(effect.failure);
      case 'commit': return this.#later(1, () => this.step({ type: 'committed', commitId: effect.commitId, failure: null }));
      case 'spillWrite': return this.#later(effect.sizeBytes / BYTES_PER_MS, () => {
        if (this.isDiskFull) return this.step({ type: 'spilled', fileId: effect.fileId, failure: 'no space left on device' });
        this.#files.set(effect.fileId, this.arena.at(effect.offset));
        this.step({ type: 'spilled', fileId: effect.fileId, failure: null });
      });
      case 'spillRead': return this.#later(effect.sizeBytes / BYTES_PER_MS, () => {
        this.arena.write(effect.offset, this.#files.get(effect.fileId)!);
        this.step({ type: 'transferred', transferId: effect.transferId, failure: null, missingOn: null });
      });
      case 'spillDelete': return void this.#files.delete(effect.fileId);
      case 'pull': return this.#pull(effect);
      case 'cancelPull': return this.#pulls.get(effect.transferId)?.();
      case 'forwardFree': return this.#forwardFree(effect.nodeId, effect.location, effect.objectIds);
      case 'wake': return void process.after(Math.max(0, effect.atMs - this.world.clock.nowMs()), () => this.step({ type: 'tick' }));
      case 'log': return;
    }
  }

  #later(delayMs: number, action: () => void): void {
    this.options.process.after(delayMs, action);
  }

  #pull({ transferId, objectId, offset, location }: StoreEffect & { type: 'pull' }): void {
    const { process, nodeId } = this.options;
    const stream = this.world.network.open(process, targetOf(location, nodeId), 'Daemon.Pull');
    let bytes: StoredBytes | null = null;
    const finish = (failure: string | null, isMissing = false): void => {
      if (!this.#pulls.delete(transferId)) return;
      if (failure === null) this.arena.write(offset, bytes!);
      else stream.destroy();
      this.step({ type: 'transferred', transferId, failure: failure && `${location.nodeId}: ${failure}`, missingOn: isMissing ? location.nodeId : null });
    };
    this.#pulls.set(transferId, () => finish('cancelled'));
    stream.onMessage = ({ offset: tag, data }) => { bytes = { objectId, value: { tag, bytes: data } }; };
    stream.onEnd = (failure) => finish(failure ? failure.message : bytes ? null : 'only 0 bytes came', failure?.code === 'OBJECT_LOST');
    stream.send({ objectId, requesterNodeId: nodeId });
    process.after(PULL_IDLE_TIMEOUT_MS, () => finish('it sent nothing for 10 s'));
  }

  /** Again and again, until the node has heard it or has left. */
  #forwardFree(nodeId: string, location: StoreLocation | null, objectIds: readonly string[]): void {
    const endpoint = location ?? this.options.endpointOf(nodeId);
    if (!endpoint) return;
    const stream = this.world.network.open(this.options.process, targetOf(endpoint, this.options.nodeId), 'Daemon.Free');
    stream.onEnd = (failure) => {
      if (failure && this.options.endpointOf(nodeId)) this.#later(FREE_RETRY_MS, () => this.#forwardFree(nodeId, location, objectIds));
    };
    stream.send({ objectIds });
    stream.end();
  }
}
