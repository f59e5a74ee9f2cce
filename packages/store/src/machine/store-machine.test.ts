import t from 'tap';
import { PAGE_BYTES } from './pages.js';
import { COMMIT_RETRY_MS } from './room.js';
import { FETCH_ROOM_TIMEOUT_MS } from './object-table.js';
import { contentOf, StoreWorld, type ModelClient } from '../test-support/store-world.js';
import type { StoreEffect } from './messages.js';

const placeOf = (world: StoreWorld, objectId: string): string | undefined => world.machine.list().find((object) => object.objectId === objectId)?.place;
const lastFailure = (client: ModelClient): string | undefined => client.replies.at(-1)?.failure?.code;
const lastDetails = (client: ModelClient): string => JSON.stringify(client.replies.at(-1)?.failure?.details);
const effectsOf = <Type extends StoreEffect['type']>(world: StoreWorld, type: Type) => world.effects.filter((effect) => effect.type === type) as (StoreEffect & { type: Type })[];

t.test('an object is written once and read in place by others', async (t) => {
  const world = new StoreWorld(16);
  const [writer, reader] = [world.connect(), world.connect()];
  world.put(writer, 'obj-w-1', 3);
  world.fetch(reader, 'obj-w-1');
  t.match(reader.pins, [{ objectId: 'obj-w-1', sizeBytes: 3 * PAGE_BYTES - 7 }]);
  t.equal(reader.pins[0]!.offset % PAGE_BYTES, 0);
});

t.test('a block is committed before it is handed out, and not again when it is reused', async (t) => {
  const world = new StoreWorld(16);
  const client = world.connect();
  world.allocate(client, 4);
  t.same(client.blocks, []);
  world.settle();
  const commits = effectsOf(world, 'commit').length;
  world.returnBlock(client, client.blocks[0]!);
  world.allocate(client, 4);
  t.equal(client.blocks.length, 1, 'at once');
  t.equal(effectsOf(world, 'commit').length, commits);
});

t.test('memory is committed in whole segments, and what is left of one is used', async (t) => {
  const world = new StoreWorld(64, 1, 16);
  const client = world.connect();
  world.allocate(client, 3);
  t.same(world.pending.map(({ offset, sizeBytes }) => [offset, sizeBytes]), [[0, 16 * PAGE_BYTES]]);
  world.settle();
  world.allocate(client, 13);
  t.equal(client.blocks.length, 2, 'at once');
  world.returnBlock(client, client.blocks[1]!);
  world.allocate(client, 20);
  t.same(world.pending.map(({ offset, sizeBytes }) => [offset, sizeBytes]), [[16 * PAGE_BYTES, 16 * PAGE_BYTES]], 'the free end of the warm pages is part of it');
  world.settle();
  t.equal(client.blocks.length, 2);
});

t.test('the object at the start of an open block does not leave, since its page could not be given out', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.allocate(client, 8);
  world.settle();
  const block = client.blocks[0]!;
  world.seal(client, block, 'obj-w-1', 2 * PAGE_BYTES);
  world.seal(client, block, 'obj-w-2', 6 * PAGE_BYTES);
  world.allocate(client, 8);
  t.same(effectsOf(world, 'spillWrite'), []);
  world.returnBlock(client, block);
  world.settle();
  t.equal(client.blocks.length, 1);
});

t.test('memory is committed ahead of a growing store', async (t) => {
  const world = new StoreWorld(4096, 1, 16);
  const client = world.connect();
  world.allocate(client, 400);
  world.settle();
  world.allocate(client, 400);
  t.equal(client.blocks.length, 2, 'the second block needs no wait');
});

t.test('objects are cut out of a slab, and the rest is returned', async (t) => {
  const world = new StoreWorld(16);
  const client = world.connect();
  world.allocate(client, 8);
  world.settle();
  const block = client.blocks[0]!;
  world.seal(client, block, 'obj-w-1', 100);
  world.seal(client, block, 'obj-w-2', PAGE_BYTES + 1);
  world.returnBlock(client, block);
  t.match(world.machine.stats(), { freeBytes: 13 * PAGE_BYTES, objectBytes: 3 * PAGE_BYTES, blockBytes: 0, objectCount: 2 });
  world.request(client, { type: 'returnBlock', offset: block.offset });
  t.same(world.dropped, [], 'returning it twice does no harm');
});

