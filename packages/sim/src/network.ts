/**
 * The network between simulated processes: streams that behave as gRPC's do, over links that may be slow, stuck or cut.
 *
 * A stream delivers in order or not at all. Each message takes its own time, so messages of different streams overtake each other. A cut
 * holds messages back: when it heals in time they arrive late, as TCP sends them again; when it lasts, each end gives the
 * connection up at a moment of its own, and what was under way is lost. A process that dies closes its connections; a machine
 * that loses its power does not, so that its peers learn of it late.
 */
import { makeError, MusterError, type Random } from '@muster/base';
import type { MessageStream } from '@muster/protocol';
import type { VirtualClock } from './clock.js';
import { describeMessage, overTheWire, type Methods } from './methods.js';
import type { SimProcess } from './process.js';
import type { Trace } from './trace.js';

/** Drawn evenly from `min` to `max`. */
export type Range = readonly [min: number, max: number];

/** How fast the network is, and how patient. */
export interface NetworkOptions {
  /** Between machines. */
  readonly latencyMs: Range;
  /** Between processes of one machine. */
  readonly localLatencyMs: Range;
  /** How long an end of a connection waits for a silent peer. */
  readonly patienceMs: Range;
  /** Whether every message is encoded and decoded. */
  readonly isOnWire: boolean;
}

/** Serves one stream. Must set `onMessage` and `onEnd` before it returns. */
export type StreamHandler<Name extends keyof Methods> = (
  stream: MessageStream<Methods[Name]['reply'], Methods[Name]['request']>, metadata: Readonly<Record<string, string>>,
) => void;

/** What a process serves. */
export type StreamHandlers = { readonly [Name in keyof Methods]?: StreamHandler<Name> };

/** Messages on their way before a sender is told to wait. */
const CONGESTED_COUNT = 64;

/** What travels from one end to the other. */
type Content =
  | { readonly kind: 'open' }
  | { readonly kind: 'message'; readonly message: unknown }
  /** The sender says no more, and what the receiver answers to that. */
  | { readonly kind: 'end' }
  | { readonly kind: 'ended' }
  | { readonly kind: 'failure'; readonly failure: MusterError };

interface Packet {
  readonly content: Content;
  readonly sentMs: number;
  readonly atMs: number;
}

/** One direction between two machines. */
class Link {
  isCut = false;
  stuckUntilMs = 0;
  /** What each message takes beyond the network's own time, until then. */
  slow = { extraMs: 0, untilMs: 0 };
  /** Ends whose next packet waits for the link. */
  readonly parked = new Set<End>();
}

interface Listener {
  readonly process: SimProcess;
  readonly handlers: StreamHandlers;
}

/** All connections of one cluster. */
export class Network {
  /** Broken rules of the protocol: peers that are not faulty never see one. */
  readonly protocolErrors: string[] = [];
  /** The share of messages between the head and nodes that arrive twice, as they may around a reconnect. */
  duplicateShare = 0;
  /** Messages sent. */
  messageCount = 0;
  /** Whether any link may be cut, stuck or slow. */
  hasTrouble = false;
  readonly #listeners = new Map<string, Listener>();
  readonly #links = new Map<string, Link>();
  readonly #ends = new Map<SimProcess, Set<End>>();
  /** Since when each has no power. */
  readonly #darkHosts = new Map<string, number>();
  #portCount = 0;

  constructor(readonly clock: VirtualClock, readonly random: Random, readonly trace: Trace, readonly options: NetworkOptions) {}

  between([min, max]: Range): number {
    return min + this.random.next() * (max - min);
  }

  newPort(): number {
    return ++this.#portCount;
  }

  /** From now on, streams to this address reach the process. */
  listen(process: SimProcess, address: string, handlers: StreamHandlers): void {
    this.#listeners.set(address, { process, handlers });
  }

