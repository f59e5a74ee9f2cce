/** The scheduler's rules by example, and against an oracle that lists every node and sorts. */
import t from 'tap';
import { parseResources, RESOURCE_SCALE, seededRandom, type Random, type ResourceSet } from '@muster/base';
import { LEASES_PER_NODE_MAX, place, type Decision, type NodeCondition, type NodeView, type PlacementHints, type PlacementRequest } from './index.js';

const NO_HINTS: PlacementHints = { preferredNodeId: '', leasesByNode: null };

function node(nodeId: string, cpus: number, freeCpus = cpus, rest: Partial<NodeView> = {}): NodeView {
  return {
    nodeId, condition: 'ready', total: { cpu: cpus * RESOURCE_SCALE }, available: { cpu: freeCpus * RESOURCE_SCALE },
    labels: {}, leaseCount: cpus - freeCpus, ...rest,
  };
}

const ask = (cpus: number, rest: Partial<PlacementRequest> = {}): PlacementRequest =>
  ({ resources: parseResources({ cpus }), nodeId: '', labels: {}, ...rest });

const chosen = (decision: Decision): string => ('nodeId' in decision ? decision.nodeId : 'none');

function rejected(decision: Decision): { feasible: boolean; reasons: string } {
  return 'rejection' in decision ? { feasible: decision.rejection.feasible, reasons: decision.rejection.reasons } : { feasible: true, reasons: 'placed' };
}

t.test('the default policy', async (t) => {
  const nodes = [node('node-a', 4, 1), node('node-b', 4, 3), node('node-c', 8, 6)];
  t.equal(chosen(place({ nodes }, ask(1), { ...NO_HINTS, preferredNodeId: 'node-a' })), 'node-a', 'takes the asker\'s node while it has room');
  t.equal(chosen(place({ nodes }, ask(2), { ...NO_HINTS, preferredNodeId: 'node-a' })), 'node-b', 'else the least loaded node, ties by lease count');
  t.equal(chosen(place({ nodes: [node('node-b', 4), node('node-a', 4)] }, ask(1), NO_HINTS)), 'node-a', 'ties by id, whatever the order');
  t.equal(chosen(place({ nodes }, ask(0), NO_HINTS)), 'node-b', 'a request for nothing goes where the fewest leases are');
});

t.test('load is that of the requested resources', async (t) => {
  const resources = (cpu: number, gpu: number): ResourceSet => ({ cpu: cpu * RESOURCE_SCALE, gpu: gpu * RESOURCE_SCALE });
  const nodes = [
    node('node-a', 8, 8, { total: resources(8, 2), available: resources(8, 0) }),
    node('node-b', 8, 8, { total: resources(8, 2), available: resources(6, 2) }),
  ];
  t.equal(chosen(place({ nodes }, ask(1), NO_HINTS)), 'node-a', 'taken gpus do not keep cpu work away');
  t.equal(chosen(place({ nodes }, { ...ask(0), resources: resources(1, 1) }, NO_HINTS)), 'node-b');
});

t.test('spread takes the node with the fewest leases of the request, even when another is preferred', async (t) => {
  const nodes = [node('node-a', 8), node('node-b', 8, 4), node('node-c', 8)];
  const leasesByNode = new Map([['node-a', 2], ['node-c', 1]]);
  t.equal(chosen(place({ nodes }, ask(1), { preferredNodeId: 'node-a', leasesByNode })), 'node-b');
});

t.test('placement on one node or by labels is strict', async (t) => {
  const nodes = [node('node-a', 4), node('node-b', 4, 4, { labels: { zone: 'a' } })];
  t.equal(chosen(place({ nodes }, ask(1, { nodeId: 'node-b' }), { ...NO_HINTS, preferredNodeId: 'node-a' })), 'node-b');
  t.equal(chosen(place({ nodes }, ask(1, { labels: { zone: 'a' } }), { ...NO_HINTS, preferredNodeId: 'node-a' })), 'node-b');
  t.same(rejected(place({ nodes }, ask(1, { nodeId: 'node-z' }), NO_HINTS)), { feasible: false, reasons: 'node-z is not in the cluster' });
  t.same(rejected(place({ nodes }, ask(1, { labels: { zone: 'b' } }), NO_HINTS)), { feasible: false, reasons: '2 nodes: lacks label zone=b' });
});

