/** This process's connection to the head. */
import { makeError, type MusterError } from '@muster/base';
import { failureFromMessage, type ClientHello, type ClientToHead, type HeadToClient, type MessageStream, type RequestReply, type Welcome } from '@muster/protocol';
import { Channel } from '@muster/protocol/rpc';

/** The head answers from its tables, or gives others a second. */
const QUERY_TIMEOUT_MS = 10_000;

export interface HeadClientOptions {
  readonly target: string;
  readonly token: string;
  /** Does not keep this process alive. */
  readonly unref: boolean;
  readonly onMessage: (message: HeadToClient) => void;
  readonly onClosed: (failure: MusterError | undefined) => void;
}

export class HeadClient {
  welcome!: Welcome;
  readonly #channel: Channel;
  readonly #options: HeadClientOptions;
  #stream: MessageStream<ClientToHead, HeadToClient> | null = null;
  readonly #requests = new Map<number, { readonly resolve: (reply: RequestReply) => void; readonly reject: (error: MusterError) => void }>();
  #requestCount = 0;
  #onJobEnded: () => void = () => {};
  #closed = false;

  /** Begins to connect: what is said in the hello may become known meanwhile. */
  constructor(options: HeadClientOptions) {
    this.#options = options;
    this.#channel = new Channel({ target: options.target, token: options.token, unref: options.unref, peer: `the head at ${options.target}` });
    this.#channel.connect();
  }

  /** Says hello, once, and resolves with `welcome` set. @throws MusterError; close it then */
  async hello(hello: ClientHello): Promise<void> {
    const options = this.#options;
    const stream = (this.#stream = this.#channel.open('Head.Client'));
    this.welcome = await new Promise((resolve, reject) => {
      stream.onMessage = (message) => {
        switch (message.type) {
          case 'welcome': return message.failure ? reject(failureFromMessage(message.failure)) : resolve(message);
          case 'requestReply': {
            this.#requests.get(message.requestId)?.resolve(message);
            this.#requests.delete(message.requestId);
            return;
          }
          case 'jobEnded': return this.#onJobEnded();
          default: return options.onMessage(message);
        }
      };
      stream.onEnd = (failure) => {
        const error = failure ?? makeError('CONNECTION', { what: 'the head', cause: 'it closed the connection' });
        reject(error);
        this.#end(error);
        this.#onJobEnded();
        options.onClosed(failure);
      };
      this.send({ type: 'clientHello', ...hello });
    });
  }

  /** Nothing will be answered any more. */
  #end(error: MusterError): void {
    this.#closed = true;
    for (const request of this.#requests.values()) request.reject(error);
    this.#requests.clear();
  }

  send(message: ClientToHead): void {
    if (!this.#closed) this.#stream!.send(message);
  }

  /** Sends a message that the head answers. @throws MusterError the failure that it names, or why it cannot answer */
  async request(message: (requestId: number) => ClientToHead): Promise<RequestReply> {
    if (this.#closed) throw closedError();
    const requestId = ++this.#requestCount;
    const reply = await new Promise<RequestReply>((resolve, reject) => {
      this.#requests.set(requestId, { resolve, reject });
      this.send(message(requestId));
    });
    if (reply.failure) throw failureFromMessage(reply.failure);
    return reply;
  }

  /** Asks what the command line asks; the answers' shapes are the head's. @throws MusterError */
  async query(what: string, args: Readonly<Record<string, string>>): Promise<unknown> {
    if (this.#closed) throw closedError();
    const reply = await this.#channel.request('Head.Query', { what, arguments: { ...args }, json: '' }, QUERY_TIMEOUT_MS);
    if (reply.failure) throw failureFromMessage(reply.failure);
    return JSON.parse(reply.json);
  }

  /** Ends the job in order: resolves when all of its output has arrived, or after the deadline. */
  async endJob(deadlineMs: number): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, deadlineMs);
      this.#onJobEnded = () => { clearTimeout(timer); resolve(); };
      this.send({ type: 'endJob', cause: null });
    });
  }

  close(): void {
    if (!this.#closed) this.#stream?.end();
    this.#end(closedError());
    this.#channel.close();
  }
}

const closedError = (): MusterError => makeError('NOT_CONNECTED', { cause: 'to the head is closed' });
