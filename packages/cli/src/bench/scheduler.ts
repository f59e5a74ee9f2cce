/** `cluster bench scheduler`: the planner by itself, on clusters that no test machine is, in one thread. */
import { RESOURCE_SCALE } from '@muster/base';
import { Cluster, GroupShape, place, requestKey, Shape, type GroupRequest, type Holding, type PlacementHints, type PlacementRequest } from '@muster/scheduler';
import { CPUS_PER_NODE, DEMAND_KINDS, madeUpNode, madeUpRequests, whole } from './made-up-cluster.js';
import { median, type BenchRecord } from './measure.js';

const FILLED = 0.6;
const DECISIONS = 100_000;
const ROUNDS = 5;
const NO_HINTS: PlacementHints = { preferredNodeIds: [], leasesByNode: null };

function clusterOf(nodes: number): Cluster {
  const cluster = new Cluster();
  for (let i = 0; i < nodes; i++) cluster.add(madeUpNode(i));
  return cluster;
}

/** A cluster under load: leases come and go, the oldest first, and as much as before stays taken. */
class Load {
  readonly cluster: Cluster;
  readonly shapes: readonly Shape[];
  readonly #held: { readonly nodeId: string; readonly holding: Holding }[] = [];
  #oldest = 0;
  #turn = 0;

  constructor(nodes: number) {
    this.cluster = clusterOf(nodes);
    this.shapes = madeUpRequests().map((request) => new Shape(this.cluster, request));
    const target = nodes * CPUS_PER_NODE * FILLED * RESOURCE_SCALE;
    for (let used = 0; used < target;) {
      const shape = this.shapes[this.#turn++ % DEMAND_KINDS]!;
      const nodeId = place(this.cluster, shape, NO_HINTS);
      if (nodeId === null) continue;
      this.#hold(nodeId, shape);
      used += shape.request.resources['cpu']!;
    }
  }

  /** One lease is granted and one ends. */
  step(): void {
    const shape = this.shapes[this.#turn++ % DEMAND_KINDS]!;
    const nodeId = place(this.cluster, shape, NO_HINTS);
    if (nodeId !== null) this.#hold(nodeId, shape);
    const { nodeId: from, holding } = this.#held[this.#oldest++]!;
    this.cluster.release(from, holding);
  }

  #hold(nodeId: string, shape: Shape): void {
    this.#held.push({ nodeId, holding: this.cluster.hold(nodeId, shape.request.resources) });
  }
}

function decisionsPerSecond(load: Load): number {
  const rates: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const startMs = performance.now();
    for (let i = 0; i < DECISIONS; i++) load.step();
    if (round > 0) rates.push((DECISIONS / (performance.now() - startMs)) * 1000);
  }
  return median(rates);
}

/** A node comes back or goes; how long until the next decision is there, in microseconds. */
function updateLatency({ cluster, shapes }: Load): number {
  const us: number[] = [];
  for (let i = 0; i < 5000; i++) {
    const nodeId = `node-${(i * 7919) % cluster.size}`;
    cluster.setCondition(nodeId, i % 2 === 0 ? 'unreachable' : 'ready');
    const startMs = performance.now();
    place(cluster, shapes[i % DEMAND_KINDS]!, NO_HINTS);
    us.push((performance.now() - startMs) * 1000);
    cluster.setCondition(nodeId, 'ready');
  }
  return median(us.slice(1000));
}

function medianMs(run: () => void): number {
  const ms: number[] = [];
  for (let round = 0; round < 2 * ROUNDS; round++) {
    const startMs = performance.now();
    run();
    ms.push(performance.now() - startMs);
  }
  return median(ms);
}

/** 125 nodes with 8 free GPUs each, all in one zone. */
function planLargeGang(cluster: Cluster): void {
  const bundle: PlacementRequest = { resources: whole({ cpu: 32, gpu: 8 }), labels: [] };
  const gang: GroupRequest = { bundles: Array.from({ length: 125 }, () => bundle), strategy: 'strict-spread', topology: [{ level: 'zone', rule: 'same', max: 0 }] };
  if (new GroupShape(cluster, gang).plan() === null) throw new Error('a gang of 1,000 GPUs found no place');
}

/** A thousand groups of eight bundles, one after the other, until all are placed. */
function placeGroups(strategy: GroupRequest['strategy']): void {
  const cluster = clusterOf(1000);
  const shapes = new Map<string, Shape>();
  const bundle: PlacementRequest = { resources: whole({ cpu: 1 }), labels: [] };
  const request: GroupRequest = { bundles: Array.from({ length: 8 }, () => bundle), strategy, topology: [] };
  const shapeOf = (each: PlacementRequest): Shape => {
    const key = requestKey(each);
    let shape = shapes.get(key);
    if (shape === undefined) shapes.set(key, (shape = new Shape(cluster, each)));
    return shape;
  };
  for (let i = 0; i < 1000; i++) {
    const placed = new GroupShape(cluster, request, shapeOf).plan();
    if (placed === null) throw new Error(`group ${i} found no place`);
    for (const { nodeId, gpuIds } of placed) cluster.holdAt(nodeId, { resources: bundle.resources, gpuIds });
  }
}

/** Measures one after the other. */
export function runSchedulerBench(report: (record: BenchRecord) => void): void {
  const higher = (name: string, value: number, unit: string): void => report({ name, value, unit, better: 'higher' });
  const lower = (name: string, value: number, unit: string): void => report({ name, value, unit, better: 'lower' });
  const small = decisionsPerSecond(new Load(1000));
  const load = new Load(10_000);
  const large = decisionsPerSecond(load);
  higher('lease decisions, 1,000 nodes, 50 shapes, 60% full', small, '1/s');
  higher('lease decisions, 10,000 nodes, 50 shapes, 60% full', large, '1/s');
  lower('cost of a decision, 10,000 nodes against 1,000', small / large, 'ratio');
  lower('one node changes, next decision, 10,000 nodes', updateLatency(load), 'us');
  const empty = clusterOf(10_000);
  lower('gang of 1,000 gpus in one zone of 10,000 nodes', medianMs(() => planLargeGang(empty)), 'ms');
  for (const strategy of ['pack', 'spread', 'strict-pack', 'strict-spread'] as const) {
    lower(`1,000 groups of 8 bundles on 1,000 nodes, ${strategy}`, medianMs(() => placeGroups(strategy)), 'ms');
  }
}
