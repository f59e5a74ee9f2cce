/** Where leases go: by example, and against an oracle that looks at every node. */
import t from 'tap';
import { RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import { Cluster, explain, LEASES_PER_NODE_MAX, place, Shape, type Holding, type LabelTerm, type PlacementHints, type PlacementRequest } from './index.js';
import { satisfies } from './labels.js';
import { randomOf } from './test-support/random.js';

const whole = (amounts: Readonly<Record<string, number>>): ResourceSet => Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, amount * RESOURCE_SCALE]));
const NO_HINTS: PlacementHints = { preferredNodeIds: [], leasesByNode: null };
const need = (amounts: Readonly<Record<string, number>>, labels: readonly LabelTerm[] = []): PlacementRequest => ({ resources: whole(amounts), labels });
const term = (key: string, operator: LabelTerm['operator'], values: readonly string[] = [], weight = 0): LabelTerm => ({ key, operator, values, weight });

function clusterOf(nodes: Readonly<Record<string, { readonly total: Readonly<Record<string, number>>; readonly labels?: Readonly<Record<string, string>> }>>): Cluster {
  const cluster = new Cluster();
  for (const [nodeId, { total, labels = {} }] of Object.entries(nodes)) cluster.add({ nodeId, total: whole(total), labels });
  return cluster;
}

function choose(cluster: Cluster, request: PlacementRequest, hints: PlacementHints = NO_HINTS): string | null {
  return place(cluster, new Shape(cluster, request), hints);
}

