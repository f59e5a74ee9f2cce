/** Reasons: by example, and against a plain look at every node: each number in a text is true of the cluster. */
import t from 'tap';
import { formatResources, RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import { Cluster, explain, explainGroup, GroupShape, labelOf, satisfies, type GroupRequest, type GroupStrategy, type LabelTerm, type NodeCondition, type PlacementRequest, type TopologyTerm } from './index.js';
import { randomOf } from './test-support/random.js';

type Amounts = Readonly<Record<string, number>>;
const whole = (amounts: Amounts): ResourceSet => Object.fromEntries(Object.entries(amounts).flatMap(([name, amount]) => (amount > 0 ? [[name, amount * RESOURCE_SCALE]] : [])));
const term = (key: string, operator: LabelTerm['operator'], ...values: string[]): LabelTerm => ({ key, operator, values, weight: 0 });
const need = (amounts: Amounts, ...labels: LabelTerm[]): PlacementRequest => ({ resources: whole(amounts), labels });
const group = (count: number, bundle: PlacementRequest, strategy: GroupStrategy, ...topology: TopologyTerm[]): GroupRequest =>
  ({ bundles: Array.from({ length: count }, () => bundle), strategy, topology });
const same = (level: string): TopologyTerm => ({ level, rule: 'same', max: 0 });
const atMost = (max: number, level: string): TopologyTerm => ({ level, rule: 'spread', max });

function clusterOf(nodes: Readonly<Record<string, readonly [total: Amounts, labels?: Readonly<Record<string, string>>, held?: Amounts]>>): Cluster {
  const cluster = new Cluster();
  for (const [nodeId, [total, labels = {}, held]] of Object.entries(nodes)) {
    cluster.add({ nodeId, total: whole(total), labels });
    if (held !== undefined) cluster.hold(nodeId, whole(held));
  }
  return cluster;
}

t.test('why a request waits', async (t) => {
  const cluster = clusterOf({ a: [{ cpu: 4 }, { zone: 'a' }, { cpu: 2 }], b: [{ cpu: 8 }, { zone: 'b' }, { cpu: 7 }], c: [{ cpu: 2 }] });
  const reasonsOf = (request: PlacementRequest): string => explain(cluster, request).reasons;

  t.test('how many nodes were looked at, what each kind has, and which comes closest', async (t) => {
    t.match(explain(cluster, need({ cpu: 4 })), {
      isFeasible: true, nodeCount: 3, nearest: { nodeId: 'a', lacks: whole({ cpu: 2 }) },
      refusals: [{ nodeCount: 2, nodeId: 'a', why: 'have at most 2 cpu free of 4 needed' }, { nodeCount: 1, nodeId: 'c', why: 'has 2 cpu in total of 4 needed' }],
      reasons: 'of 3 nodes, 2 have at most 2 cpu free of 4 needed; c has 2 cpu in total of 4 needed; a comes closest and lacks 2 cpu',
    });
    t.equal(reasonsOf(need({ cpu: 3 }, term('zone', 'in', 'a'))), 'of 3 nodes, 2 lack label zone=a; a has 2 cpu free of 3 needed');
    t.equal(reasonsOf(need({ cpu: 3 }, term('node', 'in', 'a'))), 'a has 2 cpu free of 3 needed');
    t.equal(reasonsOf(need({ cpu: 3 }, term('node', 'in', 'a', 'gone'))), 'a has 2 cpu free of 3 needed');
    t.equal(reasonsOf(need({ cpu: 2 })), 'of 3 nodes, 2 have room; b has 1 cpu free of 2 needed', 'also of what does not wait');
  });

  t.test('what could never be: the most that there is', async (t) => {
    t.match(explain(cluster, need({ cpu: 9 })), { isFeasible: false, nearest: null, reasons: 'all 3 nodes have at most 8 cpu in total (b) of 9 needed' });
    t.equal(reasonsOf(need({ cpu: 9, gpu: 1 })), 'all 3 nodes have at most 8 cpu, 0 gpu in total of 9 cpu, 1 gpu needed');
    t.equal(explain(clusterOf({ a: [{ cpu: 4, gpu: 1 }], b: [{ cpu: 4, gpu: 1 }] }), need({ gpu: 2 })).reasons, 'both nodes have 1 gpu in total of 2 needed');
    t.equal(explain(clusterOf({ a: [{ cpu: 4, memory: 512 }] }), need({ memory: 1024 })).reasons, 'a has 0.5 GiB memory in total of 1 GiB memory needed');
  });

  t.test('labels that nobody has: which values there are, and whether it is only the labels', async (t) => {
    t.equal(reasonsOf(need({ cpu: 2 }, term('zone', 'in', 'A'))), 'all 3 nodes lack label zone=A; known values of zone: a, b; without its labels, 3 nodes could hold it');
    t.equal(reasonsOf(need({ cpu: 8 }, term('rack', 'in', '1'))), 'all 3 nodes lack label rack=1; no node has a label rack; without its labels, one node could hold it');
    t.equal(reasonsOf(need({ cpu: 8 }, term('zone', 'not-in', 'b'))),
      'of 3 nodes, 2 have at most 4 cpu in total (a) of 8 needed; b has label zone=b; without its labels, one node could hold it');
    t.equal(reasonsOf(need({}, term('node', 'in', 'gone'))), 'gone is not in the cluster');
    t.equal(explain(new Cluster(), need({})).reasons, 'the cluster has no nodes');
  });

  t.test('GPUs in parts', async (t) => {
    const parts = clusterOf({ a: [{ cpu: 1, gpu: 2 }, {}, { gpu: 0.5 }], b: [{ cpu: 1, gpu: 2 }, {}, { gpu: 0.5 }] });
    for (const nodeId of ['a', 'b']) parts.hold(nodeId, whole({ gpu: 0.8 }));
    t.equal(explain(parts, need({ gpu: 0.6 })).reasons, 'both nodes have 0.5 of one gpu free of 0.6 needed');
    t.equal(explain(parts, need({ gpu: 1 })).reasons, 'both nodes have 0.7 gpu free of 1 needed');
    parts.hold('a', whole({ gpu: 0.5 }));
    t.equal(explain(parts, need({ gpu: 0.6 })).reasons, 'of 2 nodes, a has 0.2 gpu free of 0.6 needed; b has 0.5 of one gpu free of 0.6 needed; b comes closest and lacks 0.1 gpu');
  });

  t.test('a large cluster has a short text', async (t) => {
    const large = new Cluster();
    for (let i = 0; i < 20; i++) large.add({ nodeId: `n${i}`, total: whole({ cpu: 1 }), labels: i < 8 ? { [`l${i}`]: 'x' } : {} });
    const text = explain(large, { resources: whole({ cpu: 2 }), labels: Array.from({ length: 8 }, (_, i) => term(`l${i}`, 'not-exists')) }).reasons;
    t.match(text, /^of 20 nodes, 12 have 1 cpu in total of 2 needed; n0 has label l0; .*n6 has label l6; 1 refuse for other reasons$/);
  });
});

t.test('why a group waits', async (t) => {
  const racks = (): Cluster => clusterOf(Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`r${i % 2}n${i >> 1}`, [{ cpu: 4, gpu: 8 }, { rack: `r${i % 2}` }] as const])));

  t.test('where it comes closest, what fits there now, and what would if nothing ran', async (t) => {
    const cluster = racks();
    cluster.hold('r0n0', whole({ gpu: 1 }));
    for (const nodeId of ['r1n0', 'r1n1']) cluster.hold(nodeId, whole({ gpu: 8 }));
    t.match(explainGroup(cluster, group(3, need({ gpu: 8 }), 'strict-spread', same('rack'))), {
      nodeCount: 6, nearest: { nodeId: 'r0n0', lacks: whole({ gpu: 1 }) },
      reasons: '3 bundles on a node each, all in one rack: of 2 racks, r0 comes closest: 3 × (8 gpu): room for 2 now, for 3 if nothing ran; '
        + 'of 3 nodes, 2 have room; r0n0 has 7 gpu free of 8 needed',
    });
    const never = explainGroup(cluster, group(4, need({ gpu: 8 }), 'strict-spread', same('rack')));
    t.match(never.reasons, /4 × \(8 gpu\): room for 2 now, for 3 if nothing ran;/);
    t.match(explainGroup(cluster, group(1, need({ gpu: 9 }), 'pack')).reasons, /room for none now, for none if nothing ran; all 6 nodes have 8 gpu in total of 9 needed/);
  });

  t.test('what must lie on one node is counted together', async (t) => {
    const cluster = racks();
    for (let i = 0; i < 6; i++) cluster.hold(`r${i % 2}n${i >> 1}`, whole({ gpu: i === 4 ? 2 : 4 }));
    t.match(explainGroup(cluster, group(8, need({ gpu: 1 }), 'strict-pack')), {
      nearest: { nodeId: 'r0n2' },
      reasons: '8 bundles on one node: of 6 nodes, r0n2 comes closest: 8 × (1 gpu): room for 6 now, for 8 if nothing ran; r0n2 has 6 gpu free of 8 needed',
    });
  });

  t.test('what was lost of a group finds no room where its other bundles are', async (t) => {
    const cluster = racks();
    for (const nodeId of ['r0n0', 'r0n1', 'r0n2']) cluster.hold(nodeId, whole({ gpu: nodeId === 'r0n2' ? 3 : 4 }));
    const lost = group(1, need({ gpu: 4 }), 'strict-spread', same('rack'), atMost(3, 'zone'));
    t.equal(explainGroup(cluster, { ...lost, topology: [same('rack')] }, ['r0n0', 'r0n1']).reasons,
      '1 bundle, all in one rack beside the 2 that are there: 1 × (4 gpu): room for 1 now, for 1 if nothing ran; r0n2 has room');
    cluster.hold('r0n2', whole({ gpu: 2 }));
    t.equal(explainGroup(cluster, { ...lost, topology: [same('rack')] }, ['r0n0', 'r0n1']).reasons,
      '1 bundle, all in one rack beside the 2 that are there: 1 × (4 gpu): room for none now, for 1 if nothing ran; r0n2 has 3 gpu free of 4 needed');
    t.equal(explainGroup(cluster, { ...lost, topology: [atMost(1, 'rack')] }, ['r0n0', 'r1n0']).reasons.includes('room for none now, for none if nothing ran'), true, 'no rack may take more');
    t.match(explainGroup(cluster, { ...lost, topology: [same('rack')] }, ['r0n0', 'r0n1', 'r0n2']).reasons, /no node is left beside those of its other bundles$/);
  });

  t.test('levels that nodes lack, and kinds of bundles that fit only one by one', async (t) => {
    t.equal(explainGroup(clusterOf({ a: [{ cpu: 2 }] }), group(2, need({ cpu: 1 }), 'spread', atMost(1, 'zone'))).reasons,
      '2 bundles apart, at most 1 in one zone: a lacks label zone; without its labels, one node could hold it');
    const two = clusterOf({ a: [{ cpu: 4 }] });
    t.match(explainGroup(two, { bundles: [need({ cpu: 3 }), need({ cpu: 2 })], strategy: 'pack', topology: [] }).reasons,
      /1 × \(3 cpu\): room for 1 now, .*1 × \(2 cpu\): room for 1 now, .*each has room by itself, and not all of them together/);
  });
});

