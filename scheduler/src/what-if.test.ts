/** What would be placed: by example, and against a plain count of what everything uses. */
import t from 'tap';
import { RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import { Cluster, suggestNodes, WhatIf, type GroupRequest, type NodeType, type Plan, type PlacementRequest, type Wanted } from './index.js';
import { randomOf } from './test-support/random.js';

type Amounts = Readonly<Record<string, number>>;
const whole = (amounts: Amounts): ResourceSet => Object.fromEntries(Object.entries(amounts).flatMap(([name, amount]) => (amount > 0 ? [[name, amount * RESOURCE_SCALE]] : [])));
const need = (amounts: Amounts): PlacementRequest => ({ resources: whole(amounts), labels: [] });
const type = (name: string, total: Amounts, labels: Readonly<Record<string, string>> = {}): NodeType => ({ name, total: whole(total), labels });
const bundles = (count: number, amounts: Amounts, strategy: GroupRequest['strategy'], ...levels: string[]): GroupRequest =>
  ({ bundles: Array.from({ length: count }, () => need(amounts)), strategy, topology: levels.map((level) => ({ level, rule: 'same', max: 0 })) });
const wanted = (parts: Partial<Wanted>): Wanted => ({ groups: [], tasks: [], ...parts });

function clusterOf(nodes: Readonly<Record<string, Amounts>>): Cluster {
  const cluster = new Cluster();
  for (const [nodeId, total] of Object.entries(nodes)) cluster.add({ nodeId, total: whole(total), labels: { rack: 'old' } });
  return cluster;
}

const stateOf = (cluster: Cluster): string => JSON.stringify([...cluster.snapshot()]);

t.test('a plan', async (t) => {
  const cluster = clusterOf({ a: { cpu: 4, gpu: 2 }, b: { cpu: 4 } });
  cluster.hold('a', whole({ gpu: 0.5 }));
  const before = stateOf(cluster);

  t.test('places groups before tasks, says where, and why not the rest', async (t) => {
    const { groups, tasks } = new WhatIf(cluster).plan({
      groups: [{ request: bundles(2, { cpu: 3 }, 'strict-spread'), count: 1 }, { request: bundles(1, { gpu: 3 }, 'pack'), count: 1 }],
      tasks: [{ request: need({ cpu: 1 }), count: 5 }],
    });
    t.match(groups[0], { placed: 1, isFeasible: true, reasons: '' });
    t.same(new Set(groups[0]!.nodeIds[0]), new Set(['a', 'b']));
    t.match(groups[1], { placed: 0, nodeIds: [], isFeasible: false, reasons: /both nodes have at most 2 gpu in total \(a\) of 3 needed/ });
    t.match(tasks[0], { placed: 2, isFeasible: true, reasons: 'both nodes have 0 cpu free of 1 needed' });
    t.same(new Set(tasks[0]!.nodeIds.flat()), new Set(['a', 'b']));
  });

  t.test('leaves the cluster alone', async (t) => t.equal(stateOf(cluster), before));

  t.test('uses nodes that join, and none that drain or are cut off', async (t) => {
    const trial = new WhatIf(cluster);
    t.same(trial.add(type('gpu8', { cpu: 8, gpu: 8 }), 2), ['new-gpu8-1', 'new-gpu8-2']);
    t.same(trial.plan(wanted({ tasks: [{ request: need({ gpu: 8 }), count: 3 }] })).tasks[0]!.nodeIds, [['new-gpu8-1'], ['new-gpu8-2']]);
    const away = clusterOf({ a: { cpu: 1 }, b: { cpu: 1 } });
    away.setCondition('a', 'draining');
    away.setCondition('b', 'unreachable');
    t.match(new WhatIf(away).plan(wanted({ tasks: [{ request: need({ cpu: 1 }), count: 1 }] })).tasks[0],
      { placed: 0, reasons: 'of 2 nodes, a is draining and takes no more; b is cut off at the moment' });
  });
});

t.test('a copy of a copy is the same, parts of GPUs and all', async (t) => {
  const cluster = clusterOf({ a: { cpu: 4, gpu: 3 }, b: { cpu: 4, tpu: 1 } });
  for (const gpu of [0.5, 0.7, 1]) cluster.hold('a', whole({ gpu }));
  cluster.lend('b', whole({ cpu: 1 }), 1);
  cluster.resize('a', whole({ cpu: 2, gpu: 2 }));
  const copy = Cluster.restore(JSON.parse(stateOf(cluster)) as Parameters<typeof Cluster.restore>[0]);
  t.equal(stateOf(copy), stateOf(cluster));
  for (const gpu of [0.3, 0.5, 1]) t.same(new WhatIf(copy).plan(wanted({ tasks: [{ request: need({ gpu }), count: 9 }] })), new WhatIf(cluster).plan(wanted({ tasks: [{ request: need({ gpu }), count: 9 }] })));
});

t.test('a suggestion', async (t) => {
  const types = [type('cpu16', { cpu: 16 }), type('gpu8', { cpu: 8, gpu: 8 }, { rack: 'new' })];
  const counts = (cluster: Cluster, parts: Partial<Wanted>): object => {
    const { nodes, isComplete } = suggestNodes(cluster, wanted(parts), types);
    return { ...Object.fromEntries([...nodes].map(([{ name }, count]) => [name, count])), isComplete };
  };

  t.test('is nothing when everything fits, and else what is lacking', async (t) => {
    const cluster = clusterOf({ a: { cpu: 4 } });
    t.same(counts(cluster, { tasks: [{ request: need({ cpu: 1 }), count: 4 }] }), { isComplete: true });
    t.same(counts(cluster, { tasks: [{ request: need({ cpu: 1 }), count: 37 }] }), { cpu16: 3, isComplete: true });
    t.same(counts(cluster, { tasks: [{ request: need({ gpu: 1 }), count: 9 }] }), { gpu8: 2, isComplete: true });
  });

  t.test('lets tasks use what groups leave of their nodes', async (t) => {
    const request = bundles(3, { gpu: 8 }, 'strict-spread', 'rack');
    t.same(counts(new Cluster(), { groups: [{ request, count: 2 }], tasks: [{ request: need({ cpu: 1 }), count: 50 }] }), { gpu8: 6, cpu16: 1, isComplete: true });
  });

  t.test('says when no type would do', async (t) => {
    t.same(counts(new Cluster(), { tasks: [{ request: need({ tpu: 1 }), count: 1 }] }), { isComplete: false });
    t.same(counts(new Cluster(), { groups: [{ request: bundles(2, { cpu: 1 }, 'pack', 'zone'), count: 1 }] }), { isComplete: false });
    t.same(counts(new Cluster(), { tasks: [{ request: need({ cpu: 16 }), count: 100_000 }] }), { isComplete: false }, 'thousands of nodes are a slip of the pen');
  });
});

t.test('property: what is placed fits together, what is not has no place, and a suggestion is enough', async (t) => {
  let suggested = 0;
  for (let seed = 1; seed <= 600; seed++) {
    const random = randomOf(seed);
    const cluster = new Cluster();
    for (let i = random(4); i > 0; i--) cluster.add({ nodeId: `n${i}`, total: whole({ cpu: 1 + random(8), gpu: random(2) * random(5) }), labels: { rack: `r${random(2)}` } });
    for (const { nodeId, total } of [...cluster.nodes()]) if (random(2) === 0) cluster.hold(nodeId, { cpu: RESOURCE_SCALE * (1 + random(Math.floor(total['cpu']! / RESOURCE_SCALE))) });
    const amounts = (): Amounts => ({ cpu: 1 + random(3), gpu: random(3) === 0 ? [0.5, 1, 2][random(3)]! : 0 });
    const request: Wanted = {
      groups: Array.from({ length: random(3) }, () => {
        const strategy = (['pack', 'spread', 'strict-pack', 'strict-spread'] as const)[random(4)]!;
        return { request: bundles(1 + random(4), amounts(), strategy, ...(random(3) === 0 ? ['rack'] : [])), count: 1 + random(3) };
      }),
      tasks: Array.from({ length: random(3) }, () => ({ request: need(amounts()), count: random(12) })),
    };
    const plan = new WhatIf(cluster).plan(request);
    checkFits(t, seed, cluster, request, plan);
    const types = [type('small', { cpu: 4 }, { rack: 'r2' }), type('large', { cpu: 12, gpu: 4 }, { rack: 'r3' })];
    const { nodes, isComplete } = suggestNodes(cluster, request, types);
    if (!isComplete) continue;
    suggested++;
    const larger = new WhatIf(cluster);
    for (const [each, count] of nodes) larger.add(each, count);
    const after = larger.plan(request);
    if (after.groups.some(({ placed }, index) => placed < request.groups[index]!.count) || after.tasks.some(({ placed }, index) => placed < request.tasks[index]!.count)) t.fail(`seed ${seed}: it is not enough`);
    for (const [fewer] of nodes) { // one node less of any type is too few
      const smaller = new WhatIf(cluster);
      for (const [each, count] of nodes) smaller.add(each, each === fewer ? count - 1 : count);
      const { groups, tasks } = smaller.plan(request);
      if ([...groups, ...tasks].every(({ placed }, index) => placed === [...request.groups, ...request.tasks][index]!.count)) t.fail(`seed ${seed}: one ${fewer.name} less would do`);
    }
  }
  t.ok(suggested > 300, `${suggested} suggestions`);
});

/** Counted anew: no node holds more than it has; and what was refused finds no node at the end. */
function checkFits(t: { fail(what: string): boolean }, seed: number, cluster: Cluster, request: Wanted, plan: Plan): void {
  const after = cluster.fork();
  plan.groups.forEach(({ nodeIds, placed }, index) => {
    if (nodeIds.length !== placed) t.fail(`seed ${seed}: ${placed} groups on ${nodeIds.length}`);
    for (const group of nodeIds) group.forEach((nodeId, bundle) => after.lend(nodeId, withoutGpus(request.groups[index]!.request.bundles[bundle]!), -1));
  });
  plan.tasks.forEach(({ nodeIds }, index) => { for (const [nodeId] of nodeIds) after.lend(nodeId!, withoutGpus(request.tasks[index]!.request), -1); });
  for (const { nodeId, available } of after.nodes()) if (available['cpu']! < 0) t.fail(`seed ${seed}: ${nodeId} is oversubscribed`);
  plan.tasks.forEach(({ placed, reasons }, index) => {
    const { request: { resources }, count } = request.tasks[index]!;
    if ((placed === count) !== (reasons === '')) t.fail(`seed ${seed}: ${reasons}`);
    const fits = [...after.nodes()].some(({ available }) => available['cpu']! >= resources['cpu']!);
    if (placed < count && resources['gpu'] === undefined && fits) t.fail(`seed ${seed}: a task of ${resources['cpu']} finds a place`);
  });
}

function withoutGpus({ resources: { gpu: _gpu, ...rest } }: PlacementRequest): ResourceSet {
  return rest;
}