t.test('the choice', async (t) => {
  t.test('goes to the node whose scarcest resource is least used', async (t) => {
    const cluster = clusterOf({ a: { total: { cpu: 4 } }, b: { total: { cpu: 16 } } });
    cluster.hold('a', whole({ cpu: 1 }));
    cluster.hold('b', whole({ cpu: 3 }));
    t.equal(choose(cluster, need({ cpu: 1 })), 'b');
  });

  t.test('takes a preferred node while it has room, the first of them first', async (t) => {
    const cluster = clusterOf({ a: { total: { cpu: 2 } }, b: { total: { cpu: 2 } }, c: { total: { cpu: 2 } } });
    const hints = { preferredNodeIds: ['gone', 'c', 'b'], leasesByNode: null };
    t.equal(choose(cluster, need({ cpu: 2 }), hints), 'c');
    cluster.hold('c', whole({ cpu: 1 }));
    t.equal(choose(cluster, need({ cpu: 2 }), hints), 'b');
  });

  t.test('goes where the request prefers labels, even from a preferred node, but not at the price of the lease', async (t) => {
    const cluster = clusterOf({ a: { total: { cpu: 2 } }, b: { total: { cpu: 2 }, labels: { disk: 'ssd' } }, c: { total: { cpu: 2 }, labels: { disk: 'ssd', zone: 'x' } } });
    const request = need({ cpu: 2 }, [term('disk', 'in', ['ssd'], 1), term('zone', 'in', ['x'], 2)]);
    const order: (string | null)[] = [];
    for (let i = 0; i < 3; i++) cluster.hold(order[i] = choose(cluster, request, { preferredNodeIds: ['a'], leasesByNode: null })!, request.resources);
    t.same(order, ['c', 'b', 'a']);
  });

  t.test('of what no node ever had waits for one that has it', async (t) => {
    const cluster = clusterOf({ a: { total: { cpu: 4 } } });
    const shape = new Shape(cluster, need({ cpu: 1, tpu: 2 }));
    t.equal(place(cluster, shape, NO_HINTS), null);
    t.match(explain(cluster, shape.request), { isFeasible: false, reasons: 'a has 0 tpu in total of 2 needed' });
    t.equal(cluster.columnOf('tpu'), undefined, 'asking makes no column');
    cluster.add({ nodeId: 'b', total: whole({ cpu: 4, tpu: 1 }), labels: {} });
    t.notOk(shape.isFeasible);
    cluster.add({ nodeId: 'c', total: whole({ cpu: 4, tpu: 2 }), labels: {} });
    t.equal(place(cluster, shape, NO_HINTS), 'c');
  });

  t.test('spreads by the count of own leases before all else', async (t) => {
    const cluster = clusterOf({ a: { total: { cpu: 4 } }, b: { total: { cpu: 4 } } });
    cluster.hold('b', whole({ cpu: 3 }));
    t.equal(choose(cluster, need({ cpu: 1 }), { preferredNodeIds: ['a'], leasesByNode: new Map([['a', 1]]) }), 'b');
  });

  t.test('keeps what needs no GPU away from nodes that have some, and from those with custom resources', async (t) => {
    const cluster = clusterOf({ gpu: { total: { cpu: 64, gpu: 8 } }, tpu: { total: { cpu: 64, tpu: 4 } }, plain: { total: { cpu: 4 } } });
    const order: (string | null)[] = [];
    for (let i = 0; i < 3; i++) {
      const nodeId = choose(cluster, need({ cpu: 4 }));
      order.push(nodeId);
      if (i === 1) cluster.hold('tpu', whole({ cpu: 64 }));
      else cluster.hold(nodeId!, whole({ cpu: 4 }));
    }
    t.same(order, ['plain', 'tpu', 'gpu']);
  });

  t.test('fills GPU nodes one after the other, and the parts of a GPU before a whole one', async (t) => {
    const cluster = clusterOf({ a: { total: { cpu: 8, gpu: 4 } }, b: { total: { cpu: 8, gpu: 4 } } });
    cluster.hold('b', whole({ gpu: 2 }));
    t.equal(choose(cluster, need({ gpu: 1 })), 'b');
    t.same(cluster.hold('b', whole({ gpu: 0.5 })).gpuIds, [2]);
    t.equal(choose(cluster, need({ gpu: 0.5 })), 'b');
    t.same(cluster.hold('b', whole({ gpu: 0.5 })).gpuIds, [2]);
    t.equal(choose(cluster, need({ gpu: 2 })), 'a', 'one whole GPU is left on b');
  });

  t.test('never takes parts of several GPUs for one', async (t) => {
    const cluster = clusterOf({ a: { total: { cpu: 8, gpu: 2 } } });
    for (let i = 0; i < 2; i++) cluster.hold('a', whole({ gpu: 0.6 }));
    t.equal(cluster.view(cluster.rowOf('a')!).available['gpu'], 0.8 * RESOURCE_SCALE);
    t.equal(choose(cluster, need({ gpu: 0.5 })), null);
    t.match(explain(cluster, need({ gpu: 0.5 })).reasons, /a has 0.4 of one gpu free of 0.5 needed/);
  });

  t.test('obeys conditions on labels, and prefers by their weight', async (t) => {
    const cluster = clusterOf({
      a: { total: { cpu: 4 }, labels: { zone: 'a', disk: 'hdd' } }, b: { total: { cpu: 4 }, labels: { zone: 'b', disk: 'ssd' } }, c: { total: { cpu: 4 }, labels: { zone: 'c' } },
    });
    t.equal(choose(cluster, need({ cpu: 1 }, [term('zone', 'in', ['b', 'c'])])), 'b');
    t.equal(choose(cluster, need({ cpu: 1 }, [term('zone', 'not-in', ['a', 'b'])])), 'c');
    t.equal(choose(cluster, need({ cpu: 1 }, [term('disk', 'exists'), term('disk', 'not-in', ['hdd'])])), 'b');
    t.equal(choose(cluster, need({ cpu: 1 }, [term('disk', 'not-exists')])), 'c');
    t.equal(choose(cluster, need({ cpu: 1 }, [term('node', 'in', ['c'])])), 'c');
    t.equal(choose(cluster, need({ cpu: 1 }, [term('disk', 'in', ['ssd'], 5), term('zone', 'in', ['c'], 9)])), 'c');
    cluster.hold('c', whole({ cpu: 4 }));
    t.equal(choose(cluster, need({ cpu: 1 }, [term('zone', 'in', ['c'], 9)])), 'a', 'a preference is no condition');
  });

  t.test('takes no node that is not ready, and none with the most leases it may have', async (t) => {
    const cluster = clusterOf({ a: { total: { cpu: 4 } } });
    for (const condition of ['reserved', 'unreachable', 'draining'] as const) {
      cluster.setCondition('a', condition);
      t.equal(choose(cluster, need({ cpu: 1 })), null, condition);
      t.equal(explain(cluster, need({ cpu: 1 })).isFeasible, condition !== 'draining', condition);
    }
    cluster.setCondition('a', 'ready');
    for (let i = 0; i < LEASES_PER_NODE_MAX; i++) cluster.hold('a', {});
    t.equal(choose(cluster, need({})), null);
    t.match(explain(cluster, need({})).reasons, /holds 2000 leases, the most a node may/);
  });

  t.test('nodes without cpus run only what names them or asks for what they have', async (t) => {
    const cluster = clusterOf({ store: { total: { disk: 1 }, labels: { role: 'store' } } });
    t.equal(choose(cluster, need({})), null);
    t.equal(choose(cluster, need({ disk: 1 })), 'store');
    t.equal(choose(cluster, need({}, [term('role', 'in', ['store'])])), 'store');
    t.equal(choose(cluster, need({}, [term('role', 'not-in', ['web'])])), null);
  });
});

