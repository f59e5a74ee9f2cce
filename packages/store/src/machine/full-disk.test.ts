/** A store whose disk takes nothing more. */
import t from 'tap';
import { StoreWorld, type ModelClient } from '../test-support/store-world.js';
import { FETCH_DISK_FAILURE_MS, FETCH_ROOM_TIMEOUT_MS } from './object-table.js';
import { SPILL_RETRY_MS } from './room.js';

const placeOf = (world: StoreWorld, objectId: string): string | undefined => world.machine.list().find((object) => object.objectId === objectId)?.place;
const lastFailure = (client: ModelClient): string | undefined => client.replies.at(-1)?.failure?.code;
const lastDetails = (client: ModelClient): string => JSON.stringify(client.replies.at(-1)?.failure?.details);

t.test('a full disk is reported, and tried again later', async (t) => {
  const world = new StoreWorld(4);
  const client = world.connect();
  world.put(client, 'obj-w-1', 4);
  world.allocate(client, 2, 500);
  world.finish(world.pending[0]!, 'ENOSPC: no space left on device');
  t.same(world.pending, [], 'not at once again');
  world.wait(500);
  t.match(lastDetails(client), /spilling to disk failed: ENOSPC/);
  t.equal(placeOf(world, 'obj-w-1'), 'memory');
  world.allocate(client, 2, 60_000);
  world.wait(SPILL_RETRY_MS);
  world.settle();
  t.equal(client.blocks.length, 1);
});

/** obj-w-1 on a disk that takes no more, and obj-w-2, which fills the memory. */
function fullStore(): { world: StoreWorld; client: ModelClient } {
  const world = new StoreWorld(4);
  const client = world.connect();
  world.put(client, 'obj-w-1', 4);
  world.put(client, 'obj-w-2', 4);
  t.same([placeOf(world, 'obj-w-1'), placeOf(world, 'obj-w-2')], ['disk', 'memory']);
  return { world, client };
}

/** Lets every write fail for that long. */
function failDisk(world: StoreWorld, durationMs: number): void {
  for (const endMs = world.nowMs + durationMs; world.nowMs < endMs; world.wait(500)) {
    for (const work of world.pending) if (work.type === 'spillWrite') world.finish(work, 'ENOSPC: no space left on device');
  }
}

t.test('with memory and disk full a fetch fails soon, and says what holds the room; the object stays', async (t) => {
  const { world, client } = fullStore();
  world.fetch(client, 'obj-w-1');
  failDisk(world, FETCH_DISK_FAILURE_MS - 500);
  t.equal(client.fetches.size, 1, 'somebody may free something meanwhile');
  failDisk(world, 1000);
  t.equal(lastFailure(client), 'OBJECT_STORE_FULL');
  t.match(lastDetails(client), /objects that nobody reads hold 16 KiB; 16 KiB are on disk; spilling to disk failed: ENOSPC/);
  t.equal(placeOf(world, 'obj-w-1'), 'disk');
  failDisk(world, 60_000);
  world.fetch(client, 'obj-w-1');
  world.free(client, ['obj-w-2']);
  world.settle();
  t.match(client.pins, [{ objectId: 'obj-w-1' }], 'room that comes about in time is used');
});

t.test('a disk that takes something again ends the short patience', async (t) => {
  const { world, client } = fullStore();
  world.fetch(client, 'obj-w-1');
  failDisk(world, FETCH_DISK_FAILURE_MS - 2000);
  world.wait(SPILL_RETRY_MS);
  world.settle();
  t.match(client.pins, [{ objectId: 'obj-w-1' }]);
  world.fetch(client, 'obj-w-2');
  world.wait(FETCH_ROOM_TIMEOUT_MS - 1);
  t.equal(client.fetches.size, 1, 'what a reader holds is waited for');
});

t.test('a full disk gives up the copies of what is read in memory', async (t) => {
  const world = new StoreWorld(8);
  const client = world.connect();
  world.put(client, 'obj-w-1', 4);
  world.put(client, 'obj-w-2', 8);
  world.settle();
  world.fetch(client, 'obj-w-1');
  world.settle();
  t.same([placeOf(world, 'obj-w-1'), placeOf(world, 'obj-w-2'), world.files.size], ['memory', 'disk', 2]);
  world.put(client, 'obj-w-3', 4);
  world.allocate(client, 4);
  failDisk(world, 500);
  t.equal(world.files.size, 1, 'there is room on the disk now');
  world.wait(SPILL_RETRY_MS);
  world.settle();
  t.equal(client.blocks.length, 1);
  t.same([placeOf(world, 'obj-w-1'), placeOf(world, 'obj-w-3')], ['memory', 'disk']);
});
