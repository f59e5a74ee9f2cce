/**
 * One simulation from its seed to its verdict: a workload on a cluster, with faults. While faults last, little is promised; when they are
 * healed everything must come to an end in bounded time, and when all is over nothing may be left.
 */
import { seededRandom, type Random } from '@muster/base';
import type { QueueRules } from '@muster/head';
import { integer, oneOf, SimCluster, type NodeSpec } from './cluster.js';
import type { CodeContext } from './code-context.js';
import type { Faults } from './faults.js';
import { checkDeaths, checkDisconnected, checkIdle } from './invariants.js';
import { Violation } from './violation.js';
import type { Library } from './library.js';
import type { NetworkOptions, Range } from './network.js';
import type { SimProcess } from './process.js';
import type { Program } from './program.js';
import type { JobOptions, SimDriver } from './sim-driver.js';
import type { SimNode } from './sim-node.js';

/** What programs do on the cluster, and what must have come of it. */
export interface Workload {
  readonly name: string;
  readonly library: Library;
  /** The head's queues; the default one alone when absent. */
  readonly queues?: readonly QueueRules[];
  /** The nodes to begin with. Drivers run on the first one, which faults spare. */
  readonly nodes: (random: Random) => readonly NodeSpec[];
  /** Starts the drivers, whose programs check what comes of their work. */
  readonly start: (scene: Scene) => void;
  /** What must hold after every event. */
  readonly check?: (scene: Scene) => void;
}

/** A node that says nothing for that long is dead. */
const NODE_TIMEOUT_MS = 5000;
/** After the last fault everything must end within this time. It covers a node's timeout, restarts and their pauses. */
const LIVENESS_MS = 120_000;
/** Leases go back, collectors run, silent nodes are declared dead and broken connections given up within this time. */
const SETTLE_MS = 12_000;
const LATENCIES_MS: readonly Range[] = [[0.05, 0.2], [0.1, 1], [0.5, 5], [1, 30]];

/** What became of a simulation. */
export interface Verdict {
  readonly hash: string;
  readonly lineCount: number;
  readonly virtualMs: number;
  /** Null when every rule was kept. */
  readonly failure: Error | null;
}

/** What a workload and its faults can touch. */
export class Scene {
  readonly cluster: SimCluster;
  /** The workload's choices. */
  readonly random: Random;
  readonly home: SimNode;
  /** Whether anything went wrong on purpose, so that failures of the system may be seen. */
  hasFaults = false;
  /** Processes that were stopped. */
  readonly stopped = new Set<SimProcess>();

  constructor(readonly workload: Workload, readonly faults: Faults, seed: number, sink: ((line: string) => void) | null) {
    this.random = seededRandom(seed ^ 0x27d4eb2f);
    this.cluster = new SimCluster({
      seed, sink, library: workload.library, network: networkOptions(this.random), head: { heartbeatIntervalMs: 500, nodeTimeoutMs: NODE_TIMEOUT_MS, queues: workload.queues ?? [] },
      workerStartMs: oneOf(this.random, [[5, 20], [50, 150], [100, 1000]] as const),
    });
    const nodes = workload.nodes(this.random).map((spec, index) => this.cluster.addNode(`n${index}`, spec));
    this.home = nodes[0]!;
  }

  driver(program: (code: CodeContext) => Program, job: JobOptions = {}): SimDriver {
    return this.cluster.addDriver(this.home, program, job);
  }

  /** @throws Violation unless the condition holds */
  readonly expect = (condition: boolean, what: string): void => {
    if (!condition) throw new Violation(what);
  };
}

function networkOptions(random: Random): NetworkOptions {
  return {
    latencyMs: oneOf(random, LATENCIES_MS), localLatencyMs: [0.02, 0.1], patienceMs: oneOf(random, [[1000, 4000], [4000, 15_000]] as const), isOnWire: integer(random, 0, 9) === 0,
  };
}

/** Runs a simulation to its end. */
export function simulate(workload: Workload, faults: Faults, seed: number, sink: ((line: string) => void) | null = null): Verdict {
  const scene = new Scene(workload, faults, seed, sink);
  const { cluster } = scene;
  let failure: Error | null = null;
  try {
    play(scene);
  } catch (error) {
    failure = error as Error;
  }
  return { hash: cluster.world.trace.hash, lineCount: cluster.world.trace.lineCount, virtualMs: cluster.nowMs, failure };
}

function play(scene: Scene): void {
  const { cluster, workload, faults } = scene;
  const { head, nodes, drivers } = cluster;
  const isReady = cluster.runUntil(() => head.machine.nodes.byId.size === nodes.length, SETTLE_MS);
  scene.expect(isReady, 'the nodes did not register');

  workload.start(scene);
  const faultsEndMs = cluster.nowMs + faults.start(scene);
  const check = (): void => workload.check?.(scene);
  cluster.run(faultsEndMs - cluster.nowMs, check);
  cluster.world.network.healAll();
  for (const process of scene.stopped) process.resume();

  const isDone = cluster.runUntil(() => drivers.every((driver) => driver.ending !== null || driver.isGone), cluster.nowMs + LIVENESS_MS, check);
  if (!isDone) throw new Violation(`after ${LIVENESS_MS / 1000} s without faults the work is not done: ${whyNotDone(scene)}`);
  for (const driver of drivers) {
    if (!driver.isGone && driver.ending && 'error' in driver.ending) throw new Violation(`a program failed: ${driver.ending.error.message}`);
    driver.code.end();
  }
  cluster.run(SETTLE_MS);
  checkIdle(scene);
  for (const driver of drivers) driver.shutdown();
  const isGone = cluster.runUntil(() => drivers.every((driver) => driver.isGone), cluster.nowMs + SETTLE_MS);
  scene.expect(isGone, 'a driver could not end its job');
  cluster.run(SETTLE_MS);
  checkDisconnected(scene);
  checkDeaths(scene);
}

function whyNotDone(scene: Scene): string {
  const reasons: string[] = [];
  for (const { session, ending, isGone, process } of scene.cluster.drivers) {
    if (ending || isGone) continue;
    const { slots, dispatcher } = session.owner;
    const states = new Map<number, number>();
    for (let slot = 0; slot < slots.length; slot++) states.set(slots.states[slot]!, (states.get(slots.states[slot]!) ?? 0) + 1);
    const queues = [...dispatcher.queues].map((queue) => `queue ${queue.id}: ${queue.ring.length} queued, ${queue.lines.length} leases, wants ${queue.demandedCount}`);
    reasons.push(`${process.id} has ${slots.usedCount} tasks (by state: ${[...states].map(([state, count]) => `${state}: ${count}`).join(', ')}); ${queues.join('; ')}`);
  }
  const { leases, demands } = scene.cluster.head.machine;
  reasons.push(`the head has ${leases.byId.size} leases and ${demands.groups.size} groups of demands that wait`);
  return scene.cluster.world.trace.shorten(reasons.join('; '));
}
