/** The owner's machine and its clock. What it does over a network is played by @muster/sim. */
import { makeError, type ProcessId } from '@muster/base';
import type { ClientToHead, Demand } from '@muster/protocol';
import t from 'tap';
import type { TaskQueue } from './dispatcher.js';
import type { LineHandlers } from './line.js';
import { Owner } from './owner.js';
import { OWNER_TICK_MS } from './patience.js';
import type { OwnerPorts } from './ports.js';
import { RefState } from './reference.js';
import type { TaskSpec } from './task-spec.js';

/** A process that is connected to nothing, and owns nothing yet. */
function idleOwner(): { owner: Owner; startCount: () => number; turn: () => void; said: boolean[]; toHead: ClientToHead[]; lines: LineHandlers[] } {
  const deferred: (() => void)[] = [];
  const said: boolean[] = [];
  const toHead: ClientToHead[] = [];
  const lines: LineHandlers[] = [];
  let startCount = 0;
  const ports: Partial<OwnerPorts> = {
    nowMs: () => 0, random: () => 0, toHead: (message) => void toHead.push(message), needed: (isNeeded) => void said.push(isNeeded), watchCollection: () => undefined,
    startTicks: () => { startCount++; },
    defer: (callback) => void deferred.push(callback),
    openLine: (_target, handlers) => {
      lines.push(handlers);
      return { send: () => true, close: () => undefined };
    },
  };
  const self = { processId: 'd-1' as ProcessId, endpoint: { nodeId: 'n-1', unixPath: '', host: '', port: 0 }, nodeTimeoutMs: 5000 };
  const owner = new Owner(self, ports as OwnerPorts, () => { throw new Error('takes primitives only'); });
  return { owner, said, toHead, lines, startCount: () => startCount, turn: () => { for (const callback of deferred.splice(0)) callback(); } };
}

const DEMAND = { resources: { amounts: { cpu: 1 } } } as unknown as Demand;

/** Gives it a lease on a worker of another node. */
function grant(owner: Owner, spec: TaskSpec): void {
  owner.dispatcher.granted({ demandId: (spec.queue as TaskQueue).id, leaseId: 'l-1', workerId: 'w-1', pid: 1, endpoint: owner.self.endpoint });
}

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
  grant(owner, spec);
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

t.test('who cannot reach a worker waits for the head\'s word as long as it may take a node to count as lost, and then does without', async (t) => {
  const { owner, turn, toHead, lines } = idleOwner();
  owner.self.nodeTimeoutMs = 60_000;
  const spec = owner.taskSpec(owner.defineFunction('f', new Uint8Array(0)), DEMAND, { name: 'f', retries: 0, retryOn: null, timeoutMs: 0, streaming: false });
  const ref = owner.submit(spec, [1]);
  grant(owner, spec);
  turn();
  lines[0]!.onClosed('no route to host');
  const returns = (): ClientToHead[] => toHead.filter(({ type }) => type === 'leaseReturn');
  owner.tick(60_000);
  t.same([returns(), ref.state], [[], RefState.pending]);
  owner.tick(70_000);
  t.match(returns(), [{ leaseId: 'l-1', killWorker: true, reason: 'its connection broke: no route to host' }]);
  t.equal(ref.state, RefState.failed);
});
