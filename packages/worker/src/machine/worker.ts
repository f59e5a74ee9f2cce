/**
 * Whom a worker serves, at its daemon's and its head's word: the holder of its lease, or all callers of the actor that was made for it. One lease follows the
 * other; an actor stays until the worker ends.
 */
import type { ActorId } from '@muster/base';
import type { ClientToHead, GangMember, HeadToClient, LeasePreempted, StartActor, WorkerCommand } from '@muster/protocol';
import type { EncodedValue } from '@muster/core/internal';
import { methodsOf } from './actor-target.js';
import { Admission, type AdmissionOptions } from './admission.js';
import { Executor } from './executor.js';
import type { ExecutorPorts, Receiver } from './ports.js';
import type { Preemption } from './running.js';

/** What a worker does beside running tasks. */
export interface WorkerPorts {
  /** Ends the process in order. */
  exit(): void;
  /** From now on the worker has this lease; null: none. */
  leased(lease: WorkerCommand | null): void;
  /** The lease of `what` ends early: code that runs outside of tasks and calls hears of it. */
  preempted(what: string, preemption: Preemption): void;
  /** Runs an actor's constructor. It comes to the names of the actor's methods, in the order of their numbers. */
  construct(message: StartActor, receiver: Receiver<readonly string[]>): void;
  encodeThrown(error: unknown): EncodedValue;
  toHead(message: ClientToHead): void;
}

/** Its edges, and what it is called. */
export interface WorkerOptions extends Pick<AdmissionOptions, 'workerId' | 'whenHeardDaemon'> {
  readonly ports: WorkerPorts;
  /** Users' code in this process. */
  readonly code: ExecutorPorts;
}

export class Worker {
  readonly executor: Executor;
  readonly admission: Admission;
  lease: WorkerCommand | null = null;
  /** The actor that lives here and its place in its gang, from the moment its constructor begins. */
  actorId: ActorId | null = null;
  gang: GangMember | null = null;
  readonly #ports: WorkerPorts;

  constructor({ ports, code, workerId, whenHeardDaemon }: WorkerOptions) {
    this.#ports = ports;
    this.executor = new Executor(code);
    this.admission = new Admission(this.executor, { workerId, leaseId: () => this.leaseId, whenHeardDaemon });
  }

  /** Of the present lease; empty: none. */
  get leaseId(): string {
    return this.lease?.leaseId ?? '';
  }

  /** Its daemon's word. */
  command(command: WorkerCommand): void {
    if (command.exit) return this.#ports.exit();
    this.lease = command.leaseId ? command : null;
    this.executor.progress.fill(0);
    this.executor.preemption = null;
    this.#ports.leased(this.lease);
    this.admission.leaseChanged();
  }

  fromHead(message: HeadToClient): void {
    if (message.type === 'leasePreempted') this.#preempted(message);
    else if (message.type === 'startActor') this.#startActor(message);
  }

  #preempted({ leaseId, reason, graceMs }: LeasePreempted): void {
    if (this.leaseId !== leaseId) return;
    const preemption = { why: reason, graceMs };
    this.executor.preempt(preemption);
    this.#ports.preempted(this.executor.actor ? `the actor ${this.executor.actor.name}` : 'the worker', preemption);
  }

  #startActor(message: StartActor): void {
    const { actorId, incarnation, maxConcurrency } = message;
    const name = message.name || message.className;
    this.actorId = actorId as ActorId;
    this.gang = message.gang;
    this.#ports.construct(message, {
      done: (methods) => {
        this.executor.actor = { id: actorId as ActorId, name, methods: methodsOf(name, methods), maxConcurrency };
        this.#ports.toHead({ type: 'actorStarted', actorId, incarnation });
      },
      failed: (error) => {
        const { tag, bytes } = this.#ports.encodeThrown(error);
        this.#ports.toHead({ type: 'actorStartFailed', actorId, incarnation, error: Buffer.concat([Buffer.of(tag), bytes]) });
      },
    });
  }
}
