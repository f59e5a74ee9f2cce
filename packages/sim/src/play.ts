/**
 * Runs a scenario file once, from one seed to its verdict: the nodes come up, the work arrives, things go wrong and are healed, everything must come
 * to its end, and when the drivers have left nothing may be left of them.
 */
import { performance } from 'node:perf_hooks';
import { formatDurationMs, seededRandom } from '@muster/base';
import { SimCluster, type NodeSpec } from './cluster.js';
import type { CodeContext } from './code-context.js';
import { checkDeaths, checkDisconnected, checkIdle } from './invariants.js';
import { Violation } from './violation.js';
import type { Library } from './library.js';
import type { Load, Stage } from './loads/load.js';
import type { SimProcess } from './process.js';
import type { Program } from './program.js';
import { makeReport, type Report } from './report.js';
import { Samples } from './samples.js';
import type { ScenarioFile } from './scenario-file/scenario-file.js';
import type { SimNode } from './sim-node.js';
import { Storm } from './storm.js';

/** How a run is told. */
export interface PlayOptions {
  readonly seed: number;
  /** Gets every line of the trace; null when nobody reads it. */
  readonly sink: ((line: string) => void) | null;
  /** Called about twice a second. */
  readonly onProgress: ((progress: Progress) => void) | null;
  /** Only so many nodes of the first kind, in place of its count. */
  readonly nodeCount?: number;
}

/** How far a run is. */
export interface Progress {
  readonly virtualMs: number;
  readonly wallMs: number;
  readonly doneCount: number;
  readonly plannedCount: number;
}

const PROGRESS_INTERVAL_MS = 500;
/** Events between two looks at the wall clock. */
const EVENTS_AT_ONCE = 2000;
/** All nodes must have registered so long after the last one's start. */
const START_MAX_MS = 30_000;
/** After a node's timeout: leases go back, collectors run, broken connections are given up. */
const SETTLE_SLACK_MS = 8000;
const DRIVERS_STORE_BYTES = 2 ** 30;

/** One run of a scenario. */
class Play {
  readonly cluster: SimCluster;
  readonly loads: readonly Load[];
  /** The machine of the drivers: it runs no tasks. */
  readonly home: SimNode;
  readonly stopped = new Set<SimProcess>();
  readonly waits = new Samples();
  storm: Storm | null = null;
  /** When the work began and when the last of it was done; null as long as that has not come. */
  beganMs: number | null = null;
  endedMs: number | null = null;
  /** Drivers whose programs have not ended. */
  #openCount = 0;
  readonly #nodeCount: number;
  readonly #wallStartMs = performance.now();
  #toldAtMs = 0;

