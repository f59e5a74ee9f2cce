/** Preemption, backfilling and fair shares: by example, and as properties of random clusters. */
import t from 'tap';
import { RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import { Cluster, compareTurns, GroupShape, haveRoom, place, Preemptor, reserve, Shape, ShareOfQueue, type Ending, type GroupRequest, type Preemption, type Ranked, type Tenant } from './index.js';
import { randomOf } from './test-support/random.js';

const whole = (amounts: Readonly<Record<string, number>>): ResourceSet => Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, amount * RESOURCE_SCALE]));
const cpus = (count: number, each = 1): GroupRequest =>
  ({ bundles: Array.from({ length: count }, () => ({ resources: whole({ cpu: each }), labels: [] })), strategy: 'pack', topology: [] });

function clusterOf(nodes: number, cpu: number): Cluster {
  const cluster = new Cluster();
  for (let i = 0; i < nodes; i++) cluster.add({ nodeId: `n${i}`, total: whole({ cpu }), labels: {} });
  return cluster;
}

function tenant(cluster: Cluster, id: string, priority: number, startedAtMs: number, holds: Readonly<Record<string, number>>): Tenant {
  return { id, priority, startedAtMs, holdings: Object.entries(holds).map(([nodeId, cpu]) => ({ nodeId, ...cluster.hold(nodeId, whole({ cpu })) })) };
}

const preempt = (cluster: Cluster, request: GroupRequest, priority: number, tenants: readonly Tenant[]): Preemption | null =>
  new Preemptor(cluster.fork(), tenants).preempt(request, priority);

const idsOf = (tenants: readonly Tenant[] | undefined): string[] | undefined => tenants?.map(({ id }) => id);

t.test('preemption', async (t) => {
  t.test('the least important go, the youngest of them first, and nobody who need not', async (t) => {
    const cluster = clusterOf(2, 4);
    const tenants = [tenant(cluster, 'old', 1, 100, { n0: 2 }), tenant(cluster, 'young', 1, 200, { n0: 2 }), tenant(cluster, 'high', 2, 300, { n1: 4 })];
    t.same(idsOf(preempt(cluster, cpus(1, 2), 3, tenants)?.victims), ['young']);
    t.same(idsOf(preempt(cluster, cpus(1, 4), 3, tenants)?.victims), ['young', 'old']);
    t.equal(preempt(cluster, cpus(1, 4), 1, tenants), null, 'those of equal priority stay');
  });

  t.test('a gang goes whole, and only if one of its members stands in the way', async (t) => {
    const cluster = clusterOf(3, 2);
    const tenants = [tenant(cluster, 'gang', 0, 100, { n0: 2, n1: 2 }), tenant(cluster, 'single', 0, 50, { n2: 2 })];
    t.same(idsOf(preempt(cluster, cpus(2, 2), 1, tenants)?.victims), ['gang'], 'the single one could be spared');
  });

  t.test('what one was promised, the next does not find', async (t) => {
    const cluster = clusterOf(2, 2);
    const tenants = [tenant(cluster, 'a', 0, 100, { n0: 2 }), tenant(cluster, 'b', 0, 200, { n1: 2 })];
    const preemptor = new Preemptor(cluster.fork(), tenants);
    t.same(idsOf(preemptor.preempt(cpus(1, 1), 1)?.victims), ['b']);
    t.same(idsOf(preemptor.preempt(cpus(1, 2), 1)?.victims), ['a']);
    t.same(idsOf(preemptor.preempt(cpus(1, 1), 1)?.victims), [], 'what is left of the room of b');
    t.equal(preemptor.preempt(cpus(1, 1), 1), null);
  });

  t.test('property: there is room after it, and not if any one victim stays', async (t) => {
    let found = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const random = randomOf(seed);
      const cluster = clusterOf(2 + random(4), 4);
      const tenants: Tenant[] = [];
      for (let i = 0; i < 12; i++) {
        const holds: Record<string, number> = {};
        for (let k = 0; k <= random(2); k++) {
          const row = cluster.rowOf(`n${random(cluster.size)}`)!;
          const free = (cluster.view(row).available['cpu'] ?? 0) / RESOURCE_SCALE - (holds[row.nodeId] ?? 0);
          if (free >= 1) holds[row.nodeId] = (holds[row.nodeId] ?? 0) + 1 + random(Math.min(2, free));
        }
        if (Object.keys(holds).length > 0) tenants.push(tenant(cluster, `t${i}`, random(3), i, holds));
      }
      const request = cpus(1 + random(3), 1 + random(4));
      const result = preempt(cluster, request, 2, tenants);
      const fitsWithout = (leaving: readonly Tenant[]): boolean => {
        const later = cluster.fork();
        for (const { holdings } of leaving) for (const holding of holdings) later.release(holding.nodeId, holding);
        return new GroupShape(later, request).plan() !== null;
      };
      const low = tenants.filter(({ priority }) => priority < 2);
      if (result === null) {
        if (fitsWithout(low)) t.fail(`seed ${seed}: there was enough to take`);
        continue;
      }
      found++;
      if (result.victims.some(({ priority }) => priority >= 2)) t.fail(`seed ${seed}: took from its equals`);
      if (!fitsWithout(result.victims)) t.fail(`seed ${seed}: not enough`);
      for (const spared of result.victims) if (fitsWithout(result.victims.filter((other) => other !== spared))) t.fail(`seed ${seed}: ${spared.id} could have stayed`);
    }
    t.ok(found > 100, `${found} found a way`);
  });
});

