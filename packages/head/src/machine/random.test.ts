/**
 * Properties of the head under random histories: what must hold after each step, and what must be left when all have gone.
 * A failure prints its seed; MUSTER_SEED repeats it.
 */
import t from 'tap';
import { addResources, RESOURCE_SCALE, seededRandom, type ResourceSet } from '@muster/base';
import type { ClientToHead, HeadToClient } from '@muster/protocol';
import { Shape } from '@muster/scheduler';
import { BusyOwners } from '../testing/busy-owners.js';
import { RandomCluster, type Observer } from '../testing/random-cluster.js';
import type { GroupPool } from './group-pool.js';
import type { HeadMachine } from './head-machine.js';
import { taken } from './leases.js';
import type { HeadEffect, HeadEvent } from './messages.js';

const HISTORIES = Number(process.env['MUSTER_HISTORIES'] ?? 10);
const STEPS = 600;
/** Why groups wait is worked out by a look at every node: not after every step. */
const WAITS_STRIDE = 16;

const equal = (a: ResourceSet, b: ResourceSet): boolean => [...Object.keys(a), ...Object.keys(b)].every((name) => (a[name] ?? 0) === (b[name] ?? 0));

function must(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** Watches one cluster and throws at the first thing that must not be. */
class Invariants implements Observer {
  readonly #machine: HeadMachine;
  /** What each owner believes to hold, by the messages it was sent and has sent. */
  readonly #held = new Map<string, Set<string>>();
  readonly #everStarted = new Set<string>();
  readonly #everGranted = new Set<string>();
  readonly #incarnations = new Map<string, number>();
  #steps = 0;

  constructor(machine: HeadMachine) {
    this.#machine = machine;
  }

  sent(clientId: string, message: HeadToClient): void {
    const held = this.#held.get(clientId) ?? new Set();
    this.#held.set(clientId, held);
    if (message.type === 'leaseGranted') {
      must(!this.#everGranted.has(message.leaseId), `${message.leaseId} was granted twice`);
      this.#everGranted.add(message.leaseId);
      held.add(message.leaseId);
    }
    if (message.type === 'leaseLost') must(held.delete(message.leaseId), `${clientId} lost ${message.leaseId}, which it does not hold`);
    if (message.type === 'leaseReclaim') must(held.has(message.leaseId), `${clientId} was asked for ${message.leaseId}, which it does not hold`);
    if (message.type === 'actorState' && message.incarnation > 0) {
      const key = `${clientId} ${message.actorId}`;
      must((this.#incarnations.get(key) ?? 0) <= message.incarnation, `${message.actorId} went back to incarnation ${message.incarnation}`);
      this.#incarnations.set(key, message.incarnation);
    }
  }

  told(clientId: string, message: ClientToHead): void {
    if (message.type === 'leaseReturn') this.#held.get(clientId)?.delete(message.leaseId);
  }

  after(_event: HeadEvent, effects: readonly HeadEffect[]): void {
    this.#steps++;
    this.#nodes();
    this.#queues();
    this.#grants(effects);
    this.#demands();
    this.#actors();
    this.#groups();
  }

  #nodes(): void {
    const { nodes, leases } = this.#machine;
    let leaseCount = 0;
    for (const node of nodes.byId.values()) {
      const available = nodes.availableOf(node);
      const own = [...node.leases].filter((lease) => lease.pool === nodes);
      const bundles = [...node.shares.values()].flatMap((share) => [...share.holdings.values()]);
      const held = [...own.map((lease) => ({ resources: taken(lease), gpuIds: lease.place.gpuIds })), ...bundles];
      const sum = held.reduce<ResourceSet>((total, { resources }) => addResources(total, resources), available);
      must(equal(sum, node.row.total), `${node.id} has ${JSON.stringify(available)}, and with its leases and bundles ${JSON.stringify(sum)}`);
      must(node.row.leaseCount === held.length, `${node.id} counts ${node.row.leaseCount} leases`);
      const gpuShares: number[] = [];
      for (const { gpuIds, resources } of held) for (const id of gpuIds) gpuShares[id] = (gpuShares[id] ?? 0) + Math.min(resources['gpu']!, RESOURCE_SCALE);
      must(gpuShares.every((share) => share <= RESOURCE_SCALE), `${node.id} gives GPUs away more than once: ${gpuShares.join()}`);
      leaseCount += node.leases.size;
    }
    must(leaseCount === leases.byId.size, 'a lease is on no node');
    must(nodes.cluster.size === nodes.byId.size, 'the scheduler sees other nodes');
  }

  /** What a queue holds is what its leases and groups hold; and only work that goes on after a block may leave it beyond its quota. */
  #queues(): void {
    const { queues, leases, nodes } = this.#machine;
    for (const queue of queues.byName.values()) {
      let held: ResourceSet = {};
      for (const lease of leases.byId.values()) if (lease.demand.queue === queue && lease.place.bundle === null) held = addResources(held, taken(lease));
      for (const node of nodes.byId.values()) {
        for (const share of node.shares.values()) if (share.group.queue === queue) for (const { resources } of share.holdings.values()) held = addResources(held, resources);
      }
      must(equal(held, queue.held), `the queue ${queue.settings.name} holds ${JSON.stringify(held)}, and counts ${JSON.stringify(queue.held)}`);
    }
  }

  /** Only a worker that goes on after a block may leave its node with less than nothing; a new lease must fit. */
  #grants(effects: readonly HeadEffect[]): void {
    for (const effect of effects) {
      if (effect.type !== 'sendToNode' || effect.message.type !== 'startLease' || this.#everStarted.has(effect.message.leaseId)) continue;
      this.#everStarted.add(effect.message.leaseId);
      const lease = this.#machine.leases.byId.get(effect.message.leaseId)!;
      const { cluster } = lease.pool;
      const { available } = cluster.view(cluster.rowOf(lease.place.row)!);
      const { settings: { quota, name: queueName }, held } = lease.demand.queue;
      if (lease.place.bundle === null) for (const name in lease.resources) must(held[name]! <= (quota[name] ?? Infinity), `${lease.id} is beyond the quota of ${queueName} in ${name}`);
      for (const name in lease.resources) must(available[name]! >= 0, `${lease.id} oversubscribes ${lease.place.row} on ${lease.node.id} in ${name}`);
    }
  }

  /** Who could be served is served, and nobody who wants something is forgotten. */
  #demands(): void {
    const { demands, processes } = this.#machine;
    for (const [key, group] of demands.groups) {
      for (const demand of group.waiting) {
        const isRight = demand.groupKey === key && demand.level === demand.leases.size && demand.count > demand.leases.size;
        must(isRight, `${demand.ownerId}/${demand.demandId} waits wrongly`);
      }
      const isOverQuota = group.pool.groupId === '' && group.queue.overQuota(group.shape.request.resources) !== null;
      must(group.waiting.size > 0 && (isOverQuota || new Shape(group.pool.cluster, group.shape.request).best() === null), `${key} waits but fits`);
    }
    for (const process of processes.byId.values()) {
      for (const demand of process.demands?.values() ?? []) {
        const waits = demands.waitsFor(demand) !== null;
        // Demands for nothing are limited to fewer leases than they may want.
        must(waits === (demand.count > demand.leases.size) || demand.leases.size >= 16, `${demand.ownerId}/${demand.demandId} is ${waits ? '' : 'not '}waiting`);
      }
    }
  }

  #actors(): void {
    const names = new Set<string>();
    for (const actor of this.#machine.actors.live.values()) {
      must(actor.state !== 'dead', `${actor.id} is dead and alive`);
      must(actor.maxRestarts === -1 || actor.restarts <= actor.maxRestarts, `${actor.id} restarted ${actor.restarts} times`);
      must(actor.incarnation === actor.restarts + actor.preemptions + 1, `${actor.id} has incarnation ${actor.incarnation} after ${actor.restarts} restarts and ${actor.preemptions} preemptions`);
      must(actor.name === '' || !names.has(actor.name), `two actors are named ${actor.name}`);
      names.add(actor.name);
      must(actor.demand.leases.size <= 1, `${actor.id} has ${actor.demand.leases.size} leases`);
      must(actor.state !== 'alive' || actor.lease?.state !== 'starting', `${actor.id} is alive without a worker`);
    }
  }

  /** Groups are whole or absent, nothing of them is held twice or by nobody, and their leases are within their bundles. */
  #groups(): void {
    const { groups, nodes, leases } = this.#machine;
    const shares = new Set([...nodes.byId.values()].flatMap((node) => [...node.shares.values()]));
    for (const share of shares) must(share.group.shares.has(share) === (share.state !== 'returning'), `a share of ${share.group.id} is ${share.state} and its group's, or neither`);
    for (const group of groups.live.values()) {
      const placed = group.bundles.filter((bundle) => bundle !== null);
      for (const share of group.shares) must(shares.has(share), `${group.id} has bundles on ${share.node.id}, which does not know it`);
      for (const { share } of placed) must(group.shares.has(share), `${group.id} has a bundle in a share that is not its own`);
      must(group.preparingCount === [...group.shares].filter(({ state }) => state === 'preparing').length, `${group.id} miscounts what is being prepared`);
      const isWhole = placed.length === group.bundles.length;
      if (group.state === 'created') must(isWhole && [...group.shares].every(({ state }) => state === 'committed'), `${group.id} is created and not whole`);
      if (group.state === 'pending') must(placed.length === 0, `${group.id} waits and holds ${placed.length} bundles`);
      if (group.state === 'preparing') must(isWhole && group.preparingCount > 0, `${group.id} prepares nothing, or a part`);
      const isUnderWay = group.state === 'created' || group.preparingCount > 0;
      must(isUnderWay || this.#steps % WAITS_STRIDE > 0 || groups.waitsFor(group) !== null, `${group.id} is ${group.state} and nobody cares`);
      if (group.pool !== null) this.#bundles(group.pool);
    }
    for (const group of groups.removed.values()) must(group.shares.size === 0 && group.watchers.size === 0, `${group.id} is removed and still has something`);
    for (const lease of leases.byId.values()) must(lease.pool.leases.has(lease), `${lease.id} is not in its pool`);
    for (const lease of leases.byId.values()) if (lease.pool !== nodes) must(groups.live.has(lease.pool.groupId) || lease.state === 'ending', `${lease.id} runs in no group`);
  }

  #bundles(pool: GroupPool): void {
    const held = new Map<string, ResourceSet>();
    for (const lease of pool.leases) held.set(lease.place.row, addResources(held.get(lease.place.row) ?? {}, taken(lease)));
    for (const row of pool.cluster.rows()) {
      const sum = addResources(held.get(row.nodeId) ?? {}, pool.cluster.view(row).available);
      must(equal(sum, row.total), `${row.nodeId} of ${pool.groupId} has ${JSON.stringify(row.total)}, and with its leases ${JSON.stringify(sum)}`);
    }
  }
}

