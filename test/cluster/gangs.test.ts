/** Gangs on a real cluster of three nodes: they start together or not at all, know their places, and end or start anew together. */
import t, { type Test } from 'tap';
import {
  ActorDiedError, ActorUnavailableError, gang, GangDiedError, get, kill, MusterError, remote, TimeoutError, UnschedulableError, type GangHandle,
} from '@muster/core';
import type { ActorRow, GangRow, ListAnswer, NodeRow, StatusAnswer } from '@muster/head';
import { isRunning, TestCluster } from '../support/cluster.js';
import { Program } from '../support/program.js';
import { Trainer, type MemberReport } from '../support/trainer.js';
import { rejection, until } from '../support/until.js';

const cluster = await TestCluster.start({
  nodeTimeout: '1500ms',
  nodes: [{ cpus: 2, labels: { rack: 'r1' } }, { cpus: 2, labels: { rack: 'r1' } }, { cpus: 2, labels: { rack: 'r2' } }],
});
t.teardown(() => cluster.stop());
await cluster.connect();

const { rows } = await cluster.query<ListAnswer>('list', { kind: 'nodes' });
/** The only node of its rack. */
const lonely = (rows as readonly NodeRow[]).find(({ labels }) => labels['rack'] === 'r2')!.nodeId;
const Trainers = gang(Trainer, { size: 4 });

async function gangRow(gangId: string): Promise<GangRow> {
  const { rows } = await cluster.query<ListAnswer>('list', { kind: 'gangs' });
  return (rows as readonly GangRow[]).find((row) => row.gangId === gangId)!;
}

/** All of the cluster is free, and every process of a gang has ended. */
async function atRest(t: Test): Promise<void> {
  let status: StatusAnswer | undefined;
  await until('all cpus are free', async () => {
    status = await cluster.status();
    return status.available['cpu'] === status.total['cpu'];
  });
  t.same(status?.actors, {}, 'no actor lives');
}

const pidsOf = async (trainers: GangHandle<Trainer>): Promise<number[]> => (await trainers.all.report()).map((report) => report.pid);

t.test('a gang', async (t) => {
  const trainers = await Trainers.options({ topology: { rack: 'same' }, name: 'first' }).create();
  const reports: MemberReport[] = await trainers.all.report();

  await t.test('has members with ranks, those of one node next to each other', async (t) => {
    t.equal(trainers.size, 4);
    t.same(reports.map(({ rank }) => rank), [0, 1, 2, 3]);
    t.ok(reports.every(({ size, gangId, incarnation, nodeCount, localSize }) => size === 4 && gangId === trainers.gangId && incarnation === 1 && nodeCount === 2 && localSize === 2));
    t.same(reports.map(({ localRank, nodeRank }) => [nodeRank, localRank]), [[0, 0], [0, 1], [1, 0], [1, 1]]);
    t.equal(reports[0]!.nodeId, reports[1]!.nodeId);
    t.equal(new Set(reports.map(({ nodeId }) => nodeId)).size, 2);
    t.notOk(reports.some(({ nodeId }) => nodeId === lonely), 'all in one rack');
    t.equal(new Set(reports.map(({ pid }) => pid)).size, 4);
  });

  await t.test('is called as a whole, by rank, or member by member', async (t) => {
    t.same(await trainers.all.step(2), [2, 2, 2, 2]);
    t.equal(await trainers.members[1]!.step(), 3);
    t.same(await get(trainers.all.step.remote()), [3, 4, 3, 3]);
    const streams = await Promise.all(trainers.all.count(2).map(async (stream) => { const all: number[] = []; for await (const n of stream) all.push(n); return all; }));
    t.same(streams, [[0, 10], [1, 11], [2, 12], [3, 13]]);
    const error = await rejection(trainers.all.fail(2));
    t.ok(error instanceof RangeError && error.message === 'rank 2 failed', 'a failure is that of the member');
  });

  await t.test('travels to tasks and classes travel too', async (t) => {
    t.same(await remote((to: GangHandle<Trainer>) => to.all.step(0), { cpus: 0 })(trainers), [3, 4, 3, 3]);
    const elsewhere = remote(async () => {
      const own = await gang(Trainer, { size: 1, cpus: 0.5 }).create();
      const places = (await own.all.report()).map(({ rank, nodeCount }) => [rank, nodeCount]);
      await kill(own);
      return places;
    }, { cpus: 0 });
    t.same(await elsewhere(), [[0, 1]], 'a gang made by a task');
  });

  await t.test('is listed and explained', async (t) => {
    t.match(await gangRow(trainers.gangId), { name: 'first', className: 'Trainer', state: 'alive', size: 4, alive: 4, incarnation: 1, onFailure: 'fail' });
    t.match(await cluster.query('explain', { id: trainers.gangId }), { kind: 'gang', state: 'alive', lines: [/^4 × Trainer named 'first' in pg-\S+, pack, /, /4 of 4 members are alive on 2 nodes/] });
    const members = (await cluster.query<ListAnswer>('list', { kind: 'actors', filter: `gangId=${trainers.gangId}` })).rows as readonly ActorRow[];
    t.same(members.map(({ rank }) => rank).sort(), [0, 1, 2, 3]);
  });

  await t.test('ends with kill(), all of it', async (t) => {
    const stuck = trainers.all.stuck.remote().map((ref) => rejection<MusterError>(get(ref)));
    await kill(trainers);
    for (const error of await Promise.all(stuck)) t.ok(error instanceof ActorDiedError && /kill\(\) by/.test(error.message), String(error));
    await until('its processes have ended', () => !reports.some(({ pid }) => isRunning(pid)));
    t.match(await gangRow(trainers.gangId), { state: 'dead', cause: /kill\(\) by/ });
    await kill(trainers);
    await atRest(t);
  });
});

