/** Placement groups on real nodes: where bundles lie, that they come together or not at all, what runs in them, and what happens when a node is lost. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  actor, ActorDiedError, context, placementGroup, remote, TimeoutError, UnschedulableError, wait, type BundleOptions, type MusterError, type PlacementGroup,
  type PlacementGroupOptions,
} from '@muster/core';
import type { GroupRow, ListAnswer } from '@muster/head';
import { TestCluster } from '../support/cluster.js';
import { makeLatch, type LatchHandle } from '../support/latch.js';
import { rejection, until } from '../support/until.js';

const cluster = await TestCluster.start({
  nodeTimeout: '3s',
  nodes: [{ cpus: 2, gpus: 2, labels: { rack: 'r1' } }, { cpus: 2, gpus: 0, labels: { rack: 'r2' } }],
});
const [a, b] = (await Promise.all(['r1', 'r2'].map(async (rack) => {
  const rows = await Promise.all(cluster.nodes.map((node) => cluster.row(node)));
  return rows.find(({ labels }) => labels['rack'] === rack)!.nodeId;
}))) as [string, string];
await cluster.connect();
t.teardown(() => cluster.stop());

interface Place {
  readonly nodeId: string;
  readonly bundle: number | undefined;
  readonly gpuIds: readonly number[];
  readonly visible: string | undefined;
}

const whereAmI = remote((): Place => {
  const { nodeId, placementGroup: group, gpuIds } = context();
  return { nodeId, bundle: group?.bundle, gpuIds, visible: process.env['CUDA_VISIBLE_DEVICES'] };
}, { cpus: 0 });
const pause = remote(async (door: LatchHandle) => { await door.note('runs'); await delay(60_000); }, { retries: 0 });

class Member {
  place() { return { nodeId: context().nodeId as string, bundle: context().placementGroup?.bundle }; }
}

const cpus = (...amounts: number[]): BundleOptions[] => amounts.map((amount) => ({ cpus: amount }));
const nodesOf = (group: PlacementGroup): (string | null)[] => group.bundles.map(({ nodeId }) => nodeId);
const rowOf = async ({ id }: { readonly id: string }): Promise<GroupRow | undefined> =>
  ((await cluster.query<ListAnswer>('list', { kind: 'groups', filter: `groupId=${id}` })).rows as readonly GroupRow[])[0];

/** Makes a group for as long as a test needs it. */
async function using(bundles: readonly BundleOptions[], options: PlacementGroupOptions, use: (group: PlacementGroup) => Promise<void>): Promise<void> {
  const group = await placementGroup(bundles, options);
  try {
    await use(group);
  } finally {
    await group.remove();
  }
}

t.test('bundles lie as the strategy, the topology and their labels say', async (t) => {
  await using(cpus(1, 1), { strategy: 'strict-spread' }, async (group) => { t.same(nodesOf(group).sort(), [a, b].sort()); });
  await using(cpus(1, 1), { strategy: 'strict-pack' }, async (group) => { t.equal(new Set(nodesOf(group)).size, 1); });
  await using(cpus(2, 2), { strategy: 'pack' }, async (group) => { t.same(nodesOf(group).sort(), [a, b].sort()); });
  await using(cpus(1, 1), { strategy: 'spread', topology: { rack: 'same' } }, async (group) => { t.equal(new Set(nodesOf(group)).size, 1); });
  await using(cpus(0.5, 0.5), { topology: { rack: { atMost: 1 } } }, async (group) => { t.same(nodesOf(group).sort(), [a, b].sort()); });
  await using([{ cpus: 1, labels: { rack: 'r2' } }, { cpus: 1, gpus: 1 }], {}, async (group) => { t.same(nodesOf(group), [b, a]); });
});

t.test('a group that waits holds nothing, and is there as a whole when there is room', async (t) => {
  const first = await placementGroup([{ cpus: 2, labels: { rack: 'r1' } }]);
  const second = placementGroup(cpus(2, 2), { name: 'second' });
  await until('the second one waits', async () => (await cluster.status()).groups['pending'] === 1);
  t.equal((await whereAmI.options({ cpus: 2 })()).nodeId, b, 'what it cannot use alone is used by others');
  await first.remove();
  const group = await second;
  t.same(nodesOf(group).sort(), [a, b].sort());
  t.match(await rowOf(group), { name: 'second', state: 'created', request: '2 bundles close together', resources: { cpu: 4 } });
  await group.remove();
  t.equal((await rowOf(group))?.state, 'removed');
});