function leftovers(cluster: RandomCluster): string[] {
  const { leases, demands, processes, actors, groups, jobs, nodes } = cluster.machine;
  const left = [
    ...[...leases.byId.values()].map((lease) => `${lease.id} is ${lease.state}`), ...[...demands.groups.keys()].map((key) => `a demand for ${key} waits`),
    ...processes.byId.keys(), ...actors.live.keys(), ...groups.live.keys(), ...[...jobs.running.values()].map((job) => `${job.id} runs`),
    ...cluster.daemons.flatMap((daemon) => [...daemon.leases.keys()].map((leaseId) => `${daemon.id} holds ${leaseId}`)),
    ...cluster.daemons.flatMap((daemon) => [...daemon.bundles.keys()].map((key) => `${daemon.id} keeps bundles of ${key}`)),
    ...[...nodes.byId.values()].flatMap((node) => [...node.shares.keys()].map((key) => `${node.id} has a share of ${key}`)),
  ];
  for (const node of nodes.byId.values()) if (!equal(nodes.availableOf(node), node.row.total)) left.push(`${node.id} is not free`);
  const known = [...nodes.byId.keys()].sort().join();
  for (const { id, peers: { nodeIds } } of cluster.daemons) if ([...nodeIds].sort().join() !== known) left.push(`${id} knows ${[...nodeIds].join()} and not ${known}`);
  return left;
}