// ---------------------------------------------------------------- the plain look

/** What one node says, as plainly as can be: the kind of its reason, what it has, and what is needed. */
function verdictOf(cluster: Cluster, nodeId: string, { resources, labels }: PlacementRequest): { readonly kind: string; readonly have: Amounts } {
  const row = cluster.rowOf(nodeId)!;
  const { available, total, condition } = cluster.view(row);
  const names = Object.keys(resources);
  const refused = labels.filter((each) => each.weight === 0 && !satisfies(row, each));
  if (refused.length > 0) return { kind: `labels ${refused.length}`, have: {} };
  const short = (amounts: Amounts): string[] => names.filter((name) => (amounts[name] ?? 0) < resources[name]!);
  const have = (amounts: Amounts, lacking: readonly string[]): Amounts => Object.fromEntries(lacking.map((name) => [name, Math.max(0, amounts[name] ?? 0)]));
  if (short(total).length > 0) return { kind: 'in total', have: have(total, short(total)) };
  if (condition === 'draining' || condition === 'unreachable') return { kind: condition, have: {} };
  if (short(available).length > 0) return { kind: 'free', have: have(available, short(available)) };
  const gpu = resources['gpu'] ?? 0;
  const frees = row.gpus.free().map(({ free }) => free);
  const wholeGpus = frees.filter((free) => free === RESOURCE_SCALE).length * RESOURCE_SCALE;
  if (gpu >= RESOURCE_SCALE && wholeGpus < gpu) return { kind: 'free', have: { 'whole gpu': wholeGpus } };
  if (gpu > 0 && gpu < RESOURCE_SCALE && Math.max(0, ...frees) < gpu) return { kind: 'free', have: { 'of one gpu': Math.max(0, ...frees) } };
  return { kind: condition === 'reserved' ? 'reserved' : 'room', have: {} };
}