t.test('all or nothing', async (t) => {
  await t.test('a gang waits while it has room for some of its members only, and holds nothing', async (t) => {
    const first = await Trainers.create();
    let isThere = false;
    const second = Trainers.create();
    void second.then(() => { isThere = true; });
    await until('it waits', async () => ((await cluster.query<ListAnswer>('list', { kind: 'gangs', filter: 'state=pending' })).rows.length === 1));
    t.equal((await cluster.status()).available['cpu'], 2, 'the cpus that are free stay free');
    t.equal(await remote(() => 'goes by')(), 'goes by', 'small work goes by');
    t.notOk(isThere);
    await kill(first);
    t.same(await (await second).all.step(), [1, 1, 1, 1]);
    await kill(await second);
    await atRest(t);
  });

  await t.test('one that no nodes could ever hold fails at once and says why', async (t) => {
    const error = await rejection<MusterError>(Trainers.options({ size: 7 }).create());
    t.ok(error instanceof UnschedulableError, String(error));
    t.match(error.message, /the gang Trainer can never be placed: .*7 × \(1 cpu\): room for 6 now, for 6 if nothing ran/);
    const apart = await rejection<MusterError>(Trainers.options({ strategy: 'strict-spread' }).create());
    t.ok(apart instanceof UnschedulableError, String(apart));
  });

  await t.test('or waits for nodes, until its time is over', async (t) => {
    const error = await rejection<MusterError>(Trainers.options({ size: 7, waitForNodes: true, timeoutMs: 200, name: 'late' }).create());
    t.ok(error instanceof TimeoutError, String(error));
    t.match(error.message, /the gang late.*7 × \(1 cpu\).*longer than 200 ms/s);
    await atRest(t);
  });

  await t.test('a constructor that throws ends all of it', async (t) => {
    const error = await rejection<Error>(Trainers.create(2));
    t.ok(error instanceof RangeError && error.message === 'rank 2 will not', String(error));
    await atRest(t);
  });
});

