/** `cluster bench scheduler`: the planner by itself, on clusters that no test machine is, in one thread. */
import { RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import { Cluster, GroupShape, place, requestKey, Shape, type GroupRequest, type Holding, type LabelTerm, type PlacementHints, type PlacementRequest } from '@muster/scheduler';
import { median, type BenchRecord } from './measure.js';

const SHAPES = 50;
const FILLED = 0.6;
const CPUS_PER_NODE = 64;
const DECISIONS = 100_000;
const ROUNDS = 5;
const NO_HINTS: PlacementHints = { preferredNodeIds: [], leasesByNode: null };

const whole = (amounts: Readonly<Record<string, number>>): ResourceSet => Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, amount * RESOURCE_SCALE]));

/** Every second node has 8 GPUs; 5 zones, and racks of 40 nodes. */
function clusterOf(nodes: number): Cluster {
  const cluster = new Cluster();
  for (let i = 0; i < nodes; i++) {
    const gpus: Record<string, number> = i % 2 === 1 ? { gpu: 8 } : {};
    cluster.add({ nodeId: `node-${i}`, total: whole({ cpu: CPUS_PER_NODE, memory: 512 * 1024, ...gpus }), labels: { zone: `z${i % 5}`, rack: `r${Math.floor(i / 40)}` } });
  }
  return cluster;
}

/** Fifty kinds of demand: 1 to 8 cpus; a fifth with GPUs or a part of one; a third with memory; a seventh in one zone. */
function shapesOf(cluster: Cluster): Shape[] {
  return Array.from({ length: SHAPES }, (_, i) => {
    const gpus: Record<string, number> = i % 5 === 0 ? { gpu: i % 2 === 1 ? 0.5 : 1 + (i % 4) } : {};
    const memory: Record<string, number> = i % 3 === 0 ? { memory: (i + 1) * 1024 } : {};
    const labels: LabelTerm[] = i % 7 === 0 ? [{ key: 'zone', operator: 'in', values: [`z${i % 5}`], weight: 0 }] : [];
    return new Shape(cluster, { resources: whole({ cpu: 1 + (i % 8), ...gpus, ...memory }), labels });
  });
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
    this.shapes = shapesOf(this.cluster);
    const target = nodes * CPUS_PER_NODE * FILLED * RESOURCE_SCALE;
    for (let used = 0; used < target;) {
      const shape = this.shapes[this.#turn++ % SHAPES]!;
      const nodeId = place(this.cluster, shape, NO_HINTS);
      if (nodeId === null) continue;
      this.#hold(nodeId, shape);
      used += shape.request.resources['cpu']!;
    }
  }

  /** One lease is granted and one ends. */
  step(): void {
    const shape = this.shapes[this.#turn++ % SHAPES]!;
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
    place(cluster, shapes[i % SHAPES]!, NO_HINTS);
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
