import t from 'tap';
import { makeError } from '@muster/base';
import { exitOf, GPU_ID_FIRST, MachineScript } from '../test-support/machine-script.js';
import { deathCause } from './death-cause.js';
import { FIRST_CONNECT_TIMEOUT_MS, REGISTER_TIMEOUT_MS } from './head-link.js';
import { JOB_STOP_GRACE_MS } from './job-processes.js';
import { LEASE_START_TIMEOUT_MS } from './lease-table.js';
import { LINE_MAX_LENGTH, LineSplitter } from './line-splitter.js';
import { LOG_FLUSH_MS, LOG_LINES_PER_SECOND, LogRelay } from './log-relay.js';
import { OWNERS_REPORT_INTERVAL_MS, STOP_TIMEOUT_MS } from './daemon-machine.js';
import { TOP_UP_DELAY_MS, WORKER_IDLE_TIMEOUT_MS, WORKER_LOST_TIMEOUT_MS, WORKER_START_TIMEOUT_MS } from './worker-pool.js';
import type { LogLines, PeerNode } from '@muster/protocol';

const gone = makeError('CONNECTION', { what: 'the head', cause: 'it is gone' });

t.test('workers start before the head has answered, as many as there are cpus', async (t) => {
  const script = new MachineScript({ prestart: 2 });
  script.step({ type: 'start' });
  t.same(script.effects.slice(0, 4).map((effect) => effect.type), ['spawnWorker', 'spawnWorker', 'connectHead', 'send']);
});

t.test('a lease gets an idle worker at once, and again the same answer', async (t) => {
  const script = new MachineScript({ prestart: 1 }).start();
  const [workerId] = script.readyAll();
  script.sent();
  script.startLease('lease-1');
  t.match(script.take('commandWorker'), [{ workerId, command: { leaseId: 'lease-1', jobId: 'job-1', gpuIds: [] } }]);
  t.match(script.sent(), [{ type: 'leaseStarted', leaseId: 'lease-1', workerId, pid: 100, endpoint: { unixPath: `/${workerId}.sock` } }]);
  script.startLease('lease-1');
  t.match(script.sent(), [{ type: 'leaseStarted', leaseId: 'lease-1', workerId }]);
  t.same(script.take('commandWorker'), [], 'the worker is not told twice');
});

t.test('leases wait for workers in their order, and workers are spawned for them within the limit', async (t) => {
  const script = new MachineScript({ startingMax: 2 }).start();
  for (const leaseId of ['lease-1', 'lease-2', 'lease-3']) script.startLease(leaseId);
  t.equal(script.effects.filter((effect) => effect.type === 'spawnWorker').length, 2);
  script.readyAll();
  script.readyAll();
  t.same(script.sent().flatMap((message) => (message.type === 'leaseStarted' ? [message.leaseId] : [])), ['lease-1', 'lease-2', 'lease-3']);
});

t.test('a worker is used again by its job, and by no other', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  const [first] = script.readyAll();
  script.endLease('lease-1');
  t.match(script.sent().at(-1), { type: 'leaseEnded', leaseId: 'lease-1', cause: null });
  script.startLease('lease-2', { jobId: 'job-2' });
  const [second] = script.readyAll();
  t.ok(second);
  script.startLease('lease-3');
  t.match(script.sent().at(-1), { type: 'leaseStarted', leaseId: 'lease-3', workerId: first });
});

t.test('a lease that has ended is not started again by a late message', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  const [workerId] = script.readyAll();
  script.exit(workerId!, { signal: 'SIGKILL' });
  t.match(script.sent().slice(-2), [{ type: 'leaseEnded', leaseId: 'lease-1', cause: { kind: 'signal', signal: 'SIGKILL' } }, { type: 'workerExited', workerId }]);
  script.startLease('lease-1');
  script.endLease('lease-1');
  script.endLease('lease-9');
  t.match(script.sent(), [
    { type: 'leaseEnded', leaseId: 'lease-1', cause: { kind: 'signal' } }, { type: 'leaseEnded', leaseId: 'lease-1', cause: { kind: 'signal' } },
    { type: 'leaseEnded', leaseId: 'lease-9', cause: null },
  ]);
});