t.test('backfilling', async (t) => {
  const ending = (cluster: Cluster, nodeId: string, cpu: number, endsAtMs: number): Ending => ({ nodeId, endsAtMs, ...cluster.hold(nodeId, whole({ cpu })) });
  const one = { resources: whole({ cpu: 1 }), labels: [] };

  t.test('a group is promised the earliest moment at which it fits', async (t) => {
    const cluster = clusterOf(2, 4);
    const endings = [ending(cluster, 'n0', 3, 500), ending(cluster, 'n1', 2, 300), ending(cluster, 'n1', 2, Infinity)];
    const startOf = (request: GroupRequest): number | undefined => reserve(cluster.fork(), request, endings)?.startsAtMs;
    t.equal(startOf(cpus(1, 3)), 500);
    t.equal(startOf(cpus(1, 2)), 300);
    t.equal(startOf(cpus(1, 1)), -Infinity);
    t.equal(startOf(cpus(2, 4)), undefined, 'nobody knows when the last one ends');
    t.same(reserve(cluster.fork(), cpus(1, 3), endings)?.awaited, [endings[0]], 'what ends elsewhere is not waited for');
  });

  t.test('what does not end in time may run beside the group', async (t) => {
    const cluster = clusterOf(1, 4);
    const staying = ending(cluster, 'n0', 1, Infinity);
    const node = cluster.view(cluster.rowOf('n0')!);
    t.ok(haveRoom(node, [staying], [cpus(1, 2).bundles[0]!, one]));
    t.notOk(haveRoom(node, [staying], [cpus(1, 3).bundles[0]!, one]));
  });

  t.test('property: what is admitted never makes the group wait beyond its promise', async (t) => {
    let admitted = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const random = randomOf(seed);
      const cluster = clusterOf(1 + random(4), 4);
      const running: Ending[] = [];
      for (const { nodeId } of [...cluster.nodes()]) for (let i = random(4); i > 0; i--) running.push(ending(cluster, nodeId, 1, 10 + random(100)));
      const request = cpus(1 + random(3), 1 + random(4));
      const reservation = reserve(cluster.fork(), request, running);
      if (reservation === null) continue;
      const { startsAtMs, placed } = reservation;
      for (let i = 0; i < 20; i++) {
        const resources = whole({ cpu: 1 + random(2) });
        const endsAtMs = 5 + random(200);
        const nodeId = place(cluster, new Shape(cluster, { resources, labels: [] }), { preferredNodeIds: [`n${random(4)}`], leasesByNode: null });
        if (nodeId === null) continue;
        const bundles = request.bundles.filter((_, index) => placed[index]!.nodeId === nodeId);
        const staying = running.filter((each) => each.nodeId === nodeId && each.endsAtMs > startsAtMs);
        if (endsAtMs > startsAtMs && bundles.length > 0 && !haveRoom(cluster.view(cluster.rowOf(nodeId)!), staying, [...bundles, { resources, labels: [] }])) continue;
        running.push(ending(cluster, nodeId, resources['cpu']! / RESOURCE_SCALE, endsAtMs));
        admitted++;
      }
      for (const each of running) if (each.endsAtMs <= startsAtMs) cluster.release(each.nodeId, each);
      if (new GroupShape(cluster, request).plan() === null) t.fail(`seed ${seed}: the group does not fit at ${startsAtMs}`);
    }
    t.ok(admitted > 300, `${admitted} admitted`);
  });
});