t.test('rejections say what each node lacks, grouped', async (t) => {
  const nodes = [
    node('node-a', 4, 2), node('node-b', 4, 2), node('node-c', 2), node('node-d', 8, 0, { labels: { zone: 'a' } }),
    node('node-e', 4, 4, { condition: 'draining' }), node('node-f', 4, 4, { condition: 'unreachable' }),
    node('node-g', 4, 4, { condition: 'reserved' }), node('node-h', 4, 4, { leaseCount: LEASES_PER_NODE_MAX }),
  ];
  t.same(rejected(place({ nodes: nodes.slice(0, 3) }, ask(4), NO_HINTS)), {
    feasible: true, reasons: '2 nodes: need 4 cpu, have 2 free (busy until leases end); node-c: need 4 cpu, have 2 in all',
  });
  t.same(rejected(place({ nodes }, ask(4), NO_HINTS)), {
    feasible: true,
    reasons: '3 nodes: need 4 cpu, have at best 2 free (busy until leases end); node-c: need 4 cpu, have 2 in all; '
      + 'node-e: is draining and takes no more; node-f: is cut off at the moment; node-g: is kept free for a demand that has waited longer; '
      + `node-h: holds ${LEASES_PER_NODE_MAX} leases, the most a node may`,
  });
  t.same(rejected(place({ nodes }, { resources: parseResources({ cpus: 16, gpus: 1, memory: '1GiB' }), nodeId: 'node-d', labels: { zone: 'a' } }, NO_HINTS)), {
    feasible: false, reasons: 'node-d: need 16 cpu, 1 gpu, 1 GiB memory, have 8 cpu, 0 gpu, 0 GiB memory in all',
  });
  t.same(rejected(place({ nodes: [] }, ask(1), NO_HINTS)), { feasible: false, reasons: 'the cluster has no nodes' });
  t.same(rejected(place({ nodes: [node('node-a', 1, -1)] }, ask(1), NO_HINTS)).reasons, 'node-a: need 1 cpu, have 0 free (busy until leases end)');
});

t.test('many different reasons are cut short', async (t) => {
  const labels = Array.from({ length: 12 }, (_, i) => `label${String(i).padStart(2, '0')}`);
  const nodes = labels.map((own, i) => node(`node-${i}`, 1, 1, { labels: Object.fromEntries(labels.filter((l) => l !== own).map((l) => [l, 'x'])) }));
  const request = ask(1, { labels: Object.fromEntries(labels.map((l) => [l, 'x'])) });
  t.match(rejected(place({ nodes }, request, NO_HINTS)).reasons, /; 4 more nodes for other reasons$/);
});

t.test('feasibility is about live totals: cut-off and reserved nodes count, draining ones do not', async (t) => {
  const feasible = (condition: NodeCondition): boolean => rejected(place({ nodes: [node('node-a', 4, 4, { condition })] }, ask(4), NO_HINTS)).feasible;
  t.same([feasible('unreachable'), feasible('reserved'), feasible('draining')], [true, true, false]);
});

/** The rules once more, as slowly and plainly as possible. */
function oracle(nodes: readonly NodeView[], request: PlacementRequest, hints: PlacementHints): { nodeId: string | null; feasible: boolean } {
  const isOpen = (n: NodeView): boolean => (n.total['cpu'] ?? 0) > 0 || request.nodeId !== '' || Object.keys({ ...request.labels, ...request.resources }).length > 0;
  const allowed = nodes.filter(isOpen).filter((n) => (request.nodeId === '' || n.nodeId === request.nodeId)
    && Object.entries(request.labels).every(([key, value]) => n.labels[key] === value));
  const holds = (set: ResourceSet): boolean => Object.entries(request.resources).every(([name, amount]) => (set[name] ?? 0) >= amount);
  const open = allowed.filter((n) => n.condition === 'ready' && n.leaseCount < LEASES_PER_NODE_MAX && holds(n.available));
  const rank = (n: NodeView): [number, number, number, string] => [
    hints.leasesByNode?.get(n.nodeId) ?? 0,
    Math.max(0, ...Object.keys(request.resources).map((name) => (n.total[name] ? 1 - n.available[name]! / n.total[name]! : 0))),
    n.leaseCount, n.nodeId,
  ];
  const order = open.map(rank).sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2] || (a[3] < b[3] ? -1 : 1));
  const own = hints.leasesByNode ? undefined : open.find((n) => n.nodeId === hints.preferredNodeId);
  return { nodeId: own?.nodeId ?? order[0]?.[3] ?? null, feasible: allowed.some((n) => n.condition !== 'draining' && holds(n.total)) };
}