t.test('no two open blocks of a client start at the same offset, so that a return means one of them', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.allocate(client, 4);
  world.settle();
  const first = client.blocks[0]!;
  world.seal(client, first, 'obj-w-1', 2 * PAGE_BYTES);
  world.free(client, ['obj-w-1']);
  for (let count = 0; count < 5; count++) world.allocate(client, 1);
  world.settle();
  t.equal(client.blocks.length, 6);
  t.equal(new Set(client.blocks.map((block) => block.offset)).size, 6);
  world.allocate(client, 1);
  world.returnBlock(client, first);
  t.equal(client.blocks.length, 6, 'the page is given out when the block that started there was returned');
});

t.test('copies of other nodes\' objects leave first, the least recently used one before', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.put(client, 'obj-w-1', 2);
  for (const id of ['obj-x-1', 'obj-x-2', 'obj-x-3']) world.fetch(client, id, ['node-b'], 2 * PAGE_BYTES);
  world.settle();
  for (const id of ['obj-x-2', 'obj-x-1', 'obj-x-3']) world.release(client, client.pins.find((pin) => pin.objectId === id)!);
  world.allocate(client, 2);
  t.equal(placeOf(world, 'obj-x-2'), undefined);
  world.allocate(client, 2);
  t.equal(placeOf(world, 'obj-x-1'), undefined);
  t.equal(client.blocks.length, 2);
  t.equal(placeOf(world, 'obj-x-3'), 'memory');
  t.same(effectsOf(world, 'spillWrite'), []);
});

t.test('only what makes a long enough run leaves', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  for (const id of ['obj-x-1', 'obj-x-2', 'obj-x-3', 'obj-x-4']) world.fetch(client, id, ['node-b'], 2 * PAGE_BYTES);
  world.settle();
  for (const id of ['obj-x-1', 'obj-x-4', 'obj-x-3', 'obj-x-2']) world.release(client, client.pins.find((pin) => pin.objectId === id)!);
  world.allocate(client, 4);
  t.equal(client.blocks.length, 1);
  t.same(world.machine.list().map((object) => object.objectId), ['obj-x-1', 'obj-x-2'], '3 and 4 are next to each other; 1, the oldest, would not have helped');
});

t.test('primaries are spilled when nothing else can leave, and come back', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  for (const id of ['obj-w-1', 'obj-w-2', 'obj-w-3', 'obj-w-4']) world.put(client, id, 2);
  world.allocate(client, 3);
  t.equal(client.blocks.length, 0, 'waits for the disk');
  world.settle();
  t.equal(client.blocks.length, 1);
  t.same([placeOf(world, 'obj-w-1'), placeOf(world, 'obj-w-2'), placeOf(world, 'obj-w-3')], ['disk', 'disk', 'memory']);
  world.returnBlock(client, client.blocks[0]!);
  world.fetch(client, 'obj-w-1');
  world.settle();
  t.match(client.pins, [{ objectId: 'obj-w-1' }], 'the bytes were compared');
  world.release(client, client.pins[0]!);
  const writes = effectsOf(world, 'spillWrite').length;
  world.allocate(client, 4);
  t.equal(client.blocks.length, 1, 'what is on disk already leaves without another write');
  t.equal(effectsOf(world, 'spillWrite').length, writes);
  world.free(client, ['obj-w-1', 'obj-w-2']);
  t.equal(world.files.size, 0, 'freeing deletes the files');
});

t.test('an object stays readable while it is written to disk, and stays if it is read then', async (t) => {
  const world = new StoreWorld(4);
  const client = world.connect();
  world.put(client, 'obj-w-1', 4);
  world.allocate(client, 1);
  world.fetch(client, 'obj-w-1');
  t.equal(client.pins.length, 1);
  world.settle();
  t.equal(client.blocks.length, 0);
  world.release(client, client.pins[0]!);
  t.equal(client.blocks.length, 1, 'it leaves when it is released');
});

t.test('an allocation waits for room and is refused at its deadline, with what holds the room', async (t) => {
  const world = new StoreWorld(8);
  const [client, reader] = [world.connect(), world.connect()];
  world.put(client, 'obj-w-1', 6);
  world.fetch(reader, 'obj-w-1');
  world.allocate(client, 4, 500);
  t.match(world.effects.at(-1), { type: 'wake', atMs: 500 });
  world.wait(499);
  t.equal(client.allocations.size, 1);
  world.wait(1);
  t.equal(lastFailure(client), 'OBJECT_STORE_FULL');
  t.match(lastDetails(client), /node-a.*16 KiB.*8 KiB of 32 KiB are free.*being read hold 24 KiB/);
  world.allocate(client, 4, 500);
  world.release(reader, reader.pins[0]!);
  world.settle();
  t.equal(client.blocks.length, 1);
  world.allocate(reader, 8, 0);
  t.match(lastDetails(reader), /unfinished blocks hold 16 KiB \(most: worker-c1 with 16 KiB\)/, 'a timeout of 0 does not wait');
});

