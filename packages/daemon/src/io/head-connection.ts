/** The daemon's stream to the head: opened anew when the machine says so. Only the newest one speaks. */
import type { MusterError } from '@muster/base';
import type { HeadToNode, MessageStream, NodeToHead } from '@muster/protocol';
import { Channel } from '@muster/protocol/rpc';

/** How long a goodbye may take to get through. */
const GOODBYE_TIMEOUT_MS = 500;

/** Where the head is, and who hears it. */
export interface HeadConnectionOptions {
  readonly target: string;
  readonly token: string;
  readonly onMessage: (message: HeadToNode) => void;
  readonly onEnd: (failure: MusterError | null) => void;
}

/** At most one stream to the head at a time. */
export class HeadConnection {
  readonly #options: HeadConnectionOptions;
  #channel: Channel | null = null;
  #stream: MessageStream<NodeToHead, HeadToNode> | null = null;
  #goodbye: Promise<void> | null = null;

  constructor(options: HeadConnectionOptions) {
    this.#options = options;
  }

  connect(): void {
    this.disconnect();
    const { target, token, onMessage, onEnd } = this.#options;
    // A channel of its own: one that has failed before would wait before it tries again.
    const channel = new Channel({ target, token, peer: `the head at ${target}` });
    const stream = channel.open('Head.Node');
    stream.onMessage = (message) => {
      if (this.#stream === stream) onMessage(message);
    };
    stream.onEnd = (failure) => {
      channel.close();
      if (this.#stream !== stream) return;
      this.#stream = null;
      onEnd(failure ?? null);
    };
    this.#channel = channel;
    this.#stream = stream;
  }

  send(message: NodeToHead): void {
    this.#stream?.send(message);
  }

  /** Breaks the connection off. */
  disconnect(): void {
    const stream = this.#stream;
    this.#stream = null;
    stream?.destroy();
    this.#channel?.close();
  }

  /** Ends the stream after all that was sent. */
  sayGoodbye(): void {
    const stream = this.#stream;
    const channel = this.#channel;
    this.#stream = null;
    if (!stream) return;
    this.#goodbye = new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        channel?.close();
        resolve();
      };
      const timer = setTimeout(finish, GOODBYE_TIMEOUT_MS);
      stream.onEnd = finish;
      stream.end();
    });
  }

  /** Resolves when the goodbye has been heard, or cannot be. */
  async close(): Promise<void> {
    if (this.#goodbye) return this.#goodbye;
    this.disconnect();
  }
}