/** The clause that these nodes should have brought about. */
function expectedClause(nodes: readonly { readonly nodeId: string; readonly kind: string; readonly have: Amounts }[]): RegExp {
  const { kind, have } = nodes[0]!;
  if (kind === 'draining') return /draining and takes? no more$/;
  if (kind === 'unreachable') return /cut off at the moment$/;
  if (kind === 'reserved') return /kept free for a demand that has waited longer$/;
  if (kind === 'room') return /^ha(s|ve) room$/;
  if (kind.startsWith('labels')) return /label/;
  const most = Object.fromEntries(Object.keys(have).map((name) => [name, Math.max(...nodes.map((node) => node.have[name]!))]));
  const differs = nodes.some((node) => Object.keys(most).some((name) => node.have[name] !== most[name]));
  const [device] = Object.keys(have).filter((name) => name.includes('gpu') && name !== 'gpu');
  const amount = device !== undefined ? `${most[device]! / RESOURCE_SCALE} ${device}` : formatResources(most);
  return new RegExp(`^ha(s|ve) ${differs ? 'at most ' : ''}${amount} ${kind}`);
}

function randomCluster(random: (below: number) => number): Cluster {
  const cluster = new Cluster();
  const count = 1 + random(6);
  for (let i = 0; i < count; i++) {
    const nodeId = `n${i}`;
    cluster.add({
      nodeId, total: whole({ cpu: 1 + random(4), gpu: random(2) * random(4), tpu: random(3) === 0 ? 2 : 0 }),
      labels: random(6) === 0 ? {} : { rack: `r${random(3)}`, zone: `z${random(2)}` },
    });
    const row = cluster.rowOf(nodeId)!;
    for (let held = random(4); held > 0; held--) {
      const resources = whole(random(2) === 0 ? { cpu: 1 } : { gpu: [0.3, 0.5, 1][random(3)]! });
      const view = cluster.view(row);
      if (Object.keys(resources).every((name) => (view.available[name] ?? 0) >= resources[name]!) && (resources['gpu'] === undefined || row.gpus.capacity(resources['gpu']) > 0)) cluster.hold(nodeId, resources);
    }
    if (random(5) === 0) cluster.setCondition(nodeId, (['reserved', 'unreachable', 'draining'] as const)[random(3)]! satisfies NodeCondition);
    if (random(8) === 0) cluster.resize(nodeId, { ...row.total, cpu: RESOURCE_SCALE });
  }
  return cluster;
}

