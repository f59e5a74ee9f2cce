/** What people and programs are told of a running cluster: why something waits, who is in its way, what there is, and what would be if. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { actor, cancel, get, kill, placementGroup, put, remote, shutdown, UnschedulableError } from '@muster/core';
import type { ExplainAnswer, ListAnswer, StatusAnswer } from '@muster/head';
import { TestCluster } from '../support/cluster.js';
import { makeLatch, type LatchHandle } from '../support/latch.js';
import { Counter } from '../support/actors.js';
import { rejection, until } from '../support/until.js';

const PROGRAM = fileURLToPath(import.meta.resolve('@muster/cli/bin'));
const cluster = await TestCluster.start({ nodes: [{ cpus: 2, labels: { rack: 'a' } }, { cpus: 2, labels: { rack: 'b' } }] });
t.teardown(() => cluster.stop());
await cluster.connect();
const [first, second] = cluster.nodes;

interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the `cluster` command on this cluster. */
function run(...args: readonly string[]): Promise<Finished> {
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, ...args], { env: cluster.driverEnv() }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }));
  });
}

const explain = (id: string): Promise<ExplainAnswer> => cluster.query('explain', { id });
const rows = async (kind: string): Promise<Record<string, unknown>[]> => (await cluster.query<ListAnswer>('list', { kind })).rows as unknown as Record<string, unknown>[];

/** A task of that name in that state. Its owner is this process, which may be too busy to answer the first time. */
async function taskNamed(name: string, state: string): Promise<Record<string, unknown>> {
  let task: Record<string, unknown> | undefined;
  await until(`${name} is ${state}`, async () => (task = (await rows('tasks')).find((row) => row['name'] === name && row['state'] === state)) !== undefined);
  return task!;
}

const waiting = async (): Promise<StatusAnswer['waiting']> => (await cluster.status()).waiting;
const idle = (): Promise<void> => until('no lease is held', async () => Object.values((await cluster.status()).leases).every((count) => count === 0));

t.test('a task that waits: how many nodes refuse, why, and who holds what it needs', async (t) => {
  const Keeper = actor(Counter, { cpus: 2, name: 'keeper', placement: { node: first!.nodeId } });
  const keepers = [await Keeper.create(), await Keeper.options({ name: 'other', placement: { node: second!.nodeId } }).create()];
  const ref = remote(() => 'ran').options({ cpus: 2, name: 'patient' }).remote();
  await until('it waits', async () => (await waiting()).length === 1);
  const reasons = `of 3 nodes, 2 have 0 cpu free of 2 needed; ${cluster.head.nodeId} has 0 cpu in total of 2 needed`;
  t.match(await waiting(), [{ kind: 'leases', request: '2 cpu', demands: 1, leases: 1, isInfeasible: false, reasons }]);
  const { stdout } = await run('status');
  t.match(stdout, /^cpu +4 +0 +4$/m);
  t.match(stdout, /^WAITING FOR +LEASES +FOR +WHY\n2 cpu +1 +\S.* of 3 nodes, 2 have 0 cpu free/m);

  const task = (await taskNamed('patient', 'queued'))['taskId'] as string;
  const { lines, state } = await explain(task);
  t.equal(state, 'queued');
  t.match(lines.join('\n'), new RegExp(`asks for 2 cpu and has waited [^:]*: ${reasons}\nof the 2 cpu of \\S+, actor-\\S+ holds 2 for [^;]*; none is free$`));
  t.match((await run('explain', task)).stdout, new RegExp(`^task ${task}: queued\n  owned by driver-`));
  await kill(keepers[0]!);
  t.equal(await get(ref), 'ran', 'what held it up was named');
  await kill(keepers[1]!);
  await idle();
  t.same(await waiting(), []);
});

