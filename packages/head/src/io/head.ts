/** A head in this process: the machine between its gRPC server and its clock. */
import { assert, makeError, type Clock, type Logger, type MusterError, type Random } from '@muster/base';
import { targetOf, type QueryReply, type QueryRequest } from '@muster/protocol';
import { RpcServer } from '@muster/protocol/rpc';
import { HeadMachine } from '../machine/head-machine.js';
import { TICK_MS, type HeadEffect, type HeadEvent } from '../machine/messages.js';
import type { QueueRules } from '../machine/queues.js';
import { Streams } from './streams.js';

const HEARTBEAT_INTERVAL_MS = 500;
/** Ten missed heartbeats: a machine that is merely overloaded gets some through. */
const NODE_TIMEOUT_MS = 5_000;
/** Of node timeouts: a cluster that gives up nodes sooner also waits less for others in their place. */
export const LOST_NODE_GRACE_TIMEOUTS = 6;
/** Digits of a cluster's id: enough to tell clusters of one network apart. */
const CLUSTER_ID_DIGITS = 12;

/** What a head needs from the process it runs in. */
export interface HeadOptions {
  /** What every connection must show. */
  readonly token: string;
  /** Where programs on this machine find the token. */
  readonly tokenFile: string;
  /** At least one of the two addresses. The socket's folder must exist and be 0700. */
  readonly listenUnixPath?: string;
  /** Port 0 takes any free one. */
  readonly listen?: { readonly host: string; readonly port: number };
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly heartbeatIntervalMs?: number;
  readonly nodeTimeoutMs?: number;
  /** How long demands that only a lost node could have held wait for another one like it, before they are infeasible. Six node timeouts when absent. */
  readonly lostNodeGraceMs?: number;
  /** There is one named `default` when absent. */
  readonly queues?: readonly QueueRules[];
}

/** A head that listens. */
export interface RunningHead {
  readonly clusterId: string;
  /** Of TCP; null without it. */
  readonly port: number | null;
  /** Resolves with the reason when the cluster was told to stop and the nodes have left. The head still has to be closed. */
  readonly stopped: Promise<string>;
  /** Ends all connections at once. */
  close(): Promise<void>;
}

/** Starts a head. @throws MusterError CONNECTION when an address is taken */
export async function startHead(options: HeadOptions): Promise<RunningHead> {
  assert(options.listenUnixPath !== undefined || options.listen !== undefined, 'a head listens somewhere');
  const head = new Head(options);
  await head.listen();
  return head;
}

class Head implements RunningHead {
  readonly clusterId: string;
  readonly stopped: Promise<string>;
  port: number | null = null;
  readonly #options: HeadOptions;
  readonly #server: RpcServer;
  readonly #streams = new Streams();
  readonly #queries = new Map<number, PromiseWithResolvers>();
  readonly #events: HeadEvent[] = [];
  #machine: HeadMachine | null = null;
  #ticker: NodeJS.Timeout | undefined;
  #queryCount = 0;
  #isStepping = false;
  #stop!: (reason: string) => void;

  constructor(options: HeadOptions) {
    this.#options = options;
    this.clusterId = `cluster-${options.random.hex(CLUSTER_ID_DIGITS)}`;
    this.stopped = new Promise((resolve) => { this.#stop = resolve; });
    this.#server = new RpcServer({
      token: options.token, self: 'the head',
      handlers: {
        'Head.Node': (stream) => {
          const id = this.#streams.add(stream);
          stream.onMessage = (message) => this.#dispatch({ type: 'nodeMessage', stream: id, message });
          stream.onEnd = (failure) => { if (this.#streams.remove(id)) this.#dispatch({ type: 'nodeClosed', stream: id, orderly: failure === undefined }); };
          this.#dispatch({ type: 'nodeOpened', stream: id });
        },
        'Head.Client': (stream) => {
          const id = this.#streams.add(stream);
          stream.onMessage = (message) => this.#dispatch({ type: 'clientMessage', stream: id, message });
          stream.onEnd = () => { if (this.#streams.remove(id)) this.#dispatch({ type: 'clientClosed', stream: id }); };
          this.#dispatch({ type: 'clientOpened', stream: id });
        },
        'Head.Query': (request) => this.#query(request),
      },
    });
  }

  async listen(): Promise<void> {
    const { listen, listenUnixPath, clock, random, tokenFile, heartbeatIntervalMs, nodeTimeoutMs = NODE_TIMEOUT_MS, lostNodeGraceMs, queues = [] } = this.#options;
    if (listen !== undefined) this.port = await this.#server.listenTcp(listen.host, listen.port);
    if (listenUnixPath !== undefined) await this.#server.listenUnix(listenUnixPath);
    this.#machine = new HeadMachine({
      clusterId: this.clusterId, tokenFile, address: listenUnixPath !== undefined ? `unix:${listenUnixPath}` : localAddress(listen!.host, this.port!),
      heartbeatIntervalMs: heartbeatIntervalMs ?? HEARTBEAT_INTERVAL_MS, nodeTimeoutMs, lostNodeGraceMs: lostNodeGraceMs ?? LOST_NODE_GRACE_TIMEOUTS * nodeTimeoutMs, queues,
    }, random, clock.nowMs());
    this.#ticker = setInterval(() => this.#dispatch({ type: 'tick' }), TICK_MS);
  }

  async close(): Promise<void> {
    clearInterval(this.#ticker);
    this.#machine = null;
    this.#server.close();
    for (const query of this.#queries.values()) query.reject(makeError('CONNECTION', { what: 'the head', cause: 'it was closed' }));
    this.#queries.clear();
  }

  #query(request: QueryRequest): Promise<QueryReply> {
    const queryId = ++this.#queryCount;
    return new Promise((resolve, reject) => {
      this.#queries.set(queryId, { resolve, reject });
      this.#dispatch({ type: 'query', queryId, request });
    });
  }

  /**
   * Sending may close a stream, whose end is an event of its own: one step ends before the next begins. What comes before the
   * machine is there (it must know its port) waits for the first tick.
   */
  #dispatch(event: HeadEvent): void {
    this.#events.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      while (this.#machine !== null && this.#events.length > 0) {
        for (const effect of this.#machine.step(this.#events.shift()!, this.#options.clock.nowMs())) this.#perform(effect);
      }
    } finally {
      this.#isStepping = false;
    }
  }

  #perform(effect: HeadEffect): void {
    switch (effect.type) {
      case 'sendToNode':
        if (!this.#streams.send(effect.stream, effect.message)) this.#events.push({ type: 'nodeClosed', stream: effect.stream, orderly: false });
        return;
      case 'sendToClient':
        if (!this.#streams.send(effect.stream, effect.message)) this.#events.push({ type: 'clientClosed', stream: effect.stream });
        return;
      case 'closeNode':
      case 'closeClient': return this.#streams.close(effect.stream, effect.failure);
      case 'answerQuery': return this.#answer(effect.queryId, effect.reply);
      case 'log': return this.#options.logger[effect.level](effect.event, { ...effect.fields });
      case 'stop': return this.#stop(effect.reason);
    }
  }

  #answer(queryId: number, reply: QueryReply): void {
    this.#queries.get(queryId)?.resolve(reply);
    this.#queries.delete(queryId);
  }
}

/** How programs on this machine reach a TCP address. */
function localAddress(host: string, port: number): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return targetOf({ nodeId: '', unixPath: '', host: reachable, port }, '');
}

interface PromiseWithResolvers {
  readonly resolve: (reply: QueryReply) => void;
  readonly reject: (failure: MusterError) => void;
}