t.test('a small request behind one that cannot be served is served', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.allocate(client, 5);
  world.settle();
  world.allocate(client, 5);
  world.allocate(client, 2);
  world.settle();
  t.equal(client.blocks.length, 2);
});

t.test('more than the store could ever hold is refused at once', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.allocate(client, 9);
  t.equal(lastFailure(client), 'OBJECT_STORE_FULL');
  world.fetch(client, 'obj-x-1', ['node-b'], 9 * PAGE_BYTES);
  t.equal(lastFailure(client), 'OBJECT_STORE_FULL');
});

t.test('fetchers of one object share a pull, which goes on to the next node when one fails', async (t) => {
  const world = new StoreWorld(8);
  const [first, second] = [world.connect(), world.connect()];
  world.fetch(first, 'obj-x-1', ['node-a', 'node-b', 'node-c']);
  world.finish(world.pending[0]!);
  world.fetch(second, 'obj-x-1', ['node-c', 'node-d']);
  t.same(effectsOf(world, 'pull').map((pull) => pull.location.nodeId), ['node-b'], 'never from itself');
  world.finish(world.pending.find((work) => work.type === 'pull')!, 'node-b: it is gone');
  world.finish(world.pending.find((work) => work.type === 'pull')!, 'node-c: it is gone too');
  world.settle();
  t.same(effectsOf(world, 'pull').map((pull) => pull.location.nodeId), ['node-b', 'node-c', 'node-d']);
  t.same([first.pins.length, second.pins.length], [1, 1]);
});

t.test('an object that no node has is lost, with what was tried', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.fetch(client, 'obj-x-1', ['node-b', 'node-c']);
  world.finish(world.pending[0]!);
  world.finish(world.pending.find((work) => work.type === 'pull')!, 'node-b: connection refused');
  world.finish(world.pending.find((work) => work.type === 'pull')!, 'node-c: it does not have it');
  t.equal(lastFailure(client), 'OBJECT_LOST');
  t.match(lastDetails(client), /node-b: connection refused; node-c: it does not have it/);
  world.fetch(client, 'obj-x-2');
  t.match(lastDetails(client), /no node is known to have it/);
  world.settle();
  t.equal(world.machine.stats().freeBytes, world.machine.stats().totalBytes);
});

t.test('a pull stops when its last fetcher is gone, and its pages wait until it has', async (t) => {
  const world = new StoreWorld(8);
  const [first, second] = [world.connect(), world.connect()];
  const request = world.fetch(first, 'obj-x-1', ['node-b'], 8 * PAGE_BYTES);
  world.fetch(second, 'obj-x-1', ['node-b']);
  world.finish(world.pending[0]!);
  world.cancelFetch(first, request);
  t.same(effectsOf(world, 'cancelPull'), []);
  world.disconnect(second);
  t.equal(effectsOf(world, 'cancelPull').length, 1);
  world.fetch(first, 'obj-x-1', ['node-b']);
  t.equal(effectsOf(world, 'pull').length, 1, 'the new one waits for the pages of the old one');
  world.settle();
  t.equal(first.pins.length, 1);
});

t.test('a fetch waits for room, but not for ever', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.allocate(client, 5);
  world.settle();
  world.fetch(client, 'obj-x-1', ['node-b'], 4 * PAGE_BYTES);
  world.wait(FETCH_ROOM_TIMEOUT_MS - 1);
  t.equal(client.fetches.size, 1);
  world.wait(1);
  t.equal(lastFailure(client), 'OBJECT_STORE_FULL');
  t.equal(world.machine.stats().objectCount, 0);
});

t.test('a freed object stays for those who read it, and for nobody else', async (t) => {
  const world = new StoreWorld(8);
  const [owner, reader] = [world.connect(), world.connect()];
  world.put(owner, 'obj-w-1', 4);
  world.fetch(reader, 'obj-w-1');
  world.free(owner, ['obj-w-1']);
  world.fetch(owner, 'obj-w-1');
  t.equal(lastFailure(owner), 'OBJECT_FREED');
  world.checkAllPins();
  world.free(owner, ['obj-w-1']);
  world.release(reader, reader.pins[0]!);
  t.match(world.machine.stats(), { objectCount: 0, objectBytes: 0 });
});

