/** What must be true when a cluster has come to rest: nothing is leaked, wherever one looks. */
import { ownerOf, type ObjectId } from '@muster/base';
import type { SimCluster } from './cluster.js';
import { Violation } from './violation.js';
import type { SimProcess } from './process.js';
import type { SimSession } from './sim-session.js';

function must(cluster: SimCluster, condition: boolean, what: () => string): void {
  if (!condition) throw new Violation(cluster.world.trace.shorten(what()));
}

/** What is looked at. */
interface Scene {
  readonly cluster: SimCluster;
  /** Processes that were stopped. */
  readonly stopped: ReadonlySet<SimProcess>;
}

/** The programs have ended and hold nothing, but their drivers are still connected. */
export function checkIdle(scene: Scene): void {
  const { cluster } = scene;
  checkProtocol(cluster);
  for (const driver of cluster.drivers) if (!driver.isGone) checkSession(cluster, driver.session);
  for (const node of cluster.liveNodes) {
    for (const { session, machine, process } of node.workers.values()) {
      checkSession(cluster, session);
      must(cluster, machine.executor.isIdle, () => `${process.id} has something to run though nobody works`);
      must(cluster, [...machine.executor.heldRefs()].length === 0, () => `${process.id} holds references for callers that have counted them`);
    }
  }
  for (const lease of cluster.head.machine.leases.byId.values()) {
    must(cluster, !lease.isBlocked, () => `the cpus of ${lease.id} are lent out though ${lease.workerId} waits for nothing`);
    must(cluster, lease.demand.actorId !== '', () => `${lease.id} of ${lease.demand.ownerId} is ${lease.state} though nobody works`);
  }
  checkObjects(cluster);
}

/**
 * What actors hold may be referred to. What a dead process owned, or made for an owner that never heard of it, stays until the job ends:
 * ids name the owner, then the maker.
 */
function checkObjects(cluster: SimCluster): void {
  const sessions = [...cluster.drivers.filter((driver) => !driver.isGone), ...cluster.liveNodes.flatMap((node) => [...node.workers.values()])].map(({ session }) => session);
  if (sessions.some((session) => session.collector.heldCount > 0)) return;
  const liveKeys = new Set(sessions.map(({ key }) => key));
  for (const node of cluster.liveNodes) {
    const isOfTheLiving = (id: string): boolean => liveKeys.has(ownerOf(id as ObjectId)) && liveKeys.has(id.slice(id.lastIndexOf('-') + 1, id.lastIndexOf('.')));
    const kept = node.store.machine.list().filter((object) => isOfTheLiving(object.objectId));
    must(cluster, kept.length === 0, () => `${node.id} keeps ${kept.map((object) => object.objectId).join(', ')} though nobody refers to them`);
  }
}

function checkSession(cluster: SimCluster, session: SimSession): void {
  if (session.closed || !session.hasOwner) return;
  const { owner, process, collector } = session;
  must(cluster, owner.slots.usedCount === 0, () => `${process.id} has ${owner.slots.usedCount} tasks unfinished though its program has ended`);
  must(cluster, collector.heldCount > 0 || owner.objects.list(10).length === 0, () => `${process.id} keeps ${JSON.stringify(owner.objects.list(10))}`);
  must(cluster, collector.heldCount > 0 || owner.objects.lineageBytes === 0, () => `${process.id} counts ${owner.objects.lineageBytes} B of lineage though it holds nothing`);
  must(cluster, owner.lines.count === owner.actors.lineCount, () => `${process.id} keeps ${owner.lines.count} lines, ${owner.actors.lineCount} of them to actors`);
  for (const queue of owner.dispatcher.queues) {
    must(cluster, queue.lines.length === 0 && queue.demandedCount === 0, () => `${process.id} holds ${queue.lines.length} leases and wants ${queue.demandedCount} for nothing`);
  }
}

/** All drivers are gone: the cluster is as it was in the beginning. */
export function checkDisconnected(scene: Scene): void {
  const { cluster } = scene;
  checkProtocol(cluster);
  const { leases, demands, jobs, actors, gangs, groups, nodes, processes, keyValues } = cluster.head.machine;
  must(cluster, keyValues.isEmpty, () => 'the head has keys without jobs');
  must(cluster, jobs.running.size === 0, () => `the head has ${jobs.running.size} jobs without drivers`);
  must(cluster, leases.byId.size === 0, () => `the head has leases without jobs: ${[...leases.byId.values()].map((lease) => `${lease.id} is ${lease.state}`).join(', ')}`);
  must(cluster, demands.groups.size === 0, () => 'the head has demands without jobs');
  must(cluster, actors.live.size === 0, () => 'the head has actors without jobs');
  must(cluster, gangs.live.size === 0, () => 'the head has gangs without jobs');
  must(cluster, groups.live.size === 0, () => 'the head has placement groups without jobs');
  for (const process of processes.byId.values()) must(cluster, process.kind === 'worker' && process.jobId === '', () => `the head still counts ${process.id}`);
  for (const node of nodes.byId.values()) {
    const [available, total] = [nodes.availableOf(node), node.row.total].map((amounts) => JSON.stringify(amounts));
    must(cluster, available === total, () => `of ${node.id}, ${available} of ${total} is free`);
  }
  must(cluster, nodes.byId.size === cluster.liveNodes.length, () => `the head counts ${nodes.byId.size} nodes, and ${cluster.liveNodes.length} live`);
  for (const node of cluster.liveNodes) {
    const kept = cluster.world.ledger.bundles.keptOn(node.id);
    must(cluster, kept.length === 0, () => `${node.id} keeps bundles of groups that are gone: ${kept.join(', ')}`);
    for (const worker of node.listWorkers()) must(cluster, worker.jobId === '' && worker.leaseId === '', () => `${node.id} has a worker of a job that is over: ${JSON.stringify(worker)}`);
    const { objectCount, blockBytes, freeBytes, totalBytes } = node.store.machine.stats();
    must(cluster, objectCount === 0 && blockBytes === 0, () => `the store of ${node.id} has ${objectCount} objects, ${blockBytes} B of blocks, and ${totalBytes - freeBytes} B are not free`);
  }
  const { running } = cluster.world.ledger;
  must(cluster, running.size === 0, () => `${running.size} tasks run for nobody`);
}

/** What the head may take longer than the timeout. */
const DEATH_SLACK_MS = 500;

/** A node whose machine lost its power was declared dead when its time was over. */
export function checkDeaths({ cluster, stopped }: Scene): void {
  if (stopped.has(cluster.head.process)) return;
  const { nodeTimeoutMs } = cluster.head.options;
  for (const node of cluster.nodes) {
    const darkAtMs = cluster.world.network.darkSince(node.options.host);
    if (darkAtMs === undefined) continue;
    must(cluster, !cluster.head.machine.nodes.byId.has(node.id), () => `${node.id} lost its power, and was not declared dead`);
    const tookMs = (cluster.head.nodeDeaths.get(node.id) ?? 0) - darkAtMs;
    must(cluster, tookMs <= nodeTimeoutMs + DEATH_SLACK_MS, () => `${node.id} lost its power, and was declared dead after ${tookMs.toFixed(0)} ms`);
  }
}

function checkProtocol(cluster: SimCluster): void {
  const [first] = cluster.world.network.protocolErrors;
  must(cluster, first === undefined, () => `a rule of the protocol was broken: ${first}`);
}
