/** A driver: a program of users' code in a process of its own, on the machine of a node. */
import type { ProcessId } from '@muster/base';
import { CodeContext } from './code-context.js';
import { KILLED, SimProcess } from './process.js';
import { runProgram, type Ending, type Program } from './program.js';
import type { SimNode } from './sim-node.js';
import { SimSession } from './sim-session.js';
import { record, type World } from './world.js';

/** Of its job. */
export interface JobOptions {
  readonly queue?: string;
  readonly priority?: number;
}

/** Which driver, and where it runs. */
export interface DriverOptions extends JobOptions {
  readonly driverId: ProcessId;
  readonly node: SimNode;
  readonly headAddress: string;
}

/** One driver. */
export class SimDriver {
  readonly process: SimProcess;
  readonly session: SimSession;
  readonly code: CodeContext;
  /** How its program ended; null while it runs. */
  ending: Ending<unknown> | null = null;
  /** The head has said goodbye, or the process is dead. */
  isGone = false;
  /** Called once, when its program has ended or its process is dead. */
  onOver: () => void = () => {};

  constructor(readonly world: World, readonly options: DriverOptions, program: (code: CodeContext) => Program) {
    const { driverId, node, headAddress, queue, priority } = options;
    this.process = new SimProcess(driverId, node.options.host, world.clock);
    this.session = new SimSession(world, this.process, {
      processId: driverId, isDriver: true, queue, priority, daemonAddress: node.daemonAddress, headAddress, arena: node.store.arena, handlers: {},
      endpoint: { nodeId: node.id, unixPath: `/${node.id}/${driverId}.sock`, host: node.options.host, port: world.network.newPort() },
      onCommand: () => {}, onHeadMessage: () => {}, onReady: () => {}, roots: () => [],
      onClosed: () => {
        this.isGone = true;
        this.#over();
      },
    });
    this.code = new CodeContext(this.session, null);
    this.process.onExit(() => {
      this.isGone = true;
      this.#over();
    });
    this.session.connect();
    this.process.defer(() => runProgram(this.process, program(this.code), (ending) => {
      record(world, `${driverId} ended: ${'error' in ending ? ending.error.message : 'well'}`);
      this.ending = ending;
      this.#over();
    }));
  }

  #over(): void {
    const { onOver } = this;
    this.onOver = () => {};
    onOver();
  }

  /** Ends the job in order, and then the process. */
  shutdown(): void {
    if (this.isGone) return;
    this.code.end();
    this.session.endJob(() => this.process.exit({ code: 0, signal: null }));
  }

  kill(): void {
    this.process.exit(KILLED);
  }
}