t.test('an object that is freed while it is spilled, restored or pulled leaves nothing behind', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.put(client, 'obj-w-1', 6);
  world.allocate(client, 4);
  world.free(client, ['obj-w-1']);
  t.equal(world.machine.stats().objectBytes, 6 * PAGE_BYTES, 'its pages are still being written out');
  world.settle();
  t.match(world.machine.stats(), { objectBytes: 0, objectCount: 0 });
  t.equal(world.files.size, 0);

  world.returnBlock(client, client.blocks[0]!);
  world.put(client, 'obj-w-2', 6);
  world.allocate(client, 4);
  world.settle();
  world.returnBlock(client, client.blocks[0]!);
  world.fetch(client, 'obj-w-2');
  world.free(client, ['obj-w-2']);
  t.equal(lastFailure(client), 'OBJECT_FREED');
  world.settle();

  world.fetch(client, 'obj-x-1', ['node-b']);
  world.free(client, ['obj-x-1']);
  t.equal(lastFailure(client), 'OBJECT_FREED');
  world.settle();
  t.match(world.machine.stats(), { freeBytes: 8 * PAGE_BYTES, objectCount: 0 });
});

t.test('what a client held is released when its connection ends', async (t) => {
  const world = new StoreWorld(16);
  const [client, other] = [world.connect(), world.connect()];
  world.put(other, 'obj-w-1', 2);
  world.fetch(client, 'obj-w-1');
  world.fetch(client, 'obj-w-1');
  world.allocate(client, 4);
  world.settle();
  world.seal(client, client.blocks[0]!, 'obj-c-1', PAGE_BYTES);
  world.fetch(client, 'obj-x-1', ['node-b']);
  world.allocate(client, 3);
  world.allocate(client, 12);
  world.disconnect(client);
  world.settle();
  t.match(world.machine.stats(), { blockBytes: 0, heldBytes: 0, objectBytes: 3 * PAGE_BYTES, waitingCount: 0, transitBytes: 0 }, 'what it sealed stays');
});

t.test('a file that cannot be read back is a lost object, unless another node has it', async (t) => {
  const world = new StoreWorld(4);
  const client = world.connect();
  world.put(client, 'obj-w-1', 2);
  world.put(client, 'obj-w-2', 2);
  world.allocate(client, 4);
  world.settle();
  world.returnBlock(client, client.blocks[0]!);
  world.fetch(client, 'obj-w-1');
  world.finish(world.pending[0]!, 'EIO: input/output error');
  t.match(lastDetails(client), /EIO/);
  world.fetch(client, 'obj-w-2', ['node-b']);
  world.finish(world.pending[0]!, 'EIO: input/output error');
  world.settle();
  t.equal(client.pins.length, 1);
});

t.test('memory that the kernel refuses is not handed out, and asked for again later', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.allocate(client, 2, 5000);
  world.finish(world.pending[0]!, 'ENOSPC: no space left on device');
  world.allocate(client, 2, 100);
  t.same(world.pending, []);
  world.wait(100);
  t.match(lastDetails(client), /the operating system gave no memory: ENOSPC/);
  world.wait(COMMIT_RETRY_MS);
  world.settle();
  t.equal(client.blocks.length, 1);
});

t.test('frees reach the nodes that copied the object, once each', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.put(client, 'obj-w-1', 1);
  const peers = ['node-b', 'node-c'].map((nodeId) => world.connect(nodeId));
  for (const peer of peers) {
    world.fetch(peer, 'obj-w-1');
    world.disconnect(peer);
  }
  world.free(client, ['obj-w-1', 'obj-w-2'], ['node-a', 'node-c', 'node-d']);
  t.same(effectsOf(world, 'forwardFree').map(({ nodeId, location, objectIds }) => [nodeId, location?.nodeId, objectIds]), [
    ['node-c', 'node-c', ['obj-w-1', 'obj-w-2']], ['node-d', 'node-d', ['obj-w-1', 'obj-w-2']], ['node-b', undefined, ['obj-w-1']],
  ]);
  world.step({ type: 'peerFreed', objectIds: ['obj-w-1'] });
  t.equal(effectsOf(world, 'forwardFree').length, 3, 'a second free goes nowhere');
});