t.test('a lease ends with its worker when it is killed, which says how far it had come', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  const [workerId] = script.readyAll();
  script.sent();
  script.endLease('lease-1', true);
  t.match(script.take('killWorker'), [{ workerId }]);
  t.same(script.sent(), [], 'its resources are not free before it is dead');
  script.exit(workerId!, { signal: 'SIGKILL', progress: { startedTasks: 3, severedTasks: 2 } });
  const cause = { kind: 'killed', detail: 'it was returned', progress: 4, severedTasks: 2 };
  t.match(script.sent(), [{ type: 'leaseEnded', leaseId: 'lease-1', cause }, { type: 'workerExited', cause }]);
});

t.test('a lease that waits can be taken back', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  script.endLease('lease-1');
  t.match(script.sent().at(-1), { type: 'leaseEnded', leaseId: 'lease-1', cause: null });
  script.readyAll();
  t.same(script.take('commandWorker'), []);
});

t.test('an actor gets a worker of its own that ends with its lease; the pool is filled up', async (t) => {
  const script = new MachineScript({ prestart: 1 }).start();
  const [workerId] = script.readyAll();
  script.startLease('lease-1', { actorId: 'actor-1' });
  t.match(script.take('commandWorker'), [{ workerId, command: { actorId: 'actor-1' } }]);
  t.same(script.take('spawnWorker'), [], 'its constructor has the processors for a moment');
  script.wait(TOP_UP_DELAY_MS);
  t.equal(script.take('spawnWorker').length, 1);
  script.endLease('lease-1');
  t.match(script.take('killWorker'), [{ workerId }]);
});

t.test('the end of a job ends its workers and waiting leases, but not its actors', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  script.startLease('lease-2', { actorId: 'actor-1' });
  const workers = script.readyAll();
  script.startLease('lease-3');
  script.sent();
  script.head({ type: 'endJobOnNode', jobId: 'job-1', ownerIds: ['driver-a', 'worker-b'] });
  t.match(script.take('killWorker'), [{ workerId: workers[0] }]);
  t.match(script.sent(), [{ type: 'leaseEnded', leaseId: 'lease-3', cause: null }]);
  t.match(script.take('freeOwners'), [{ ownerKeys: ['a', 'b'] }]);
  script.exit(workers[0]!, { signal: 'SIGKILL' });
  t.match(script.sent()[0], { type: 'leaseEnded', leaseId: 'lease-1', cause: { kind: 'killed', detail: 'its job ended' } });
});

t.test('workers that do not start fail the leases that wait, with their last words', async (t) => {
  const script = new MachineScript({ startingMax: 1 }).start();
  script.startLease('lease-1');
  for (let attempt = 0; attempt < 3; attempt++) {
    const [spawn] = script.take('spawnWorker');
    t.ok(spawn, `attempt ${attempt}`);
    script.exit(spawn!.workerId, { code: 1, stderrTail: 'Error: Cannot find module' });
    script.wait(1000);
  }
  t.match(script.sent().at(-1), { type: 'leaseFailed', leaseId: 'lease-1', cause: { kind: 'start-failed', detail: /exited with code 1 before it was ready/, stderrTail: /Cannot find module/ } });
  script.startLease('lease-1');
  t.match(script.sent(), [{ type: 'leaseFailed', leaseId: 'lease-1' }]);
});

t.test('a worker that hangs at its start is killed', async (t) => {
  const script = new MachineScript({ prestart: 1 }).start();
  const [spawn] = script.take('spawnWorker');
  script.wait(WORKER_START_TIMEOUT_MS - 1);
  t.same(script.take('killWorker'), []);
  script.wait(1);
  t.match(script.take('killWorker'), [{ workerId: spawn!.workerId }]);
});

t.test('a lease that gets no worker fails in the end', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  script.wait(LEASE_START_TIMEOUT_MS);
  t.match(script.sent().at(-1), { type: 'leaseFailed', leaseId: 'lease-1', cause: { detail: /no worker became ready within 2 m/ } });
});