  constructor(readonly scenario: ScenarioFile, readonly options: PlayOptions) {
    const { storm, network, workerStartMs, heartbeatIntervalMs, nodeTimeoutMs } = scenario;
    const random = seededRandom(options.seed ^ 0x27d4eb2f);
    this.#nodeCount = options.nodeCount ?? scenario.groups.reduce((sum, group) => sum + group.count, 0);
    this.loads = scenario.loads.map((plan, index) => plan({ name: `load${index + 1}`, random, nodeCount: this.#nodeCount }));
    this.cluster = new SimCluster({
      seed: options.seed, sink: options.sink, isBrief: true, library: merged(this.loads), network, head: { heartbeatIntervalMs, nodeTimeoutMs }, workerStartMs,
      clockSkewMaxMs: storm?.clockSkewMaxMs ?? 0, costs: scenario.costs,
    });
    const { cluster } = this;
    this.home = cluster.addNode('drivers', { cpus: 0, objectStoreBytes: DRIVERS_STORE_BYTES });
    let number = 0;
    for (const { count, spec } of scenario.groups) {
      for (let left = options.nodeCount ?? count; left > 0; left--, number++) this.#startNode(number, spec(number), random.next() * scenario.startWithinMs);
    }
  }

  get wallMs(): number {
    return performance.now() - this.#wallStartMs;
  }

  /** Machines do not start at one moment: the head would take a thousand strangers for an attack. */
  #startNode(number: number, spec: NodeSpec, delayMs: number): void {
    this.cluster.world.clock.after(delayMs, () => this.cluster.addNode(`n${number}`, spec));
  }

  /** @throws Violation */
  run(): void {
    const { cluster, loads, scenario } = this;
    const { head, drivers } = cluster;
    const registered = head.machine.nodes.byId;
    const expectedCount = this.#nodeCount + 1;
    const isReady = this.#runUntil(() => registered.size === expectedCount, scenario.startWithinMs + START_MAX_MS);
    this.#must(isReady, () => `after ${formatDurationMs(cluster.nowMs)}, ${registered.size} of ${expectedCount} nodes have registered`);

    this.beganMs = cluster.nowMs;
    for (const load of loads) load.start(this.#stage());
    if (scenario.storm) {
      this.storm = new Storm(scenario.storm, this);
      this.#runUntil(() => false, cluster.nowMs + scenario.storm.untilMs);
      this.storm.heal();
    }
    const arrivalsEndMs = this.beganMs + Math.max(...loads.map((load) => load.lastArrivalMs));
    const isDone = this.#runUntil(() => this.#openCount === 0, Math.max(cluster.nowMs, arrivalsEndMs) + scenario.finishWithinMs);
    this.#must(isDone, () => `${formatDurationMs(scenario.finishWithinMs)} after the last fault and the last arrival, ${this.#doneCount} of ${this.#plannedCount} are done`);
    this.endedMs = cluster.nowMs;
    for (const { ending } of drivers) if (ending && 'error' in ending) throw new Violation(`a program failed: ${ending.error.message}`);
    for (const load of loads) load.check();
    this.#leave();
  }

  /** Nothing may be left of the work, then of its drivers. */
  #leave(): void {
    const { cluster } = this;
    const settleMs = this.scenario.nodeTimeoutMs * 2 + SETTLE_SLACK_MS;
    for (const driver of cluster.drivers) driver.code.end();
    cluster.run(settleMs);
    checkIdle(this);
    for (const driver of cluster.drivers) driver.shutdown();
    this.#must(cluster.runUntil(() => cluster.drivers.every((driver) => driver.isGone), cluster.nowMs + settleMs), () => 'a driver could not end its job');
    cluster.run(settleMs);
    checkDisconnected(this);
    checkDeaths(this);
  }

  get #doneCount(): number {
    return this.loads.reduce((sum, { tally }) => sum + tally.done + tally.failed, 0);
  }

  get #plannedCount(): number {
    return this.loads.reduce((sum, { tally }) => sum + tally.planned, 0);
  }

  #stage(): Stage {
    const { cluster, scenario } = this;
    return {
      cluster, costs: scenario.costs, hasFaults: scenario.storm !== null,
      driver: (program) => this.#startDriver(program), waited: (waitMs) => this.waits.add(waitMs),
    };
  }

  #startDriver(program: (code: CodeContext) => Program): void {
    this.#openCount++;
    const driver = this.cluster.addDriver(this.home, program);
    driver.onOver = () => { this.#openCount--; };
  }

  /** Runs events until the condition holds, and tells how far it is. False when the time is over first. */
  #runUntil(condition: () => boolean, untilMs: number): boolean {
    const { clock } = this.cluster.world;
    for (let count = 0; !condition(); count++) {
      if (!clock.step(untilMs)) return condition();
      if (count % EVENTS_AT_ONCE === 0) this.#tell();
    }
    return true;
  }

  #tell(): void {
    const { wallMs } = this;
    if (!this.options.onProgress || wallMs - this.#toldAtMs < PROGRESS_INTERVAL_MS) return;
    this.#toldAtMs = wallMs;
    this.options.onProgress({ virtualMs: this.cluster.nowMs, wallMs, doneCount: this.#doneCount, plannedCount: this.#plannedCount });
  }

  #must(condition: boolean, what: () => string): void {
    if (!condition) throw new Violation(what());
  }
}

/** Runs a scenario. A rule that was broken is in the report. */
export function play(scenario: ScenarioFile, options: PlayOptions): Report {
  const run = new Play(scenario, options);
  let failure: Error | null = null;
  try {
    run.run();
  } catch (error) {
    failure = error as Error;
  }
  return makeReport(run, failure);
}

function merged(loads: readonly Load[]): Library {
  return { functions: Object.assign({}, ...loads.map((load) => load.library.functions)), classes: Object.assign({}, ...loads.map((load) => load.library.classes)) };
}