t.test('peers read memory or disk at once, and never wait', async (t) => {
  const world = new StoreWorld(4);
  const client = world.connect();
  world.put(client, 'obj-w-1', 3);
  const peer = world.connect('node-b');
  world.fetch(peer, 'obj-w-1');
  t.equal(peer.pins.length, 1);
  world.disconnect(peer);
  world.allocate(client, 4);
  world.settle();
  const second = world.connect('node-b');
  world.fetch(second, 'obj-w-1');
  t.match(world.effects.at(-1), { type: 'serveFile', sizeBytes: contentOf('obj-w-1', 3 * PAGE_BYTES - 7).length });
  world.fetch(second, 'obj-x-1', ['node-c']);
  t.equal(lastFailure(second), 'OBJECT_LOST');
});

t.test('the objects of an owner that ended are freed, also those sealed after it', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.put(client, 'obj-dead-1', 1);
  world.put(client, 'obj-alive-1', 1);
  world.allocate(client, 2);
  world.settle();
  world.step({ type: 'ownersEnded', ownerKeys: ['dead'] });
  world.seal(client, client.blocks[0]!, 'obj-dead-2', PAGE_BYTES);
  t.same(world.machine.list().map((object) => object.objectId), ['obj-alive-1']);
  world.fetch(client, 'obj-dead-1', ['node-b']);
  t.equal(lastFailure(client), 'OWNER_DIED', 'nobody is sent to look for them elsewhere');
});

t.test('the store tells whose objects it holds', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  for (const objectId of ['obj-a-1', 'obj-b-w.1', 'obj-a-2']) world.put(client, objectId, 1);
  t.same([...world.machine.owners()], ['a', 'b']);
  world.step({ type: 'ownersEnded', ownerKeys: ['a'] });
  t.same([...world.machine.owners()], ['b']);
});

t.test('an object that is made a second time stays as readers have seen it', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.put(client, 'obj-w-1', 2);
  world.fetch(client, 'obj-w-1');
  world.free(client, ['obj-w-1']);
  world.put(client, 'obj-w-1', 2);
  world.fetch(client, 'obj-w-1');
  t.equal(client.pins[0]!.offset, client.pins[1]!.offset);
  t.equal(world.machine.stats().objectBytes, 2 * PAGE_BYTES);
});

t.test('an object that is made here while it is pulled is delivered at once', async (t) => {
  const world = new StoreWorld(8);
  const [client, reader] = [world.connect(), world.connect()];
  world.allocate(client, 2);
  world.settle();
  world.fetch(reader, 'obj-w-1', ['node-b'], 2 * PAGE_BYTES);
  world.finish(world.pending[0]!);
  world.seal(client, client.blocks[0]!, 'obj-w-1', 2 * PAGE_BYTES);
  t.equal(reader.pins.length, 1);
  world.settle();
  world.checkAllPins();
  t.match(world.machine.list(), [{ isPrimary: true }]);
});

t.test('a client that breaks a rule is dropped, and only that client', async (t) => {
  const world = new StoreWorld(8);
  const other = world.connect();
  world.put(other, 'obj-w-1', 2);
  const breakRule = (request: Parameters<StoreWorld['request']>[1]): string => {
    const client = world.connect();
    world.allocate(client, 2);
    world.settle();
    world.request(client, request);
    world.request(client, { type: 'release', objectId: 'obj-w-1' }); // means nothing any more
    return world.dropped.at(-1)!;
  };
  t.match(breakRule({ type: 'seal', objectId: 'obj-c-1', offset: 0, sizeBytes: 10 }), /sealed 10 bytes at 0, which is not inside of a block of its own/);
  t.match(breakRule({ type: 'seal', objectId: 'obj-c-1', offset: 2 * PAGE_BYTES + 64, sizeBytes: 10 }), /at a page's start/);
  t.match(breakRule({ type: 'seal', objectId: 'obj-c-1', offset: 2 * PAGE_BYTES, sizeBytes: 3 * PAGE_BYTES }), /sealed/);
  t.match(breakRule({ type: 'release', objectId: 'obj-w-1' }), /released obj-w-1, which it had not fetched/);
  t.match(world.machine.stats(), { blockBytes: 0, objectBytes: 2 * PAGE_BYTES });
  world.fetch(other, 'obj-w-1');
  t.equal(other.pins.length, 1);
});
