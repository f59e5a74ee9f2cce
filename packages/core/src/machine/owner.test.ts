/** The owner's machine and its clock. What it does over a network is played by @muster/sim. */
import { makeError, type ProcessId } from '@muster/base';
import type { Demand } from '@muster/protocol';
import t from 'tap';
import { Owner } from './owner.js';
import { OWNER_TICK_MS } from './patience.js';
import type { OwnerPorts } from './ports.js';

/** A process that is connected to nothing, and owns nothing yet. */
function idleOwner(): { owner: Owner; startCount: () => number; turn: () => void; said: boolean[] } {
  const deferred: (() => void)[] = [];
  const said: boolean[] = [];
  let startCount = 0;
  const ports: Partial<OwnerPorts> = {
    nowMs: () => 0, random: () => 0, toHead: () => undefined, needed: (isNeeded) => void said.push(isNeeded), watchCollection: () => undefined,
    startTicks: () => { startCount++; },
    defer: (callback) => void deferred.push(callback),
    openLine: () => ({ send: () => true, close: () => undefined }),
  };
  const self = { processId: 'd-1' as ProcessId, endpoint: { nodeId: 'n-1', unixPath: '', host: '', port: 0 } };
  const owner = new Owner(self, ports as OwnerPorts, () => { throw new Error('takes primitives only'); });
  return { owner, said, startCount: () => startCount, turn: () => { for (const callback of deferred.splice(0)) callback(); } };
}

const DEMAND = { resources: { amounts: { cpu: 1 } } } as unknown as Demand;

t.test('an owner asks for ticks while something is under way, and for none when it has nothing left', async (t) => {
  const { owner, startCount, turn } = idleOwner();
  t.equal(startCount(), 0, 'not at first');
  const spec = owner.taskSpec(owner.defineFunction('f', new Uint8Array(0)), DEMAND, { name: 'f', retries: 0, retryOn: null, timeoutMs: 0, streaming: false });
  const refs = [owner.submit(spec, [1]), owner.submit(spec, [2])];
  turn();
  t.equal(startCount(), 1, 'once, with the first task');
  t.ok(owner.tick(OWNER_TICK_MS), 'they wait for a lease');
  for (const ref of refs) owner.cancel(ref, { force: false });
  turn();
  t.notOk(owner.tick(2 * OWNER_TICK_MS), 'nothing is under way');

  owner.submit(spec, [3]);
  turn();
  t.equal(startCount(), 2, 'and again with the next one');
});

t.test('an owner ticks as long as it holds a lease, which it gives back when that is idle', async (t) => {
  const { owner, startCount } = idleOwner();
  const spec = owner.taskSpec(owner.defineFunction('f', new Uint8Array(0)), DEMAND, { name: 'f', retries: 0, retryOn: null, timeoutMs: 0, streaming: false });
  owner.dispatcher.granted({ demandId: (spec.queue as unknown as { id: number }).id, leaseId: 'l-1', workerId: 'w-1', endpoint: owner.self.endpoint } as Parameters<Owner['dispatcher']['granted']>[0]);
  t.equal(startCount(), 1);
  t.ok(owner.tick(OWNER_TICK_MS), 'it may be needed again soon');
  t.notOk(owner.tick(60_000), 'it was not, and is gone');
  t.notOk(owner.dispatcher.hasLeases);
});

t.test('a borrower that does not come back in time leaves an owner with nothing, which is said in that tick', async (t) => {
  const { owner, said, turn } = idleOwner();
  const spec = owner.taskSpec(owner.defineFunction('f', new Uint8Array(0)), DEMAND, { name: 'f', retries: 0, retryOn: null, timeoutMs: 0, streaming: false });
  const ref = owner.submit(spec, [1]);
  turn();
  owner.objects.sendingRefs([ref]);
  const stream = { send: () => true, end: () => undefined, destroy: () => undefined } as unknown as Parameters<typeof owner.lending.serve>[0];
  owner.lending.serve(stream);
  stream.onMessage!({ type: 'borrowerHello', processId: 'w-2', nodeId: 'n-2', connection: 1, objectIds: [ref.id], requestId: 1 });
  owner.objects.sentRefs([ref]);
  owner.cancel(ref, { force: false });
  turn();
  t.notOk(owner.tick(OWNER_TICK_MS), 'a borrower holds what it borrowed without any clock');
  t.same(said, [true]);
  stream.onEnd!(makeError('CONNECTION', { what: 'w-2', cause: 'it broke' }));
  t.ok(owner.tick(2 * OWNER_TICK_MS), 'it may come back');
  t.notOk(owner.tick(600_000));
  t.same(said, [true, false], 'an idle worker may be ended now');
});
