/**
 * A cluster that is played by commands, such as `add-node n1 cpu=4`, `call d1 a square 5`, `power-off n2`, `tick 5s` and `settle`. Each command
 * returns what happens because of it, one line each: scripts of them with their traces are tests and documentation.
 */
import type { ProcessId } from '@muster/base';
import type { ObjectRef } from '@muster/core/internal';
import { SimCluster } from './cluster.js';
import type { ActorHandle, CodeContext } from './code-context.js';
import type { Library } from './library.js';
import { KILLED } from './process.js';
import { runProgram, until, type Program } from './program.js';
import type { SimDriver } from './sim-driver.js';
import type { SimNode } from './sim-node.js';
import { Large, print } from './values.js';

const MIB = 2 ** 20;
/** The cluster has settled when nothing but heartbeats happens for so long. */
const QUIET_MS = 300;
const SETTLE_MAX_MS = 60_000;
/** The time in front of a line of the trace. */
const TIME_WIDTH = 12;
/** What goes on all the time, and the first words of those who connect. */
const NOISE = /^head: |: (heartbeat|peerNodes|nodeRegistered|workerStarted|clientHello|welcome|storeHello|storeWelcome|allocated?|seal|returnBlock|synced?|release)\b/;

/** What scripts can call. */
const LIBRARY: Library = {
  functions: {
    *square(code, x: number) {
      yield* code.work(1);
      return x * x;
    },
    *doze(code, durationMs: number) {
      yield* code.sleep(durationMs);
      return durationMs;
    },
    *make(code, x: number) {
      yield* code.work(1);
      return new Large(x, MIB);
    },
    *next(code, x: number) {
      yield* code.work(1);
      return new Large(x + 1, MIB);
    },
    *parent(code, children: number) {
      const refs = Array.from({ length: children }, (_, x) => code.call('square', [x]));
      return ((yield* code.getAll(refs)) as number[]).reduce((sum, x) => sum + x, 0);
    },
  },
  classes: {
    Counter: {
      *construct(_code, count: number) {
        return { count };
      },
      methods: {
        *add(_code, state: { count: number }, by: number) {
          return (state.count += by);
        },
        *doze(code, state: { count: number }, durationMs: number) {
          yield* code.sleep(durationMs);
          return state.count;
        },
      },
    },
  },
};

interface Words {
  readonly plain: readonly string[];
  readonly options: Readonly<Record<string, string>>;
}

/** A cluster that follows commands. */
export class ClusterScript {
  readonly #cluster: SimCluster;
  readonly #nodes = new Map<string, SimNode>();
  readonly #drivers = new Map<string, SimDriver>();
  readonly #refs = new Map<string, ObjectRef>();
  readonly #handles = new Map<string, ActorHandle>();
  #lines: string[] = [];

