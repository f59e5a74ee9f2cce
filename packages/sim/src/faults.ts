/** What goes wrong: named mixtures of faults, drawn from the faults' own randomness. */
import { integer, oneOf, type SimCluster } from './cluster.js';
import { KILLED } from './process.js';
import type { Scene } from './scenario.js';
import type { SimNode } from './sim-node.js';
import { record } from './world.js';

/** A mixture of faults. */
export interface Faults {
  readonly name: string;
  /** Schedules faults. Returns how long they last. */
  readonly start: (scene: Scene) => number;
}

/** What a fault can touch: the cluster, the machine of the drivers, which it spares, and the processes that were stopped. */
export type FaultScene = Pick<Scene, 'cluster' | 'home' | 'stopped'>;

/** One thing that goes wrong now. */
export type Fault = (scene: FaultScene) => void;

/** The home node lives; what cuts it off must not last as long as a node's timeout. */
const HOME_OUTAGE_MAX_MS = 2500;
const OUTAGE_MAX_MS = 9000;
const REPLACEMENT_DELAY_MAX_MS = 3000;

/** A worker is killed. */
export const killWorker: Fault = ({ cluster }) => {
  const workers = cluster.liveNodes.flatMap((node) => [...node.workers.values()]);
  if (workers.length > 0) oneOf(cluster.world.faults, workers).kill();
};

/** A daemon dies, and its workers with it. */
export const crashDaemon: Fault = (scene) => {
  victim(scene)?.process.exit(KILLED);
};

/** A machine loses its power: nobody hears that it is gone. */
export const cutPower: Fault = (scene) => {
  const node = victim(scene);
  if (!node) return;
  scene.cluster.world.network.darken(node.options.host);
  node.process.exit(KILLED);
};

const cutOff: Fault = (scene) => {
  const { cluster, home } = scene;
  const { faults, network } = cluster.world;
  const [a, b] = pair(scene);
  const isOneWay = faults.next() < 0.3;
  const outageMs = faults.next() ** 2 * (a === home.options.host || b === home.options.host ? HOME_OUTAGE_MAX_MS : OUTAGE_MAX_MS);
  network.cut(a, b);
  if (!isOneWay) network.cut(b, a);
  cluster.world.clock.after(outageMs, () => {
    network.heal(a, b);
    network.heal(b, a);
  });
};

const stickLink: Fault = (scene) => {
  const { cluster } = scene;
  const [a, b] = pair(scene);
  cluster.world.network.stick(a, b, cluster.nowMs + cluster.world.faults.next() ** 2 * HOME_OUTAGE_MAX_MS);
};

/** What is under way between two machines is lost. */
export const breakConnection: Fault = (scene) => {
  const [a, b] = pair(scene);
  scene.cluster.world.network.breakOne(({ host, peer }) => (host === a && peer.host === b) || (host === b && peer.host === a));
};

/** Between a process that holds references and the one that owns them. */
const breakBorrowing: Fault = ({ cluster }) => cluster.world.network.breakOne(({ method }) => method === 'Peer.Objects');

const repeatMessages: Fault = ({ cluster }) => {
  cluster.world.network.duplicateShare = 0.2;
};

const stopProcess: Fault = ({ cluster, home, stopped }) => {
  const { faults } = cluster.world;
  const processes = cluster.liveNodes.flatMap((node) => [node.process, ...[...node.workers.values()].map((worker) => worker.process)]);
  const process = oneOf(faults, [cluster.head.process, ...processes, ...cluster.drivers.filter((driver) => !driver.isGone).map((driver) => driver.process)]);
  const isSpared = process === home.process || process.host === home.options.host;
  const outageMs = faults.next() ** 2 * (isSpared ? HOME_OUTAGE_MAX_MS : OUTAGE_MAX_MS);
  record(cluster.world, `stop ${process.id} for ${outageMs.toFixed(1)} ms`);
  stopped.add(process);
  process.stopUntil(cluster.nowMs + outageMs);
};

/** One that copies an object to another node. */
const breakTransfer: Fault = ({ cluster }) => cluster.world.network.breakOne(({ method }) => method === 'Daemon.Pull');

/** Two machines, one of them often the head's. */
export function pair({ cluster }: FaultScene): readonly [string, string] {
  const { faults } = cluster.world;
  const hosts = cluster.liveNodes.map((node) => node.options.host);
  const a = oneOf(faults, hosts);
  const others = ['head', ...hosts.filter((host) => host !== a)];
  const b = faults.next() < 0.5 ? 'head' : oneOf(faults, others);
  return faults.next() < 0.5 ? [a, b] : [b, a];
}

/** A node that may end. */
export function victim({ cluster, home }: FaultScene): SimNode | undefined {
  const nodes = cluster.liveNodes.filter((node) => node !== home);
  return nodes.length > 0 ? oneOf(cluster.world.faults, nodes) : undefined;
}

/** Another node takes the place of one that ends, whether it crashed or was declared dead and stops. */
function replaceAtEnd(cluster: SimCluster, node: SimNode): void {
  const { clock, faults } = cluster.world;
  node.process.onExit(() => clock.after(faults.next() * REPLACEMENT_DELAY_MAX_MS, () => replaceAtEnd(cluster, cluster.replaceNode(node))));
}

interface Severity {
  readonly countMax?: number;
  /** No program may notice anything. */
  readonly isHarmless?: boolean;
}

function mixture(name: string, kinds: readonly Fault[], { countMax = 8, isHarmless = false }: Severity = {}): Faults {
  return {
    name,
    start: (scene) => {
      const { clock, faults } = scene.cluster.world;
      scene.hasFaults = !isHarmless;
      const durationMs = integer(faults, 200, 6000);
      for (const node of scene.cluster.nodes) replaceAtEnd(scene.cluster, node);
      for (let count = integer(faults, 1, countMax); count > 0; count--) clock.after(faults.next() * durationMs, () => oneOf(faults, kinds)(scene));
      return durationMs;
    },
  };
}

/** All mixtures, from none to everything. */
export const FAULTS: readonly Faults[] = [
  { name: 'none', start: () => 0 },
  mixture('workers', [killWorker], { countMax: 40 }),
  mixture('nodes', [crashDaemon, cutPower]),
  mixture('network', [cutOff, cutOff, stickLink, repeatMessages]),
  mixture('stops', [stopProcess]),
  mixture('connections', [breakConnection]),
  mixture('borrowing', [breakBorrowing], { countMax: 60, isHarmless: true }),
  mixture('transfers', [breakTransfer], { countMax: 2000, isHarmless: true }),
  mixture('all', [killWorker, killWorker, crashDaemon, cutPower, cutOff, stickLink, stopProcess, repeatMessages]),
];
