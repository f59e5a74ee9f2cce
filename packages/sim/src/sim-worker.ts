/** A simulated worker process: the worker's real machine and one session, from its start to its end. Wired as in @muster/worker's main. */
import type { WorkerId } from '@muster/base';
import type { Endpoint, StartActor, WorkerCommand } from '@muster/protocol';
import { Worker, type Receiver } from '@muster/worker';
import type { Arena } from './arena.js';
import { CodeContext } from './code-context.js';
import { KILLED, type SimProcess } from './process.js';
import { runProgram, type Program } from './program.js';
import { SimCode } from './sim-code.js';
import { SimSession } from './sim-session.js';
import { refsIn } from './values.js';
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
  readonly machine: Worker;
  readonly #code: SimCode;
  /** The lease that the ledger counts. */
  #countedLeaseId = '';

  constructor(readonly world: World, readonly process: SimProcess, options: WorkerOptions) {
    this.session = new SimSession(world, process, {
      ...options, processId: process.id as WorkerId, isDriver: false,
      handlers: { 'Peer.Tasks': (stream, metadata) => this.machine.admission.serve(stream, (key) => metadata[key] ?? '') },
      onCommand: (command) => this.machine.command(command),
      onHeadMessage: (message) => this.machine.fromHead(message),
      onReady: () => {},
      onClosed: () => process.exit({ code: 1, signal: null }),
      roots: () => [...this.machine.executor.heldRefs(), ...refsIn(this.#code.instance?.state)],
    });
    this.#code = new SimCode({ session: this.session, worker: () => this.machine });
    this.machine = new Worker({
      workerId: process.id, code: this.#code,
      whenHeardDaemon: (heard, lost) => this.session.store.sync(heard, lost),
      ports: {
        exit: () => process.exit({ code: 0, signal: null }),
        leased: (lease) => this.#leased(lease),
        construct: (message, receiver) => this.#construct(message, receiver),
        preempted: () => {},
        encodeThrown: (error) => this.#code.encodeThrown(error),
        toHead: (message) => this.session.toHead(message),
      },
    });
    process.onExit(() => {
      this.#code.died();
      this.#leaseOver();
    });
    this.session.connect();
  }

  get leaseId(): string {
    return this.machine.leaseId;
  }

  #leased(lease: WorkerCommand | null): void {
    if (this.leaseId !== this.#countedLeaseId) this.#leaseOver();
    this.#countedLeaseId = this.leaseId;
    this.session.bundle = lease?.bundle ?? null;
    if (lease) this.session.jobId = lease.jobId;
  }

  #leaseOver(): void {
    if (this.#countedLeaseId) this.world.ledger.leaseOver(this.#countedLeaseId, this.session.nodeId);
  }

  #construct(message: StartActor, { done, failed }: Receiver<readonly string[]>): void {
    const { actorId, gang, creation, state: saved } = message;
    const Class = this.world.library.classes[message.className]!;
    const code = new CodeContext(this.session, null, gang);
    const { session, world } = this;
    function* construct(): Program<unknown> {
      const args = session.decode(creation[0]!, creation.subarray(1), [], code.hold) as never[];
      world.ledger.constructed(actorId);
      if (gang !== null) world.ledger.memberBegan(actorId, gang);
      const state = yield* Class.construct(code, ...args);
      if (saved.length > 0) Class.restore!(state as never, (session.decode(saved[0]!, saved.subarray(1), [], code.hold) as never[])[0]!);
      return state;
    }
    runProgram(this.process, construct(), (ending) => {
      if ('error' in ending) return failed(ending.error);
      this.#code.instance = { actorId, Class, state: ending.value };
      code.end();
      done(Object.keys(Class.methods));
    });
  }

  kill(): void {
    this.process.exit(KILLED);
  }
}
