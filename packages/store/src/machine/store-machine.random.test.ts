/** Random lives of a store, with faults, against a model with real bytes. `SEED=n node …` repeats one. */
import t from 'tap';
import { forEachSeed } from '@muster/base/testing';
import { PAGE_BYTES, pagesOf } from './pages.js';
import { StoreWorld, type ModelClient } from '../test-support/store-world.js';

const SEEDS = 1500;
const ROUNDS = 250;
const NODES = ['node-a', 'node-b', 'node-c', 'node-d'];
const OWNERS = ['p', 'q', 'r'];

class RandomLife {
  readonly #world: StoreWorld;
  /** Primaries that nobody freed and no fault took: they must never vanish. */
  readonly #durable = new Set<string>();
  readonly #endedOwners = new Set<string>();
  #faultUntilMs = 0;
  #objectCount = 0;

  constructor(seed: number) {
    this.#world = new StoreWorld(16 + (seed % 48), seed, 1 + (seed % 4));
  }

  run(): void {
    for (let round = 0; round < ROUNDS; round++) {
      this.#act();
      if (round % 5 === 0) this.#check();
      if (round % 60 === 59) this.#demandProgress();
    }
    this.#demandNothingLeft();
  }

  #act(): void {
    const world = this.#world;
    const client = this.#pick([...world.clients.values()].filter((candidate) => !candidate.isPeer));
    const dice = this.#below(100);
    if (!client || dice < 3) world.connect();
    else if (dice < 22) world.allocate(client, 1 + this.#below(world.totalPages >> 1), this.#pick([0, 20, 500, 100_000])!);
    else if (dice < 40) this.#seal(client);
    else if (dice < 43) this.#ifAny(client.blocks, (block) => world.returnBlock(client, block));
    else if (dice < 58) world.fetch(client, this.#someObject(), NODES.filter(() => world.random.next() < 0.4));
    else if (dice < 60) this.#ifAny([...client.fetches.keys()], (requestId) => world.cancelFetch(client, requestId));
    else if (dice < 72) this.#ifAny(client.pins, (pin) => world.release(client, pin));
    else if (dice < 76) this.#free(() => [this.#someObject(), this.#someObject()], client);
    else if (dice < 78) this.#free(() => [this.#someObject()]);
    else if (dice < 79) this.#endOwner();
    else if (dice < 81) world.disconnect(client);
    else if (dice < 84) this.#peer();
    else if (dice < 87) world.wait(this.#pick([1, 30, 1500])!);
    else this.#finishSomething();
  }

  #seal(client: ModelClient): void {
    this.#ifAny(client.blocks, (block) => {
      const objectId = this.#below(8) === 0 ? this.#someObject() : `obj-${this.#pick(OWNERS)!}-${++this.#objectCount}`;
      const room = block.sizeBytes - block.sealedBytes;
      const sizeBytes = this.#world.sizes.get(objectId) ?? this.#below(Math.min(room, 6 * PAGE_BYTES) + 1);
      if (pagesOf(sizeBytes) * PAGE_BYTES > room) return;
      this.#world.seal(client, block, objectId, sizeBytes);
      if (!this.#endedOwners.has(objectId.split('-')[1]!)) this.#durable.add(objectId);
    });
  }