t.test('a worker that loses its connection but lives is killed, and gets no lease meanwhile', async (t) => {
  const script = new MachineScript({ prestart: 1 }).start();
  const [workerId] = script.readyAll();
  script.step({ type: 'workerDisconnected', workerId: workerId! });
  script.startLease('lease-1');
  t.same(script.take('commandWorker'), []);
  script.wait(WORKER_LOST_TIMEOUT_MS);
  t.match(script.take('killWorker'), [{ workerId }]);
});

t.test('a worker that dies right after its connection tells its own cause', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  const [workerId] = script.readyAll();
  script.step({ type: 'workerDisconnected', workerId: workerId! });
  script.exit(workerId!, { code: 7, stderrTail: 'bye' });
  t.match(script.sent().find((message) => message.type === 'leaseEnded'), { cause: { kind: 'exit', code: 7, stderrTail: 'bye' } });
});

t.test('while a worker is new, the others that nobody waits for are not started', async (t) => {
  const script = new MachineScript({ prestart: 2, startingMax: 2 }).start();
  t.equal(script.readyAll().length, 1);
  t.strictSame(script.take('spawnWorker'), [], 'the program that waited for the first one needs the processors');
  script.wait(TOP_UP_DELAY_MS);
  t.equal(script.readyAll().length, 1);
  const other = new MachineScript({ prestart: 2, startingMax: 2 }).start();
  other.readyAll();
  other.startLease('lease-1');
  other.startLease('lease-2');
  t.equal(other.take('spawnWorker').length, 1, 'a lease does not wait for that');
});

t.test('idle workers beyond the prestarted number end after a while', async (t) => {
  const script = new MachineScript({ prestart: 1 }).start();
  for (const leaseId of ['lease-1', 'lease-2', 'lease-3']) script.startLease(leaseId);
  script.readyAll();
  script.readyAll();
  for (const leaseId of ['lease-1', 'lease-2', 'lease-3']) script.endLease(leaseId);
  script.wait(WORKER_IDLE_TIMEOUT_MS);
  t.equal(script.take('killWorker').length, 2);
});

t.test('an idle worker that others need is ended neither for want of work nor for its GPU, until they need it no more', async (t) => {
  const script = new MachineScript({ prestart: 0, gpus: 1 }).start();
  script.startLease('lease-1', { gpuIds: [0] });
  const [needed] = script.readyAll();
  script.step({ type: 'workerNeeded', workerId: needed!, isNeeded: true });
  script.endLease('lease-1');
  script.wait(2 * WORKER_IDLE_TIMEOUT_MS);
  script.startLease('lease-2', { jobId: 'job-2', gpuIds: [0] });
  const [other] = script.readyAll();
  t.not(other, needed, 'the GPU goes to another worker beside it');
  t.same(script.take('killWorker'), []);
  script.step({ type: 'workerNeeded', workerId: needed!, isNeeded: false });
  script.wait(WORKER_IDLE_TIMEOUT_MS);
  t.match(script.take('killWorker'), [{ workerId: needed }]);
});

t.test('a lease has the GPUs that the head gives it, by the numbers of the machine, and a worker keeps those it had', async (t) => {
  const script = new MachineScript({ gpus: 2 }).start();
  const commands = (): unknown => script.take('commandWorker').map(({ workerId, command: { gpuIds } }) => [workerId, gpuIds]);
  script.startLease('lease-1', { gpuIds: [0] });
  const [first] = script.readyAll();
  t.same(commands(), [[first, [GPU_ID_FIRST]]]);
  script.startLease('lease-2', { gpuIds: [0] });
  const [second] = script.readyAll();
  t.same(commands(), [[second, [GPU_ID_FIRST]]], 'both have a part of it');
  script.startLease('lease-2', { gpuIds: [0] });
  t.same(commands(), [], 'what is asked for twice is given once');
  script.startLease('lease-3', { gpuIds: [1, 0] });
  const [third] = script.readyAll();
  t.same(commands(), [[third, [GPU_ID_FIRST + 1, GPU_ID_FIRST]]]);
  script.endLease('lease-1');
  script.startLease('lease-4', { gpuIds: [0] });
  t.same(commands(), [[first, [GPU_ID_FIRST]]]);
  script.take('send');
  script.startLease('lease-5', { gpuIds: [2] });
  t.match(script.sent(), [{ type: 'leaseFailed', cause: { detail: 'it was given the GPUs 2 of a node that has 2' } }]);
});

