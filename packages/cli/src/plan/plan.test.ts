/** `cluster plan`: what it reads, what it answers, and how it ends. On a running cluster: test/cluster/answers.test.ts. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Cluster } from '@muster/scheduler';
import { makeHome } from '../test-support/command-home.js';
import { answerPlan, type PlanAnswer } from './answer.js';
import { readDemand, readNodeTypes } from './demand.js';
import { Written } from './json-file.js';
import { readNodeCounts } from './node-counts.js';

const read = (document: unknown): ReturnType<typeof readDemand> => readDemand(Written.parse(typeof document === 'string' ? document : JSON.stringify(document), 'demand.json'));

const DEMAND = {
  tasks: [{ name: 'prepare', count: 20, cpus: 2, memory: '1GiB', labels: { disk: { in: ['ssd', 'nvme'] } } }, {}],
  groups: [{ name: 'train', count: 2, bundles: [{ count: 2, gpus: 4 }, { cpus: 1, labels: { role: 'head' } }], strategy: 'strict-pack', topology: { rack: 'same', zone: { atMost: 9 } } }],
  nodeTypes: { gpu8: { cpus: 16, gpus: 8, memory: '64GiB', resources: { nic: 2 }, labels: { disk: 'ssd', role: 'head', rack: 'new', zone: 'z' } } },
};

t.test('a document says what is wanted as options of tasks and groups do', async (t) => {
  const { tasks, groups, nodeTypes } = read(DEMAND);
  t.match(tasks, [
    { name: 'prepare', count: 20, request: { resources: { cpu: 20_000, memory: 10_240_000 }, labels: [{ key: 'disk', operator: 'in', values: ['ssd', 'nvme'] }] } },
    { name: 'tasks[1]', count: 1, request: { resources: { cpu: 10_000 }, labels: [] } },
  ]);
  t.match(groups, [{ name: 'train', count: 2, request: { strategy: 'strict-pack', topology: [{ level: 'rack', rule: 'same' }, { level: 'zone', rule: 'spread', max: 9 }] } }]);
  t.same(groups[0]!.request.bundles.map(({ resources }) => resources), [{ gpu: 40_000 }, { gpu: 40_000 }, { cpu: 10_000 }]);
  t.match(nodeTypes, [{ name: 'gpu8', total: { cpu: 160_000, gpu: 80_000, nic: 20_000 }, labels: { rack: 'new' } }]);
  t.same(read({ tasks: [{ cpus: 0 }] }).tasks[0]!.request.resources, {});
});

t.test('what is wrong is said with its place', async (t) => {
  const wrong: [document: unknown, complaint: RegExp][] = [
    ['{"tasks":[\n{"cpus":1,,}]}', /demand\.json line 2, column 11 .*JSON/],
    ['', /demand\.json.*JSON/],
    [[], /demand\.json: \[\] .*tasks, groups, nodeTypes/],
    [{ task: [] }, /demand\.json: task is not valid.*one of the keys tasks, groups, nodeTypes/],
    [{ tasks: {} }, /demand\.json: tasks \{\} .*an array/],
    [{ tasks: [{}, { cpus: -1 }] }, /tasks\[1\] cpus: -1 .*amount/],
    [{ tasks: [{ cpus: '2' }] }, /tasks\[0\]\.cpus "2" .*a number/],
    [{ tasks: [{ cpus: null }] }, /tasks\[0\]\.cpus null .*a number/],
    [{ tasks: [{ cpu: 2 }] }, /tasks\[0\]\.cpu is .*name, count, cpus/],
    [{ tasks: [{ count: 1.5 }] }, /tasks\[0\]\.count 1\.5 .*whole number from 0 to 1000000/],
    [{ tasks: [{ name: '' }] }, /tasks\[0\]\.name "" .*text/],
    [{ tasks: [{ memory: 'much' }] }, /tasks\[0\] the size 'much'/],
    [{ tasks: [{ resources: { tpu: 'one' } }] }, /tasks\[0\]\.resources\.tpu "one" .*a number/],
    [{ tasks: [{ resources: { cpu: 1 } }] }, /tasks\[0\] the resource name 'cpu'/],
    [{ tasks: [{ labels: { zone: 5 } }] }, /tasks\[0\]\.labels the label zone/],
    [{ groups: [{}] }, /groups\[0\] without bundles .*1 to 10000/],
    [{ groups: [{ bundles: [] }] }, /groups\[0\]\.bundles with 0 .*1 to 10000/],
    [{ groups: [{ bundles: [{ count: 10_000, cpus: 1 }, { cpus: 1 }] }] }, /groups\[0\]\.bundles with 10001/],
    [{ groups: [{ bundles: [{ count: 1e9, cpus: 1 }] }] }, /bundles\[0\]\.count 1000000000 .*10000/],
    [{ groups: [{ bundles: [{ cpus: 0 }] }] }, /groups\[0\]\.bundles\[0\] .*some of a resource/],
    [{ groups: [{ bundles: [{ gpus: 1.5 }] }] }, /groups\[0\]\.bundles\[0\] gpus: 1\.5/],
    [{ groups: [{ bundles: [{ cpus: 1 }], strategy: 'tight' }] }, /groups\[0\]\.strategy "tight" .*pack, spread, strict-pack, strict-spread/],
    [{ groups: [{ bundles: [{ cpus: 1 }], topology: { rack: 'some' } }] }, /groups\[0\]\.topology the rule of the level rack/],
    [{ nodeTypes: { a: { gpus: 0.5 } } }, /nodeTypes\.a\.gpus 0\.5 .*whole/],
    [{ nodeTypes: { a: { labels: { zone: 1 } } } }, /nodeTypes\.a\.labels\.zone 1/],
    [{ nodeTypes: [] }, /nodeTypes \[\] .*by name/],
  ];
  for (const [document, complaint] of wrong) t.throws(() => read(document), { code: 'INVALID_ARGUMENT', message: complaint }, JSON.stringify(document));
});

t.test('nodes that join are counted by type, by name or written out', async (t) => {
  const types = readNodeTypes(Written.parse('{"gpu8":{"gpus":8},"cpu":{"cpus":4}}', 'types.json'));
  t.match(readNodeCounts(['4xgpu8', 'cpu', '2x{"cpus":16}', '{"cpus":16}', '{"cpus":1}'], types), [
    { count: 4, type: { name: 'gpu8' } }, { count: 1, type: { name: 'cpu' } }, { count: 2, type: { name: 'node1' } }, { count: 1, type: { name: 'node1' } }, { count: 1, type: { name: 'node2' } },
  ]);
  t.throws(() => readNodeCounts(['4xgpu9'], types), { message: /'gpu9' .*one of gpu8, cpu/ });
  t.throws(() => readNodeCounts(['4xgpu8'], []), { message: /'gpu8' .*--node-types/ });
  t.throws(() => readNodeCounts([''], types), { message: /--add-nodes '' .*4xgpu8/ });
  t.throws(() => readNodeCounts(['6000xgpu8', '5000xcpu'], types), { message: /11000 nodes .*10000/ });
  t.throws(() => readNodeCounts(['2x{"cpus"'], types), { message: /--add-nodes line 1, column 8/ });
  t.throws(() => readNodeCounts(['{"cpu":2}'], types), { message: /--add-nodes: cpu is .*one of the keys/ });
});

t.test('the answer says what is placed where, and suggests nodes for the rest', async (t) => {
  const { tasks, groups, nodeTypes } = read(DEMAND);
  const cluster = new Cluster();
  cluster.add({ nodeId: 'a', total: { cpu: 40_000 }, labels: { disk: 'ssd' } });
  const addNodes = readNodeCounts(['1xgpu8'], nodeTypes);
  const { suggestion, ...answer } = answerPlan({ cluster, tasks, groups, addNodes, suggestOf: nodeTypes });
  t.match(answer, {
    isComplete: false,
    tasks: [
      { name: 'prepare', request: '2 cpu, 1 GiB memory where disk in ssd|nvme', count: 20, placed: 7, isFeasible: true, reasons: /of 2 nodes, .*free of/, nodes: { 'new-gpu8-1': 7 } },
      { name: 'tasks[1]', request: '1 cpu', count: 1, placed: 1, reasons: '', nodes: { a: 1 } },
    ],
    groups: [{ name: 'train', request: '2 × (4 gpu), 1 × (1 cpu, role=head) on one node, all in one rack, at most 9 in one zone', count: 2, placed: 1, nodes: [['new-gpu8-1', 'new-gpu8-1', 'new-gpu8-1']] }],
    nodes: { existing: 1, added: [{ type: 'gpu8', total: { cpu: 16, gpu: 8, memory: 64 * 2 ** 30, nic: 2 }, labels: { rack: 'new' }, nodeIds: ['new-gpu8-1'], used: 1 }] },
  });
  t.same(suggestion, { nodes: [{ type: 'gpu8', count: 2 }], isComplete: true });
  t.equal(answerPlan({ cluster, tasks, groups, addNodes: readNodeCounts(['3xgpu8'], nodeTypes), suggestOf: null }).isComplete, true);
  t.equal(cluster.size, 1, 'the cluster is left alone');
});

t.test('the command needs no cluster when it asks none, and its exit code says whether all would be placed', async (t) => {
  const home = makeHome(t);
  const file = join(home.path, 'demand.json');
  writeFileSync(file, JSON.stringify(DEMAND));
  const enough = await home.run(['plan', file, '--empty', '--add-nodes', '3xgpu8']);
  t.equal(enough.code, 0, enough.stderr);
  t.match(enough.stdout, /^NAME +REQUEST +WANTED +PLACED\ntrain +group of 2 × \(4 gpu\).* 2 +2\n.*\nEverything would be placed\.\n$/s);
  const tooFew = await home.run(['plan', file, '--empty', '--suggest']);
  t.equal(tooFew.code, 5);
  t.match(tooFew.stdout, /train: 2 of 2 not placed, and never could be: .*the cluster has no nodes\n/);
  t.match(tooFew.stdout, /Not everything would be placed\.\nIt would with 3 × gpu8 more\.\n$/);
  t.match(JSON.parse((await home.run(['plan', file, '--empty', '--json'])).stdout) as PlanAnswer, { isComplete: false, suggestion: null });
  for (const [args, complaint] of [
    [['plan'], /neither a DEMAND nor --waiting/], [['plan', join(home.path, 'none.json'), '--empty'], /none\.json .*ENOENT/], [['plan', '--waiting', '--empty'], /--waiting asks/],
    [['plan', file, '--empty', '--add-nodes', '4xnone'], /'none' .*gpu8/],
  ] as const) {
    const { code, stderr } = await home.run(args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, complaint);
    t.match(stderr, /^cluster: .*\n  `cluster plan --help` .*\n$/);
  }
  t.equal((await home.run(['plan', file])).code, 3, 'else it asks the cluster, and there is none');
});
