/** A simulated worker process: one session and one executor, from its start to its end. It follows @muster/worker's main. */
import { makeError, type WorkerId } from '@muster/base';
import { framePayload, type Endpoint, type HeadToClient, type MessageStream, type StartActor, type WorkerCommand } from '@muster/protocol';
import type { Arena } from './arena.js';
import { CallerLine } from './caller-line.js';
import { CodeContext } from './code-context.js';
import { KILLED, type SimProcess } from './process.js';
import { runProgram, type Program } from './program.js';
import { SimExecutor } from './sim-executor.js';
import { SimSession } from './sim-session.js';
import { encodeError, refsIn } from './values.js';
import type { World } from './world.js';

/** Where a worker listens and connects. */
export interface WorkerOptions {
  readonly endpoint: Endpoint;
  readonly daemonAddress: string;
  readonly headAddress: string;
  readonly arena: Arena;
}

/** One worker. */
export class SimWorker {
  readonly session: SimSession;
  readonly executor: SimExecutor;
  #lease: WorkerCommand | null = null;
  readonly #served = new Map<CallerLine, MessageStream<Uint8Array, Uint8Array>>();

  constructor(readonly world: World, readonly process: SimProcess, options: WorkerOptions) {
    this.session = new SimSession(world, process, {
      ...options, processId: process.id as WorkerId, isDriver: false,
      handlers: { 'Peer.Tasks': (stream, metadata) => this.#serve(stream, metadata) },
      onCommand: (command) => this.#command(command),
      onHeadMessage: (message) => this.#takeHeadMessage(message),
      onReady: () => {},
      onClosed: () => process.exit({ code: 1, signal: null }),
      roots: () => [...this.executor.escrow(), ...refsIn(this.executor.actor?.state)],
    });
    this.executor = new SimExecutor({ session: this.session, leaseId: () => this.#lease?.leaseId ?? '' });
    process.onExit(() => world.ledger.died(process.id));
    this.session.connect();
  }

  get leaseId(): string {
    return this.#lease?.leaseId ?? '';
  }

  #command(command: WorkerCommand): void {
    if (command.exit) return this.process.exit({ code: 0, signal: null });
    this.#lease = command.leaseId ? command : null;
    this.executor.startedTasks = 0;
    this.session.bundle = command.bundle;
    this.executor.isPreempted = false;
    if (this.#lease) this.session.jobId = command.jobId;
    for (const [line, stream] of [...this.#served]) {
      if (!line.leaseId || line.leaseId === this.leaseId) continue;
      this.#served.delete(line);
      this.executor.removeLine(line);
      stream.destroy(makeError('PROTOCOL', { what: line.callerId, cause: `its lease has ended on ${this.process.id}` }));
    }
  }

  #takeHeadMessage(message: HeadToClient): void {
    if (message.type === 'startActor') this.#startActor(message);
    if (message.type === 'leasePreempted' && message.leaseId === this.leaseId) this.executor.preempt();
  }

  #startActor(message: StartActor): void {
    const { actorId, incarnation } = message;
    const Class = this.world.library.classes[message.className]!;
    const code = new CodeContext(this.session, null);
    const { session, world } = this;
    function* construct(): Program<unknown> {
      const args = session.decode(message.creation[0]!, message.creation.subarray(1), [], code.hold) as never[];
      world.ledger.constructed(actorId);
      return yield* Class.construct(code, ...args);
    }
    runProgram(this.process, construct(), (ending) => {
      if ('error' in ending) {
        const { tag, bytes } = encodeError(ending.error);
        return session.toHead({ type: 'actorStartFailed', actorId, incarnation, error: Buffer.concat([Buffer.of(tag), bytes]) });
      }
      this.executor.actor = { actorId, Class, state: ending.value, maxConcurrency: message.maxConcurrency };
      code.end();
      session.toHead({ type: 'actorStarted', actorId, incarnation });
    });
  }

  /** Serves a caller's task stream as @muster/worker's Admission does. */
  #serve(stream: MessageStream<Uint8Array, Uint8Array>, metadata: Readonly<Record<string, string>>): void {
    const line = new CallerLine(metadata['caller-id']!, metadata['lease-id']!, (frame) => { stream.send(frame); });
    const early: Uint8Array[] = [];
    let isOver = false;
    const admit = (): boolean => {
      if (line.leaseId ? line.leaseId !== this.leaseId : this.executor.actor?.actorId !== metadata['actor-id']) return false;
      this.#served.set(line, stream);
      this.executor.addLine(line);
      for (const frame of early.splice(0)) this.executor.receive(line, framePayload(frame));
      return true;
    };
    stream.onMessage = (frame) => {
      if (this.#served.has(line)) this.executor.receive(line, framePayload(frame));
      else if (!isOver) early.push(frame);
    };
    stream.onEnd = () => {
      isOver = true;
      line.isOpen = false;
      if (this.#served.delete(line)) this.executor.removeLine(line);
    };
    if (admit()) return;
    const refuse = (): void => {
      stream.destroy(makeError('PROTOCOL', { what: line.callerId, cause: `it has no lease on ${this.process.id}` }));
    };
    if (!line.leaseId) return refuse();
    this.session.store.sync(() => { if (!isOver && !admit()) refuse(); }, refuse);
  }

  kill(): void {
    this.process.exit(KILLED);
  }
}