t.test('an idle worker that holds a wanted GPU makes way', async (t) => {
  const script = new MachineScript({ gpus: 1 }).start();
  script.startLease('lease-1', { gpuIds: [0] });
  const [first] = script.readyAll();
  script.endLease('lease-1');
  script.startLease('lease-2', { jobId: 'job-2', gpuIds: [0] });
  script.readyAll();
  t.match(script.take('killWorker'), [{ workerId: first }]);
});

t.test('a lost head is looked for with growing pauses, and told everything again', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  script.startLease('lease-2');
  const [first, second] = script.readyAll();
  script.take('connectHead');
  script.sent();
  script.step({ type: 'headEnded', failure: gone });
  script.exit(first!, { signal: 'SIGSEGV' });
  t.same(script.sent(), [], 'nobody hears');
  for (let attempt = 0; attempt < 4; attempt++) {
    script.wait(1000);
    script.step({ type: 'headEnded', failure: gone });
  }
  t.ok(script.take('connectHead').length >= 3);
  script.wait(2000);
  script.sent();
  script.accept();
  t.match(script.sent(), [
    { type: 'workerStarted', workerId: second }, { type: 'leaseEnded', leaseId: 'lease-1', cause: { kind: 'signal', signal: 'SIGSEGV' } },
    { type: 'leaseStarted', leaseId: 'lease-2', workerId: second },
  ]);
});

t.test('the node ends when the head stays away, refuses it, or does not know its token', async (t) => {
  const lonely = new MachineScript({ nodeTimeoutMs: 5000 }).start();
  lonely.step({ type: 'headEnded', failure: gone });
  for (let second = 0; second < 10; second++) {
    lonely.wait(1000);
    lonely.step({ type: 'headEnded', failure: gone });
  }
  t.match(lonely.take('stop'), [{ reason: 'the head could not be reached for 10 s', failure: { code: 'CONNECTION' } }]);

  const never = new MachineScript();
  never.step({ type: 'start' });
  never.wait(REGISTER_TIMEOUT_MS);
  t.match(never.take('disconnectHead'), [{ isGoodbye: false }], 'a silent head');
  never.wait(FIRST_CONNECT_TIMEOUT_MS);
  t.match(never.take('stop'), [{ failure: { code: 'CONNECTION' } }]);

  const refused = new MachineScript();
  refused.step({ type: 'start' });
  refused.head({ type: 'nodeRegistered', clusterId: '', heartbeatIntervalMs: 0, nodeTimeoutMs: 0, failure: { code: 'NODE_DIED', details: { what: 'the registration', cause: 'it was declared dead' } } });
  t.match(refused.take('stop'), [{ reason: 'the head refused the node', failure: { code: 'NODE_DIED' } }]);

  const stranger = new MachineScript();
  stranger.step({ type: 'start' });
  stranger.step({ type: 'headEnded', failure: makeError('AUTHENTICATION', { what: 'the head', cause: 'the token is not this cluster\'s' }) });
  t.match(stranger.take('stop'), [{ failure: { code: 'AUTHENTICATION' } }]);
});