t.test('property: every number in an explanation is true of the cluster', async (t) => {
  let clauses = 0;
  for (let seed = 1; seed <= 3000; seed++) {
    const random = randomOf(seed);
    const cluster = randomCluster(random);
    const request = need({ cpu: random(5), gpu: random(2) * [0.4, 0.6, 1, 2, 3][random(5)]!, tpu: random(5) === 0 ? 1 + random(3) : 0 },
      ...(random(3) === 0 ? [term('rack', (['in', 'not-in', 'exists', 'not-exists'] as const)[random(4)]!, `r${random(4)}`)] : []));
    const { refusals, nodeCount, nearest, reasons } = explain(cluster, request);
    const verdicts = [...cluster.rows()].map(({ nodeId }) => ({ nodeId, ...verdictOf(cluster, nodeId, request) }));
    const kinds = new Map<string, typeof verdicts>();
    for (const verdict of verdicts) {
      const key = `${verdict.kind} ${Object.keys(verdict.have).join()}`;
      kinds.set(key, [...(kinds.get(key) ?? []), verdict]);
    }
    const problem = (what: string): void => { t.fail(`seed ${seed}: ${what}: ${reasons}\n${JSON.stringify(verdicts)}`); };
    if (nodeCount !== cluster.size || refusals.reduce((sum, refusal) => sum + refusal.nodeCount, 0) !== cluster.size) problem('not every node is counted once');
    if (refusals.length !== kinds.size) problem(`${kinds.size} kinds of reasons`);
    for (const refusal of refusals) {
      const like = [...kinds.values()].find((nodes) => nodes.some(({ nodeId }) => nodeId === refusal.nodeId))!;
      clauses++;
      if (like.length !== refusal.nodeCount) problem(`${like.length} nodes refuse as ${refusal.nodeId} does`);
      if (!expectedClause(like).test(refusal.why)) problem(`${refusal.why} is not ${expectedClause(like)}`);
      const named = /\((n\d)\)/.exec(refusal.why)?.[1];
      if (named !== undefined && Object.entries(like.find(({ nodeId }) => nodeId === named)!.have).some(([name, amount]) => amount < Math.max(...like.map((node) => node.have[name]!)))) problem(`${named} has not the most`);
      if (!reasons.includes(refusal.why)) problem(`'${refusal.why}' is not told`);
    }
    if (nearest !== null) checkNearest(cluster, request, nearest, problem);
    else if (verdicts.some(({ nodeId, kind }) => kind === 'free')) problem('a busy node comes closest');
  }
  t.ok(clauses > 5000, `${clauses} clauses`);
});

