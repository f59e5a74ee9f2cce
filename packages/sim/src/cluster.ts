/** A whole cluster in one thread: one head, nodes, drivers, and the network between them, in virtual time, from one seed. */
import { newId, RESOURCE_SCALE, seededRandom, type ProcessId, type Random, type ResourceSet } from '@muster/base';
import { VirtualClock } from './clock.js';
import type { CodeContext } from './code-context.js';
import { Ledger } from './ledger.js';
import type { Library } from './library.js';
import { Network, type NetworkOptions, type Range } from './network.js';
import { SimProcess } from './process.js';
import type { Program } from './program.js';
import { NO_COSTS, type Costs } from './scenario-file/costs.js';
import { SimDriver, type JobOptions } from './sim-driver.js';
import { SimHead, type HeadOptions } from './sim-head.js';
import { SimNode } from './sim-node.js';
import { Trace } from './trace.js';
import type { World } from './world.js';

/** What a simulated cluster is made of. */
export interface ClusterOptions {
  readonly seed: number;
  readonly library: Library;
  readonly network: NetworkOptions;
  readonly head: HeadOptions;
  readonly workerStartMs: Range;
  /** Nodes' clocks are ahead by up to this much. */
  readonly clockSkewMaxMs?: number;
  /** What processes take for their own work; nothing unless it says so. */
  readonly costs?: Costs;
  /** Gets every line of the trace; null when nobody reads it. */
  readonly sink: ((line: string) => void) | null;
  /** See {@link Trace}. */
  readonly isBrief?: boolean;
}

/** What a node has. */
export interface NodeSpec {
  readonly cpus: number;
  readonly objectStoreBytes?: number;
  /** Of others, in whole units; of memory in MiB. */
  readonly resources?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Workers that are kept ready; as many as cpus unless it says so. */
  readonly prestart?: number;
}

const HEAD_ADDRESS = 'head:1';
const OBJECT_STORE_BYTES = 64 * 2 ** 20;

/** One simulated cluster. */
export class SimCluster {
  readonly world: World;
  readonly head: SimHead;
  /** All that ever were, by host. */
  readonly nodes: SimNode[] = [];
  readonly drivers: SimDriver[] = [];
  readonly #options: ClusterOptions;
  readonly #specs = new Map<SimNode, NodeSpec>();

  constructor(options: ClusterOptions) {
    this.#options = options;
    const clock = new VirtualClock();
    const trace = new Trace(options.sink, options.isBrief ?? false);
    // Two sources, so that a change of the faults does not change the work, nor the work the faults.
    const workload = seededRandom(options.seed);
    const faults = seededRandom(options.seed ^ 0x5bd1e995);
    const network = new Network(clock, faults, trace, options.network);
    this.world = { clock, trace, network, ledger: new Ledger(clock), library: options.library, workload, faults, costs: options.costs ?? NO_COSTS };
    this.head = new SimHead(this.world, new SimProcess('head', 'head', clock), HEAD_ADDRESS, options.head);
  }

  get nowMs(): number {
    return this.world.clock.nowMs();
  }

  get liveNodes(): SimNode[] {
    return this.nodes.filter((node) => node.isAlive);
  }

  /** Starts a node on a machine of that name. */
  addNode(host: string, spec: NodeSpec, nodeId: string = newId('node', this.world.workload)): SimNode {
    const resources: Record<string, number> = spec.cpus > 0 ? { cpu: spec.cpus * RESOURCE_SCALE } : {};
    for (const [name, amount] of Object.entries(spec.resources ?? {})) resources[name] = amount * RESOURCE_SCALE;
    const node = new SimNode(this.world, {
      nodeId, host, headAddress: HEAD_ADDRESS, resources: resources satisfies ResourceSet, labels: spec.labels ?? {},
      objectStoreBytes: spec.objectStoreBytes ?? OBJECT_STORE_BYTES, prestartCount: spec.prestart ?? spec.cpus, workerStartMs: this.#options.workerStartMs,
      clockSkewMs: this.#options.clockSkewMaxMs ? this.world.faults.next() * this.#options.clockSkewMaxMs : 0,
    });
    this.nodes.push(node);
    this.#specs.set(node, spec);
    return node;
  }

  /** Starts a node like one that is gone, on a machine of its own. */
  replaceNode(node: SimNode): SimNode {
    return this.addNode(`n${this.nodes.length}`, this.#specs.get(node)!);
  }

  /** Starts a driver beside a node's daemon. */
  addDriver(node: SimNode, program: (code: CodeContext) => Program, job: JobOptions = {}, driverId: ProcessId = newId('driver', this.world.workload)): SimDriver {
    const driver = new SimDriver(this.world, { driverId, node, headAddress: HEAD_ADDRESS, ...job }, program);
    this.drivers.push(driver);
    return driver;
  }

  /** Runs events until the condition holds. False when the time is over first. */
  runUntil(condition: () => boolean, untilMs: number, afterEach: () => void = () => {}): boolean {
    while (!condition()) {
      if (!this.world.clock.step(untilMs)) return condition();
      afterEach();
    }
    return true;
  }

  /** Runs events for so long. */
  run(durationMs: number, afterEach: () => void = () => {}): void {
    const untilMs = this.nowMs + durationMs;
    while (this.world.clock.step(untilMs)) afterEach();
  }
}

/** One of the items. */
export function oneOf<Item>(random: Random, items: readonly Item[]): Item {
  return items[Math.floor(random.next() * items.length)]!;
}

/** A whole number from `min` to `max`. */
export function integer(random: Random, min: number, max: number): number {
  return min + Math.floor(random.next() * (max - min + 1));
}