t.test('follows who comes and goes, and asks for all nodes when it has missed something', async (t) => {
  const script = new MachineScript().start();
  script.take('send');
  const peer = (nodeId: string): PeerNode => ({ nodeId, endpoint: null });
  const all = (version: number, ...nodeIds: string[]): void => script.head({ type: 'peerNodes', nodes: nodeIds.map(peer), goneNodeIds: [], version, complete: true });
  const change = (version: number, come: string[], goneNodeIds: string[]): void => script.head({ type: 'peerNodes', nodes: come.map(peer), goneNodeIds, version, complete: false });
  all(4, 'a', 'b');
  for (const _twice of [1, 2]) change(5, ['c'], ['a']);
  t.match(script.take('peerNodes'), [{ nodes: ['a', 'b'].map(peer), isComplete: true }, { nodes: [peer('c')], goneNodeIds: ['a'], isComplete: false }], 'once each');
  change(7, [], ['c']);
  change(8, ['d'], []);
  t.same(script.take('peerNodes'), []);
  t.same(script.take('send'), [{ type: 'send', message: { type: 'peersMissed' } }]);
  all(8, 'b', 'd');
  change(9, ['e'], []);
  t.match(script.take('peerNodes'), [{ nodes: ['b', 'd'].map(peer), isComplete: true }, { nodes: [peer('e')], isComplete: false }]);
  all(1, 'b');
  t.match(script.take('peerNodes'), [{ isComplete: true }], 'after a break it is told all again, whatever the number');
});

t.test('heartbeats tell what the node has', async (t) => {
  const script = new MachineScript().start();
  script.take('send');
  script.wait(1500);
  t.match(script.take('send').map(({ message }) => message), [2, 3, 4].map((sequence) => ({
    type: 'heartbeat', sequence, objectStoreUsedBytes: 40, spilledBytes: 7, objectCount: 3, workerCount: 0,
  })));
});

t.test('shutting down kills everything, waits for it, and says goodbye', async (t) => {
  const script = new MachineScript({ prestart: 1 }).start();
  const [workerId] = script.readyAll();
  script.head({ type: 'startJobProcess', jobId: 'job-7', argv: ['node'], cwd: '', env: {} });
  script.head({ type: 'shutdown', reason: 'the cluster was stopped' });
  t.match(script.take('killWorker'), [{ workerId }]);
  t.match(script.take('signalJobProcess'), [{ jobId: 'job-7', signal: 'SIGKILL' }]);
  script.startLease('lease-1');
  script.exit(workerId!, { signal: 'SIGKILL' });
  t.same(script.take('stop'), []);
  script.step({ type: 'jobProcessExited', jobId: 'job-7', exit: exitOf({ signal: 'SIGKILL' }) });
  t.match(script.effects.slice(-2), [{ type: 'disconnectHead', isGoodbye: true }, { type: 'stop', reason: 'the cluster was stopped', failure: null }]);
  t.same(script.take('spawnWorker'), []);

  const stuck = new MachineScript({ prestart: 1 }).start();
  stuck.readyAll();
  stuck.step({ type: 'shutdown', reason: 'now' });
  stuck.wait(STOP_TIMEOUT_MS);
  t.equal(stuck.take('stop').length, 1, 'not for ever');
});

t.test('submitted programs start once, and are stopped gently first', async (t) => {
  const script = new MachineScript().start();
  const start = { type: 'startJobProcess', jobId: 'job-7', argv: ['node', 'app.js'], cwd: '/app', env: { A: 'b' } } as const;
  script.head(start);
  script.head(start);
  t.match(script.take('startJobProcess'), [{ jobId: 'job-7', argv: ['node', 'app.js'], cwd: '/app', env: { A: 'b' } }]);
  script.head({ type: 'stopJobProcess', jobId: 'job-7' });
  script.head({ type: 'stopJobProcess', jobId: 'job-7' });
  t.match(script.take('signalJobProcess'), [{ signal: 'SIGTERM' }]);
  script.wait(JOB_STOP_GRACE_MS);
  t.match(script.take('signalJobProcess'), [{ signal: 'SIGKILL' }]);
  script.sent();
  script.step({ type: 'jobProcessExited', jobId: 'job-7', exit: exitOf({ signal: 'SIGKILL' }) });
  script.head(start);
  t.match(script.sent(), [1, 2].map(() => ({ type: 'jobProcessExited', jobId: 'job-7', cause: { kind: 'killed', detail: 'the job was stopped' } })));
});

