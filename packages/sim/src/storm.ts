/**
 * What goes wrong in a scenario file, and when: each kind of fault strikes at random, so many times a minute in the whole cluster, until all is healed.
 * All of it is drawn from the run's seed.
 */
import { oneOf } from './cluster.js';
import { breakConnection, crashDaemon, cutPower, killWorker, pair, victim, type Fault, type FaultScene } from './faults.js';
import type { Range } from './network.js';
import type { Fields } from './scenario-file/fields.js';
import type { SimNode } from './sim-node.js';
import { record } from './world.js';

/** Kinds that strike so many times a minute. */
const KINDS = ['drop', 'delay', 'clog', 'partition', 'crash', 'worker-crash', 'restart', 'pause', 'full-disk', 'slow-node', 'drain'] as const;
export type FaultKind = (typeof KINDS)[number];

/** A scenario's `[faults]`. */
export interface StormPlan {
  /** When all is healed, after the beginning. */
  readonly untilMs: number;
  /** A minute, in the whole cluster. */
  readonly rates: Readonly<Record<FaultKind, number>>;
  /** How long what does not last for ever lasts. */
  readonly outageMs: Range;
  /** After a node's crash, until another one takes its place. */
  readonly restartAfterMs: Range;
  /** The share of partitions that let one direction through. */
  readonly asymmetricShare: number;
  /** The share of messages between head and nodes that arrive twice. */
  readonly duplicateShare: number;
  /** How much later messages of a delayed link arrive. */
  readonly delayMs: Range;
  /** How many times slower slow nodes are. */
  readonly slowness: number;
  readonly clockSkewMaxMs: number;
}

const PER_MINUTE_MAX = 100_000;

/** Reads `[faults]`. @throws MusterError INVALID_ARGUMENT */
export function readStorm(fields: Fields): StormPlan {
  const rates = Object.fromEntries(KINDS.map((kind) => [kind, fields.number(kind, { min: 0, max: PER_MINUTE_MAX }, 0)]));
  const plan: StormPlan = {
    untilMs: fields.durationMs('until'), rates: rates as StormPlan['rates'],
    outageMs: fields.durationRangeMs('outage', '500ms..5s'), restartAfterMs: fields.durationRangeMs('restart-after', '1s..10s'),
    asymmetricShare: fields.number('asymmetric', { min: 0, max: 1 }, 0.3), duplicateShare: fields.number('duplicate', { min: 0, max: 1 }, 0),
    delayMs: fields.durationRangeMs('delay-by', '50ms..500ms'), slowness: fields.number('slow-node-factor', { min: 1, max: 1000 }, 5),
    clockSkewMaxMs: fields.durationMs('clock-skew', '0ms'),
  };
  fields.end();
  return plan;
}

/** Faults that are under way, and how they end. */
export class Storm {
  /** How often each kind struck. */
  readonly counts: Partial<Record<FaultKind, number>> = {};
  readonly #plan: StormPlan;
  readonly #scene: FaultScene;
  readonly #untilMs: number;
  /** What heals the faults that last. */
  readonly #remedies = new Set<() => void>();

  /** Begins at once. */
  constructor(plan: StormPlan, scene: FaultScene) {
    this.#plan = plan;
    this.#scene = scene;
    this.#untilMs = scene.cluster.nowMs + plan.untilMs;
    scene.cluster.world.network.duplicateShare = plan.duplicateShare;
    for (const node of scene.cluster.nodes) if (node !== scene.home) this.#replaceAtEnd(node);
    for (const kind of KINDS) this.#strikeLater(kind);
  }

  /** Heals everything. Nothing goes wrong any more. */
  heal(): void {
    const { cluster, stopped } = this.#scene;
    for (const remedy of [...this.#remedies]) remedy();
    cluster.world.network.healAll();
    for (const process of stopped) process.resume();
  }

  #strikeLater(kind: FaultKind): void {
    const { clock, faults } = this.#scene.cluster.world;
    const rate = this.#plan.rates[kind];
    if (rate === 0) return;
    const delayMs = (-60_000 / rate) * Math.log(1 - faults.next());
    if (clock.nowMs() + delayMs >= this.#untilMs) return;
    clock.after(delayMs, () => {
      this.counts[kind] = (this.counts[kind] ?? 0) + 1;
      record(this.#scene.cluster.world, `fault: ${kind}`);
      this.#faults[kind](this.#scene);
      this.#strikeLater(kind);
    });
  }

  readonly #faults: Readonly<Record<FaultKind, Fault>> = {
    drop: breakConnection,
    delay: (scene) => this.#onLink(scene, (from, to, untilMs) => scene.cluster.world.network.slow(from, to, { extraMs: this.#between(this.#plan.delayMs), untilMs })),
    clog: (scene) => this.#onLink(scene, (from, to, untilMs) => scene.cluster.world.network.stick(from, to, untilMs)),
    partition: (scene) => this.#partition(scene),
    crash: (scene) => (scene.cluster.world.faults.next() < 0.5 ? crashDaemon : cutPower)(scene),
    'worker-crash': killWorker,
    restart: (scene) => victim(scene)?.process.exit({ code: 0, signal: null }),
    pause: ({ cluster, home, stopped }) => {
      const nodes = cluster.liveNodes.filter((node) => node !== home);
      const process = oneOf(cluster.world.faults, [cluster.head.process, ...nodes.flatMap((node) => [node.process, ...[...node.workers.values()].map((worker) => worker.process)])]);
      stopped.add(process);
      process.stopUntil(cluster.nowMs + this.#between(this.#plan.outageMs));
    },
    'full-disk': (scene) => this.#onNode(scene, (node) => {
      node.store.isDiskFull = true;
      return () => { node.store.isDiskFull = false; };
    }),
    'slow-node': (scene) => this.#onNode(scene, (node) => {
      node.slowness = this.#plan.slowness;
      return () => { node.slowness = 1; };
    }),
    drain: (scene) => this.#onNode(scene, (node) => {
      const { head } = scene.cluster;
      head.query('drain', { id: node.id });
      return () => head.query('drain', { id: node.id, undo: 'true' });
    }),
  };

  #between([min, max]: Range): number {
    return min + this.#scene.cluster.world.faults.next() * (max - min);
  }

  #onLink(scene: FaultScene, strike: (from: string, to: string, untilMs: number) => void): void {
    const [from, to] = pair(scene);
    strike(from, to, scene.cluster.nowMs + this.#between(this.#plan.outageMs));
  }

  #partition(scene: FaultScene): void {
    const { network, faults } = scene.cluster.world;
    const [a, b] = pair(scene);
    const isOneWay = faults.next() < this.#plan.asymmetricShare;
    network.cut(a, b);
    if (!isOneWay) network.cut(b, a);
    this.#endLater(() => {
      network.heal(a, b);
      network.heal(b, a);
    });
  }

  /** Does something to a node that lasts for a while. */
  #onNode(scene: FaultScene, strike: (node: SimNode) => () => void): void {
    const node = victim(scene);
    if (node) this.#endLater(strike(node));
  }

  #endLater(remedy: () => void): void {
    const once = (): void => { if (this.#remedies.delete(once)) remedy(); };
    this.#remedies.add(once);
    this.#scene.cluster.world.clock.after(this.#between(this.#plan.outageMs), once);
  }

  /** Another node takes the place of one that ends, for whatever reason. */
  #replaceAtEnd(node: SimNode): void {
    const { cluster } = this.#scene;
    node.process.onExit(() => cluster.world.clock.after(this.#between(this.#plan.restartAfterMs), () => this.#replaceAtEnd(cluster.replaceNode(node))));
  }
}