t.test('random histories keep the invariants and leave nothing behind', async (t) => {
  const first = Number(process.env['MUSTER_SEED'] ?? Date.now() % 2 ** 31);
  t.comment(`seeds from ${first}`);
  for (let seed = first; seed < first + HISTORIES; seed++) {
    const cluster = new RandomCluster(seed, (machine) => new Invariants(machine));
    let step = 0;
    try {
      for (; step < STEPS; step++) cluster.act();
      cluster.calmDown();
      const left = leftovers(cluster);
      must(left.length === 0, `left behind: ${left.join(', ')}`);
    } catch (error) {
      return t.fail(`seed ${seed}, step ${step}: ${(error as Error).stack}`);
    }
  }
  t.pass(`${HISTORIES} histories of ${STEPS} steps`);
});

t.test('equal seeds give equal histories', async (t) => {
  const history = (): string[] => {
    const lines: string[] = [];
    const cluster = new RandomCluster(7, () => ({ after: (event, effects) => { lines.push(JSON.stringify([event, effects])); }, sent: () => {}, told: () => {} }));
    for (let step = 0; step < 500; step++) cluster.act();
    return lines;
  };
  t.same(history(), history());
  t.not(seededRandom(7).hex(8), seededRandom(8).hex(8));
});

const cpus = (count: number): ResourceSet => ({ cpu: count * RESOURCE_SCALE });