t.test('what no node could ever hold fails at once with what there is, or waits for a node that can', async (t) => {
  const large = remote(() => 'ran').options({ cpus: 3, name: 'large' });
  const error = await rejection(large());
  t.type(error, UnschedulableError);
  t.match(error.message, /the task large can never be placed: all 3 nodes have at most 2 cpu in total \(node-\S+\) of 3 needed\. /);
  t.match((await rejection(large.options({ cpus: 1, placement: { labels: { rack: 'A' } } })())).message, /all 3 nodes lack label rack=A; known values of rack: a, b; without its labels, 2 nodes could hold it/);

  const task = large.options({ waitForNodes: true }).remote();
  const counter = actor(Counter, { cpus: 3, waitForNodes: true, name: 'patient' }).create(5);
  const group = placementGroup([{ cpus: 3 }, { cpus: 1 }], { strategy: 'strict-pack', waitForNodes: true });
  await until('all of them wait', async () => (await waiting()).length === 2);
  for (const { reasons, isInfeasible } of await waiting()) {
    t.match(reasons, /2 cpu in total.* of [34] needed; it waits for (a node|nodes) that could hold it$/);
    t.notOk(isInfeasible);
  }
  t.match((await explain('patient')).lines.join('\n'), /asks for 3 cpu and has waited .*it waits for a node that could hold it/);
  const goneNode = large.options({ cpus: 1, placement: { node: 'node-000000000000' }, waitForNodes: true });
  t.match((await rejection(goneNode())).message, /node-000000000000 is not in the cluster/, 'ids do not return');

  const third = await cluster.addNode({ cpus: 10 });
  t.equal(await get(task), 'ran');
  t.equal(await (await counter).add(), 6);
  t.same((await group).bundles, [{ nodeId: third.nodeId }, { nodeId: third.nodeId }]);
  await (await group).remove();
  await kill(await counter);
  await idle();
});

t.test('a group that waits, and one that is there', async (t) => {
  const third = cluster.nodes[2]!;
  const held = await placementGroup([{ cpus: 6 }], { name: 'holder' });
  const error = await rejection(placementGroup([{ cpus: 3 }, { cpus: 3 }], { strategy: 'strict-pack', timeoutMs: 1500 }));
  t.match(error.message, new RegExp(`${third.nodeId} comes closest: 2 × \\(3 cpu\\): room for 1 now, for 2 if nothing ran; ${third.nodeId} has 4 cpu free of 6 needed`));
  const late = placementGroup([{ cpus: 3 }, { cpus: 3 }], { strategy: 'strict-pack', name: 'late' });
  await until('it waits', async () => (await waiting()).length === 1);
  t.match(await waiting(), [{ kind: 'group', request: '2 × (3 cpu) on one node', demands: 1, leases: 2 }]);
  const id = (await rows('groups')).find((row) => row['name'] === 'late')!['groupId'] as string;
  t.match((await explain(id)).lines.join('\n'), new RegExp(`it waits: 2 bundles on one node: .*\nof the 10 cpu of ${third.nodeId}, ${held.id} holds 6 for [^;]*; 4 is free`));
  t.match((await cluster.status()).reserved, { cpu: 6 });
  t.match((await run('status')).stdout, /^RESOURCE +USED +RESERVED +FREE +TOTAL\ncpu +0 +6 +8 +14$/m);
  t.match((await explain(held.id)).lines.join('\n'), new RegExp(`1 × \\(6 cpu\\), named 'holder'; asked for .*\nbundle 0 is committed on ${third.nodeId}`));
  await held.remove();
  const made = await late;
  const inside = remote(() => 1).options({ cpus: 4, placement: { group: made, bundle: 0 } });
  t.match((await rejection(inside())).message, /bundle 0 has 3 cpu in total of 4 needed/);
  await made.remove();
  t.match(await explain(id), { kind: 'group', state: 'removed' });
  await idle();
});