  constructor() {
    this.#cluster = new SimCluster({
      seed: 1, library: LIBRARY, head: { heartbeatIntervalMs: 500, nodeTimeoutMs: 5000 }, workerStartMs: [20, 20],
      network: { latencyMs: [1, 1], localLatencyMs: [0.1, 0.1], patienceMs: [8000, 8000], isOnWire: true },
      sink: (line) => this.#see(line.slice(TIME_WIDTH)),
    });
  }

  #see(line: string): void {
    if (!NOISE.test(line)) this.#lines.push(line);
  }

  /** Carries out a command, and what follows from it at once. Returns the trace. */
  run(command: string): string[] {
    const [verb = '', ...words] = command.split(' ').filter((word) => word !== '');
    const options: Record<string, string> = {};
    const plain = words.filter((word) => {
      const at = word.indexOf('=');
      if (at > 0) options[word.slice(0, at)] = word.slice(at + 1);
      return at <= 0;
    });
    this.#lines = [];
    this.#command(verb, { plain, options });
    this.#cluster.world.clock.flush();
    return this.#lines;
  }

  #command(verb: string, { plain, options }: Words): void {
    const [first = '', second = '', third = '', ...rest] = plain;
    const { network, clock } = this.#cluster.world;
    switch (verb) {
      // Machines and processes.
      case 'add-node': return void this.#nodes.set(first, this.#cluster.addNode(first, { cpus: Number(options['cpu'] ?? 0) }, `node-${first}`));
      case 'driver': return this.#addDriver(first, options['on'] ?? '');
      case 'shutdown': return this.#driver(first).shutdown();
      case 'kill-driver': return this.#driver(first).kill();
      case 'kill-workers': return this.#killWorkers(this.#node(first));
      case 'crash': return this.#node(first).process.exit(KILLED);
      case 'power-off':
        network.darken(first);
        return this.#node(first).process.exit(KILLED);
      case 'stop-daemon': return this.#node(first).process.stopUntil(clock.nowMs() + durationMs(second));
      // The network.
      case 'drop': return network.cut(...ends(first));
      case 'heal': return network.heal(...ends(first));
      // Time.
      case 'tick': return this.#cluster.run(durationMs(first));
      case 'settle': return this.#settle();
      // Programs.
      case 'call': {
        const args = [third, ...rest].map((word) => this.#argument(word));
        const { retries = '0', cpus = '1', on = '' } = options;
        return void this.#refs.set(second.split(':')[0]!, this.#code(first).call(second.split(':')[1] ?? '', args, { retries: Number(retries), cpus: Number(cpus), nodeId: on && `node-${on}` }));
      }
      case 'get': return this.#report(first, second, this.#code(first).get(this.#ref(second)));
      case 'cancel': return this.#code(first).cancel(this.#ref(second), third === 'force');
      case 'forget': return this.#code(first).drop(this.#ref(second));
      case 'create': return this.#create(first, second, Number(third), Number(options['restarts'] ?? 0));
      case 'invoke': {
        const [name = '', method = ''] = second.split(':');
        const args = rest.map((word) => this.#argument(word));
        return void this.#refs.set(name, this.#code(first).invoke(this.#handles.get(third)!, method, args, { retries: Number(options['retries'] ?? 0) }));
      }
      default: throw new Error(`unknown command '${verb}'`);
    }
  }

  #addDriver(name: string, node: string): void {
    this.#drivers.set(name, this.#cluster.addDriver(this.#node(node), () => until(() => {}), {}, `driver-${name}` as ProcessId));
  }

  #create(driver: string, name: string, count: number, maxRestarts: number): void {
    const code = this.#code(driver);
    const handles = this.#handles;
    this.#report(driver, name, (function* (): Program<string> {
      const handle = yield* code.create('Counter', [count], { maxRestarts });
      handles.set(name, handle);
      return 'created';
    })());
  }

  #report(driver: string, name: string, program: Program): void {
    runProgram(this.#driver(driver).process, program, (ending) => {
      this.#lines.push(this.#cluster.world.trace.shorten(`${driver} has ${name}: ${'error' in ending ? `${ending.error.name}: ${ending.error.message}` : print(ending.value)}`));
    });
  }

  #killWorkers(node: SimNode): void {
    for (const worker of [...node.workers.values()]) if (worker.leaseId) worker.kill();
  }

  #settle(): void {
    const untilMs = this.#cluster.nowMs + SETTLE_MAX_MS;
    for (let seen = -1; seen !== this.#lines.length && this.#cluster.nowMs < untilMs;) {
      seen = this.#lines.length;
      this.#cluster.run(QUIET_MS);
    }
  }

  #argument(word: string): unknown {
    return this.#refs.get(word) ?? Number(word);
  }

  #node(name: string): SimNode {
    return found(this.#nodes, name);
  }

  #driver(name: string): SimDriver {
    return found(this.#drivers, name);
  }

  #code(driver: string): CodeContext {
    return this.#driver(driver).code;
  }

  #ref(name: string): ObjectRef {
    return found(this.#refs, name);
  }
}

function found<Value>(all: ReadonlyMap<string, Value>, name: string): Value {
  const value = all.get(name);
  if (value === undefined) throw new Error(`nothing is called '${name}'`);
  return value;
}

function durationMs(text: string): number {
  const [, amount, unit] = /^(\d+)(ms|s)$/.exec(text) ?? [];
  if (!amount) throw new Error(`'${text}' is no duration`);
  return Number(amount) * (unit === 's' ? 1000 : 1);
}

/** `n1->head`: the machines of a link. */
function ends(text: string): [string, string] {
  const [from, to] = text.split('->');
  if (!from || !to) throw new Error(`'${text}' is no link`);
  return [from, to];
}