t.test('owners with equal demands come to hold equally many leases', async (t) => {
  const cluster = new BusyOwners([cpus(8), cpus(4)], [0, 500, 1_000, 1_500].map((fromMs) => ({ resources: cpus(1), taskMs: 20, fromMs })));
  cluster.runUntil(5_000);
  t.same(cluster.owners.map(({ held }) => held), [3, 3, 3, 3]);
  t.ok(cluster.owners.every(({ longestWaitMs }) => longestWaitMs < 500), 'none waited long for its first');
});

t.test('more owners than leases take turns', async (t) => {
  const cluster = new BusyOwners([cpus(2)], Array.from({ length: 6 }, () => ({ resources: cpus(1), taskMs: 30, fromMs: 0 })));
  cluster.runUntil(30_000);
  const tasks = cluster.owners.map((owner) => owner.tasks);
  t.ok(Math.min(...tasks) > 0.7 * Math.max(...tasks), `tasks: ${tasks.join(' ')}`);
  t.ok(cluster.owners.every(({ longestWaitMs }) => longestWaitMs < 3_000), `waits: ${cluster.owners.map((owner) => owner.longestWaitMs).join(' ')}`);
});

for (const resource of ['cpu', 'gpu'] as const) {
  t.test(`no feasible demand of ${resource}s starves, however large it is and whoever else wants the room`, async (t) => {
    const seed = Number(process.env['MUSTER_SEED'] ?? Date.now() % 2 ** 31);
    const random = seededRandom(seed);
    const upTo = (n: number): number => 1 + Math.floor(random.next() * n);
    const amount = (count: number): ResourceSet => ({ [resource]: count * RESOURCE_SCALE });
    for (let round = 0; round < 12; round++) {
      const sizes = Array.from({ length: upTo(3) }, () => (resource === 'cpu' ? 2 + upTo(6) : upTo(4)));
      const largest = Math.max(...sizes);
      const some = (): number => (resource === 'cpu' || random.next() < 0.4 ? upTo(largest) : [0.25, 0.3, 0.5, 0.6][upTo(4) - 1]!);
      const owners = Array.from({ length: 2 + upTo(6) }, () => ({ resources: amount(some()), taskMs: upTo(300), fromMs: upTo(2_000) }));
      const cluster = new BusyOwners(sizes.map(amount), [{ resources: amount(largest), taskMs: 50, fromMs: 1_000 }, ...owners]);
      cluster.runUntil(60_000);
      const waits = cluster.owners.map((owner) => owner.longestWaitMs);
      if (Math.max(...waits) > 20_000) return t.fail(`somebody waited too long: ${JSON.stringify({ seed, round, sizes, owners, waits })}`);
    }
    t.pass(`seed ${seed}`);
  });
}

t.test('who comes with a higher priority gets room, whatever those below were told before and whoever wants it by turns', async (t) => {
  const seed = Number(process.env['MUSTER_SEED'] ?? Date.now() % 2 ** 31);
  const random = seededRandom(seed);
  const upTo = (n: number): number => 1 + Math.floor(random.next() * n);
  for (let round = 0; round < 12; round++) {
    const sizes = Array.from({ length: upTo(3) }, () => 1 + upTo(3));
    const resources = (): ResourceSet => cpus(upTo(Math.min(...sizes)));
    const perhapsGroup = (): { readonly bundles?: number } => (random.next() < 0.3 ? { bundles: upTo(sizes.length) } : {});
    const deaf = Array.from({ length: 2 }, () => ({ resources: cpus(1), taskMs: Infinity, fromMs: 0, ...perhapsGroup() }));
    const impatient = Array.from({ length: upTo(3) }, () => ({ resources: resources(), taskMs: upTo(500), fromMs: upTo(2_000), count: 1, priority: upTo(3), patienceMs: 500 + upTo(2_500), ...perhapsGroup() }));
    const last = { resources: resources(), taskMs: 100, fromMs: 20_000, count: 1, priority: 4, ...perhapsGroup() };
    const cluster = new BusyOwners(sizes.map(cpus), [last, ...deaf, ...impatient]);
    cluster.runUntil(40_000);
    const { longestWaitMs } = cluster.owners.at(-1)!;
    if (longestWaitMs > 5_000) return t.fail(`waited ${longestWaitMs} ms: ${JSON.stringify({ seed, round, sizes, deaf, impatient, last })}`);
  }
  t.pass(`seed ${seed}`);
});
