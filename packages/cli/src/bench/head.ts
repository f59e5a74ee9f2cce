/** `cluster bench head`: the head's machine by itself, among made-up nodes, in one thread. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { resourcesToMessage, type Demand, type HeadToClient } from '@muster/protocol';
import type { PlacementRequest } from '@muster/scheduler';
import { Fleet } from './fleet.js';
import { CPUS_PER_NODE, madeUpRequests, whole } from './made-up-cluster.js';
import { median, type BenchRecord } from './measure.js';

const NODES = 10_000;
const NODES_PER_TICK = 500;
const HEARTBEAT_ROUNDS = 10;
const FILLED = 0.6;
const LEASE_CYCLES = 20_000;
const LEASE_ROUNDS = 5;
const WAITING_DRIVERS = 20;
const WAITING_GROUPS = 100;
const TICK_MS = 50;
/** Five seconds: reports, of which there is one each second, are among them. */
const TICKS = 100;
const CYCLES_PER_TICK = 20;
const QUERIES = 20;
const ACTORS = 100_000;
const ACTORS_PER_BATCH = 1000;

type Report = (record: BenchRecord) => void;

const demandOf = ({ resources, labels }: PlacementRequest): Demand => ({
  resources: resourcesToMessage(resources), placement: { spread: false, labels, groupId: '', bundle: 0, capturesChildren: false }, expectedDurationMs: 0, waitForNodes: false,
});

/** Seconds that it took. */
function secondsOf(work: () => void): number {
  const startMs = performance.now();
  work();
  return (performance.now() - startMs) / 1000;
}

function registerAll(fleet: Fleet): void {
  for (let i = 0; i < NODES; i++) {
    fleet.register(i);
    if (i % NODES_PER_TICK === NODES_PER_TICK - 1) fleet.tick(TICK_MS);
  }
}

function heartbeatAll(fleet: Fleet): void {
  for (let i = 0; i < NODES; i++) fleet.heartbeat(i);
}

/** A driver that keeps as many leases of each kind as it was given: for each that it returns it gets another. */
class Turnover {
  readonly #fleet: Fleet;
  readonly #stream: number;
  /** Those that it holds, the oldest first from `#next` on. */
  readonly #leaseIds: string[] = [];
  #next = 0;

  constructor(fleet: Fleet, cpus: number) {
    this.#fleet = fleet;
    this.#stream = fleet.connectDriver('turnover', (message: HeadToClient) => {
      if (message.type === 'leaseGranted') this.#leaseIds.push(message.leaseId);
    });
    const requests = madeUpRequests();
    const cpusOfEach = requests.reduce((sum, { resources }) => sum + resources['cpu']!, 0) / whole({ cpu: 1 })['cpu']!;
    const count = Math.round(cpus / cpusOfEach);
    requests.forEach((request, index) => {
      fleet.fromClient(this.#stream, { type: 'leaseDemand', demandId: index + 1, demand: demandOf(request), count, name: 'task', preferredNodeIds: [] });
      fleet.settle();
    });
  }

  /** The oldest lease is returned and ended, and another one is granted. */
  cycle(): void {
    this.#fleet.fromClient(this.#stream, { type: 'leaseReturn', leaseId: this.#leaseIds[this.#next++]!, killWorker: false, reason: '' });
    this.#fleet.settle();
  }
}

/** Demands and groups that only empty nodes could hold. The first of them get all of those, and the others wait. */
function fillUp(fleet: Fleet): void {
  for (let i = 0; i < WAITING_DRIVERS; i++) {
    const stream = fleet.connectDriver(`waiting${i}`, () => {});
    madeUpRequests().forEach(({ resources, labels }, index) => {
      const demand = demandOf({ resources: { ...resources, ...whole({ cpu: CPUS_PER_NODE - index / 100 }) }, labels });
      fleet.fromClient(stream, { type: 'leaseDemand', demandId: index + 1, demand, count: NODES, name: 'large', preferredNodeIds: [] });
    });
    fleet.settle();
  }
  const stream = fleet.connectDriver('groups', () => {});
  for (let i = 0; i < WAITING_GROUPS; i++) {
    const bundle = demandOf({ resources: whole({ cpu: CPUS_PER_NODE, memory: i + 1 }), labels: [] });
    fleet.fromClient(stream, {
      type: 'createGroup', groupId: `pg-${i}`, name: '', bundles: Array.from({ length: 8 }, () => bundle), strategy: 'strict-spread', topology: [], waitForNodes: true,
    });
  }
}