t.test('a node that shrinks', async (t) => {
  const cluster = clusterOf({ a: { total: { cpu: 4, gpu: 2 } } });
  const held = cluster.hold('a', whole({ cpu: 3, gpu: 2 }));
  cluster.resize('a', whole({ cpu: 2, gpu: 1 }));
  const shape = new Shape(cluster, need({ cpu: 1 }));
  t.equal(cluster.view(cluster.rowOf('a')!).available['cpu'], -RESOURCE_SCALE, 'what runs stays, and counts');
  t.notOk(shape.fits(cluster.rowOf('a')!));
  cluster.release('a', held);
  t.ok(shape.fits(cluster.rowOf('a')!));
  t.notOk(explain(cluster, need({ gpu: 2 })).isFeasible, 'two GPUs it will never have');
  t.equal(choose(cluster, need({ gpu: 1 })), 'a');
});

t.test('property: a shape that follows changes agrees with one that looks at every node anew', async (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomOf(seed);
    const cluster = new Cluster();
    const requests = Array.from({ length: 6 }, (): PlacementRequest => ({
      resources: { cpu: random(4) * RESOURCE_SCALE, ...(random(3) === 0 ? { gpu: [0.25, 0.5, 1, 2][random(4)]! * RESOURCE_SCALE } : {}), ...(random(4) === 0 ? { tpu: RESOURCE_SCALE } : {}) },
      labels: random(3) === 0 ? [term('zone', (['in', 'not-in', 'exists', 'not-exists'] as const)[random(4)]!, [`z${random(3)}`], random(2) * random(9))] : [],
    }));
    const shapes = requests.map((request) => new Shape(cluster, request));
    const held: [string, Holding][] = [];
    let joined = 0;
    for (let step = 0; step < 400; step++) {
      const nodes = [...cluster.nodes()];
      const node = nodes[random(Math.max(1, nodes.length))];
      const action = random(12);
      if (action < 2 || node === undefined) {
        cluster.add({
          nodeId: `node-${joined++}`, labels: random(4) === 0 ? {} : { zone: `z${random(3)}` },
          total: { cpu: (1 + random(8)) * RESOURCE_SCALE, ...(random(2) === 0 ? { gpu: random(5) * RESOURCE_SCALE } : {}), ...(random(5) === 0 ? { tpu: 2 * RESOURCE_SCALE } : {}) },
        });
      } else if (action === 2) {
        cluster.remove(node.nodeId);
        for (let i = held.length - 1; i >= 0; i--) if (held[i]![0] === node.nodeId) held.splice(i, 1);
      } else if (action === 3) cluster.setCondition(node.nodeId, (['ready', 'reserved', 'unreachable', 'draining'] as const)[random(4)]!);
      else if (action === 4) cluster.resize(node.nodeId, { ...node.total, cpu: random(9) * RESOURCE_SCALE, ...(random(3) === 0 ? { gpu: random(4) * RESOURCE_SCALE } : {}) });
      else if (action < 7 && held.length > 0) cluster.release(...held.splice(random(held.length), 1)[0]!);
      const shape = shapes[random(shapes.length)]!;
      const chosen = place(cluster, shape, NO_HINTS);
      const fresh = new Shape(cluster, shape.request);
      if (chosen !== place(cluster, fresh, NO_HINTS)) t.fail(`seed ${seed}, step ${step}: ${chosen} is not what a fresh look chooses`);
      if (shape.isFeasible !== fresh.isFeasible) t.fail(`seed ${seed}, step ${step}: feasible or not?`);
      const fitting = [...cluster.rows()].filter((row) => oracleFits(cluster, row.nodeId, shape.request)).map((row) => row.nodeId);
      if ((chosen === null) !== (fitting.length === 0) || (chosen !== null && !fitting.includes(chosen))) t.fail(`seed ${seed}, step ${step}: ${chosen} of ${fitting.join()}`);
      if (chosen !== null && random(3) > 0) held.push([chosen, cluster.hold(chosen, shape.request.resources)]);
    }
  }
  t.pass('60 seeds of 400 steps');
});

