/** Groups: by example, and against an oracle that tries every assignment. */
import t from 'tap';
import { RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import { Cluster, GroupShape, labelOf, type GroupRequest, type GroupStrategy, type Placed, type PlacementRequest, type TopologyTerm } from '../index.js';
import { randomOf } from '../test-support/random.js';

const whole = (amounts: Readonly<Record<string, number>>): ResourceSet => Object.fromEntries(Object.entries(amounts).flatMap(([name, amount]) => (amount > 0 ? [[name, amount * RESOURCE_SCALE]] : [])));
const need = (amounts: Readonly<Record<string, number>>): PlacementRequest => ({ resources: whole(amounts), labels: [] });
const same = (level: string): TopologyTerm => ({ level, rule: 'same', max: 0 });
const fewest = (level: string): TopologyTerm => ({ level, rule: 'fewest', max: 0 });
const atMost = (max: number, level: string): TopologyTerm => ({ level, rule: 'spread', max });

const group = (count: number, bundle: PlacementRequest, strategy: GroupStrategy, ...topology: TopologyTerm[]): GroupRequest =>
  ({ bundles: Array.from({ length: count }, () => bundle), strategy, topology });

/** Nodes of 4 cpus and 8 GPUs: `racks` of `perRack`, two racks to a zone. */
function gpuCluster(racks: number, perRack: number): Cluster {
  const cluster = new Cluster();
  for (let rack = 0; rack < racks; rack++) {
    for (let i = 0; i < perRack; i++) {
      cluster.add({ nodeId: `r${rack}n${i}`, total: whole({ cpu: 4, gpu: 8 }), labels: { rack: `r${rack}`, zone: `z${rack >> 1}` } });
    }
  }
  return cluster;
}

const nodesOf = (plan: readonly Placed[] | null): string[] | undefined => plan?.map(({ nodeId }) => nodeId);
const valuesOf = (cluster: Cluster, plan: readonly Placed[] | null, level: string): Set<string | undefined> =>
  new Set(plan?.map(({ nodeId }) => labelOf(cluster.rowOf(nodeId)!, level)));

t.test('strategies', async (t) => {
  t.test('pack takes the fewest nodes, and leaves whole nodes whole', async (t) => {
    const cluster = gpuCluster(1, 4);
    cluster.hold('r0n3', whole({ gpu: 6 }));
    t.same(nodesOf(new GroupShape(cluster, group(2, need({ gpu: 1 }), 'pack')).plan()), ['r0n3', 'r0n3'], 'the node with just enough');
    t.same(new Set(nodesOf(new GroupShape(cluster, group(18, need({ gpu: 1 }), 'pack')).plan())), new Set(['r0n0', 'r0n1', 'r0n3']));
  });

  t.test('spread takes all nodes in turn, and then again', async (t) => {
    const plan = new GroupShape(gpuCluster(1, 3), group(7, need({ cpu: 1 }), 'spread')).plan()!;
    t.same(['r0n0', 'r0n1', 'r0n2'].map((nodeId) => plan.filter((placed) => placed.nodeId === nodeId).length), [3, 2, 2]);
  });

  t.test('strict-pack takes one node or none', async (t) => {
    const cluster = gpuCluster(1, 2);
    t.equal(new GroupShape(cluster, group(5, need({ cpu: 1 }), 'strict-pack')).plan(), null);
    t.equal(new Set(nodesOf(new GroupShape(cluster, group(4, need({ cpu: 1 }), 'strict-pack')).plan())).size, 1);
  });

  t.test('strict-pack lays parts of GPUs out so that all fit', async (t) => {
    const cluster = new Cluster();
    cluster.add({ nodeId: 'a', total: whole({ cpu: 1, gpu: 3 }), labels: {} });
    const parts = [0.5, 0.5, 0.6, 0.4, 0.7, 0.3].map((gpu) => need({ gpu }));
    const plan = new GroupShape(cluster, { bundles: parts, strategy: 'strict-pack', topology: [] }).plan()!;
    const used = [0, 0, 0];
    plan.forEach(({ gpuIds }, index) => { used[gpuIds[0]!]! += parts[index]!.resources['gpu']!; });
    t.same(used, [RESOURCE_SCALE, RESOURCE_SCALE, RESOURCE_SCALE]);
  });

  t.test('strict-spread moves others when the last bundle fits one node only', async (t) => {
    const cluster = new Cluster();
    cluster.add({ nodeId: 'big', total: whole({ cpu: 8 }), labels: {} });
    cluster.add({ nodeId: 'small', total: whole({ cpu: 2 }), labels: {} });
    cluster.hold('small', whole({ cpu: 1 }));
    t.same(nodesOf(new GroupShape(cluster, { bundles: [need({ cpu: 1 }), need({ cpu: 4 })], strategy: 'strict-spread', topology: [] }).plan()), ['small', 'big']);
  });
});

t.test('topology', async (t) => {
  t.test('same: one value of each level, the one that is filled the most', async (t) => {
    const cluster = gpuCluster(4, 3);
    cluster.hold('r2n0', whole({ gpu: 8 }));
    const plan = new GroupShape(cluster, group(2, need({ gpu: 8 }), 'strict-spread', same('rack'))).plan();
    t.same(valuesOf(cluster, plan, 'rack'), new Set(['r2']), 'two nodes are left there, and three elsewhere');
    t.equal(new GroupShape(cluster, group(4, need({ gpu: 8 }), 'strict-spread', same('rack'))).plan(), null);
    t.equal(valuesOf(cluster, new GroupShape(cluster, group(4, need({ gpu: 8 }), 'strict-spread', same('zone'))).plan(), 'zone').size, 1);
  });

  t.test('spread: at most so many in one value', async (t) => {
    const cluster = gpuCluster(4, 3);
    for (const strategy of ['pack', 'spread', 'strict-spread'] as const) {
      const plan = new GroupShape(cluster, group(4, need({ gpu: 1 }), strategy, atMost(1, 'rack'))).plan();
      t.equal(valuesOf(cluster, plan, 'rack').size, 4, strategy);
      t.equal(new GroupShape(cluster, group(5, need({ gpu: 1 }), strategy, atMost(1, 'rack'))).plan(), null, strategy);
    }
  });

  t.test('fewest: as few values as hold it', async (t) => {
    const cluster = gpuCluster(6, 4);
    for (const rack of [0, 1, 2, 3]) cluster.hold(`r${rack}n0`, whole({ gpu: 8 }));
    t.equal(valuesOf(cluster, new GroupShape(cluster, group(8, need({ gpu: 8 }), 'pack', fewest('rack'))).plan(), 'rack').size, 2);
    t.same(valuesOf(cluster, new GroupShape(cluster, group(3, need({ gpu: 8 }), 'pack', fewest('rack'))).plan(), 'rack').size, 1);
  });

  t.test('nodes without the label are no candidates of same and spread', async (t) => {
    const cluster = new Cluster();
    cluster.add({ nodeId: 'bare', total: whole({ cpu: 8 }), labels: {} });
    t.equal(new GroupShape(cluster, group(1, need({ cpu: 1 }), 'pack', same('rack'))).plan(), null);
    t.equal(new GroupShape(cluster, group(1, need({ cpu: 1 }), 'pack', atMost(1, 'rack'))).plan(), null);
    t.ok(new GroupShape(cluster, group(1, need({ cpu: 1 }), 'pack')).plan());
  });
});

t.test('a group that has lost a node is repaired where its survivors are', async (t) => {
  const cluster = gpuCluster(2, 3);
  const request = group(2, need({ gpu: 8 }), 'strict-spread', same('rack'));
  const plan = new GroupShape(cluster, request).plan()!;
  plan.forEach(({ nodeId }, index) => cluster.hold(nodeId, request.bundles[index]!.resources));
  cluster.remove(plan[1]!.nodeId);
  const repaired = new GroupShape(cluster, request).plan([plan[0]!, null])!;
  t.equal(repaired[0], plan[0]);
  t.not(repaired[1]!.nodeId, plan[1]!.nodeId);
  t.equal(valuesOf(cluster, repaired, 'rack').size, 1);
});

t.test('property: a plan is valid, and there is one exactly when some assignment is', async (t) => {
  const found = { yes: 0, no: 0 };
  for (let seed = 1; seed <= 3000; seed++) {
    const random = randomOf(seed);
    const cluster = new Cluster();
    const nodeCount = 1 + random(4);
    for (let i = 0; i < nodeCount; i++) {
      const rack = random(3);
      cluster.add({
        nodeId: `n${i}`, total: whole({ cpu: 1 + random(5), ...(random(2) === 0 ? { gpu: 1 + random(3) } : {}) }),
        labels: random(8) === 0 ? {} : { rack: `r${rack}`, zone: `z${rack >> 1}` },
      });
    }
    for (let i = random(3); i > 0; i--) {
      const row = cluster.rowOf(`n${random(nodeCount)}`)!;
      const resources = whole(random(2) === 0 && row.gpus.wholeCount > 0 ? { gpu: [0.3, 0.5, 1][random(3)]! } : { cpu: 1 });
      if (oracleRoom(cluster, row.nodeId, [{ resources, labels: [] }])) cluster.hold(row.nodeId, resources);
    }
    const sizes = Array.from({ length: 1 + random(3) }, (): PlacementRequest => ({
      resources: whole({ cpu: random(3), ...(random(3) === 0 ? { gpu: [0.3, 0.4, 0.5, 0.7, 1, 2][random(6)]! } : {}) }), labels: [],
    }));
    const topology = [same('rack'), atMost(1 + random(2), 'rack'), atMost(1 + random(3), 'zone'), fewest('rack')].filter(() => random(4) === 0);
    const request: GroupRequest = {
      bundles: Array.from({ length: 1 + random(5) }, () => sizes[random(sizes.length)]!), topology,
      strategy: (['pack', 'spread', 'strict-pack', 'strict-spread'] as const)[random(4)]!,
    };
    const plan = new GroupShape(cluster, request).plan();
    const oracle = assignments(cluster, request);
    found[plan === null ? 'no' : 'yes']++;
    if ((plan === null) !== (oracle.length === 0)) t.fail(`seed ${seed}: ${plan === null ? 'no plan' : 'a plan'}, and ${oracle.length} assignments: ${JSON.stringify(request)}`);
    if (plan === null) continue;
    const nodes = nodesOf(plan)!;
    if (!isValid(cluster, request, nodes)) t.fail(`seed ${seed}: ${nodes.join()} is not valid`);
    if (!layoutFits(cluster, request, plan)) t.fail(`seed ${seed}: the GPUs of ${JSON.stringify(plan)} are not free`);
    if (request.strategy !== 'pack' || topology.length > 0) continue; // of domains the fullest is taken, whatever number of nodes it has
    const optimal = Math.min(...oracle.map((each) => new Set(each).size));
    const isUniform = new Set(request.bundles).size === 1;
    if (new Set(nodes).size > optimal + (isUniform ? 0 : 1)) t.fail(`seed ${seed}: ${new Set(nodes).size} nodes where ${optimal} would do`);
  }
  t.ok(found.yes > 500 && found.no > 500, JSON.stringify(found));
});

/** All valid assignments of bundles to nodes. */
function assignments(cluster: Cluster, request: GroupRequest): string[][] {
  const nodeIds = [...cluster.nodes()].map(({ nodeId }) => nodeId);
  let all: string[][] = [[]];
  for (let i = 0; i < request.bundles.length; i++) all = all.flatMap((some) => nodeIds.map((nodeId) => [...some, nodeId]));
  return all.filter((each) => isValid(cluster, request, each));
}

function isValid(cluster: Cluster, { bundles, strategy, topology }: GroupRequest, nodes: readonly string[]): boolean {
  const distinct = new Set(nodes);
  if (strategy === 'strict-pack' && distinct.size > 1) return false;
  if (strategy === 'strict-spread' && distinct.size < nodes.length) return false;
  for (const { level, rule, max } of topology) {
    if (rule === 'fewest') { // a preference, but of nodes that have the level
      if (nodes.some((nodeId) => labelOf(cluster.rowOf(nodeId)!, level) === undefined)) return false;
      continue;
    }
    const values = nodes.map((nodeId) => labelOf(cluster.rowOf(nodeId)!, level));
    if (values.includes(undefined)) return false;
    if (rule === 'same' && new Set(values).size > 1) return false;
    if (rule === 'spread' && values.some((value) => values.filter((other) => other === value).length > max)) return false;
  }
  return [...distinct].every((nodeId) => oracleRoom(cluster, nodeId, bundles.filter((_, index) => nodes[index] === nodeId)));
}

/** Whether a node has room for all of these, whatever the order in which GPUs are given. */
function oracleRoom(cluster: Cluster, nodeId: string, bundles: readonly PlacementRequest[]): boolean {
  const row = cluster.rowOf(nodeId)!;
  const { available, total } = cluster.view(row);
  const cpus = bundles.reduce((sum, { resources }) => sum + (resources['cpu'] ?? 0), 0);
  if (cpus > (available['cpu'] ?? 0) || total['cpu'] === undefined) return false;
  const free = row.gpus.free().map((device) => device.free);
  const lay = (left: readonly number[]): boolean => {
    const [amount, ...others] = left;
    if (amount === undefined) return true;
    if (amount >= RESOURCE_SCALE) {
      const ids = free.flatMap((units, id) => (units === RESOURCE_SCALE ? [id] : [])).slice(0, amount / RESOURCE_SCALE);
      if (ids.length < amount / RESOURCE_SCALE) return false;
      for (const id of ids) free[id] = 0;
      const fits = lay(others);
      for (const id of ids) free[id] = RESOURCE_SCALE;
      return fits;
    }
    return free.some((units, id) => {
      if (units < amount) return false;
      free[id]! -= amount;
      const fits = lay(others);
      free[id]! += amount;
      return fits;
    });
  };
  return lay(bundles.map(({ resources }) => resources['gpu'] ?? 0).filter((amount) => amount > 0).sort((a, b) => b - a));
}

/** Whether the GPUs that a plan names are free, for all of its bundles together. */
function layoutFits(cluster: Cluster, request: GroupRequest, plan: readonly Placed[]): boolean {
  const free = new Map<string, number>();
  for (const row of cluster.rows()) for (const device of row.gpus.free()) free.set(`${row.nodeId}/${device.id}`, device.free);
  for (const [index, { nodeId, gpuIds }] of plan.entries()) {
    const amount = request.bundles[index]!.resources['gpu'] ?? 0;
    if (gpuIds.length !== Math.ceil(amount / RESOURCE_SCALE)) return false;
    for (const id of gpuIds) free.set(`${nodeId}/${id}`, (free.get(`${nodeId}/${id}`) ?? -1) - Math.min(amount, RESOURCE_SCALE));
  }
  return [...free.values()].every((units) => units >= 0);
}