t.test('output goes to the head in batches, with who printed it', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  const [workerId] = script.readyAll();
  script.sent();
  const print = (name: string, ...lines: string[]): void => script.step({ type: 'output', workerId: workerId!, isError: false, spans: [{ name, lines }] });
  print('f', 'a', 'b');
  print('f', 'c');
  print('g', 'd');
  t.same(script.sent(), []);
  script.wait(LOG_FLUSH_MS);
  t.match(script.sent(), [
    { type: 'logLines', jobId: 'job-1', workerId, pid: 100, name: 'f', lines: ['a', 'b', 'c'], suppressedCount: 0 }, { type: 'logLines', name: 'g', lines: ['d'] },
  ]);
  print('f', 'x'.repeat(70_000));
  t.equal(script.sent().length, 1, 'much goes at once');
  print('f', 'last');
  script.head({ type: 'flushLogs', jobId: 'job-1' });
  t.match(script.take('drainOutput'), [{ jobId: 'job-1', workerIds: [workerId] }]);
  script.step({ type: 'outputDrained', jobId: 'job-1' });
  t.match(script.sent(), [{ type: 'logLines', lines: ['last'] }, { type: 'logsFlushed', jobId: 'job-1' }]);
});

t.test('a job that prints too much is cut short, and told how much', async (t) => {
  const sent: LogLines[] = [];
  const relay = new LogRelay('node-a', (lines) => sent.push(lines));
  const source = { jobId: 'job-1', workerId: 'worker-1', pid: 1, isError: false };
  const lines = (count: number): string[] => Array.from({ length: count }, (_, index) => `line ${index}`);
  relay.add(source, [{ name: '', lines: lines(LOG_LINES_PER_SECOND + 500) }], 0);
  relay.add({ ...source, jobId: 'job-2' }, [{ name: '', lines: ['another job'] }], 10);
  relay.add(source, [{ name: '', lines: ['in the next second'] }], 1000);
  relay.add(source, [{ name: '', lines: lines(LOG_LINES_PER_SECOND + 7) }], 1500);
  relay.endJob('job-1');
  t.same(sent.map((batch) => [batch.jobId, batch.lines.length, batch.suppressedCount]),
    [['job-1', 1000, 0], ['job-2', 1, 0], ['job-1', 1000, 500], ['job-1', 0, 8]]);
});

t.test('bytes become lines, whatever their pieces', async (t) => {
  const text = 'one\n\u0001muster-name:f\ntwö\n\nthree without newline\u0001muster-name:g\nfour\n\u0001muster-name:\nfive';
  const expected = [['', 'one'], ['f', 'twö'], ['f', ''], ['f', 'three without newline'], ['g', 'four'], ['', 'five']];
  const bytes = Buffer.from(text);
  for (const size of [1, 2, 3, 7, 1000]) {
    const splitter = new LineSplitter();
    const spans = [];
    for (let at = 0; at < bytes.length; at += size) spans.push(...splitter.push(bytes.subarray(at, at + size)));
    spans.push(...splitter.end());
    t.same(spans.flatMap(({ name, lines }) => lines.map((line) => [name, line])), expected, `pieces of ${size}`);
  }
  const splitter = new LineSplitter();
  const spans = [...splitter.push(Buffer.alloc(3 * LINE_MAX_LENGTH + 1, 'x')), ...splitter.end()];
  t.same(spans.flatMap(({ lines }) => lines.map((line) => line.length)), [LINE_MAX_LENGTH, LINE_MAX_LENGTH, LINE_MAX_LENGTH, 1], 'endless lines are broken');
});

