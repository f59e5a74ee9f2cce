/** Communicators of gangs on several nodes of a real cluster: they meet through the head, sum, lose a member, and meet again. */
import { createHmac } from 'node:crypto';
import t from 'tap';
import { collective, createCommunicator } from '@muster/collective';
import { context, gang, kill, keyValues, peering, remote, TimeoutError, type MusterError } from '@muster/core';
import { isRunning, TestCluster } from '../support/cluster.js';
import { Summing } from '../support/summing.js';
import { rejection, until } from '../support/until.js';

const cluster = await TestCluster.start({ nodes: [{ cpus: 2 }, { cpus: 2 }] });
t.teardown(() => cluster.stop());
await cluster.connect();

const Members = gang(Summing, { size: 3, strategy: 'pack', maxConcurrency: 2 });

t.test("a gang's members on two nodes meet and sum", async (t) => {
  const members = await Members.create();
  const met = await members.all.meet();
  t.equal(new Set(met.map(({ nodeId }) => nodeId)).size, 2);
  t.ok(met.every(({ nodeCount }) => nodeCount === 2));
  t.same(await members.all.sum(), [{ sum: 7 }, { sum: 7 }, { sum: 7 }]);

  await t.test('and abort, and meet again under another name', async (t) => {
    const sums = Promise.all(members.members.map((member) => member.sumOn()));
    await members.members[2]!.abort('it had enough').catch(() => {});
    for (const outcome of await sums) t.match(outcome, { reason: 'aborted', rank: 2, message: /it had enough/ });
    t.same(await members.all.meetAgain('second'), [{ sum: 7 }, { sum: 7 }, { sum: 7 }]);
  });
  await members.all.close();
  await kill(members);
});

t.test('a member that dies ends the calls of all, and its gang meets anew', async (t) => {
  const members = await Members.options({ onFailure: 'restart-all', maxRestarts: 1 }).create();
  const before = await members.all.meet();
  const sums = members.members.map((member) => member.sumOn()); // which end with what they saw, or with the gang's restart
  await until('they sum', () => before.every(({ pid }) => isRunning(pid)));
  process.kill(before[2]!.pid, 'SIGKILL');
  await Promise.allSettled(sums);
  const after = await members.all.meet();
  t.ok(after.every(({ incarnation }) => incarnation === 2));
  t.notOk(after.some(({ pid }) => before.some((each) => each.pid === pid)));
  t.same(await members.all.sum(), [{ sum: 7 }, { sum: 7 }, { sum: 7 }]);
  await kill(members);
});

t.test('survivors of a member that dies are told which', async (t) => {
  const members = await Members.options({ onFailure: 'restart-member', maxRestarts: 1 }).create();
  const [, , third] = await members.all.meet();
  const sums = members.members.slice(0, 2).map((member) => member.sumOn());
  const lost = rejection(members.members[2]!.sumOn());
  process.kill(third!.pid, 'SIGKILL');
  for (const outcome of await Promise.all(sums)) t.match(outcome, { reason: 'rank-gone', rank: 2 });
  await lost;
  await kill(members);
});

t.test('in debug mode members that disagree are told where both calls are made, whatever nodes they are on', async (t) => {
  const members = await Members.create();
  await members.all.meet({ debug: true });
  for (const { reason, message } of await members.all.disagree()) {
    t.equal(reason, 'mismatch');
    const places = [...message!.matchAll(/rank \d allReduce\((sum|product) of 3 f32\) at \S*summing\.[tj]s:(\d+):\d+/g)];
    t.same(places.map(([, op]) => op).sort(), ['product', 'sum'], message!);
    t.equal(new Set(places.map(([, , line]) => line)).size, 2);
  }
  await kill(members);
});

t.test('connections between nodes may be encrypted, by all or by none', async (t) => {
  const members = await Members.create();
  await members.all.meet({ tls: true });
  t.same(await members.all.sum(), [{ sum: 7 }, { sum: 7 }, { sum: 7 }]);
  const different = await Promise.all(members.members.map((member, rank) => rejection<MusterError>(member.meet({ name: 'different', tls: rank === 0 }))));
  for (const error of different) t.match(error, { code: 'INVALID_ARGUMENT', message: /tls: (true|false) of rank \d is not valid: it must be the same at all ranks, and rank \d has tls: (true|false)/ });
  t.match(await rejection(members.all.meet({ name: 'unclear', tls: 1 as unknown as boolean })), { code: 'INVALID_ARGUMENT', message: /true or false/ });
  await kill(members);
});

t.test('addresses may be pinned to interfaces', async (t) => {
  const members = await Members.create();
  await members.all.meet({ interfaces: ['no-such-interface', '127.0.0.0/8'] });
  t.same(await members.all.sum(), [{ sum: 7 }, { sum: 7 }, { sum: 7 }]);
  const refused = await rejection<MusterError>(members.all.meet({ name: 'nowhere', interfaces: ['203.0.113.0/24'] }));
  t.match(refused, { code: 'INVALID_ARGUMENT', message: /203\.0\.113\.0\/24.*which are .*lo/ });
  await kill(members);
});

t.test('who is no gang meets by an id and the names of nodes', async (t) => {
  const meet = remote(async (rank: number, size: number, timeoutMs: number) => {
    const communicator = await createCommunicator({ id: `tasks-${timeoutMs}`, rank, size, node: `${context().nodeId}-${rank}`, timeoutMs });
    const values = Float64Array.of(rank + 1);
    await communicator.allReduce(values, { op: 'product' });
    communicator.close();
    return values[0];
  }, { retries: 0 });
  t.same(await Promise.all([meet(0, 3, 20_000), meet(1, 3, 20_000), meet(2, 3, 20_000)]), [6, 6, 6]);
  const missed = await rejection(meet(0, 2, 300));
  t.match(missed, { code: 'COLLECTIVE', details: { reason: 'timeout', rank: 1 }, message: /rank 1 has not come to the communicator 'tasks-300'/ });
  t.match(await rejection(collective(undefined)), { code: 'INVALID_ARGUMENT' });
});

t.test('keys are written once, waited for, and end with their namespace', async (t) => {
  const keys = keyValues('test');
  t.equal(await keys.get('a'), undefined);
  const waited = keys.wait('a', { timeoutMs: 20_000 });
  await remote(() => keyValues('test').put('a', 'one'))();
  t.equal(new TextDecoder().decode(await waited), 'one');
  await keys.put('a', 'one');
  t.match(await rejection(keys.put('a', 'two')), { code: 'INVALID_ARGUMENT', message: /written once/ });
  t.match(await rejection(keys.put('b', new Uint8Array(65 * 1024))), { code: 'INVALID_ARGUMENT', message: /at most 64/ });
  t.match(await rejection(keys.put('', 'x')), { code: 'INVALID_ARGUMENT', message: /1 to 512 characters/ });
  t.match(await rejection(keys.put('b'.repeat(513), 'x')), { code: 'INVALID_ARGUMENT', message: /1 to 512 characters/ });
  t.ok(await rejection(keys.wait('c', { timeoutMs: 10 })) instanceof TimeoutError);
  await keys.clear();
  t.equal(await keys.get('a'), undefined);
  await keys.put('a', 'two');
  const { host, key } = await peering('test');
  t.equal(host, '127.0.0.1');
  t.same(key, createHmac('sha256', cluster.token).update('test').digest());
});