t.test('fair shares', async (t) => {
  const queue = (name: string, weight = 1, quota: ResourceSet = {}): ShareOfQueue => new ShareOfQueue({ name, weight, quota });
  const namesInTurn = (waiting: readonly Ranked[], capacity: ResourceSet): string[] => [...waiting].sort((a, b) => compareTurns(a, b, capacity)).map((each) => each.queue.settings.name);

  t.test('the example of the paper: 9 cpus and 18 GB, tasks of <1, 4> and <3, 1>, end at 3 and 2 tasks', async (t) => {
    const capacity = whole({ cpu: 9, memory: 18 });
    const wants = new Map([[queue('A'), whole({ cpu: 1, memory: 4 })], [queue('B'), whole({ cpu: 3, memory: 1 })]]);
    const counts: Record<string, number> = { A: 0, B: 0 };
    const used: Record<string, number> = { cpu: 0, memory: 0 };
    for (;;) {
      const inTurn = [...wants.keys()].sort((a, b) => compareTurns({ queue: a, priority: 0 }, { queue: b, priority: 0 }, capacity) || (a.settings.name < b.settings.name ? -1 : 1));
      const next = inTurn.find((each) => Object.entries(wants.get(each)!).every(([name, amount]) => used[name]! + amount <= capacity[name]!));
      if (next === undefined) break;
      for (const [name, amount] of Object.entries(wants.get(next)!)) used[name]! += amount;
      next.add(wants.get(next)!);
      counts[next.settings.name]!++;
    }
    t.same(counts, { A: 3, B: 2 });
  });

  t.test('priority comes before shares, and weights divide them', async (t) => {
    const capacity = whole({ cpu: 10 });
    const [low, high, heavy] = [queue('low'), queue('high'), queue('heavy', 4)];
    const waiting = [{ queue: low, priority: 0 }, { queue: high, priority: 5 }, { queue: heavy, priority: 0 }];
    high.add(whole({ cpu: 5 }));
    low.add(whole({ cpu: 1 }));
    heavy.add(whole({ cpu: 3 }));
    t.same(namesInTurn(waiting, capacity), ['high', 'heavy', 'low']);
    heavy.add(whole({ cpu: 2 }));
    t.same(namesInTurn(waiting, capacity), ['high', 'low', 'heavy']);
    t.equal(low.dominantShare(capacity, whole({ cpu: 2, gpu: 1 })), 0.3, 'as if it held more; of what nobody has there is no share');
  });

  t.test('a quota is never exceeded, and says so', async (t) => {
    const team = queue('team', 1, whole({ gpu: 4 }));
    team.add(whole({ gpu: 3, cpu: 100 }));
    t.equal(team.overQuota(whole({ gpu: 1, cpu: 100 })), null);
    t.equal(team.overQuota(whole({ gpu: 2 })), 'queue team may hold 4 gpu and holds 3 gpu');
    t.same(team.quotaShortage(whole({ gpu: 2 })), whole({ gpu: 1 }));
    t.equal(team.neverHolds(whole({ gpu: 4 })), null);
    t.equal(team.neverHolds(whole({ gpu: 5 })), 'queue team may hold 4 gpu in all');
    team.subtract(whole({ gpu: 1 }));
    t.equal(team.overQuota(whole({ gpu: 2 })), null);
  });
});