t.test('causes of death are exact', async (t) => {
  const cause = (exit: Parameters<typeof exitOf>[0], killReason: string | null = null) => deathCause(exitOf(exit), killReason);
  t.match(cause({ code: 3, stderrTail: 'oops' }), { kind: 'exit', code: 3, stderrTail: 'oops' });
  t.match(cause({ signal: 'SIGSEGV' }), { kind: 'signal', signal: 'SIGSEGV' });
  t.match(cause({ signal: 'SIGKILL' }), { kind: 'signal', signal: 'SIGKILL' });
  t.match(cause({ signal: 'SIGKILL', isOomKill: true }), { kind: 'out-of-memory', detail: /the kernel killed it/ });
  t.match(cause({ signal: 'SIGKILL', isOomKill: true }, 'its job ended'), { kind: 'killed', reason: 'its job ended' });
  t.match(cause({ code: 0 }, 'its job ended'), { kind: 'exit', code: 0 }, 'it was faster');
  t.match(cause({ signal: 'SIGABRT', fatalError: 'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory' }),
    { kind: 'out-of-memory', detail: 'Reached heap limit Allocation failed - JavaScript heap out of memory' });
  t.match(cause({ signal: 'SIGABRT', fatalError: 'FATAL ERROR: v8::ToLocalChecked Empty MaybeLocal' }), { kind: 'signal', signal: 'SIGABRT' });
  t.match(cause({ spawnFailure: 'spawn node EAGAIN' }), { kind: 'start-failed', detail: 'spawn node EAGAIN' });
});

t.test('queries are answered', async (t) => {
  const script = new MachineScript({ prestart: 1 }).start();
  script.startLease('lease-1', { actorId: 'actor-1' });
  const [workerId] = script.readyAll();
  script.sent();
  const ask = (what: string, argument = ''): void => script.head({ type: 'nodeQuery', requestId: 1, what, argument });
  ask('workers');
  const [reply] = script.sent();
  t.match(JSON.parse((reply as { json: string }).json)[0], { workerId, pid: 100, state: 'ready', jobId: 'job-1', actorId: 'actor-1' });
  ask('objects');
  t.match(script.sent(), [{ type: 'nodeReply', requestId: 1, failure: null, json: '[]' }]);
  ask('nonsense');
  t.match(script.sent(), [{ failure: { code: 'INVALID_ARGUMENT' } }]);
  script.exit(workerId!, { code: 0 });
  const question = { id: 'actor-1', from: null, sizeMaxBytes: 100 };
  ask('logs', JSON.stringify(question));
  t.match(script.take('readLogs'), [{ requestId: 1, question, logIds: ['actor-1', workerId] }], 'also of an actor that is dead');
});

t.test('the objects of a worker that has died are freed at once', async (t) => {
  const script = new MachineScript().start();
  script.startLease('lease-1');
  const [workerId] = script.readyAll();
  script.exit(workerId!, { signal: 'SIGKILL' });
  t.same(script.take('freeOwners'), [{ type: 'freeOwners', ownerKeys: [workerId!.slice('worker-'.length)] }]);
});

t.test('the head hears whose objects are here, again and again, and says which of them to free', async (t) => {
  const script = new MachineScript();
  script.owners.add('a').add('b');
  script.start();
  script.owners.add('new');
  t.notOk(script.sent().some(({ type }) => type === 'storedOwners'), 'an owner that is here for the first time may not be known to the head');
  script.wait(OWNERS_REPORT_INTERVAL_MS + 500);
  t.match(script.sent(), [{ type: 'storedOwners', ownerKeys: ['a', 'b'] }]);
  script.owners.delete('new');
  script.head({ type: 'ownersEnded', ownerKeys: ['a'] });
  t.same(script.take('freeOwners'), [{ type: 'freeOwners', ownerKeys: ['a'] }]);
  script.owners.delete('a');
  script.wait(OWNERS_REPORT_INTERVAL_MS + 500);
  t.match(script.sent(), [{ type: 'storedOwners', ownerKeys: ['b'] }]);
  script.owners.clear();
  script.wait(OWNERS_REPORT_INTERVAL_MS + 500);
  t.same(script.sent(), [], 'an empty store has nothing to say');
  script.owners.add('c');
  script.wait(OWNERS_REPORT_INTERVAL_MS + 500);
  script.sent();
  script.owners.add('new');
  script.step({ type: 'headEnded', failure: null });
  script.wait(100);
  script.accept();
  t.match(script.sent().filter(({ type }) => type === 'storedOwners'), [{ ownerKeys: ['c'] }], 'a node that was away asks as soon as it is back');
});