function randomCase(random: Random): { nodes: NodeView[]; request: PlacementRequest; hints: PlacementHints } {
  const upTo = (n: number): number => Math.floor(random.next() * (n + 1));
  const oneOf = <T>(items: readonly T[]): T => items[upTo(items.length - 1)]!;
  const conditions: readonly NodeCondition[] = ['ready', 'ready', 'ready', 'ready', 'reserved', 'unreachable', 'draining'];
  const nodes = Array.from({ length: upTo(8) }, (_, i): NodeView => {
    const total = { cpu: upTo(4) * RESOURCE_SCALE, gpu: upTo(2) * RESOURCE_SCALE };
    const available = { cpu: total.cpu - upTo(4) * 5_000, gpu: Math.max(0, total.gpu - upTo(3) * 3_333) };
    return {
      nodeId: `node-${(i * 5) % 9}`, condition: oneOf(conditions), total, available,
      labels: random.next() < 0.5 ? { zone: oneOf(['a', 'b']) } : {}, leaseCount: random.next() < 0.05 ? LEASES_PER_NODE_MAX : upTo(3),
    };
  });
  const resources: Record<string, number> = {};
  if (random.next() < 0.8) resources['cpu'] = upTo(5) * 5_000;
  if (random.next() < 0.3) resources['gpu'] = oneOf([2_500, 10_000, 20_000]);
  if (random.next() < 0.05) resources['tpu'] = 10_000;
  return {
    nodes,
    request: { resources, nodeId: random.next() < 0.1 ? `node-${upTo(9)}` : '', labels: random.next() < 0.2 ? { zone: oneOf(['a', 'b']) } : {} },
    hints: {
      preferredNodeId: random.next() < 0.5 ? `node-${upTo(9)}` : '',
      leasesByNode: random.next() < 0.3 ? new Map(nodes.map((n) => [n.nodeId, upTo(2)])) : null,
    },
  };
}

/** How many nodes a text of reasons speaks of. */
function nodesTold(reasons: string): number {
  const counts = reasons.split('; ').map((clause) => Number(/^(\d+)( more)? nodes/.exec(clause)?.[1] ?? (/^node-\d+: /.test(clause) ? 1 : 0)));
  return counts.reduce((sum, count) => sum + count, 0);
}

t.test('a node without cpus runs only what names it or asks for what it has', async (t) => {
  const nodes = [node('node-a', 0, 0), node('node-b', 1, 0)];
  const nothing = { resources: {}, nodeId: '', labels: {} };
  t.same(place({ nodes }, nothing, { ...NO_HINTS, preferredNodeId: 'node-a' }), { nodeId: 'node-b' });
  t.same(place({ nodes }, { ...nothing, nodeId: 'node-a' }, NO_HINTS), { nodeId: 'node-a' });
  t.same(rejected(place({ nodes: [node('node-a', 0, 0)] }, nothing, NO_HINTS)), { feasible: false, reasons: 'node-a: offers no cpus, and runs only what names it' });
});

t.test('agrees with the oracle on 50,000 random clusters', async (t) => {
  const seed = Number(process.env['MUSTER_SEED'] ?? Date.now() % 2 ** 31);
  t.comment(`seed ${seed}`);
  const random = seededRandom(seed);
  for (let round = 0; round < 50_000; round++) {
    const { nodes, request, hints } = randomCase(random);
    const expected = oracle(nodes, request, hints);
    const decision = place({ nodes }, request, hints);
    const detail = JSON.stringify({ seed, round, nodes, request, preferred: hints.preferredNodeId, expected });
    if ('nodeId' in decision) {
      if (decision.nodeId !== expected.nodeId) return t.fail(`chose ${decision.nodeId}: ${detail}`);
      continue;
    }
    if (expected.nodeId !== null || decision.rejection.feasible !== expected.feasible) return t.fail(`rejected: ${detail}`);
    const asked = request.nodeId === '' ? nodes.length : nodes.filter((n) => n.nodeId === request.nodeId).length;
    const told = nodesTold(decision.rejection.reasons);
    if (told !== asked) return t.fail(`reasons of ${told} nodes, not ${asked}: ${decision.rejection.reasons}: ${detail}`);
  }
  t.pass('every case');
});