/** With what it lacks given back, the request fits; and no busy node lacks a smaller share of what is needed. */
function checkNearest(cluster: Cluster, request: PlacementRequest, nearest: { readonly nodeId: string; readonly lacks: ResourceSet }, problem: (what: string) => void): void {
  const lacksOf = (nodeId: string): ResourceSet => {
    const row = cluster.rowOf(nodeId)!;
    const { available } = cluster.view(row);
    const frees = row.gpus.free().map(({ free }) => free);
    const gpu = request.resources['gpu'] ?? 0;
    const usable = gpu >= RESOURCE_SCALE ? frees.filter((free) => free === RESOURCE_SCALE).length * RESOURCE_SCALE : Math.max(0, ...frees);
    return Object.fromEntries(Object.entries(request.resources)
      .map(([name, amount]) => [name, amount - Math.max(0, name === 'gpu' ? usable : (available[name] ?? 0))] as const).filter(([, amount]) => amount > 0));
  };
  const distance = (lacks: ResourceSet): number => Object.entries(lacks).reduce((sum, [name, amount]) => sum + amount / request.resources[name]!, 0);
  if (JSON.stringify(lacksOf(nearest.nodeId)) !== JSON.stringify(nearest.lacks)) problem(`${nearest.nodeId} lacks ${JSON.stringify(lacksOf(nearest.nodeId))}`);
  for (const row of cluster.rows()) {
    if (verdictOf(cluster, row.nodeId, request).kind !== 'free') continue;
    if (distance(lacksOf(row.nodeId)) < distance(nearest.lacks) - 1e-9) problem(`${row.nodeId} comes closer`);
  }
}

t.test('property: the room that is told of for a group of equal bundles is what the planner finds', async (t) => {
  let told = 0;
  for (let seed = 1; seed <= 1500; seed++) {
    const random = randomOf(seed);
    const cluster = randomCluster(random);
    const topology = [same('zone'), atMost(1 + random(2), 'rack')].filter(() => random(3) === 0);
    const strategy = (['pack', 'spread', 'strict-pack', 'strict-spread'] as const)[random(4)]!;
    const request = group(2 + random(5), need(random(2) === 0 ? { cpu: 1 + random(2) } : { cpu: 1, gpu: [0.4, 1, 2][random(3)]! }), strategy, ...topology);
    if (new GroupShape(cluster, request).plan() !== null) continue;
    const { reasons } = explainGroup(cluster, request);
    const match = /(?:, (\S+) comes closest: )?\d+ × .*?: room for (\w+) now, for (\w+) if nothing ran/.exec(reasons);
    if (match === null) {
      if ([...cluster.rows()].some((node) => topology.every(({ level }) => labelOf(node, level) !== undefined))) t.fail(`seed ${seed}: ${reasons}`);
      continue;
    }
    told++;
    const [, domain, now, idle] = match;
    const most = (on: Cluster): number => {
      const within = on.fork();
      const level = strategy === 'strict-pack' ? 'node' : 'zone';
      for (const { nodeId } of [...on.nodes()]) if (domain !== undefined && !domain.split(', ').includes(labelOf(on.rowOf(nodeId)!, level) ?? '')) within.remove(nodeId);
      let count = request.bundles.length;
      while (count > 0 && new GroupShape(within, { ...request, bundles: request.bundles.slice(0, count) }).plan() === null) count--;
      return count;
    };
    const number = (text: string): number => (text === 'none' ? 0 : Number(text));
    if (number(now!) !== most(cluster)) t.fail(`seed ${seed}: ${most(cluster)} fit now: ${reasons}`);
    if (number(idle!) !== most(cluster.emptied())) t.fail(`seed ${seed}: ${most(cluster.emptied())} would fit: ${reasons}`);
  }
  t.ok(told > 300, `${told} texts`);
});