t.test('when a member dies', async (t) => {
  await t.test('all end, and every error names who it was', async (t) => {
    const trainers = await Trainers.create();
    const pids = await pidsOf(trainers);
    const stuck = trainers.all.stuck.remote().map((ref) => rejection<MusterError>(get(ref)));
    process.kill(pids[1]!, 'SIGKILL');
    const errors = await Promise.all(stuck);
    t.ok(errors.every((error) => error instanceof ActorDiedError));
    t.match(errors[1]!.message, /was ended by SIGKILL/);
    t.match(errors[3]!.message, new RegExp(`rank 1 of ${trainers.gangId} was ended by SIGKILL`));
    await until('all processes have ended', () => !pids.some(isRunning));
    t.match(await rejection(trainers.all.step()), { code: 'ACTOR_DIED' });
    await atRest(t);
  });

  await t.test('all start anew from the last checkpoint', async (t) => {
    const trainers = await Trainers.options({ onFailure: 'restart-all', maxRestarts: 1 }).create();
    await trainers.all.step(3);
    await trainers.checkpoint();
    await trainers.all.step(2);
    const pids = await pidsOf(trainers);
    const stuck = trainers.all.stuck.remote().map((ref) => rejection<MusterError>(get(ref)));
    const queued = trainers.all.step.remote().map((ref) => rejection<MusterError>(get(ref)));
    process.kill(pids[3]!, 'SIGKILL');
    for (const error of await Promise.all([...stuck, ...queued])) t.ok(error instanceof ActorUnavailableError, String(error));
    t.same(await trainers.all.step(), [4, 4, 4, 4], 'calls made before it failed, also those that were queued');
    const again = await trainers.all.report();
    t.ok(again.every(({ incarnation }) => incarnation === 2));
    t.notOk(again.some(({ pid }) => pids.includes(pid)), 'in new processes');
    process.kill(again[0]!.pid, 'SIGKILL');
    t.match(await rejection(trainers.all.stuck()), { code: 'ACTOR_DIED' }, 'no more often than it may');
    await atRest(t);
  });

  await t.test('or that one alone', async (t) => {
    const trainers = await Trainers.options({ onFailure: 'restart-member' }).create();
    await trainers.all.step(5);
    await trainers.checkpoint();
    await trainers.all.step();
    const pids = await pidsOf(trainers);
    process.kill(pids[2]!, 'SIGKILL');
    await rejection(trainers.members[2]!.stuck());
    t.same(await trainers.all.step(), [7, 7, 6, 7]);
    t.same((await pidsOf(trainers)).map((pid, rank) => pid === pids[rank]), [true, true, false, true]);
    await kill(trainers);
    await atRest(t);
  });

  await t.test('with its node: its bundles are repaired, its state lived on', async (t) => {
    const spare = await cluster.addNode({ cpus: 2 });
    const trainers = await Trainers.options({ size: 6, onFailure: 'restart-all', strategy: 'pack' }).create();
    await trainers.all.step(2);
    await trainers.checkpoint();
    const before = await trainers.all.report();
    const victim = cluster.nodes.find((node) => node.nodeId === before[0]!.nodeId)!;
    const stuck = rejection<MusterError>(trainers.all.stuck());
    victim.kill('SIGKILL');
    t.match(await stuck, { code: 'ACTOR_UNAVAILABLE' });
    t.same(await trainers.all.step(), [3, 3, 3, 3, 3, 3]);
    const after = await trainers.all.report();
    t.ok(after.every(({ nodeCount, nodeId }) => nodeCount === 3 && nodeId !== victim.nodeId));
    t.equal(after.filter(({ nodeId }, rank) => nodeId === before[rank]!.nodeId).length, 4, 'the others stay where they were');
    t.ok([...cluster.nodes].includes(spare));
    await kill(trainers);
    await atRest(t);
  });
});

t.test('a gang ends with the program that made it', async (t) => {
  const program = new Program(`
    class Member { pid() { return process.pid; } }
    const members = await gang(Member, { size: 3 }).create();
    console.log(JSON.stringify(await members.all.pid()));
    await new Promise(() => setInterval(() => {}, 1e6));
  `, { folder: cluster.root, env: cluster.driverEnv() });
  const pids = JSON.parse(await program.printed(/^\[/)) as number[];
  t.equal(pids.filter(isRunning).length, 3);
  program.child.kill('SIGKILL');
  await until('its members have ended', () => !pids.some(isRunning));
  await atRest(t);
});

t.test('what makes no sense is refused with what is wanted', async (t) => {
  const bad: [string, () => unknown, RegExp][] = [
    ['no size', () => gang(Trainer, {} as never), /size/],
    ['no members', () => gang(Trainer, { size: 0 }), /size: 0/],
    ['half a member', () => gang(Trainer, { size: 1.5 }), /size: 1.5/],
    ['an unknown option', () => gang(Trainer, { size: 1, gpu: 1 } as never), /'gpu'/],
    ['an unknown strategy', () => gang(Trainer, { size: 1, strategy: 'near' as never }), /near/],
    ['an unknown policy', () => gang(Trainer, { size: 1, onFailure: 'hope' as never }), /hope/],
    ['restarts of what never restarts', () => gang(Trainer, { size: 1, maxRestarts: 1 }), /restart-all/],
    ['negative cpus', () => gang(Trainer, { size: 1, cpus: -1 }), /cpus/],
    ['cpus that are no number', () => gang(Trainer, { size: 1, cpus: NaN }), /cpus/],
    ['no class', () => gang((() => 1) as never, { size: 1 }), /class/],
  ];
  for (const [name, make, message] of bad) t.throws(make, { code: 'INVALID_ARGUMENT', message }, name);
  class Plain { ping(): number { return 1; } }
  const plain = await gang(Plain, { size: 1 }).create();
  t.match(await rejection(plain.checkpoint()), { code: 'INVALID_ARGUMENT', message: /checkpoint\(\) and restore\(state\)/ });
  await kill(plain);
  t.match(await rejection(plain.checkpoint()), { code: 'INVALID_ARGUMENT' });
  t.ok(GangDiedError.prototype instanceof MusterError);
});