t.test('every kind of id has an answer, and an unknown one its nearest', async (t) => {
  const latch: LatchHandle = await makeLatch();
  const held = remote(async (door: LatchHandle) => { await door.opened(); }).options({ name: 'held' }).remote(latch);
  const stored = await put(new Uint8Array(2 ** 20));
  const task = await taskNamed('held', 'sent to a worker');
  const ids: readonly (readonly [id: string, expected: RegExp])[] = [
    [first!.nodeId, /^node \S+: alive\n.*\n  has 2 cpu/], [latch.actorId, /^actor \S+: alive\n.*\n  incarnation 1 runs on node-/], [task['taskId'] as string, /^task \S+: sent to a worker\n.*\n  held, attempt 1\n  on worker-/],
    [task['workerId'] as string, /^worker \S+: leased\n  pid \d+ on node-/], [task['ownerId'] as string, /^driver \S+: connected\n  pid/],
    [(await rows('jobs')).find((row) => row['state'] === 'running')!['jobId'] as string, /^job \S+: running\n  driver job/],
    [(await rows('objects'))[0]!['objectId'] as string, /^object \S+: \S+\n  owned by driver-\S+.*\n  1 MiB on node-/],
    [(await rows('workers')).find((row) => row['workerId'] === task['workerId'])!['leaseId'] as string, /^lease \S+: running\n  on node-.*\n.* for 'held'/],
  ];
  for (const [id, expected] of ids) {
    const { stdout, stderr, code } = await run('explain', id);
    t.equal(code, 0, stderr);
    t.match(stdout, expected);
  }
  await latch.open();
  await get(held);
  await kill(latch);
  t.match((await explain(latch.actorId)).lines.at(-1), /ago it was killed/);

  const nearly = `${first!.nodeId.slice(0, -1)}${first!.nodeId.endsWith('0') ? '1' : '0'}`;
  const unknown = await run('explain', nearly);
  t.equal(unknown.code, 1);
  t.equal(unknown.stderr.includes(`the id '${nearly}' is not known\n`), true, unknown.stderr);
  t.match(unknown.stderr, new RegExp(`It must be that of a node, worker, .*\\(the nearest: .*${first!.nodeId}.*\\)`));
  t.equal((await run('explain', '')).code, 1);
  t.equal(await get(remote((bytes: Uint8Array) => bytes.length).remote(stored)), 2 ** 20);
});

t.test('a plan says what would be placed, and places nothing', async (t) => {
  await idle();
  const file = join(cluster.root, 'demand.json');
  writeFileSync(file, JSON.stringify({
    tasks: [{ name: 'small', count: 10, cpus: 1 }], groups: [{ name: 'pair', bundles: [{ count: 2, cpus: 2 }], strategy: 'strict-spread', topology: { rack: { atMost: 1 } } }],
    nodeTypes: { large: { cpus: 16 } },
  }));
  const fits = await run('plan', file, '--json');
  t.equal(fits.code, 0, fits.stderr);
  t.match(JSON.parse(fits.stdout), {
    isComplete: true, tasks: [{ name: 'small', placed: 10, nodes: { [cluster.nodes[2]!.nodeId]: 10 } }], groups: [{ name: 'pair', placed: 1 }], nodes: { existing: 4, added: [] }, suggestion: null,
  });
  t.match(await waiting(), [], 'nothing was started');
  t.same((await cluster.status()).leases, { starting: 0, running: 0, ending: 0 });

  writeFileSync(file, JSON.stringify({ tasks: [{ name: 'small', count: 30 }], nodeTypes: { large: { cpus: 16 } } }));
  const tooMuch = await run('plan', file, '--suggest');
  t.equal(tooMuch.code, 5);
  t.match(tooMuch.stdout, /small: 16 of 30 not placed: of 4 nodes, 3 have 0 cpu free of 1 needed; \S+ has 0 cpu in total/);
  t.match(tooMuch.stdout, /It would with 1 × large more\./);
  t.equal((await run('plan', file, '--add-nodes', '1xlarge')).code, 0);

  const wanted = remote(() => 1).options({ cpus: 16, waitForNodes: true, name: 'waits' });
  const refs = [wanted.remote(), wanted.remote()];
  await until('they wait', async () => (await waiting())[0]?.leases === 2);
  const types = join(cluster.root, 'types.json');
  writeFileSync(types, JSON.stringify({ large: { cpus: 16 }, huge: { cpus: 64 } }));
  const answer = JSON.parse((await run('plan', '--waiting', '--suggest', '--node-types', types, '--json')).stdout) as Record<string, unknown>;
  t.match(answer, { isComplete: false, tasks: [{ name: 'waits', request: '16 cpu', count: 2, placed: 0, isFeasible: false }], suggestion: { nodes: [{ type: 'huge', count: 1 }], isComplete: true } });
  for (const ref of refs) cancel(ref);
});

t.test('leave', async () => { await shutdown(); });
