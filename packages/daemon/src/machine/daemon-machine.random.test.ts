/**
 * Random lives of a daemon under a head that forgets nothing but whose connection breaks, loses its last messages and repeats others.
 * `SEED=n node …` repeats one.
 */
import t from 'tap';
import { forEachSeed } from '@muster/base/testing';
import { makeError, seededRandom } from '@muster/base';
import type { BundleRef, NodeToHead, WorkerCommand } from '@muster/protocol';
import { GPU_ID_FIRST, MachineScript } from '../test-support/machine-script.js';

const SEEDS = 1000;
const ROUNDS = 200;
const GPUS = 2;

/** A lease as the head sees it. */
interface HeadLease {
  readonly jobId: string;
  readonly actorId: string;
  readonly gpuIds: readonly number[];
  readonly bundle: BundleRef | null;
  wants: 'start' | 'end' | 'kill';
  state: 'asked' | 'running' | 'over';
  workerId: string;
}

/** The bundles of a group as the head sees them. */
interface HeadShare {
  readonly groupId: string;
  readonly epoch: number;
  wants: 'prepare' | 'commit' | 'return';
  isReturned: boolean;
}

class RandomLife {
  readonly #random;
  readonly #script: MachineScript;
  readonly #leases = new Map<string, HeadLease>();
  readonly #shares: HeadShare[] = [];
  /** Workers by what the operating system knows of them. */
  readonly #starting = new Set<string>();
  readonly #alive = new Set<string>();
  readonly #dying = new Set<string>();
  /** What each worker was given first. */
  readonly #gpusOf = new Map<string, string>();
  #isConnected = true;
  #isAttempting = false;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    this.#script = new MachineScript({ cpus: 2, gpus: GPUS, prestart: seed % 3, startingMax: 2, nodeTimeoutMs: 1e9 }).start();
  }

  run(): void {
    for (let round = 0; round < ROUNDS; round++) {
      this.#act();
      this.#observe();
      if (!this.#isConnected && this.#isAttempting && this.#below(3) === 0) this.#reconnect();
      this.#check();
    }
    this.#settle();
    this.#shutDown();
  }

  #act(): void {
    const dice = this.#below(100);
    if (dice < 18) this.#startLease();
    else if (dice < 22) this.#actOnBundles();
    else if (dice < 36) this.#ifAny([...this.#leases.keys()], (id) => this.#endLease(id));
    else if (dice < 42) this.#ifAny([...this.#leases.keys()], (id) => this.#ask(id)); // a repeated request
    else if (dice < 64) this.#ifAny([...this.#starting], (id) => this.#ready(id));
    else if (dice < 74) this.#ifAny([...this.#dying], (id) => this.#exit(id));
    else if (dice < 80) this.#ifAny([...this.#alive, ...this.#starting], (id) => this.#exit(id));
    else if (dice < 83) this.#ifAny([...this.#alive], (workerId) => this.#script.step({ type: 'workerDisconnected', workerId }));
    else if (dice < 86 && this.#isConnected) this.#endJob();
    else if (dice < 90) this.#breakConnection();
    else this.#script.wait(this.#below(3) === 0 ? 3000 : 50);
  }

  #startLease(): void {
    const gpuIds = [[], [], [0], [1], [0, 1]][this.#below(5)]!; // in parts, for all that the daemon knows
    const committed = this.#shares.filter(({ wants }) => wants === 'commit');
    const home = committed.length > 0 && this.#below(2) === 0 ? committed[this.#below(committed.length)]! : null;
    const bundle = home && { groupId: home.groupId, epoch: home.epoch, index: 0, capturesChildren: false };
    const id = `lease-${this.#leases.size}`;
    const actorId = this.#below(4) === 0 ? `actor-${id}` : '';
    this.#leases.set(id, { jobId: `job-${this.#below(2)}`, actorId, gpuIds, bundle, wants: 'start', state: 'asked', workerId: '' });
    this.#ask(id);
  }

  /** The head commits what was prepared, and returns it, at any time; it does so for good. */
  #actOnBundles(): void {
    const open = this.#shares.filter(({ wants }) => wants !== 'return');
    const share = open[this.#below(open.length + 1)];
    if (!share) {
      this.#shares.push({ groupId: 'pg-1', epoch: this.#shares.length, wants: 'prepare', isReturned: false });
      return this.#askShare(this.#shares.at(-1)!);
    }
    if (share.wants === 'commit' || this.#below(3) === 0) share.wants = 'return';
    this.#askShare(share);
  }

  #askShare({ groupId, epoch, wants }: HeadShare): void {
    if (!this.#isConnected) return;
    if (wants === 'prepare') this.#script.head({ type: 'prepareBundles', groupId, epoch, bundles: [{ index: 0, gpuIds: [] }], commit: false });
    else if (wants === 'commit') this.#script.head({ type: 'commitBundles', groupId, epoch });
    else this.#script.head({ type: 'returnBundles', groupId, epoch, reason: 'it was removed' });
  }

  #endLease(id: string): void {
    const lease = this.#leases.get(id)!;
    if (lease.wants === 'start') lease.wants = this.#below(2) === 0 ? 'end' : 'kill';
    this.#ask(id);
  }

  #ask(id: string): void {
    const { jobId, actorId, gpuIds, bundle, wants } = this.#leases.get(id)!;
    if (!this.#isConnected) return;
    if (wants === 'start') this.#script.startLease(id, { jobId, actorId, gpuIds, ...(bundle && { bundle }) });
    else this.#script.endLease(id, wants === 'kill');
  }

  #endJob(): void {
    const jobId = `job-${this.#below(2)}`;
    this.#script.head({ type: 'endJobOnNode', jobId, ownerIds: [] });
  }

  #ready(workerId: string): void {
    this.#starting.delete(workerId);
    this.#alive.add(workerId);
    this.#script.step({ type: 'workerReady', workerId, endpoint: { nodeId: 'node-a', unixPath: `/${workerId}.sock`, host: '', port: 0 } });
  }

  #exit(workerId: string): void {
    for (const set of [this.#starting, this.#alive, this.#dying]) set.delete(workerId);
    this.#script.exit(workerId, { signal: 'SIGKILL' });
  }

  #breakConnection(): void {
    if (!this.#isConnected) return;
    this.#isConnected = this.#isAttempting = false;
    const lost = this.#below(4); // messages that were on their way
    const sends = this.#script.effects.filter((effect) => effect.type === 'send').slice(-lost);
    if (lost > 0) for (const send of sends) this.#script.effects.splice(this.#script.effects.indexOf(send), 1);
    this.#script.step({ type: 'headEnded', failure: makeError('CONNECTION', { what: 'the head', cause: 'the test broke it' }) });
  }

  #reconnect(): void {
    this.#isConnected = true;
    this.#isAttempting = false;
    this.#script.accept();
    for (const share of this.#shares) if (!share.isReturned) this.#askShare(share);
    for (const [id, lease] of this.#leases) if (lease.state !== 'over') this.#ask(id);
    this.#observe();
  }

  #observe(): void {
    for (const effect of this.#script.effects.splice(0)) {
      switch (effect.type) {
        case 'spawnWorker': this.#starting.add(effect.workerId); break;
        case 'killWorker':
          if (!this.#starting.delete(effect.workerId) && !this.#alive.delete(effect.workerId)) throw new Error(`${effect.workerId} is killed but does not live`);
          this.#dying.add(effect.workerId);
          break;
        case 'commandWorker': this.#commanded(effect.workerId, effect.command); break;
        case 'connectHead': this.#isAttempting = true; break;
        case 'disconnectHead': this.#isAttempting = false; break;
        case 'send': this.#hear(effect.message); break;
        case 'stop': throw new Error(`the node stopped: ${effect.reason}`);
      }
    }
  }

  #commanded(workerId: string, { leaseId, gpuIds }: WorkerCommand): void {
    const got = gpuIds.join();
    const had = this.#gpusOf.get(workerId) ?? got;
    this.#gpusOf.set(workerId, had);
    if (got !== this.#leases.get(leaseId)!.gpuIds.map((index) => GPU_ID_FIRST + index).join()) throw new Error(`${leaseId} got the GPUs ${got}`);
    if (got !== had) throw new Error(`${workerId}, which had the GPUs ${had}, was given ${got}`);
  }

  #hear(message: NodeToHead): void {
    if (message.type === 'bundlesPrepared' || message.type === 'bundlesReturned') return this.#hearOfBundles(message);
    if (message.type === 'leaseStarted') {
      const lease = this.#leases.get(message.leaseId)!;
      if (lease.state === 'over') throw new Error(`${message.leaseId} started after its end`);
      if (lease.state === 'running' && lease.workerId !== message.workerId) throw new Error(`${message.leaseId} has changed its worker`);
      Object.assign(lease, { state: 'running', workerId: message.workerId });
    } else if (message.type === 'leaseEnded' || message.type === 'leaseFailed') {
      const lease = this.#leases.get(message.leaseId)!;
      lease.state = 'over';
    }
  }

  #hearOfBundles(message: NodeToHead & { readonly type: 'bundlesPrepared' | 'bundlesReturned' }): void {
    const share = this.#shares.find(({ epoch }) => epoch === message.epoch)!;
    if (message.type === 'bundlesReturned') {
      if (share.wants !== 'return') throw new Error(`the bundles of epoch ${share.epoch} were returned, though the head wants to ${share.wants} them`);
      share.isReturned = true;
      for (const [id, { bundle, state }] of this.#leases) if (bundle?.epoch === share.epoch && state === 'running') throw new Error(`${id} outlives its bundle`);
    } else if (share.wants === 'prepare') {
      share.wants = 'commit';
      this.#askShare(share);
    }
  }

  #check(): void {
    if (!this.#isConnected) return; // what the head believes is old
    const holders = new Map<string, string>();
    for (const [id, lease] of this.#leases) {
      if (lease.state !== 'running') continue;
      if (holders.has(lease.workerId)) throw new Error(`${lease.workerId} serves ${holders.get(lease.workerId)} and ${id}`);
      holders.set(lease.workerId, id);
    }
  }

  /** The faults are over: what the head wants comes true. */
  #settle(): void {
    for (let round = 0; round < 60; round++) {
      this.#script.wait(500);
      this.#observe();
      if (!this.#isConnected && this.#isAttempting) this.#reconnect();
      for (const workerId of [...this.#starting]) this.#ready(workerId);
      for (const workerId of [...this.#dying]) this.#exit(workerId);
      this.#observe();
    }
    for (const { epoch, wants, isReturned } of this.#shares) {
      if (wants === 'prepare' || (wants === 'return' && !isReturned)) throw new Error(`the head wants to ${wants} the bundles of epoch ${epoch}, and nothing has come of it`);
    }
    for (const [id, lease] of this.#leases) {
      const isRight = lease.wants === 'start' ? lease.state !== 'asked' : lease.state === 'over';
      if (!isRight) throw new Error(`the head wants to ${lease.wants} ${id}, but it is ${lease.state}`);
      if (lease.state === 'running' && !this.#alive.has(lease.workerId)) throw new Error(`${id} runs on the dead ${lease.workerId}`);
    }
  }

  #shutDown(): void {
    this.#script.step({ type: 'shutdown', reason: 'the test is over' });
    for (const workerId of [...this.#alive, ...this.#starting, ...this.#dying]) this.#script.exit(workerId, { signal: 'SIGKILL' });
    if (this.#script.take('stop').length !== 1) throw new Error('it did not stop');
  }

  #ifAny<T>(items: readonly T[], use: (item: T) => void): void {
    if (items.length > 0) use(items[this.#below(items.length)]!);
  }

  #below(count: number): number {
    return Math.floor(this.#random.next() * count);
  }
}

t.test('random lives: one worker a lease with the GPUs it was given, and in the end the head has what it wants', async (t) => {
  forEachSeed(SEEDS, (seed) => new RandomLife(seed).run());
  t.pass(`${SEEDS} seeds of ${ROUNDS} events`);
});
