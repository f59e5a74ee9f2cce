/**
 * BullMQ: a queue in a real Redis, and one worker process that takes up to 100 jobs at a time; a second worker, or more
 * jobs at a time, made it slower on two cores. Redis is this program's own: it listens on a unix socket in a directory
 * made for it, keeps nothing on disk, and ends with the program.
 */
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Queue, QueueEvents } from 'bullmq';
import { measurePeer, pinnedVersion, TASK_MEASUREMENTS } from './measure.mjs';

await measurePeer({
  peer: `bullmq ${pinnedVersion('bullmq')}`,
  measurements: TASK_MEASUREMENTS,
  async open() {
    const redis = await startRedis();
    const worker = fork(fileURLToPath(new URL('bullmq-worker.mjs', import.meta.url)), [redis.socketPath]);
    await once(worker, 'message');

    const connection = { path: redis.socketPath, maxRetriesPerRequest: null };
    const queue = new Queue('echo', { connection, defaultJobOptions: { removeOnComplete: true } });
    const events = new QueueEvents('echo', { connection });
    await events.waitUntilReady();
    const callMany = batchCaller(queue, events);
    return {
      call: () => callMany(1),
      callMany,
      async close() {
        worker.disconnect();
        await once(worker, 'exit');
        await Promise.all([queue.close(), events.close()]);
        await redis.stop();
      },
    };
  },
});

/** Counts completions instead of awaiting each job: one listener for a batch is the cheapest way BullMQ offers. */
function batchCaller(queue, events) {
  let waitingFor = 0;
  let resolveBatch = () => {};
  events.on('completed', () => {
    waitingFor -= 1;
    if (waitingFor === 0) resolveBatch();
  });
  return async (count) => {
    waitingFor = count;
    const done = new Promise((resolve) => (resolveBatch = resolve));
    await queue.addBulk(Array.from({ length: count }, () => ({ name: 'echo', data: 1 })));
    await done;
  };
}

async function startRedis() {
  const directory = mkdtempSync(join(tmpdir(), 'bullmq-'));
  const socketPath = join(directory, 'redis.sock');
  const server = spawn(
    'redis-server',
    ['--port', '0', '--unixsocket', socketPath, '--dir', directory, '--save', '', '--appendonly', 'no'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  // Also when this program throws or is told to stop: nobody else knows the server.
  const end = () => {
    server.kill();
    rmSync(directory, { recursive: true, force: true });
  };
  process.once('exit', end);
  process.once('SIGTERM', () => process.exit(143));
  process.once('SIGINT', () => process.exit(130));

  for await (const line of createInterface({ input: server.stdout })) {
    if (line.includes('ready to accept connections')) break;
  }
  if (server.exitCode !== null) throw new Error(`redis-server exited with code ${server.exitCode} before it was ready`);
  server.stdout.resume();
  return {
    socketPath,
    async stop() {
      server.kill();
      await once(server, 'exit');
    },
  };
}
