/** The head's real machine in a simulated process, wired as in @muster/head's io. */
import type { MessageStream } from '@muster/protocol';
import { HeadMachine, LOST_NODE_GRACE_TIMEOUTS, TICK_MS, type HeadEffect, type HeadEvent, type QueueRules } from '@muster/head';
import type { SimProcess } from './process.js';
import { Violation } from './violation.js';
import { record, type World } from './world.js';

/** The head's patience. */
export interface HeadOptions {
  readonly heartbeatIntervalMs: number;
  readonly nodeTimeoutMs: number;
  readonly queues?: readonly QueueRules[];
}

type Stream = MessageStream<unknown, unknown>;

/** The head of a cluster. */
export class SimHead {
  readonly machine: HeadMachine;
  /** When each node was declared dead. */
  readonly nodeDeaths = new Map<string, number>();
  readonly #streams = new Map<number, Stream>();
  readonly #events: HeadEvent[] = [];
  readonly #answers = new Map<number, (json: string) => void>();
  #streamCount = 0;
  #queryCount = 0;
  #isStepping = false;

  constructor(readonly world: World, readonly process: SimProcess, readonly address: string, readonly options: HeadOptions) {
    this.machine = new HeadMachine({ clusterId: 'cluster-1', address, tokenFile: '', queues: [], lostNodeGraceMs: LOST_NODE_GRACE_TIMEOUTS * options.nodeTimeoutMs, ...options }, world.workload, world.clock.nowMs());
    world.network.listen(process, address, {
      'Head.Node': (stream) => {
        const id = this.#add(stream as Stream);
        stream.onMessage = (message) => {
          process.spend(world.costs.headMessageMs);
          this.#dispatch({ type: 'nodeMessage', stream: id, message });
        };
        stream.onEnd = (failure) => { if (this.#streams.delete(id)) this.#dispatch({ type: 'nodeClosed', stream: id, orderly: failure === undefined }); };
        this.#dispatch({ type: 'nodeOpened', stream: id });
      },
      'Head.Client': (stream) => {
        const id = this.#add(stream as Stream);
        stream.onMessage = (message) => {
          process.spend(world.costs.headMessageMs);
          this.#dispatch({ type: 'clientMessage', stream: id, message });
        };
        stream.onEnd = () => { if (this.#streams.delete(id)) this.#dispatch({ type: 'clientClosed', stream: id }); };
        this.#dispatch({ type: 'clientOpened', stream: id });
      },
    });
    process.every(TICK_MS, () => this.#dispatch({ type: 'tick' }));
  }

  /** Asks the head, as the command line does. */
  query(what: string, args: Readonly<Record<string, string>>, answer: (json: string) => void = () => {}): void {
    this.#answers.set(++this.#queryCount, answer);
    this.#dispatch({ type: 'query', queryId: this.#queryCount, request: { what, arguments: args, json: '' } });
  }

  #add(stream: Stream): number {
    this.#streams.set(++this.#streamCount, stream);
    return this.#streamCount;
  }

  /** One step ends before the next begins. */
  #dispatch(event: HeadEvent): void {
    this.#events.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    for (let next = this.#events.shift(); next; next = this.#events.shift()) {
      for (const effect of this.machine.step(next, this.world.clock.nowMs())) this.#perform(effect);
    }
    this.#isStepping = false;
  }

  /** @throws Violation when it serves a job of no higher priority */
  #checkPreemption({ id, by }: { readonly id: string; readonly by: string }): void {
    const { leases, groups, jobs } = this.machine;
    const victim = jobs.find((leases.byId.get(id)?.demand ?? groups.live.get(id)!).jobId)!;
    if (victim.priority >= jobs.find(by)!.priority) throw new Violation(`${id} of ${victim.id} was preempted for ${by}, which is of no higher priority`);
  }

  #perform(effect: HeadEffect): void {
    switch (effect.type) {
      case 'sendToNode':
      case 'sendToClient':
        if (effect.message.type === 'leasePreempted') this.world.ledger.preempted(effect.message.leaseId);
        return void this.#streams.get(effect.stream)?.send(effect.message);
      case 'closeNode':
      case 'closeClient': {
        const stream = this.#streams.get(effect.stream);
        this.#streams.delete(effect.stream);
        if (effect.failure === null) stream?.end();
        else stream?.destroy(effect.failure);
        const isSilence = /said nothing/.test(effect.failure?.message ?? ''); // the machine behind it is dark
        if (effect.failure?.code === 'PROTOCOL' && !isSilence) this.world.network.protocolErrors.push(`the head ended a stream: ${effect.failure.message}`);
        return;
      }
      case 'answerQuery': {
        this.#answers.get(effect.queryId)?.(effect.reply.json);
        this.#answers.delete(effect.queryId);
        return;
      }
      case 'log':
        if (effect.event === 'preempted') this.#checkPreemption(effect.fields as { readonly id: string; readonly by: string });
        if (effect.event === 'node-died') this.nodeDeaths.set(String(effect.fields['nodeId']), this.world.clock.nowMs());
        return this.world.trace.wantsText ? record(this.world, `head: ${effect.event} ${JSON.stringify(effect.fields)}`) : undefined;
      case 'stop': return;
    }
  }
}
