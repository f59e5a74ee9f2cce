/** A daemon's machine on a script: events with few words, and the effects by type. */
import { RESOURCE_SCALE, seededRandom } from '@muster/base';
import type { BundleRef, HeadToNode, NodeToHead } from '@muster/protocol';
import type { ProcessExit } from '../machine/death-cause.js';
import { DaemonMachine } from '../machine/daemon-machine.js';
import type { DaemonEffect, DaemonEvent } from '../machine/messages.js';

/** The node of a script. */
export interface ScriptOptions {
  readonly cpus?: number;
  /** Those that the machine numbers from {@link GPU_ID_FIRST}. */
  readonly gpus?: number;
  readonly prestart?: number;
  readonly startingMax?: number;
  readonly nodeTimeoutMs?: number;
}

/** Of scripts' GPUs: the head counts them from 0, the machine does not. */
export const GPU_ID_FIRST = 3;

/** An exit with nothing unusual about it. */
export const exitOf = (exit: Partial<ProcessExit>): ProcessExit => ({ code: null, signal: null, stderrTail: '', fatalError: '', isOomKill: false, spawnFailure: null, ...exit });

/** A machine, its clock, and the effects that were not looked at yet. */
export class MachineScript {
  readonly machine: DaemonMachine;
  /** All that were not taken, without wakes. */
  readonly effects: DaemonEffect[] = [];
  /** Of what is in the store. */
  readonly owners = new Set<string>();
  readonly #options: ScriptOptions;
  nowMs = 1000;
  #wakeAtMs = Infinity;

  constructor(options: ScriptOptions = {}) {
    this.#options = options;
    const { cpus = 2, gpus = 0, prestart = 0, startingMax = 4 } = options;
    const stats = { totalBytes: 100, freeBytes: 60, blockBytes: 0, objectBytes: 40, transitBytes: 0, heldBytes: 0, spilledBytes: 7, objectCount: 3, largestFreeBytes: 60, waitingCount: 0 };
    this.machine = new DaemonMachine({
      nodeId: 'node-a', instanceId: 'run-1', endpoint: { nodeId: 'node-a', unixPath: '/a.sock', host: '', port: 0 }, hostname: 'a', pid: 1, labels: {}, objectStoreBytes: 100,
      isHeadNode: false, resources: { cpu: cpus * RESOURCE_SCALE, gpu: gpus * RESOURCE_SCALE }, gpuIds: Array.from({ length: gpus }, (_, index) => GPU_ID_FIRST + index),
      prestartCount: prestart, startingMax, random: seededRandom(1), store: { stats: () => stats, list: () => [], owners: () => new Set(this.owners) },
    });
  }

  step(event: DaemonEvent): void {
    for (const effect of this.machine.step(event, this.nowMs)) {
      if (effect.type === 'wake') this.#wakeAtMs = effect.atMs;
      else this.effects.push(effect);
    }
  }

  /** Starts the machine and accepts its registration. */
  start(): this {
    this.step({ type: 'start' });
    this.accept();
    return this;
  }

  accept(): void {
    this.head({ type: 'nodeRegistered', clusterId: 'cluster-1', heartbeatIntervalMs: 500, nodeTimeoutMs: this.#options.nodeTimeoutMs ?? 5000, failure: null });
  }

  head(message: HeadToNode): void {
    this.step({ type: 'headMessage', message });
  }

  startLease(leaseId: string, options: { jobId?: string; actorId?: string; gpuIds?: readonly number[]; bundle?: BundleRef } = {}): void {
    const { jobId = 'job-1', actorId = '', gpuIds = [], bundle = null } = options;
    this.head({ type: 'startLease', leaseId, jobId, resources: null, actorId, name: '', gpuIds, bundle });
  }

  endLease(leaseId: string, kill = false): void {
    this.head({ type: 'endLease', leaseId, kill, reason: 'it was returned' });
  }

  /** Makes workers ready that were spawned and are not yet. */
  readyAll(): string[] {
    const ids = this.take('spawnWorker').map(({ workerId }) => workerId);
    for (const [index, workerId] of ids.entries()) {
      this.step({ type: 'workerSpawned', workerId, pid: 100 + index });
      this.step({ type: 'workerReady', workerId, endpoint: { nodeId: 'node-a', unixPath: `/${workerId}.sock`, host: '', port: 0 } });
    }
    return ids;
  }

  exit(workerId: string, exit: Partial<ProcessExit>): void {
    this.step({ type: 'workerExited', workerId, exit: exitOf(exit) });
  }

  /** Time passes, with a tick whenever the machine asked for one. */
  wait(durationMs: number): void {
    const endMs = this.nowMs + durationMs;
    while (this.#wakeAtMs <= endMs) {
      this.nowMs = Math.max(this.nowMs, this.#wakeAtMs);
      this.#wakeAtMs = Infinity;
      this.step({ type: 'tick' });
    }
    this.nowMs = endMs;
  }

  /** Removes and returns the effects of a type. */
  take<Type extends DaemonEffect['type']>(type: Type): (DaemonEffect & { readonly type: Type })[] {
    const taken = this.effects.filter((effect) => effect.type === type) as (DaemonEffect & { readonly type: Type })[];
    for (const effect of taken) this.effects.splice(this.effects.indexOf(effect), 1);
    return taken;
  }

  /** Removes and returns what was sent to the head, without heartbeats. */
  sent(): NodeToHead[] {
    return this.take('send').map(({ message }) => message).filter((message) => message.type !== 'heartbeat');
  }
}