t.test('what could never be placed fails at once, and what takes too long is given up, both with reasons', async (t) => {
  const never = await rejection(placementGroup(cpus(1, 1, 1), { strategy: 'strict-spread' }));
  t.ok(never instanceof UnschedulableError);
  t.match(never.message, /3 bundles on a node each: 3 × \(1 cpu\): room for 2 now, for 2 if nothing ran; of 3 nodes, 2 have room; /);
  await using(cpus(2, 2), {}, async () => {
    const late = await rejection(placementGroup(cpus(1), { timeoutMs: 50, name: 'late' }));
    t.ok(late instanceof TimeoutError);
    t.match(late.message, /late took longer than 50 ms \(1 bundle: 1 × \(1 cpu\): room for none now, for 1 if nothing ran; of 3 nodes, 2 have 0 cpu free of 1 needed; /);
    const waiting = await rejection(placementGroup(cpus(20), { timeoutMs: 50, waitForNodes: true }));
    t.ok(waiting instanceof TimeoutError, 'one that waits for nodes does not fail at once');
  });
  t.same((await cluster.status()).groups, {}, 'nothing is left of them');
});

t.test('wrong arguments are told apart', async (t) => {
  const wrong: readonly (readonly [unknown, unknown, RegExp])[] = [
    [[], {}, /at least one bundle/], [[{}], {}, /bundle 0, which asks for nothing/], [[{ cpus: 1 }, { cpus: 0 }], {}, /bundle 1, which asks for nothing/],
    [[{ cpus: -1 }], {}, /cpus: -1/], [[{ cpus: NaN }], {}, /cpus: NaN/], [[{ gpus: 1.5 }], {}, /gpus: 1.5/], [[{ cpu: 1 }], {}, /bundle 0 with 'cpu'/], [[7], {}, /bundle 0: 7/],
    [Array.from({ length: 10_001 }, () => ({ cpus: 1 })), {}, /10001 bundles/], [[{ cpus: 1 }], { strategy: 'tight' }, /strategy: tight/],
    [[{ cpus: 1 }], { topology: { rack: { atMost: 0 } } }, /the level rack/], [[{ cpus: 1 }], { timeoutMs: -1 }, /timeoutMs: -1/], [[{ cpus: 1 }], { timeout: 1 }, /'timeout'/],
    [[{ cpus: 1, labels: { zone: 7 } }], {}, /the label zone/],
  ];
  for (const [bundles, options, message] of wrong) {
    const error = await rejection<MusterError>(placementGroup(bundles as BundleOptions[], options as PlacementGroupOptions));
    t.equal(error.code, 'INVALID_ARGUMENT');
    t.match(error.message, message);
  }
});

t.test('tasks and actors run in the bundle that they name, or in any', async (t) => {
  await using(cpus(1, 1), { strategy: 'strict-spread' }, async (group) => {
    const nodes = nodesOf(group);
    for (const bundle of [0, 1]) {
      t.match(await whereAmI.options({ placement: { group, bundle }, cpus: 1 })(), { nodeId: nodes[bundle], bundle });
      const member = await actor(Member, { cpus: 1, placement: { group, bundle } }).create();
      t.same(await member.place(), { nodeId: nodes[bundle], bundle });
    }
    t.throws(() => whereAmI.options({ placement: { group, bundle: 2 } }), /one of 0 to 1: the group has 2 bundles/);
    t.match(await rejection(whereAmI.options({ placement: { group }, cpus: 2 })()), /both bundles have 1 cpu in total of 2 needed/);
    const full = await rejection(actor(Member, { cpus: 2, placement: { group } }).create());
    t.ok(full instanceof UnschedulableError, 'an actor that no bundle could hold fails at once, too');
  });
});

t.test('parts of GPUs are those of the bundle', async (t) => {
  await using([{ gpus: 0.5 }, { gpus: 0.5 }, { gpus: 1 }], { strategy: 'strict-pack' }, async (group) => {
    const half = whereAmI.options({ gpus: 0.5 });
    const [first, second, whole] = await Promise.all([
      half.options({ placement: { group, bundle: 0 } })(), half.options({ placement: { group, bundle: 1 } })(), whereAmI.options({ gpus: 1, placement: { group, bundle: 2 } })(),
    ]);
    t.same(first.gpuIds, second.gpuIds, 'both halves are of one GPU');
    t.not(first.visible, whole.visible);
    t.same([first, second, whole].map(({ visible }) => visible), [first, second, whole].map(({ gpuIds }) => gpuIds.join()));
    t.match(await rejection(whereAmI.options({ gpus: 1, placement: { group, bundle: 0 } })()), /bundle 0 has 0.5 gpu in total of 1 needed/);
  });
});

t.test('a group captures what is made in it, if it is told to, and only what names no placement', async (t) => {
  const parent = remote(async (): Promise<Place[]> => [await whereAmI(), await whereAmI.options({ placement: { labels: {} } })()]);
  const child = remote(async () => (await actor(Member).create()).place());
  await using(cpus(1, 1), { strategy: 'strict-pack' }, async (group) => {
    const [captured, free] = (await parent.options({ placement: { group, bundle: 0, captureChildTasks: true } })()) as [Place, Place];
    t.type(captured.bundle, 'number');
    t.equal(free.bundle, undefined);
    const [notCaptured] = (await parent.options({ placement: { group, bundle: 0 } })()) as [Place];
    t.equal(notCaptured.bundle, undefined, 'the same worker without it');
    t.type((await child.options({ placement: { group, captureChildTasks: true } })()).bundle, 'number', 'actors, too');
  });
});

t.test('a handle travels to tasks, as an argument, in a closure and with options', async (t) => {
  await using(cpus(1, 1), {}, async (group) => {
    const inside = whereAmI.options({ placement: { group, bundle: 1 } });
    const asArgument = remote(async (handle: PlacementGroup) => ({ nodes: nodesOf(handle), place: await whereAmI.options({ placement: { group: handle, bundle: 1 } })() }), { cpus: 0 });
    t.match(await asArgument(group), { nodes: nodesOf(group), place: { bundle: 1 } });
    t.match(await remote(async () => [group.id, (await inside()).bundle], { cpus: 0 })(), [group.id, 1]);
    const remover = remote(async (handle: PlacementGroup) => { await handle.remove(); return handle.state; }, { cpus: 0 });
    t.equal(await remover(group), 'removed');
    await until('its owner hears of that', () => group.state === 'removed');
  });
});

t.test('a removed group ends what runs in it, and takes nothing more', async (t) => {
  const group = await placementGroup(cpus(1, 1));
  const door = await makeLatch();
  const running = pause.options({ placement: { group, bundle: 0 } })(door);
  const waiting = pause.options({ placement: { group, bundle: 0 } })(door);
  const member = await actor(Member, { placement: { group }, maxRestarts: 3 }).create();
  await door.noted(1);
  await group.remove();
  t.match(await rejection(running), /the placement group pg-\w+ ended: it was removed/);
  t.match(await rejection(waiting), /the placement group pg-\w+ ended: it was removed/);
  const dead = await rejection(member.place());
  t.ok(dead instanceof ActorDiedError);
  t.match(dead.message, /the placement group pg-\w+ ended: it was removed/);
  t.match(await rejection(whereAmI.options({ placement: { group } })()), /can never be placed: the placement group pg-\w+ was removed/);
  await group.remove();
  await rejection(group.ready());
  await using(cpus(2, 2), {}, async (next) => { t.equal(next.state, 'created', 'all of its room is free'); });
});

t.test('many groups at once', async (t) => {
  const groups = await Promise.all(Array.from({ length: 100 }, () => placementGroup(cpus(0.01, 0.01))));
  t.ok(groups.every(({ state }) => state === 'created'));
  await Promise.all(groups.map((group) => group.remove()));
  await until('all room is free', async () => (await cluster.status()).available['cpu'] === 4);
});

t.test('a group that loses a node is repaired, and what may restart does so in its bundle', async (t) => {
  const group = await placementGroup(cpus(2, 2), { strategy: 'strict-spread' });
  const [member, survivor] = await Promise.all([0, 1].map((bundle) => actor(Member, { cpus: 1, placement: { group, bundle }, maxRestarts: 1 }).create()));
  const [lost, kept] = nodesOf(group) as [string, string];
  cluster.nodes.find(({ nodeId }) => nodeId === lost)!.kill('SIGKILL');
  await until('the owner hears of the loss', () => group.state === 'repairing');
  t.same(nodesOf(group), [null, kept]);
  t.match(await rowOf(group), { state: 'repairing', reasons: /1 bundle beside the 1 that is there: 1 × \(2 cpu\): room for none now/ });
  t.same(await survivor!.place(), { nodeId: kept, bundle: 1 }, 'the rest goes on');
  const again = whereAmI.options({ placement: { group, bundle: 0 } }).remote();
  t.same((await wait([again], { timeoutMs: 100 })).ready, [], 'what needs the lost bundle waits');
  const other = await cluster.addNode({ cpus: 2 });
  await group.ready();
  t.same(nodesOf(group), [other.nodeId, kept]);
  await until('the actor is back', async () => {
    try {
      return (await member!.place()).nodeId === other.nodeId;
    } catch {
      return false;
    }
  });
  t.equal((await wait([again])).ready.length, 1);
  await group.remove();
});