/** In milliseconds each. Between them leases end and are granted, so that what was refused has to be looked at again. */
function ticks(fleet: Fleet, turnover: Turnover | null): number[] {
  return Array.from({ length: TICKS }, (_, i) => {
    if (i % 10 === 0) heartbeatAll(fleet);
    for (let cycle = 0; turnover !== null && cycle < CYCLES_PER_TICK; cycle++) turnover.cycle();
    return secondsOf(() => fleet.tick(TICK_MS)) * 1000;
  });
}

function reportTicks(report: Report, name: string, ms: readonly number[]): void {
  report({ name: `tick, ${name}, mean`, value: ms.reduce((sum, each) => sum + each, 0) / ms.length, unit: 'ms', better: 'lower' });
  report({ name: `tick, ${name}, longest`, value: Math.max(...ms), unit: 'ms', better: 'lower' });
}

function measureRates(report: Report): void {
  const higher = (name: string, value: number): void => report({ name, value, unit: '1/s', better: 'higher' });
  const fleet = new Fleet({ isDecoded: false });
  higher('registrations, up to 10,000 nodes', NODES / secondsOf(() => registerAll(fleet)));
  higher('heartbeats of 10,000 nodes', median(Array.from({ length: HEARTBEAT_ROUNDS }, () => NODES / secondsOf(() => heartbeatAll(fleet)))));
  reportTicks(report, '10,000 nodes', ticks(fleet, null));
  const turnover = new Turnover(fleet, NODES * CPUS_PER_NODE * FILLED);
  const cycles = (): void => { for (let i = 0; i < LEASE_CYCLES; i++) turnover.cycle(); };
  cycles();
  higher('leases granted and ended, 10,000 nodes, 50 shapes, 60% full', median(Array.from({ length: LEASE_ROUNDS }, () => LEASE_CYCLES / secondsOf(cycles))));
  reportTicks(report, '10,000 nodes, 60% full', ticks(fleet, turnover));
  fillUp(fleet);
  reportTicks(report, '10,000 nodes, 1,000 demands and 100 groups wait', ticks(fleet, turnover));
  report({ name: 'status, 10,000 nodes, 1,000 demands and 100 groups wait', value: median(Array.from({ length: QUERIES }, () => fleet.queryMs('status'))), unit: 'ms', better: 'lower' });
}

/** Bytes in use, buffers included, when all garbage is gone. */
function bytesInUse(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let i = 0; i < 3; i++) collect(); // finalizers of the first run free more
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function measureMemory(report: Report): void {
  const lower = (name: string, value: number): void => report({ name, value, unit: 'bytes', better: 'lower' });
  const fleet = new Fleet({ isDecoded: true });
  const driver = fleet.connectDriver('memory', () => {});
  const atFirst = bytesInUse();
  registerAll(fleet);
  heartbeatAll(fleet);
  fleet.tick(TICK_MS);
  const withNodes = bytesInUse();
  lower('memory of the head, each of 10,000 nodes', (withNodes - atFirst) / NODES);
  for (let i = 0; i < ACTORS; i++) {
    fleet.createActor(driver, i);
    if (i % ACTORS_PER_BATCH === ACTORS_PER_BATCH - 1) fleet.settle();
  }
  const { live } = fleet.machine.actors;
  for (const actor of live.values()) if (actor.state !== 'alive') throw new Error(`${actor.id} is ${actor.state}`);
  lower('memory of the head, each of 100,000 live actors', (bytesInUse() - withNodes) / live.size);
}

/** Measures one after the other. */
export function runHeadBench(report: Report): void {
  measureRates(report);
  measureMemory(report);
}