t.test('property: among hundreds of nodes the lowest score wins, the first of equal ones, however rarely a shape is asked', async (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    const random = randomOf(seed);
    const cluster = new Cluster();
    for (let i = 0; i < 600; i++) {
      const extra: Record<string, number> = [{}, {}, { gpu: 4 }, { tpu: 1 }][random(4)]!;
      cluster.add({ nodeId: `node-${i}`, total: whole({ cpu: 4 + random(3) * 4, memory: 64, ...extra }), labels: { zone: `z${random(3)}` } });
    }
    const shapes = [need({ cpu: 1 }), need({ cpu: 5, memory: 8 }), need({ cpu: 1, gpu: 1 }), need({ gpu: 0.25 }), need({ tpu: 1 }), need({ cpu: 2 }, [term('zone', 'in', ['z1'])]), need({})]
      .map((request) => new Shape(cluster, request));
    const held: [string, Holding][] = [];
    for (let step = 0; step < 800; step++) {
      const shape = shapes[random(step % 100 < 50 ? 2 : shapes.length)]!;
      const chosen = place(cluster, shape, NO_HINTS);
      let best: string | null = null;
      let score = Infinity;
      for (const row of cluster.rows()) if (shape.score(row) < score && oracleFits(cluster, row.nodeId, shape.request)) [best, score] = [row.nodeId, shape.score(row)];
      if (chosen !== best || chosen !== place(cluster, new Shape(cluster, shape.request), NO_HINTS)) t.fail(`seed ${seed}, step ${step}: ${chosen} is not ${best}`);
      if (chosen !== null) held.push([chosen, cluster.hold(chosen, shape.request.resources)]);
      const ending = random(4) === 0 && held.length > 400 ? 8 : random(2);
      for (let i = 0; i < ending && held.length > 0; i++) cluster.release(...held.splice(random(held.length), 1)[0]!);
      if (random(10) === 0) cluster.setCondition(`node-${random(600)}`, (['ready', 'reserved', 'unreachable', 'draining'] as const)[random(4)]!);
    }
  }
  t.pass('5 seeds of 800 steps');
});

/** Whether a node fits a request, said as plainly as can be. */
function oracleFits(cluster: Cluster, nodeId: string, request: PlacementRequest): boolean {
  const row = cluster.rowOf(nodeId)!;
  const view = cluster.view(row);
  const gpu = request.resources['gpu'] ?? 0;
  return view.condition === 'ready' && request.labels.every((each) => each.weight > 0 || satisfies(view, each))
    && Object.entries(request.resources).every(([name, amount]) => amount === 0 || ((view.available[name] ?? 0) >= amount && (view.total[name] ?? 0) >= amount))
    && (gpu === 0 || row.gpus.capacity(gpu) > 0)
    && ((view.total['cpu'] ?? 0) > 0 || Object.keys(request.resources).length > 0 || request.labels.some((each) => each.weight === 0 && (each.operator === 'in' || each.operator === 'exists')));
}