  #free(choose: () => string[], client?: ModelClient): void {
    const objectIds = choose();
    for (const objectId of objectIds) this.#durable.delete(objectId);
    if (client) this.#world.free(client, objectIds, NODES.filter(() => this.#below(3) === 0));
    else this.#world.step({ type: 'peerFreed', objectIds });
  }

  #endOwner(): void {
    if (this.#endedOwners.size > 0) return;
    this.#endedOwners.add('r');
    for (const objectId of this.#durable) if (objectId.startsWith('obj-r-')) this.#durable.delete(objectId);
    this.#world.step({ type: 'ownersEnded', ownerKeys: ['r'] });
  }

  #peer(): void {
    const peers = [...this.#world.clients.values()].filter((candidate) => candidate.isPeer);
    if (peers.length > 0 && this.#below(2) === 0) return this.#ifAny(peers, (peer) => this.#world.disconnect(peer));
    const peer = this.#world.connect(this.#pick(NODES.slice(1))!);
    this.#world.fetch(peer, this.#someObject());
    if (peer.fetches.size > 0) throw new Error('a peer had to wait');
  }

  #finishSomething(): void {
    this.#ifAny(this.#world.pending, (work) => {
      const isFault = this.#below(work.type === 'pull' ? 3 : 8) === 0;
      if (isFault && work.type !== 'pull') this.#faultUntilMs = this.#world.nowMs + 1000;
      if (isFault && work.type === 'spillRead') this.#durable.clear(); // whose file it was is not the test's business
      this.#world.finish(work, isFault ? 'a fault' : null);
    });
  }

  #check(): void {
    const world = this.#world;
    world.checkAllPins();
    const listed = new Set(world.machine.list().filter((object) => object.isPrimary && !object.isFreed).map((object) => object.objectId));
    for (const objectId of this.#durable) if (!listed.has(objectId)) throw new Error(`${objectId} vanished`);
    if (world.nowMs < this.#faultUntilMs) return;
    const { waitingCount, largestFreeBytes } = world.machine.stats();
    const tooLarge = (pages: number): boolean => pages * PAGE_BYTES > largestFreeBytes;
    const objects = new Set([...world.clients.values()].flatMap((client) => [...client.fetches.values()]));
    const mayWait = [...world.clients.values()].flatMap((client) => [...client.allocations.values()]).filter(tooLarge).length
      + [...objects].filter((objectId) => tooLarge(pagesOf(world.sizes.get(objectId)!))).length;
    if (waitingCount > mayWait) throw new Error(`${waitingCount} requests wait, but only ${mayWait} are larger than the largest free run`);
  }

  /** When the faults are over and all work has ended, nobody waits for pages that could be had. */
  #demandProgress(): void {
    const world = this.#world;
    world.settle();
    world.wait(1001);
    world.settle();
    if (world.machine.stats().waitingCount === 0) return;
    const fixed = world.fixedPages();
    let longest = 0;
    let length = 0;
    for (let page = 0; page < world.totalPages; page++) {
      length = fixed.has(page) ? 0 : length + 1;
      longest = Math.max(longest, length);
    }
    for (const client of world.clients.values()) {
      for (const pages of client.allocations.values()) if (pages <= longest) throw new Error(`a block of ${pages} pages waits, but ${longest} could be had`);
    }
  }

  #demandNothingLeft(): void {
    const world = this.#world;
    for (const client of [...world.clients.values()]) world.disconnect(client);
    world.step({ type: 'peerFreed', objectIds: [...world.sizes.keys()] });
    world.settle();
    const all = world.connect(); // the whole arena must be there for one block, also what could not be committed before
    world.wait(1001);
    world.allocate(all, world.totalPages);
    world.settle();
    if (all.blocks.length !== 1) throw new Error('the arena is not whole again');
    world.disconnect(all);
    const { freeBytes, totalBytes, objectCount, largestFreeBytes, waitingCount } = world.machine.stats();
    if (freeBytes !== totalBytes || largestFreeBytes !== totalBytes) throw new Error(`of ${totalBytes} bytes only ${freeBytes} came back, ${largestFreeBytes} in one piece`);
    if (objectCount > 0 || waitingCount > 0 || world.files.size > 0) throw new Error(`${objectCount} objects, ${waitingCount} requests, ${world.files.size} files are left`);
    if (world.dropped.length > 0) throw new Error(`a client was dropped: ${world.dropped[0]}`);
  }

  #someObject(): string {
    const known = this.#world.machine.list();
    if (known.length > 0 && this.#below(4) > 0) return this.#pick(known)!.objectId;
    return `obj-${this.#pick(OWNERS)!}-${this.#below(20)}`;
  }

  #ifAny<T>(items: readonly T[], use: (item: T) => void): void {
    const item = this.#pick(items);
    if (item !== undefined) use(item);
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#below(items.length)];
  }

  #below(count: number): number {
    return Math.floor(this.#world.random.next() * count);
  }
}

t.test('random lives: pinned bytes stay, pages add up, nobody waits in vain, nothing is left', async (t) => {
  forEachSeed(SEEDS, (seed) => new RandomLife(seed).run());
  t.pass(`${SEEDS} seeds of ${ROUNDS} events`);
});

t.test('equal events give equal effects', async (t) => {
  const run = (): string => {
    const world = new StoreWorld(32, 7);
    const client = world.connect();
    for (let index = 0; index < 20; index++) world.put(client, `obj-w-${index}`, 1 + (index % 5));
    world.settle();
    return JSON.stringify(world.effects);
  };
  t.equal(run(), run());
});