  /** Opens a stream. Failures to connect arrive at `onEnd`. */
  open<Name extends keyof Methods>(
    process: SimProcess, address: string, method: Name, metadata: Readonly<Record<string, string>> = {},
  ): MessageStream<Methods[Name]['request'], Methods[Name]['reply']> {
    const client = new End(this, method, true, process);
    client.peer = new End(this, method, false, null, client);
    client.peer.host = this.#listeners.get(address)?.process.host ?? process.host;
    client.address = address;
    client.metadata = metadata;
    this.register(client);
    client.sendPacket({ kind: 'open' });
    return client as unknown as MessageStream<Methods[Name]['request'], Methods[Name]['reply']>;
  }

  /** The listener of an address, if its process lives. */
  listener(address: string): Listener | undefined {
    const listener = this.#listeners.get(address);
    return listener?.process.isAlive ? listener : undefined;
  }

  register(end: End): void {
    const process = end.process!;
    let ends = this.#ends.get(process);
    if (!ends) {
      this.#ends.set(process, (ends = new Set()));
      process.onExit(() => this.#exited(process));
    }
    ends.add(end);
    if (this.isCut(end.host, end.peer.host) || this.isDark(end.peer.host)) this.#giveUpLater(end);
  }

  forget(end: End): void {
    if (end.process) this.#ends.get(end.process)?.delete(end);
  }

  link(from: string, to: string): Link {
    const key = `${from}>${to}`;
    let link = this.#links.get(key);
    if (!link) this.#links.set(key, (link = new Link()));
    return link;
  }

  latencyMs(from: string, to: string): number {
    if (from === to) return this.between(this.options.localLatencyMs);
    const latencyMs = this.between(this.options.latencyMs);
    if (!this.hasTrouble) return latencyMs;
    const { extraMs, untilMs } = this.link(from, to).slow;
    return this.clock.nowMs() < untilMs ? latencyMs + extraMs : latencyMs;
  }

  // ---------------------------------------------------------------- faults

  /** Whether anything is lost between the two machines. */
  isCut(a: string, b: string): boolean {
    return this.hasTrouble && a !== b && (this.link(a, b).isCut || this.link(b, a).isCut);
  }

  /** Lets nothing through from one machine to another until it is healed. */
  cut(from: string, to: string): void {
    const link = this.link(from, to);
    if (link.isCut) return;
    link.isCut = this.hasTrouble = true;
    this.trace.record(this.clock.nowMs(), `cut ${from} -> ${to}`);
    for (const ends of this.#ends.values()) {
      for (const end of ends) if ((end.host === from && end.peer.host === to) || (end.host === to && end.peer.host === from)) this.#giveUpLater(end);
    }
  }

  heal(from: string, to: string): void {
    const link = this.link(from, to);
    if (!link.isCut || this.#darkHosts.has(from) || this.#darkHosts.has(to)) return;
    link.isCut = false;
    this.trace.record(this.clock.nowMs(), `heal ${from} -> ${to}`);
    const parked = [...link.parked];
    link.parked.clear();
    for (const end of parked) end.schedule(this.clock.nowMs() + this.latencyMs(from, to));
  }

  healAll(): void {
    this.duplicateShare = 0;
    for (const key of [...this.#links.keys()]) {
      const [from, to] = key.split('>') as [string, string];
      this.heal(from, to);
      Object.assign(this.link(from, to), { stuckUntilMs: 0, slow: { extraMs: 0, untilMs: 0 } });
    }
    this.hasTrouble = this.#darkHosts.size > 0;
  }

  /** Makes every message from one machine to another late by so much, until that time. */
  slow(from: string, to: string, slow: Link['slow']): void {
    this.hasTrouble = true;
    this.trace.record(this.clock.nowMs(), `slow ${from} -> ${to} by ${slow.extraMs.toFixed(1)} ms`);
    this.link(from, to).slow = slow;
  }

  /** Holds everything from one machine to another until that time. */
  stick(from: string, to: string, untilMs: number): void {
    this.hasTrouble = true;
    this.trace.record(this.clock.nowMs(), `stuck ${from} -> ${to} until ${untilMs.toFixed(1)}`);
    this.link(from, to).stuckUntilMs = untilMs;
  }

  /** Breaks one of these connections: what is under way is lost, and the ends learn of it at different times. */
  breakOne(isMeant: (end: End) => boolean): void {
    const ends = [...this.#ends.values()].flatMap((each) => [...each]).filter((end) => end.isClient && end.peer.process && isMeant(end) && !isVital(end));
    const end = ends[Math.floor(this.random.next() * ends.length)];
    if (!end) return;
    this.trace.record(this.clock.nowMs(), `break ${end.method} of ${end.process!.id} and ${end.peer.process!.id}`);
    for (const each of [end, end.peer]) {
      each.dropQueue();
      each.breakAfter(this.between([0, 2000]));
    }
  }

  /** The machine is without power: nothing leaves it any more, and its connections are not even closed. */
  darken(host: string): void {
    this.hasTrouble = true;
    this.#darkHosts.set(host, this.clock.nowMs());
    this.trace.record(this.clock.nowMs(), `dark ${host}`);
    for (const [process, ends] of this.#ends) {
      for (const end of ends) {
        if (process.host === host) end.dropQueue();
        else if (end.peer.host === host) this.#giveUpLater(end);
      }
    }
  }

  isDark(host: string): boolean {
    return this.#darkHosts.has(host);
  }

  darkSince(host: string): number | undefined {
    return this.#darkHosts.get(host);
  }

  #giveUpLater(end: End): void {
    this.clock.after(this.between(this.options.patienceMs), () => {
      if (this.isCut(end.host, end.peer.host) || this.isDark(end.peer.host)) end.breakAfter(0);
    });
  }

  #exited(process: SimProcess): void {
    const ends = this.#ends.get(process)!;
    this.#ends.delete(process);
    for (const end of ends) end.processExited(this.isDark(process.host));
  }
}

/** A driver without its connection to the head is dead. */
const isVital = (end: End): boolean => end.method === 'Head.Client' && end.process!.id.startsWith('driver-');

const connectionLost = (cause: string): MusterError => makeError('CONNECTION', { what: 'the peer', cause });

/** One end of a stream. */
export class End implements MessageStream<unknown, unknown> {
  onMessage: (message: unknown) => void = () => {};
  onEnd: (failure: MusterError | undefined) => void = () => {};
  onDrain: () => void = () => {};
  peer!: End;
  host: string;
  address = '';
  metadata: Readonly<Record<string, string>> = {};
  isOver = false;
  #isEnding = false;
  #wasCongested = false;
  #lastArrivalMs = 0;
  readonly #queue: Packet[] = [];

  constructor(readonly network: Network, readonly method: keyof Methods, readonly isClient: boolean, public process: SimProcess | null, peer?: End) {
    this.host = process?.host ?? '';
    if (peer) this.peer = peer;
  }

  send(message: unknown): boolean {
    if (this.isOver || this.#isEnding) return false;
    const { options, duplicateShare, random } = this.network;
    const content: Content = { kind: 'message', message: options.isOnWire ? overTheWire(this.method, this.isClient, message) : message };
    this.network.messageCount++;
    this.sendPacket(content);
    if (duplicateShare > 0 && this.method === 'Head.Node' && random.next() < duplicateShare) this.sendPacket(content);
    if (this.#queue.length < CONGESTED_COUNT) return true;
    this.#wasCongested = true;
    return false;
  }

  end(): void {
    if (this.isOver || this.#isEnding) return;
    this.#isEnding = true;
    this.sendPacket({ kind: 'end' });
  }

  destroy(failure?: MusterError): void {
    if (this.isOver) return;
    this.sendPacket({ kind: 'failure', failure: failure ?? connectionLost('the stream was cancelled') });
    if (this.isClient) this.process!.after(0, () => this.#finish(failure ?? connectionLost('cancelled')));
    else this.#finish(failure);
  }

  sendPacket(content: Content): void {
    const sentMs = this.network.clock.nowMs();
    const atMs = sentMs + this.network.latencyMs(this.host, this.peer.host);
    if (this.#queue.push({ content, sentMs, atMs }) === 1) this.schedule(atMs);
  }

  schedule(atMs: number): void {
    this.network.clock.at(Math.max(atMs, this.#lastArrivalMs), this.#arrive);
  }

  /** What has not arrived never will. */
  dropQueue(): void {
    this.#queue.length = 0;
    this.#isEnding = true;
  }

  /** This end learns by itself that the connection is gone. */
  breakAfter(delayMs: number): void {
    if (!this.process) return;
    this.process.after(delayMs, () => {
      if (this.isOver) return;
      this.dropQueue();
      this.#isEnding = false;
      this.sendPacket({ kind: 'failure', failure: connectionLost('the connection broke') });
      this.#finish(connectionLost('the connection broke'));
    });
  }

  /** What the process wrote in its last turn has not left it; what it wrote before has. */
  processExited(isDark: boolean): void {
    this.isOver = true;
    const nowMs = this.network.clock.nowMs();
    const left = this.#queue.filter((packet) => packet.sentMs < nowMs);
    this.#queue.splice(0, this.#queue.length, ...left);
    if (!isDark) this.sendPacket({ kind: 'failure', failure: connectionLost('the process ended') });
  }

  readonly #arrive = (): void => {
    const { network } = this;
    const packet = this.#queue[0];
    if (!packet || packet.atMs > network.clock.nowMs()) return; // this was for one that has been dropped
    if (network.hasTrouble && this.host !== this.peer.host) {
      const link = network.link(this.host, this.peer.host);
      if (network.isDark(this.peer.host) || network.isDark(this.host)) return this.dropQueue();
      if (link.isCut) {
        link.parked.add(this);
        return;
      }
      if (link.stuckUntilMs > network.clock.nowMs()) return this.schedule(link.stuckUntilMs + network.latencyMs(this.host, this.peer.host));
    }
    this.#queue.shift();
    this.#lastArrivalMs = network.clock.nowMs();
    if (this.#queue.length > 0) this.schedule(this.#queue[0]!.atMs);
    else if (this.#wasCongested) {
      this.#wasCongested = false;
      this.process!.enter(() => { if (!this.isOver) this.onDrain(); });
    }
    this.peer.#receive(packet.content);
  };

  #receive(content: Content): void {
    if (content.kind === 'open') return this.#accept();
    const { process } = this;
    if (process?.isAlive && process.isFree) this.#take(content);
    else process?.enter(() => this.#take(content));
  }

  #accept(): void {
    const { network, peer } = this;
    const listener = network.listener(peer.address);
    const handler = listener?.handlers[this.method] as StreamHandler<keyof Methods> | undefined;
    if (!listener || !handler) return this.sendPacket({ kind: 'failure', failure: connectionLost('nobody listens there') });
    this.process = listener.process;
    network.register(this);
    listener.process.enter(() => handler(this as never, peer.metadata));
  }

  #take(content: Content): void {
    if (this.isOver) return;
    switch (content.kind) {
      case 'message': return this.#takeMessage(content.message);
      case 'end':
        this.sendPacket({ kind: 'ended' });
        return this.#finish(undefined);
      case 'ended': return this.#finish(undefined);
      case 'failure': return this.#finish(content.failure);
      case 'open': return; // accepted already
    }
  }

  #takeMessage(message: unknown): void {
    const { network } = this;
    const { trace } = network;
    trace.record(network.clock.nowMs(), trace.wantsText ? `${this.peer.process?.id ?? '?'} -> ${this.process!.id}: ${describeMessage(this.method, !this.isClient, message)}` : '');
    try {
      this.onMessage(message);
    } catch (error) {
      if (!(error instanceof MusterError)) throw error;
      network.protocolErrors.push(`${this.process!.id} could not take a message of ${this.peer.process?.id} on ${this.method}: ${error.message}`);
      this.destroy(error);
    }
  }

  #finish(failure: MusterError | undefined): void {
    if (this.isOver) return;
    this.isOver = true;
    this.network.forget(this);
    this.onEnd(failure);
  }
}
