/** A head that accepts every node and does what a test says. It keeps everything that nodes told it. */
import type { HeadToNode, MessageStream, NodeToHead } from '@muster/protocol';
import { RpcServer } from '@muster/protocol/rpc';
import type { MusterError } from '@muster/base';

type Message<Type extends NodeToHead['type']> = NodeToHead & { readonly type: Type };

/** How the head behaves. */
export interface FakeHeadOptions {
  readonly socketPath: string;
  readonly token: string;
  readonly nodeTimeoutMs?: number;
  /** Set: nodes are refused with it. */
  readonly refusal?: MusterError;
}

/** The head's side of Head.Node, on a unix socket. */
export class FakeHead {
  readonly received: NodeToHead[] = [];
  readonly target: string;
  /** How the last stream of a node ended; undefined while it has not. */
  lastEnd: { readonly isOrderly: boolean } | undefined;
  registrations = 0;
  readonly #options: FakeHeadOptions;
  readonly #streams = new Map<string, MessageStream<HeadToNode, NodeToHead>>();
  readonly #watchers = new Set<() => void>();
  #server: RpcServer | null = null;

  constructor(options: FakeHeadOptions) {
    this.#options = options;
    this.target = `unix:${options.socketPath}`;
  }

  async listen(): Promise<void> {
    this.#server = new RpcServer({ token: this.#options.token, self: 'the head', handlers: { 'Head.Node': (stream) => this.#serve(stream) } });
    await this.#server.listenUnix(this.#options.socketPath);
  }

  /** Breaks all connections and listens no more. */
  close(): void {
    this.#server?.close();
    this.#streams.clear();
  }

  send(nodeId: string, message: HeadToNode): void {
    this.#streams.get(nodeId)!.send(message);
  }

  /** The next message of this type that fits and was not waited for yet; it may have come already. */
  async next<Type extends NodeToHead['type']>(type: Type, fits: (message: Message<Type>) => boolean = () => true): Promise<Message<Type>> {
    const isWanted = (message: NodeToHead): boolean => message.type === type && fits(message as Message<Type>);
    await this.until(() => this.received.some(isWanted));
    return this.received.splice(this.received.findIndex(isWanted), 1)[0] as Message<Type>;
  }

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (!condition()) return;
        this.#watchers.delete(check);
        resolve();
      };
      this.#watchers.add(check);
      check();
    });
  }

  #serve(stream: MessageStream<HeadToNode, NodeToHead>): void {
    stream.onMessage = (message) => {
      if (message.type === 'registerNode') {
        this.registrations++;
        this.#streams.set(message.nodeId, stream);
        const { refusal, nodeTimeoutMs } = this.#options;
        const failure = refusal ? { code: refusal.code, details: refusal.details as Record<string, string> } : null;
        stream.send({ type: 'nodeRegistered', clusterId: 'cluster-test', heartbeatIntervalMs: 100, nodeTimeoutMs: nodeTimeoutMs ?? 5000, failure });
      }
      this.received.push(message);
      this.#notify();
    };
    stream.onEnd = (failure) => {
      this.lastEnd = { isOrderly: failure === undefined };
      this.#notify();
    };
  }

  #notify(): void {
    for (const check of [...this.#watchers]) check();
  }
}
